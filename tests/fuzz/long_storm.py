"""`python -m tests.fuzz`: a long storm over all layers, on all cores. Exit 1: a bug was found; its bytes are told."""

import argparse
import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from functools import cache

from tests.fuzz import dlms_layers, file_layers, other_layers
from tests.fuzz.storm import Layer, Tally, storm

SLICE = 5_000
"""Frames of one layer at a time, so that cores are busy to the end."""


@cache
def all_layers() -> dict[str, Layer]:
    return {layer.name: layer for layer in (*dlms_layers.layers(), *other_layers.layers(), *file_layers.layers())}


def one(job: tuple[str, int, str]) -> Tally:
    name, frames, seed = job
    return storm(all_layers()[name], frames, seed)


def shares(layers: Sequence[Layer], frames: int) -> dict[str, int]:
    """How many frames each layer gets, by weight; together exactly `frames`."""
    whole = sum(layer.weight for layer in layers)
    found = {layer.name: int(frames * layer.weight / whole) for layer in layers}
    found[layers[0].name] += frames - sum(found.values())
    return found


def jobs_of(names: Sequence[str], frames: int, seed: int) -> list[tuple[str, int, str]]:
    """The frames of each layer in slices."""
    return [
        (name, min(SLICE, count - at), f"{seed}.{at // SLICE}")
        for name, count in shares([all_layers()[name] for name in names], frames).items()
        for at in range(0, count, SLICE)
    ]


def joined(tallies: list[Tally], told: Callable[[str], None]) -> dict[str, object]:
    by_layer: dict[str, Tally] = {}
    for tally in tallies:
        whole = by_layer.setdefault(tally.layer, Tally(tally.layer))
        whole.frames += tally.frames
        whole.codes += tally.codes
        whole.bugs += tally.bugs
        whole.slowest_s = max(whole.slowest_s, tally.slowest_s)
        whole.peak_bytes = max(whole.peak_bytes, tally.peak_bytes)
    for whole in by_layer.values():
        told(
            f"{whole.layer}: {whole.frames} frames, {sum(whole.codes.values())} faults of {len(whole.codes)} kinds, "
            f"slowest {whole.slowest_s * 1e3:.1f} ms, peak {whole.peak_bytes / 1e6:.1f} MB, {len(whole.bugs)} bugs"
        )
    return {
        "frames": sum(whole.frames for whole in by_layer.values()),
        "layers": [
            {
                "name": whole.layer,
                "frames": whole.frames,
                "faults": dict(sorted(whole.codes.items())),
                "slowest_ms": round(whole.slowest_s * 1e3, 2),
                "peak_bytes": whole.peak_bytes,
                "bugs": whole.bugs[:20],
            }
            for whole in by_layer.values()
        ],
        "bugs": sum(len(whole.bugs) for whole in by_layer.values()),
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--frames", type=int, default=1_000_000, help="of all layers together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--layer", action="append", help="only this one; may be given again")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    given = parser.parse_args(arguments)
    known = list(all_layers())
    unknown = sorted(set(given.layer or ()) - set(known))
    if unknown:
        parser.error(f"unknown layer {unknown[0]}; known: {', '.join(known)}")
    jobs = jobs_of(given.layer or known, given.frames, given.seed)
    if given.workers == 1:
        tallies = [one(job) for job in jobs]
    else:
        with multiprocessing.get_context("spawn").Pool(given.workers) as pool:
            tallies = pool.map(one, jobs, chunksize=1)
    report = joined(tallies, lambda text: print(text, file=sys.stderr, flush=True))  # noqa: T201
    bugs = [bug for layer in report["layers"] for bug in layer["bugs"]]  # type: ignore[attr-defined]
    if given.json:
        print(json.dumps(report))  # noqa: T201
    else:
        print("\n".join(bugs) or f"{report['frames']} frames, no bug")  # noqa: T201
    return 1 if bugs else 0
