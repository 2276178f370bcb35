"""The driver on real sockets: what it may write, past intervals, clocks, events, counters and their recovery."""

import asyncio
from dataclasses import replace

import pytest

from gridmodel.reading import Channel
from protocols.dlms.associating import Associations
from protocols.dlms.blocks import CounterBlocks, counter_key
from protocols.dlms.cosem import ControlState
from protocols.dlms.cosem_time import encode_time
from protocols.dlms.counters import RECOVERY_JUMP_MAX, RESERVE_BLOCK
from protocols.dlms.data import NULL, Data, Tag, octets
from protocols.dlms.driver import DlmsDriver
from protocols.dlms.keys import NoKeys, is_well_known
from protocols.dlms.meter_side.objects import Row
from protocols.driver import (
    ClockKeeper,
    ClockPermit,
    EventReader,
    MeterDriver,
    MeterEventKind,
    ProfileReader,
    ProfileValues,
    RelayCommand,
    RelayContact,
    WritePermit,
)
from protocols.errors import Blame, Hope
from tests.protocols.dlms.bench_rig import FAST, METER, Bench, bench, fast, fault_of, run
from tests.protocols.dlms.recording import MemoryCounters
from tests.protocols.modbus.scripted import NOON

OPEN = WritePermit("intent-open", RelayCommand.OPEN)
CLOSE = WritePermit("intent-close", RelayCommand.CLOSE)
HOUR = NOON // 3600 * 3600
RELAY_PROFILES = ["dlms_plain_single", "dlms_hls_single", "dlms_hls_three"]


def hours(count: int, *, status: bool = True, until: int = HOUR) -> list[Row]:
    """An hourly load profile, the oldest row first: 1,000 Wh an hour."""
    rows: list[Row] = []
    for index in range(count):
        at = until - (count - 1 - index) * 3600
        energies = (Data(Tag.DOUBLE_LONG_UNSIGNED, 500_000 + index * 1000), Data(Tag.DOUBLE_LONG_UNSIGNED, 7))
        rows.append((octets(encode_time(at, 300)), *((Data(Tag.UNSIGNED, 0),) if status else ()), *energies))
    return rows


def all_four(driver: DlmsDriver) -> tuple[MeterDriver, ProfileReader, ClockKeeper, EventReader]:
    """mypy proves that the driver is each of them."""
    return driver, driver, driver, driver


@pytest.mark.parametrize("name", RELAY_PROFILES)
def test_a_relay_moves_by_its_own_method_after_identity_and_mode_were_read(name: str) -> None:
    async def body() -> None:
        async with bench(fast(name)) as made:
            assert set(all_four(made.driver)) == {made.driver}
            await made.driver.control(made.target, RelayCommand.OPEN, OPEN)
            assert made.meter.relay.state is ControlState.DISCONNECTED
            back = await made.driver.read_relay(made.target)
            assert (back.state, back.load_w) == (RelayContact.OPEN, 1_169)
            await made.driver.control(made.target, RelayCommand.CLOSE, CLOSE)
            assert (await made.driver.read_relay(made.target)).state is RelayContact.CLOSED
            assert made.wire.connections == 4, "an association for each call"

    run(body)


def test_a_relay_that_waits_for_its_button_says_so() -> None:
    async def body() -> None:
        async with bench(fast("dlms_hls_single")) as made:
            made.meter.relay.mode = 3
            await made.driver.control(made.target, RelayCommand.OPEN, OPEN)
            await made.driver.control(made.target, RelayCommand.CLOSE, CLOSE)
            assert (await made.driver.read_relay(made.target)).state is RelayContact.READY
            made.meter.relay.press_button()
            assert (await made.driver.read_relay(made.target)).state is RelayContact.CLOSED

    run(body)


