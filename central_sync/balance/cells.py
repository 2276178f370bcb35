"""The delta core: hours of places in, movements of areas out. Pure. Floor: central_sync/balance; on the reading walk.

A *place* is a transformer or another supply point. Its day is an array [24, 12]: the nine values of a HourCell, whether
the hour is known (1 provisional, 2 final), and the (epoch, number) of the revision in force. Areas are moved by the
difference between what a place counted for before and what it counts for now, each under the parents of its own hour;
so an hour that comes twice moves nothing, and a late correction replaces and never adds. Everything is integer.
"""

import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import zstandard
from numpy.typing import NDArray

from central_sync.store.port import AreaKey
from gridmodel.balance import CELL_FIELDS, HourCell
from gridmodel.fault import Fault

Int64 = NDArray[np.int64]

HOURS = 24
CELL = len(CELL_FIELDS)
KNOWN, EPOCH, NUMBER = CELL, CELL + 1, CELL + 2
PLACE_COLUMNS = CELL + 3
PLACES_KNOWN, PLACES_FINAL = CELL, CELL + 1
AREA_COLUMNS = CELL + 2
PROVISIONAL, FINAL = 1, 2
ZSTD_LEVEL = 1
"""A day of a place has 2.3 kB of mostly equal bytes and about 300 after it; higher levels only cost time."""

TRANSFORMER = "transformer"
"""The kind of a place; the others are those of SupplyPointKind."""
_SUPPLY = [CELL_FIELDS.index(name) for name in ("supplied_wh", "supply_expected", "supply_missing")]
_SUPPLIED = CELL_FIELDS.index("supplied_wh")


_RESTORE = "stop the hub, keep the file, restore the newest copy; the nodes send again what it lacks"


class CellsFault(Fault):
    """A stored balance that cannot be read: the file is damaged."""

    status = 500


@dataclass(frozen=True, slots=True)
class Booking:
    """Under which areas a span of a place's hours stands."""

    first: int
    """Index of the first hour, 0 to 23."""
    count: int
    areas: tuple[tuple[str, str, int], ...]
    """(level, area, +1 or −1): the far side of a boundary gets its energy with the opposite sign."""


@dataclass(frozen=True, slots=True)
class PlaceDay:
    """The hours in force of one place on one day."""

    kind: str
    state: Int64
    """[24, PLACE_COLUMNS]."""
    booked: tuple[Booking, ...]


@dataclass(frozen=True, slots=True)
class NewHours:
    """Full new values for some hours of a place."""

    place: str
    kind: str
    known: int
    """PROVISIONAL or FINAL."""
    epoch: int
    number: int
    hours: tuple[int, ...]
    """Indices, ascending."""
    cells: Int64
    """[len(hours), CELL]."""
    booked: tuple[Booking, ...]
    """How each of these hours is to be booked; together they cover the whole day."""


@dataclass(frozen=True, slots=True)
class Revised:
    """What became of a place."""

    day: PlaceDay
    changed: bool
    contradiction: int | None
    """An hour that came with the same revision and another value: one of the two is wrong, and nobody knows which."""


def empty_day(kind: str) -> PlaceDay:
    """A place of which nothing is known."""
    return PlaceDay(kind, np.zeros((HOURS, PLACE_COLUMNS), np.int64), ())


def revise(old: PlaceDay, new: NewHours) -> Revised:
    """`old` with the hours of `new` that are in force over its own: final before provisional, then the revision."""
    state = old.state.copy()
    taken: list[int] = []
    contradiction: int | None = None
    rank = (new.known, new.epoch, new.number)
    for row, hour in enumerate(new.hours):
        held = (int(state[hour, KNOWN]), int(state[hour, EPOCH]), int(state[hour, NUMBER]))
        if rank > held:
            state[hour, :CELL] = new.cells[row]
            state[hour, CELL:] = rank
            taken.append(hour)
        elif rank == held and contradiction is None and not np.array_equal(state[hour, :CELL], new.cells[row]):
            contradiction = hour
    if not taken:
        return Revised(old, changed=False, contradiction=contradiction)
    return Revised(PlaceDay(new.kind, state, _rebooked(old.booked, new.booked, taken)), True, contradiction)


