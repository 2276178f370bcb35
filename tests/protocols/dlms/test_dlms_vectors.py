"""Bytes that the standard itself gives (Green Book, IEC 62056-5-3 and -46): our codec makes and reads exactly these."""

import pytest

from protocols.dlms.apdu import Apdu, decode_apdu
from protocols.dlms.apdu.acse import Aare, Aarq, AssociationResult, Context, Mechanism, Rlre, Rlrq
from protocols.dlms.apdu.action import ActionRequestNormal, ActionResponseNormal, MethodOutcome
from protocols.dlms.apdu.get import (
    GetRequestNext,
    GetRequestNormal,
    GetRequestWithList,
    GetResponseNormal,
    GetResponseWithDatablock,
    GetResponseWithList,
)
from protocols.dlms.apdu.initiate import Conformance, InitiateRequest, InitiateResponse
from protocols.dlms.apdu.notices import ConfirmedServiceError, DataNotification, ExceptionResponse
from protocols.dlms.apdu.parts import (
    AccessResult,
    ActionResult,
    AttributeDescriptor,
    AttributeRequest,
    DataBlock,
    MethodDescriptor,
)
from protocols.dlms.apdu.sealed import Protection, Sealed
from protocols.dlms.apdu.setting import (
    SetRequestNormal,
    SetRequestWithFirstDatablock,
    SetResponseDatablock,
    SetResponseLastDatablock,
    SetResponseNormal,
)
from protocols.dlms.counters import Counter
from protocols.dlms.data import Data, Tag, octets, structure
from protocols.dlms.faults import DlmsFault
from protocols.dlms.hdlc.frames import Address, Frame, FrameSplitter, check_sequence
from protocols.dlms.hdlc.parameters import LinkParameters, read_parameters
from protocols.dlms.obis import CLOCK, CURRENT_ASSOCIATION, DISCONNECT_CONTROL, IMPORT_ENERGY, Obis
from protocols.dlms.sealing import Sealer
from protocols.dlms.security import Control, SecurityKeys, Suite

EK = bytes.fromhex("000102030405060708090A0B0C0D0E0F")
AK = bytes.fromhex("D0D1D2D3D4D5D6D7D8D9DADBDCDDDEDF")
TITLE = bytes.fromhex("4D4D4D0000BC614E")
COUNTER = 0x01234567
PROPOSED = Conformance(0x007E1F)
AGREED = Conformance(0x00501F)
INITIATE = InitiateRequest(PROPOSED, 0x04B0)
ENERGY = AttributeDescriptor(3, IMPORT_ENERGY, 2)

