"""The one chunk format: a day of up to 1,000 usage points of whole transformers, in columns. Floor: protocols.

On the reading walk. At day close the edge builds a `ChunkContent` from its store and encodes it; those bytes are its
outbox payload, the batch's payload on the wire and the blob the hub keeps. The hub decodes once, which verifies digest,
bounds and sums. `content` is plain, `columns` and `codec` hold numpy and zstandard; the layout is told in `codec`.
"""

from protocols.sync.chunk.codec import decode_chunk, decode_columns, encode_chunk
from protocols.sync.chunk.columns import ChunkColumns, sums_of
from protocols.sync.chunk.content import (
    CHUNK_LIMITS,
    CHUNK_VERSION,
    ENERGY_WH_MAX,
    HOURS,
    NOT_EXPECTED,
    POINTS_PER_CHUNK,
    REGISTER_WH_MAX,
    ChunkContent,
    ChunkFault,
    ChunkHead,
    ChunkLimits,
    Series,
    SeriesKind,
)

__all__ = [
    "CHUNK_LIMITS",
    "CHUNK_VERSION",
    "ENERGY_WH_MAX",
    "HOURS",
    "NOT_EXPECTED",
    "POINTS_PER_CHUNK",
    "REGISTER_WH_MAX",
    "ChunkColumns",
    "ChunkContent",
    "ChunkFault",
    "ChunkHead",
    "ChunkLimits",
    "Series",
    "SeriesKind",
    "decode_chunk",
    "decode_columns",
    "encode_chunk",
    "sums_of",
]
