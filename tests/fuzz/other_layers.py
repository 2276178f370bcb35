"""The layers of Modbus and of the sync wire as the storm meets them."""

import random
from functools import partial
from hashlib import sha256
from io import BytesIO

from protocols.authority.signatures import Verified
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
from protocols.sync.bundle import BundleHead, BundleWriter, Direction, FrameKind
from protocols.sync.bundle_reading import checking, read_head
from protocols.sync.bundle_reading import messages as bundle_messages
from protocols.sync.chunk import decode_chunk, encode_chunk
from protocols.sync.lanes import DownLane
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


class OpenBox:
    """No seal at all, so that what is inside is stormed, too."""

    def seal(self, plain: bytes, _: bytes) -> bytes:
        return plain

    def open(self, sealed: bytes, _: bytes) -> bytes:
        return sealed


def bundle(raw: bytes, _rng: random.Random) -> None:
    """As whoever has the keys would write it: no seal and no signature stands in the way."""
    source = BytesIO(raw)
    head, start = read_head(source)
    for _ in checking(source, head, start, OpenBox(), lambda head, *_: Verified(head.node, head.key_id)):
        pass
    for _ in bundle_messages(source, start, OpenBox()):
        pass


def bundles() -> list[bytes]:
    """One of each way."""
    ways = {
        Direction.UP: (
            (FrameKind.HELLO, samples.hello()),
            (FrameKind.PUSH, samples.push()),
            (FrameKind.PULL, samples.pull()),
        ),
        Direction.DOWN: ((FrameKind.WELCOME, samples.welcome()),),
    }
    found = []
    for way, told in ways.items():
        head = BundleHead(
            direction=way,
            node=samples.hello().node,
            bundle="bundle-1",
            made_at=1_790_000_000,
            hub_incarnation="hub-1",
            lanes=samples.hello().lanes,
            offsets={DownLane.LEDGER: 0},
            wrapped=bytes(80),
            for_key="0" * 16,
            key_id=samples.SIGNER.key_id,
        )
        out = BytesIO()
        writer = BundleWriter(out, head, OpenBox(), samples.SIGNER)
        for kind, message in told:
            writer.add(kind, message.to_bytes())
        writer.finish(whole=True)
        found.append(out.getvalue())
    return found


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
        Layer("sync bundle", bundles(), bundle),
        Layer("sync chunk", [encode_chunk(samples.small_chunk())], chunk),
    ]
