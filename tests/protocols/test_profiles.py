"""Meter profiles: the shipped ones replay their golden bytes, wrong ones are named and refused whole."""

from pathlib import Path

import pytest

from protocols.modbus.section import modbus_plan
from protocols.profile import ProfileFault, load_profile, load_profiles, parse_profile

SHIPPED = Path(__file__).parents[2] / "configs" / "meters"
GOOD = """
make = "Maker"
model = "Model"
protocol = "modbus"
relay = "switch"
power_w_max = 10000
writes_allowed = ["0010"]
[modbus]
[modbus.registers]
import = { function = 3, address = 2, type = "u32", scale = "0.01", unit = "kWh" }
[modbus.measurements]
power_w = { function = 3, address = 4, type = "i16", unit = "W" }
[modbus.relay]
address = 16
closed = 1
open = 0
[[golden]]
about = "x"
relay = "closed"
exchanges = [{ request = "01 03 0002 0003", reply = "01 03 06 0000 0001 0002" }]
registers = { import = 10 }
measurements = { power_w = 2 }
"""


def test_the_shipped_profiles_are_sound() -> None:
    profiles = load_profiles()
    assert {"dds238_2_zn_sr", "sdm630"} <= set(profiles)
    for profile in profiles.values():
        if profile.protocol == "modbus":
            modbus_plan(profile)


def test_the_relay_meter_may_be_written_at_its_relay_only() -> None:
    """Writing 0 to register 0000 of this model erases its counters."""
    assert load_profile("dds238_2_zn_sr").writes_allowed == ("001A",)


def test_reads_are_joined_across_declared_gaps_only() -> None:
    blocks = modbus_plan(load_profile("dds238_2_zn_sr")).poll
    assert [(block.address, block.count) for block in blocks] == [(0x08, 10), (0x1A, 1)]
    without = GOOD.replace("address = 4, ", "address = 6, ")
    assert [block.address for block in modbus_plan(parse_profile("x", without)).poll] == [2, 6, 16]
    declared = without.replace("[modbus]", "[modbus]\nreadable_gaps = [{ function = 3, first = 4, last = 15 }]")
    assert [(block.address, block.count) for block in modbus_plan(parse_profile("x", declared)).poll] == [(2, 15)]
    short = declared.replace("[modbus]", "[modbus]\nregisters_read_max = 6")
    assert [(block.address, block.count) for block in modbus_plan(parse_profile("x", short)).poll] == [(2, 5), (16, 1)]


@pytest.mark.parametrize(
    ("of", "at_wh", "step_wh"),
    [
        ('type = "u32", scale = "0.01"', 100_000_000, 10),
        ('type = "u32", scale = "0.1"', 5, 100),
        ('type = "u32", scale = "1/3"', 5, 334),
        ('type = "f32"', 16_000_000, 1),
        ('type = "f32"', 100_000_000, 8),
        ('type = "f32", scale = "0.1"', 100_000_000, 7),
        ('type = "f64"', 100_000_000_000, 1),
    ],
)
def test_a_profile_knows_how_fine_its_registers_are(of: str, at_wh: int, step_wh: int) -> None:
    profile = parse_profile("x", GOOD.replace('type = "u32", scale = "0.01"', of))
    assert profile.resolution_wh(at_wh) == step_wh


def test_what_follows_from_the_types_of_shipped_profiles() -> None:
    assert load_profile("sdm630").resolution_wh(131_072_000) == 16
    assert load_profile("dds238_2_zn_sr").resolution_wh(131_072_000) == 10
    assert load_profile("dlms_lls_three").resolution_wh(131_072_000) == 1


