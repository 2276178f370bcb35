"""Keys, tags and counters: nothing unproven passes, no counter is used twice."""

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.dlms.apdu import decode_apdu
from protocols.dlms.apdu.acse import Mechanism
from protocols.dlms.apdu.sealed import Protection, Sealed
from protocols.dlms.association import ClientAssociation
from protocols.dlms.counters import COUNTER_MAX, RECOVERY_JUMP_MAX, RESERVE_BLOCK, Counter, recover, reserve
from protocols.dlms.faults import DlmsFault
from protocols.dlms.sealing import Sealer
from protocols.dlms.security import SEALED, Control, Heard, SecurityKeys, Suite
from protocols.dlms.terms import AssociationSettings
from protocols.errors import Blame, Hope
from tests.protocols.dlms.parties import AK, CLIENT_TITLE, DK, EK, PASSWORD, Meter, client_for, talk, wire_to

TITLE = b"TMQ\x00\x00\x00\x00\x07"
GET = bytes.fromhex("C001C100080000010000FF0200")


@given(st.binary(max_size=300), st.integers(0, COUNTER_MAX), st.sampled_from([0x10, 0x20, 0x30]))
def test_what_is_sealed_is_unsealed(plain: bytes, counter: int, control: int) -> None:
    suite = Suite(EK, AK)
    sealed = suite.seal(TITLE, counter, plain, Control(control))
    assert suite.unseal(TITLE, sealed, Control(control)) == (counter, plain)


@given(st.binary(max_size=60), st.integers(0, 10_000), st.integers(1, 255))
def test_any_change_is_seen(plain: bytes, place: int, change: int) -> None:
    sealed = bytearray(Suite(EK, AK).seal(TITLE, 9, plain))
    sealed[place % len(sealed)] ^= change
    with pytest.raises(DlmsFault) as caught:
        Suite(EK, AK).unseal(TITLE, bytes(sealed))
    assert caught.value.code in {"TQ-DM-30", "TQ-DM-32", "TQ-DM-34"}


def test_another_title_key_or_authentication_key_does_not_open() -> None:
    sealed = Suite(EK, AK).seal(TITLE, 9, GET)
    for suite, title in ((Suite(DK, AK), TITLE), (Suite(EK, DK), TITLE), (Suite(EK, AK), CLIENT_TITLE)):
        with pytest.raises(DlmsFault, match="TQ-DM-30") as caught:
            suite.unseal(title, sealed)
        assert caught.value.hope is Hope.PERMANENT


@pytest.mark.parametrize(("control", "code"), [(0x31, "34"), (0x70, "34"), (0xB0, "34"), (0x00, "32"), (0x20, "32")])
def test_other_suites_broadcast_compression_and_less_protection_are_refused(control: int, code: str) -> None:
    with pytest.raises(DlmsFault, match=f"TQ-DM-{code}"):
        Suite(EK, AK).unseal(TITLE, bytes((control,)) + bytes(40))


def test_secrets_are_not_shown() -> None:
    keys = SecurityKeys(EK, AK, DK)
    shown = repr(keys) + repr(AssociationSettings(Mechanism.LOW, password=PASSWORD))
    assert EK.hex() not in shown.replace("\\x", "")
    assert str(PASSWORD) not in shown
    with pytest.raises(DlmsFault) as caught:
        SecurityKeys(EK[:-1], AK)
    assert repr(EK)[2:20] not in str(caught.value)


def two() -> tuple[Sealer, Sealer]:
    client = Sealer(SecurityKeys(EK, AK, DK), CLIENT_TITLE, Counter(1, 1_000))
    meter = Sealer(SecurityKeys(EK, AK, DK), TITLE, Counter(1, 1_000))
    client.know(TITLE)
    meter.know(CLIENT_TITLE)
    for one in (client, meter):
        one.use_dedicated(DK)
    return client, meter


def opened(meter: Sealer, raw: bytes) -> object:
    apdu = decode_apdu(raw)
    assert isinstance(apdu, Sealed)
    return meter.unseal_apdu(apdu)


@pytest.mark.parametrize("protection", Protection)
def test_each_sealed_apdu_opens_once(protection: Protection) -> None:
    client, meter = two()
    first, second = (client.seal_apdu(GET, protection) for _ in range(2))
    assert opened(meter, second) == decode_apdu(GET)
    for replay in (first, second):
        with pytest.raises(DlmsFault, match="TQ-DM-31"):
            opened(meter, replay)


def test_a_forged_apdu_does_not_move_the_counter() -> None:
    client, meter = two()
    forged = bytearray(client.seal_apdu(GET, Protection.GLOBAL))
    forged[3:7] = COUNTER_MAX.to_bytes(4, "big")
    with pytest.raises(DlmsFault, match="TQ-DM-30"):
        opened(meter, bytes(forged))
    assert meter.heard == -1
    assert opened(meter, client.seal_apdu(GET, Protection.GLOBAL))


