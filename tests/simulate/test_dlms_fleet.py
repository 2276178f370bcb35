"""DLMS meters on real sockets: the truth in registers and profiles, relays, clocks, events, and what can go wrong."""

import asyncio
from pathlib import Path

import pytest
from dlms_cosem import cosem, enumerations, utils  # type: ignore[import-untyped]
from dlms_cosem.clients.blocking_tcp_transport import BlockingTcpTransport  # type: ignore[import-untyped]
from dlms_cosem.clients.dlms_client import DlmsClient as PeerClient  # type: ignore[import-untyped]

from hosting.clocks import SystemEntropy
from protocols.dlms.apdu.notices import DataNotification
from protocols.dlms.apdu.parts import AccessResult
from protocols.dlms.cosem import (
    NO_PARAMETER,
    Clock,
    DataObject,
    DisconnectControl,
    ProfileGeneric,
    Register,
    SecuritySetup,
    clock_time,
    number,
    rows,
    scaler_unit,
    text,
)
from protocols.dlms.cosem_time import encode_time
from protocols.dlms.data import Data, Tag, Value, octets
from protocols.dlms.faults import DlmsFault
from protocols.dlms.key_transfer import KeyId, wrapped_keys
from protocols.dlms.obis import (
    CLOCK,
    DAILY_PROFILE,
    DISCONNECT_CONTROL,
    EXPORT_ENERGY,
    IMPORT_ENERGY,
    LOAD_PROFILE,
    SECURITY_SETUP,
    SERIAL,
    Obis,
)
from protocols.dlms.security import SecurityKeys
from protocols.dlms.selection import CLOCK_COLUMN, ByEntry, ByRange, encode_selection
from simulate.__main__ import app
from simulate.dlms_fleet import DlmsFleet
from simulate.dlms_keys import Security, read_secrets
from simulate.dlms_models import shape_named
from simulate.dlms_shapes import SHAPES, SINGLE_PHASE, THREE_PHASE
from simulate.fleet import FleetFault
from simulate.fleet_door import FleetDoor
from simulate.grid_registry import GridFault
from tests.simulate.dlms_rig import (
    NOW,
    POINTS,
    SECRETS,
    TITLE,
    client_of,
    dlms_fleet,
    on_sockets,
    reading,
)
from tests.simulate.rigs import ORIGIN

OFFSET_MIN = 300
QUARTER_S = 900
LOAD = ProfileGeneric(LOAD_PROFILE)
RELAY = DisconnectControl(DISCONNECT_CONTROL)
FRAUD = ProfileGeneric(Obis(0, 0, 99, 98, 1))
SWITCHES = ProfileGeneric(Obis(0, 0, 99, 98, 2))


def value(result: object) -> Data:
    assert isinstance(result, Data), result
    return result


def stamp(at: int) -> Data:
    return octets(encode_time(at, OFFSET_MIN))


def table(result: object, columns: int = 4) -> list[tuple[int, list[Value]]]:
    """Rows as (UTC seconds, the other columns)."""
    found = []
    for first, *others in rows(value(result), columns):
        time = clock_time(first)
        assert time is not None
        found.append((time.utc(OFFSET_MIN), [one.value for one in others]))
    return found


@pytest.mark.parametrize("hdlc", [False, True])
@pytest.mark.parametrize("security", Security)
def test_registers_and_profile_are_the_truth_as_served(security: Security, hdlc: bool) -> None:
    fleet = dlms_fleet(security=security, hdlc=hdlc)
    truth = fleet.grid_truth

    async def story() -> None:
        for index in (0, POINTS - 1):
            async with reading(fleet, index, client_of(security, hdlc=hdlc)) as meter:
                assert text(value(await meter.get(DataObject(SERIAL).attribute(2)))) == truth.grid.serial_of(index)
                shown = truth.registers_at(index, NOW)
                for obis, wh in ((IMPORT_ENERGY, shown.import_wh), (EXPORT_ENERGY, shown.export_wh)):
                    counts = scaler_unit(value(await meter.get(Register(obis).attribute(3))))
                    assert counts.whole(number(value(await meter.get(Register(obis).attribute(2)))) or 0) == wh
                last = NOW - NOW % QUARTER_S
                wanted = encode_selection(ByRange(CLOCK_COLUMN, stamp(last - 23 * QUARTER_S), stamp(last)))
                got = table(await meter.get(LOAD.attribute(2), wanted))
                assert [at for at, _ in got] == [last - n * QUARTER_S for n in range(23, -1, -1)]
                for at, cells in got:
                    then = truth.registers_at(index, at)
                    assert cells == [0, then.import_wh, then.export_wh]
                assert number(value(await meter.get(LOAD.attribute(7)))) == (last - ORIGIN) // QUARTER_S

    on_sockets(fleet, story)


