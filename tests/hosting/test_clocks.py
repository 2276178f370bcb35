import asyncio

import pytest

from gridmodel.clock import ClockDoubt, ClockFault, ClockTrust, SteadyMoment
from hosting.clocks import (
    AGREEMENT_S_MAX,
    UNCERTAINTY_S,
    UNKNOWN_S,
    ScaledClock,
    SystemEntropy,
    SystemIoClock,
    clock_from_environment,
    clock_to_environment,
    seeded_rng,
)


class Machine:
    """A wall and a monotonic clock that tests move; sleeping moves both."""

    def __init__(self) -> None:
        self.wall_s = 1_000_000.0
        self.steady_s = 50.0
        self.slept: list[float] = []
        self.jump_after: tuple[int, float] | None = None

    def wall(self) -> float:
        return self.wall_s

    def steady(self) -> float:
        return self.steady_s

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.pass_(seconds)
        if self.jump_after is not None and len(self.slept) == self.jump_after[0]:
            self.wall_s += self.jump_after[1]

    def pass_(self, seconds: float) -> None:
        self.wall_s += seconds
        self.steady_s += seconds

    def clock(
        self, origin_utility: float = 0.0, origin_wall: float = 0.0, speed: float = 1.0, boot: str = ""
    ) -> ScaledClock:
        return ScaledClock(
            origin_utility,
            origin_wall,
            speed,
            wall=self.wall,
            monotonic=self.steady,
            sleep=self.sleep,
            sleep_s_max=5.0,
            boot=boot,
        )


def test_two_processes_share_one_scaled_calendar() -> None:
    environ = clock_to_environment(1_763_956_800, 1_000_000.0, 600.0)
    assert environ == {"TARMOQ_CLOCK": "1763956800,1000000.0,600.0"}
    machine = Machine()
    one, two = (machine.clock(1_763_956_800, 1_000_000.0, 600.0) for _ in range(2))
    machine.pass_(6)
    assert one.now() == two.now() == 1_763_956_800 + 3600


@pytest.mark.parametrize("text", ["x", "1,2", "1,2,3,4", "1,2,nan", "1,2,inf"])
def test_a_malformed_clock_variable_is_named(text: str) -> None:
    with pytest.raises(ClockFault, match="TQ-CL-03"):
        clock_from_environment({"TARMOQ_CLOCK": text})


@pytest.mark.parametrize("speed", ["0", "-1"])
def test_a_clock_that_stands_or_runs_back_is_refused(speed: str) -> None:
    with pytest.raises(ClockFault, match="TQ-CL-02"):
        clock_from_environment({"TARMOQ_CLOCK": f"1,2,{speed}"})


def test_without_the_variable_it_is_the_real_clock() -> None:
    clock = clock_from_environment({})
    assert clock.speed == 1
    assert clock.now() > 1_700_000_000
    assert clock.trust() is ClockTrust.TRUSTED


def test_a_wait_ends_at_its_second_in_capped_steps() -> None:
    machine = Machine()
    clock = machine.clock()
    asyncio.run(clock.sleep_until(1_000_012))
    assert clock.now() == 1_000_012
    assert max(machine.slept) <= 5.0
    assert len(machine.slept) == 3
    asyncio.run(clock.sleep_until(5))
    assert len(machine.slept) == 3


def test_a_wall_set_forward_wakes_a_waiter_within_one_capped_sleep() -> None:
    machine = Machine()
    machine.jump_after = (2, 7200.0)
    asyncio.run(machine.clock().sleep_until(1_003_600))
    assert len(machine.slept) == 2


def test_a_wall_set_back_ends_a_wait_for_the_wall() -> None:
    machine = Machine()
    machine.jump_after = (2, -3 * 86_400.0)
    asyncio.run(machine.clock().sleep_until(1_003_600))
    assert len(machine.slept) == 2


def test_a_wall_set_back_by_less_than_one_sleep_ends_it_as_well() -> None:
    machine = Machine()
    machine.jump_after = (2, -4.0)
    asyncio.run(machine.clock().sleep_until(1_003_600))
    assert len(machine.slept) == 2


