"""Drafts: what a paper says, and how it becomes a work that readings and registry do not contradict. Pure.

Room: metering; reading walk. `field_desk` asks for all of it. Codes: see there.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from gridmodel.field_work import FieldWork, Fitted, Photo, Taken, WorkKind, work_fault
from gridmodel.identity import MeterId, PersonId
from gridmodel.network import Installation, Meter
from gridmodel.quantity import Multiplier
from gridmodel.reading import Channel
from gridmodel.registry import Registry
from gridmodel.vee import Baseline, VeeRules
from protocols.profile import MeterProfile


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What the paper says; energies meter-side, Wh."""

    id: str
    """Made by who sends it: recorded twice it is one."""
    kind: WorkKind
    at: int | None
    """When it was done; None: now."""
    by: PersonId
    point: str = ""
    """Where it was done; of a move, where the meter came from."""
    to_point: str = ""
    """Of a move."""
    old: MeterId | None = None
    """The meter that left; None: whichever stands there."""
    new: Meter | None = None
    """The meter that came, but of a move."""
    final_wh: Mapping[Channel, int] = field(default_factory=dict)
    start_wh: Mapping[Channel, int] = field(default_factory=dict)
    multiplier: Multiplier | None = None
    """None: as before at an exchange, else 1."""
    seals: tuple[str, ...] = ()
    photo: Photo | None = None


def tells_serial(profile: MeterProfile) -> bool:
    """Whether a read proves which meter answers; without it the next one at the address is read under the old name."""
    return any(one.serial is not None for one in profile.golden)


def check_final(channel: Channel, base: Baseline, final_wh: int, at: int, rules: VeeRules) -> None:
    """Raise TQ-FW-23 or -24 for a register that cannot follow `base`; a person reads whole kilowatt-hours."""
    name, energy_wh = channel.name.lower(), final_wh - base.register_wh
    carried_wh = rules.power_w_max * (at - base.at + rules.interval_minutes * 60) // 3_600
    if energy_wh < -rules.hand_read_wh_max:
        wrap_wh = rules.register_wh_wrap
        if wrap_wh is None or not 0 <= energy_wh + wrap_wh <= carried_wh + rules.hand_read_wh_max:
            raise work_fault(
                23,
                f"{name}: {final_wh} Wh is below the {base.register_wh} Wh read at {base.at}",
                "look at the photo of the old meter again; write kWh",
            )
    elif energy_wh > carried_wh + rules.hand_read_wh_max:
        raise work_fault(
            24,
            f"{name}: {final_wh} Wh is more than can have flowed since {base.register_wh} Wh were read",
            "look for a digit too many on the photo of the old meter; write kWh",
        )


def check_alone(work: FieldWork, registry: Registry) -> None:
    """Raise TQ-FW-33 when another meter that stands somewhere has the new one's address: both would read as one."""
    if work.fitted is None:
        return
    new = work.fitted.meter
    for placed in standing_at(registry, work.recorded_at):
        other = registry.meter[placed.meter]
        if (other.address, other.unit) == (new.address, new.unit) and other.id != new.id:
            raise work_fault(
                33,
                f"meter {other.id} at {placed.point} stands at address {new.address}, unit {new.unit}",
                "look up the address of the new meter; or record first what became of that one",
            )


def standing_at(registry: Registry, at: int) -> Iterator[Installation]:
    """Everything that stands at `at`: a walk over all takes milliseconds, a topology a tenth of a second."""
    return (one for one in registry.installations if one.valid_from <= at < one.valid_to)


def same(known: FieldWork, draft: Draft, registry: Registry) -> bool:
    """Whether a draft sent again is the work that is known, by what a person typed. A walk over all stays."""
    at = known.at if draft.at is None else draft.at
    if (known.kind, known.at, known.by, known.photo) != (draft.kind, at, draft.by, draft.photo):
        return False
    return _same_taken(known, draft, registry) and _same_fitted(known.fitted, draft)


def _same_taken(known: FieldWork, draft: Draft, registry: Registry) -> bool:
    taken = known.taken
    if taken is None:
        return not draft.final_wh and draft.old is None
    if taken.point != draft.point or draft.old not in {None, taken.meter}:
        return False
    stay = next((one for one in _stays(registry, taken) if one.valid_to == known.at), None)
    if stay is None or len(stay.channels) != len(taken.final_registers_wh):
        return sorted(draft.final_wh.values()) == sorted(taken.final_registers_wh)
    return draft.final_wh == dict(zip(stay.channels, taken.final_registers_wh, strict=True))


def _same_fitted(fitted: Fitted | None, draft: Draft) -> bool:
    if fitted is None:
        return draft.new is None
    moved = draft.kind is WorkKind.MOVED
    starts = dict(zip(fitted.channels, fitted.start_registers_wh, strict=True))
    return (
        fitted.point == (draft.to_point or draft.point)
        and fitted.seals == draft.seals
        and draft.multiplier in {None, fitted.multiplier}
        and (moved or fitted.meter == draft.new)
        and starts == (draft.start_wh or (draft.final_wh if moved else {}))
    )


def _stays(registry: Registry, taken: Taken) -> list[Installation]:
    return [one for one in registry.installations if one.point == taken.point and one.meter == taken.meter]


def stay_of(registry: Registry, taken: Taken, at: int) -> Installation | None:
    """The stay that ends at `at`, or is on record as ending later. A walk over all."""
    return next((one for one in _stays(registry, taken) if one.valid_to > at), None)


def taken_of(draft: Draft, standing: Installation | None) -> Taken:
    """The meter that left, `standing` if the registry knows it; raises TQ-FW-12 or -17."""
    meter = draft.old if standing is None else standing.meter
    if meter is None:
        raise work_fault(12, f"no meter stood at {draft.point} then", "check point and time; enter earlier works first")
    channels = tuple(draft.final_wh) if standing is None else standing.channels
    foreign = sorted(one.name.lower() for one in set(draft.final_wh) - set(channels))
    lacking = [one.name.lower() for one in channels if one not in draft.final_wh]
    if draft.final_wh and (foreign or lacking):
        raise work_fault(
            17,
            f"{meter} counts {', '.join(one.name.lower() for one in channels)}",
            f"give a final register of each, and of no other: {', '.join([*lacking, *foreign])}",
        )
    return Taken(meter, draft.point, tuple(draft.final_wh[one] for one in channels) if draft.final_wh else ())


def fitted_of(draft: Draft, new: Meter, standing: Installation | None) -> Fitted:
    """The meter that came; raises TQ-FW-17 for an exchange that would forget a channel of `standing`."""
    if draft.kind is WorkKind.EXCHANGED and standing is not None and draft.start_wh:
        lost = sorted(one.name.lower() for one in set(standing.channels) - set(draft.start_wh))
        if lost:
            raise work_fault(
                17,
                f"{standing.meter} counted {', '.join(lost)} as well, and no start register of it is given",
                "read it from the new meter; where that one counts it no more, record a removal and an installation",
            )
    before = standing.multiplier if standing is not None and draft.kind is WorkKind.EXCHANGED else Multiplier()
    starts = draft.start_wh or (draft.final_wh if draft.kind is WorkKind.MOVED else {})
    return Fitted(
        meter=new,
        point=draft.to_point or draft.point,
        channels=tuple(sorted(starts)),
        multiplier=before if draft.multiplier is None else draft.multiplier,
        start_registers_wh=tuple(starts[one] for one in sorted(starts)),
        seals=draft.seals,
    )
