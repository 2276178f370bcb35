"""The rooms of a node over its store: which there are, and what each is handed. Above the rooms; on all walks.

One page shows the whole wiring. A room gets the parts of the store that it works on, clocks, dice, wake-ups, and never
another room.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from edge_node.config import NodeConfig
from edge_node.console.people import People
from edge_node.console.points import PointsBoard
from edge_node.console.status import StatusBoard
from edge_node.metering.backfill import Backfill
from edge_node.metering.clock_door import ClockDoor
from edge_node.metering.clock_keeping import ClockKeeping
from edge_node.metering.clock_steps import ClockRules
from edge_node.metering.collector import Collector
from edge_node.metering.day_close import DayClose
from edge_node.metering.event_reading import EventReading
from edge_node.metering.field_desk import FieldDesk
from edge_node.metering.hour_close import HourClose
from edge_node.metering.late_exchanges import LateExchanges
from edge_node.metering.late_links import LateLinks
from edge_node.metering.outage_watch import OutageWatch
from edge_node.metering.plans import Plans
from edge_node.metering.visits import Grounds
from edge_node.money.payments import Desk
from edge_node.polling_wiring import rounds_of
from edge_node.store.opening import EdgeStore
from edge_node.store.registries import LetGo
from edge_node.supply.enforcement import Enforcement
from edge_node.supply.facts import Sources
from edge_node.uplink.bundles import Bundles, NodeBundleKeys
from edge_node.uplink.hub_link import HubLink, HubLinkLimits
from edge_node.uplink.reconciliation import Reconciliation
from edge_node.uplink.status import StatusRoom
from edge_node.uplink_wiring import beside_of, bundles_of
from edge_node.wakeups import Wakeups
from gridmodel.clock import Compute, Entropy, IoClock, Rng, ToldClock, UtilityClock
from gridmodel.identity import ChannelId
from gridmodel.policy_rules import PolicyRules
from hosting.database import DatabaseOpener
from hosting.supervision import TaskState
from protocols.authority.signatures import KeyRing, Signer
from protocols.driver import MeterDriver
from protocols.profile import MeterProfile
from protocols.sync.effects import UplinkLimits
from protocols.sync.link import Link

Task = tuple[str, Callable[[], Awaitable[None]]]
"""A room's name and its endless work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Everything that a node is given from outside."""

    clock: UtilityClock
    io_clock: IoClock
    rng: Rng
    entropy: Entropy
    open_database: DatabaseOpener
    drivers: Mapping[str, MeterDriver]
    """By protocol."""
    link: Link
    compute: Compute
    signer: Signer
    keyring: KeyRing
    rules: PolicyRules
    row_key: bytes
    profiles: Mapping[str, MeterProfile]
    told_clock: ToldClock | None = None
    """Told the hub's time at every reply, to confirm or doubt the clock."""
    bundle_keys: NodeBundleKeys | None = None
    """None: this node takes no bundles."""
    settled: Callable[[], object] | None = None
    """Called when objects were made that live as long as a registry."""
    let_go: LetGo | None = None
    """Told each registry and plan that holds no longer, while the last of its readers may still have it."""
    at_rest: Callable[[], object] | None = None
    """Called when little is under way: what would hold the event loop up may do so now."""


@dataclass(frozen=True, slots=True)
class Rooms:
    """The rooms of one node."""

    collector: Collector
    backfill: Backfill
    clock_keeping: ClockKeeping
    event_reading: EventReading
    outage_watch: OutageWatch
    late_exchanges: LateExchanges
    late_links: LateLinks
    field_desk: FieldDesk
    hour_close: HourClose
    day_close: DayClose
    hub_link: HubLink
    bundles: Bundles
    status: StatusRoom
    board: StatusBoard
    points: PointsBoard
    sources: Sources
    enforcement: Enforcement
    desk: Desk
    people: People

    def tasks(self) -> tuple[Task, ...]:
        """Every room's work, in the order of starting."""
        return (
            ("supply", self.enforcement.run),
            ("collector", self.collector.run),
            ("backfill", self.backfill.run),
            ("meter clocks", self.clock_keeping.run),
            ("meter events", self.event_reading.run),
            ("outages", self.outage_watch.run),
            ("late exchanges", self.late_exchanges.run),
            ("late links", self.late_links.run),
            ("field works", self.field_desk.run),
            ("hour close", self.hour_close.run),
            ("day close", self.day_close.run),
            ("uplink", self.hub_link.run),
            ("status", self.status.run),
        )