def test_a_welded_contact_is_closed_whatever_the_meter_believes() -> None:
    async def body() -> None:
        async with bench(fast("dlms_hls_single")) as made:
            made.meter.relay.welded = True
            await made.driver.control(made.target, RelayCommand.OPEN, OPEN)
            assert made.meter.relay.state is ControlState.DISCONNECTED
            assert (await made.driver.read_relay(made.target)).state is RelayContact.CLOSED

    run(body)


def test_a_relay_that_obeys_nobody_is_not_told() -> None:
    async def body() -> None:
        async with bench(fast("dlms_hls_single")) as made:
            made.meter.relay.mode = 0
            fault = await fault_of(made.driver.control(made.target, RelayCommand.OPEN, OPEN))
            assert (fault.code, fault.blame, fault.hope) == ("TQ-DM-52", Blame.REMOTE, Hope.PERMANENT)
        async with bench(fast("dlms_hls_single", relay={"reads_mode": False})) as made:
            made.meter.relay.mode = 0
            fault = await fault_of(made.driver.control(made.target, RelayCommand.OPEN, OPEN))
            assert (fault.code, fault.hope) == ("TQ-DM-51", Hope.PERMANENT)
            assert made.meter.relay.output

    run(body)


@pytest.mark.parametrize("name", RELAY_PROFILES)
def test_another_meter_at_the_address_is_never_moved(name: str) -> None:
    async def body() -> None:
        async with bench(fast(name), serial="TQ00000099") as made:
            for call in (
                made.driver.control(made.target, RelayCommand.OPEN, OPEN),
                made.driver.read_relay(made.target),
                made.driver.read_profile(made.target, HOUR - 3600, HOUR),
                made.driver.read_clock(made.target),
                made.driver.control(replace(made.target, serial=" "), RelayCommand.OPEN, OPEN),
            ):
                fault = await fault_of(call)
                assert (fault.code, fault.blame, fault.hope) == ("TQ-DM-86", Blame.REMOTE, Hope.PERMANENT)
                assert "TQ00000099" in fault.what
            assert made.meter.relay.output
            seen = await made.driver.read(made.target)
            assert (seen.serial, seen.registers, seen.measurements, seen.relay) == ("TQ00000099", {}, {}, None)
            assert (await made.driver.read(replace(made.target, serial=""))).registers[Channel.IMPORT] == 12_345_678

    run(body)


def test_writes_without_right_send_nothing() -> None:
    async def body() -> None:
        profile = fast("dlms_hls_single")
        shorter = replace(profile, writes_allowed=("70/0.0.96.3.10.255 method 2",))
        async with bench(shorter) as made:
            step = ClockPermit("intent-clock", 30)
            for call, code in (
                (made.driver.control(made.target, RelayCommand.OPEN, CLOSE), "TQ-DM-96"),
                (made.driver.control(made.target, RelayCommand.OPEN, OPEN), "TQ-DM-90"),
                (made.driver.set_clock(made.target, 20, step), "TQ-DM-90"),
                (made.driver.set_clock(made.target, 31, step), "TQ-DM-96"),
                (made.driver.set_clock(made.target, -901, ClockPermit("intent-clock", 5_000)), "TQ-DM-96"),
            ):
                fault = await fault_of(call)
                assert (fault.code, fault.blame, fault.hope) == (code, Blame.LOCAL, Hope.PERMANENT)
            assert made.wire.connections == 0
            await made.driver.control(made.target, RelayCommand.CLOSE, CLOSE)
        async with bench(fast("dlms_lls_three")) as made:
            assert (await fault_of(made.driver.read_relay(made.target))).code == "TQ-DM-97"
            assert (await fault_of(made.driver.control(made.target, RelayCommand.OPEN, OPEN))).code == "TQ-DM-97"
            assert made.wire.connections == 0

    run(body)


