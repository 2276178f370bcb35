"""Validation: from two registers to intervals, and the table of all rules. Ground floor; on the reading walk.

Pure and idempotent: the same last register and the same read give the same intervals. Two principles: the sum of
intervals always equals the difference of the registers that bound them, and energy that cannot be explained is held
back, never booked (a counter that went to zero and back once booked 15.5 MWh elsewhere). An exchange of the meter is
such a difference as well: `exchanged` books both meters' parts. How a sum is spread over a gap is refined where the
history is (`edge_node/metering/estimating.py`); here it is spread evenly.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from gridmodel.event import AlarmKind
from gridmodel.identity import MeterId
from gridmodel.quantity import REGISTER_WH_MAX, WHOLE_WH, Resolution
from gridmodel.reading import Estimation, IntervalReading, Mark, Quality, RegisterRead


@dataclass(frozen=True, slots=True)
class VeeRules:
    """Thresholds of one meter profile at one installation, in primary units."""

    interval_minutes: int
    """15, 30 or 60."""
    power_w_max: int
    """More than this over a gap is a spike."""
    register_wh_wrap: int | None
    """The register value after which the meter starts at zero; None when it cannot be reached."""
    gap_days_max: int = 45
    """A longer silence is an exchange or a new start, not a gap to fill."""
    ahead_s_max: int = 24 * 3_600
    """A last register further ahead than this was stamped by a wrong clock: counting starts anew at the read."""
    stuck_days: int = 14
    """Two weeks without one watt-hour is worth a look; an empty flat is no fault."""
    decrease_wh_max: int = 0
    """A register may fall by so much, as rounding and resets of a display make it, and counts as standing still."""
    sum_wh_max: int = 100
    """The tariff registers of one interval may differ by so much from the total: they are read one after the other."""
    reactive_pct_max: int = 500
    """Reactive energy in percent of active energy: beyond a power factor of 0.2 the wiring or a scaler is wrong."""
    reactive_varh_min: int = 500
    """Below this a single small motor or a capacitor explains any ratio."""
    voltage_mv_min: int = 160_000
    """Phase to neutral at the meter's terminals: 30 % below 230 V no household supply goes on."""
    voltage_mv_max: int = 290_000
    """A lost neutral puts up to 400 V on a phase; 26 % above 230 V none is meant to be."""
    clock_off_s_max: int = 180
    """The meter's clock may differ by so much from ours; its load profile lies by as much."""
    resolution: Resolution = WHOLE_WH
    """The register's own steps: one of them is no spike, and a coarse register may stand still for longer."""
    hand_read_wh_max: int = 1_000
    """A final register read by a person may lie so far below the last poll: displays show whole kilowatt-hours."""


COARSE_PCT = 10
"""A register's step beyond this share of an interval's energy makes the interval coarse: 8 Wh of a float at 100,000 kWh
under a load of 320 W."""
STILL_LOAD_W = 1
"""Even a home that nobody lives in uses as much: a register must move once it has summed up to one step."""
OVERLOAD_TIMES_MAX = 4
"""An overload is no more than so many times `power_w_max`: beyond it wires melt, or the register lies."""
AGREEING_TIMES_MAX = 2
"""Two rises in a row agree when neither is more than so many times the other: a jump agrees with nothing."""
DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of validation, as people and reports name it."""

    checks: str
    """What is looked at, in words."""
    threshold: str | None = None
    """The field of `VeeRules` that decides."""
    held_back: bool = False
    """Nothing is booked of such a read."""
    alarm: AlarmKind | None = None
    """What is raised at the meter until a read passes."""


RULES: Mapping[Mark, Rule] = {
    Mark.NULL: Rule("the meter has a value", held_back=True),
    Mark.STALE: Rule("the read is later than the one already known", held_back=True),
    Mark.AHEAD: Rule("the register already known is not of the future", "ahead_s_max", held_back=True),
    Mark.GAP: Rule("no interval is missing in between", "gap_days_max"),
    Mark.RESET: Rule("the register does not fall", held_back=True, alarm=AlarmKind.REGISTER_RESET),
    Mark.DECREASE: Rule("the register does not fall, not even by its own steps", "decrease_wh_max"),
    Mark.WRAP: Rule("the register does not start again at zero", "register_wh_wrap"),
    Mark.SPIKE: Rule(
        "the energy is what the connection can carry", "power_w_max", held_back=True, alarm=AlarmKind.REGISTER_SPIKE
    ),
    Mark.OVERLOAD: Rule("two reads in a row show no such spike", "power_w_max", alarm=AlarmKind.REGISTER_SPIKE),
    Mark.STUCK: Rule("the register moves", "stuck_days", alarm=AlarmKind.REGISTER_STUCK),
    Mark.COARSE: Rule("the register's own steps are small beside the energy", "resolution"),
    Mark.EXCHANGE: Rule("the same meter as before"),
    Mark.SUM_CHECK: Rule("the tariff registers add up to the total", "sum_wh_max"),
    Mark.REACTIVE_CHECK: Rule("reactive energy goes with the active energy", "reactive_pct_max"),
    Mark.VOLTAGE: Rule("every phase has its voltage", "voltage_mv_min"),
    Mark.POWER: Rule("power is what the meter can carry, and no more than voltage times current", "power_w_max"),
    Mark.CLOCK: Rule("the meter's clock shows our time", "clock_off_s_max"),
}
"""Every rule by its name. Thresholds come from the meter's profile (table ``[vee]``), else from `VeeRules`."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """A register at a time."""

    at: int
    register_wh: int