def test_a_duration_does_not_follow_the_wall() -> None:
    machine = Machine()
    machine.jump_after = (1, 7200.0)
    asyncio.run(machine.clock(speed=2.0).sleep(20))
    assert sum(machine.slept) == pytest.approx(10)


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0])
def test_a_jump_makes_it_doubtful_and_the_present_covers_both(jump_s: float) -> None:
    machine = Machine()
    clock = machine.clock()
    machine.pass_(100)
    assert clock.trust() is ClockTrust.TRUSTED
    machine.wall_s += jump_s
    assert clock.trust() is ClockTrust.DOUBTFUL
    bounds = clock.bounds()
    assert bounds.earliest <= 1_000_100 - UNCERTAINTY_S
    assert bounds.latest >= 1_000_100 + UNCERTAINTY_S
    assert bounds.latest - bounds.earliest == pytest.approx(3600 + 2 * UNCERTAINTY_S, abs=1)
    machine.wall_s -= jump_s
    assert clock.trust() is ClockTrust.TRUSTED


def test_honest_drift_is_followed_for_weeks() -> None:
    machine = Machine()
    clock = machine.clock()
    for _ in range(14 * 24):
        machine.pass_(3600)
        machine.wall_s += 0.5  # 139 ppm
        assert clock.trust() is ClockTrust.TRUSTED


def test_another_source_confirms_or_contradicts() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.wall_s += 3600
    assert clock.confirm(1_003_600 - AGREEMENT_S_MAX) is ClockTrust.TRUSTED
    assert clock.confirm(1_000_000) is ClockTrust.DOUBTFUL
    assert clock.trust() is ClockTrust.DOUBTFUL


def test_a_wall_that_comes_back_needs_nobody_to_say_so() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.pass_(100)
    machine.wall_s += 3600
    assert clock.trust() is ClockTrust.DOUBTFUL
    machine.wall_s -= 3600  # and the link is lost: no other source for days
    assert clock.trust() is ClockTrust.TRUSTED


def test_hub_and_steady_clock_outvote_a_wall_that_jumped() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.pass_(100)
    machine.wall_s += 9 * 365 * 86_400
    assert clock.confirm(1_000_100) is ClockTrust.TRUSTED
    assert (clock.now(), clock.doubts(), clock.confirmed()) == (1_000_100, (ClockDoubt.AHEAD,), False)
    assert clock.bounds().latest - clock.bounds().earliest <= 2 * UNCERTAINTY_S + 1
    asyncio.run(clock.sleep_until(1_000_110))
    assert clock.now() == 1_000_110
    machine.wall_s += 60
    assert clock.trust() is ClockTrust.DOUBTFUL, "it moved again: the steady clock may have stood still"


def test_a_steady_clock_that_was_contradicted_stays_in_doubt_until_another_source_agrees() -> None:
    machine = Machine()
    clock = machine.clock()
    assert clock.confirm(1_010_000) is ClockTrust.DOUBTFUL
    machine.wall_s += 10_000
    assert clock.trust() is ClockTrust.DOUBTFUL, "it may be right now, but who says so?"
    machine.wall_s -= 10_000
    assert clock.trust() is ClockTrust.DOUBTFUL
    machine.wall_s += 10_000
    assert clock.confirm(1_010_001) is ClockTrust.TRUSTED


def test_a_clock_below_its_floor_is_doubtful_and_the_present_is_not_before_it() -> None:
    machine = Machine()
    clock = machine.clock()
    clock.raise_floor(1_000_500)
    clock.raise_floor(7)
    assert clock.trust() is ClockTrust.DOUBTFUL
    assert clock.doubts() == (ClockDoubt.BELOW_FLOOR,)
    assert (clock.bounds().earliest, clock.bounds().latest) == (1_000_500, 1_000_500 + UNKNOWN_S)
    machine.pass_(40)
    assert clock.now() == clock.bounds().earliest == 1_000_540, "nothing is stamped before what is durable"


def test_a_machine_that_started_anew_asks_another_source_first() -> None:
    machine = Machine()
    clock = machine.clock()
    clock.raise_floor(1_000_000 - 1_800)
    assert (clock.trust(), clock.doubts()) == (ClockTrust.DOUBTFUL, (ClockDoubt.UNCONFIRMED,))
    assert (clock.bounds().earliest, clock.bounds().latest) == (998_200, 1_000_000 + UNCERTAINTY_S + UNKNOWN_S)
    assert clock.confirm(1_000_001) is ClockTrust.TRUSTED
    assert (clock.doubts(), clock.confirmed()) == ((), True)