def test_profiles_are_read_by_entry_whole_and_by_day() -> None:
    fleet = dlms_fleet()

    async def story() -> None:
        async with reading(fleet, 2, client_of(Security.GMAC, hdlc=False)) as meter:
            whole = table(await meter.get(LOAD.attribute(2)))
            assert [at for at, _ in whole] == list(range(ORIGIN + QUARTER_S, NOW + 1, QUARTER_S))
            part = table(await meter.get(LOAD.attribute(2), encode_selection(ByEntry(10, 12))))
            assert part == whole[9:12]
            early = encode_selection(ByRange(CLOCK_COLUMN, stamp(0), stamp(ORIGIN)))
            assert table(await meter.get(LOAD.attribute(2), early)) == []
            days = table(await meter.get(ProfileGeneric(DAILY_PROFILE).attribute(2)))
            assert [at for at, _ in days] == [ORIGIN + n * 86_400 for n in (1, 2, 3)]
            assert days[0][1] == dict(whole)[ORIGIN + 86_400]

    on_sockets(fleet, story)


@pytest.mark.parametrize("hdlc", [False, True])
def test_a_relay_opens_the_truth_and_the_move_is_kept(hdlc: bool) -> None:
    fleet = dlms_fleet(hdlc=hdlc, shape=SINGLE_PHASE)

    async def story() -> None:
        async with reading(fleet, 3, client_of(Security.GMAC, hdlc=hdlc)) as meter:
            assert await meter.act(RELAY.method(1), NO_PARAMETER) == "SUCCESS"
            assert not fleet.grid_truth.connected(3)
            assert value(await meter.get(RELAY.attribute(2))).value is False
            assert number(value(await meter.get(Register(Obis(1, 0, 1, 7, 0)).attribute(2)))) == 0
            assert await meter.act(RELAY.method(2), NO_PARAMETER) == "SUCCESS"
            assert fleet.grid_truth.connected(3)
            assert [code for _, (code,) in table(await meter.get(SWITCHES.attribute(2)), 2)] == [62, 63]
        assert [(move.meter, move.closed) for move in fleet.memory.moves] == [
            (fleet.grid_truth.grid.meters[3], closed) for closed in (False, True)
        ]

    on_sockets(fleet, story)


def test_a_meter_that_waits_for_its_button() -> None:
    fleet = dlms_fleet(shape=THREE_PHASE)
    door = FleetDoor(fleet)
    name = fleet.grid_truth.grid.meters[0]

    async def story() -> None:
        async with reading(fleet, 0, client_of(Security.GMAC, hdlc=False)) as meter:
            assert await meter.set(RELAY.attribute(4), Data(Tag.ENUM, 3)) == "SUCCESS"
            await meter.act(RELAY.method(1), NO_PARAMETER)
            await meter.act(RELAY.method(2), NO_PARAMETER)
            assert value(await meter.get(RELAY.attribute(3))).value == 2
            assert not fleet.grid_truth.connected(0)
            assert door.reply({"do": "press", "meter": name})["control_state"] == "connected"
            assert fleet.grid_truth.connected(0)
            assert value(await meter.get(RELAY.attribute(3))).value == 1

    on_sockets(fleet, story)


def test_clocks_drift_by_meter_and_are_set() -> None:
    fleet = dlms_fleet(points=60, drift_ppm=50.0)
    errors = [fleet.meter(index).clock.shown(NOW) - NOW for index in range(60)]
    assert len(set(errors)) > 10
    assert max(map(abs, errors)) > 15
    assert sorted(map(abs, errors))[30] <= 15
    wrong = max(range(60), key=lambda index: abs(errors[index]))

    async def story() -> None:
        async with reading(fleet, wrong, client_of(Security.GMAC, hdlc=False)) as meter:
            time = clock_time(value(await meter.get(Clock(CLOCK).attribute(2))))
            assert time is not None
            assert time.utc(0) - NOW == errors[wrong]
            assert await meter.set(Clock(CLOCK).attribute(2), stamp(NOW)) == "SUCCESS"
            time = clock_time(value(await meter.get(Clock(CLOCK).attribute(2))))
            assert time is not None
            assert time.utc(0) == NOW
            log = table(await meter.get(ProfileGeneric(Obis(0, 0, 99, 98, 0)).attribute(2)), 2)
            assert log == [(NOW + errors[wrong], [4]), (NOW, [5])]

    on_sockets(fleet, story)