def build_rooms(
    config: NodeConfig, ports: Ports, store: EdgeStore, wakeups: Wakeups, tasks: Callable[[], tuple[TaskState, ...]]
) -> Rooms:
    """Wire every room; nothing runs yet."""
    people = People(config.people, compute=ports.compute, clock=ports.clock)
    reconciliation = Reconciliation(store.control, config.node_id, wakeups)
    hub_link = _hub_link(config, ports, store, wakeups, reconciliation)
    board = StatusBoard(
        store, node=config.node_id, zone=config.zone, clock=ports.clock, link=hub_link.view, tasks=tasks
    )
    sources = sources_of(config, store)
    plans = Plans(ports.profiles, ports.compute, config.polling.spread_s, ports.let_go)
    grounds = Grounds(
        registries=store.registries, drivers=ports.drivers, plans=plans, clock=ports.clock, compute=ports.compute
    )
    hour_close, day_close = _closes(config, ports, store, wakeups)
    return Rooms(
        collector=_collector(config, ports, store, wakeups, plans),
        backfill=_backfill(config, ports, store, wakeups),
        clock_keeping=_clock_keeping(config, ports, store, wakeups, grounds),
        event_reading=_event_reading(store, wakeups, grounds),
        outage_watch=_outage_watch(ports, store, wakeups),
        late_exchanges=_late_exchanges(ports, store, wakeups),
        late_links=_late_links(ports, store, wakeups),
        field_desk=_field_desk(ports, store, wakeups),
        hour_close=hour_close,
        day_close=day_close,
        hub_link=hub_link,
        bundles=_bundles(config, ports, store, wakeups, reconciliation, hub_link),
        status=_status(config, ports, store, wakeups, board),
        board=board,
        points=PointsBoard(store, ports.clock),
        sources=sources,
        enforcement=enforcement_of(
            config,
            store,
            sources,
            clock=ports.clock,
            entropy=ports.entropy,
            wakeups=wakeups,
            rules=ports.rules,
            profiles=ports.profiles,
            drivers=ports.drivers,
        ),
        desk=Desk(
            store.ledger,
            store.registries,
            channel=ChannelId(config.desk_channel),
            cashiers=config.cashiers,
            check_secret=people.knows,
            clock=ports.clock,
            wakeups=wakeups,
        ),
        people=people,
    )


def sources_of(config: NodeConfig, store: EdgeStore) -> Sources:
    """Where supply reads its facts."""
    return Sources(
        control=store.control,
        ledger=store.ledger,
        records=store.records,
        relays=store.relays,
        operations=store.operations,
        quality=store.readings,
        channels=tuple(map(ChannelId, config.supply.payment_channels)),
    )


def enforcement_of(
    config: NodeConfig,
    store: EdgeStore,
    sources: Sources,
    *,
    clock: UtilityClock,
    entropy: Entropy,
    wakeups: Wakeups,
    rules: PolicyRules,
    profiles: Mapping[str, MeterProfile],
    drivers: Mapping[str, MeterDriver],
) -> Enforcement:
    """The supply room; beside a stopped node (no drivers) it only explains."""
    return Enforcement(
        sources,
        store.registries,
        profiles=profiles,
        cut_profiles=config.supply.remote_cut_profiles,
        drivers=drivers,
        clock=clock,
        entropy=entropy,
        wakeups=wakeups,
        rules=lambda: rules,
    )


def _collector(config: NodeConfig, ports: Ports, store: EdgeStore, wakeups: Wakeups, plans: Plans) -> Collector:
    return Collector(
        rounds_of(store, plans, clock=ports.clock, wakeups=wakeups, told=ports.told_clock),
        store.registries,
        drivers=ports.drivers,
        plans=plans,
        clock=ports.clock,
        compute=ports.compute,
        at_once_max=config.polling.reads_at_once,
        settled=ports.settled,
        at_rest=ports.at_rest,
    )


def _backfill(config: NodeConfig, ports: Ports, store: EdgeStore, wakeups: Wakeups) -> Backfill:
    return Backfill(
        readings=store.readings,
        hours=store.hours,
        registries=store.registries,
        drivers=ports.drivers,
        profiles=ports.profiles,
        clock=ports.clock,
        compute=ports.compute,
        wakeups=wakeups,
        spread_s=config.polling.spread_s,
    )