@dataclass(frozen=True, slots=True)
class LastRegister:
    """The last register of a (point, channel) that was accepted: what the next read is measured against."""

    meter: MeterId
    at: int
    register_wh: int
    still_since: int
    """Since when the register has not moved."""
    doubt: Baseline | None = None
    """A register that fitted nothing (a reset, a spike): the start of a new count if the next read confirms it.

    With the time of the last register itself: an overload is under way.
    """


@dataclass(frozen=True, slots=True)
class Exchange:
    """One channel's registers when a meter, or its multiplier, was replaced: what lies between two counts."""

    old_meter: MeterId
    ended_at: int
    """When the old meter's stay ended, UTC seconds; seldom an interval's end."""
    final_register_wh: int
    """Of the old meter then, primary Wh by its own multiplier."""
    began_at: int
    """When the new stay began."""
    start_register_wh: int
    """Of the new meter then, primary Wh by the new multiplier."""
    old_rules: VeeRules


@dataclass(frozen=True, slots=True)
class Validated:
    """What one read became."""

    intervals: tuple[IntervalReading, ...]
    """In order of time, all later than the last register; empty when nothing may be booked."""
    marks: tuple[Mark, ...]
    last: LastRegister | None
    """What to measure the next read against."""


def validate(last: LastRegister | None, read: RegisterRead, rules: VeeRules) -> Validated:
    """Turn one register read into intervals.

    The first read of a meter only sets the start. A register on another meter than the last one sets a new start as
    well: the exchange itself books what lies between. A read that fits nothing is kept as a doubt: a counter that goes
    to zero and back has booked nothing, and one that stays at zero counts on from there once a second read agrees. Too
    much energy twice in a row is an overload, or a limit that is wrong: booked as suspect, not held for ever.
    """
    if read.register_wh is None or not 0 <= read.register_wh <= REGISTER_WH_MAX:
        return Validated((), (Mark.NULL,), last)  # not even a start: no store and no chunk could hold it
    if last is None or last.meter != read.meter:
        return Validated((), (), LastRegister(read.meter, read.at, read.register_wh, read.at))
    latest_at = last.doubt.at if last.doubt else last.at
    if read.at <= latest_at:
        if latest_at - read.at > rules.ahead_s_max:
            return Validated((), (Mark.AHEAD,), LastRegister(read.meter, read.at, read.register_wh, read.at))
        return Validated((), (Mark.STALE,), last)
    if read.at - last.at > rules.gap_days_max * DAY_S:
        return Validated((), (Mark.GAP,), LastRegister(read.meter, read.at, read.register_wh, read.at))
    if 0 < last.register_wh - read.register_wh <= rules.decrease_wh_max:
        still = _booked(last, replace(read, register_wh=last.register_wh), 0, rules, wrapped=False)
        return replace(still, marks=(Mark.DECREASE, *still.marks))
    step = counted_wh(last, read, rules)
    if isinstance(step, int):
        return _booked(last, read, step, rules, wrapped=read.register_wh < last.register_wh)
    if last.doubt is not None:
        if _is_overload(last, last.doubt, read, rules):
            return _overloaded(last, last.doubt, read, rules)
        confirmed = counted_wh(last.doubt, read, rules)
        if isinstance(confirmed, int) and read.register_wh >= last.doubt.register_wh:
            doubted = LastRegister(read.meter, last.doubt.at, last.doubt.register_wh, last.doubt.at)
            return _booked(doubted, read, confirmed, rules, wrapped=False)
    return Validated((), (step,), replace(last, doubt=Baseline(read.at, read.register_wh)))


