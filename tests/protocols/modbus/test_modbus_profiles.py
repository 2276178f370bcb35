"""Modbus profiles: every map that the field knows is shipped, the blueprint is sound, golden bytes can be recorded."""

import asyncio
from fractions import Fraction

import pytest

from protocols.modbus.codec import Framing
from protocols.modbus.section import ValueField, _Section, modbus_plan
from protocols.profile import RelayCapability, load_profiles, parse_profile
from tests.protocols.modbus.recording import record
from tests.protocols.modbus.scripted import Line, gateway
from tests.protocols.test_profiles import SHIPPED

PROFILES = {name: one for name, one in load_profiles().items() if one.protocol == "modbus"}
FIELD = {
    "sdm120": "4:0048 f32 1000 high",
    "sdm230": "4:0048 f32 1000 high",
    "sdm630": "4:0048 f32 1000 high",
    "abb_b23": "3:5000 u64 10 high",
    "abb_b24": "3:5000 u64 10 high",
    "iem3000": "3:0C83 i64 1 high",
    "pac2200": "4:0321 f64 1 high",
    "dtsu666": "3:101E f32 1000 high",
    "em340": "4:0034 i32 100 low",
    "dds238_2_zn_sr": "3:000A u32 10 high",
}
"""Model to where and how its import counts: function:register, type, Wh of one count, which word comes first."""


def field_of(name: str, key: str) -> ValueField:
    fields = {field.key: field for block in modbus_plan(PROFILES[name]).poll for field in block.fields}
    return fields[key]


def test_every_map_of_the_field_is_shipped_with_its_place_type_scale_and_word_order() -> None:
    found = {}
    for name in PROFILES:
        one = field_of(name, "register.import")
        order = "low" if one.swapped else "high"
        place = modbus_plan(PROFILES[name]).places["import"]
        found[name] = f"{place} {one.type} {Fraction(one.numerator, one.denominator)} {order}"
    assert found == FIELD


def test_only_the_meter_with_a_relay_may_be_written() -> None:
    writable = {name: profile.writes_allowed for name, profile in PROFILES.items() if profile.writes_allowed}
    assert writable == {"dds238_2_zn_sr": ("001A",)}
    assert [name for name, one in PROFILES.items() if one.relay is not RelayCapability.NONE] == ["dds238_2_zn_sr"]


def test_all_ones_of_an_abb_meter_are_no_reading_anywhere() -> None:
    for block in modbus_plan(PROFILES["abb_b23"]).poll:
        ones = b"\xff" * 2 * block.count
        assert {field.value(ones) for field in block.fields} == {None}, block


def test_the_blueprint_is_a_profile_and_has_every_key() -> None:
    text = (SHIPPED / "_blueprint_modbus.toml").read_text("utf-8")
    plan = modbus_plan(parse_profile("blueprint", text))
    assert plan.relay is not None
    for key, field in _Section.model_fields.items():
        assert key in text, key
        table = field.annotation
        for inner in getattr(table, "model_fields", {}):
            assert inner in text, f"{key}.{inner}"


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_golden_bytes_are_recorded_from_the_map(name: str) -> None:
    text = (SHIPPED / f"{name}.toml").read_text("utf-8").partition("[[golden]]")[0]
    made = parse_profile(name, text + record(name, text)).golden[0]
    shown = {bytes.fromhex(one.request): bytes.fromhex(one.reply) for one in made.exchanges}
    for block in modbus_plan(PROFILES[name]).poll:
        reply = shown[b"\x01" + block.pdu]
        for field in block.fields:
            key = field.key.removeprefix("register.")
            if key != "relay":
                assert field.value(reply[3:]) == (made.expected()[0] | made.expected()[1])[key]


def test_golden_bytes_are_recorded_from_a_meter_on_the_bench() -> None:
    name = "abb_b23"
    profile = PROFILES[name]
    text = (SHIPPED / f"{name}.toml").read_text("utf-8").partition("[[golden]]")[0]
    script = {bytes.fromhex(one.request): bytes.fromhex(one.reply) for one in profile.golden[1].exchanges}

    async def bench(line: Line) -> None:
        while True:
            pdu = await line.request()
            await line.send(line.frame(script[bytes((line.unit,)) + pdu][1:]))

    async def main() -> str:
        async with gateway(bench, Framing.RTU) as made:
            return await asyncio.to_thread(record, name, text, f"rtu://127.0.0.1:{made.port}", 2)

    recorded = parse_profile(name, text + asyncio.run(main())).golden[0]
    assert recorded.exchanges != ()
    assert {bytes.fromhex(one.request): bytes.fromhex(one.reply) for one in recorded.exchanges} == script
    assert recorded.expected() == profile.golden[1].expected()
