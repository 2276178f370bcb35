"""The adaptive width as pure arithmetic: weather is no overload, a queue is."""

import asyncio
import random

import pytest

from hosting.clocks import seeded_rng
from protocols.dlms.bus import Bus
from protocols.dlms.concentrators import ConcentratorTable
from protocols.dlms.connection import TurnedAway
from protocols.dlms.faults import DlmsFault, remote_fault
from protocols.dlms.hdlc.parameters import LinkParameters
from protocols.dlms.pace import EPOCH_EXCHANGES, WIDTH_AT_FIRST, Pace
from protocols.dlms.place import LinkKind, Place, parse_address
from protocols.resting import SILENCES_BEFORE_SUSPENSION
from protocols.turns import Priority
from tests.protocols.dlms.bench_rig import bench, fast, fault_of
from tests.protocols.modbus.scripted import HandClock

USUAL_S = 1.5


def epochs(
    pace: Pace, count: int, *, loss: float = 0.0, slower: float = 1.0, dice: random.Random | None = None
) -> None:
    """So many epochs with the width always in use; latencies as on a power line."""
    drawn = dice or random.Random(1)
    for _ in range(count * EPOCH_EXCHANGES):
        pace.filled()
        if drawn.random() < loss:
            pace.lost()
        else:
            pace.answered(USUAL_S * slower * drawn.lognormvariate(0.0, 1.0))


def test_it_begins_gently_and_grows_to_its_limit_while_all_is_well() -> None:
    pace = Pace(7)
    assert pace.width == WIDTH_AT_FIRST
    widths = []
    for _ in range(12):
        epochs(pace, 1)
        widths.append(pace.width)
    assert widths[0] == WIDTH_AT_FIRST + 1
    assert max(widths) == 7


def test_width_that_nobody_uses_does_not_grow() -> None:
    pace = Pace(7)
    for _ in range(20 * EPOCH_EXCHANGES):
        pace.answered(USUAL_S)
    assert pace.width == WIDTH_AT_FIRST


def test_the_loss_of_an_evening_is_weather() -> None:
    dice = random.Random(7)
    pace = Pace(7)
    epochs(pace, 10, dice=dice)
    widths = []
    for _ in range(200):
        epochs(pace, 1, loss=0.15, dice=dice)
        widths.append(pace.width)
    assert sum(widths) / len(widths) > 5, "one false alarm in a hundred epochs is made good within minutes"


def test_a_flood_halves_it_down_to_one_and_it_comes_back() -> None:
    pace = Pace(7)
    epochs(pace, 8)
    epochs(pace, 1, loss=0.6)
    assert pace.width <= 3
    epochs(pace, 3, loss=0.6)
    assert pace.width == 1
    epochs(pace, 12)
    assert pace.width >= 6


def test_answers_that_wait_in_a_queue_shrink_it() -> None:
    pace = Pace(16)
    epochs(pace, 6)
    before = pace.width
    epochs(pace, 3, slower=4.0)
    assert pace.width < before


def test_it_settles_near_what_the_line_carries() -> None:
    """A line that carries four exchanges at once: beyond that each answer takes as much longer as there are more."""
    dice = random.Random(3)
    pace = Pace(30)
    widths = []
    for _ in range(300):
        epochs(pace, 1, slower=max(1.0, pace.width / 4), dice=dice)
        widths.append(pace.width)
    settled = widths[100:]
    assert 4 <= sum(settled) / len(settled) <= 14
    assert max(settled) < 20


def test_a_refused_connection_tells_the_limit() -> None:
    pace = Pace(7)
    epochs(pace, 8)
    pace.refused(5)
    assert pace.width == 4
    pace.refused(1)
    assert pace.width == 1


def test_where_one_at_a_time_is_all_nothing_moves() -> None:
    pace = Pace(1)
    epochs(pace, 5)
    assert pace.width == 1


def test_no_exchange_of_a_call_took_no_time_the_good_bye_among_them(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[float] = []
    monkeypatch.setattr(Pace, "answered", lambda _, seconds: told.append(seconds))

    async def story() -> None:
        async with bench(fast("dlms_hls_single")) as made:
            await made.driver.read(made.target)

    asyncio.run(asyncio.wait_for(story(), 30))
    assert len(told) > 3
    assert min(told) > 0


async def called(bus: Bus, place: Place, fault: DlmsFault | None) -> None:
    async with bus.turn(place, Priority.POLL):
        await asyncio.sleep(0)
        if fault is not None:
            raise fault
        await asyncio.sleep(0)  # whoever fails does so while this one is under way


def behind_one(number: int) -> Place:
    written = parse_address(f"wrapper://10.0.0.9:4059?server={300 + number}&via=bench")
    return Place(written.host, written.port, LinkKind.WRAPPER, 1, 300 + number, 0, 0, LinkParameters(), "bench")


def test_meters_that_a_concentrator_hangs_up_on_cost_no_width_and_rest() -> None:
    async def story() -> None:
        table = ConcentratorTable(make="a", model="b", associations_max=9)
        bus = Bus("10.0.0.9:4059", HandClock(), seeded_rng(1), table)
        first = bus.width
        for _ in range(SILENCES_BEFORE_SUSPENSION):
            dead = called(bus, behind_one(0), remote_fault("TQ-DM-82", "the meter closed the connection"))
            seen = await asyncio.gather(called(bus, behind_one(1), None), dead, return_exceptions=True)
            assert [getattr(one, "code", None) for one in seen] == [None, "TQ-DM-82"]
            one_too_many = called(bus, behind_one(2), TurnedAway("with two under way that is no limit"))
            await asyncio.gather(called(bus, behind_one(1), None), one_too_many, return_exceptions=True)
        assert bus.width == first
        assert bus.suspended((300, 0))
        assert not bus.suspended((302, 0))
        full = [called(bus, behind_one(n), None) for n in range(1, first)]
        await asyncio.gather(*full, called(bus, behind_one(20), TurnedAway("one too many")), return_exceptions=True)
        assert bus.width == first - 1

    asyncio.run(asyncio.wait_for(story(), 10))


def test_a_connection_closed_at_once_is_told_from_one_closed_later() -> None:
    async def story() -> None:
        async with bench(fast("dlms_hls_single")) as made:
            made.wire.mangle = lambda _out, _count: b""
            assert isinstance(await fault_of(made.driver.read(made.target)), TurnedAway)
            made.wire.mangle = lambda out, count: out if count % 4 else b""
            fault = await fault_of(made.driver.read(made.target))
            assert fault.code == "TQ-DM-82"
            assert not isinstance(fault, TurnedAway)

    asyncio.run(asyncio.wait_for(story(), 20))
