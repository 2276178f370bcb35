"""DLMS profiles: the shipped ones are sound and replay their golden bytes, the blueprint parses, mistakes are named."""

import asyncio
from dataclasses import replace
from importlib.resources import files

import pytest

from gridmodel.identity import MeterId
from gridmodel.reading import Channel
from protocols.dlms.cosem import ScalerUnit
from protocols.dlms.data import Data, Tag
from protocols.dlms.hdlc.link import HdlcCarrier
from protocols.dlms.place import LinkKind, parse_address
from protocols.dlms.section import dlms_plan
from protocols.dlms.values import Poll
from protocols.driver import MeterTarget, RelayCommand
from protocols.errors import Blame, Hope, ProtocolFault
from protocols.profile import Golden, MeterProfile, ProfileFault, load_profile, load_profiles, parse_profile
from tests.protocols.dlms.recording import record, recorded_driver
from tests.protocols.modbus.scripted import run

PROFILES = {name: one for name, one in load_profiles().items() if one.protocol == "dlms"}
CASES = [(name, golden) for name, profile in PROFILES.items() for golden in profile.golden]


def text_of(name: str) -> str:
    return files("configs").joinpath("meters", f"{name}.toml").read_text("utf-8")


GOOD = text_of("dlms_hls_single")


class Replay(asyncio.Protocol):
    """Answers exactly the recorded bytes, in their order, and nothing else."""

    def __init__(self, golden: Golden, strays: list[bytes]) -> None:
        self.left = [(bytes.fromhex(one.request), bytes.fromhex(one.reply)) for one in golden.exchanges]
        self.strays = strays
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while self.buffer:
            if not self.left or not self.left[0][0].startswith(self.buffer[: len(self.left[0][0])]):
                self.strays.append(self.buffer)
                self.transport.abort()
                return
            if len(self.buffer) < len(self.left[0][0]):
                return
            request, reply = self.left.pop(0)
            self.buffer = self.buffer[len(request) :]
            self.transport.write(reply)


