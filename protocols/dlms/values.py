"""From a meter's answers to values of ours, by the plan of its profile. Floor: protocols; walk: reading.

Nothing is guessed: an attribute that the meter refuses, a unit other than the profile's, a type that is no number, is a
`DlmsFault` for that meter. "No value at the moment" (null data, a number that the profile calls null) is None.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from gridmodel.quantity import WHOLE_WH, Resolution
from gridmodel.reading import Channel
from protocols.dlms.apdu.parts import AccessResult, AttributeDescriptor, GetResult
from protocols.dlms.cosem import (
    ControlState,
    DisconnectControl,
    ScalerUnit,
    clock_time,
    control_state,
    number,
    output_state,
    scaler_unit,
    text,
)
from protocols.dlms.cosem_time import DOUBTFUL, INVALID, CosemTime
from protocols.dlms.data import Data, Tag
from protocols.dlms.faults import DlmsFault, remote_fault
from protocols.dlms.section import POWER, ClockPlan, DlmsPlan, RelayPlan, ValuePlan, write_name
from protocols.driver import MeterSnapshot, RelayContact, RelayReading
from protocols.errors import Hope

VALUE_MAX = 2**53
"""Of any value in its base unit: beyond it is a register gone wrong, which no store of ours can hold."""
_ABSENT = frozenset({AccessResult.OBJECT_UNDEFINED, AccessResult.OBJECT_UNAVAILABLE})
_PASSING = frozenset({AccessResult.TEMPORARY_FAILURE, AccessResult.DATA_BLOCK_UNAVAILABLE})
_FLOAT_BITS = {int(Tag.FLOAT32): 24, int(Tag.FLOAT64): 53}
_NOTHING = frozenset((int(Tag.NULL), int(Tag.DONT_CARE)))

Scales = Mapping[str, ScalerUnit]
"""What each value counts in, by key; a value that is absent in this meter has none."""


def refused(attribute: AttributeDescriptor, why: AccessResult) -> DlmsFault:
    """TQ-DM-50: the meter does not give an attribute."""
    return remote_fault(
        "TQ-DM-50",
        f"the meter does not give {write_name(attribute)}: {why.name.lower()}",
        "compare the profile with the meter's object list, and the client's rights with the meter's setup",
        Hope.RETRY if why in _PASSING else Hope.PERMANENT,
    )


def data_of(attribute: AttributeDescriptor, result: GetResult) -> Data:
    """The value of a GET, or the fault TQ-DM-50."""
    if isinstance(result, AccessResult):
        raise refused(attribute, result)
    return result


def scale_of(plan: ValuePlan, result: GetResult) -> ScalerUnit | None:
    """What the meter says it counts in; None for an optional value that it lacks.

    Raises:
        DlmsFault: TQ-DM-50 refused, 60 no scaler and unit, 63 another unit than the profile's.

    """
    if plan.optional and result in _ABSENT:
        return None
    told = scaler_unit(data_of(plan.scaler_attribute, result))
    if told.unit != plan.unit:
        raise remote_fault(
            "TQ-DM-63",
            f"{write_name(plan.attribute)} counts in unit {told.unit}, the profile says {plan.unit}",
            "nothing was booked: check class and OBIS code in the meter's profile",
            Hope.PERMANENT,
        )
    told.whole(0)
    return told


def value_of(plan: ValuePlan, scale: ScalerUnit | None, result: GetResult) -> int | None:
    """The value in Wh, varh, W, mV, mA or mHz, rounded down; None where there is none.

    Raises:
        DlmsFault: TQ-DM-50 refused, 60 no number, 61 a scaler beyond reason.

    """
    if plan.optional and (scale is None or result in _ABSENT):
        return None
    told = number(data_of(plan.attribute, result))
    if told is None or scale is None or told in plan.nulls or not math.isfinite(told):
        return None
    if plan.multiplier == 1:
        whole = scale.whole(told)
    else:
        whole = scale.whole(told * plan.multiplier.numerator) // plan.multiplier.denominator
    return whole if abs(whole) <= VALUE_MAX else None


def resolution_of(plan: ValuePlan, scale: ScalerUnit, tag: int = Tag.DOUBLE_LONG_UNSIGNED) -> Resolution:
    """How fine an energy register is that counts in `scale` and is told as a number of that type."""
    if scale.scaler <= 0 and tag not in _FLOAT_BITS and plan.multiplier == 1:
        return WHOLE_WH
    return Resolution.of(scale.one * plan.multiplier, _FLOAT_BITS.get(tag, 0))


@dataclass(frozen=True, slots=True)
class Poll:
    """What is asked in one poll, in order; the answers are taken apart by the same object."""

    plan: DlmsPlan
    attributes: tuple[AttributeDescriptor, ...] = field(init=False)

    def __post_init__(self) -> None:
        plan = self.plan
        asked = [plan.serial] if plan.serial is not None else []
        if plan.clock is not None:
            asked.append(AttributeDescriptor(8, plan.clock.obis, 2))
        asked += [value.attribute for value in plan.values]
        if plan.relay is not None:
            asked += relay_attributes(plan.relay)
        object.__setattr__(self, "attributes", tuple(asked))

    def snapshot(self, results: tuple[GetResult, ...], scales: Scales) -> MeterSnapshot:
        """The port's snapshot. Raises DlmsFault as the functions of this module."""
        plan, at = self.plan, iter(zip(self.attributes, results, strict=True))
        serial = serial_of(plan, next(at)[1]) if plan.serial is not None else None
        time = None if plan.clock is None else clock_of(plan, plan.clock, *next(at))[0]
        values: dict[str, int | None] = {}
        raw: dict[str, str] = {}
        resolutions: dict[Channel, Resolution] = {}
        for value in plan.values:
            _, result = next(at)
            scale = scales.get(value.key)
            values[value.key] = value_of(value, scale, result)
            raw[value.key] = result.encode().hex() if isinstance(result, Data) else ""
            if scale is not None and value.key in plan.channels and isinstance(result, Data):
                resolutions[plan.channels[value.key]] = resolution_of(value, scale, result.tag)
        relay = None
        if plan.relay is not None:
            relay = relay_reading(plan.relay, [one for _, one in at], values[POWER])
        return MeterSnapshot(
            serial=serial,
            meter_time=time,
            relay=relay,
            registers={channel: values[key] for key, channel in plan.channels.items()},
            measurements={key: value for key, value in values.items() if key not in plan.channels},
            raw=raw,
            places=plan.places,
            resolutions=resolutions,
        )


