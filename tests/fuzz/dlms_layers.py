"""The layers of DLMS as the storm meets them, from bytes of a value up to whole conversations of either side."""

import random
from collections.abc import Callable
from functools import partial

from protocols.dlms import cosem
from protocols.dlms.apdu import decode_apdu
from protocols.dlms.apdu.parts import AccessSelection, AttributeDescriptor
from protocols.dlms.apdu.parts import AttributeRequest as Item
from protocols.dlms.apdu.sealed import Protection, Sealed
from protocols.dlms.association import ClientAssociation
from protocols.dlms.axdr import decode
from protocols.dlms.client import DlmsClient
from protocols.dlms.cosem import ControlState
from protocols.dlms.cosem_time import encode_time, read_time
from protocols.dlms.counters import Counter
from protocols.dlms.data import Data, Tag, array, octets, structure
from protocols.dlms.faults import DlmsFault
from protocols.dlms.hdlc.frames import FrameSplitter, check_sequence
from protocols.dlms.key_transfer import KeyId, unwrapped_keys, wrapped_keys
from protocols.dlms.meter_side.association import MeterAssociation
from protocols.dlms.meter_side.server import HdlcMeter, WrapperMeter
from protocols.dlms.obis import (
    CLOCK,
    CURRENT_ASSOCIATION,
    DISCONNECT_CONTROL,
    IMPORT_ENERGY,
    LOAD_PROFILE,
    PUSH_SETUP,
    SECURITY_SETUP,
    SERIAL,
)
from protocols.dlms.sealing import Sealer
from protocols.dlms.security import SecurityKeys
from protocols.dlms.selection import CLOCK_COLUMN, ByEntry, ByRange, encode_selection, read_selection
from protocols.dlms.state import ClientState
from protocols.dlms.terms import Outcome, Send
from protocols.dlms.wrapper import WrapperFrame, WrapperSplitter
from tests.fuzz.storm import Layer, Misconduct
from tests.protocols.dlms.parties import (
    AK,
    CLIENT_TITLE,
    DEVICE,
    EK,
    MASTER,
    METER_TITLE,
    NOW,
    ROWS,
    SETTINGS,
    Meter,
    client_for,
    wire_to,
)
from tests.protocols.dlms.test_dlms_vectors import APDUS

KEYS = SecurityKeys(EK, AK)
Conversation = list[tuple[bytes, bytes]]
TABLE = array(Data(Tag.STRUCTURE, row) for row in ROWS[:8])
VALUES = [
    one.encode()
    for one in (
        TABLE,
        structure(*(Data(Tag(tag), 1) for tag in (5, 6, 13, 15, 16, 17, 18, 20, 21, 22))),
        structure(
            Data(Tag.BIT_STRING, "10110"), Data(Tag.UTF8_STRING, "қ"), Data(Tag.FLOAT64, 1.5), octets(bytes(200))
        ),
        Data(Tag.COMPACT_ARRAY, tuple(structure(Data(Tag.UNSIGNED, n), octets(b"ab")) for n in range(5))),
        structure(Data(Tag.INTEGER, -1), Data(Tag.ENUM, 35)),
        octets(encode_time(NOW, 300)),
        wrapped_keys(MASTER, {KeyId.BLOCK: EK}),
        encode_selection(ByRange(CLOCK_COLUMN, octets(encode_time(NOW, 300)), Data(6, 9), (CLOCK_COLUMN,))).parameters,
        encode_selection(ByEntry(1, 5)).parameters,
    )
]
PLAIN = [
    *(apdu.encode() for apdu, _ in APDUS.values()),
    bytes.fromhex("C401C100") + TABLE.encode(),
]


def values(raw: bytes, _rng: random.Random) -> None:
    decode(decode(raw).encode())


def apdus(raw: bytes, _rng: random.Random) -> None:
    apdu = decode_apdu(raw)
    if decode_apdu(apdu.encode()) != apdu and b"\x17" not in raw and b"\x18" not in raw:
        raise Misconduct("an APDU is another after it was encoded again")


