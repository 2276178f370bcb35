"""The bytes of a chunk, both ways. Floor: protocols; on the reading walk.

All integers are little-endian. A chunk is

    magic      7   "TQCHUNK"
    version    1   01
    head_len   2   length of head
    body_len   4   length of body as it stands here
    plain_len  4   length of body decompressed
    head           msgpack map: node, district, day, zone, interval_minutes, registry_version, revision [epoch, number],
                   series S, transformers T, width W (4 or 8), text_len
    body           one zstd frame that states its content size
    digest    32   SHA-256 of everything before

and its body, decompressed (n = 1440 / interval_minutes; "shuffled": all first bytes, then all second bytes, …):

    text           text_len bytes: the T transformer ids in ascending order, then the S point ids, each ending in 0A
    kind           S × u8      0 usage, 1 transformer, 2 feeder head, 3 boundary, 4 generator
    channel        S × u8      gridmodel.reading.Channel
    transformer    S × u16     shuffled; 0 for none, else 1 + index
    start_register S × i64     shuffled; Wh at the day's beginning, −1 when not read
    energy         S·n × i(8W) shuffled; series by series: the register's deltas, Wh
    quality        S·n × u8    gridmodel.reading.Quality, or 4 where nothing was installed
    cells          9·T·24 × i64 shuffled; field by field (CELL_FIELDS), then transformer, then hour

Codes: TQ-SY-30 no chunk, -31 unknown version, -32 truncated or too long, -33 damaged (digest, compression), -34 too
many, -35 contradicts itself, -36 absurd values, -37 sums differ.
"""

import re
import struct
from hashlib import sha256
from itertools import pairwise
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

from gridmodel.identity import ID_LENGTH_MAX, DistrictId, NodeId
from gridmodel.reading import Revision
from protocols.errors import Blame
from protocols.sync import wire
from protocols.sync.chunk.columns import CELLS, ChunkColumns, Int64, UInt8, check, check_head, columns_of
from protocols.sync.chunk.content import CHUNK_LIMITS, CHUNK_VERSION, HOURS, ChunkContent, ChunkHead, ChunkLimits, fault
from protocols.sync.fields import COUNT_MAX, Fields, MessageFault, integer, listed
from protocols.sync.lanes import EPOCH_MAX

MAGIC = b"TQCHUNK"
ZSTD_LEVEL = 3
"""Measured: 1.2–1.4 B a reading; higher levels cost time and gain little on shuffled bytes."""

_START = struct.Struct("<7sBHII")
_DIGEST_BYTES = 32
_NARROW_MAX = 2**31 - 1
_NAMES = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._:\-]{0,63}+\n)*+")
"""The rule of gridmodel.identity for a whole column at once."""
_HEAD_FIELDS = (
    "node",
    "district",
    "day",
    "zone",
    "interval_minutes",
    "registry_version",
    "revision",
    "series",
    "transformers",
    "width",
    "text_len",
)


def encode_chunk(content: ChunkContent, limits: ChunkLimits = CHUNK_LIMITS) -> bytes:
    """The bytes of `content`; raises ChunkFault (blame local) when it is too large or contradicts itself.

    Heavy for a full chunk (some ms): run it through the compute port.
    """
    columns = columns_of(content, limits)
    width = 4 if columns.energy_wh.size == 0 or int(columns.energy_wh.max()) <= _NARROW_MAX else 8
    text = _text(columns)
    plain = b"".join(
        (
            text,
            columns.kind.tobytes(),
            columns.channel.tobytes(),
            _shuffled(columns.transformer + 1, "<u2"),
            _shuffled(columns.start_register_wh, "<i8"),
            _shuffled(columns.energy_wh, f"<i{width}"),
            columns.quality.tobytes(),
            _shuffled(columns.cells, "<i8"),
        )
    )
    body = zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_content_size=True).compress(plain)
    head = wire.pack(
        {
            "node": content.node,
            "district": content.district,
            "day": content.day,
            "zone": content.zone,
            "interval_minutes": content.interval_minutes,
            "registry_version": content.registry_version,
            "revision": [content.revision.epoch, content.revision.number],
            "series": len(columns.points),
            "transformers": len(columns.transformers),
            "width": width,
            "text_len": len(text),
        },
        _head_limits(limits),
    )
    data = _START.pack(MAGIC, CHUNK_VERSION, len(head), len(body), len(plain)) + head + body
    data += sha256(data).digest()
    if len(data) > limits.packed_bytes_max or len(plain) > limits.plain_bytes_max:
        raise fault(34, f"a chunk of {len(data)} bytes ({len(plain)} decompressed) is too large", Blame.LOCAL)
    return data


