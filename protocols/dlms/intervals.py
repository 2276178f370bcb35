"""Load profiles and event logs: rows of class 7 into intervals and events. Floor: protocols; walk: reading.

Rows are asked for in pieces that a meter can hold, by range of time or, where it cannot, by entry; what does not lie in
the span that was asked for is dropped here, so that both ways give the same. A meter whose columns are not those of its
profile is refused before any row is read: a row is numbers without names, and one column too few books the wrong one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gridmodel.reading import Channel
from protocols.dlms.conversation import Conversation
from protocols.dlms.cosem import ProfileGeneric, ScalerUnit, capture_objects, clock_time, number, rows, unfit
from protocols.dlms.cosem_time import encode_time
from protocols.dlms.data import Data, Tag, octets
from protocols.dlms.faults import DlmsFault, local_fault, remote_fault
from protocols.dlms.obis import Obis
from protocols.dlms.section import ClockPlan, DlmsPlan, EventLogPlan, LoadProfilePlan
from protocols.dlms.selection import (
    CLOCK_COLUMN,
    ENTRY_MAX,
    ByEntry,
    ByRange,
    CaptureObject,
    Selection,
    encode_selection,
)
from protocols.dlms.values import data_of, doubted, resolution_of, utc_of, value_of
from protocols.driver import MeterEvent, MeterEventKind, MeterTarget, ProfileRow, ProfileSlice
from protocols.errors import Hope

ROWS_PER_CALL_MAX = 4_464
"""Intervals asked for in one call: 46 days of quarters; a longer gap is read in parts."""
EVENTS_PER_CALL_MAX = 10_000
"""Events of all logs in one call: more than the logs of a meter hold."""
CODE_MAX = 0xFFFF_FFFF
"""Meters number their events in one byte or two; what is longer is no code, and no store of ours could hold it."""
EVENTS_AT_ONCE = 64
"""Entries of an event log asked for in one piece, the newest first."""
ENTRIES_SPARE = 4
"""Entries read beyond those that the span should need: rows of power failures stand between."""
CLOCK_AHEAD_S_MAX = 86_400
"""Events are asked for up to so far beyond the present: a meter's clock may be ahead of ours."""
LAST_S = 4_102_358_400
"""The end of 2099: whoever asks for the whole of a log wants to see what a lying clock wrote there."""

Row = tuple[Data, ...]


@dataclass(frozen=True, slots=True)
class _Stamp:
    """The time of a row."""

    at: int
    doubtful: bool


async def check_columns(plan: DlmsPlan, talk: Conversation) -> None:
    """Compare the meter's columns and period with the profile's, where it wants that.

    Raises:
        DlmsFault: TQ-DM-64 when they differ; 97 when the profile has no load profile.

    """
    profile = _profile_of(plan)
    if not profile.table.check_columns:
        return
    view = ProfileGeneric(profile.obis)
    asked = (view.attribute(ProfileGeneric.CAPTURE_OBJECTS), view.attribute(ProfileGeneric.CAPTURE_PERIOD))
    results = await talk.get(asked)
    columns = capture_objects(data_of(asked[0], results[0]))
    period_s = number(data_of(asked[1], results[1]))
    if columns != profile.columns:
        told = ", ".join(f"{one.class_id}/{one.obis}:{one.attribute}" for one in columns)
        raise _differs(plan, f"it captures {told:.400}")
    if period_s != profile.table.period_s:
        raise _differs(plan, f"it captures every {period_s} s, not every {profile.table.period_s} s")