def test_a_process_of_the_same_boot_goes_on_from_the_one_before() -> None:
    machine = Machine()
    clock = machine.clock(boot="b-1")
    assert clock.anchor() is None, "nobody confirmed it"
    clock.confirm(1_000_000)
    anchor = clock.anchor()
    assert anchor is not None
    machine.pass_(5_000)
    other, same, stepped, nameless = (machine.clock(boot=boot) for boot in ("b-2", "b-1", "b-1", ""))
    for following in (other, same, stepped, nameless):
        following.raise_floor(1_000_000)
    assert [one.resume(anchor) for one in (other, same, nameless)] == [False, True, False]
    assert (other.trust(), same.trust()) == (ClockTrust.DOUBTFUL, ClockTrust.TRUSTED)
    assert not same.confirmed(), "the hub has not spoken to this process"
    machine.wall_s += 3_600
    assert stepped.resume(anchor)
    assert (stepped.trust(), stepped.doubts()) == (ClockTrust.DOUBTFUL, (ClockDoubt.AHEAD,))
    assert stepped.witness(1_005_000) is ClockTrust.TRUSTED
    assert stepped.now() == 1_005_000


def test_witnesses_and_one_more_tell_the_time_and_nobody_is_cut_by_it() -> None:
    machine = Machine()
    late, inherited, contradicted, jumped = (machine.clock() for _ in range(4))
    late.raise_floor(1_000_000 - 9 * 3_600)
    inherited.doubt()
    for clock in (late, inherited):
        assert clock.witness(1_000_000 + 5 * 3_600) is ClockTrust.DOUBTFUL, "they show another time"
        assert clock.witness(1_000_060) is ClockTrust.TRUSTED
        assert not clock.confirmed()
    assert contradicted.confirm(1_010_000) is ClockTrust.DOUBTFUL, "one word against another"
    assert contradicted.bounds().latest >= 1_010_000
    assert contradicted.witness(1_000_000) is ClockTrust.TRUSTED
    assert (contradicted.doubts(), contradicted.confirmed()) == ((ClockDoubt.HUB_DISAGREES,), False)
    jumped.doubt()
    machine.wall_s += 10_000
    assert jumped.witness(1_010_000) is ClockTrust.TRUSTED


def test_hub_and_meters_outvote_wall_and_steady_clock() -> None:
    machine = Machine()
    clock = machine.clock()
    clock.confirm(1_000_000)
    assert clock.confirm(1_010_800) is ClockTrust.DOUBTFUL, "a machine that slept, or a hub that is wrong"
    assert clock.witness(1_010_790) is ClockTrust.TRUSTED
    assert (clock.now(), clock.doubts()) == (1_010_800, (ClockDoubt.BEHIND,))


def test_a_quartz_that_drifts_for_weeks_is_set_by_the_hub_and_told() -> None:
    machine = Machine()
    clock = machine.clock()
    clock.confirm(1_000_000)
    machine.pass_(20 * 86_400)
    assert clock.bounds().latest - clock.bounds().earliest > 300
    assert clock.confirm(1_000_000 + 20 * 86_400 - 170) is ClockTrust.TRUSTED
    assert (clock.now(), clock.doubts()) == (1_000_000 + 20 * 86_400 - 170, (ClockDoubt.AHEAD,))


def test_a_wall_that_drifts_beside_a_hub_that_answers_is_left_before_it_is_minutes_off() -> None:
    machine = Machine()
    clock, begun = machine.clock(), machine.wall_s
    for number in range(1, 400):
        machine.pass_(900)
        machine.wall_s += 0.45  # 500 ppm
        clock.confirm(int(begun) + number * 900)
        assert abs(clock.now() - begun - number * 900) <= 5
    assert clock.doubts() == (ClockDoubt.AHEAD,)


def test_a_moment_is_placed_once_the_time_is_known_and_never_from_another_boot() -> None:
    machine = Machine()
    machine.wall_s = 100.0  # 1970
    clock = machine.clock(boot="b-1")
    clock.raise_floor(1_000_000)
    read = clock.moment()
    machine.pass_(7_200)
    assert clock.when(read) is None
    machine.wall_s = 1_012_000.0  # somebody sets it
    clock.confirm(1_012_000)
    assert clock.when(read) == 1_012_000 - 7_200
    assert clock.when(SteadyMoment("b-0", read.steady_s)) is None


def test_chance_can_be_repeated_and_entropy_cannot() -> None:
    assert seeded_rng(7).random() == seeded_rng(7).random()
    assert SystemEntropy().token(16) != SystemEntropy().token(16)

    async def look() -> None:
        clock = SystemIoClock()
        before = clock.monotonic()
        await clock.sleep(0)
        assert clock.monotonic() >= before

    asyncio.run(look())