def test_a_tamper_is_logged_and_told_to_whoever_is_there() -> None:
    fleet = dlms_fleet()
    name = fleet.grid_truth.grid.meters[5]

    async def story() -> None:
        async with reading(fleet, 5, client_of(Security.GMAC, hdlc=False)) as meter:
            told = FleetDoor(fleet).reply({"do": "tamper", "meter": name, "code": 42})
            assert [one["code"] for one in told["events"]] == [42]
            assert table(await meter.get(FRAUD.attribute(2)), 2) == [(NOW, [42])]
            (heard,) = meter.heard
            assert isinstance(heard.notice, DataNotification)
            body = heard.notice.body.value
            assert isinstance(body, tuple)
            assert [one.value for one in body[2:]] == [0, 42, 0]
            wanted = encode_selection(ByRange(CLOCK_COLUMN, stamp(NOW + 1), stamp(NOW + 9)))
            assert table(await meter.get(FRAUD.attribute(2), wanted), 2) == []

    on_sockets(fleet, story)


def test_wrong_keys_silence_and_lost_replies_by_the_door() -> None:
    fleet = dlms_fleet()
    door, names = FleetDoor(fleet), fleet.grid_truth.grid.meters

    async def refused(index: int, counter: int) -> None:
        with pytest.raises(DlmsFault, match="TQ-DM-40"):
            async with reading(fleet, index, client_of(Security.GMAC, hdlc=False, first_counter=counter)):
                pass

    async def story() -> None:
        assert "error" not in door.reply({"do": "keys", "meter": names[1]})
        await refused(1, 1)
        door.reply({"do": "keys", "meter": names[1], "wrong": False})
        async with reading(fleet, 1, client_of(Security.GMAC, hdlc=False, first_counter=50)):
            pass
        for trouble in ({"do": "trouble", "lost_replies": 1.0}, {"do": "silence"}):
            door.reply(trouble | {"meter": names[2]})
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05), reading(fleet, 2, client_of(Security.LOW, hdlc=False)):
                    pass
        door.reply({"do": "trouble", "meter": names[3], "slow_s": 0.05})
        before = asyncio.get_running_loop().time()
        async with reading(fleet, 3, client_of(Security.GMAC, hdlc=False)):
            assert asyncio.get_running_loop().time() - before >= 0.1
        assert door.reply({"do": "summary"})["troubled"] == 2
        assert door.reply({"do": "trouble", "meter": names[3]})["troubles"].keys() == {names[2]}

    on_sockets(fleet, story)


def test_keys_changed_over_the_wire_last() -> None:
    fleet = dlms_fleet()
    new = bytes(range(0x20, 0x30))

    async def story() -> None:
        async with reading(fleet, 4, client_of(Security.GMAC, hdlc=False)) as meter:
            setup = SecuritySetup(SECURITY_SETUP)
            parameter = wrapped_keys(SECRETS.master, {KeyId.BLOCK: new})
            assert await meter.act(setup.method(setup.KEY_TRANSFER), parameter) == "SUCCESS"
        keys = SecurityKeys(new, SECRETS.keys.authentication_key)
        async with reading(fleet, 4, client_of(Security.GMAC, hdlc=False, keys=keys)):
            pass

    on_sockets(fleet, story)


@pytest.mark.parametrize("hdlc", [False, True])
def test_several_meters_behind_one_address(hdlc: bool) -> None:
    fleet = dlms_fleet(units=5, hdlc=hdlc)

    async def story() -> None:
        for index in (0, 3, 4, 7):
            unit = 1 + index % 5
            async with reading(fleet, index, client_of(Security.GMAC, hdlc=hdlc, unit=unit)) as meter:
                told = text(value(await meter.get(DataObject(SERIAL).attribute(2))))
                assert told == fleet.grid_truth.grid.serial_of(index)

    on_sockets(fleet, story)


def test_the_public_client_reads_name_clock_and_counter_alone() -> None:
    fleet = dlms_fleet()

    async def story() -> None:
        async with reading(fleet, 0, client_of(Security.NONE, hdlc=False, sap=16)) as meter:
            assert clock_time(value(await meter.get(Clock(CLOCK).attribute(2)))) is not None
            assert number(value(await meter.get(DataObject(Obis(0, 0, 43, 1, 0)).attribute(2)))) == 0
            assert await meter.get(Register(IMPORT_ENERGY).attribute(2)) is AccessResult.READ_WRITE_DENIED
            assert await meter.act(RELAY.method(1), NO_PARAMETER) == "READ_WRITE_DENIED"
        with pytest.raises(DlmsFault, match="TQ-DM-40"):
            async with reading(fleet, 0, client_of(Security.NONE, hdlc=False, sap=1)):
                pass

    on_sockets(fleet, story)


