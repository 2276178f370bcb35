"""One poll: what is asked, and what is remembered of a meter between polls. Floor: protocols; walk: reading.

Scalers do not change in a meter's life, so they are read once and kept for as long as the same serial number answers:
a poll is then one or two requests. Another serial number at the address makes everything forgotten.
"""

from collections import OrderedDict
from dataclasses import dataclass, field

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

METERS_KEPT = 150_000
"""Meters whose scalers are kept: more than the largest office has; each takes some 500 bytes."""


@dataclass(slots=True)
class _Known:
    """What one meter told and need not tell again."""

    serial: str | None
    profile: str
    scales: dict[str, ScalerUnit] = field(default_factory=dict)
    lacks: set[str] = field(default_factory=set)
    """Optional values that it does not have."""
    columns: dict[str, ScalerUnit] | None = None
    """What the columns of its load profile count in; None: they were not looked at."""


class Poller:
    """Polls meters over open associations."""

    def __init__(self) -> None:
        self._known: OrderedDict[MeterId, _Known] = OrderedDict()
        self._polls: dict[str, Poll] = {}

    async def read(self, target: MeterTarget, plan: DlmsPlan, talk: Conversation) -> MeterSnapshot:
        """Everything of the profile once; of a meter with another serial number that number alone."""
        poll = self._polls.get(plan.profile)
        if poll is None:
            poll = self._polls[plan.profile] = Poll(plan)
        results = await talk.get(poll.attributes)
        serial = serial_of(plan, results[0]) if plan.serial is not None else None
        if serial is not None and not _same(serial, target.serial):
            self._known.pop(target.meter, None)
            return MeterSnapshot(serial, None, None, {}, {}, {})
        known = self._known_of(target, plan, serial)
        await self._scale(known, plan.values, talk)
        return poll.snapshot(results, known.scales)

    async def read_relay(
        self, target: MeterTarget, plan: DlmsPlan, relay: RelayPlan, talk: Conversation
    ) -> RelayReading:
        """The contact and the load. Raises DlmsFault TQ-DM-86 when another meter answers."""
        power = next(value for value in plan.values if value.key == POWER)
        asked: list[AttributeDescriptor] = [] if plan.serial is None else [plan.serial]
        results: list[GetResult] = list(await talk.get([*asked, power.attribute, *relay_attributes(relay)]))
        serial = check_serial(target, plan, results.pop(0)) if asked else None
        known = self._known_of(target, plan, serial)
        await self._scale(known, (power,), talk)
        load_w = value_of(power, known.scales.get(POWER), results.pop(0))
        return relay_reading(relay, results, load_w)

    async def column_scales(self, target: MeterTarget, plan: DlmsPlan, talk: Conversation) -> dict[str, ScalerUnit]:
        """What the columns of the load profile count in, after its columns were compared once.

        The caller has proven who answers. Raises DlmsFault TQ-DM-64 when meter and profile differ.
        """
        known = self._known_of(target, plan, target.serial)
        if known.columns is None:
            await check_columns(plan, talk)
            scales = _Known(known.serial, known.profile)
            energies = () if plan.load_profile is None else tuple(plan.load_profile.energies.values())
            await self._scale(scales, energies, talk)
            known.columns = scales.scales
        return known.columns

    async def _scale(self, known: _Known, values: tuple[ValuePlan, ...], talk: Conversation) -> None:
        """Learn scalers that are not known yet."""
        for value in values:
            if value.scale is not None:
                known.scales[value.key] = value.scale
        missing = [value for value in values if value.key not in known.scales and value.key not in known.lacks]
        if not missing:
            return
        results = await talk.get([value.scaler_attribute for value in missing])
        for value, result in zip(missing, results, strict=True):
            scale = scale_of(value, result)
            if scale is None:
                known.lacks.add(value.key)
            else:
                known.scales[value.key] = scale

    def _known_of(self, target: MeterTarget, plan: DlmsPlan, serial: str | None) -> _Known:
        serial = None if serial is None else serial.strip()
        known = self._known.get(target.meter)
        if known is None or (known.serial, known.profile) != (serial, plan.profile):
            known = self._known[target.meter] = _Known(serial, plan.profile)
            if len(self._known) > METERS_KEPT:
                self._known.popitem(last=False)
        return known


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
