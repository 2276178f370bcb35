"""When each meter is read: due times as a pure function of registry and meter. Room: metering; walk: reading.

All meters stand for the same interval end, yet they are not asked in one instant: each has its own place within the
spread, worked out from its id, so that a restart or a second machine asks in the same order. What fails is asked again
with back-off while the interval lasts, a bounded number of times; nothing waits over into the next interval.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from zlib import crc32

from gridmodel.identity import UsagePointId
from gridmodel.network import Installation
from gridmodel.quantity import Multiplier
from gridmodel.reading import Channel
from gridmodel.registry import Registry, Topology
from gridmodel.vee import Exchange, VeeRules
from protocols.driver import MeterTarget
from protocols.profile import MeterProfile

SPREAD_S = 120
"""Over how long after an interval's end the first reads are spread by default: 350 a second for 42,000 meters."""
RETRIES_MAX = 3
"""Further tries within one interval: a fourth silence is a meter that is off, and its bus serves others."""
RETRY_DELAY_S = 45
"""Before the second try; it doubles: 45, 90, 180 s end well within a quarter of an hour."""
NO_EXCHANGES: Mapping[Channel, Exchange] = MappingProxyType({})
"""Shared by the many that were never exchanged."""
HAND_READ_WH_MAX = 1_000
"""Displays show whole kilowatt-hours: a person's final register may lie so far below the last poll, meter-side."""


@dataclass(frozen=True, slots=True)
class PollTarget:
    """One meter as it is polled and booked in one span of the registry."""

    target: MeterTarget
    protocol: str
    """Whose driver reads it."""
    point: str
    """Usage or supply point where it stands."""
    of_usage_point: bool
    channels: tuple[Channel, ...]
    multiplier: Multiplier
    rules: VeeRules
    """In primary units: the profile's limits times the multiplier."""
    rebased_at: int | None
    """Since when the same meter counts with another multiplier, or hangs here again after it was away.

    An earlier register is no base for a later one."""
    offset_s: int
    """Utility seconds after the interval's end at which it is due."""
    neighbours: tuple[str, ...] = ()
    """Usage points under the same transformer, itself among them: the shape of its gaps where its own past is thin."""
    exchanges: Mapping[Channel, Exchange] = field(default_factory=lambda: NO_EXCHANGES)
    """The registers at which this stay took over from the one before, where both were recorded."""


@dataclass(frozen=True, slots=True)
class PollPlan:
    """Who is polled in one span between two changes of the registry."""

    targets: tuple[PollTarget, ...]
    """In order of their due times."""
    unreadable: tuple[tuple[str, str], ...]
    """(meter, why) for meters that no driver can read."""
    meters: frozenset[str]
    """All of them."""


def offset_s(meter: str, spread_s: int) -> int:
    """The meter's place within the spread, from 0 to `spread_s`: the same for ever."""
    return crc32(meter.encode()) % (spread_s + 1)


def retry_delay_s(tries: int) -> int | None:
    """Utility seconds before the next try after so many failed ones; None when that was the last."""
    return RETRY_DELAY_S << (tries - 1) if tries <= RETRIES_MAX else None


def plan_of(
    registry: Registry, end: int, profiles: Mapping[str, MeterProfile], spread_s: int = SPREAD_S
) -> tuple[Topology, PollPlan]:
    """Who is polled for the interval ending at `end`, with the topology it holds for. Heavy: a task for `compute`."""
    topology = registry.topology(end)
    stays = stays_of(registry)
    rules: dict[tuple[str, Multiplier], VeeRules] = {}
    targets: list[PollTarget] = []
    unreadable: list[tuple[str, str]] = []
    for placed in topology.installation_at.values():
        meter = registry.meter[placed.meter]
        profile = profiles.get(meter.profile)
        if profile is None:
            unreadable.append((meter.id, f"no meter profile {meter.profile!r}: add it to configs/meters"))
            continue
        targets.append(
            PollTarget(
                target=MeterTarget(meter.id, meter.serial, meter.profile, meter.address, meter.unit),
                protocol=profile.protocol,
                point=placed.point,
                of_usage_point=placed.point in registry.usage_point,
                channels=placed.channels,
                multiplier=placed.multiplier,
                rules=_shared(rules, (profile.name, placed.multiplier), profile, registry.interval_minutes),
                rebased_at=placed.valid_from if _rebased(placed, stays) else None,
                offset_s=offset_s(meter.id, spread_s),
                neighbours=_under(topology, placed.point),
                exchanges=exchanges_of(registry, placed, stays, profiles) if placed.point in stays else NO_EXCHANGES,
            )
        )
    targets.sort(key=lambda one: (one.offset_s, one.target.meter))
    meters = frozenset(placed.meter for placed in topology.installation_at.values())
    return topology, PollPlan(tuple(targets), tuple(sorted(unreadable)), meters)