@pytest.mark.parametrize("by_range", [True, False])
def test_past_intervals_come_by_range_or_by_entry(by_range: bool) -> None:
    async def body() -> None:
        access = {"access": "range" if by_range else "entry", "rows_max": 5}
        rows = hours(60)
        table = {**fast("dlms_hls_single").section["load_profile"], **access}
        async with bench(fast("dlms_hls_single", load_profile=table), rows=lambda _: rows, by_range=by_range) as made:
            got = await made.driver.read_profile(made.target, HOUR - 23 * 3600, HOUR)
            assert (got.values, got.period_s, got.odd_rows) == (ProfileValues.REGISTERS, 3600, 0)
            assert [row.end for row in got.rows] == [HOUR - back * 3600 for back in range(23, -1, -1)]
            assert [row.energies[Channel.IMPORT] for row in got.rows] == [536_000 + n * 1000 for n in range(24)]
            assert not any(row.doubtful for row in got.rows)
            assert (await made.driver.read_profile(made.target, HOUR - 90 * 3600, HOUR - 70 * 3600)).rows == ()
            whole = await made.driver.read_profile(made.target, HOUR - 90 * 3600, HOUR)
            assert len(whole.rows) == 60, "what the meter does not have is absent"

    run(body)


def test_rows_between_intervals_and_doubtful_ones_are_told() -> None:
    async def body() -> None:
        rows = hours(6)
        odd = (octets(encode_time(HOUR - 1_000, 300)), *rows[-1][1:])
        rows.insert(5, odd)
        rows[1] = (octets(encode_time(HOUR - 4 * 3600, 300, status=1)), *rows[1][1:])
        rows[2] = (rows[2][0], Data(Tag.UNSIGNED, 4), *rows[2][2:])
        rows[3] = (*rows[3][:2], NULL, rows[3][3])
        async with bench(fast("dlms_hls_single"), rows=lambda _: rows) as made:
            got = await made.driver.read_profile(made.target, HOUR - 5 * 3600, HOUR)
            assert got.odd_rows == 1
            assert [row.doubtful for row in got.rows] == [False, True, True, False, False, False]
            assert got.rows[3].energies == {Channel.IMPORT: None, Channel.EXPORT: 7}
            assert [row.status for row in got.rows] == [0, 0, 4, 0, 0, 0]

    run(body)


def test_a_profile_that_stamps_the_start_or_leaves_times_out() -> None:
    async def body() -> None:
        rows = hours(4)
        rows[1] = (NULL, *rows[1][1:])
        rows[2] = (NULL, *rows[2][1:])
        section = fast("dlms_hls_single").section["load_profile"]
        table = {**section, "stamp": "start", "access": "entry"}
        async with bench(fast("dlms_hls_single", load_profile=table), rows=lambda _: rows) as made:
            fault = await fault_of(made.driver.read_profile(made.target, HOUR - 9 * 3600, HOUR + 3600))
            assert (fault.code, fault.hope) == ("TQ-DM-65", Hope.PERMANENT)
        profile = fast("dlms_hls_single", load_profile=table, quirks={"null_times": True})
        async with bench(profile, rows=lambda _: rows) as made:
            got = await made.driver.read_profile(made.target, HOUR - 9 * 3600, HOUR + 3600)
            assert [row.end for row in got.rows] == [HOUR - 2 * 3600, HOUR - 3600, HOUR, HOUR + 3600]

    run(body)


def test_too_much_at_once_is_refused_before_it_is_asked() -> None:
    async def body() -> None:
        async with bench(fast("dlms_hls_single")) as made:
            fault = await fault_of(made.driver.read_profile(made.target, 0, HOUR))
            assert (fault.code, fault.blame, fault.hope) == ("TQ-DM-98", Blame.LOCAL, Hope.PERMANENT)

    run(body)


