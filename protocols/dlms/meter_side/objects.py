"""Objects of a simulated meter: classes 1, 3, 4, 7, 8, 70, 71 (IEC 62056-6-2). Floor: protocols; walk: reading."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from protocols.dlms.apdu.action import MethodOutcome
from protocols.dlms.apdu.parts import AccessResult, AccessSelection, ActionResult, GetResult
from protocols.dlms.cosem import ControlState
from protocols.dlms.cosem_time import encode_time, read_time
from protocols.dlms.data import Data, Tag, array, octets
from protocols.dlms.faults import DlmsFault
from protocols.dlms.obis import Obis
from protocols.dlms.selection import ByEntry, ByRange, CaptureObject, read_selection

Source: TypeAlias = Data | Callable[[int], GetResult]
"""An attribute: a fixed value, or one made for the moment it is read (UTC seconds)."""
Row: TypeAlias = tuple[Data, ...]
DONE = MethodOutcome(ActionResult.SUCCESS)
DENIED = MethodOutcome(ActionResult.READ_WRITE_DENIED)
SHIFT_S_MAX = 900
"""shift_time takes no more, either way."""


class PlainObject:
    """An object whose attributes are values: Data, Register, Extended register, Limiter."""

    def __init__(
        self,
        class_id: int,
        obis: Obis,
        attributes: Mapping[int, Source],
        *,
        writable: Iterable[int] = (),
        methods: Mapping[int, Callable[[Data | None, int], MethodOutcome]] | None = None,
        version: int = 0,
    ) -> None:
        self.class_id = class_id
        self.obis = obis
        self.version = version
        self._attributes = dict(attributes)
        self._writable = frozenset(writable)
        self._methods = methods or {}

    def attributes(self) -> Iterable[int]:
        """See `CosemObject`."""
        return self._attributes

    def writable(self, attribute: int) -> bool:
        """See `CosemObject`."""
        return attribute in self._writable

    def methods(self) -> Iterable[int]:
        """See `CosemObject`."""
        return self._methods

    def get(self, attribute: int, selection: AccessSelection | None, now: int) -> GetResult:
        """See `CosemObject`."""
        source = self._attributes.get(attribute)
        if source is None:
            return AccessResult.OBJECT_UNDEFINED
        if selection is not None:
            return AccessResult.SCOPE_OF_ACCESS_VIOLATED
        return source if isinstance(source, Data) else source(now)

    def set(self, attribute: int, value: Data, now: int) -> AccessResult:
        """See `CosemObject`; only a value of the same type is taken."""
        if attribute not in self._writable:
            return AccessResult.READ_WRITE_DENIED
        current = self.get(attribute, None, now)
        if isinstance(current, Data) and current.tag != value.tag:
            return AccessResult.TYPE_UNMATCHED
        self._attributes[attribute] = value
        return AccessResult.SUCCESS

    def act(self, method: int, parameters: Data | None, now: int) -> MethodOutcome:
        """See `CosemObject`."""
        verb = self._methods.get(method)
        return MethodOutcome(ActionResult.OBJECT_UNDEFINED) if verb is None else verb(parameters, now)


def register(obis: Obis, value: Source, scaler: int, unit: int) -> PlainObject:
    """A Register (3)."""
    counts = Data(Tag.STRUCTURE, (Data(Tag.INTEGER, scaler), Data(Tag.ENUM, unit)))
    return PlainObject(3, obis, {2: value, 3: counts})


def extended_register(
    obis: Obis, value: Source, scaler: int, unit: int, *, status: Source, captured: Source
) -> PlainObject:
    """An Extended register (4): `status` of any type, `captured` a time as an octet string."""
    counts = Data(Tag.STRUCTURE, (Data(Tag.INTEGER, scaler), Data(Tag.ENUM, unit)))
    return PlainObject(4, obis, {2: value, 3: counts, 4: status, 5: captured})


_NEVER = octets(bytes.fromhex("FFFFFFFFFFFFFFFFFF800000"))
"""A time that says no moment: when daylight saving begins and ends where there is none."""


class ClockObject(PlainObject):
    """A Clock (8) that may be wrong by some seconds and drift, be set and be shifted."""

    def __init__(
        self,
        obis: Obis,
        offset_min: int,
        *,
        deviation: bool = True,
        error_s: int = 0,
        drift_ppm: float = 0.0,
        since: int = 0,
    ) -> None:
        """`offset_min`: local time minus UTC; `error_s`: how far it was fast at `since`, UTC seconds.

        `drift_ppm`: how much faster it runs, in seconds per million.
        """
        super().__init__(
            8,
            obis,
            {
                2: self._time,
                3: Data(Tag.LONG, -offset_min),
                4: Data(Tag.UNSIGNED, 0),
                5: _NEVER,
                6: _NEVER,
                7: Data(Tag.INTEGER, 0),
                8: Data(Tag.BOOLEAN, False),
                9: Data(Tag.ENUM, 1),
            },
            writable=(2,),
            methods={6: self._shift},
        )
        self.error_s = error_s
        self.drift_ppm = drift_ppm
        self._since = since
        self._offset_min = offset_min
        self._deviation = deviation

    def shown(self, now: int) -> int:
        """What the clock says, UTC seconds."""
        return now + self.error_s + int((now - self._since) * self.drift_ppm / 1e6)

    def be_wrong(self, now: int, error_s: int, drift_ppm: float | None = None) -> None:
        """From `now` on it is fast by so much and, where that is given, drifts so."""
        self.error_s, self._since = error_s, now
        if drift_ppm is not None:
            self.drift_ppm = drift_ppm

    def _time(self, now: int) -> Data:
        return octets(encode_time(self.shown(now), self._offset_min, deviation=self._deviation))

    def set(self, attribute: int, value: Data, now: int) -> AccessResult:
        """Attribute 2 sets the clock."""
        if attribute != 2:
            return AccessResult.READ_WRITE_DENIED
        try:
            time = read_time(value.value) if isinstance(value.value, bytes) else None
        except DlmsFault:
            time = None
        if time is None:
            return AccessResult.TYPE_UNMATCHED
        self.be_wrong(now, time.utc(self._offset_min) - now)
        return AccessResult.SUCCESS

    def _shift(self, parameters: Data | None, _now: int) -> MethodOutcome:
        seconds = parameters.value if parameters is not None else None
        if not isinstance(seconds, int) or abs(seconds) > SHIFT_S_MAX:
            return MethodOutcome(ActionResult.TYPE_UNMATCHED)
        self.error_s += seconds
        return DONE


class ProfileObject(PlainObject):
    """A Profile generic (7) over rows that somebody else keeps, sorted by one column."""

    def __init__(
        self,
        obis: Obis,
        columns: Sequence[CaptureObject],
        rows: Callable[[int], Sequence[Row]],
        *,
        period_s: int,
        sort_column: int = 0,
        by_range: bool = True,
        rising: bool = True,
        offset_min: int | None = None,
    ) -> None:
        """`rows` gives all rows up to a moment; `sort_column` counts from 0; `by_range` False: entries alone.

        Where the sort column is asked for, only a few rows and those wanted are looked at: `rows` may be made as asked;
        not so with `rising` False, for logs whose clock may have been set back. `offset_min`: local time minus UTC, for
        rows that do not tell it; None: a range is compared with those by local time.
        """
        super().__init__(
            7,
            obis,
            {
                2: array(()),
                3: array(column.to_data() for column in columns),
                4: Data(Tag.DOUBLE_LONG_UNSIGNED, period_s),
                5: Data(Tag.ENUM, 1),
                6: columns[sort_column].to_data(),
                7: lambda now: Data(Tag.DOUBLE_LONG_UNSIGNED, len(rows(now))),
                8: Data(Tag.DOUBLE_LONG_UNSIGNED, 0xFFFF),
            },
            version=1,
        )
        self._columns = tuple(columns)
        self._rows = rows
        self._sort_column = sort_column
        self._by_range = by_range
        self._rising = rising
        self._offset_min = offset_min

    def get(self, attribute: int, selection: AccessSelection | None, now: int) -> GetResult:
        """Attribute 2 is the buffer, all or a part of it."""
        if attribute != 2:
            return super().get(attribute, selection, now)
        rows = self._rows(now)
        if selection is None:
            return array(Data(Tag.STRUCTURE, row) for row in rows)
        try:
            wanted = read_selection(selection)
        except DlmsFault:
            return AccessResult.TYPE_UNMATCHED
        if isinstance(wanted, ByEntry):
            return self._entries(rows, wanted)
        return self._range(rows, wanted) if self._by_range else AccessResult.SCOPE_OF_ACCESS_VIOLATED

    def _entries(self, rows: Sequence[Row], wanted: ByEntry) -> GetResult:
        if wanted.first < 1 or wanted.first_column < 1:
            return AccessResult.SCOPE_OF_ACCESS_VIOLATED
        columns = slice(wanted.first_column - 1, wanted.last_column or None)
        part = rows[wanted.first - 1 : wanted.last or None]
        return array(Data(Tag.STRUCTURE, row[columns]) for row in part)

    def _range(self, rows: Sequence[Row], wanted: ByRange) -> GetResult:
        if wanted.column not in self._columns or any(one not in self._columns for one in wanted.wanted):
            return AccessResult.SCOPE_OF_ACCESS_VIOLATED
        place = self._columns.index(wanted.column)

        try:
            zone_min = _zone_min(rows[0][place]) if rows and self._offset_min is None else self._offset_min

            def key(row: Row) -> float:
                return _order(row[place], zone_min, -math.inf)

            first, last = _order(wanted.first, zone_min, -math.inf), _order(wanted.last, zone_min, math.inf)
            if place == self._sort_column and self._rising:
                part = rows[bisect_left(rows, first, key=key) : bisect_right(rows, last, key=key)]
            else:
                part = [row for row in rows if first <= key(row) <= last]
        except DlmsFault:
            return AccessResult.TYPE_UNMATCHED
        picked = [self._columns.index(one) for one in wanted.wanted] or range(len(self._columns))
        return array(Data(Tag.STRUCTURE, tuple(row[at] for at in picked)) for row in part)


def _zone_min(data: Data) -> int | None:
    """Local time minus UTC as a row's time tells it."""
    time = read_time(data.value) if isinstance(data.value, bytes) else None
    return None if time is None or time.deviation_min is None else -time.deviation_min


