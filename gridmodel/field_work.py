"""Field work: what a fitter did to a meter, as a record, and the life of a meter that follows from it. Ground floor.

On the reading walk. The district owns what is installed where: an office records an installation, an exchange, a move,
a removal or a commissioning with the link lost, and it holds there at once. `gridmodel.field_merge` puts such records
into a registry, at the office and at the hub alike. A work is named before it is sent anywhere and never changes.

A work has parts, and its kind says which: a meter *taken* from a point with its final registers, a meter *fitted* to a
point with its start registers and seals, a *proof* that the right meter answers. Codes: TQ-FW-01 parts that do not fit
the kind, -02 a register, -03 a seal, -04 a photo, -05 a time or serial that cannot be.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from gridmodel.fault import Fault
from gridmodel.identity import MeterId, PersonId, UsagePointId, checked_id
from gridmodel.network import FAR_FUTURE, Installation, Meter
from gridmodel.quantity import REGISTER_WH_MAX, Multiplier
from gridmodel.reading import Channel
from gridmodel.registry import Registry

SEALS_MAX = 8
"""Terminal cover, meter cover, box, transformers of three phases: six, and two to spare."""
SEAL_LENGTH_MAX = 40
"""Characters of one seal's number."""
SERIAL_LENGTH_MAX = 64
PHOTO_BYTES_MAX = 8 * 1_048_576
"""A phone's picture has 2 to 6 MB; more is a film or a mistake."""
SHA256_HEX = 64


class FieldWorkFault(Fault):
    """A work that cannot be, or that the registry contradicts; nothing was recorded."""


def work_fault(number: int, what: str, hint: str) -> FieldWorkFault:
    """A FieldWorkFault TQ-FW-`number`."""
    return FieldWorkFault(f"TQ-FW-{number:02}", what, hint)


class WorkKind(StrEnum):
    """What was done."""

    REMOVED = "removed"
    MOVED = "moved"
    """One meter from one point of this node to another."""
    EXCHANGED = "exchanged"
    """Another meter at the same point."""
    INSTALLED = "installed"
    COMMISSIONED = "commissioned"
    """The meter was read, and its serial number is the one that was entered."""


_PARTS: Mapping[WorkKind, tuple[bool, bool, bool]] = {
    WorkKind.REMOVED: (True, False, False),
    WorkKind.MOVED: (True, True, False),
    WorkKind.EXCHANGED: (True, True, False),
    WorkKind.INSTALLED: (False, True, False),
    WorkKind.COMMISSIONED: (False, False, True),
}
"""Whether a work has (taken, fitted, proof)."""


@dataclass(frozen=True, slots=True)
class Photo:
    """A picture of the meter's face; its bytes stay at the office as a file named by the digest."""

    sha256: str
    """Hexadecimal."""
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Taken:
    """A meter left a point."""

    meter: MeterId
    point: str
    final_registers_wh: tuple[int, ...]
    """The meter's own registers, in the order of the channels of its stay; empty when it no longer showed any."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A meter came to a point."""

    meter: Meter
    point: str
    channels: tuple[Channel, ...]
    multiplier: Multiplier
    start_registers_wh: tuple[int, ...]
    """The meter's own registers, in the order of `channels`."""
    seals: tuple[str, ...]
    """Numbers of the seals that were put on."""


@dataclass(frozen=True, slots=True)
class Proof:
    """Which meter answered at the address."""

    meter: MeterId
    serial: str
    """As it told it; the very one that was entered."""
    read_at: int


@dataclass(frozen=True, slots=True)
class FieldWork:
    """One work at one time by one person."""

    id: str
    kind: WorkKind
    at: int
    """When it was done, UTC seconds."""
    by: PersonId
    """Who recorded it."""
    recorded_at: int
    taken: Taken | None = None
    fitted: Fitted | None = None
    proof: Proof | None = None
    photo: Photo | None = None

    def __post_init__(self) -> None:
        _check(self)

    @property
    def meter(self) -> MeterId:
        """The meter it is about: the new one of an exchange."""
        if self.fitted is not None:
            return self.fitted.meter.id
        part = self.taken or self.proof
        if part is None:
            raise ValueError("a work without parts")
        return part.meter

    @property
    def point(self) -> str | None:
        """The point it is about: the new one of a move; None of a commissioning."""
        part = self.fitted or self.taken
        return None if part is None else part.point


class LifeState(StrEnum):
    """How far a meter's life has come."""

    STOCK = "stock"
    """Known, and nowhere yet."""
    INSTALLED = "installed"
    """At a point; polled, and not yet proven to be the right one: its relay is not moved from here."""
    COMMISSIONED = "commissioned"
    """Proven by reading it, or vouched for by the centre."""
    LINKED = "linked"
    """Its point hangs on a transformer: its energy has a place."""
    CONTROLLABLE = "controllable"
    """And its relay may be moved from here."""
    REMOVED = "removed"


class LifeStep(StrEnum):
    """What moves a meter's life."""

    FIT = "fit"
    PROVE = "prove"
    LINK = "link"
    ALLOW = "allow"
    """The office lets relays of its model be moved."""
    TAKE = "take"


_S, _L = LifeState, LifeStep
LIFE_TABLE: dict[LifeState, dict[LifeStep, LifeState]] = {
    _S.STOCK: {_L.FIT: _S.INSTALLED},
    _S.INSTALLED: {_L.PROVE: _S.COMMISSIONED, _L.TAKE: _S.REMOVED},
    _S.COMMISSIONED: {_L.LINK: _S.LINKED, _L.TAKE: _S.REMOVED},
    _S.LINKED: {_L.ALLOW: _S.CONTROLLABLE, _L.TAKE: _S.REMOVED},
    _S.CONTROLLABLE: {_L.TAKE: _S.REMOVED},
    _S.REMOVED: {_L.FIT: _S.INSTALLED},
}
"""Everything that moves a life; a missing key is the error. A removed meter may be fitted again."""


