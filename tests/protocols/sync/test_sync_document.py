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


def test_the_largest_node_fits_one_item() -> None:
    row = {"account": "", "class": "household", "street": "Street 17, house 4", "meter": "", "place": "127.1.0.1:5020"}
    rows = [row | {"account": f"n1-a{number}", "meter": f"n1-m{number}"} for number in range(120_000)]
    assert len(pack_document({"rows": rows})) < ITEM_BYTES_MAX


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
