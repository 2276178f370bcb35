"""Putting field works into a registry: the same at the office and at the hub. Pure. Ground floor; reading walk.

`merged` is a function of the registry and the *set* of works: in whatever order they arrived, and however often, the
outcome is one. Works are gone through in the order of their own times. Of each it tells whether the registry held it
already (*included*), holds it now (*applied*), or contradicts it (*refused*, with a named reason; nothing of it is
applied). So a version that comes down with an office's own work in it changes nothing there.

A stay is never guessed: a meter is taken from where it stands, fitted where nothing stands, and only after everything
that is on record for it and for the point. Whoever has papers to enter enters the earlier ones first.

Codes: TQ-FW-10 one id with two contents, -11 no such point, -12 no such meter there, -13 another meter stands there,
-14 the meter stands elsewhere, -15 known with another serial number or model, -16 a later record is in the way, -17
registers that do not fit the channels, -18 another serial number was read, -19 on record with other registers, channels
or another multiplier.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TypeVar

from gridmodel.field_work import FieldWork, FieldWorkFault, Fitted, Proof, Taken, WorkKind, work_fault
from gridmodel.identity import MeterId, SupplyPointId, UsagePointId
from gridmodel.network import FAR_FUTURE, Installation, Meter
from gridmodel.reading import Channel
from gridmodel.registry import Registry

_ORDER = {kind: place for place, kind in enumerate(WorkKind)}
"""Of works in one second: what takes comes before what fits, and proofs come last."""
K = TypeVar("K", MeterId, str)


class WorkState(StrEnum):
    """What became of a work."""

    INCLUDED = "included"
    """The registry held it already."""
    APPLIED = "applied"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one work, and why it was refused if it was."""

    state: WorkState
    fault: FieldWorkFault | None = None


_INCLUDED, _APPLIED = Outcome(WorkState.INCLUDED), Outcome(WorkState.APPLIED)
"""One object for all of them."""


@dataclass(frozen=True, slots=True)
class Merged:
    """A registry with works in it."""

    registry: Registry
    """`works` says how many were looked at; the version is the one that was given."""
    outcomes: Mapping[str, Outcome]
    """By the work's id."""

    @property
    def applied(self) -> tuple[str, ...]:
        """Ids of those that changed something."""
        return tuple(sorted(name for name, one in self.outcomes.items() if one.state is WorkState.APPLIED))


def merged(registry: Registry, works: Iterable[FieldWork], included: int = 0) -> Merged:
    """`registry` with every work that it does not contradict. Heavy for a large one: a task for `compute`.

    `included` says how many others are known to be in it: they change nothing, and are counted.
    """
    by_id: dict[str, FieldWork] = {}
    two: set[str] = set()
    for work in works:
        if by_id.setdefault(work.id, work) != work:
            two.add(work.id)
    outcomes: dict[str, Outcome] = {}
    stays = _Stays(registry)
    for work in sorted(by_id.values(), key=lambda one: (one.at, _ORDER[one.kind], one.id)):
        outcomes[work.id] = _conflict(work.id) if work.id in two else stays.put(work)
    return Merged(stays.registry(included + len(by_id)), outcomes)


def _conflict(work: str) -> Outcome:
    return Outcome(
        WorkState.REFUSED,
        work_fault(10, f"work {work} came with two contents", "neither counts; record the true one anew"),
    )


