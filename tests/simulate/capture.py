"""Modbus conversations as a capture file, and what tshark reads in it; skipped by name where tshark is missing."""

import json
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from protocols.modbus.codec import Framing

Exchange = tuple[bytes, bytes]
"""One request's and one reply's frame, whole."""
METER_PORT = 502
CLIENT_PORT = 40_000
_PACKET = struct.Struct("<IIII")


def dissect(folder: Path, exchanges: list[Exchange], framing: Framing) -> list[dict[str, Any]]:
    """One dictionary of tshark's fields for each frame, requests and replies in turn."""
    tshark = shutil.which("tshark")
    if tshark is None:
        pytest.skip("tshark is missing: apt-get install tshark lets its Modbus dissector check our frames")
    path = folder / "modbus.pcap"
    path.write_bytes(_capture(exchanges))
    dissector = "mbtcp" if framing is Framing.TCP else "mbrtu"
    command = [tshark, "-n", "-r", str(path), "-d", f"tcp.port=={METER_PORT},{dissector}", "-T", "json"]
    told = subprocess.run(command, capture_output=True, check=True, timeout=60)  # noqa: S603
    return [packet["_source"]["layers"] for packet in json.loads(told.stdout)]


def _capture(exchanges: list[Exchange]) -> bytes:
    """A pcap file (raw IPv4) of one TCP connection."""
    packets = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65_535, 101)]
    sent = {CLIENT_PORT: 1, METER_PORT: 1}
    for number, (port, frame) in enumerate(
        (port, frame) for request, reply in exchanges for port, frame in ((CLIENT_PORT, request), (METER_PORT, reply))
    ):
        other = METER_PORT if port == CLIENT_PORT else CLIENT_PORT
        tcp = struct.pack(">HHIIBBHHH", port, other, sent[port], sent[other], 0x50, 0x18, 0xFFFF, 0, 0) + frame
        sent[port] += len(frame)
        ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), number, 0, 64, 6, 0, bytes([127, 0, 0, 1]), bytes(4))
        packets.append(_PACKET.pack(number, 0, len(ip + tcp), len(ip + tcp)) + ip + tcp)
    return b"".join(packets)
