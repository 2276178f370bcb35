"""A large document down (a registry) as one zstd frame of msgpack, its tables by columns. Floor: protocols.

On the reading walk. A list of maps with equal keys, at the top or in maps, travels as
``{"columns": {name: [values]}}``: the names once, and like beside like.

Measured with identifiers, serials and addresses as random as real ones: 42,000
usage points are 19.3 MB of msgpack, 3.9 MB as a frame of rows, 2.0 MB as one of columns; 120,000 are 11.0 and 5.7 MB.
Heavy either way (a second): use the compute port.
"""

from typing import Any

import zstandard

from protocols.errors import Blame, Hope
from protocols.sync import wire

ZSTD_LEVEL = 9
"""A third smaller than at level 3, which the slowest line feels for minutes; it costs half a second once a version."""
WINDOW_LOG = 26
"""An identifier stands in four tables, megabytes apart: the whole document is searched. Memory of the packer only."""
COLUMNS = "columns"
"""The only key of the map that stands for a list of maps."""


def pack_document(value: object, limits: wire.Limits = wire.DOCUMENT) -> bytes:
    """`value` packed and compressed, the same bytes for equal values; raises WireFault (blame local).

    A map whose only key is "columns" cannot be told from a list and is refused.
    """
    return pack_folded(_folded(value), limits)


def pack_folded(value: object, limits: wire.Limits = wire.DOCUMENT) -> bytes:
    """A value whose tables stand by columns already, as `unpack_folded` gives it; raises WireFault (blame local)."""
    plain = wire.pack(value, limits)
    parameters = zstandard.ZstdCompressionParameters.from_level(
        ZSTD_LEVEL, window_log=WINDOW_LOG, source_size=len(plain), write_content_size=True, write_checksum=True
    )
    return zstandard.ZstdCompressor(compression_params=parameters).compress(plain)


def unpack_document(data: bytes, limits: wire.Limits = wire.DOCUMENT) -> Any:
    """Back from `pack_document`, every table as rows. Raises WireFault."""
    return _Unfolding(limits.containers_max).unfolded(unpack_folded(data, limits))


def unpack_folded(data: bytes, limits: wire.Limits = wire.DOCUMENT) -> Any:
    """Back from `pack_document`, tables by columns as they travel, which may be of unlike lengths. Raises WireFault.

    The stated size is held to `limits` before memory is taken.
    """
    try:
        size = zstandard.get_frame_parameters(data).content_size
        if size > limits.bytes_max:
            raise _fault("01", f"a document states {size} bytes, {limits.bytes_max} allowed")
        plain = zstandard.ZstdDecompressor().decompress(
            data, max_output_size=limits.bytes_max, allow_extra_data=False, read_across_frames=False
        )
    except (zstandard.ZstdError, MemoryError) as error:
        raise _fault("02", f"the compressed document is broken ({error!s:.60})") from error
    return wire.unpack(plain, limits)


def _folded(value: object) -> object:
    if isinstance(value, dict):
        if value.keys() == {COLUMNS}:
            raise wire.WireFault(
                "TQ-SY-06",
                f"a map with the only key {COLUMNS!r} cannot travel in a document",
                "nothing was sent; report this code with the log",
                blame=Blame.LOCAL,
                hope=Hope.PERMANENT,
            )
        return {name: _folded(item) for name, item in value.items()}
    if isinstance(value, list) and value and isinstance(value[0], dict) and value[0]:
        names = value[0].keys()
        if all(isinstance(row, dict) and row.keys() == names for row in value):
            return {COLUMNS: {name: [row[name] for row in value] for name in names}}
    return value


class _Unfolding:
    """Columns back into rows, never more of them than containers are allowed."""

    def __init__(self, rows_max: int) -> None:
        self._left = rows_max

    def unfolded(self, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        if value.keys() == {COLUMNS}:
            return self._rows(value[COLUMNS])
        return {name: self.unfolded(item) for name, item in value.items()}

    def _rows(self, columns: object) -> list[dict[str, Any]]:
        lists = list(columns.values()) if isinstance(columns, dict) else []
        count = len(lists[0]) if lists and isinstance(lists[0], list) else 0
        if not count or any(not isinstance(one, list) or len(one) != count for one in lists):
            raise _fault("02", "the columns of a table are not of one length")
        self._left -= count
        if self._left < 0:
            raise _fault("04", "the tables of a document have too many rows")
        names = tuple(columns) if isinstance(columns, dict) else ()
        return [dict(zip(names, row, strict=True)) for row in zip(*lists, strict=True)]


def _fault(number: str, what: str) -> wire.WireFault:
    hint = "nothing was taken in; the version before goes on, import the document again at the hub"
    return wire.WireFault(f"TQ-SY-{number}", what, hint, blame=Blame.REMOTE, hope=Hope.PERMANENT)
