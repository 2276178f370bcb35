"""What SNRM and UA agree on: segment sizes and windows (IEC 62056-46, 6.4.4.4.3). Floor: protocols; walk: reading."""

from typing import NamedTuple

from protocols.dlms.axdr import Reader
from protocols.dlms.faults import malformed

INFORMATION_SIZE_DEFAULT = 128
"""Bytes in a frame where nothing was agreed."""
INFORMATION_SIZE_MAX = 2_030
"""What leaves room for addresses and checks in a frame of 2,047 bytes."""
WINDOW_MAX = 7
"""Frames are numbered modulo 8."""
_FORMAT = 0x81
_GROUP = 0x80
_SIZE_TRANSMIT, _SIZE_RECEIVE, _WINDOW_TRANSMIT, _WINDOW_RECEIVE = 5, 6, 7, 8


class LinkParameters(NamedTuple):
    """As one side sees them."""

    size_transmit: int = INFORMATION_SIZE_DEFAULT
    """Bytes of information it sends in a frame."""
    size_receive: int = INFORMATION_SIZE_DEFAULT
    """Bytes of information it takes in a frame."""
    window_transmit: int = 1
    """Frames it sends before it waits for an acknowledgement."""
    window_receive: int = 1
    """Frames it takes before it must acknowledge."""

    def encode(self) -> bytes:
        """The information field of an SNRM or UA."""
        body = b"".join(
            bytes((number, 2)) + size.to_bytes(2) if size > 0xFF else bytes((number, 1, size))
            for number, size in ((_SIZE_TRANSMIT, self.size_transmit), (_SIZE_RECEIVE, self.size_receive))
        )
        body += bytes((_WINDOW_TRANSMIT, 4)) + self.window_transmit.to_bytes(4)
        body += bytes((_WINDOW_RECEIVE, 4)) + self.window_receive.to_bytes(4)
        return bytes((_FORMAT, _GROUP, len(body))) + body

    def agreed_with(self, other: "LinkParameters") -> "LinkParameters":
        """Ours, lowered to what the other side takes and sends."""
        return LinkParameters(
            min(self.size_transmit, other.size_receive),
            min(self.size_receive, other.size_transmit),
            min(self.window_transmit, other.window_receive),
            min(self.window_receive, other.window_transmit),
        )


def read_parameters(information: bytes) -> LinkParameters:
    """From an SNRM or UA; what it leaves out has the default value.

    Raises:
        DlmsFault: TQ-DM-01, 02 for a malformed field or a size or window out of range.

    """
    if not information:
        return LinkParameters()
    reader = Reader(information)
    if reader.u8() != _FORMAT or reader.u8() != _GROUP or reader.u8() != reader.left:
        raise malformed("HDLC parameters", information)
    values = {
        _SIZE_TRANSMIT: INFORMATION_SIZE_DEFAULT,
        _SIZE_RECEIVE: INFORMATION_SIZE_DEFAULT,
        _WINDOW_TRANSMIT: 1,
        _WINDOW_RECEIVE: 1,
    }
    while reader.left:
        number, size = reader.u8(), reader.u8()
        value = reader.number(size)
        if number in values:
            limit = WINDOW_MAX if number >= _WINDOW_TRANSMIT else INFORMATION_SIZE_MAX
            if not value >= 1:
                raise malformed("HDLC parameters", information)
            values[number] = min(value, limit)
    return LinkParameters(*values.values())