@pytest.mark.parametrize(("name", "golden"), CASES, ids=[name for name, _ in CASES])
def test_golden_bytes(name: str, golden: Golden) -> None:
    async def main() -> None:
        made: list[Replay] = []
        strays: list[bytes] = []

        def connected() -> Replay:
            made.append(Replay(golden, strays))
            return made[-1]

        server = await asyncio.get_running_loop().create_server(connected, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        driver = recorded_driver(PROFILES[name])
        try:
            target = MeterTarget(MeterId("m-1"), golden.serial or "", name, f"127.0.0.1:{port}", 1)
            seen = await driver.read(target)
            await asyncio.sleep(0)
            registers, measurements = golden.expected()
            assert {channel.name.lower(): value for channel, value in seen.registers.items()} == registers
            assert dict(seen.measurements) == measurements
            assert (seen.relay.state if seen.relay else None) == golden.relay
            assert seen.serial == golden.serial
            assert set(seen.raw) == set(registers) | set(measurements) == set(seen.places)
            assert [len(one.left) for one in made] == [0], "the golden bytes are a whole poll"
        finally:
            await driver.close()
            server.close()
            await server.wait_closed()
        goodbyes = [one for one in strays if LinkKind(dlms_plan(PROFILES[name]).table.link) is LinkKind.HDLC]
        assert strays == goodbyes, "only the link's own good-bye follows, which nobody waits for"

    run(main())


def test_every_kind_of_security_and_link_is_shipped() -> None:
    plans = [dlms_plan(one) for one in PROFILES.values()]
    assert {plan.table.security.mode for plan in plans} == {"none", "lls", "hls_gmac"}
    assert {plan.table.security.protection for plan in plans} == {"none", "glo", "ded"}
    assert {plan.table.link for plan in plans} == set(LinkKind)
    assert all(plan.serial is not None and plan.load_profile is not None for plan in plans)


def test_goldens_are_recorded_again_to_the_same_bytes() -> None:
    for name, profile in PROFILES.items():
        text = text_of(name).partition("[[golden]]")[0]
        assert parse_profile(name, text + record(name, text)).golden == profile.golden, name


def test_the_blueprint_is_a_profile() -> None:
    profile = parse_profile("blueprint", text_of("_blueprint"))
    plan = dlms_plan(profile)
    assert plan.relay is not None
    assert plan.relay.moves[RelayCommand.OPEN].name in plan.writes_allowed
    assert "_blueprint" not in load_profiles()
    with pytest.raises(ProfileFault, match="TQ-MP-03"):
        load_profile("_blueprint")


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ('link = "wrapper"', 'link = "pigeon"', "TQ-MP-02"),
        ("client = 1\n", "client = 0\n", "TQ-MP-02"),
        ('mode = "hls_gmac"', 'mode = "hls_md5"', "TQ-MP-02"),
        ('protection = "glo"', 'protection = "rot13"', "TQ-MP-02"),
        ('obis = "1.0.1.8.0.255", unit', 'obis = "1.0.1.8.300.255", unit', "TQ-MP-02"),
        ('unit = "Hz"', 'unit = "kHz"', "TQ-MP-02"),
        ('unit = "Hz"', 'unit = "Hz", class = 1', "TQ-MP-02"),
        ('unit = "Hz"', 'unit = "Hz", multiplier = "0"', "TQ-MP-02"),
        ('unit = "Hz"', 'unit = "Hz", scaler = 99', "TQ-MP-02"),
        ("period_s = 3600", "period_s = 60", "TQ-MP-02"),
        ('{ holds = "clock"', '{ holds = "other"', "TQ-MP-02"),
        ('{ holds = "export"', '{ holds = "import"', "TQ-MP-02"),
        ('40 = "terminal_cover_opened"', '40 = "cover_gone"', "TQ-MP-02"),
        ('40 = "terminal_cover_opened"', 'forty = "terminal_cover_opened"', "TQ-MP-02"),
        ("[dlms.identity]", "[dlms.identities]", "TQ-MP-02"),
        ('"1.0.1.8.0.255", unit = "Wh"', '"1.0.1.8.0.255", unit = "varh"', "TQ-MP-04"),
        ("power_w = { obis", "power_mw = { obis", "TQ-MP-04"),
        ('"1.0.1.7.0.255", unit = "W"', '"1.0.1.7.0.255", unit = "Wh"', "TQ-MP-04"),
        ('relay = "switch"', 'relay = "none"', "TQ-MP-05"),
        ("power_w = { obis", "apparent_w = { obis", "TQ-MP-05"),
        ('"8/0.0.1.0.0.255 method 6"', '"3/1.0.1.8.0.255 method 1"', "TQ-MP-05"),
        ('"8/0.0.1.0.0.255 method 6"', '"71/0.0.17.0.0.255 attribute 4"', "TQ-MP-05"),
        ('set_by = "shift"', 'set_by = "time"', "TQ-MP-05"),
        ('[dlms.relay]\nobis = "0.0.96.3.10.255"', "[dlms.relay]\nopen = { method = 2 }", "TQ-MP-05"),
        ('[dlms.relay]\nobis = "0.0.96.3.10.255"', "[dlms.relay]\nopen = { script = 1 }", "TQ-MP-02"),
        ('[dlms.identity]\nserial = { class = 1, obis = "0.0.96.1.0.255" }', "", "TQ-MP-05"),
    ],
)
def test_a_wrong_profile_is_named(old: str, new: str, code: str) -> None:
    assert old in GOOD
    with pytest.raises(ProfileFault) as caught:
        dlms_plan(parse_profile("odd", GOOD.replace(old, new, 1)))
    assert caught.value.code == code
    assert "odd" in caught.value.what
    assert caught.value.hint


