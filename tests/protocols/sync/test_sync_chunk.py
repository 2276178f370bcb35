"""Chunks: golden bytes, round trips, sums by the rule, and no hostile bytes that decode to wrong content."""

import random
import struct
import time
import tracemalloc
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import-untyped]
import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from gridmodel.balance import CELL_FIELDS, HourCell
from gridmodel.network import SupplyPointKind
from gridmodel.reading import Channel, Quality
from protocols.errors import Blame, ProtocolFault
from protocols.sync.chunk import (
    CHUNK_LIMITS,
    ENERGY_WH_MAX,
    NOT_EXPECTED,
    REGISTER_WH_MAX,
    ChunkContent,
    ChunkFault,
    ChunkHead,
    ChunkLimits,
    Series,
    SeriesKind,
    decode_chunk,
    decode_columns,
    encode_chunk,
    sums_of,
)
from tests.protocols.sync import samples

GOLDEN = Path(__file__).parents[2] / "golden" / "chunk_v1.bin"
START = struct.Struct("<7sBHII")


def test_golden_bytes_are_read_for_ever() -> None:
    assert decode_chunk(GOLDEN.read_bytes()) == samples.small_chunk()


def test_golden_bytes_are_still_what_is_written() -> None:
    """Compared decompressed: another zstd may pack the same body otherwise."""
    golden, now = GOLDEN.read_bytes(), encode_chunk(samples.small_chunk())
    assert _taken_apart(golden)[:2] == _taken_apart(now)[:2]


def test_the_cells_on_the_wire_keep_their_order() -> None:
    expected = "supplied delivered exported supply_expected supply_missing points_expected points_actual "
    expected += "points_estimated points_missing"
    assert [name.removesuffix("_wh") for name in CELL_FIELDS[:9]] == expected.split()
    assert [SeriesKind.of(kind).name for kind in SupplyPointKind] == [kind.name for kind in SupplyPointKind]


def test_sums_follow_the_rule() -> None:
    sums = samples.small_chunk().transformer_sums
    first, late = sums["tr-1"][0], sums["tr-1"][22]
    assert first == HourCell(
        supplied_wh=200 - 300,
        delivered_wh=200,
        exported_wh=5,
        supply_expected=1,
        points_expected=2,
        points_actual=2,
    )
    assert (late.delivered_wh, late.points_actual, late.points_missing) == (122, 1, 1)
    assert [cell.points_estimated for cell in sums["tr-1"]] == [0] * 20 + [1, 1, 0, 0]
    assert sums["tr-2"][5] == HourCell(points_expected=1, points_missing=1)


@st.composite
def contents(draw: st.DrawFn) -> ChunkContent:
    minutes = draw(st.sampled_from((15, 30, 60)))
    head = replace(samples.HEAD, interval_minutes=minutes)
    count = head.intervals()
    series: list[Series] = []
    limit = draw(st.sampled_from((50, 2**31, ENERGY_WH_MAX)))
    rng = random.Random(draw(st.integers(0, 2**32)))
    for number in range(draw(st.integers(0, 6))):
        kind = draw(st.sampled_from(SeriesKind))
        transformer = f"tr-{number % 3}" if kind in {SeriesKind.USAGE, SeriesKind.TRANSFORMER} else ""
        others = draw(st.sets(st.sampled_from([one for one in Channel if one is not Channel.IMPORT]), max_size=3))
        for channel in (Channel.IMPORT, *sorted(others)):
            quality = bytes(rng.choice((0, 0, 0, 1, 2, 3, 4)) for _ in range(count))
            energy = tuple(0 if one >= Quality.MISSING else rng.randrange(limit + 1) for one in quality)
            register = draw(st.none() | st.integers(0, REGISTER_WH_MAX))
            series.append(Series(f"point-{number}", channel, kind, transformer, register, energy, quality))
    return samples.content(head, series)


@settings(max_examples=60, deadline=None)
@given(contents())
def test_a_chunk_comes_back_as_it_went(content: ChunkContent) -> None:
    assert decode_chunk(encode_chunk(content)) == content


@settings(max_examples=30, deadline=None)
@given(contents())
def test_sums_equal_those_added_up_by_hand(content: ChunkContent) -> None:
    per_hour = 60 // content.interval_minutes
    for name, cells in content.transformer_sums.items():
        for hour, cell in enumerate(cells):
            span = range(hour * per_hour, (hour + 1) * per_hour)
            added = dict.fromkeys(CELL_FIELDS[:9], 0)
            for one in content.series:
                if one.transformer == name:
                    _add(added, one, span)
            assert cell == HourCell(**added)