@dataclass
class _Stays:
    """The installations and meters of a registry while works are put in."""

    _registry: Registry
    _at_point: dict[str, list[Installation]] = field(default_factory=dict)
    _of_meter: dict[MeterId, list[Installation]] = field(default_factory=dict)
    _meters: dict[MeterId, Meter] = field(default_factory=dict)
    _changed: bool = False

    def __post_init__(self) -> None:
        self._meters = {one.id: one for one in self._registry.meters}
        for one in self._registry.installations:
            self._add(one)

    def registry(self, works: int) -> Registry:
        """The registry that came of it; meters and stays in a fixed order where anything was changed."""
        if not self._changed:
            return replace(self._registry, works=works) if works else self._registry
        stays = [one for of_point in self._at_point.values() for one in of_point]
        return replace(
            self._registry,
            meters=tuple(sorted(self._meters.values(), key=lambda one: one.id)),
            installations=tuple(sorted(stays, key=lambda one: (one.point, one.valid_from, one.meter))),
            works=works,
        )

    def put(self, work: FieldWork) -> Outcome:
        """All of it or nothing."""
        try:
            old = None if work.taken is None else self._to_take(work.taken, work.at)
            new = None if work.fitted is None else self._to_fit(work.fitted, work.at, old)
            proven = None if work.proof is None else self._to_prove(work.proof)
        except FieldWorkFault as fault:
            return Outcome(WorkState.REFUSED, fault)
        held = (old is None or old == self._taken(old, work)) and new is None and proven is None
        if held:
            return _INCLUDED
        if old is not None:
            self._replace(old, self._taken(old, work))
        if new is not None and work.fitted is not None:
            known = self._stay_from(work.fitted, work.at)
            self._add(new) if known is None else self._replace(known, new)
            if known is None:
                self._meters[new.meter] = work.fitted.meter
        if proven is not None:
            self._replace(proven, replace(proven, unproven=False))
        self._changed = True
        return _APPLIED

    def _to_take(self, taken: Taken, at: int) -> Installation:
        """The stay that ends."""
        stays = [one for one in self._at_point.get(taken.point, ()) if one.meter == taken.meter]
        for one in stays:
            if one.valid_to == at:
                _check_finals(taken, one)
                told = one.final_registers_wh
                if told and taken.final_registers_wh and told != taken.final_registers_wh:
                    raise _other(f"final registers of {taken.meter}", _wh(told), _wh(taken.final_registers_wh))
                return one
        standing = [one for one in stays if one.valid_from < at < one.valid_to]
        if not standing:
            raise work_fault(
                12,
                f"meter {taken.meter} did not stand at {taken.point} then",
                "check meter, point and time; enter earlier works first",
            )
        if standing[0].valid_to != FAR_FUTURE:
            raise work_fault(
                16, f"the stay of {taken.meter} at {taken.point} has another end on record", "check the time"
            )
        _check_finals(taken, standing[0])
        return standing[0]

    def _taken(self, old: Installation, work: FieldWork) -> Installation:
        told = () if work.taken is None else work.taken.final_registers_wh
        return replace(old, valid_to=work.at, final_registers_wh=old.final_registers_wh or told)

    def _to_fit(self, fitted: Fitted, at: int, leaving: Installation | None) -> Installation | None:
        """The stay that begins; None when it is on record as it is."""
        registry, meter, point = self._registry, fitted.meter, fitted.point
        if UsagePointId(point) not in registry.usage_point and SupplyPointId(point) not in registry.supply_point:
            raise work_fault(
                11,
                f"there is no point {point} in this node's registry",
                "check its number; a point of another node, or a new one, comes from the centre first",
            )
        self._check_meter(meter)
        known = self._stay_from(fitted, at)
        if known is not None:
            starts = _starts(fitted, known)
            return None if known.start_registers_wh else replace(known, start_registers_wh=starts)
        for one in self._at_point.get(point, ()):
            if one is not leaving and one.valid_to > at:
                raise _in_the_way(one, at, 13, f"meter {one.meter} stands at {point}", "record an exchange or removal")
        for one in self._of_meter.get(meter.id, ()):
            if one is not leaving and one.valid_to > at:
                raise _in_the_way(one, at, 14, f"meter {meter.id} stands at {one.point}", "record its removal or move")
        return Installation(
            meter=meter.id,
            point=point,
            channels=fitted.channels,
            multiplier=fitted.multiplier,
            valid_from=at,
            start_registers_wh=fitted.start_registers_wh,
            unproven=True,
        )

    def _check_meter(self, meter: Meter) -> None:
        known = self._meters.get(meter.id)
        if known is None:
            return
        if (known.serial.strip(), known.profile) != (meter.serial.strip(), meter.profile):
            raise work_fault(
                15,
                f"meter {meter.id} is known as {known.profile} with serial number {known.serial:.64}",
                "check what is printed on it; another meter needs another id",
            )

    def _to_prove(self, proof: Proof) -> Installation | None:
        """The stay that is proven; None when it is so on record."""
        stays = [one for one in self._of_meter.get(proof.meter, ()) if one.valid_from <= proof.read_at <= one.valid_to]
        if not stays:
            raise work_fault(12, f"meter {proof.meter} stood nowhere then", "record its installation first")
        known = self._meters[proof.meter]
        if known.serial.strip() != proof.serial.strip():
            raise work_fault(
                18,
                f"{proof.serial!r:.64} answered instead of {known.serial!r:.64}",
                "look whether the right meter hangs there, and at its address",
            )
        latest = max(stays, key=lambda one: one.valid_from)
        return latest if latest.unproven else None

    def _stay_from(self, fitted: Fitted, at: int) -> Installation | None:
        for one in self._at_point.get(fitted.point, ()):
            if one.meter == fitted.meter.id and one.valid_from == at:
                return one
        return None

    def _add(self, stay: Installation) -> None:
        self._at_point.setdefault(stay.point, []).append(stay)
        self._of_meter.setdefault(stay.meter, []).append(stay)

    def _replace(self, old: Installation, new: Installation) -> None:
        for stays in (self._at_point[old.point], self._of_meter[old.meter]):
            stays[stays.index(old)] = new


def _check_finals(taken: Taken, stay: Installation) -> None:
    if taken.final_registers_wh and len(taken.final_registers_wh) != len(stay.channels):
        raise work_fault(
            17,
            f"{len(taken.final_registers_wh)} final registers, {taken.meter} counts {len(stay.channels)}",
            f"give one for each of {_names(stay.channels)}",
        )


def _starts(fitted: Fitted, known: Installation) -> tuple[int, ...]:
    """The start registers in the order of the stay on record; raises TQ-FW-19 where it says something else."""
    told = dict(zip(fitted.channels, fitted.start_registers_wh, strict=True))
    if told.keys() != set(known.channels):
        raise _other(f"channels of {known.meter}", _names(known.channels), _names(fitted.channels))
    on_record, given = known.multiplier, fitted.multiplier
    if on_record.numerator * given.denominator != given.numerator * on_record.denominator:
        raise _other(
            f"multiplier of {known.meter}",
            f"{on_record.numerator}/{on_record.denominator}",
            f"{given.numerator}/{given.denominator}",
        )
    starts = tuple(told[channel] for channel in known.channels)
    if known.start_registers_wh and known.start_registers_wh != starts:
        raise _other(f"start registers of {known.meter}", _wh(known.start_registers_wh), _wh(starts))
    return starts


def _other(what: str, known: str, told: str) -> FieldWorkFault:
    return work_fault(
        19, f"{what}: {known} on record, {told} told", "find out which is true; the centre mends the registry"
    )


def _wh(registers_wh: Iterable[int]) -> str:
    return " and ".join(f"{one} Wh" for one in registers_wh)


def _names(channels: Iterable[Channel]) -> str:
    return ", ".join(one.name.lower() for one in channels)


def _in_the_way(stay: Installation, at: int, number: int, what: str, hint: str) -> FieldWorkFault:
    if stay.valid_from > at:
        return work_fault(16, f"{what} from a later time on", "enter works in the order in which they were done")
    return work_fault(number, what, hint)
