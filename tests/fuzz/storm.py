"""Hostile bytes against one layer at a time: mutated and random frames, each judged; `python -m tests.fuzz` runs long.

A layer has sound frames to start from and a way to be fed. Feeding may return, or raise a `ProtocolFault` that says
whose fault it was and what to do; any other exception is a bug, and so are a frame that takes long or much memory. A
bug names the frame's bytes: put them into `tests/protocols/dlms/test_dlms_regressions.py`.
"""

import random
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from protocols.errors import Blame, ProtocolFault

SECONDS_MAX = 0.5
"""CPU of one frame; 65,535 values in one take 0.11 s on a busy machine, any other frame less than half of that."""
MEMORY_MAX = 24_000_000
"""Bytes that one frame may hold at its peak: 65,535 bytes of nulls are 65,535 values."""
MEMORY_EVERY = 250
"""One frame in so many is watched for its memory, which costs many times the feeding."""
LARGE, LARGE_EVERY = 10_000, 10
"""Of frames longer than so many bytes, one in so many."""
FAULTS_SHARE_MIN = 0.2
"""Below it mutation does not reach the layer's rules, and the storm proves nothing."""
_NASTY = (0x00, 0x01, 0x02, 0x7E, 0x7F, 0x80, 0x81, 0x82, 0x83, 0x84, 0xC0, 0xFE, 0xFF)


class Misconduct(Exception):
    """A layer did what it must not, beyond raising."""


@dataclass(frozen=True)
class Layer:
    """What is stormed."""

    name: str
    frames: Sequence[bytes]
    """Sound ones."""
    feed: Callable[[bytes, random.Random], object]
    blames: frozenset[Blame] = frozenset({Blame.REMOTE})
    """Who may be blamed for a frame that came from outside."""
    answers_all: bool = False
    """Whether it never raises, so that faults need not be counted."""
    weight: float = 1.0
    """Its share of the frames, beside the others'."""
    finish: Callable[[], None] = lambda: None
    """Looks at the end whether anything happened that must not."""


@dataclass
class Tally:
    """What became of a layer's frames."""

    layer: str
    frames: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    bugs: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    peak_bytes: int = 0


def mutated(rng: random.Random, frame: bytes, others: Sequence[bytes]) -> bytes:
    """A frame changed in one to four places; now and then a splice of two, or bytes out of the air."""
    if rng.random() < 0.03:
        return rng.randbytes(rng.choice((0, 1, 2, 5, 20, 100, 300)))
    changed = bytearray(frame)
    for _ in range(rng.randrange(1, 5)):
        at = rng.randrange(len(changed)) if changed else 0
        match rng.randrange(9):
            case 0 if changed:
                changed[at] ^= 1 << rng.randrange(8)
            case 1 if changed:
                changed[at] = rng.choice(_NASTY)
            case 2 if changed:
                changed[at] = rng.randrange(256)
            case 3:
                changed[at:at] = rng.randbytes(rng.randrange(1, 6))
            case 4:
                del changed[at : at + rng.randrange(1, 6)]
            case 5:
                changed = changed[: at + 1] + changed[at:]
            case 6:
                del changed[at:]
            case 7:
                other = rng.choice(others)
                changed[at:] = other[rng.randrange(len(other) + 1) :]
            case _:
                changed[at : at + 1] = bytes((rng.choice(_NASTY),)) * rng.choice((1, 2, 4, 60))
    return bytes(changed)


def storm(layer: Layer, frames: int, seed: int | str) -> Tally:
    """Feed so many frames; the same seed feeds the same."""
    rng = random.Random(f"{layer.name} {seed}")
    tally = Tally(layer.name)
    for number in range(frames):
        raw = mutated(rng, rng.choice(layer.frames), layer.frames)
        watched = number % (LARGE_EVERY if len(raw) > LARGE else MEMORY_EVERY) == 0
        if watched:
            tracemalloc.start()
        started = time.thread_time()
        problem = _fed(layer, raw, rng, tally)
        spent = time.thread_time() - started
        if watched:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            tally.peak_bytes = max(tally.peak_bytes, peak)
            if peak > MEMORY_MAX:
                problem = f"{peak} bytes of memory"
        else:
            tally.slowest_s = max(tally.slowest_s, spent)
            if spent > SECONDS_MAX:
                problem = f"{spent:.2f} s"
        if problem is not None:
            tally.bugs.append(f"{layer.name}: {problem}: {raw.hex()}")
        tally.frames += 1
    try:
        layer.finish()
    except Misconduct as wrong:
        tally.bugs.append(f"{layer.name}: {wrong}")
    if frames >= 1_000 and not layer.answers_all and sum(tally.codes.values()) < FAULTS_SHARE_MIN * frames:
        tally.bugs.append(f"{layer.name}: only {sum(tally.codes.values())} of {frames} frames were found wrong")
    return tally


def _fed(layer: Layer, raw: bytes, rng: random.Random, tally: Tally) -> str | None:
    """What is wrong with how one frame was taken; None: nothing."""
    try:
        layer.feed(raw, rng)
    except ProtocolFault as fault:
        tally.codes[fault.code] += 1
        if fault.blame not in layer.blames or not fault.hint or not fault.code.startswith("TQ-"):
            return f"{fault.code} blames {fault.blame.value}"
    except Exception as error:  # noqa: BLE001 — this is what the storm looks for
        return repr(error)[:200]
    return None
