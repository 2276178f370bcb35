"""Who answers and when it is: keys that were changed, serial numbers nobody tells, clocks that died, logs of liars."""

import asyncio
from dataclasses import replace

import pytest

from gridmodel.absence import Absence
from gridmodel.reading import Channel
from protocols.dlms.blocks import CounterBlocks
from protocols.dlms.cosem_time import encode_time
from protocols.dlms.counters import RESERVE_BLOCK, Counter
from protocols.dlms.data import NULL, Data, Tag, octets
from protocols.dlms.faults import DlmsFault
from protocols.dlms.security import SEALED, SecurityKeys
from protocols.driver import ClockPermit
from protocols.errors import Blame, Hope
from tests.protocols.dlms.bench_rig import METER, bench, fast, fault_of, run
from tests.protocols.dlms.recording import MemoryCounters
from tests.protocols.modbus.scripted import NOON

NEVER_WAS = bytes.fromhex("000000000000000000800001")
"""What a clock shows that lost its battery: the thirtieth of nothing."""


def test_a_meter_with_a_new_key_may_begin_its_counters_anew() -> None:
    async def body() -> None:
        async with bench(fast("dlms_hls_single")) as made:
            for _ in range(3):
                await made.driver.read(made.target)
            right = made.keys.secrets_of(METER)
            fresh = replace(right, block_key=b"n" * 8 + b"e" * 8)
            assert fresh.block_key is not None
            assert fresh.authentication_key is not None
            made.meter.device.use_keys(SecurityKeys(fresh.block_key, fresh.authentication_key), SEALED)
            made.meter.device.counter = Counter(1, 1 << 32)
            made.keys.given = {METER: fresh}
            assert (await made.driver.read(made.target)).registers[Channel.IMPORT] == 12_345_678
            made.meter.device.counter = Counter(1, 1 << 32)
            assert (await fault_of(made.driver.read(made.target))).code == "TQ-DM-31", "one key, one way"

    run(body)


@pytest.mark.parametrize("serial", [NULL, octets(b""), octets(b"\x00\x00")])
def test_a_meter_that_does_not_say_who_it_is_is_not_read(serial: Data) -> None:
    async def body() -> None:
        async with bench(fast("dlms_hls_single")) as made:
            made.meter.hides = serial
            fault = await fault_of(made.driver.read(made.target))
            assert (fault.code, fault.blame, fault.hope) == ("TQ-DM-86", Blame.REMOTE, Hope.PERMANENT)
            assert fault.absence is Absence.WRONG_METER
            nobody = replace(made.target, serial="")
            assert (await made.driver.read(nobody)).serial is None, "a probe takes anybody"

    run(body)


def test_connections_to_another_title_are_not_kept() -> None:
    async def body() -> None:
        async with bench(fast("dlms_hls_single"), title=b"TMQ\x09\x09\x09\x09\x09") as made:
            for _ in range(3):
                assert (await fault_of(made.driver.read(made.target))).code == "TQ-DM-87"
            assert not vars(made.driver)["_associations"].__dict__["_open"]

    run(body)


def test_a_dead_clock_keeps_no_energy_back() -> None:
    async def body() -> None:
        async with bench(fast("dlms_hls_single")) as made:
            vars(made.meter.clock)["_attributes"][2] = octets(NEVER_WAS)
            seen = await made.driver.read(made.target)
            assert seen.meter_time is None
            assert seen.registers[Channel.IMPORT] == 12_345_678
            clock = await made.driver.read_clock(made.target)
            assert (clock.meter_time, clock.doubtful) == (None, True)

    run(body)


