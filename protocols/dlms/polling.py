"""One poll: what is asked, and what is remembered of a meter between polls. Floor: protocols; walk: reading.

Scalers do not change in a meter's life, so they are read once and kept for as long as the same serial number answers:
a poll is then one or two requests. Another serial number at the address makes everything forgotten.
"""

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace

from gridmodel.identity import MeterId
from protocols.dlms.apdu.parts import AttributeDescriptor, GetResult
from protocols.dlms.conversation import Conversation
from protocols.dlms.cosem import ScalerUnit
from protocols.dlms.faults import remote_fault
from protocols.dlms.intervals import check_columns
from protocols.dlms.section import POWER, DlmsPlan, RelayPlan, ValuePlan
from protocols.dlms.values import Poll, relay_attributes, relay_reading, scale_of, serial_of, value_of
from protocols.driver import MeterSnapshot, MeterTarget, RelayReading
from protocols.errors import Hope

METERS_KEPT = 1_000_000
"""Meters of which something is remembered: a whole region; each takes some 200 bytes."""


@dataclass(frozen=True, slots=True)
class _Told:
    """What a meter told about itself and need not tell again. Meters of one model mostly share it."""

    profile: str
    scales: Mapping[str, ScalerUnit]
    lacks: frozenset[str] = frozenset()
    """Optional values that it does not have."""
    columns: Mapping[str, ScalerUnit] | None = None
    """What the columns of its load profile count in; None: they were not looked at."""

    @property
    def content(self) -> Hashable:
        """Equal where two are the same."""
        columns = None if self.columns is None else tuple(sorted(self.columns.items()))
        return self.profile, tuple(sorted(self.scales.items())), self.lacks, columns


class Poller:
    """Polls meters over open associations."""

    def __init__(self) -> None:
        self._known: OrderedDict[MeterId, tuple[str | None, int]] = OrderedDict()
        """Serial number, and the number of what was told. Plain tuples on purpose: the garbage collector forgets those,
        while as many objects would make it stop the loop for longer than 20 ms."""
        self._told: list[_Told] = []
        self._numbers: dict[Hashable, int] = {}
        self._polls: dict[str, Poll] = {}

    async def read(self, target: MeterTarget, plan: DlmsPlan, talk: Conversation) -> MeterSnapshot:
        """Everything of the profile once; of a meter with another serial number that number alone.

        Raises DlmsFault TQ-DM-86 when none is told where the profile has one and the target, too.
        """
        poll = self._polls.get(plan.profile)
        if poll is None:
            poll = self._polls[plan.profile] = Poll(plan)
        results = await talk.get(poll.attributes)
        serial = serial_of(plan, results[0]) if plan.serial is not None else None
        if serial is None and plan.serial is not None and target.serial.strip():
            check_serial(target, plan, results[0])  # it raises: nobody has said who answers
        if serial is not None and not _same(serial, target.serial):
            self._known.pop(target.meter, None)
            return MeterSnapshot(serial, None, None, {}, {}, {})
        told = await self._scaled(target, self._told_by(target, plan, serial), serial, plan.values, talk)
        return poll.snapshot(results, told.scales)

    async def read_relay(
        self, target: MeterTarget, plan: DlmsPlan, relay: RelayPlan, talk: Conversation
    ) -> RelayReading:
        """The contact and the load. Raises DlmsFault TQ-DM-86 when another meter answers."""
        power = next(value for value in plan.values if value.key == POWER)
        asked: list[AttributeDescriptor] = [] if plan.serial is None else [plan.serial]
        results: list[GetResult] = list(await talk.get([*asked, power.attribute, *relay_attributes(relay)]))
        serial = check_serial(target, plan, results.pop(0)) if asked else None
        told = await self._scaled(target, self._told_by(target, plan, serial), serial, (power,), talk)
        load_w = value_of(power, told.scales.get(POWER), results.pop(0))
        return relay_reading(relay, results, load_w)

    async def column_scales(self, target: MeterTarget, plan: DlmsPlan, talk: Conversation) -> Mapping[str, ScalerUnit]:
        """What the columns of the load profile count in, after its columns were compared once.

        The caller has proven who answers. Raises DlmsFault TQ-DM-64 when meter and profile differ.
        """
        told = self._told_by(target, plan, target.serial)
        if told.columns is None:
            await check_columns(plan, talk)
            energies = () if plan.load_profile is None else tuple(plan.load_profile.energies.values())
            scales, _ = await _scales_of(_Told(plan.profile, {}), energies, talk)
            told = replace(told, columns=scales)
            self._remember(target, target.serial, told)
        return told.columns or {}

    async def _scaled(
        self, target: MeterTarget, told: _Told, serial: str | None, values: tuple[ValuePlan, ...], talk: Conversation
    ) -> _Told:
        """With the scalers of these values, which are asked for where they are not known yet."""
        if all(value.key in told.scales or value.key in told.lacks for value in values):
            return told
        scales, lacks = await _scales_of(told, values, talk)
        told = replace(told, scales=scales, lacks=lacks)
        self._remember(target, serial, told)
        return told

    def _told_by(self, target: MeterTarget, plan: DlmsPlan, serial: str | None) -> _Told:
        """What is known of whoever has that serial number; nothing for another one, or under another profile."""
        known = self._known.get(target.meter)
        told = None if known is None or known[0] != _plain(serial) else self._told[known[1]]
        return _Told(plan.profile, {}) if told is None or told.profile != plan.profile else told

    def _remember(self, target: MeterTarget, serial: str | None, told: _Told) -> None:
        number = self._numbers.setdefault(told.content, len(self._told))
        if number == len(self._told):
            self._told.append(told)
        self._known[target.meter] = (_plain(serial), number)
        if len(self._known) > METERS_KEPT:
            self._known.popitem(last=False)


async def _scales_of(
    told: _Told, values: tuple[ValuePlan, ...], talk: Conversation
) -> tuple[dict[str, ScalerUnit], frozenset[str]]:
    """What is known and what these values add, the profile's own scalers among them; what the meter lacks."""
    scales, lacks = dict(told.scales), set(told.lacks)
    scales.update((value.key, value.scale) for value in values if value.scale is not None)
    missing = [value for value in values if value.key not in scales and value.key not in lacks]
    results = await talk.get([value.scaler_attribute for value in missing]) if missing else ()
    for value, result in zip(missing, results, strict=True):
        scale = scale_of(value, result)
        if scale is None:
            lacks.add(value.key)
        else:
            scales[value.key] = scale
    return scales, frozenset(lacks)


def _plain(serial: str | None) -> str | None:
    return None if serial is None else serial.strip()


def check_serial(target: MeterTarget, plan: DlmsPlan, result: GetResult) -> str:
    """The serial number, which must be the target's. Raises DlmsFault TQ-DM-86, and 50, 60 as `serial_of`."""
    serial = serial_of(plan, result)
    if serial is None or not target.serial.strip() or not _same(serial, target.serial):
        raise remote_fault(
            "TQ-DM-86",
            f"{serial!r:.40} answered at {target.address} instead of {target.serial!r:.40}",
            "nothing was sent or booked: correct address or serial number in the registry",
            Hope.PERMANENT,
        )
    return serial


def _same(told: str, expected: str) -> bool:
    """Whether a poll may go on: a target without a serial number (a probe) takes anybody."""
    return not expected.strip() or told.strip() == expected.strip()