APDUS: dict[str, tuple[Apdu, str]] = {
    "initiate request": (INITIATE, "01000000065F1F0400007E1F04B0"),
    "initiate request with dedicated key": (
        InitiateRequest(PROPOSED, 0x04B0, bytes.fromhex("00112233445566778899AABBCCDDEEFF")),
        "01011000112233445566778899AABBCCDDEEFF0000065F1F0400007E1F04B0",
    ),
    "initiate response": (InitiateResponse(AGREED, 0x01F4), "0800065F1F040000501F01F40007"),
    "AARQ lowest": (
        Aarq(Context.LN, INITIATE.encode()),
        "601DA109060760857405080101BE10040E01000000065F1F0400007E1F04B0",
    ),
    "AARQ low": (
        Aarq(Context.LN, INITIATE.encode(), Mechanism.LOW, b"12345678"),
        (
            "6036A1090607608574050801018A0207808B0760857405080201AC0A80083132333435363738"
            "BE10040E01000000065F1F0400007E1F04B0"
        ),
    ),
    "AARQ high": (
        Aarq(Context.LN, INITIATE.encode(), Mechanism.GMAC, b"K56iVagY"),
        (
            "6036A1090607608574050801018A0207808B0760857405080205AC0A80084B35366956616759"
            "BE10040E01000000065F1F0400007E1F04B0"
        ),
    ),
    "AARQ ciphered": (
        Aarq(
            Context.LN_CIPHERED,
            bytes.fromhex(
                "21303001234567801302FF8A7874133D414CED25B42534D28DB0047720606B175BD52211BE6841DB204D39EE6FDB8E356855"
            ),
            Mechanism.LOW,
            b"12345678",
            TITLE,
        ),
        (
            "6066A109060760857405080103A60A04084D4D4D0000BC614E8A0207808B0760857405080201AC0A80083132333435363738"
            "BE34043221303001234567801302FF8A7874133D414CED25B42534D28DB0047720606B175BD52211BE6841DB204D39EE6FDB8E356855"
        ),
    ),
    "AARE accepted": (
        Aare(Context.LN, AssociationResult.ACCEPTED, (1, 0), InitiateResponse(AGREED, 0x01F4).encode()),
        "6129A109060760857405080101A203020100A305A103020100BE10040E0800065F1F040000501F01F40007",
    ),
    "AARE with challenge": (
        Aare(
            Context.LN,
            AssociationResult.ACCEPTED,
            (1, 14),
            InitiateResponse(AGREED, 0x01F4).encode(),
            Mechanism.GMAC,
            b"P6wRJ21F",
        ),
        "6142A109060760857405080101A203020100A305A10302010E8802078089076085740508 0205AA0A8008503677524A323146"
        "BE10040E0800065F1F040000501F01F40007".replace(" ", ""),
    ),
    "AARE refused": (
        Aare(Context.LN, AssociationResult.REJECTED_PERMANENT, (1, 13), ConfirmedServiceError(1, 6, 1).encode()),
        "611FA109060760857405080101A203020101A305A10302010DBE0604040E010601",
    ),
    "RLRQ": (Rlrq(0), "6203800100"),
    "RLRQ bare": (Rlrq(None), "6200"),
    "RLRE": (Rlre(0), "6303800100"),
    "GET clock": (
        GetRequestNormal(0xC1, AttributeRequest(AttributeDescriptor(8, CLOCK, 2))),
        "C001C100080000010000FF0200",
    ),
    "GET next": (GetRequestNext(0xC1, 2), "C002C100000002"),
    "GET with list": (
        GetRequestWithList(0xC1, (AttributeRequest(ENERGY), AttributeRequest(ENERGY._replace(attribute=3)))),
        "C003C10200030100010800FF020000030100010800FF0300",
    ),
    "GET value": (GetResponseNormal(0xC1, Data(Tag.DOUBLE_LONG_UNSIGNED, 1)), "C401C1000600000001"),
    "GET refused": (GetResponseNormal(0xC1, AccessResult.OBJECT_UNDEFINED), "C401C10104"),
    "GET block": (GetResponseWithDatablock(0xC1, False, 1, b"\x01\x02"), "C402C1000000000100020102"),
    "GET values": (
        GetResponseWithList(0xC1, (Data(Tag.UNSIGNED, 5), AccessResult.READ_WRITE_DENIED)),
        "C403C1020011050103",
    ),
    "SET": (
        SetRequestNormal(0xC1, AttributeRequest(AttributeDescriptor(70, DISCONNECT_CONTROL, 4)), Data(Tag.ENUM, 4)),
        "C101C100460000 60030AFF04001604".replace(" ", ""),
    ),
    "SET first block": (
        SetRequestWithFirstDatablock(0xC1, AttributeRequest(ENERGY), DataBlock(False, 1, b"\x09\x02")),
        "C102C100030100010800FF02000000000001020902",
    ),
    "SET done": (SetResponseNormal(0xC1, AccessResult.SUCCESS), "C501C100"),
    "SET block taken": (SetResponseDatablock(0xC1, 1), "C502C100000001"),
    "SET last block taken": (SetResponseLastDatablock(0xC1, AccessResult.SUCCESS, 3), "C503C10000000003"),
    "ACTION disconnect": (
        ActionRequestNormal(0xC1, MethodDescriptor(70, DISCONNECT_CONTROL, 1), Data(Tag.INTEGER, 0)),
        "C301C100460000 60030AFF01010F00".replace(" ", ""),
    ),
    "ACTION done": (ActionResponseNormal(0xC1, MethodOutcome(ActionResult.SUCCESS)), "C701C10000"),
    "data notification": (
        DataNotification(0x0F, b"", structure(Data(Tag.UNSIGNED, 1))),
        "0F0000000F0002011101",
    ),
    "exception": (ExceptionResponse(1, 2), "D80102"),
    "exception for a counter": (ExceptionResponse(1, 6, 0x1234), "D8010600001234"),
}


@pytest.mark.parametrize("name", APDUS)
def test_an_apdu_is_exactly_these_bytes(name: str) -> None:
    apdu, text = APDUS[name]
    assert apdu.encode().hex().upper() == text
    assert decode_apdu(bytes.fromhex(text)) == apdu


def test_the_ciphered_initiate_of_the_standard() -> None:
    suite = Suite(EK, AK)
    plain = InitiateRequest(PROPOSED, 0x04B0, bytes.fromhex("00112233445566778899AABBCCDDEEFF")).encode()
    sealed = suite.seal(TITLE, COUNTER, plain)
    should = "3001234567801302FF8A7874133D414CED25B42534D28DB0047720606B175BD52211BE6841DB204D39EE6FDB8E356855"
    assert sealed.hex().upper() == should
    assert suite.unseal(TITLE, sealed) == (COUNTER, plain)