def test_a_line_without_a_moment_holds_up_no_other() -> None:
    async def body() -> None:
        logs = fast("dlms_hls_single").section["event_logs"]
        by_entry = [{**one, "access": "entry"} for one in logs]
        dead = (octets(NEVER_WAS), Data(Tag.UNSIGNED, 2))
        sound = (octets(encode_time(NOON - 60, 300)), Data(Tag.UNSIGNED, 40))
        async with bench(fast("dlms_hls_single", event_logs=by_entry), by_range=False) as made:
            vars(made.meter)["_lines"] = lambda name: [dead, sound] if name == "fraud" else []
            events = await made.driver.read_events(made.target, 0)
            assert [(one.at, one.code) for one in events] == [(NOON - 60, 40)]

    run(body)


def test_the_whole_of_a_log_reaches_as_far_as_a_lying_clock() -> None:
    async def body() -> None:
        async with bench(fast("dlms_hls_single")) as made:
            ahead = NOON + 20 * 366 * 86_400
            made.meter.events = {"fraud": [(NOON - 60, 41), (ahead, 40)]}
            assert [one.at for one in await made.driver.read_events(made.target, 0)] == [NOON - 60, ahead]
            assert [one.at for one in await made.driver.read_events(made.target, NOON - 100)] == [NOON - 60]

    run(body)


def test_a_time_that_is_written_has_the_way_of_the_answer_added() -> None:
    async def body() -> None:
        async with bench(fast("dlms_lls_three")) as made:
            assert made.plan.clock is not None
            assert made.plan.clock.set_by == "time"
            made.meter.clock.error_s = 75

            def slow(out: bytes, count: int) -> bytes:
                if count == 4:  # the answer with the meter's time
                    made.clock.at += 8
                return out

            made.wire.mangle = slow
            await made.driver.set_clock(made.target, -30, ClockPermit("intent-clock", 30))
            assert made.meter.clock.error_s == 45

    run(body)


@pytest.mark.parametrize("name", ["dlms_hls_single", "dlms_lls_three", "dlms_plain_single"])
def test_a_meter_that_takes_short_requests_is_asked_in_short_ones(name: str) -> None:
    async def body() -> None:
        async with bench(fast(name), max_pdu_size=80) as made:
            seen = await made.driver.read(made.target)
            assert seen.registers[Channel.IMPORT] == 12_345_678

    run(body)


def test_a_meter_that_understands_no_lists_is_read_however_many_values_it_has() -> None:
    async def body() -> None:
        plain = fast("dlms_hls_single")
        voltage = plain.section["measurements"]["voltage_l1_mv"]
        many = {f"voltage_n{n}_mv": {**voltage, "obis": f"1.{n}.32.7.0.255"} for n in range(28)}
        profile = fast("dlms_hls_single", measurements=many, quirks={"list_items_max": 1})
        async with bench(profile) as made:
            made.values |= dict.fromkeys(many, 230_000)
            seen = await made.driver.read(made.target)
            assert set(many) <= set(seen.measurements)

    run(body)


def test_a_district_under_one_key_uses_no_more_numbers_than_it_sends() -> None:
    async def body() -> None:
        store = MemoryCounters()
        blocks = CounterBlocks(store)
        used: set[int] = set()
        for _ in range(50):
            at_once = await asyncio.gather(*(blocks.take("k", 64) for _ in range(40)))
            for turn in range(10):
                fresh = [one.counter.take() for one in at_once[turn % 3 :] if one.counter is not None]
                assert used.isdisjoint(fresh)
                used.update(fresh)
            for one in reversed(at_once):
                blocks.give_back(one)
                blocks.give_back(one)
        assert max(used) < store.marks["k"], "reserved before use"
        assert max(used) == len(used)
        assert store.marks["k"] <= len(used) + 40 * 64 + RESERVE_BLOCK
        await blocks.recover("k", store.marks["k"] + 500)
        late = await blocks.take("k", 64)
        assert late.counter is not None
        assert late.counter.take() > store.marks["k"] - RESERVE_BLOCK - 1
        with pytest.raises(DlmsFault, match="TQ-DM-35"):
            [late.counter.take() for _ in range(64)]

    run(body)