def meanings(raw: bytes, _rng: random.Random) -> None:
    """Every view over a value that decodes: each gives something or a fault."""
    data = decode(raw)
    faults = []
    for view in (
        cosem.number,
        cosem.scaler_unit,
        cosem.text,
        cosem.clock_time,
        cosem.capture_objects,
        cosem.control_state,
        cosem.output_state,
        lambda data: cosem.rows(data, 3),
        lambda data: cosem.scaler_unit(data).whole(1),
        lambda data: read_selection(AccessSelection(1, data)),
        lambda data: read_selection(AccessSelection(2, data)),
        lambda data: unwrapped_keys(MASTER, data),
        lambda data: read_time(data.value) if isinstance(data.value, bytes) else None,
    ):
        try:
            view(data)
        except DlmsFault as fault:
            faults.append(fault)
    if faults:
        raise faults[0]


def bombs() -> list[bytes]:
    """Values that promise more than they are: much nesting, many empty elements, types within types."""
    return [
        b"\x01\x82\xff\xff" + bytes(0xFFFF),
        b"\x02\x82\x7f\xff" + b"\x01\x00" * 0x7FFF,
        b"\x01\x01" * 11 + b"\x01\x82\x40\x00" + bytes(0x4000),
        b"\x13\x02\x81\xc8" + b"\x00" * 200 + b"\x82\x10\x00" + bytes(0x1000),
        b"\x13\x01\x0f\xff\x11\x82\x20\x00" + bytes(0x2000),
        b"\x13\x01\x00\x10\x01\x00\x10\x01\x00\x10\x11\x82\x10\x00" + bytes(0x1000),
        b"\x01\x82\x08\x00" + b"\x02\x02\x11\x01\x09\x04abcd" * 0x800,
        b"\x04\x84\x00\x04\x00\x00" + bytes(0x8000),
    ]


def wrapper(raw: bytes, rng: random.Random) -> None:
    splitter = WrapperSplitter()
    cut = rng.randrange(len(raw) + 1)
    splitter.feed(raw[:cut])
    splitter.feed(raw[cut:])


def mended(raw: bytes, rng: random.Random) -> bytes:
    """Half of all HDLC frames get right lengths and check sequences again, so that what is behind them is reached."""
    body = bytearray(raw.strip(b"\x7e"))
    if rng.random() < 0.5 or len(body) < 9:
        return raw
    ends = [at for at in range(2, len(body) - 2) if body[at] & 1]
    if len(ends) < 2:
        return raw
    size = min(len(body), 0x7FF)
    del body[size:]
    body[:2] = (0xA000 | (body[0] << 8 & 0x0800) | size).to_bytes(2, "big")
    control = ends[1] + 1
    if control + 3 <= size - 2:
        body[control + 1 : control + 3] = check_sequence(bytes(body[: control + 1]))
    body[-2:] = check_sequence(bytes(body[:-2]))
    return b"\x7e" + bytes(body) + b"\x7e"


def hdlc(raw: bytes, rng: random.Random) -> None:
    splitter = FrameSplitter()
    raw = mended(raw, rng)
    cut = rng.randrange(len(raw) + 1)
    splitter.feed(raw[:cut])
    splitter.feed(raw[cut:])


def sealer(title: bytes, peer: bytes) -> Sealer:
    made = Sealer(KEYS, title, Counter(1, 1_000))
    made.know(peer)
    return made


def sealed_frames() -> dict[bytes, bytes]:
    """What the meter seals, by what it wears."""
    meter, found = sealer(METER_TITLE, CLIENT_TITLE), {}
    for plain in PLAIN:
        if plain[0] in {0xC0, 0xC4, 0xC7, 0x08}:
            for protection in (Protection.GLOBAL, Protection.GENERAL_GLOBAL):
                found[meter.seal_apdu(plain, protection)] = plain
    return found


def unsealed(frames: dict[bytes, bytes], raw: bytes, _rng: random.Random) -> None:
    """Whatever opens is what somebody with the keys sealed."""
    apdu = decode_apdu(raw)
    if isinstance(apdu, Sealed):
        opened = sealer(CLIENT_TITLE, METER_TITLE).unseal_apdu(apdu)
        if opened not in [decode_apdu(plain) for plain in frames.values()]:
            raise Misconduct("something was opened that nobody sealed")