def _clock_keeping(
    config: NodeConfig, ports: Ports, store: EdgeStore, wakeups: Wakeups, grounds: Grounds
) -> ClockKeeping:
    given = config.clocks
    rules = ClockRules(given.set, given.tolerance_s, given.step_s_day_max, given.error_s_max)
    return ClockKeeping(
        grounds,
        clocks=store.meter_clocks,
        door=ClockDoor(store.meter_clocks, ports.entropy, ports.clock, lambda: rules),
        alarms=store.alarms,
        wakeups=wakeups,
        rules=lambda: rules,
    )


def _event_reading(store: EdgeStore, wakeups: Wakeups, grounds: Grounds) -> EventReading:
    return EventReading(
        grounds,
        control=store.control,
        events=store.meter_events,
        operations=store.operations,
        alarms=store.alarms,
        wakeups=wakeups,
    )


def _outage_watch(ports: Ports, store: EdgeStore, wakeups: Wakeups) -> OutageWatch:
    return OutageWatch(
        outages=store.outages,
        absences=store.absences,
        readings=store.readings,
        registries=store.registries,
        clock=ports.clock,
        compute=ports.compute,
        wakeups=wakeups,
    )


def _late_exchanges(ports: Ports, store: EdgeStore, wakeups: Wakeups) -> LateExchanges:
    return LateExchanges(
        readings=store.readings,
        hours=store.hours,
        registries=store.registries,
        profiles=ports.profiles,
        clock=ports.clock,
        wakeups=wakeups,
    )


def _late_links(ports: Ports, store: EdgeStore, wakeups: Wakeups) -> LateLinks:
    return LateLinks(
        readings=store.readings, registries=store.registries, state=store.state, clock=ports.clock, wakeups=wakeups
    )


def _field_desk(ports: Ports, store: EdgeStore, wakeups: Wakeups) -> FieldDesk:
    return FieldDesk(
        works=store.field_works,
        registries=store.registries,
        readings=store.readings,
        alarms=store.alarms,
        drivers=ports.drivers,
        profiles=ports.profiles,
        clock=ports.clock,
        wakeups=wakeups,
    )


def _closes(config: NodeConfig, ports: Ports, store: EdgeStore, wakeups: Wakeups) -> tuple[HourClose, DayClose]:
    readings, hours, registries, clock = store.readings, store.hours, store.registries, ports.clock
    hour_s, day_s = config.polling.hour_grace_s, config.polling.day_grace_s
    return (
        HourClose(readings=readings, hours=hours, registries=registries, clock=clock, wakeups=wakeups, grace_s=hour_s),
        DayClose(readings=readings, hours=hours, registries=registries, clock=clock, wakeups=wakeups, grace_s=day_s),
    )


def _status(config: NodeConfig, ports: Ports, store: EdgeStore, wakeups: Wakeups, board: StatusBoard) -> StatusRoom:
    return StatusRoom(
        control=store.control,
        outbox=store.outbox,
        collect=board.brief,
        clock=ports.clock,
        wakeups=wakeups,
        period_s=config.hub.status_period_s,
        anchor=None if ports.told_clock is None else ports.told_clock.anchor,
    )


def _bundles(  # noqa: PLR0917
    config: NodeConfig,
    ports: Ports,
    store: EdgeStore,
    wakeups: Wakeups,
    reconciliation: Reconciliation,
    hub_link: HubLink,
) -> Bundles:
    return bundles_of(
        config.node_id,
        store,
        reconciliation,
        keys=ports.bundle_keys,
        signer=ports.signer,
        clock=ports.clock,
        rng=ports.rng,
        entropy=ports.entropy,
        compute=ports.compute,
        wakeups=wakeups,
        changed=hub_link.greet_anew,
    )


def _hub_link(
    config: NodeConfig, ports: Ports, store: EdgeStore, wakeups: Wakeups, reconciliation: Reconciliation
) -> HubLink:
    clock, rng, entropy, signer = ports.clock, ports.rng, ports.entropy, ports.signer
    return HubLink(
        node=config.node_id,
        outbox=store.outbox,
        downlink=store.downlink,
        alarms=store.alarms,
        reconciliation=reconciliation,
        beside=beside_of(config.node_id, ChannelId(config.desk_channel), store, reconciliation, ports, wakeups),
        link=ports.link,
        clock=clock,
        rng=rng,
        entropy=entropy,
        signer=signer,
        wakeups=wakeups,
        time_heard=None if ports.told_clock is None else ports.told_clock.confirm,
        limits=HubLinkLimits(pull_period_s=config.hub.pull_period_s),
        uplink_limits=UplinkLimits(frame_bytes_max=config.hub.frame_bytes_max),
    )