def test_what_a_tag_covers_must_be_what_it_says() -> None:
    client, meter = two()
    raw = bytearray(client.seal_apdu(GET, Protection.GLOBAL))
    raw[0] = 0xCC
    with pytest.raises(DlmsFault, match="TQ-DM-05"):
        opened(meter, bytes(raw))
    nested = client.seal_apdu(client.seal_apdu(GET, Protection.GLOBAL), Protection.GENERAL_GLOBAL)
    with pytest.raises(DlmsFault, match="TQ-DM-05"):
        opened(meter, nested)


def test_a_strangers_title_and_our_own_are_refused() -> None:
    client, meter = two()
    meter.peer_title = b"somebody"
    with pytest.raises(DlmsFault, match="TQ-DM-33"):
        opened(meter, client.seal_apdu(GET, Protection.GENERAL_GLOBAL))
    for title in (None, b"short", TITLE):
        with pytest.raises(DlmsFault, match="TQ-DM-33"):
            meter.know(title)


def test_a_fresh_ear_hears_counter_zero() -> None:
    heard = Heard()
    heard.take(0)
    with pytest.raises(DlmsFault, match="TQ-DM-31"):
        heard.take(0)


class Marks:
    """A durable store whose every write is remembered; `lose` is a crash after which only commits remain."""

    def __init__(self) -> None:
        self.marks: dict[str, int] = {}

    async def mark(self, key: str) -> int:
        return self.marks.get(key, 1)

    async def move(self, key: str, mark: int) -> None:
        self.marks[key] = max(mark, self.marks.get(key, 1))


def test_no_counter_is_used_twice_whenever_the_process_dies() -> None:
    async def live() -> None:
        marks, rng = Marks(), random.Random(3)
        used: list[int] = []
        for _ in range(200):
            counter = await reserve(marks, "meter-1", 16)
            used += [counter.take() for _ in range(rng.randrange(17))]
        assert len(used) == len(set(used)) > 1_000
        assert used == sorted(used)
        assert await marks.mark("meter-2") == 1

    asyncio.run(live())


def test_a_used_up_key_says_so() -> None:
    async def live() -> None:
        marks = Marks()
        await marks.move("m", COUNTER_MAX - RESERVE_BLOCK)
        await reserve(marks, "m")
        with pytest.raises(DlmsFault, match="TQ-DM-36") as caught:
            await reserve(marks, "m")
        assert caught.value.blame is Blame.LOCAL

    asyncio.run(live())


def test_recovery_believes_a_meter_within_limits() -> None:
    async def live() -> None:
        marks = Marks()
        assert await recover(marks, "m", 500) == 501
        assert await recover(marks, "m", 20) == 501, "never backwards"
        assert (await reserve(marks, "m", 10)).take() == 501
        assert await recover(marks, "m", 510 + RECOVERY_JUMP_MAX) == 511 + RECOVERY_JUMP_MAX
        with pytest.raises(DlmsFault, match="TQ-DM-37") as caught:
            await recover(marks, "m", 511 + 2 * RECOVERY_JUMP_MAX)
        assert caught.value.hope is Hope.PERMANENT
        assert await marks.mark("m") == 511 + RECOVERY_JUMP_MAX, "nothing moved"

    asyncio.run(live())


def test_recovery_by_the_meters_own_word_opens_the_door_again() -> None:
    meter = Meter()
    meter.device.heard[1] = 40_000
    lost = client_for("glo", first_counter=1)
    with pytest.raises(DlmsFault, match="TQ-DM-40"):
        talk(lost, wire_to(meter, "wrapper"), lost.connect())
    found = client_for("glo", first_counter=40_001)
    talk(found, wire_to(meter, "wrapper"), found.connect())


@pytest.mark.parametrize(
    "settings",
    [
        AssociationSettings(Mechanism.GMAC),
        AssociationSettings(Mechanism.GMAC, system_title=b"short"),
        AssociationSettings(Mechanism.SHA256, system_title=CLIENT_TITLE),
        AssociationSettings(Mechanism.LOW, Protection.DEDICATED, system_title=CLIENT_TITLE),
    ],
)
def test_settings_that_do_not_fit_are_our_own_fault(settings: AssociationSettings) -> None:
    with pytest.raises(DlmsFault, match="TQ-DM-75"):
        ClientAssociation(settings, keys=SecurityKeys(EK, AK), counter=Counter(1, 9), challenge=bytes(16))
    with pytest.raises(DlmsFault, match="TQ-DM-75"):
        ClientAssociation(AssociationSettings(Mechanism.GMAC, system_title=TITLE), challenge=b"short")
    assert SEALED == 0x30
