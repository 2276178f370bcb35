"""HDLC frames of format type 3 (IEC 62056-46, 6.4.2). Floor: protocols; walk: reading.

The check sequence is CRC-16/X-25. The standard library has the same polynomial the other way round: so bytes are
reversed bit by bit, given to `binascii.crc_hqx`, and the two bytes of the result reversed again.
"""

import binascii
from dataclasses import dataclass
from typing import NamedTuple

from protocols.dlms.faults import DlmsFault, local_fault, malformed, remote_fault

FLAG = 0x7E
FORMAT = 0xA000
SEGMENTED = 0x0800
LENGTH_MASK = 0x07FF
FRAME_SIZE_MAX = LENGTH_MASK + 2
"""Bytes of a frame with both flags: its length field has 11 bits."""
NOISE_SIZE_MAX = 4_096
"""Bytes without a flag that are thrown away before the line is given up: two frames' worth."""
DAMAGED = "TQ-DM-20"
"""The fault of a frame with a wrong check sequence."""
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def check_sequence(data: bytes) -> bytes:
    """HCS or FCS over `data`, in the order of the wire."""
    crc = binascii.crc_hqx(data.translate(_REVERSED), 0xFFFF) ^ 0xFFFF
    return crc.to_bytes(2, "big").translate(_REVERSED)


class Address(NamedTuple):
    """An HDLC address: the client's SAP, or a logical device and the physical device that holds it."""

    upper: int
    """Client SAP, or logical device (1: management)."""
    lower: int = 0
    """Physical device; 0 together with size 1 means there is none."""
    size: int = 1
    """Bytes on the wire: 1, 2 or 4."""

    def encode(self) -> bytes:
        """The bytes of the wire. Raises DlmsFault TQ-DM-74 when a part does not fit the size."""
        upper, lower, size = self
        limit = 0x3FFF if size == 4 else 0x7F
        if size not in {1, 2, 4} or not 0 <= upper <= limit or not 0 <= lower <= limit or (size == 1 and lower):
            raise local_fault("TQ-DM-74", f"{upper}/{lower} is no HDLC address of {size} bytes")
        if size == 1:
            return bytes((upper << 1 | 1,))
        if size == 2:
            return bytes((upper << 1, lower << 1 | 1))
        return bytes((upper >> 6 & 0xFE, upper << 1 & 0xFE, lower >> 6 & 0xFE, lower << 1 & 0xFE | 1))

    def same_place(self, other: "Address") -> bool:
        """Whether both name one device; meters may answer with a shorter or longer form of their address."""
        return self[:2] == other[:2]


def _read_address(data: bytes, at: int) -> tuple[Address, int]:
    size = next((n for n in (1, 2, 3, 4) if at + n <= len(data) and data[at + n - 1] & 1), 0)
    parts = [byte >> 1 for byte in data[at : at + size]]
    if size == 1:
        return Address(parts[0]), at + 1
    if size == 2:
        return Address(parts[0], parts[1], 2), at + 2
    if size == 4:
        return Address(parts[0] << 7 | parts[1], parts[2] << 7 | parts[3], 4), at + 4
    raise malformed("HDLC address", data[at:])


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame."""

    destination: Address
    """To whom."""
    source: Address
    """From whom."""
    control: int
    """The control field; see `Control`."""
    information: bytes = b""
    """Contents; empty: no information field and no header check."""
    segmented: bool = False
    """Whether more frames of the same APDU follow."""

    def encode(self) -> bytes:
        """The bytes of the wire with both flags. Raises DlmsFault TQ-DM-74 when it is too long."""
        addresses = self.destination.encode() + self.source.encode()
        length = 2 + len(addresses) + 1 + 2 + (len(self.information) + 2 if self.information else 0)
        if length > LENGTH_MASK:
            raise local_fault("TQ-DM-74", f"{length} bytes do not fit an HDLC frame")
        head = (FORMAT | (SEGMENTED if self.segmented else 0) | length).to_bytes(2, "big")
        body = head + addresses + bytes((self.control & 0xFF,))
        if self.information:
            body += check_sequence(body) + self.information
        return b"\x7e" + body + check_sequence(body) + b"\x7e"


def decode_frame(body: bytes) -> Frame:
    """A frame between its flags.

    Raises:
        DlmsFault: TQ-DM-02 no frame, 20 a wrong check sequence.

    """
    head = int.from_bytes(body[:2], "big")
    if len(body) < 7 or head & 0xF000 != FORMAT or head & LENGTH_MASK != len(body):
        raise malformed("HDLC frame", body)
    if check_sequence(body[:-2]) != body[-2:]:
        raise _damaged(body)
    destination, at = _read_address(body, 2)
    source, at = _read_address(body, at)
    information = b""
    if at + 3 < len(body):
        if at + 5 > len(body) or check_sequence(body[: at + 1]) != body[at + 1 : at + 3]:
            raise _damaged(body)
        information = body[at + 3 : -2]
    elif at + 3 != len(body):
        raise malformed("HDLC frame", body)
    return Frame(destination, source, body[at], information, bool(head & SEGMENTED))


def _damaged(body: bytes) -> Exception:
    return remote_fault(DAMAGED, f"an HDLC frame was damaged on the way: {body[:16].hex(' ')}")


class FrameSplitter:
    """Cuts a stream into frames; flags between frames may be shared, and noise before a flag is thrown away."""

    __slots__ = ("_buffer", "_noise")

    def __init__(self) -> None:
        self._buffer = b""
        self._noise = 0

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are complete now.

        Raises:
            DlmsFault: TQ-DM-02, 20 as `decode_frame`; 21 a length without a flag at its end, or noise alone. What
                stands behind the bad frame is kept for the next call.

        """
        buffer = self._buffer + data if self._buffer else data
        frames: list[Frame] = []
        at = 0
        while True:
            at = self._to_frame(buffer, at)
            if at + 3 > len(buffer):
                break
            length = int.from_bytes(buffer[at + 1 : at + 3], "big") & LENGTH_MASK
            end = at + 1 + length
            if end >= len(buffer):
                if buffer[at + 1] & 0xF0 == FORMAT >> 8:
                    break
                end = at + 1
            self._buffer = buffer[max(end, at + 1) :]
            if buffer[end] != FLAG or end == at + 1:
                raise remote_fault("TQ-DM-21", f"no HDLC frame: {buffer[at : at + 16].hex(' ')}")
            frames.append(decode_frame(buffer[at + 1 : end]))
            at = end
            self._noise = 0
        self._buffer = buffer[at:]
        return frames

    def feed_line(self, data: bytes) -> list[Frame]:
        """As `feed`; frames that were damaged on the way are passed over, as on a line (IEC 62056-46, 6.4.3).

        Raises:
            DlmsFault: TQ-DM-02, 21.

        """
        while True:
            try:
                return self.feed(data)
            except DlmsFault as fault:
                if fault.code != DAMAGED:
                    raise
                data = b""

    def _to_frame(self, buffer: bytes, at: int) -> int:
        """Where the last of the next flags in a row stands, or the end of the buffer."""
        start = buffer.find(FLAG, at)
        if start < 0:
            start = len(buffer)
        self._noise += start - at
        if self._noise > NOISE_SIZE_MAX:
            self._buffer, self._noise = b"", 0
            raise remote_fault("TQ-DM-21", f"{NOISE_SIZE_MAX} bytes without an HDLC frame")
        while start + 1 < len(buffer) and buffer[start + 1] == FLAG:
            start += 1
        return start
