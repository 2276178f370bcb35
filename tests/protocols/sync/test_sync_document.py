"""Large documents: they come back, travel small, and no frame unpacks beyond its limit."""

import random
import time
import tracemalloc

import pytest
import zstandard

from protocols.sync.chunk.document import pack_document, unpack_document
from protocols.sync.lanes import ITEM_BYTES_MAX
from protocols.sync.wire import DOCUMENT, Limits, WireFault, pack


def test_a_document_comes_back_with_equal_bytes() -> None:
    value = {"rows": [{"id": f"up-{number}", "address": None} for number in range(500)], "version": 3}
    assert unpack_document(pack_document(value)) == value
    assert pack_document(value) == pack_document(dict(reversed(value.items())))


@pytest.mark.slow
def test_the_largest_node_fits_one_item() -> None:
    """Identifiers, serials and addresses as random as real ones, each identifier in every table that names it."""
    rng = random.Random(3)
    points = [f"up-{rng.randrange(16**10):010x}" for _ in range(120_000)]
    accounts = [f"{rng.randrange(10**12):012}" for _ in points]
    meters = [f"m-{rng.randrange(16**12):012x}" for _ in points]
    document = {
        "version": 1,
        "usage_points": [
            {"id": one, "class": "household", "address": f"Street {rng.randrange(360)}, {rng.randrange(300)}"}
            for one in points
        ],
        "accounts": [
            {"id": account, "usage_point": one, "person": f"p-{rng.randrange(16**12):012x}"}
            for account, one in zip(accounts, points, strict=True)
        ],
        "meters": [
            {
                "id": meter,
                "serial": f"{rng.randrange(10**11):011}",
                "address": f"10.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(256)}:502",
                "unit": number % 247,
            }
            for number, meter in enumerate(meters)
        ],
        "installations": [
            {"meter": meter, "point": one, "channels": [1], "multiplier": [1, 1], "valid_from": rng.randrange(2**24)}
            for meter, one in zip(meters, points, strict=True)
        ],
        "links": [{"usage_point": one, "transformer": f"t-{number % 1_200}"} for number, one in enumerate(points)],
    }
    packed = pack_document({"document": document})
    assert len(packed) < ITEM_BYTES_MAX
    assert unpack_document(packed) == {"document": document}


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        [{}],
        [{}, {}],
        [{"a": 1}, {"b": 1}],
        [{"a": 1}, 2],
        [{"columns": 1}],
        [[{"columns": {"a": [1]}}]],
        {"columns": 1, "rows": [{"a": {"columns": 1}}]},
        {"a": {"b": [{"c": [{"d": 1}], "e": {"f": None}}]}},
    ],
)
def test_whatever_its_shape_a_document_comes_back(value: object) -> None:
    assert unpack_document(pack_document(value)) == value


def test_columns_that_are_no_table_are_refused() -> None:
    with pytest.raises(WireFault, match="TQ-SY-06"):
        pack_document({"columns": [1]})
    few = Limits(bytes_max=1_000_000, containers_max=100)
    wrongs: tuple[object, ...] = (
        None,
        [],
        {},
        {"a": 1},
        {"a": []},
        {"a": [1], "b": []},
        {"a": [1, 2], "b": [1]},
        {"a": [0] * 101},
    )
    for wrong in wrongs:
        with pytest.raises(WireFault):
            unpack_document(zstandard.ZstdCompressor().compress(pack({"columns": wrong})), few)


def test_a_bomb_is_refused_before_it_grows() -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(DOCUMENT.bytes_max + 1))
    silent = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(DOCUMENT.bytes_max + 1))
    maps = zstandard.ZstdCompressor().compress(b"\xdd\x00\x10\x00\x00" + b"\x80" * 1_048_576)
    tracemalloc.start()
    started = time.process_time()
    try:
        for data in (bomb, maps):
            with pytest.raises(WireFault):
                unpack_document(data)
        with pytest.raises(WireFault):
            unpack_document(silent, Limits(bytes_max=1_000_000))
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.process_time() - started < 2.0
    assert peak_bytes < 16_000_000


def test_flipped_bits_and_noise_are_named_or_change_nothing() -> None:
    """A bit that zstd leaves unused may flip; every other is caught by its checksum."""
    value = {"rows": ["street"] * 50}
    good = pack_document(value)
    refused = 0
    for offset in range(len(good)):
        data = bytearray(good)
        data[offset] ^= 1 << (offset % 8)
        try:
            assert unpack_document(bytes(data)) == value
        except WireFault:
            refused += 1
    assert refused >= len(good) - 1
    rng = random.Random(2)
    for noise in (b"", good[:-1], good + b"x", pack({"plain": 1}), *(rng.randbytes(40) for _ in range(200))):
        with pytest.raises(WireFault):
            unpack_document(noise)