def _is_overload(last: LastRegister, doubt: Baseline, read: RegisterRead, rules: VeeRules) -> bool:
    """Whether the connection carries more than it can: the rise to the doubt and the one after it agree.

    Once under way, each next interval may show as much. A jump of a register has nothing like it after it.
    """
    if read.register_wh is None:
        return False
    after_s, after_wh = read.at - doubt.at, read.register_wh - doubt.register_wh
    before_s, before_wh = doubt.at - last.at, doubt.register_wh - last.register_wh
    if before_s == 0:
        steepest, agree = after_wh / after_s, after_s == rules.interval_minutes * 60
    else:
        rates = sorted((before_wh / before_s, after_wh / after_s))
        steepest, agree = rates[1], rates[0] * AGREEING_TIMES_MAX >= rates[1]
    return agree and 0 < steepest * 3_600 <= rules.power_w_max * OVERLOAD_TIMES_MAX


def _overloaded(last: LastRegister, doubt: Baseline, read: RegisterRead, rules: VeeRules) -> Validated:
    """Both rises as suspect: nothing that was used is lost, and nobody is cut on it."""
    points = [(doubt.at, doubt.register_wh), (read.at, read.register_wh or 0)]
    base, intervals = (last.at, last.register_wh), list[IntervalReading]()
    for at, register_wh in points:
        if at > base[0]:
            part = replace(read, at=at, register_wh=register_wh)
            count = _intervals_between(base[0], at, rules)
            intervals += spread(part, register_wh - base[1], count, rules.interval_minutes, Quality.SUSPECT)
        base = at, register_wh
    under_way = LastRegister(read.meter, *base, read.at, doubt=Baseline(*base))
    return Validated(tuple(intervals), (Mark.OVERLOAD,), under_way)


