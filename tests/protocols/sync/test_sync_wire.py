"""The msgpack door: round trips, equal bytes for equal values, and every bomb refused in bounded time and memory."""

import random
import time
import tracemalloc
from typing import Any

import msgpack  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import Blame, Hope
from protocols.sync.wire import DOCUMENT, FRAME, Limits, WireFault, pack, unpack

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=30)
    | st.binary(max_size=30)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=10), inner, max_size=5),
    max_leaves=30,
)


@given(VALUES)
def test_a_value_comes_back(value: Any) -> None:
    assert unpack(pack(value, DOCUMENT), DOCUMENT) == value


@given(st.dictionaries(st.text(max_size=8), st.integers(0, 99), max_size=8), st.randoms())
def test_equal_values_have_equal_bytes(value: dict[str, int], rng: random.Random) -> None:
    shuffled = list(value.items())
    rng.shuffle(shuffled)
    assert pack(value) == pack(dict(shuffled))


def refused(data: bytes, limits: Limits = FRAME) -> str:
    with pytest.raises(WireFault) as caught:
        unpack(data, limits)
    assert caught.value.blame is Blame.REMOTE
    assert caught.value.hope is Hope.PERMANENT
    assert caught.value.hint
    return caught.value.code


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "TQ-SY-02"),
        (b"\xc1", "TQ-SY-02"),
        (b"\x01\x01", "TQ-SY-02"),
        (b"\x93\x01", "TQ-SY-02"),
        (b"\xa2\xff\xff", "TQ-SY-02"),
        (b"\x91" * 3_000, "TQ-SY-03"),
        (b"\x91" * 13 + b"\x01", "TQ-SY-03"),
        (b"\xdd\xff\xff\xff\xff", "TQ-SY-02"),
        (b"\xdf\xff\xff\xff\xff", "TQ-SY-02"),
        (b"\xdb\xff\xff\xff\xff", "TQ-SY-02"),
        (b"\x82\xa1a\x01\xa1a\x02", "TQ-SY-05"),
        (b"\x81\xc4\x01a\x02", "TQ-SY-05"),
        (b"\x81\x01\x02", "TQ-SY-02"),
        (b"\x81\xd9\x41" + b"k" * 65 + b"\x01", "TQ-SY-05"),
        (b"\xcb\x7f\xf8\0\0\0\0\0\0", "TQ-SY-06"),
        (b"\xcb\x7f\xf0\0\0\0\0\0\0", "TQ-SY-06"),
        (b"\xc7\x00\x05", "TQ-SY-06"),
        (b"\xd6\xff\0\0\0\0", "TQ-SY-06"),
        (b"\xd7\xff" + b"\xff" * 8, "TQ-SY-02"),
        (b"\xc4\x01x" * 2, "TQ-SY-02"),
        (bytes(8_193), "TQ-SY-01"),
    ],
)
def test_what_is_not_plain_is_named(data: bytes, code: str) -> None:
    assert refused(data) == code


def test_lengths_are_held_to_their_limits() -> None:
    limits = Limits(bytes_max=8_192, items_max=3, containers_max=4, text_max=5, octets_max=5)
    assert refused(msgpack.packb([1, 2, 3, 4]), limits) == "TQ-SY-02"
    assert refused(msgpack.packb([[[], []], []]), limits) == "TQ-SY-04"
    assert refused(msgpack.packb("sixsix"), limits) == "TQ-SY-04"
    assert refused(msgpack.packb(b"sixsix"), limits) == "TQ-SY-04"
    assert unpack(msgpack.packb([[1, 2, 3], "fives"]), limits) == [[1, 2, 3], "fives"]


@pytest.mark.parametrize(
    "bomb",
    [
        b"\xdd\x00\x02\x00\x00" + b"\x80" * 131_072,
        b"\xdd\x00\x02\x00\x00" + b"\x90" * 131_072,
        (b"\xdc\xff\xff" + b"\x80" * 65_535) * 16,
        b"\xdd\x00\x10\x00\x00" + b"\x80" * 1_048_576,
        b"\xdf\x00\x08\x00\x00" + b"\xa1a\x80" * 524_288,
        b"\x9f" * 1_048_576,
        b"\x81\xa1a" * 400_000,
    ],
)
def test_a_bomb_costs_little_time_and_memory(bomb: bytes) -> None:
    limits = Limits(bytes_max=4_194_304)
    tracemalloc.start()
    started = time.process_time()
    try:
        refused(bomb, limits)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.process_time() - started < 1.0
    assert peak_bytes < 8_000_000


@pytest.mark.parametrize(
    "value", [{1: 2}, {b"k": 1}, {"k": {1}}, float("nan"), float("inf"), 2**64, -(2**63) - 1, object(), "\ud800"]
)
def test_what_cannot_travel_is_our_own_fault(value: object) -> None:
    with pytest.raises(WireFault) as caught:
        pack(value)
    assert caught.value.blame is Blame.LOCAL


def test_what_is_too_large_or_deep_is_not_sent() -> None:
    deep: list[Any] = []
    for _ in range(20):
        deep = [deep]
    for value, code in ((bytes(8_190), "01"), (deep, "03"), ([0] * 5_000, "04"), ("x" * 5_000, "04")):
        with pytest.raises(WireFault) as caught:
            pack(value)
        assert caught.value.code == f"TQ-SY-{code}"
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(WireFault):
        pack(endless)


def test_twenty_thousand_mutations_give_a_value_or_a_fault() -> None:
    rng = random.Random(20_260_504)
    good = pack({"node": "n-1", "lanes": {"control": [1, 2, bytes(32)]}, "at": 1_780_000_000, "x": [1.5, None, True]})
    refusals = 0
    for _ in range(20_000):
        data = bytearray(good)
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        cut = rng.randrange(len(data)) if rng.random() < 0.1 else len(data)
        try:
            unpack(bytes(data[:cut]))
        except WireFault:
            refusals += 1
    assert 1_000 < refusals < 20_000