def test_a_relay_may_be_moved_by_scripts() -> None:
    table = '[dlms.relay]\nopen = { script_table = "0.0.10.0.106.255", script = 1 }\n'
    table += 'close = { script_table = "0.0.10.0.106.255", script = 2 }'
    names = [f"9/0.0.10.0.106.255 method 1 script {number}" for number in (1, 2)]
    text = GOOD.replace('[dlms.relay]\nobis = "0.0.96.3.10.255"', table)
    for number, name in enumerate(names, start=1):
        text = text.replace(f'"70/0.0.96.3.10.255 method {number}"', f'"{name}"')
    plan = dlms_plan(parse_profile("scripted", text))
    assert plan.relay is not None
    assert [move.name for move in plan.relay.moves.values()] == names


def target(address: str, unit: int = 1) -> MeterTarget:
    return MeterTarget(MeterId("m-1"), "1", "x", address, unit)


def test_addresses_go_before_profiles() -> None:
    three, single = dlms_plan(PROFILES["dlms_lls_three"]), dlms_plan(PROFILES["dlms_hls_single"])
    place = three.place(target("10.0.0.1:4059", 17))
    assert (place.link, place.client, place.server, place.physical) == (LinkKind.HDLC, 32, 1, 17)
    assert isinstance(place.carrier(), HdlcCarrier)
    place = single.place(target("hdlc://[::1]:4059?client=5&server=3&physical=300"))
    assert (place.host, place.port, place.link) == ("::1", 4059, LinkKind.HDLC)
    assert (place.client, place.server, place.physical) == (5, 3, 300)
    assert place.carrier().connect()[3:7] == bytes.fromhex("0006 0459".replace(" ", "")), "four bytes for 300"


@pytest.mark.parametrize(
    "address",
    [
        "meter",
        "10.0.0.1",
        "10.0.0.1:0",
        "10.0.0.1:99999",
        "tcp://10.0.0.1:4059",
        "10.0.0.1:4059/x",
        "a@10.0.0.1:4059",
        "10.0.0.1:4059?client=900",
        "10.0.0.1:4059?clients=1",
        "10.0.0.1:4059?client=one",
        "10.0.0.1:4059?client=1&client=2",
        "",
    ],
)
def test_what_is_no_address_is_named(address: str) -> None:
    with pytest.raises(ProtocolFault, match="TQ-DM-93") as caught:
        parse_address(address)
    assert (caught.value.blame, caught.value.hope) == (Blame.LOCAL, Hope.PERMANENT)


def profile_with(old: str, new: str, name: str = "dlms_hls_single") -> MeterProfile:
    text = text_of(name)
    assert old in text
    return parse_profile(name, text.replace(old, new, 1))


def test_an_allow_list_may_be_shorter_than_what_could_be_written() -> None:
    plan = dlms_plan(profile_with('    "70/0.0.96.3.10.255 method 1",\n', ""))
    assert "70/0.0.96.3.10.255 method 1" not in plan.writes_allowed


@pytest.mark.parametrize(
    ("scaler", "told", "register_wh", "step_wh"),
    [
        (0, Data(Tag.DOUBLE_LONG_UNSIGNED, 12_345_678), 12_345_678, 1),
        (-1, Data(Tag.DOUBLE_LONG_UNSIGNED, 123_456_789), 12_345_678, 1),
        (1, Data(Tag.DOUBLE_LONG_UNSIGNED, 1_234_567), 12_345_670, 10),
        (3, Data(Tag.LONG64, 100_000), 100_000_000, 1_000),
        (3, Data(Tag.FLOAT32, 131_072.0), 131_072_000, 16),
        (0, Data(Tag.FLOAT32, 100_000_000.0), 100_000_000, 8),
        (3, Data(Tag.FLOAT64, 131_072.0), 131_072_000, 1),
    ],
)
def test_a_snapshot_tells_how_fine_its_registers_are(scaler: int, told: Data, register_wh: int, step_wh: int) -> None:
    plan = replace(dlms_plan(load_profile("dlms_plain_single")), serial=None, clock=None, relay=None)
    scales = {value.key: ScalerUnit(scaler, value.unit) for value in plan.values}
    snapshot = Poll(plan).snapshot((told,) * len(plan.values), scales)
    assert snapshot.registers[Channel.IMPORT] == register_wh
    assert snapshot.resolutions[Channel.IMPORT].at(register_wh) == step_wh
