"""Peers that lie, stall, mix things up or speak nonsense: a named fault each time, and nothing of theirs is booked."""

import asyncio
import random
from dataclasses import replace

import pytest

from gridmodel.reading import Channel
from protocols.dlms.counters import Counter
from protocols.dlms.keys import MeterSecrets
from protocols.dlms.section import dlms_plan
from protocols.dlms.selection import CLOCK_COLUMN
from protocols.driver import RelayCommand, RelayContact, WritePermit
from protocols.errors import Blame, Hope, ProtocolFault
from protocols.resting import SILENCES_BEFORE_SUSPENSION, SUSPENSION_S
from tests.protocols.dlms.bench_rig import METER, bench, fast, fault_of, run
from tests.protocols.dlms.test_dlms_codec import mutated
from tests.protocols.dlms.test_dlms_driver import HOUR, hours
from tests.protocols.modbus.scripted import NOON

NAMES = ["dlms_plain_single", "dlms_lls_three", "dlms_hls_single", "dlms_hls_three"]
OPEN = WritePermit("intent-open", RelayCommand.OPEN)


@pytest.mark.parametrize("name", NAMES)
def test_silence_is_named_and_ends_in_rest_with_a_probe_a_minute(name: str) -> None:
    async def body() -> None:
        async with bench(fast(name)) as made:
            made.wire.silent = True
            for _ in range(SILENCES_BEFORE_SUSPENSION):
                fault = await fault_of(made.driver.read(made.target))
                assert (fault.code, fault.blame, fault.hope) == ("TQ-DM-81", Blame.REMOTE, Hope.RETRY)
            fault = await fault_of(made.driver.read(made.target))
            assert (fault.code, fault.blame, fault.hope) == ("TQ-DM-89", Blame.REMOTE, Hope.RETRY)
            assert made.driver.suspended(made.target)
            made.wire.silent = False
            if made.plan.relay is not None:
                assert (await made.driver.read_relay(made.target)).state is RelayContact.CLOSED, "relays are tried"
            else:
                made.clock.at += SUSPENSION_S
            assert (await made.driver.read(made.target)).registers[Channel.IMPORT] == 12_345_678
            assert not made.driver.suspended(made.target)

    run(body)


