"""What the values of one answer say about each other: pure checks beside the registers. Room: metering; walk: reading.

None of them holds energy back: a register that passed its own rules is booked, and what does not fit around it is
marked and counted, so that a wrong scaler, swapped words, crossed wires or a lost phase are found before a bill is.
Names and thresholds stand in `gridmodel.vee.RULES`.
"""

from collections.abc import Iterator, Mapping

from gridmodel.quantity import Multiplier
from gridmodel.reading import Channel, IntervalReading, Mark
from gridmodel.vee import VeeRules

TARIFFS = (Channel.T1, Channel.T2, Channel.T3, Channel.T4)
_REACTIVE = (Channel.REACTIVE_IMPORT, Channel.REACTIVE_EXPORT)
COMPARED = frozenset({*TARIFFS, *_REACTIVE})
"""Channels that are held against the active energy."""
_ACTIVE = (Channel.IMPORT, Channel.EXPORT)
_PHASES = tuple((f"voltage_l{n}_mv", f"current_l{n}_ma") for n in (1, 2, 3))
APPARENT_PCT = 110
"""Values of one poll are read one after the other: a load that is just switched on is no wrong scaler."""
APPARENT_W_MIN = 500
"""Below it rounded currents say too little."""
MICRO = 1_000_000


def implausible_values(
    measurements: Mapping[str, int | None], multiplier: Multiplier, rules: VeeRules
) -> Iterator[Mark]:
    """Marks of the instantaneous values of one poll, meter-side; what is absent says nothing."""
    voltages = [mv for name, _ in _PHASES if (mv := measurements.get(name)) is not None]
    if any(not rules.voltage_mv_min <= mv <= rules.voltage_mv_max for mv in voltages):
        yield Mark.VOLTAGE
    power_w = measurements.get("power_w")
    if power_w is None:
        return
    apparent_va = _apparent_va(measurements)
    if multiplier.apply(abs(power_w)) > rules.power_w_max or (
        apparent_va is not None
        and abs(power_w) >= APPARENT_W_MIN
        and abs(power_w) * 100 > apparent_va * APPARENT_PCT + APPARENT_W_MIN * 100
    ):
        yield Mark.POWER


def _apparent_va(measurements: Mapping[str, int | None]) -> int | None:
    """Voltage times current over all phases that have both; None when a phase has only one of them, or none has."""
    total, phases = 0, 0
    for voltage, current in _PHASES:
        mv, ma = measurements.get(voltage), measurements.get(current)
        if (mv is None) != (ma is None):
            return None
        if mv is not None and ma is not None:
            total += abs(mv * ma)
            phases += 1
    return total // MICRO if phases else None


def clock_is_off(meter_time: int | None, asked_at: int, answered_at: int, rules: VeeRules) -> bool:
    """Whether the meter's clock differs from ours by more than is allowed, wherever within the poll it was read."""
    if meter_time is None:
        return False
    return not asked_at - rules.clock_off_s_max <= meter_time <= answered_at + rules.clock_off_s_max


def implausible_energies(booked: Mapping[Channel, tuple[IntervalReading, ...]], rules: VeeRules) -> Iterator[Mark]:
    """Marks of the channels of one poll against each other, as far as they were counted over the same time."""
    total = booked.get(Channel.IMPORT)
    if not total:
        return
    together = {
        channel: sum(one.energy_wh or 0 for one in intervals)
        for channel, intervals in booked.items()
        if intervals and intervals[0].end == total[0].end
    }
    tariffs = [together[channel] for channel in TARIFFS if channel in together]
    rounding_wh = rules.resolution.at(max(one.register_wh or 0 for one in total)) * len(tariffs)
    if len(tariffs) > 1 and abs(sum(tariffs) - together[Channel.IMPORT]) > max(rules.sum_wh_max, rounding_wh):
        yield Mark.SUM_CHECK
    reactive = sum(together.get(channel, 0) for channel in _REACTIVE)
    active = sum(together.get(channel, 0) for channel in _ACTIVE)
    if reactive > rules.reactive_varh_min and reactive * 100 > active * rules.reactive_pct_max:
        yield Mark.REACTIVE_CHECK