def decode_chunk(data: bytes, limits: ChunkLimits = CHUNK_LIMITS) -> ChunkContent:
    """The content of `data`, digest, bounds and sums verified; raises ChunkFault and gives nothing on any doubt."""
    return decode_columns(data, limits).content()


def decode_columns(data: bytes, limits: ChunkLimits = CHUNK_LIMITS) -> ChunkColumns:
    """The same as arrays, for those who add up many chunks."""
    head_bytes, body, plain_len = _parts(data, limits)
    head, sizes = _read_head(head_bytes, limits)
    if plain_len != sizes.plain_len(head.intervals()):
        raise fault(35, "the sizes in the head do not add up", Blame.REMOTE)
    plain = _decompressed(body, plain_len)
    columns = _unfolded(head, sizes, plain)
    check(columns, limits, Blame.REMOTE)
    return columns


class _Sizes:
    """The counts of a head that fix the layout of the body."""

    def __init__(self, series: int, transformers: int, width: int, text_len: int) -> None:
        self.series = series
        self.transformers = transformers
        self.width = width
        self.text_len = text_len

    def plain_len(self, intervals: int) -> int:
        cells = CELLS * self.transformers * HOURS * 8
        return self.text_len + self.series * (12 + intervals * (self.width + 1)) + cells


def _parts(data: bytes, limits: ChunkLimits) -> tuple[bytes, bytes, int]:
    if len(data) > limits.packed_bytes_max:
        raise fault(34, f"a chunk of {len(data)} bytes, {limits.packed_bytes_max} allowed", Blame.REMOTE)
    if data[: len(MAGIC)] != MAGIC[: len(data)] or not data:
        raise fault(30, "these bytes are no chunk", Blame.REMOTE)
    if len(data) < _START.size:
        raise fault(32, "the chunk is cut off", Blame.REMOTE)
    _, version, head_len, body_len, plain_len = _START.unpack_from(data)
    if version != CHUNK_VERSION:
        raise fault(31, f"chunk version {version} is not known here", Blame.REMOTE)
    if len(data) != _START.size + head_len + body_len + _DIGEST_BYTES:
        raise fault(32, "the chunk is cut off, or bytes follow its end", Blame.REMOTE)
    if head_len > limits.head_bytes_max or plain_len > limits.plain_bytes_max:
        raise fault(34, f"a chunk of {plain_len} bytes decompressed", Blame.REMOTE)
    if sha256(data[:-_DIGEST_BYTES]).digest() != data[-_DIGEST_BYTES:]:
        raise fault(33, "the chunk is damaged: its digest differs", Blame.REMOTE)
    body_at = _START.size + head_len
    return data[_START.size : body_at], data[body_at:-_DIGEST_BYTES], plain_len


def _read_head(data: bytes, limits: ChunkLimits) -> tuple[ChunkHead, _Sizes]:
    try:
        read = Fields("chunk head", wire.unpack(data, _head_limits(limits)), _HEAD_FIELDS)
        revision = listed("chunk head.revision", read.listed("revision", 2), 2)
        if len(revision) != 2:
            raise fault(35, "a revision is [epoch, number]", Blame.REMOTE)
        head = ChunkHead(
            node=NodeId(read.identity("node")),
            district=DistrictId(read.identity("district")),
            day=read.text("day", 10),
            zone=read.text("zone", 64),
            interval_minutes=read.integer("interval_minutes", 15, 60),
            registry_version=read.integer("registry_version", 0, COUNT_MAX),
            revision=Revision(
                integer("revision.epoch", revision[0], 0, EPOCH_MAX),
                integer("revision.number", revision[1], 0, COUNT_MAX),
            ),
        )
        sizes = _Sizes(
            read.integer("series", 0, limits.series_max),
            read.integer("transformers", 0, limits.transformers_max),
            read.integer("width", 4, 8),
            read.integer("text_len", 0, limits.plain_bytes_max),
        )
    except (wire.WireFault, MessageFault) as error:
        raise fault(35, f"head: {error.what}", Blame.REMOTE) from error
    check_head(head, Blame.REMOTE)
    if sizes.text_len > (sizes.series + sizes.transformers) * (ID_LENGTH_MAX + 1):
        raise fault(35, "the names take more room than names can", Blame.REMOTE)
    if sizes.width not in {4, 8}:
        raise fault(35, "the width of energies is neither 4 nor 8", Blame.REMOTE)
    return head, sizes