def _add(added: dict[str, int], one: Series, span: range) -> None:
    energy = sum(one.energy_wh[index] for index in span)
    count = {quality: sum(one.quality[index] == quality for index in span) for quality in Quality}
    usage = one.kind is SeriesKind.USAGE
    if one.channel is Channel.EXPORT:
        added["exported_wh" if usage else "supplied_wh"] += energy if usage else -energy
    if one.channel is not Channel.IMPORT:
        return
    added["delivered_wh" if usage else "supplied_wh"] += energy
    added["points_expected" if usage else "supply_expected"] += sum(
        one.quality[index] != NOT_EXPECTED for index in span
    )
    added["points_missing" if usage else "supply_missing"] += count[Quality.MISSING]
    if usage:
        added["points_actual"] += count[Quality.ACTUAL]
        added["points_estimated"] += count[Quality.ESTIMATED] + count[Quality.SUSPECT]


def test_columns_say_the_same() -> None:
    content = samples.small_chunk()
    columns = decode_columns(encode_chunk(content))
    assert columns.content() == content
    assert columns.sums() == content.transformer_sums
    assert columns.energy_wh.shape == (7, 24)
    assert content.ends()[-1] - content.ends()[0] == 23 * 3600
    assert not content.series[3].known(0)


def test_a_full_day_takes_few_bytes() -> None:
    rng = random.Random(1)
    series = []
    for number in range(1_000):
        energy = tuple(rng.randrange(50, 800) for _ in range(24))
        register = rng.randrange(10**8)
        series.append(
            Series(
                f"up-1726264-{number:06d}",
                Channel.IMPORT,
                SeriesKind.USAGE,
                f"tr-{number // 80}",
                register,
                energy,
                bytes(24),
            )
        )
    assert len(encode_chunk(samples.content(samples.HEAD, series))) / 24_000 <= 2.2


# What a maker may not put in


def _one(**changes: Any) -> Series:
    good = Series("up-1", Channel.IMPORT, SeriesKind.USAGE, "tr-1", 0, (1,) * 24, bytes(24))
    return replace(good, **changes)


@pytest.mark.parametrize(
    ("series", "code"),
    [
        ([_one(energy_wh=(-1,) + (0,) * 23)], "36"),
        ([_one(energy_wh=(ENERGY_WH_MAX + 1,) * 24)], "36"),
        ([_one(energy_wh=(2**70,) * 24)], "36"),
        ([_one(start_register_wh=-1)], "36"),
        ([_one(start_register_wh=REGISTER_WH_MAX + 1)], "36"),
        ([_one(quality=bytes([3] * 24))], "36"),
        ([_one(quality=bytes([4] * 24))], "36"),
        ([_one(quality=bytes([5] * 24))], "36"),
        ([_one(quality=bytes(23))], "35"),
        ([_one(energy_wh=(1,) * 25)], "35"),
        ([_one(), _one()], "35"),
        ([_one(), _one(channel=Channel.EXPORT, transformer="tr-2")], "35"),
        ([_one(channel=Channel.EXPORT)], "35"),
        ([_one(transformer="")], "35"),
        ([_one(kind=SeriesKind.FEEDER_HEAD)], "35"),
        ([_one(point="up 1")], "35"),
        ([_one(point="up-1\nup-2")], "35"),
        ([_one(point="ўп-1")], "35"),
        ([_one(point="x" * 65)], "35"),
    ],
)
def test_a_wrong_series_makes_no_chunk(series: list[Series], code: str) -> None:
    with pytest.raises(ChunkFault) as caught:
        encode_chunk(samples.content(samples.HEAD, series))
    assert caught.value.code == f"TQ-SY-{code}"
    assert caught.value.blame is Blame.LOCAL


def test_wrong_sums_make_no_chunk() -> None:
    good = samples.small_chunk()
    cells = good.transformer_sums["tr-1"]
    for hours in (cells[:23], (replace(cells[0], delivered_wh=1), *cells[1:])):
        with pytest.raises(ChunkFault) as caught:
            encode_chunk(replace(good, transformer_sums={**good.transformer_sums, "tr-1": hours}))
        assert caught.value.code == "TQ-SY-37"
    for sums in ({"tr-1": cells}, {**good.transformer_sums, "tr-9": cells}):
        with pytest.raises(ChunkFault):
            encode_chunk(replace(good, transformer_sums=sums))


@pytest.mark.parametrize(
    "changes", [{"day": "2026-02-30"}, {"zone": "Europe/Paris"}, {"interval_minutes": 20}, {"version": 2}]
)
def test_a_wrong_head_makes_no_chunk(changes: dict[str, Any]) -> None:
    head: ChunkHead = replace(samples.HEAD, **changes)
    with pytest.raises(ChunkFault):
        sums_of(head, [])


# What may come in


def _taken_apart(data: bytes) -> tuple[dict[str, Any], bytes]:
    _, _, head_len, body_len, _ = START.unpack_from(data)
    head: dict[str, Any] = msgpack.unpackb(data[START.size : START.size + head_len])
    body = data[START.size + head_len : START.size + head_len + body_len]
    return head, zstandard.ZstdDecompressor().decompress(body)