def exchanged(last: LastRegister, exchange: Exchange, read: RegisterRead, rules: VeeRules) -> Validated:
    """The first read of a new meter: both meters' energy in the intervals of their own time.

    The old meter counted from `last` to its final register, the new one from its start register to the read; the
    interval of the exchange has a part of both. A register that fits nothing books nothing, and the new count begins.
    Where the registry came late, a meter that tells no serial was read under the old one's name: it goes on counting.
    """
    if read.register_wh is None or not 0 <= read.register_wh <= REGISTER_WH_MAX:
        return Validated((), (Mark.NULL,), last)
    length = rules.interval_minutes * 60
    begun = max(exchange.began_at // length * length, last.at)
    if read.at <= last.at or read.at < exchange.began_at:
        return Validated((), (Mark.STALE,), last)
    start = LastRegister(read.meter, read.at, read.register_wh, read.at)
    if read.at - last.at > rules.gap_days_max * DAY_S:
        return Validated((), (Mark.EXCHANGE, Mark.GAP), start)
    ended = -(-exchange.ended_at // length) * length
    final_wh = exchange.final_register_wh
    misread = last.at == exchange.began_at and is_the_next_ones(last.register_wh, final_wh, exchange.start_register_wh)
    if 0 < last.register_wh - final_wh <= exchange.old_rules.hand_read_wh_max:
        final_wh = last.register_wh
    final = replace(read, meter=exchange.old_meter, at=max(ended, last.at + length), register_wh=final_wh)
    old_wh = counted_wh(Baseline(last.at, last.register_wh), final, exchange.old_rules)
    if last.at > exchange.began_at or (last.at == exchange.began_at and (misread or isinstance(old_wh, Mark))):
        misnamed = replace(read, at=last.at, register_wh=last.register_wh)
        counted = counted_wh(
            Baseline(exchange.began_at // length * length, exchange.start_register_wh), misnamed, rules
        )
        if isinstance(counted, int):
            return validate(replace(last, meter=read.meter), read, rules)
    new_wh = counted_wh(Baseline(begun, exchange.start_register_wh), read, rules)
    if not isinstance(old_wh, int) or not isinstance(new_wh, int):
        return Validated((), (Mark.EXCHANGE, *(one for one in (old_wh, new_wh) if isinstance(one, Mark))), start)
    until = ended if exchange.began_at < ended else ended - length if exchange.ended_at % length else ended
    parts = [_Part(old_wh, last.at, max(until, last.at)), _Part(new_wh, begun, read.at)]
    intervals = _together(read, parts, length)
    gap = (Mark.GAP,) if _intervals_between(last.at, read.at, rules) > 1 else ()
    return Validated(intervals, (Mark.EXCHANGE, *gap), start)


def is_the_next_ones(register_wh: int, final_wh: int, start_wh: int) -> bool:
    """Whether a register that was read in the very second of an exchange is the new meter's: it is nearer to its paper.

    A meter that tells no serial answers for the old one; and a person who rounds down leaves a final register that lies
    below what was read, as that of another meter may.
    """
    return abs(register_wh - start_wh) < abs(register_wh - final_wh)


@dataclass(frozen=True, slots=True)
class _Part:
    """Energy of one meter over the intervals that end in (start, end]."""

    energy_wh: int
    start: int
    end: int


def _together(read: RegisterRead, parts: list[_Part], length: int) -> tuple[IntervalReading, ...]:
    """Both parts as intervals; a part without an interval of its own falls into the first of the other."""
    energies: dict[int, int] = {}
    estimated: set[int] = set()
    for part in parts:
        count = (part.end - part.start) // length
        shares = [part.energy_wh * (n + 1) // count - part.energy_wh * n // count for n in range(count)]
        for n, share in enumerate(shares, start=1):
            end = part.start + n * length
            energies[end] = energies.get(end, 0) + share
            if count > 1:
                estimated.add(end)
    placeless = sum(part.energy_wh for part in parts if part.end <= part.start)
    if placeless:
        energies[min(energies)] += placeless
    return tuple(
        IntervalReading(
            read.point,
            read.channel,
            end,
            energies[end],
            Quality.ESTIMATED if end in estimated else Quality.ACTUAL,
            read.register_wh if end == read.at else None,
            Estimation.INTERPOLATION if end in estimated else Estimation.NONE,
        )
        for end in sorted(energies)
    )


def _booked(last: LastRegister, read: RegisterRead, energy_wh: int, rules: VeeRules, *, wrapped: bool) -> Validated:
    count = _intervals_between(last.at, read.at, rules)
    still_since = last.still_since if energy_wh == 0 else read.at
    marks: list[Mark] = []
    if wrapped:
        marks.append(Mark.WRAP)
    step_wh = rules.resolution.at(last.register_wh)
    still_s_max = max(rules.stuck_days * DAY_S, step_wh * 3_600 // STILL_LOAD_W)
    if read.at - still_since >= still_s_max:
        marks.append(Mark.STUCK)
    if count > 1:
        marks.append(Mark.GAP)
    if step_wh > 1 and 0 < energy_wh * COARSE_PCT < step_wh * 100:
        marks.append(Mark.COARSE)
    quality = Quality.SUSPECT if wrapped else Quality.ACTUAL if count == 1 else Quality.ESTIMATED
    if read.register_wh is None:
        raise ValueError("a read without a register books nothing")
    intervals = spread(read, energy_wh, count, rules.interval_minutes, quality)
    return Validated(intervals, tuple(marks), LastRegister(read.meter, read.at, read.register_wh, still_since))


def counted_wh(base: Baseline | LastRegister, read: RegisterRead, rules: VeeRules) -> int | Mark:
    """The energy from `base` to the read, or why there is none."""
    if read.register_wh is None:
        return Mark.NULL
    step_wh = rules.resolution.at(base.register_wh)
    rounding_wh = step_wh if step_wh > 1 else 0
    carried_wh_max = rules.power_w_max * (read.at - base.at) // 3_600 + rounding_wh
    energy_wh = read.register_wh - base.register_wh
    if energy_wh < 0:
        if rules.register_wh_wrap is None or not 0 <= energy_wh + rules.register_wh_wrap <= carried_wh_max:
            return Mark.RESET
        return energy_wh + rules.register_wh_wrap
    return energy_wh if energy_wh <= carried_wh_max else Mark.SPIKE


def _intervals_between(earlier: int, later: int, rules: VeeRules) -> int:
    return (later - earlier) // (rules.interval_minutes * 60)


def spread(
    read: RegisterRead, energy_wh: int, count: int, interval_minutes: int, quality: Quality
) -> tuple[IntervalReading, ...]:
    """`energy_wh` over `count` intervals ending at the read, to the watt-hour: only the last one has a register."""
    length = interval_minutes * 60
    if count == 1:
        return (IntervalReading(read.point, read.channel, read.at, energy_wh, quality, read.register_wh),)
    method = Estimation.INTERPOLATION if quality is Quality.ESTIMATED else Estimation.NONE
    shares = [energy_wh * (n + 1) // count - energy_wh * n // count for n in range(count)]
    return tuple(
        IntervalReading(
            read.point,
            read.channel,
            read.at - (count - 1 - n) * length,
            share,
            quality,
            read.register_wh if n == count - 1 else None,
            method,
        )
        for n, share in enumerate(shares)
    )
