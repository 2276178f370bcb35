"""A chunk as columns: checks and sums over whole days at once. Floor: protocols; on the reading walk.

The rule of the sums, the same at the edge that writes them and at the hub that verifies them:

    supplied_wh       IMPORT − EXPORT of the transformer's own meters
    delivered_wh      IMPORT of its usage points, ACTUAL, ESTIMATED and SUSPECT alike (booked is booked)
    exported_wh       EXPORT of its usage points
    supply_expected   IMPORT intervals of its own meters in the hour, those NOT_EXPECTED left out; supply_missing those
                      that are MISSING
    points_expected   likewise of its usage points; actual, estimated (with suspect), missing divide them

Every point that should be known has an IMPORT series, if only one of MISSING: that makes completeness provable.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from gridmodel.balance import CELL_FIELDS, HourCell
from gridmodel.fault import Fault
from gridmodel.period import INTERVAL_MINUTES, parse_day, zone
from gridmodel.reading import Channel, Quality
from protocols.errors import Blame
from protocols.sync.chunk.content import (
    CHUNK_LIMITS,
    CHUNK_VERSION,
    ENERGY_WH_MAX,
    HOURS,
    NOT_EXPECTED,
    REGISTER_WH_MAX,
    ChunkContent,
    ChunkHead,
    ChunkLimits,
    Series,
    SeriesKind,
    fault,
)

CELLS = 9
"""Fields of an HourCell that version 1 carries, in the order of CELL_FIELDS."""
NO_REGISTER = -1
NO_TRANSFORMER = -1

Int64 = NDArray[np.int64]
UInt8 = NDArray[np.uint8]

_CELL_VALUES = attrgetter(*CELL_FIELDS[:CELLS])
_CELL = {name: index for index, name in enumerate(CELL_FIELDS[:CELLS])}
_CHANNELS = {int(channel): channel for channel in Channel}
_KINDS = {int(kind): kind for kind in SeriesKind}


@dataclass(frozen=True, slots=True, eq=False)
class ChunkColumns:
    """A chunk's content as arrays of S series, n intervals, T transformers; treat them as read-only."""

    head: ChunkHead
    points: tuple[str, ...]
    """[S]"""
    transformers: tuple[str, ...]
    """[T], ascending."""
    kind: UInt8
    """[S] SeriesKind."""
    channel: UInt8
    """[S] Channel."""
    transformer: Int64
    """[S] index into `transformers`, or NO_TRANSFORMER."""
    start_register_wh: Int64
    """[S], or NO_REGISTER."""
    energy_wh: Int64
    """[S, n]"""
    quality: UInt8
    """[S, n] Quality."""
    cells: Int64
    """[CELLS, T, 24], fields in the order of CELL_FIELDS."""

    def content(self) -> ChunkContent:
        """The same in plain values."""
        head = self.head
        kinds, channels = self.kind.tolist(), self.channel.tolist()
        names = (*self.transformers, "")
        owners, registers = self.transformer.tolist(), self.start_register_wh.tolist()
        energies = self.energy_wh.tolist()
        qualities, count = self.quality.tobytes(), head.intervals()
        return ChunkContent(
            node=head.node,
            district=head.district,
            day=head.day,
            zone=head.zone,
            interval_minutes=head.interval_minutes,
            registry_version=head.registry_version,
            revision=head.revision,
            version=head.version,
            series=tuple(
                Series(
                    point,
                    _CHANNELS[channels[i]],
                    _KINDS[kinds[i]],
                    names[owners[i]],
                    registers[i] if registers[i] >= 0 else None,
                    tuple(energies[i]),
                    qualities[i * count : (i + 1) * count],
                )
                for i, point in enumerate(self.points)
            ),
            transformer_sums=self.sums(),
        )

    def sums(self) -> dict[str, tuple[HourCell, ...]]:
        """The 24 cells of each transformer."""
        return _cells_out(self.transformers, self.cells)


def columns_of(content: ChunkContent, limits: ChunkLimits) -> ChunkColumns:
    """The content as columns, with its own sums; raises ChunkFault (blame local) where it cannot be a chunk."""
    columns = _arranged(content, content.series, tuple(sorted(content.transformer_sums)), limits)
    check_series(columns, limits, Blame.LOCAL)
    cells = np.zeros((CELLS, len(columns.transformers), HOURS), np.int64)
    for index, name in enumerate(columns.transformers):
        hours = content.transformer_sums[name]
        if len(hours) != HOURS:
            raise fault(37, f"transformer {name:.64} has {len(hours)} hours, not {HOURS}", Blame.LOCAL)
        cells[:, index, :] = np.array([_CELL_VALUES(cell) for cell in hours], np.int64).T
    whole = _with_cells(columns, cells)
    _check_sums(whole, Blame.LOCAL)
    return whole


