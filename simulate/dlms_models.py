"""A simulated meter's shape out of a DLMS meter profile: what a driver with it expects to find. Floor: simulate.

So a fleet serves the very model that an engineer has just described, and a rehearsal reads it with its own profile.
"""

from gridmodel.reading import Channel
from protocols.dlms.cosem import Unit
from protocols.dlms.data import Tag
from protocols.dlms.obis import DAILY_PROFILE, LOAD_PROFILE, Obis
from protocols.dlms.section import DlmsPlan, EventLogPlan, LoadProfilePlan, ValuePlan, dlms_plan
from protocols.driver import MeterEventKind, ProfileValues
from protocols.profile import MeterProfile, load_profiles
from simulate.dlms_shapes import EXPORT, IMPORT, POWER, SHAPES, EventCodes, EventLogShape, MeterShape, RegisterShape
from simulate.fleet import FleetFault

_SHOWN = {Channel.IMPORT: IMPORT, Channel.EXPORT: EXPORT}
_PHASES = frozenset(f"{what}_l{n}_{unit}" for what, unit in (("voltage", "mv"), ("current", "ma")) for n in (1, 2, 3))
_MEASURED = _PHASES | {POWER, "frequency_mhz"}
_FORMS = {
    Unit.WH: (Tag.DOUBLE_LONG_UNSIGNED, 0),
    Unit.W: (Tag.DOUBLE_LONG_UNSIGNED, 0),
    Unit.V: (Tag.LONG_UNSIGNED, -1),
    Unit.A: (Tag.LONG_UNSIGNED, -2),
    Unit.HZ: (Tag.LONG_UNSIGNED, -2),
}
"""Type and scaler of a register that the profile leaves to the meter, by unit."""
_CODE = Obis(0, 0, 96, 11, 0)


def shape_named(name: str) -> MeterShape:
    """One of the shipped shapes, or that of a DLMS meter profile. Raises FleetFault TQ-SM-23, ProfileFault."""
    known = SHAPES.get(name)
    if known is not None:
        return known
    profiles = load_profiles()
    found = profiles.get(name)
    if found is None or found.protocol != "dlms":
        names = [*SHAPES, *sorted(one.name for one in profiles.values() if one.protocol == "dlms")]
        raise FleetFault("TQ-SM-23", f"there is no DLMS model {name!r:.40}", f"use {', '.join(names)}")
    return shape_of(found)


def shape_of(profile: MeterProfile) -> MeterShape:
    """The model that the profile describes. Raises ProfileFault, or FleetFault TQ-SM-23 for what no fleet can show."""
    plan = dlms_plan(profile)
    registers = tuple(one for value in plan.values if (one := _register(plan, value)) is not None)
    logs = tuple(_log(number, one) for number, one in enumerate(plan.event_logs))
    load = plan.load_profile
    profiled = () if load is None else _profiled(plan, load)
    return MeterShape(
        name=profile.name,
        registers=registers,
        logs=logs,
        load_profile=LOAD_PROFILE if load is None else load.obis,
        daily_profile=DAILY_PROFILE,
        profiled=profiled or tuple(one.obis for one in registers if one.shows == IMPORT),
        relay=None if plan.relay is None else plan.relay.obis,
        codes=_codes(plan),
        by_range=load is None or load.table.access == "range",
        period_s=None if load is None else load.table.period_s,
        tells_status=load is None or load.status_column is not None,
    )


def _register(plan: DlmsPlan, value: ValuePlan) -> RegisterShape | None:
    channel = plan.channels.get(value.key)
    shows = value.key if channel is None else _SHOWN.get(channel, "")
    if value.optional and not shows:
        return None
    tag, scaler = _FORMS.get(Unit(value.unit), (None, 0))
    if tag is None or (shows not in _MEASURED and channel not in _SHOWN) or value.multiplier != 1:
        raise _unable(plan, f"register {value.key}")
    return RegisterShape(
        value.attribute.obis, shows, tag, scaler if value.scale is None else value.scale.scaler, Unit(value.unit)
    )


def _profiled(plan: DlmsPlan, load: LoadProfilePlan) -> tuple[Obis, ...]:
    """The registers of a row, after the time and, where there is one, the status."""
    before = 1 if load.status_column is None else 2
    ordered = load.clock_column == 0 and load.status_column in {None, 1} and min(load.energies) == before
    if not ordered or load.values is not ProfileValues.REGISTERS or load.table.stamp != "end":
        raise _unable(plan, "load profile")
    return tuple(column.obis for column in load.columns[before:])


def _log(number: int, plan: EventLogPlan) -> EventLogShape:
    return EventLogShape(plan.obis, _CODE._replace(e=number), frozenset(plan.kinds))


def _codes(plan: DlmsPlan) -> EventCodes:
    """How this model numbers what a simulated meter tells; the usual numbers for the rest."""
    numbered = {kind: code for log in plan.event_logs for code, kind in log.kinds.items()}
    usual = EventCodes()

    def code(kind: MeterEventKind, other: int) -> int:
        return numbered.get(kind, other)

    return EventCodes(
        clock_old=code(MeterEventKind.CLOCK_OLD, usual.clock_old),
        clock_new=code(MeterEventKind.CLOCK_NEW, usual.clock_new),
        failed_login=code(MeterEventKind.FAILED_LOGIN, usual.failed_login),
        ready=code(MeterEventKind.RELAY_READY, usual.ready),
        disconnected=code(MeterEventKind.RELAY_OPENED, usual.disconnected),
        connected=code(MeterEventKind.RELAY_CLOSED, usual.connected),
    )


def _unable(plan: DlmsPlan, what: str) -> FleetFault:
    return FleetFault("TQ-SM-23", f"no simulated meter shows the {what} of {plan.profile}", "serve another profile")
