"""Concentrators by name: in addresses, in their files, and why a meter is absent by which fault."""

from pathlib import Path

import pytest

from edge_node.meter_keys import MeterKeyFault
from gridmodel.absence import Absence
from protocols.dlms.concentrators import METERS_FROM, load_concentrators, parse_concentrator
from protocols.dlms.faults import DlmsFault, local_fault, remote_fault
from protocols.dlms.place import parse_address
from protocols.errors import Blame, Hope, ProtocolFault
from protocols.modbus.codec import ExceptionReply, ModbusFault
from protocols.modbus.codec import remote_fault as modbus_fault
from protocols.profile import ProfileFault
from simulate.grid_registry import GridFault, Listen

SOUND = 'make = "a"\nmodel = "b"\nassociations_max = 4\n'


def test_an_address_names_the_concentrator_before_it() -> None:
    place = parse_address("wrapper://10.1.2.3:4059?server=273&via=plc_wrapper")
    assert (place.host, place.port, place.server, place.via) == ("10.1.2.3", 4059, 273, "plc_wrapper")
    assert parse_address("10.1.2.3:4059").via is None
    for wrong in ("10.1.2.3:4059?via=a&via=b", "10.1.2.3:4059?via=", "10.1.2.3:4059?way=plc"):
        with pytest.raises(DlmsFault, match="TQ-DM-93"):
            parse_address(wrong)


def test_the_shipped_models_are_patient_and_take_several() -> None:
    models = load_concentrators()
    assert {"plc_wrapper", "rf_wrapper"} <= set(models)
    for model in models.values():
        assert model.associations_max >= 4
        assert model.timing.timeout_ms >= 20_000
        assert model.timing.call_s_max * 1000 > 5 * model.timing.timeout_ms


def test_a_wrong_file_is_named(tmp_path: Path) -> None:
    assert parse_concentrator("x", SOUND).timing.retries == 1
    for text, code in (
        (SOUND + "lanes = 3\n", "TQ-MP-02"),
        ("associations_max = ", "TQ-MP-01"),
        ("", "TQ-MP-02"),
        ("make = " + "[" * 20_000, "TQ-MP-01"),
    ):
        with pytest.raises(ProfileFault, match=code):
            parse_concentrator("x", text)
    (tmp_path / "mine.toml").write_text(SOUND, "utf-8")
    (tmp_path / "notes.md").write_text("none", "utf-8")
    assert list(load_concentrators(tmp_path)) == ["mine"]
    for wrong in (b"\xff\xfe", b"#" * 10_000_000):
        (tmp_path / "bad.toml").write_bytes(wrong)
        with pytest.raises(ProfileFault, match=r"TQ-MP-01: concentrator bad "):
            load_concentrators(tmp_path)
    (tmp_path / "bad.toml").unlink()
    (tmp_path / "bad.toml").symlink_to("bad.toml")
    with pytest.raises(ProfileFault, match="TQ-MP-01"):
        load_concentrators(tmp_path)


def test_a_fleet_gives_out_addresses_of_its_concentrators() -> None:
    listen = Listen("127.9.0.1", 4059, 1000, "plc_wrapper")
    assert listen.address(0) == (f"wrapper://127.9.0.1:4059?server={METERS_FROM}&via=plc_wrapper", 1)
    assert listen.address(1_999) == (f"wrapper://127.9.0.2:4059?server={METERS_FROM + 999}&via=plc_wrapper", 1)
    assert Listen("127.9.0.1", 502, 247).address(247) == ("127.9.0.2:502", 1)
    with pytest.raises(GridFault, match="TQ-SM-10"):
        Listen("127.9.0.1", 502, 1000).address(0)


@pytest.mark.parametrize(
    ("fault", "absence"),
    [
        (remote_fault("TQ-DM-80", "no connection"), Absence.UNREACHABLE),
        (remote_fault("TQ-DM-81", "silence"), Absence.SILENT),
        (remote_fault("TQ-DM-89", "rests"), Absence.SUSPENDED),
        (remote_fault("TQ-DM-86", "another"), Absence.WRONG_METER),
        (remote_fault("TQ-DM-30", "keys"), Absence.SECURITY),
        (remote_fault("TQ-DM-39", "counter"), Absence.SECURITY),
        (local_fault("TQ-DM-94", "no keys"), Absence.SECURITY),
        (MeterKeyFault("TQ-MK-04", "well known", "change it"), Absence.SECURITY),
        (remote_fault("TQ-DM-50", "no such object"), Absence.REFUSED),
        (remote_fault("TQ-DM-02", "nonsense"), Absence.NOT_UNDERSTOOD),
        (local_fault("TQ-DM-92", "no profile"), Absence.NO_PROFILE),
        (local_fault("TQ-DM-93", "no address"), Absence.MISCONFIGURED),
        (
            DlmsFault("TQ-DM-95", "full", "wait", blame=Blame.LOCAL, hope=Hope.RETRY),
            Absence.QUEUE_FULL,
        ),
        (modbus_fault("TQ-MB-01", "no connection", "look"), Absence.UNREACHABLE),
        (modbus_fault("TQ-MB-02", "silence", "look"), Absence.SILENT),
        (modbus_fault("TQ-MB-07", "length", "look"), Absence.NOT_UNDERSTOOD),
        (ModbusFault("TQ-MB-40", "full", "wait", blame=Blame.LOCAL, hope=Hope.RETRY), Absence.QUEUE_FULL),
        (ExceptionReply(3, 2), Absence.REFUSED),
        (ExceptionReply(3, 11), Absence.SILENT),
    ],
    ids=lambda value: value.code if isinstance(value, ProtocolFault) else value.value,
)
def test_every_fault_says_why_a_meter_is_absent(fault: ProtocolFault, absence: Absence) -> None:
    assert fault.absence is absence