async def read_slice(
    plan: DlmsPlan, talk: Conversation, scales: Mapping[str, ScalerUnit], *, first: int, last: int, now: int
) -> ProfileSlice:
    """The intervals that end from `first` to `last`. `scales` by channel name, of columns that were compared.

    `now` (UTC seconds) tells how far back that is, for meters that know their rows by number alone.

    Raises:
        DlmsFault: TQ-DM-97 no load profile or clock, 98 too much at once; 50, 60 to 65 for rows that cannot be.

    """
    profile, clock = _profile_of(plan), _clock_of(plan)
    period_s = profile.table.period_s
    count = max(0, last - first) // period_s + 1
    if count > ROWS_PER_CALL_MAX:
        raise local_fault("TQ-DM-98", f"{count} intervals are too many at once", f"at most {ROWS_PER_CALL_MAX}")
    shift_s = period_s if profile.table.stamp == "start" else 0
    if profile.table.access == "entry":
        back = min(ROWS_PER_CALL_MAX, max(0, now - first) // period_s + 1 + ENTRIES_SPARE)
        selections: Sequence[Selection] = await _last_entries(plan, talk, profile.obis, back, profile.table.rows_max)
    else:
        span_s = (profile.table.rows_max - 1) * period_s
        selections = [
            _range(plan, clock, at - shift_s, min(last, at + span_s) - shift_s, profile.columns[profile.clock_column])
            for at in range(first, last + 1, span_s + period_s)
        ]
    found: dict[int, ProfileRow] = {}
    odd = 0
    for selection in selections:
        part = await _rows(talk, profile.obis, len(profile.columns), selection)
        for row, stamp in zip(part, _stamps(plan, clock, part, profile.clock_column, period_s), strict=True):
            end = stamp.at + shift_s
            if not first <= end <= last:
                continue
            if end % period_s:
                odd += 1
            else:
                found[end] = _interval(profile, row, scales, end, doubtful=stamp.doubtful or end in found)
    rows_found = tuple(found[end] for end in sorted(found))
    return ProfileSlice(profile.values, period_s, rows_found, odd, _resolutions(profile, scales))


async def read_events(
    target: MeterTarget, plan: DlmsPlan, talk: Conversation, since: int, until: int
) -> tuple[MeterEvent, ...]:
    """The events of all logs from `since` on, rising by time.

    Raises:
        DlmsFault: TQ-DM-97 no event log or clock, 98 more events than a call may have; 50, 60, 62, 65 as above.

    """
    clock = _clock_of(plan)
    if not plan.event_logs:
        raise _lacks(plan, "event log")
    events: list[MeterEvent] = []
    for log in plan.event_logs:
        events += await _log_events(plan, clock, talk, log, since=since, until=until)
        if len(events) > EVENTS_PER_CALL_MAX:
            raise remote_fault(
                "TQ-DM-98", f"meter {target.meter} gave {len(events)} events", "ask from a later time on"
            )
    return tuple(sorted(events, key=lambda one: (one.at, one.log, one.code)))


async def _log_events(
    plan: DlmsPlan, clock: ClockPlan, talk: Conversation, log: EventLogPlan, *, since: int, until: int
) -> list[MeterEvent]:
    table = log.table
    selections: Sequence[Selection | None] = [None]
    if table.access == "range":
        last = until + CLOCK_AHEAD_S_MAX if since else LAST_S
        selections = [_range(plan, clock, since, last, CLOCK_COLUMN._replace(obis=clock.obis))]
    elif table.access == "entry":
        selections = await _last_entries(plan, talk, log.obis, EVENTS_PER_CALL_MAX, EVENTS_AT_ONCE)
        if not plan.quirks.newest_first:
            selections = selections[::-1]
    events: list[MeterEvent] = []
    for selection in selections:
        part = await _rows(talk, log.obis, table.columns, selection)
        fresh = [
            MeterEvent(table.name, utc_of(plan, clock, time), code, log.kinds.get(code, MeterEventKind.OTHER))
            for row in part
            if (time := clock_time(row[table.clock_column - 1])) is not None
            for code in (_code(row[table.code_column - 1]),)
        ]
        events += [one for one in fresh if one.at >= since]
        if fresh and all(one.at < since for one in fresh):
            break
    return events


def _code(data: Data) -> int:
    code = number(data)
    if not isinstance(code, int) or abs(code) > CODE_MAX:
        raise unfit("the code of an event", data)
    return code


async def _rows(talk: Conversation, obis: Obis, columns: int, selection: Selection | None) -> list[Row]:
    """The selected rows of a profile; each has as many columns as the profile says."""
    attribute = ProfileGeneric(obis).attribute(ProfileGeneric.BUFFER)
    access = None if selection is None else encode_selection(selection)
    return rows(data_of(attribute, await talk.get_one(attribute, access)), columns)


def _range(plan: DlmsPlan, clock: ClockPlan, first: int, last: int, column: CaptureObject) -> ByRange:
    """Rows whose time lies from `first` to `last` (UTC seconds)."""
    quirks = plan.quirks
    low, high = (
        encode_time(
            max(0, at), clock.offset_min, deviation=quirks.deviation_in_range, reversed_sign=quirks.deviation_reversed
        )
        for at in (first, last)
    )
    return ByRange(column, octets(low), octets(high))


async def _last_entries(plan: DlmsPlan, talk: Conversation, obis: Obis, back: int, size: int) -> list[Selection]:
    """The newest `back` entries of a profile, in pieces of `size`, in the order of their numbers."""
    attribute = ProfileGeneric(obis).attribute(ProfileGeneric.ENTRIES_IN_USE)
    result = data_of(attribute, await talk.get_one(attribute))
    used = number(result)
    if not isinstance(used, int) or not 0 <= used <= ENTRY_MAX:
        raise unfit("the number of entries", result)
    first, last = (1, min(back, used)) if plan.quirks.newest_first else (max(1, used - back + 1), used)
    return [ByEntry(at, min(last, at + size - 1)) for at in range(first, last + 1, size)]


def _stamps(plan: DlmsPlan, clock: ClockPlan, part: Sequence[Row], column: int, period_s: int) -> list[_Stamp]:
    """The time of each row. Raises DlmsFault TQ-DM-65 for a row without one."""
    found: list[_Stamp] = []
    step_s = -period_s if plan.quirks.newest_first else period_s
    for row in part:
        time = clock_time(row[column])
        if time is not None:
            found.append(_Stamp(utc_of(plan, clock, time), doubted(time)))
        elif plan.quirks.null_times and found and row[column].tag == Tag.NULL:
            found.append(_Stamp(found[-1].at + step_s, found[-1].doubtful))
        else:
            raise remote_fault(
                "TQ-DM-65",
                "a row of the load profile has no time",
                "nothing was booked; if this model leaves times out, its profile needs null_times",
                Hope.PERMANENT,
            )
    return found


def _interval(
    profile: LoadProfilePlan, row: Row, scales: Mapping[str, ScalerUnit], end: int, *, doubtful: bool
) -> ProfileRow:
    status: int | None = None
    if profile.status_column is not None:
        told = row[profile.status_column]
        if isinstance(told.value, str):  # a bit string
            status = int(told.value or "0", 2)
        else:
            plain = number(told)
            status = plain if isinstance(plain, int) else None
    marked = status is not None and bool(status & profile.table.doubtful_status)
    energies = {
        Channel[value.key.upper()]: value_of(value, scales.get(value.key), row[column])
        for column, value in profile.energies.items()
    }
    return ProfileRow(end, energies, status, doubtful or marked)


def _resolutions(profile: LoadProfilePlan, scales: Mapping[str, ScalerUnit]) -> dict[Channel, int]:
    """What one step of each column is worth, at least 1."""
    return {
        Channel[value.key.upper()]: resolution_of(value, scales[value.key]).step_wh
        for value in profile.energies.values()
        if value.key in scales
    }


def _profile_of(plan: DlmsPlan) -> LoadProfilePlan:
    if plan.load_profile is None:
        raise _lacks(plan, "load profile")
    return plan.load_profile


def _clock_of(plan: DlmsPlan) -> ClockPlan:
    if plan.clock is None:
        raise _lacks(plan, "clock")
    return plan.clock


def _lacks(plan: DlmsPlan, what: str) -> DlmsFault:
    return local_fault(
        "TQ-DM-97", f"profile {plan.profile} has no {what}", "nothing was sent; mend the meter's profile"
    )


def _differs(plan: DlmsPlan, how: str) -> DlmsFault:
    return remote_fault(
        "TQ-DM-64",
        f"the load profile is not that of {plan.profile}: {how}",
        "nothing was booked: write the meter's own columns into its profile",
        Hope.PERMANENT,
    )
