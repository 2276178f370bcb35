"""The TCP wrapper: eight bytes before each APDU (IEC 62056-47). Floor: protocols; walk: reading."""

import struct
from typing import NamedTuple

from protocols.dlms.carrier import APDU_SIZE_MAX, Incoming
from protocols.dlms.faults import local_fault, remote_fault

VERSION = 1
_HEADER = struct.Struct(">HHHH")


class WrapperFrame(NamedTuple):
    """One APDU with the ports it travels between."""

    source: int
    """wPort of the sender: the client's SAP, or the logical device."""
    destination: int
    """wPort of the receiver."""
    apdu: bytes
    """The APDU."""

    def encode(self) -> bytes:
        """The bytes of the wire. Raises DlmsFault TQ-DM-73 when it is too long or a port does not fit."""
        if len(self.apdu) > APDU_SIZE_MAX or not (0 <= self.source <= 0xFFFF and 0 <= self.destination <= 0xFFFF):
            raise local_fault("TQ-DM-73", f"{len(self.apdu)} bytes to port {self.destination} do not fit the wrapper")
        return _HEADER.pack(VERSION, self.source, self.destination, len(self.apdu)) + self.apdu


class WrapperSplitter:
    """Cuts a stream into frames. Holds at most one frame that is not complete (65,543 bytes)."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> list[WrapperFrame]:
        """The frames that are complete now. Raises DlmsFault TQ-DM-10 for a stream that is no wrapper."""
        buffer = self._buffer + data if self._buffer else data
        if len(buffer) >= _HEADER.size:
            version, source, destination, length = _HEADER.unpack_from(buffer)
            if version == VERSION and len(buffer) == _HEADER.size + length:
                self._buffer = b""
                return [WrapperFrame(source, destination, buffer[_HEADER.size :])]
        frames = []
        at = 0
        while len(buffer) - at >= _HEADER.size:
            version, source, destination, length = _HEADER.unpack_from(buffer, at)
            if version != VERSION:
                self._buffer = b""
                raise remote_fault(
                    "TQ-DM-10",
                    f"no DLMS wrapper: {buffer[at : at + 8].hex(' ')}",
                    "check the address and whether the meter speaks HDLC there",
                )
            end = at + _HEADER.size + length
            if end > len(buffer):
                break
            frames.append(WrapperFrame(source, destination, buffer[at + _HEADER.size : end]))
            at = end
        self._buffer = buffer[at:]
        return frames


class WrapperCarrier:
    """A client's carrier over the wrapper; ready from the start."""

    __slots__ = ("_client", "_server", "_splitter")

    def __init__(self, client: int, server: int) -> None:
        """`client` and `server` are wPorts: the client's SAP and the logical device (1: management)."""
        self._client = client
        self._server = server
        self._splitter = WrapperSplitter()

    @property
    def ready(self) -> bool:
        """Always."""
        return True

    def connect(self) -> bytes:
        """Nothing: TCP has connected already."""
        return b""

    def send(self, apdu: bytes) -> bytes:
        """One frame. Raises DlmsFault TQ-DM-73 as `WrapperFrame.encode`."""
        if len(apdu) > APDU_SIZE_MAX:
            return WrapperFrame(self._client, self._server, apdu).encode()
        return _HEADER.pack(VERSION, self._client, self._server, len(apdu)) + apdu

    def receive(self, data: bytes) -> Incoming:
        """Complete APDUs. Raises DlmsFault TQ-DM-10 no wrapper, 11 the ports of somebody else."""
        apdus = []
        for frame in self._splitter.feed(data):
            if frame.source != self._server or frame.destination != self._client:
                raise remote_fault(
                    "TQ-DM-11",
                    f"logical device {frame.source} answered client {frame.destination}, "
                    f"not {self._server} client {self._client}",
                    "check the logical device and the client of the profile",
                )
            apdus.append(frame.apdu)
        return Incoming(tuple(apdus))

    def retry(self) -> bytes:
        """Nothing: TCP repeats by itself."""
        return b""

    def disconnect(self) -> bytes:
        """Nothing: closing TCP is enough."""
        return b""