def life_of(registry: Registry, stays: Iterable[Installation], at: int, *, may_control: bool) -> LifeState:
    """How far the life of a meter of the registry has come at `at`, from all its stays; one covers (from, to].

    `may_control` says whether its model has a relay and the office lets it be moved.
    """
    state = LifeState.STOCK
    for stay in sorted(stays, key=lambda one: one.valid_from):
        if stay.valid_from < at:
            state = LIFE_TABLE[state][LifeStep.FIT]
            for step in _steps(registry, stay, at, may_control=may_control):
                state = LIFE_TABLE[state][step]
    return state


def _steps(registry: Registry, stay: Installation, at: int, *, may_control: bool) -> list[LifeStep]:
    if stay.valid_to < at:
        return [LifeStep.TAKE]
    if stay.unproven:
        return []
    topology = registry.topology(at)
    linked = UsagePointId(stay.point) in topology.transformer_of or stay.point in registry.supply_point
    if not linked:
        return [LifeStep.PROVE]
    return [LifeStep.PROVE, LifeStep.LINK, *((LifeStep.ALLOW,) if may_control else ())]


def _check(work: FieldWork) -> None:
    """Raise FieldWorkFault or IdentityFault for what cannot be, whatever the registry says."""
    taken, fitted, proof = work.taken, work.fitted, work.proof
    checked_id("work", work.id)
    checked_id("person", work.by)
    if (taken is not None, fitted is not None, proof is not None) != _PARTS[work.kind]:
        raise work_fault(1, f"the parts of work {work.id} are not those of one {work.kind}", "report this fault")
    if not (0 <= work.at <= work.recorded_at < FAR_FUTURE):
        raise work_fault(5, f"work {work.id} was recorded before it was done", "mend the time of the work")
    if taken is not None:
        _check_taken(taken)
    if fitted is not None:
        _check_fitted(fitted)
    if proof is not None:
        checked_id("meter", proof.meter)
        _check_serial(proof.serial)
    if taken is not None and fitted is not None:
        _check_both(work.kind, taken, fitted)
    if work.kind is WorkKind.EXCHANGED and (work.photo is None or not taken or not taken.final_registers_wh):
        raise work_fault(
            4, "an exchange without a photo or final registers proves nothing", "photograph the old meter's display"
        )
    if work.photo is not None:
        _check_photo(work.photo)


def _check_both(kind: WorkKind, taken: Taken, fitted: Fitted) -> None:
    same = (taken.meter == fitted.meter.id, taken.point == fitted.point)
    if same != ((True, False) if kind is WorkKind.MOVED else (False, True)):
        raise work_fault(
            1,
            f"{taken.meter} at {taken.point} and {fitted.meter.id} at {fitted.point} are no {kind}",
            "an exchange brings another meter to the same point, a move the same meter to another point",
        )


def _check_taken(taken: Taken) -> None:
    checked_id("meter", taken.meter)
    checked_id("point", taken.point)
    _check_registers(taken.final_registers_wh)


def _check_fitted(fitted: Fitted) -> None:
    for kind, name in (("meter", fitted.meter.id), ("profile", fitted.meter.profile), ("point", fitted.point)):
        checked_id(kind, name)
    _check_serial(fitted.meter.serial)
    _check_registers(fitted.start_registers_wh)
    if not fitted.channels or len(set(fitted.channels)) != len(fitted.channels):
        raise work_fault(2, f"{fitted.meter.id} counts no channel, or one twice", "name each channel once")
    if len(fitted.start_registers_wh) != len(fitted.channels):
        raise work_fault(
            2,
            f"{len(fitted.start_registers_wh)} start registers for {len(fitted.channels)} channels",
            "read each channel of the new meter's display",
        )
    if not 1 <= len(fitted.seals) <= SEALS_MAX:
        raise work_fault(3, f"{len(fitted.seals)} seals", f"give the numbers of 1 to {SEALS_MAX} seals")
    for seal in fitted.seals:
        if not seal.strip() or len(seal) > SEAL_LENGTH_MAX or not seal.isprintable():
            raise work_fault(3, f"{seal!r:.60} is no seal's number", f"at most {SEAL_LENGTH_MAX} characters")


def _check_serial(serial: str) -> None:
    if not serial.strip() or len(serial) > SERIAL_LENGTH_MAX or not serial.isprintable():
        raise work_fault(5, f"{serial!r:.80} is no serial number", "copy it from the meter's face")


def _check_registers(registers_wh: tuple[int, ...]) -> None:
    for register_wh in registers_wh:
        if not 0 <= register_wh <= REGISTER_WH_MAX:
            raise work_fault(2, f"{register_wh} Wh is no register", "write the display in kWh, no sign")


def _check_photo(photo: Photo) -> None:
    if len(photo.sha256) != SHA256_HEX or not set(photo.sha256) <= set("0123456789abcdef"):
        raise work_fault(4, "the photo's digest is no SHA-256 in hexadecimal", "report this fault")
    if not 0 < photo.size_bytes <= PHOTO_BYTES_MAX:
        raise work_fault(
            4, f"the photo has {photo.size_bytes} bytes", f"at most {PHOTO_BYTES_MAX}: take it with less resolution"
        )