def _put_together(
    head: dict[str, Any], plain: bytes, *, body: bytes | None = None, plain_len: int | None = None
) -> bytes:
    """A chunk with a right digest: what someone with a good key could send."""
    packed = zstandard.ZstdCompressor().compress(plain) if body is None else body
    head_bytes: bytes = msgpack.packb(head)
    size = len(plain) if plain_len is None else plain_len
    data = START.pack(b"TQCHUNK", 1, len(head_bytes), len(packed), size) + head_bytes + packed
    return data + sha256(data).digest()


def _code(data: bytes, limits: ChunkLimits = CHUNK_LIMITS) -> str:
    with pytest.raises(ChunkFault) as caught:
        decode_chunk(data, limits)
    assert caught.value.blame is Blame.REMOTE
    return caught.value.code


def test_each_flaw_has_its_name() -> None:
    good = encode_chunk(samples.small_chunk())
    head, plain = _taken_apart(good)
    assert decode_chunk(_put_together(head, plain)) == samples.small_chunk()
    assert _code(b"") == _code(b"GARBAGE" + good[7:]) == "TQ-SY-30"
    assert _code(good[:7] + b"\x02" + good[8:]) == "TQ-SY-31"
    assert _code(good[:-1]) == _code(good + b"x") == _code(good[:5]) == _code(good[:12]) == "TQ-SY-32"
    assert _code(good[:-1] + bytes([good[-1] ^ 1])) == "TQ-SY-33"
    assert _code(_put_together(head, plain, body=b"no zstd at all")) == "TQ-SY-33"
    assert _code(good, ChunkLimits(points_max=1)) == "TQ-SY-34"
    assert _code(good, ChunkLimits(packed_bytes_max=100)) == "TQ-SY-34"
    assert _code(_put_together(head | {"series": 8}, plain)) == "TQ-SY-35"
    assert _code(_put_together(head | {"day": "2026-13-01"}, plain)) == "TQ-SY-35"
    assert _code(_put_together(head | {"extra": 1}, plain)) == "TQ-SY-35"
    assert _code(_put_together(head, plain[:-1] + b"\x01")) == "TQ-SY-37"


def test_every_single_bit_counts() -> None:
    good = encode_chunk(samples.small_chunk())
    for offset in range(len(good)):
        data = bytearray(good)
        data[offset] ^= 1 << (offset % 8)
        _code(bytes(data))


def test_every_truncation_is_named() -> None:
    good = encode_chunk(samples.small_chunk())
    for length in range(len(good)):
        assert _code(good[:length]) in {"TQ-SY-30", "TQ-SY-32"}


def test_a_bomb_is_not_unpacked() -> None:
    head, _ = _taken_apart(encode_chunk(samples.small_chunk()))
    bomb = zstandard.ZstdCompressor(level=3).compress(bytes(500_000_000))
    lying = zstandard.ZstdCompressor(level=3, write_content_size=False).compress(bytes(50_000_000))
    tracemalloc.start()
    started = time.process_time()
    try:
        assert _code(_put_together(head, b"", body=bomb, plain_len=500_000_000)) == "TQ-SY-34"
        for body in (bomb, lying):
            sizes = head | {"series": 8_000, "transformers": 0, "text_len": 0, "width": 4}
            assert _code(_put_together(sizes, b"", body=body, plain_len=8_000 * (12 + 24 * 5))) == "TQ-SY-33"
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.process_time() - started < 2.0
    assert peak_bytes < 8_000_000


@pytest.mark.slow
def test_mutated_content_with_a_right_digest_is_refused_or_adds_up() -> None:
    """The seeded loop of a hostile node: its key is good, its digest right, its content anything."""
    rng = random.Random(9)
    head, plain = _taken_apart(encode_chunk(samples.small_chunk()))
    refusals: list[str] = []
    for _ in range(20_000):
        changed = bytearray(plain)
        for _ in range(rng.randrange(1, 4)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        told = dict(head)
        if rng.random() < 0.3:
            told[rng.choice(list(told))] = rng.choice([None, -1, 0, 1, 7, 8, 2**40, "x", b"x", [1, 2], 1.5])
        try:
            content = decode_chunk(_put_together(told, bytes(changed)))
        except ChunkFault as fault:
            refusals.append(fault.code)
            continue
        assert content.transformer_sums == sums_of(content, content.series)
    assert len(refusals) > 10_000
    assert {"TQ-SY-35", "TQ-SY-36", "TQ-SY-37"} <= set(refusals)


@given(st.binary(max_size=400), st.booleans())
def test_noise_is_a_named_fault(data: bytes, marked: bool) -> None:
    with pytest.raises(ProtocolFault):
        decode_chunk(b"TQCHUNK\x01" + data if marked else data)


@pytest.mark.parametrize("value", [0, 1, 255, 256, 2**31 - 1, 2**31, ENERGY_WH_MAX])
def test_values_at_the_edges_survive(value: int) -> None:
    series = [_one(energy_wh=(value,) * 24, start_register_wh=REGISTER_WH_MAX)]
    content = samples.content(samples.HEAD, series)
    assert decode_chunk(encode_chunk(content)) == content
    assert decode_columns(encode_chunk(content)).energy_wh.dtype == np.int64