def test_the_glo_get_request_of_the_standard() -> None:
    sealer = Sealer(SecurityKeys(EK, AK), TITLE, Counter(COUNTER, COUNTER + 1))
    plain = bytes.fromhex("C0010000080000010000FF0200")
    sealed = sealer.seal_apdu(plain, Protection.GLOBAL)
    assert sealed.hex().upper() == "C81E3001234567411312FF935A47566827C467BC7D825C3BE4A77C3FCC056B6B"
    other = Sealer(SecurityKeys(EK, AK), b"METERxyz", Counter(1, 9))
    other.know(TITLE)
    apdu = decode_apdu(sealed)
    assert isinstance(apdu, Sealed)
    assert other.unseal_apdu(apdu) == GetRequestNormal(0, AttributeRequest(AttributeDescriptor(8, CLOCK, 2)))


def test_the_authenticated_get_request_of_the_standard() -> None:
    plain = bytes.fromhex("C0010000080000010000FF0200")
    sealed = Suite(EK, AK).seal(TITLE, COUNTER, plain, Control.AUTHENTICATED)
    assert sealed.hex().upper() == "1001234567C0010000080000010000FF0200" + "06725D910F9221D263877516"
    assert Suite(EK, AK).unseal(TITLE, sealed, Control.AUTHENTICATED) == (COUNTER, plain)
    with pytest.raises(DlmsFault, match="TQ-DM-32"):
        Suite(EK, AK).unseal(TITLE, sealed)


def test_the_gmac_proofs_of_the_standard() -> None:
    suite = Suite(EK, AK)
    client = bytes.fromhex("4D4D4D0000000001")
    assert suite.prove(client, 1, b"P6wRJ21F").hex().upper() == "10000000011A52FE7DD3E72748973C1E28"
    assert suite.prove(TITLE, COUNTER, b"K56iVagY").hex().upper() == "1001234567FE1466AFB3DBCD4F9389E2B7"
    assert suite.check_proof(client, suite.prove(client, 1, b"P6wRJ21F"), b"P6wRJ21F") == 1
    assert suite.check_proof(TITLE, suite.prove(client, 1, b"P6wRJ21F"), b"P6wRJ21F") is None


def test_the_proof_travels_in_an_action_of_the_association_object() -> None:
    proof = octets(bytes.fromhex("10000000011A52FE7DD3E72748973C1E28"))
    request = ActionRequestNormal(0xC1, MethodDescriptor(15, CURRENT_ASSOCIATION, 1), proof)
    assert request.encode().hex().upper() == "C301C1000F0000280000FF0101091110000000011A52FE7DD3E72748973C1E28"


def test_the_check_sequence_is_x25() -> None:
    assert check_sequence(b"123456789") == (0x906E).to_bytes(2, "little")


def test_an_snrm_and_its_ua() -> None:
    """SNRM of client 16 to logical device 1 without parameters, and a UA with sizes of 128 and windows of 1."""
    snrm = Frame(Address(1), Address(16), 0x93)
    assert snrm.encode().hex().upper() == "7EA00703219 30F017E".replace(" ", "")
    ua = bytes.fromhex("8180140502008006020080070400000001080400000001")
    assert read_parameters(ua) == LinkParameters()
    frame = Frame(Address(16), Address(1), 0x73, ua)
    assert FrameSplitter().feed(frame.encode()) == [frame]
    assert LinkParameters(
        0x80, 0x80, 1, 1
    ).encode().hex().upper() == "8180120501800601800704000000010804 00000001".replace(" ", "")


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (Address(16), "21"),
        (Address(1, 17, 2), "0223"),
        (Address(1, 17, 4), "00020023"),
        (Address(0x1234, 1, 4), "48680003"),
    ],
)
def test_addresses_of_all_sizes(address: Address, text: str) -> None:
    assert address.encode().hex() == text
    frame = Frame(address, Address(16), 0x93)
    assert FrameSplitter().feed(frame.encode())[0].destination == address


def test_obis_codes_keep_all_six_groups() -> None:
    assert Obis.parse("1.0.1.8.0.255") == Obis.parse("1-0:1.8.0*255") == Obis.parse("1-0:1.8.0") == IMPORT_ENERGY
    assert Obis.parse("1.0.1.8.0.1").f == 1
    assert str(Obis.parse("0.0.96.3.10")) == "0.0.96.3.10.255"
    for wrong in ("1.0.1.8", "1.0.1.8.256.255", "1.0.1.8.0.999", "a.b.c.d.e.f", ""):
        with pytest.raises(DlmsFault, match="TQ-DM-70"):
            Obis.parse(wrong)
