"""Benchmark `sync`: what a reading costs on the wire and in CPU, from the day close to the hub's verified sums.

One chunk is made: 1,000 households on the measured series (simulate.loads), transformers of 80 with their meters, a
feeder head, 1 % of intervals missing or estimated. Then each step is timed on one core, interleaved, best of several:
encode at the edge; seal (digest, signature); parse, judge and check the signature at the hub; decode with digest,
bounds and sums, to plain values and, beside it, to columns only.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from random import Random
from time import process_time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.figures import Figure, Report
from gridmodel.clock import TimeBounds
from gridmodel.identity import DistrictId, NodeId
from gridmodel.reading import Channel, Quality, Revision
from protocols.authority.canonical import Domain
from protocols.authority.signatures import KeyRing, NamedKey, Role, Signer
from protocols.sync.batch import Batch
from protocols.sync.chunk import (
    ChunkContent,
    ChunkHead,
    Series,
    SeriesKind,
    decode_chunk,
    decode_columns,
    encode_chunk,
    sums_of,
)
from protocols.sync.lanes import Lane, fresh_mark
from protocols.sync.seal import check_signature, seal
from protocols.sync.state import VerdictKind, judge
from simulate.loads import draw_consumers, energies_wh

NAME = "sync"
DAY = "2026-05-04"
POINTS_PER_TRANSFORMER = 80
NOW = 1_780_000_000
SPOILT_SHARE = 0.05
"""Points with five hours missing or estimated: 1 % of all intervals."""
STEPS = ("encode", "seal", "judge", "decode")


def day_of_chunks(*, points: int, interval_minutes: int, seed: int = 7) -> ChunkContent:
    """One chunk: `points` usage points of whole transformers, with their meters and one feeder head."""
    rng = Random(seed)
    head = ChunkHead(
        node=NodeId("node-1726264"),
        district=DistrictId("1726264"),
        day=DAY,
        zone="Asia/Tashkent",
        interval_minutes=interval_minutes,
        registry_version=7,
        revision=Revision(1, 1),
    )
    quarters = energies_wh(draw_consumers(np.ones(points, np.bool_), seed), date.fromisoformat(DAY))
    energy = quarters.reshape(points, head.intervals(), -1).sum(axis=2)
    series: list[Series] = []
    total = np.zeros(head.intervals(), np.int64)
    for first in range(0, points, POINTS_PER_TRANSFORMER):
        rows = energy[first : first + POINTS_PER_TRANSFORMER]
        name = f"tr-1726264-{first // POINTS_PER_TRANSFORMER:05d}"
        series.extend(_household(rng, f"up-1726264-{first + n:06d}", name, row) for n, row in enumerate(rows))
        supplied = rows.sum(axis=0) * 103 // 100 + 150
        total += supplied
        series.append(_supply(rng, f"sp-{name}", SeriesKind.TRANSFORMER, name, supplied))
    series.append(_supply(rng, "sp-1726264-f01", SeriesKind.FEEDER_HEAD, "", total * 102 // 100))
    return ChunkContent(
        **{name: getattr(head, name) for name in ChunkHead.__slots__},
        series=tuple(series),
        transformer_sums=sums_of(head, series),
    )


def _household(rng: Random, point: str, transformer: str, row: NDArray[np.int64]) -> Series:
    energy, quality = row.tolist(), bytearray(len(row))
    if rng.random() < SPOILT_SHARE:
        length = len(row) * 5 // 24
        start, missing = rng.randrange(len(row) - length), rng.random() < 0.5
        for index in range(start, start + length):
            quality[index] = Quality.MISSING if missing else Quality.ESTIMATED
            energy[index] = 0 if missing else energy[index]
    register = rng.randrange(10**5, 10**8)
    return Series(point, Channel.IMPORT, SeriesKind.USAGE, transformer, register, tuple(energy), bytes(quality))


def _supply(rng: Random, point: str, kind: SeriesKind, transformer: str, row: NDArray[np.int64]) -> Series:
    register = rng.randrange(10**9, 10**11)
    return Series(point, Channel.IMPORT, kind, transformer, register, tuple(row.tolist()), bytes(len(row)))


@dataclass(frozen=True)
class Measured:
    """One length of interval."""

    interval_minutes: int
    readings: int
    bytes_per_reading: float
    seconds: dict[str, float]
    """CPU seconds of each step, once through."""

    def per_s(self, steps: tuple[str, ...] = STEPS) -> float:
        """Readings a second through these steps on one core."""
        return self.readings / sum(self.seconds[step] for step in steps)

    def row(self) -> dict[str, Any]:
        """For the report."""
        return {
            "interval_minutes": self.interval_minutes,
            "readings": self.readings,
            "bytes_per_reading": round(self.bytes_per_reading, 3),
            **{f"{step}_ms": round(seconds * 1_000, 3) for step, seconds in self.seconds.items()},
            "readings_per_s": round(self.per_s()),
        }


def measure(*, points: int, interval_minutes: int, repeats: int) -> Measured:
    """Times each step; the best of `repeats`, interleaved, so that a busy machine disturbs all alike."""
    content = day_of_chunks(points=points, interval_minutes=interval_minutes)
    signer = Signer.from_seed(bytes(range(32)), Domain.DEMO)
    node = content.node
    keyring = KeyRing([NamedKey(signer.public, node, frozenset({Role.NODE}))], Domain.DEMO)
    payload = encode_chunk(content)
    mark = fresh_mark(1)
    batch = seal(payload, node=node, lane=Lane.INTERVAL, after=mark, registry_version=7, now=NOW, signer=signer)
    data = batch.to_bytes()
    seconds = dict.fromkeys((*STEPS, "columns"), float("inf"))

    def judged() -> None:
        received = Batch.from_bytes(data)
        trusted = check_signature(received.header, keyring, TimeBounds(NOW, NOW))
        verdict = judge(received, node=node, have=mark, held_digest=None, signature=trusted)
        if verdict.kind is not VerdictKind.APPLY:
            raise RuntimeError(verdict.reason)

    def sealed() -> None:
        seal(payload, node=node, lane=Lane.INTERVAL, after=mark, registry_version=7, now=NOW, signer=signer).to_bytes()

    steps: dict[str, Callable[[], object]] = {
        "encode": lambda: encode_chunk(content),
        "seal": sealed,
        "judge": judged,
        "decode": lambda: decode_chunk(payload),
        "columns": lambda: decode_columns(payload).sums(),
    }
    for _ in range(repeats):
        for name, run_step in steps.items():
            started = process_time()
            run_step()
            seconds[name] = min(seconds[name], process_time() - started)
    if decode_chunk(payload) != content:
        raise RuntimeError("the chunk did not come back as it went")
    readings = sum(len(one.energy_wh) for one in content.series)
    return Measured(interval_minutes, readings, len(data) / readings, seconds)


def run(*, smoke: bool) -> Report:
    """Bytes and readings/s for hourly, half-hourly and quarter-hourly intervals; the figures are the hourly ones."""
    found = [
        measure(points=160 if smoke else 1_000, interval_minutes=minutes, repeats=1 if smoke else 40)
        for minutes in (60, 30, 15)
    ]
    hourly = found[0]
    figures = (
        Figure(
            "sync.bytes_per_reading",
            "on the wire per hourly reading, with header, registers, flags and transformer sums",
            round(hourly.bytes_per_reading, 3),
            "B",
        ),
        Figure(
            "sync.readings_per_s",
            "hourly readings through encode, seal, judge and decode, edge and hub on one core",
            round(hourly.per_s()),
            "1/s",
        ),
        Figure(
            "sync.hub_readings_per_s",
            "hourly readings through judge and decode to columns and sums: what ingest needs of a chunk",
            round(hourly.per_s(("judge", "columns"))),
            "1/s",
        ),
    )
    return Report(rows=tuple(one.row() for one in found), figures=figures)