def _rebooked(old: Sequence[Booking], new: Sequence[Booking], taken: Sequence[int]) -> tuple[Booking, ...]:
    """The bookings by hour, those of `taken` hours from `new`, joined into spans again."""
    if len(old) == len(new) == 1 and old[0].areas == new[0].areas:  # one more hour of a day that is all alike
        hours = {*range(old[0].first, old[0].first + old[0].count), *taken}
        if new[0].count == HOURS and len(hours) == max(hours) - min(hours) + 1:
            return (Booking(min(hours), len(hours), old[0].areas),)
    by_hour: list[tuple[tuple[str, str, int], ...]] = [()] * HOURS
    for booking in old:
        by_hour[booking.first : booking.first + booking.count] = [booking.areas] * booking.count
    fresh: list[tuple[tuple[str, str, int], ...]] = [()] * HOURS
    for booking in new:
        fresh[booking.first : booking.first + booking.count] = [booking.areas] * booking.count
    for hour in taken:
        by_hour[hour] = fresh[hour]
    spans: list[Booking] = []
    for hour, areas in enumerate(by_hour):
        if not areas:
            continue
        last = spans[-1] if spans else None
        if last is not None and last.areas == areas and last.first + last.count == hour:
            spans[-1] = Booking(last.first, last.count + 1, areas)
        else:
            spans.append(Booking(hour, 1, areas))
    return tuple(spans)


def contributions(day: PlaceDay) -> Iterable[tuple[AreaKey, int, Int64]]:
    """What a place counts for: (area, first hour, [hours, AREA_COLUMNS]). Areas may share an array: only read it."""
    for booking in day.booked:
        own = _counted(day, booking)
        above = own if day.kind != TRANSFORMER else _without_supply(own)
        for level, area, sign in booking.areas:
            part = own if level == TRANSFORMER else above
            yield (level, area), booking.first, part if sign == 1 else _facing(part)


def _counted(day: PlaceDay, booking: Booking) -> Int64:
    span = day.state[booking.first : booking.first + booking.count]
    counted = np.zeros((booking.count, AREA_COLUMNS), np.int64)
    if day.kind == TRANSFORMER:
        counted[:, :CELL] = span[:, :CELL]
    else:
        counted[:, _SUPPLY] = span[:, _SUPPLY]
    counted[:, PLACES_KNOWN] = span[:, KNOWN] > 0
    counted[:, PLACES_FINAL] = span[:, KNOWN] == FINAL
    return counted


def _without_supply(counted: Int64) -> Int64:
    """A feeder is supplied at its head, not at its transformers."""
    above = counted.copy()
    above[:, _SUPPLY] = 0
    return above


def _facing(counted: Int64) -> Int64:
    """From the far side of a boundary."""
    facing = counted.copy()
    facing[:, _SUPPLIED] *= -1
    return facing


def movement(into: dict[AreaKey, Int64], old: PlaceDay, new: PlaceDay) -> None:
    """Add what `new` counts for beyond `old` to `into`, by area: [24, AREA_COLUMNS] each."""
    for day, add in ((old, np.subtract), (new, np.add)):
        for area, first, part in contributions(day):
            moved = into.get(area)
            if moved is None:
                moved = into[area] = np.zeros((HOURS, AREA_COLUMNS), np.int64)
            span = moved[first : first + len(part)]
            add(span, part, out=span)


class _Zstd(threading.local):
    """Each thread's own: making one costs more than using it, and no two threads may share one."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL)
        self.decompressor = zstandard.ZstdDecompressor()


_ZSTD = _Zstd()


def pack(state: Int64) -> bytes:
    """An array as a blob: compressed by columns when it has 24 rows, plain when it has one."""
    plain = state.T.astype("<i8").tobytes()
    return plain if len(state) == 1 else _ZSTD.compressor.compress(plain)


def unpack(blob: bytes, rows: int, columns: int) -> Int64:
    """Back from `pack`; raises CellsFault (TQ-HB-11) when the blob is not of that shape."""
    size = rows * columns * 8
    try:
        plain = blob if rows == 1 else _ZSTD.decompressor.decompress(blob, max_output_size=size)
    except zstandard.ZstdError as error:
        raise CellsFault("TQ-HB-11", f"a stored balance is damaged: {error!s:.80}", _RESTORE) from error
    if len(plain) != size:
        raise CellsFault("TQ-HB-11", f"a stored balance has {len(plain)} bytes, not {size}", _RESTORE)
    return np.ascontiguousarray(np.frombuffer(plain, "<i8").astype(np.int64).reshape(columns, rows).T)


def booked_to_text(booked: Sequence[Booking]) -> str:
    """Bookings as the store keeps them."""
    return json.dumps([[one.first, one.count, one.areas] for one in booked], separators=(",", ":"))


def booked_from_text(text: str) -> tuple[Booking, ...]:
    """Back from `booked_to_text`."""
    return tuple(
        Booking(first, count, tuple((level, area, sign) for level, area, sign in areas))
        for first, count, areas in json.loads(text)
    )


def cell_of(row: Int64) -> HourCell:
    """The HourCell in the first nine values of a row."""
    return HourCell(*(int(value) for value in row[:CELL]))


def summed(states: Iterable[Mapping[AreaKey, Int64]]) -> dict[AreaKey, Int64]:
    """Area by area the sum over all."""
    total: dict[AreaKey, Int64] = {}
    for one in states:
        for key, state in one.items():
            total[key] = state.copy() if key not in total else total[key] + state
    return total