@pytest.mark.parametrize("name", NAMES)
def test_half_a_frame_is_silence_or_an_end_and_never_a_value(name: str) -> None:
    async def body() -> None:
        async with bench(fast(name)) as made:
            made.wire.mangle = lambda out, count: out[: len(out) // 2] if count == 3 else out
            fault = await fault_of(made.driver.read(made.target))
            assert (fault.code, fault.blame, fault.hope) == ("TQ-DM-81", Blame.REMOTE, Hope.RETRY)
            assert "bytes" in fault.what
            made.wire.mangle = lambda out, count: b""
            fault = await fault_of(made.driver.read(made.target))
            assert (fault.code, fault.hope) == ("TQ-DM-82", Hope.RETRY)
            made.wire.mangle = None
            assert (await made.driver.read(made.target)).registers[Channel.IMPORT] == 12_345_678

    run(body)


def test_nobody_at_the_address_is_left_alone_for_a_while() -> None:
    async def body() -> None:
        async with bench(fast("dlms_plain_single")) as made:
            target = replace(made.target, address="127.0.0.1:1")
            codes = [(await fault_of(made.driver.read(target))).code for _ in range(2)]
            assert codes == ["TQ-DM-80", "TQ-DM-88"]
            assert (await fault_of(made.driver.read_relay(target))).code == "TQ-DM-80", "relays are tried all the same"
            made.clock.at += 120
            assert (await fault_of(made.driver.read(target))).code == "TQ-DM-80"

    run(body)


@pytest.mark.parametrize("name", ["dlms_hls_single", "dlms_hls_three"])
def test_another_system_title_is_refused(name: str) -> None:
    async def body() -> None:
        async with bench(fast(name), title=b"TMQ\x09\x09\x09\x09\x09") as made:
            fault = await fault_of(made.driver.read(made.target))
            assert (fault.code, fault.blame, fault.hope) == ("TQ-DM-87", Blame.REMOTE, Hope.PERMANENT)
            fault = await fault_of(made.driver.control(made.target, RelayCommand.OPEN, OPEN))
            assert fault.code == "TQ-DM-87"
            assert made.meter.relay.output

    run(body)


@pytest.mark.parametrize("name", NAMES[1:])
def test_a_wrong_key_or_password_opens_nothing(name: str) -> None:
    async def body() -> None:
        async with bench(fast(name)) as made:
            right = made.keys.secrets_of(METER)
            for wrong in (
                MeterSecrets(b"wrong!!!", b"k" * 15 + b"1", right.authentication_key),
                MeterSecrets(b"wrong!!!", right.block_key, b"k" * 15 + b"2"),
            ):
                made.keys.given = {METER: wrong}
                fault = await fault_of(made.driver.read(made.target))
                assert fault.code in {"TQ-DM-30", "TQ-DM-32", "TQ-DM-38", "TQ-DM-40"}, fault
                assert fault.blame is Blame.REMOTE
            made.keys.given = {}
            assert (await made.driver.read(made.target)).registers[Channel.IMPORT] == 12_345_678

    run(body)


@pytest.mark.parametrize("name", NAMES)
def test_another_meters_late_answer_is_never_taken(name: str) -> None:
    """The answer to the request before, or to an earlier association, arrives in place of the right one."""

    async def body() -> None:
        async with bench(fast(name)) as made:
            await made.driver.read(made.target)
            old = [out for _, out in made.wire.seen]
            made.values["import"] = 99_000_000
            for late in range(len(old)):
                made.wire.seen.clear()
                made.wire.mangle = lambda out, count, late=late: old[late] if count == 3 else out
                try:
                    seen = await made.driver.read(made.target)
                except ProtocolFault as fault:
                    assert fault.hint
                    assert fault.blame is Blame.REMOTE
                else:
                    replayed = {12_345_678} if not made.plan.security.keyed else set()
                    assert seen.registers[Channel.IMPORT] in {99_000_000} | replayed, (
                        "ciphered answers are not replayed"
                    )
                made.clock.at += 120

    run(body)


def test_an_answer_to_another_invoke_id_or_port_spoils_the_connection() -> None:
    async def body() -> None:
        async with bench(fast("dlms_plain_single")) as made:
            made.wire.mangle = lambda out, count: out[:10] + b"\xc7" + out[11:] if count == 2 else out
            fault = await fault_of(made.driver.read(made.target))
            assert (fault.code, fault.blame, fault.hope) == ("TQ-DM-44", Blame.REMOTE, Hope.RETRY)
            made.wire.mangle = lambda out, count: out[:3] + b"\x07" + out[4:]
            assert (await fault_of(made.driver.read(made.target))).code == "TQ-DM-11"
            made.wire.mangle = lambda out, count: out + out
            assert (await fault_of(made.driver.read(made.target))).blame is Blame.REMOTE

    run(body)


def test_nulls_and_null_numbers_are_no_reading() -> None:
    async def body() -> None:
        section = fast("dlms_hls_single").section["channels"]
        table = {"export": {**section["export"], "nulls": [0xFFFF_FFFF]}}
        async with bench(fast("dlms_hls_single", channels=table)) as made:
            made.values |= {"import": None, "export": 0xFFFF_FFFF, "power_w": None}
            seen = await made.driver.read(made.target)
            assert seen.registers == {Channel.IMPORT: None, Channel.EXPORT: None}
            assert seen.measurements["power_w"] is None
            assert seen.relay is not None
            assert seen.relay.load_w is None

    run(body)


@pytest.mark.parametrize(
    ("told", "code"), [((0, 35), "TQ-DM-63"), ((3, 32), "TQ-DM-63"), ((40, 30), "TQ-DM-61"), ((-100, 30), "TQ-DM-61")]
)
def test_a_wrong_scaler_books_nothing(told: tuple[int, int], code: str) -> None:
    async def body() -> None:
        async with bench(fast("dlms_hls_single"), scales={"import": told}) as made:
            for _ in range(2):
                fault = await fault_of(made.driver.read(made.target))
                assert (fault.code, fault.blame, fault.hope) == (code, Blame.REMOTE, Hope.PERMANENT)
            fault = await fault_of(made.driver.read_profile(made.target, HOUR, HOUR))
            assert fault.code == code
            assert (await made.driver.read_relay(made.target)).state is RelayContact.CLOSED, "power has its own scaler"

    run(body)


def test_scalers_are_learnt_anew_when_another_meter_was_seen() -> None:
    async def body() -> None:
        async with bench(fast("dlms_hls_single")) as made:
            await made.driver.read(made.target)
            requests = len(made.wire.seen)
            await made.driver.read(made.target)
            assert len(made.wire.seen) - requests == requests - 1, "scalers are asked for once"
            made.meter.serial = "TQ00000099"
            await made.driver.read(made.target)
            made.meter.serial = made.target.serial
            before = len(made.wire.seen)
            await made.driver.read(made.target)
            assert len(made.wire.seen) - before == requests

    run(body)


def test_a_profile_with_other_columns_books_nothing() -> None:
    async def body() -> None:
        profile = fast("dlms_hls_single")
        plan_columns = (CLOCK_COLUMN,)
        async with bench(profile, columns=plan_columns, rows=lambda _: [row[:1] for row in hours(4)]) as made:
            fault = await fault_of(made.driver.read_profile(made.target, HOUR - 3600, HOUR))
            assert (fault.code, fault.blame, fault.hope) == ("TQ-DM-64", Blame.REMOTE, Hope.PERMANENT)
        lazy = {**profile.section["load_profile"], "check_columns": False}
        shorter = {**profile.section["load_profile"], "columns": profile.section["load_profile"]["columns"][::2]}
        fewer = dlms_plan(fast("dlms_hls_single", load_profile=shorter))
        blind = fast("dlms_hls_single", load_profile=lazy)
        async with bench(blind, rows=lambda _: [row[::2] for row in hours(4)], model=fewer) as made:
            fault = await fault_of(made.driver.read_profile(made.target, HOUR - 3600, HOUR))
            assert (fault.code, fault.hope) == ("TQ-DM-62", Hope.PERMANENT)
        short = {**profile.section["load_profile"], "period_s": 1800}
        wrong = dlms_plan(fast("dlms_hls_single", load_profile=short))
        async with bench(profile, rows=lambda _: hours(4), model=wrong) as made:
            fault = await fault_of(made.driver.read_profile(made.target, HOUR - 3600, HOUR))
            assert fault.code == "TQ-DM-64"
            assert "1800 s" in fault.what

    run(body)


@pytest.mark.parametrize("name", NAMES)
def test_mutated_answers_end_in_named_faults(name: str) -> None:
    """Under ciphering nothing that was changed is taken; nobody raises anything but a `ProtocolFault`."""

    async def body() -> None:
        rng = random.Random(7)
        async with bench(fast(name)) as made:
            for _ in range(40):
                place = rng.randrange(1, 7)
                made.wire.seen.clear()
                made.wire.mangle = lambda out, count, place=place: mutated(rng, out) if count == place else out
                try:
                    seen = await made.driver.read(made.target)
                except ProtocolFault as fault:
                    assert fault.hint
                else:
                    if made.plan.security.keyed:
                        assert seen.registers[Channel.IMPORT] == 12_345_678
                made.clock.at += 120

    run(body)


def test_a_meter_that_never_ends_is_ended() -> None:
    """Notifications without end, or blocks that never come to the last: bounded by count and by time."""

    async def body() -> None:
        notice = bytes.fromhex("0001000100100009") + bytes.fromhex("0F000000010009010F")
        async with bench(fast("dlms_plain_single")) as made:
            made.wire.mangle = lambda out, count: notice[:7] + bytes([9]) + notice[8:] + out if count == 2 else out
            assert (await made.driver.read(made.target)).registers[Channel.IMPORT] == 12_345_678
            made.wire.seen.clear()
            made.wire.mangle = lambda out, count: notice * 100 if count == 2 else out
            fault = await fault_of(made.driver.read(made.target))
            assert (fault.code, fault.blame) == ("TQ-DM-84", Blame.REMOTE)

    run(body)


@pytest.mark.parametrize("name", ["dlms_hls_single", "dlms_hls_three"])
def test_a_call_that_was_given_up_disturbs_nobody(name: str) -> None:
    async def body() -> None:
        async with bench(fast(name)) as made:
            for turns in range(12):
                call = asyncio.ensure_future(made.driver.control(made.target, RelayCommand.OPEN, OPEN))
                for _ in range(turns):
                    await asyncio.sleep(0)
                call.cancel()
                await asyncio.gather(call, return_exceptions=True)
                assert (await made.driver.read(made.target)).registers[Channel.IMPORT] == 12_345_678
            waiting = [asyncio.ensure_future(made.driver.read(made.target)) for _ in range(3)]
            await asyncio.sleep(0)
            await made.driver.close()
            ends = await asyncio.gather(*waiting, return_exceptions=True)
            assert all(isinstance(end, ProtocolFault) and end.code == "TQ-DM-91" for end in ends), ends

    run(body)


def test_one_association_at_a_time_goes_to_an_address() -> None:
    async def body() -> None:
        async with bench(fast("dlms_lls_three")) as made:
            calls = [made.driver.read(replace(made.target, serial=f"TQ{n}")) for n in range(6)]
            assert {one.serial for one in await asyncio.gather(*calls)} == {made.target.serial}
            assert (made.wire.connections, made.wire.at_once) == (6, 1)

    run(body)


@pytest.mark.parametrize("forgets", [True, False])
def test_a_meter_whose_counter_went_back_may_be_an_old_answer(*, forgets: bool) -> None:
    async def body() -> None:
        async with bench(fast("dlms_hls_single", quirks={"counter_restarts": forgets})) as made:
            await made.driver.read(made.target)
            made.meter.device.counter = Counter(1, 1 << 32)
            if forgets:
                assert (await made.driver.read(made.target)).registers[Channel.IMPORT] == 12_345_678
            else:
                fault = await fault_of(made.driver.read(made.target))
                assert (fault.code, fault.blame) == ("TQ-DM-31", Blame.REMOTE)

    run(body)


def test_time_is_the_meters_word_and_kept_apart() -> None:
    async def body() -> None:
        async with bench(fast("dlms_hls_single")) as made:
            made.meter.clock.error_s = 40 * 86_400
            seen = await made.driver.read(made.target)
            assert seen.meter_time == NOON + 40 * 86_400

    run(body)


@pytest.mark.parametrize("name", ["dlms_plain_single", "dlms_hls_three"])
def test_a_meter_that_drips_its_good_bye_holds_nobody_up(name: str) -> None:
    """The values were there; a byte every 100 ms of a frame that never ends kept the line for hours."""

    async def body() -> None:
        async with bench(fast(name)) as made:
            for _ in range(2):  # from the second on scalers are known
                made.wire.seen.clear()
                await made.driver.read(made.target)
            last = sum(b"\x53" not in asked[8:9] for asked, _ in made.wire.seen)  # which is DISC, and not waited for
            made.wire.seen.clear()

            async def drip(transport: asyncio.Transport) -> None:
                while not transport.is_closing():
                    transport.write(b"\x00")
                    await asyncio.sleep(0.1)

            def mangle(out: bytes, count: int) -> bytes:
                if count < last:
                    return out
                drips.extend(asyncio.ensure_future(drip(one)) for one in made.wire.transports)
                return bytes.fromhex("7EA7FF") if out[:1] == b"\x7e" else bytes.fromhex("000100010010FFFF")

            drips: list[asyncio.Task[None]] = []
            made.wire.mangle = mangle
            async with asyncio.timeout(5):
                assert (await made.driver.read(made.target)).registers[Channel.IMPORT] == 12_345_678
                await asyncio.gather(*drips)
            assert drips

    run(body)


@pytest.mark.parametrize("host", ["x" * 100, "a..b", "a\0b"])
def test_a_host_that_no_name_can_be_is_nobody_at_the_address(host: str) -> None:
    async def body() -> None:
        async with bench(fast("dlms_plain_single")) as made:
            fault = await fault_of(made.driver.read(replace(made.target, address=f"{host}:4059")))
            assert fault.code in {"TQ-DM-80", "TQ-DM-93"}

    run(body)


@pytest.mark.parametrize("unit", [0x1_0000, 2**40])
def test_a_unit_that_is_no_port_is_named_and_nothing_is_sent(unit: int) -> None:
    async def body() -> None:
        async with bench(fast("dlms_plain_single", server="unit")) as made:
            fault = await fault_of(made.driver.read(replace(made.target, unit=unit)))
            assert (fault.code, fault.blame) == ("TQ-DM-74", Blame.LOCAL)
            assert made.wire.seen == []

    run(body)


def test_a_liar_about_counters_burns_a_key_by_one_step_a_day() -> None:
    """Anybody at the address can refuse, and tell a counter without a key: 4,096 calls would use up all there are."""

    async def body() -> None:
        async with bench(fast("dlms_hls_single")) as made:
            marks, right = [], made.keys.secrets_of(METER)
            made.keys.given = {METER: MeterSecrets(None, right.block_key, b"k" * 16)}
            for _ in range(6):
                made.meter.device.heard[made.plan.table.client] = max([1, *made.counters.marks.values()]) + 900_000
                await fault_of(made.driver.read(made.target))
                marks.append(max(made.counters.marks.values()))
            assert 900_000 < marks[-1] < 1_000_000, marks

    run(body)


def test_a_meter_whose_reply_was_lost_after_a_told_counter_is_let_in_at_the_next_call() -> None:
    """On a bad line the very session that a told counter was to open is lost: nobody waits for a day."""

    async def body() -> None:
        async with bench(fast("dlms_hls_single")) as made:
            client, right = made.plan.table.client, made.keys.secrets_of(METER)
            made.meter.device.heard[client] = 5_000
            made.keys.given = {METER: MeterSecrets(None, right.block_key, b"k" * 16)}
            await fault_of(made.driver.read(made.target))
            made.keys.given = {METER: right}
            made.meter.device.heard[client] = max(made.counters.marks.values()) + 5_000
            assert (await made.driver.read(made.target)).registers

    run(body)