def sealed_inside(raw: bytes, rng: random.Random) -> None:
    """Rubbish from somebody who has the keys."""
    protection = rng.choice((Protection.GLOBAL, Protection.GENERAL_GLOBAL))
    if raw[:1] not in {b"\xc0", b"\xc4", b"\xc7", b"\x08"}:
        protection = Protection.GENERAL_GLOBAL
    apdu = decode_apdu(sealer(METER_TITLE, CLIENT_TITLE).seal_apdu(raw, protection))
    if not isinstance(apdu, Sealed):
        raise Misconduct("a sealed APDU is none")
    sealer(CLIENT_TITLE, METER_TITLE).unseal_apdu(apdu)


def orders() -> list[bytes]:
    """Requests to each object of the meter that does something."""
    client = ClientAssociation(SETTINGS["low"][1])
    client.state = ClientState.ASSOCIATED
    found: list[bytes] = []
    kinds: tuple[Callable[[], bytes], ...] = (
        lambda: client.set(AttributeDescriptor(8, CLOCK, 2), octets(encode_time(NOW, 300))),
        lambda: client.act(cosem.Clock(CLOCK).method(6), Data(Tag.LONG, 5)),
        lambda: client.act(cosem.SecuritySetup(SECURITY_SETUP).method(2), wrapped_keys(MASTER, {KeyId.BLOCK: EK})),
        lambda: client.act(cosem.SecuritySetup(SECURITY_SETUP).method(1), Data(Tag.ENUM, 3)),
        lambda: client.set(AttributeDescriptor(40, PUSH_SETUP, 2), array([CLOCK_COLUMN.to_data()])),
        lambda: client.act(cosem.PushSetup(PUSH_SETUP).method(1), cosem.NO_PARAMETER),
        lambda: client.set(AttributeDescriptor(70, DISCONNECT_CONTROL, 4), Data(Tag.ENUM, 4)),
        lambda: client.act(cosem.DisconnectControl(DISCONNECT_CONTROL).method(1), cosem.NO_PARAMETER),
        lambda: client.get(
            AttributeDescriptor(7, LOAD_PROFILE, 2),
            encode_selection(ByRange(CLOCK_COLUMN, ROWS[3][0], ROWS[9][0])),
        ),
        lambda: client.get(AttributeDescriptor(7, LOAD_PROFILE, 2), encode_selection(ByEntry(1, 12, 1, 2))),
        lambda: client.get(AttributeDescriptor(15, CURRENT_ASSOCIATION, 2)),
    )
    for order in kinds:
        found.append(order())
        client.state = ClientState.ASSOCIATED
    return found


def sealed_order(raw: bytes, rng: random.Random) -> None:
    """Rubbish that a client with the keys sealed for a meter that knows it."""
    meter = Meter()
    association = MeterAssociation(meter.device, SETTINGS["glo"][0])
    client = client_for("glo").association
    answered = client.receive(association.receive(client.open(), NOW))
    if not isinstance(answered, Send) or client.heard < 0:
        raise Misconduct("the meter did not let its client in")
    client.receive(association.receive(answered.apdu, NOW))
    protection = Protection.GLOBAL if raw[:1] in {b"\xc0", b"\xc1", b"\xc3"} else Protection.GENERAL_GLOBAL
    sealed = client._sealer.seal_apdu(raw, protection) if client._sealer is not None else b""
    for data in (sealed, raw, sealed):
        if not association.receive(data, NOW):
            raise Misconduct("the meter's side gave no answer")
    del rng


def requests_of(client: DlmsClient) -> list[Callable[[], bytes]]:
    association = client.association
    profile = AttributeDescriptor(7, LOAD_PROFILE, 2)
    part = encode_selection(ByEntry(1, 12))
    return [
        lambda: association.get(AttributeDescriptor(3, IMPORT_ENERGY, 2)),
        lambda: association.get_list(
            (Item(AttributeDescriptor(1, SERIAL, 2)), Item(AttributeDescriptor(8, SERIAL, 2)))
        ),
        lambda: association.get(profile, part),
        lambda: association.set(AttributeDescriptor(1, SERIAL, 2), octets(bytes(600))),
        lambda: association.act(cosem.DisconnectControl(DISCONNECT_CONTROL).method(9), cosem.NO_PARAMETER),
        association.release,
    ]


def conversation(security: str, link: str) -> Conversation:
    """Every turn of one: what the client wrote, what the meter answered; it is the same each time."""
    client, wire = client_for(security, link, max_pdu_size=300), wire_to(Meter(max_pdu_size=300), link)
    turns: Conversation = []
    waiting = iter(requests_of(client))
    out = client.connect()
    while out:
        turns.append((out, wire(out)))
        out, outcomes = client.receive(turns[-1][1])
        if not out and outcomes:
            following = next(waiting, None)
            out = b"" if following is None else client.send(following())
    return turns