def _decompressed(body: bytes, plain_len: int) -> bytes:
    """The body, its declared sizes compared before memory is taken: zstd would believe the frame."""
    try:
        stated = zstandard.get_frame_parameters(body)
        if stated.content_size != plain_len or stated.dict_id:
            raise fault(33, "the compressed part states another size", Blame.REMOTE)
        plain = zstandard.ZstdDecompressor().decompress(
            body, max_output_size=plain_len, allow_extra_data=False, read_across_frames=False
        )
    except (zstandard.ZstdError, MemoryError) as error:
        raise fault(33, f"the compressed part is damaged ({error!s:.60})", Blame.REMOTE) from error
    if len(plain) != plain_len:
        raise fault(33, "the compressed part has another size than stated", Blame.REMOTE)
    return plain


def _unfolded(head: ChunkHead, sizes: _Sizes, plain: bytes) -> ChunkColumns:
    series, count = sizes.series, head.intervals()
    cut = _Cutter(plain, sizes.text_len)
    transformers, points = _names(plain[: sizes.text_len], sizes)
    kind, channel = cut.octets(series), cut.octets(series)
    owner = cut.unshuffled(series, "<u2") - 1
    if series and int(owner.max()) >= sizes.transformers:
        raise fault(35, "a series names a transformer that is not there", Blame.REMOTE)
    register = cut.unshuffled(series, "<i8")
    energy = cut.unshuffled(series * count, f"<i{sizes.width}").reshape(series, count)
    quality = cut.octets(series * count).reshape(series, count)
    cells = cut.unshuffled(CELLS * sizes.transformers * HOURS, "<i8").reshape(CELLS, sizes.transformers, HOURS)
    return ChunkColumns(head, points, transformers, kind, channel, owner, register, energy, quality, cells)


class _Cutter:
    """Takes one column after the other off the plain body."""

    def __init__(self, plain: bytes, at: int) -> None:
        self._plain = plain
        self._at = at

    def octets(self, count: int) -> UInt8:
        column: UInt8 = np.frombuffer(self._plain, np.uint8, count, self._at)
        self._at += count
        return column

    def unshuffled(self, count: int, kind: str) -> Int64:
        width = np.dtype(kind).itemsize
        planes = self.octets(count * width).reshape(width, count)
        return np.ascontiguousarray(planes.T).view(kind).reshape(count).astype(np.int64)


def _shuffled(values: NDArray[Any], kind: str) -> bytes:
    octets = np.ascontiguousarray(values.reshape(-1).astype(kind)).view(np.uint8)
    return octets.reshape(-1, np.dtype(kind).itemsize).T.tobytes()


def _text(columns: ChunkColumns) -> bytes:
    names = (*columns.transformers, *columns.points)
    text = "".join(f"{name}\n" for name in names)
    if not _NAMES.fullmatch(text) or text.count("\n") != len(names):
        raise fault(35, "the name of a point or transformer is no identifier", Blame.LOCAL)
    return text.encode("ascii")


def _names(block: bytes, sizes: _Sizes) -> tuple[tuple[str, ...], tuple[str, ...]]:
    text = block.decode("latin-1")
    if not _NAMES.fullmatch(text) or text.count("\n") != sizes.series + sizes.transformers:
        raise fault(35, "the names are not as many identifiers as there are series and transformers", Blame.REMOTE)
    names = text.split("\n")
    transformers = tuple(names[: sizes.transformers])
    if any(later <= earlier for earlier, later in pairwise(transformers)):
        raise fault(35, "the transformers do not ascend", Blame.REMOTE)
    return transformers, tuple(names[sizes.transformers : -1])


def _head_limits(limits: ChunkLimits) -> wire.Limits:
    return wire.Limits(bytes_max=limits.head_bytes_max, items_max=16, containers_max=4, text_max=64)