def serial_of(plan: DlmsPlan, result: GetResult) -> str | None:
    """The serial number as the plate shows it; None when the meter has none.

    Raises:
        DlmsFault: TQ-DM-50 refused, 60 no name, 86 a name without the prefix of this model.

    """
    if plan.serial is None:
        return None
    data = data_of(plan.serial, result)
    if data.tag in _NOTHING:
        return None
    told = text(data)
    if not told.startswith(plan.serial_prefix):
        raise remote_fault(
            "TQ-DM-86",
            f"a meter called {told!r:.40} answers, whose name does not begin with {plan.serial_prefix!r}",
            "another model stands at this address: correct profile or registry",
            Hope.PERMANENT,
        )
    return told.removeprefix(plan.serial_prefix) or None


def clock_of(
    plan: DlmsPlan, clock: ClockPlan, attribute: AttributeDescriptor, result: GetResult
) -> tuple[int | None, bool]:
    """The clock in UTC seconds, and whether the meter itself doubts it. Raises DlmsFault TQ-DM-50, 60, 02."""
    time = clock_time(data_of(attribute, result))
    return (None, True) if time is None else (utc_of(plan, clock, time), doubted(time))


def utc_of(plan: DlmsPlan, clock: ClockPlan, time: CosemTime) -> int:
    """A meter's time in UTC seconds, with the quirks of its profile."""
    return time.utc(clock.offset_min, reversed_sign=plan.quirks.deviation_reversed)


def doubted(time: CosemTime) -> bool:
    """Whether the meter marks the time as invalid or doubtful."""
    return time.status is not None and bool(time.status & (INVALID | DOUBTFUL))


def relay_attributes(relay: RelayPlan) -> list[AttributeDescriptor]:
    """What tells a relay's contact."""
    view = DisconnectControl(relay.obis)
    return [view.attribute(DisconnectControl.OUTPUT_STATE), view.attribute(DisconnectControl.CONTROL_STATE)]


def relay_reading(relay: RelayPlan, results: list[GetResult], load_w: int | None) -> RelayReading:
    """The contact out of output_state and control_state. Null data is UNKNOWN.

    A contact that is closed while the control state says disconnected is closed: whoever takes energy is connected.

    Raises:
        DlmsFault: TQ-DM-50 refused, 60 no state.

    """
    output, state = (data_of(one, result) for one, result in zip(relay_attributes(relay), results, strict=True))
    if output.tag in _NOTHING or state.tag in _NOTHING:
        return RelayReading(RelayContact.UNKNOWN, load_w)
    told = control_state(state)
    closed = output_state(output) if relay.by_output else told is ControlState.CONNECTED
    if closed:
        return RelayReading(RelayContact.CLOSED, load_w)
    ready = told is ControlState.READY_FOR_RECONNECTION
    return RelayReading(RelayContact.READY if ready else RelayContact.OPEN, load_w)