def test_rubbish_closes_one_connection_and_nothing_else() -> None:
    fleet = dlms_fleet()

    async def story() -> None:
        async with reading(fleet, 0, client_of(Security.GMAC, hdlc=False)) as meter:
            host, port, _ = fleet.listen.place(0)
            stranger, writer = await asyncio.open_connection(host, port)
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            assert await stranger.read() == b""
            writer.close()
            assert isinstance(await meter.get(DataObject(SERIAL).attribute(2)), Data)

    on_sockets(fleet, story)


def test_another_client_reads_the_fleet() -> None:
    fleet = dlms_fleet()
    host, port, _ = fleet.listen.place(6)

    def peer() -> object:
        client = PeerClient(
            client_logical_address=1,
            server_logical_address=1,
            io_interface=BlockingTcpTransport(host, port, 1, 1),
            authentication_method=enumerations.AuthenticationMechanism.HLS_GMAC,
            encryption_key=SECRETS.keys.block_key,
            authentication_key=SECRETS.keys.authentication_key,
            client_system_title=TITLE,
            client_initial_invocation_counter=1,
        )
        client.connect()
        client.associate()
        found = utils.parse_as_dlms_data(
            client.get(cosem.CosemAttribute(enumerations.CosemInterface.REGISTER, cosem.Obis(1, 0, 1, 8, 0), 2))
        )
        client.release_association()
        client.disconnect()
        return found

    async def story() -> None:
        found = await asyncio.get_running_loop().run_in_executor(None, peer)
        assert found == fleet.grid_truth.registers_at(6, NOW).import_wh

    on_sockets(fleet, story)


def test_what_the_door_refuses() -> None:
    fleet = dlms_fleet()
    door, name = FleetDoor(fleet), fleet.grid_truth.grid.meters[0]
    for wrong in (
        {"do": "tamper", "meter": name, "code": 0},
        {"do": "clock", "meter": name, "error_s": "late"},
        {"do": "trouble", "meter": name, "slow_s": -1},
        {"do": "trouble", "meter": name, "lost_replies": float("nan")},
        {"do": "meter", "meter": fleet.grid_truth.grid.meters[-1]},
        {"do": "meter", "meter": "nobody"},
    ):
        assert door.reply(wrong)["error"]["code"] in {"TQ-SM-20", "TQ-SM-23", "TQ-SM-01"}, wrong
    assert door.reply({"do": "clock", "meter": name, "error_s": 90, "drift_ppm": 0})["clock_error_s"] == 90


@pytest.mark.parametrize("name", SHAPES)
def test_registers_are_cut_to_their_resolution_and_wrap(name: str) -> None:
    for register in SHAPES[name].registers:
        for exact in (0, 1, 229_555, 4_294_967_295, 4_294_967_296):
            shown = register.shown(exact)
            if exact < 230_000:
                assert exact - 100 < shown <= exact
            assert register.data(exact).encode()


def test_an_unknown_model_and_a_model_that_is_not_served() -> None:
    with pytest.raises(FleetFault, match="TQ-SM-23"):
        shape_named("none_such")
    fleet = dlms_fleet()
    with pytest.raises(GridFault, match="TQ-SM-17"):
        DlmsFleet(fleet.grid_truth, fleet.listen, fleet.clock, fleet.options, entropy=SystemEntropy())


def test_keys_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    path.write_text(f'block_key = "{bytes(16).hex()}"\npassword = "41"\nsystem_title = "0102030405060708"\n')
    secrets = read_secrets(path)
    assert secrets.keys == SecurityKeys(bytes(16), SECRETS.keys.authentication_key)
    assert secrets.password == b"A"
    for wrong in ('block_key = "xx"', "block_key = 5", 'block_key = "00"', 'colour = "00"', 'master_key = "00"', "="):
        path.write_text(wrong)
        with pytest.raises(GridFault, match="TQ-SM-16") as caught:
            read_secrets(path)
        assert "xx" not in str(caught.value)
    with pytest.raises(GridFault, match="TQ-SM-16"):
        read_secrets(tmp_path / "none.toml")


@pytest.mark.parametrize(
    "wrong", [["--profile", "none_such"], ["--keys", "/no/such/file"], ["--listen", "nowhere"], ["--profile", "sdm630"]]
)
def test_options_that_make_no_sense_are_usage(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["meters", "--protocol", "dlms", "--count", "2", "--listen", "127.0.0.1:15999", *wrong]
    with pytest.raises(SystemExit) as left:
        app(asked, standalone_mode=True)
    assert left.value.code == 2
    assert "TQ-SM-" in capsys.readouterr().err