@pytest.mark.parametrize("name", ["dlms_hls_single", "dlms_lls_three"])
def test_a_clock_is_read_beside_ours_and_moved_in_steps(name: str) -> None:
    async def body() -> None:
        async with bench(fast(name)) as made:
            made.meter.clock.error_s = 75
            seen = await made.driver.read_clock(made.target)
            assert (seen.meter_time, seen.asked_at, seen.answered_at, seen.doubtful) == (NOON + 75, NOON, NOON, False)
            await made.driver.set_clock(made.target, -30, ClockPermit("intent-clock", 30))
            assert (await made.driver.read_clock(made.target)).meter_time == NOON + 45
            assert (await made.driver.read(made.target)).meter_time == NOON + 45

    run(body)


@pytest.mark.parametrize("by_range", [True, False])
def test_events_are_read_a_little_at_a_time(by_range: bool) -> None:
    async def body() -> None:
        events = {"standard": [(NOON - 500, 1), (NOON - 400, 2)], "fraud": [(NOON - 450, 40), (NOON - 90, 200)]}
        profile = fast("dlms_hls_single")
        logs = tuple({**log, "access": "range" if by_range else "entry"} for log in profile.section["event_logs"])
        async with bench(replace(profile, section={**profile.section, "event_logs": logs}), events=events) as made:
            got = await made.driver.read_events(made.target, NOON - 1_000)
            assert [(one.log, one.at - NOON, one.code, one.kind) for one in got] == [
                ("standard", -500, 1, MeterEventKind.POWER_DOWN),
                ("fraud", -450, 40, MeterEventKind.TERMINAL_COVER_OPENED),
                ("standard", -400, 2, MeterEventKind.POWER_UP),
                ("fraud", -90, 200, MeterEventKind.OTHER),
            ]
            assert await made.driver.read_events(made.target, got[-1].at) == (got[-1],)
        async with bench(fast("dlms_plain_single")) as made:
            assert (await fault_of(made.driver.read_events(made.target, 0))).code == "TQ-DM-97"

    run(body)


def used(made: Bench) -> int:
    """The highest counter that the meter accepted."""
    return made.meter.device.heard[made.plan.table.client]


def test_counters_are_reserved_before_use_and_given_out_in_order() -> None:
    async def body() -> None:
        async with bench(fast("dlms_hls_single")) as made:
            await made.driver.read(made.target)
            first = used(made)
            assert 0 < first < 12
            key = counter_key(made.keys.secrets_of(METER).block_key or b"", made.keys.client_title())
            assert made.counters.marks == {key: 1 + RESERVE_BLOCK}, "one block, under a name that is no key"
            for _ in range(3):
                await made.driver.read(made.target)
            assert used(made) < 4 * 12, "what an association did not use serves the next"
            assert made.counters.marks == {key: 1 + RESERVE_BLOCK}

    run(body)


def test_a_meter_that_has_seen_more_is_believed_within_limits() -> None:
    async def body() -> None:
        async with bench(fast("dlms_hls_single"), heard={1: 70_000}) as made:
            seen = await made.driver.read(made.target)
            assert seen.registers[Channel.IMPORT] == 12_345_678
            assert 70_000 < used(made) < 70_020
            assert made.wire.connections == 3, "refused, asked without secrets, tried once more"
            await made.driver.read(made.target)
            assert made.wire.connections == 4
        async with bench(fast("dlms_hls_single"), heard={1: RECOVERY_JUMP_MAX + 5_000}) as made:
            for _ in range(2):
                fault = await fault_of(made.driver.read(made.target))
                assert (fault.code, fault.blame, fault.hope) == ("TQ-DM-37", Blame.REMOTE, Hope.PERMANENT)
            assert used(made) == RECOVERY_JUMP_MAX + 5_000

    run(body)


def test_two_meters_with_one_key_never_see_one_counter() -> None:
    async def body() -> None:
        blocks = CounterBlocks(MemoryCounters())
        one, other = await asyncio.gather(blocks.take("k", 64), blocks.take("k", 64))
        assert one.counter is not None
        assert other.counter is not None
        taken = {one.counter.take() for _ in range(3)} | {other.counter.take() for _ in range(3)}
        assert len(taken) == 6
        blocks.give_back(one)
        blocks.give_back(other)
        third = await blocks.take("k", 64)
        assert third.counter is not None
        assert third.counter.following > max(taken)
        assert other.counter.left == 0, "who gave back has nothing left"

    run(body)