def sums_of(
    head: ChunkHead, series: Sequence[Series], limits: ChunkLimits = CHUNK_LIMITS
) -> dict[str, tuple[HourCell, ...]]:
    """The hours of every transformer that `series` names, by the rule of this module: what a chunk must carry."""
    transformers = tuple(sorted({one.transformer for one in series if one.transformer}))
    columns = _arranged(head, series, transformers, limits)
    check_series(columns, limits, Blame.LOCAL)
    return _cells_out(transformers, computed_cells(columns))


def computed_cells(columns: ChunkColumns) -> Int64:
    """[CELLS, T, 24] by the rule of this module, from the series alone."""
    count = len(columns.points)
    per_hour = columns.head.intervals() // HOURS
    by_hour = (count, HOURS, per_hour)
    energy = columns.energy_wh.reshape(by_hour).sum(axis=2, dtype=np.int64)
    quality = columns.quality.reshape(by_hour)
    cells = np.zeros((CELLS, len(columns.transformers), HOURS), np.int64)

    def book(field: str, rows: NDArray[np.bool_], values: Int64) -> None:
        _sum_by(columns.transformer[rows], values[rows], cells[_CELL[field]])

    of_transformer = columns.transformer >= 0
    usage = of_transformer & (columns.kind == SeriesKind.USAGE)
    supply = of_transformer & (columns.kind == SeriesKind.TRANSFORMER)
    into, out_of = columns.channel == Channel.IMPORT, columns.channel == Channel.EXPORT
    missing = (quality == Quality.MISSING).sum(axis=2, dtype=np.int64)
    actual = (quality == Quality.ACTUAL).sum(axis=2, dtype=np.int64)
    expected = (quality != NOT_EXPECTED).sum(axis=2, dtype=np.int64)
    book("supplied_wh", supply & into, energy)
    book("supplied_wh", supply & out_of, -energy)
    book("supply_expected", supply & into, expected)
    book("supply_missing", supply & into, missing)
    book("delivered_wh", usage & into, energy)
    book("exported_wh", usage & out_of, energy)
    book("points_expected", usage & into, expected)
    book("points_actual", usage & into, actual)
    book("points_estimated", usage & into, expected - actual - missing)
    book("points_missing", usage & into, missing)
    return cells


def check(columns: ChunkColumns, limits: ChunkLimits, blame: Blame) -> None:
    """Raises ChunkFault unless the series are sound and the carried sums are theirs (-37)."""
    check_series(columns, limits, blame)
    _check_sums(columns, blame)


def _check_sums(columns: ChunkColumns, blame: Blame) -> None:
    differs = columns.cells != computed_cells(columns)
    if differs.any():
        wrong = np.argwhere(differs)[0]
        field, name, hour = CELL_FIELDS[wrong[0]], columns.transformers[wrong[1]], int(wrong[2])
        raise fault(37, f"{field} of transformer {name}, hour {hour}, is not the sum of its series", blame)


def check_series(columns: ChunkColumns, limits: ChunkLimits, blame: Blame) -> None:
    """Raises ChunkFault for absurd or contradictory values (-35, -36) or too many (-34)."""
    head = columns.head
    check_head(head, blame)
    if int(np.count_nonzero((columns.kind == 0) & (columns.channel == Channel.IMPORT))) > limits.points_max:
        raise fault(34, f"more than {limits.points_max} usage points", blame)
    kinds, channels = columns.kind, columns.channel
    if np.any(kinds > SeriesKind.GENERATOR) or np.any((channels < Channel.IMPORT) | (channels > Channel.T4)):
        raise fault(35, "a series has a kind or channel that does not exist", blame)
    owned = (kinds == SeriesKind.USAGE) | (kinds == SeriesKind.TRANSFORMER)
    if np.any(owned != (columns.transformer >= 0)):
        raise fault(35, "exactly usage points and transformer meters stand under a transformer", blame)
    _check_points(columns, blame)
    if np.any(np.bincount(columns.transformer[owned], minlength=len(columns.transformers)) == 0):
        raise fault(35, "hours of a transformer that no series names", blame)
    energy, quality, register = columns.energy_wh, columns.quality, columns.start_register_wh
    if np.any(energy < 0) or np.any(energy > ENERGY_WH_MAX):
        raise fault(36, f"an interval's energy is not from 0 to {ENERGY_WH_MAX} Wh", blame)
    if np.any(register < NO_REGISTER) or np.any(register > REGISTER_WH_MAX):
        raise fault(36, f"a register is not from 0 to {REGISTER_WH_MAX} Wh", blame)
    if np.any(quality > NOT_EXPECTED) or np.any(energy[quality >= Quality.MISSING] != 0):
        raise fault(36, "a quality does not exist, or a missing interval has energy", blame)