def lived_up_to(security: str, link: str, turns: Conversation, turn: int) -> DlmsClient:
    """A client that awaits the answer of that turn."""
    client = client_for(security, link, max_pdu_size=300)
    waiting = iter(requests_of(client))
    client.connect()
    for _, answer in turns[:turn]:
        out, outcomes = client.receive(answer)
        if not out and outcomes:
            client.send(next(waiting)())
    return client


def client_fed(how: tuple[str, str], turns: Conversation, raw: bytes, rng: random.Random) -> None:
    """A bad answer in the middle of a conversation; then, where it was taken, the right one as well."""
    turn = rng.randrange(len(turns))
    security, link = how
    client = lived_up_to(security, link, turns, turn)
    outcomes: list[Outcome] = []
    try:
        for answer in (mended(raw, rng) if link == "hdlc" else raw, turns[turn][1]):
            outcomes += client.receive(answer)[1]
    except DlmsFault:
        if client.association.state not in ClientState:
            raise Misconduct("a client is nowhere") from None
        raise


def meter_fed(meter: Meter, security: str, raw: bytes, _rng: random.Random) -> None:
    """The meter's side of an association answers anything and raises nothing."""
    association = MeterAssociation(meter.device, SETTINGS[security][0])
    client = client_for(security, first_counter=max(meter.device.heard.values(), default=0) + 1)
    association.receive(client.association.open(), NOW)
    for data in (raw, raw[: len(raw) // 2]):
        try:
            answer = association.receive(data, NOW)
        except DlmsFault as fault:
            raise Misconduct(f"the meter's side raised {fault.code}") from fault
        if not answer:
            raise Misconduct("the meter's side gave no answer")


def server_fed(link: str, turns: Conversation, raw: bytes, rng: random.Random) -> None:
    """A meter on a wire: bytes that are no frame end the connection by a fault, all else is answered or passed over."""
    meter = Meter()
    server = WrapperMeter({1: meter.device}) if link == "wrapper" else HdlcMeter({DEVICE: meter.device})
    for out, _ in turns[: rng.randrange(4)]:
        server.receive(out, NOW)
    server.receive(mended(raw, rng) if link == "hdlc" else raw, NOW)


def untouched(meter: Meter) -> None:
    if meter.relay.state is not ControlState.CONNECTED:
        raise Misconduct("a relay moved by bytes that nobody sealed")


def layers() -> list[Layer]:
    """All of them."""
    frames = sealed_frames()
    talks = {(how, link): conversation(how, link) for how in ("low", "glo") for link in ("wrapper", "hdlc")}
    sealed_meter = Meter()
    found = [
        Layer("dlms values", VALUES, values),
        Layer("dlms meanings", VALUES, meanings),
        Layer("dlms bombs", bombs(), values, weight=0.02),
        Layer("dlms apdus", PLAIN, apdus),
        Layer("dlms wrapper", [WrapperFrame(16, 1, one).encode() for one in PLAIN], wrapper),
        Layer("dlms hdlc", [out for out, _ in talks["low", "hdlc"]], hdlc),
        Layer("dlms sealed", list(frames), partial(unsealed, frames)),
        Layer("dlms sealed inside", PLAIN, sealed_inside),
        Layer("dlms meter sealed orders", [*PLAIN, *orders()], sealed_order, answers_all=True),
        Layer("dlms meter in clear", [*PLAIN, *orders()], partial(meter_fed, Meter(), "low"), answers_all=True),
        Layer(
            "dlms meter sealed",
            [*PLAIN, *frames],
            partial(meter_fed, sealed_meter, "glo"),
            answers_all=True,
            finish=partial(untouched, sealed_meter),
        ),
    ]
    for (how, link), turns in talks.items():
        answers = [answer for _, answer in turns]
        feed = partial(client_fed, (how, link), turns)
        found.append(Layer(f"dlms client {how} {link}", answers, feed))
    for link in ("wrapper", "hdlc"):
        turns = talks["low", link]
        found.append(
            Layer(f"dlms server {link}", [out for out, _ in turns], partial(server_fed, link, turns), answers_all=True)
        )
    return found