def test_a_released_association_leaves_the_meter_free_even_after_a_refusal() -> None:
    async def body() -> None:
        async with bench(fast("dlms_hls_single", quirks={"list_items_max": 1}), lacks=frozenset({"export"})) as made:
            fault = await fault_of(made.driver.read(made.target))
            assert (fault.code, fault.blame, fault.hope) == ("TQ-DM-50", Blame.REMOTE, Hope.PERMANENT)
            assert "1.0.2.8.0.255" in fault.what
            assert made.wire.seen[-1][0][8] == 0x62, "the association was released all the same"

    run(body)


def test_a_lost_answer_on_a_line_is_asked_for_again_and_nothing_is_done_twice() -> None:
    async def body() -> None:
        profile = fast("dlms_hls_three")
        patient = replace(profile, section={**profile.section, "timing": {**FAST, "retries": 2}})
        async with bench(patient) as made:
            moves: list[bool] = []
            made.meter.relay.moved = lambda closed, now: moves.append(closed)
            for count in range(2, 7):
                made.wire.seen.clear()
                made.wire.lost = {count}
                await made.driver.control(made.target, RelayCommand.OPEN, OPEN)
                requests = [came for came, _ in made.wire.seen]
                assert requests[count - 1] == requests[count], "the same frames again"
            assert moves == [False] * 5, "once for each command"
        async with bench(profile) as made:
            made.wire.lost = {4}
            fault = await fault_of(made.driver.read(made.target))
            assert (fault.code, fault.hope) == ("TQ-DM-81", Hope.RETRY), "this profile does not repeat"

    run(body)


@pytest.mark.parametrize("link", ["wrapper", "hdlc"])
@pytest.mark.parametrize("protection", ["none", "glo", "ded", "general-glo", "general-ded"])
def test_every_protection_over_both_links_with_answers_in_blocks(link: str, protection: str) -> None:
    async def body() -> None:
        profile = fast("dlms_hls_single", security={"protection": protection}, link=link)
        async with bench(profile, rows=lambda _: hours(48), max_pdu_size=200) as made:
            assert (await made.driver.read(made.target)).registers[Channel.IMPORT] == 12_345_678
            assert len((await made.driver.read_profile(made.target, HOUR - 47 * 3600, HOUR)).rows) == 48
            await made.driver.control(made.target, RelayCommand.OPEN, OPEN)
            assert not made.meter.relay.output

    run(body)


def test_secrets_that_are_missing_are_named_and_nothing_is_sent() -> None:
    async def body() -> None:
        for name, which in (("dlms_hls_single", "block_key"), ("dlms_lls_three", "password")):
            async with bench(fast(name)) as made:
                associations: Associations = made.driver._associations
                associations._keys = NoKeys()
                fault = await fault_of(made.driver.read(made.target))
                assert (fault.code, fault.blame, fault.hope) == ("TQ-DM-94", Blame.LOCAL, Hope.PERMANENT)
                assert which in fault.what
                assert made.wire.connections == 0

    run(body)


@pytest.mark.parametrize(
    "secret",
    [
        bytes(16),
        b"\xff" * 16,
        bytes(range(16)),
        bytes(range(0xD0, 0xE0)),
        bytes.fromhex("00112233445566778899AABBCCDDEEFF"),
        bytes.fromhex("0123456789ABCDEF0123456789ABCDEF"),
        b"12345678",
        b"00000000",
        b"ABCDEFGH",
        b"",
    ],
)
def test_keys_out_of_manuals_are_known(secret: bytes) -> None:
    assert is_well_known(secret)
    assert not is_well_known(bytes.fromhex("5C2E8F0A913D47B6E4107D29FA6683C1"))