def _order(data: Data, zone_min: int | None, unsaid: float) -> float:
    """Something to compare: a moment, or a number; `unsaid` for neither.

    A time is UTC by its own deviation, else by `zone_min`; without that all are compared as the meter's local time.
    """
    value = data.value
    if isinstance(value, bytes):
        time = read_time(value)
        if time is None:
            return unsaid
        return time._replace(deviation_min=None).utc(0) if zone_min is None else time.utc(zone_min)
    return value if isinstance(value, int | float) else unsaid


_DIRECT = frozenset({2, 4})
_LOCAL_DISCONNECT = frozenset({1, 2, 3, 4, 5, 6})
_MANUAL_DISCONNECT = frozenset({1, 2, 5})
_LOCAL_RECONNECT = frozenset({5, 6})
CONTROL_MODES = frozenset(range(7))


class DisconnectObject(PlainObject):
    """A Disconnect control (70) with all control modes (IEC 62056-6-2, class 70, table of transitions a to h)."""

    def __init__(self, obis: Obis, mode: int = 4, state: ControlState = ControlState.CONNECTED) -> None:
        super().__init__(
            70,
            obis,
            {
                2: lambda _: Data(Tag.BOOLEAN, self.output),
                3: lambda _: Data(Tag.ENUM, int(self.state)),
                4: lambda _: Data(Tag.ENUM, self.mode),
            },
            writable=(4,),
            methods={1: self._remote_disconnect, 2: self._remote_reconnect},
        )
        self.mode = mode
        self.state = state
        self.welded = False
        """A contact that no longer opens: the state moves, the output does not."""

    @property
    def output(self) -> bool:
        """Whether the consumer is connected."""
        return self.state is ControlState.CONNECTED or self.welded

    def set(self, attribute: int, value: Data, now: int) -> AccessResult:
        """Attribute 4, the mode, may be written; mode 0 connects for good."""
        if attribute != 4:
            return super().set(attribute, value, now)
        if value.tag != Tag.ENUM or value.value not in CONTROL_MODES:
            return AccessResult.TYPE_UNMATCHED
        self.mode = int(str(value.value))
        if self.mode == 0:
            self.state = ControlState.CONNECTED
        return AccessResult.SUCCESS

    def _remote_disconnect(self, _parameters: Data | None, _now: int) -> MethodOutcome:
        if self.mode == 0:
            return DENIED
        self.state = ControlState.DISCONNECTED
        return DONE

    def _remote_reconnect(self, _parameters: Data | None, _now: int) -> MethodOutcome:
        if self.mode == 0:
            return DENIED
        if self.state is ControlState.DISCONNECTED:
            self.state = ControlState.CONNECTED if self.mode in _DIRECT else ControlState.READY_FOR_RECONNECTION
        return DONE

    def press_button(self) -> None:
        """A person at the meter: reconnects where it is ready; in some modes disconnects where it is connected."""
        if self.state is ControlState.READY_FOR_RECONNECTION:
            self.state = ControlState.CONNECTED
        elif self.state is ControlState.CONNECTED and self.mode in _MANUAL_DISCONNECT:
            self.state = ControlState.READY_FOR_RECONNECTION

    def local_disconnect(self) -> None:
        """The meter itself, by its limiter."""
        if self.state is ControlState.CONNECTED and self.mode in _LOCAL_DISCONNECT:
            self.state = ControlState.READY_FOR_RECONNECTION

    def local_reconnect(self) -> None:
        """The meter itself, after its limiter cut."""
        if self.state is ControlState.READY_FOR_RECONNECTION and self.mode in _LOCAL_RECONNECT:
            self.state = ControlState.CONNECTED