@pytest.mark.parametrize(
    ("kind", "extra", "raw", "value"),
    [
        ("u16", "", "FFFF", 65_535_000),
        ("u32", 'nulls = ["FFFFFFFF"], ', "FFFF FFFF 0001", None),
        ("u32", 'word_order = "low_first", ', "0002 0001 0000", 0x10002 * 1000),
        ("i32", 'word_order = "low_first", ', "FFFE FFFF 0000", -2000),
        ("f32", "", "7FC0 0000 0000", None),
        ("f32", "", "FF80 0000 0000", None),
        ("f32", 'scale = "1/3", ', "4040 0000 0000", 1000),
        ("f64", "", "4059 0000 0000 0000", 100_000),
        ("u64", 'scale = "0.01", ', "0000 0000 0000 0005", 50),
        ("i64", "", "FFFF FFFF FFFF FFFF", -1000),
        ("f32", "", "7E96 7699 0000", None),
        ("f64", "", "C341 C379 37E0 8000", None),
        ("u64", "", "7FFF FFFF FFFF FFFF", None),
    ],
)
def test_every_type_is_decoded(kind: str, extra: str, raw: str, value: int | None) -> None:
    old = '{ function = 3, address = 2, type = "u32", scale = "0.01", unit = "kWh" }'
    new = f'{{ function = 3, address = 2, type = "{kind}", {extra}unit = "kWh" }}'
    text = GOOD.replace(old, new).replace("address = 4, ", "address = 40, ")
    block = modbus_plan(parse_profile("x", text)).poll[0]
    assert block.fields[0].value(bytes.fromhex(raw)) == value


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("make =", "make", "TQ-MP-01"),
        ('make = "Maker"', "", "TQ-MP-02"),
        ('make = "Maker"', 'make = "Maker"\ncolour = 3', "TQ-MP-02"),
        ("[modbus]", "[modbus]\nfarming = 1", "TQ-MP-02"),
        ('type = "u32"', 'type = "u33"', "TQ-MP-02"),
        ('scale = "0.01"', 'scale = "0"', "TQ-MP-02"),
        ('scale = "0.01"', "scale = 0.01", "TQ-MP-02"),
        ('scale = "0.01"', 'nulls = ["FF"]', "TQ-MP-02"),
        ("address = 2,", "address = 65535,", "TQ-MP-02"),
        ("[modbus]", "[modbus]\ntiming = { timeout_ms = 200 }", "TQ-MP-02"),
        ("registers = { import = 10 }", "registers = { imports = 10 }", "TQ-MP-02"),
        ("[[golden]]", "[[silver]]", "TQ-MP-02"),
        ("power_w_max = 10000", "power_w_max = true", "TQ-MP-02"),
        ("power_w_max = 10000", 'power_w_max = "10000"', "TQ-MP-02"),
        ("power_w_max = 10000", "power_w_max = 10000.0", "TQ-MP-02"),
        ("power_w_max = 10000", "power_w_max = 10000\nvee = { stuck_days = true }", "TQ-MP-02"),
        ("open = 0", "open = false", "TQ-MP-02"),
        ("power_w_max = 10000", "power_w_max = " + "[" * 20_000, "TQ-MP-01"),
        ("power_w_max = 10000", "power_w_max = " + "9" * 5_000, "TQ-MP-01"),
        ('scale = "0.01"', 'scale = "1e999999999"', "TQ-MP-02"),
        ('scale = "0.01"', 'scale = "1e-999999999"', "TQ-MP-02"),
        ('unit = "kWh"', 'unit = "V"', "TQ-MP-04"),
        ("power_w = {", "power_mv = {", "TQ-MP-04"),
        ('protocol = "modbus"', 'protocol = "dlms"', "TQ-MP-02"),
        ('writes_allowed = ["0010"]', 'writes_allowed = ["0010", "0000"]', "TQ-MP-05"),
        ('writes_allowed = ["0010"]', "writes_allowed = []", "TQ-MP-05"),
        ('relay = "switch"', 'relay = "none"', "TQ-MP-05"),
        ("open = 0", "open = 1", "TQ-MP-05"),
    ],
)
def test_a_wrong_profile_is_named(old: str, new: str, code: str) -> None:
    assert old in GOOD
    with pytest.raises(ProfileFault) as caught:
        modbus_plan(parse_profile("odd", GOOD.replace(old, new, 1)))
    assert caught.value.code == code
    assert "odd" in caught.value.what
    assert caught.value.hint


@pytest.mark.parametrize("name", ["none_such", "../secrets", "_hidden", "", "x" * 300, "a\0b"])
def test_a_profile_that_is_not_there_is_named_with_those_that_are(name: str) -> None:
    with pytest.raises(ProfileFault, match="TQ-MP-03") as caught:
        load_profile(name)
    assert "sdm630" in caught.value.hint


def test_profiles_are_found_in_a_folder_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(GOOD, encoding="utf-8")
    (tmp_path / "_draft.toml").write_text("rubbish", encoding="utf-8")
    assert list(load_profiles(tmp_path)) == ["mine"]
    for wrong in (b"\xff\xfe", b"#" * 10_000_000):
        (tmp_path / "bad.toml").write_bytes(wrong)
        with pytest.raises(ProfileFault, match="TQ-MP-01"):
            load_profiles(tmp_path)