def _check_points(columns: ChunkColumns, blame: Blame) -> None:
    """Each point is one thing in one place, each of its channels is there once, IMPORT among them."""
    if len(set(columns.points)) == len(columns.points) and np.all(columns.channel == Channel.IMPORT):
        return
    places: dict[str, tuple[int, int]] = {}
    channels: dict[str, set[int]] = {}
    rows = zip(
        columns.points, columns.channel.tolist(), columns.kind.tolist(), columns.transformer.tolist(), strict=True
    )
    for point, channel, kind, transformer in rows:
        if places.setdefault(point, (kind, transformer)) != (kind, transformer):
            raise fault(35, f"point {point} stands in two places", blame)
        known = channels.setdefault(point, set())
        if channel in known:
            raise fault(35, f"a channel of point {point} is given twice", blame)
        known.add(channel)
    for point, known in channels.items():
        if Channel.IMPORT not in known:
            raise fault(35, f"point {point} has no IMPORT series: its completeness could not be told", blame)


def check_head(head: ChunkHead, blame: Blame) -> None:
    """Raises ChunkFault (-31, -35) for a head that cannot be."""
    if head.version != CHUNK_VERSION:
        raise fault(31, f"chunk version {head.version} is not known here", blame)
    if head.interval_minutes not in INTERVAL_MINUTES:
        raise fault(35, f"intervals of {head.interval_minutes} minutes", blame)
    try:
        zone(head.zone)
        parse_day(head.day)
    except Fault as error:
        raise fault(35, error.what, blame) from error


def _arranged(
    head: ChunkHead, series: Sequence[Series], transformers: tuple[str, ...], limits: ChunkLimits
) -> ChunkColumns:
    """The series as columns, cells still zero."""
    check_head(head, Blame.LOCAL)
    if len(series) > limits.series_max or len(transformers) > limits.transformers_max:
        raise fault(34, f"{len(series)} series of {len(transformers)} transformers", Blame.LOCAL)
    count = head.intervals()
    index = {name: number for number, name in enumerate(transformers)} | {"": NO_TRANSFORMER}
    for one in series:
        if len(one.energy_wh) != count or len(one.quality) != count:
            raise fault(35, f"series of {one.point:.64} has not {count} intervals", Blame.LOCAL)
        if one.transformer not in index:
            raise fault(37, f"transformer {one.transformer:.64} has series and no hours", Blame.LOCAL)
    try:
        registers = [NO_REGISTER if one.start_register_wh is None else one.start_register_wh for one in series]
        flat = chain.from_iterable(one.energy_wh for one in series)
        energy = np.fromiter(flat, np.int64, len(series) * count).reshape(len(series), count)
        start = np.array(registers, np.int64)
    except OverflowError as error:
        raise fault(36, "a value has more than 64 bits", Blame.LOCAL) from error
    if any(one.start_register_wh is not None and one.start_register_wh < 0 for one in series):
        raise fault(36, "a register is negative", Blame.LOCAL)
    quality = np.frombuffer(b"".join(one.quality for one in series), np.uint8).reshape(len(series), count)
    return ChunkColumns(
        head=head,
        points=tuple(one.point for one in series),
        transformers=transformers,
        kind=np.array([one.kind for one in series], np.uint8),
        channel=np.array([one.channel for one in series], np.uint8),
        transformer=np.array([index[one.transformer] for one in series], np.int64),
        start_register_wh=start,
        energy_wh=energy,
        quality=quality,
        cells=np.zeros((CELLS, len(transformers), HOURS), np.int64),
    )


def _with_cells(columns: ChunkColumns, cells: Int64) -> ChunkColumns:
    return ChunkColumns(
        columns.head,
        columns.points,
        columns.transformers,
        columns.kind,
        columns.channel,
        columns.transformer,
        columns.start_register_wh,
        columns.energy_wh,
        columns.quality,
        cells,
    )


def _sum_by(owners: Int64, values: Int64, into: Int64) -> None:
    """Add each row of `values` to the row of `into` that its owner names."""
    if len(owners) == 0:
        return
    order = np.argsort(owners, kind="stable")
    ordered = owners[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    into[ordered[starts]] += np.add.reduceat(values[order], starts, axis=0)


def _cells_out(transformers: Sequence[str], cells: Int64) -> dict[str, tuple[HourCell, ...]]:
    by_hour: list[list[list[int]]] = cells.transpose(1, 2, 0).tolist()
    return {name: tuple(HourCell(*cell) for cell in hours) for name, hours in zip(transformers, by_hour, strict=True)}