def _under(topology: Topology, point: str) -> tuple[str, ...]:
    """The points of the transformer that `point` hangs on: one tuple, shared by all of them."""
    transformer = topology.transformer_of.get(UsagePointId(point))
    return () if transformer is None else topology.points_of[transformer]


def _shared(
    known: dict[tuple[str, Multiplier], VeeRules], key: tuple[str, Multiplier], profile: MeterProfile, minutes: int
) -> VeeRules:
    """The same object for all meters of one model with one multiplier: a quarter of a million would be as many more."""
    found = known.get(key)
    if found is None:
        found = known[key] = rules_of(profile, key[1], minutes)
    return found


def rules_of(profile: MeterProfile, multiplier: Multiplier, interval_minutes: int) -> VeeRules:
    """The thresholds of validation in primary units; voltage is left as the meter's terminals have it."""
    wrap, limits = profile.register_wh_wrap, profile.vee
    return VeeRules(
        interval_minutes=interval_minutes,
        power_w_max=multiplier.apply(profile.power_w_max),
        register_wh_wrap=None if wrap is None else multiplier.apply(wrap),
        stuck_days=limits.stuck_days,
        decrease_wh_max=multiplier.apply(limits.decrease_wh_max),
        sum_wh_max=multiplier.apply(limits.sum_wh_max),
        reactive_pct_max=limits.reactive_pct_max,
        voltage_mv_min=limits.voltage_mv_min,
        voltage_mv_max=limits.voltage_mv_max,
        clock_off_s_max=limits.clock_off_s_max,
        resolution=profile.resolution.times(multiplier),
        hand_read_wh_max=multiplier.apply(HAND_READ_WH_MAX),
    )


def stays_of(registry: Registry) -> dict[str, list[Installation]]:
    """The installations of every point that had more than one, in order of time."""
    placed: dict[str, list[Installation]] = {}
    for one in registry.installations:
        placed.setdefault(one.point, []).append(one)
    return {point: sorted(stays, key=lambda one: one.valid_from) for point, stays in placed.items() if len(stays) > 1}


def exchanges_of(
    registry: Registry,
    placed: Installation,
    stays: Mapping[str, list[Installation]],
    profiles: Mapping[str, MeterProfile],
) -> dict[Channel, Exchange]:
    """How `placed` took over from the stay before it at the same point; empty unless both registers were recorded."""
    before = [one for one in stays.get(placed.point, ()) if one.valid_to <= placed.valid_from]
    old = before[-1] if before else None
    if old is None or not old.final_registers_wh or not placed.start_registers_wh:
        return {}
    profile = profiles.get(registry.meter[old.meter].profile)
    if profile is None:
        return {}
    rules = rules_of(profile, old.multiplier, registry.interval_minutes)
    finals = dict(zip(old.channels, old.final_registers_wh, strict=True))
    return {
        channel: Exchange(
            old_meter=old.meter,
            ended_at=old.valid_to,
            final_register_wh=old.multiplier.apply(finals[channel]),
            began_at=placed.valid_from,
            start_register_wh=placed.multiplier.apply(start_wh),
            old_rules=rules,
        )
        for channel, start_wh in zip(placed.channels, placed.start_registers_wh, strict=True)
        if channel in finals
    }


def _rebased(placed: Installation, stays: Mapping[str, list[Installation]]) -> bool:
    return any(
        one.meter == placed.meter
        and one.valid_from < placed.valid_from
        and (one.multiplier != placed.multiplier or one.valid_to < placed.valid_from)
        for one in stays.get(placed.point, ())
    )
