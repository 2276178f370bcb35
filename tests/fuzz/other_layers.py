"""The layers of Modbus and of the sync wire as the storm meets them."""

import random
from functools import partial
from hashlib import sha256

from protocols.modbus.codec import (
    READ_HOLDING,
    Framing,
    check_reply,
    encode_frame,
    read_pdu,
    split_rtu_reply,
    split_rtu_request,
    split_tcp,
    write_pdu,
)
from protocols.modbus.section import modbus_plan
from protocols.profile import load_profiles
from protocols.sync import wire
from protocols.sync.batch import Batch
from protocols.sync.chunk import decode_chunk, encode_chunk
from protocols.sync.messages import Hello, Pull, PullReply, Push, PushReply, Welcome
from tests.fuzz.storm import Layer, Misconduct
from tests.protocols.sync import samples

REQUESTS = (read_pdu(READ_HOLDING, 10, 10), read_pdu(4, 0, 2), write_pdu(26, (0,)))
REPLIES = (bytes((3, 20)) + bytes(range(20)), bytes((4, 4)) + b"\x41\x42\x43\x44", REQUESTS[2][:5], b"\x83\x02")
SPLITS = {"tcp": split_tcp, "rtu reply": split_rtu_reply, "rtu request": split_rtu_request}
MESSAGES = (
    samples.hello(),
    samples.welcome(),
    samples.push(),
    samples.push_reply(),
    samples.pull(),
    samples.pull_reply(),
    samples.batch(),
)


def modbus(name: str, raw: bytes, rng: random.Random) -> None:
    """A stream cut into frames, and each held against a request."""
    stream = raw
    while stream and (frame := SPLITS[name](stream)) is not None:
        if not 0 < frame.used <= len(stream):
            raise Misconduct("a frame takes more than there is")
        stream = stream[frame.used :]
        if name != "rtu request":
            check_reply(rng.choice(REQUESTS), frame.pdu)


def modbus_values(raw: bytes, _rng: random.Random) -> None:
    """Whatever registers hold, every field of every profile makes a number or nothing of it."""
    for plan in PLANS:
        for block in plan.poll:
            size = 2 * block.count
            for field in block.fields:
                value = field.value((raw * (size // max(len(raw), 1) + 1))[:size].ljust(size, b"\0"))
                if value is not None and not isinstance(value, int):
                    raise Misconduct(f"{field.key} is {value!r}")


def messages(raw: bytes, rng: random.Random) -> None:
    rng.choice((Hello, Welcome, Push, PushReply, Pull, PullReply, Batch)).from_bytes(raw)


def chunk(raw: bytes, rng: random.Random) -> None:
    """Half of them with the right digest, as somebody would send who has the node's key."""
    decode_chunk(raw[:-32] + sha256(raw[:-32]).digest() if rng.random() < 0.5 else raw)


def framed(framing: Framing, pdus: tuple[bytes, ...]) -> list[bytes]:
    return [encode_frame(framing, 1, 1, pdu) for pdu in pdus]


PLANS = [modbus_plan(one) for one in load_profiles().values() if one.protocol == "modbus"]


def layers() -> list[Layer]:
    """All of them."""
    both = [one.to_bytes() for one in MESSAGES]
    return [
        Layer("modbus tcp", framed(Framing.TCP, REPLIES), partial(modbus, "tcp")),
        Layer("modbus rtu reply", framed(Framing.RTU, REPLIES), partial(modbus, "rtu reply")),
        Layer("modbus rtu request", framed(Framing.RTU, REQUESTS), partial(modbus, "rtu request")),
        Layer("modbus values", [bytes(range(40)), b"\xff" * 40, bytes(40)], modbus_values, answers_all=True),
        Layer("sync wire", both, lambda raw, _rng: wire.pack(wire.unpack(raw))),
        Layer("sync messages", both, messages),
        Layer("sync chunk", [encode_chunk(samples.small_chunk())], chunk),
    ]
