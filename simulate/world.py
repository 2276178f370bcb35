"""A whole rehearsal from one seed: hub, nodes, meters, people, faults, checkers, two phases, a report. Floor: simulate.

On all walks. The first phase has faults and demands safety; then the faults cease, everything is mended, and the second
phase demands that all of it comes together within a bound. The product is built by its own `build` functions; what is
around it (time, network, disks, meters) is simulated. The same seed gives the same events in the same order.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from central_sync.config import ApproverConfig, HubConfig, NodeConfig
from central_sync.hub import Hub
from central_sync.hub import build as build_hub
from central_sync.ingest.refilling import restored
from edge_node.node import Node
from gridmodel.period import HOUR_S, day_bounds
from hosting.compute import InlineCompute
from protocols.authority.signatures import key_to_text
from protocols.driver import MeterDriver
from simulate.backups import Backups
from simulate.book import Book
from simulate.clock import NodeWall, SeededEntropy, WallSpan, io_clock, node_clock, stream
from simulate.courier import Couriers, hub_keys
from simulate.crew import Crew
from simulate.disk import SimDisk
from simulate.faults import DAY_S, Faults
from simulate.hub_door import SimHubDoor
from simulate.judges.convergence import Convergence
from simulate.judges.court import Court
from simulate.judges.sight import Verdicts
from simulate.loop import VirtualLoop
from simulate.meter_watch import WatchedDriver, Way, watched
from simulate.misfortune import Misfortune
from simulate.network import SimLink
from simulate.office import Office
from simulate.people import Papers, People
from simulate.process import Process, Surroundings
from simulate.report import RunReport
from simulate.scenario import AtEvent, Scenario
from simulate.site import ZONE, Site, World, approvers_of, districts_of, rules_of
from simulate.trace import Trace
from simulate.wires import Wires


@dataclass(frozen=True, slots=True)
class RunSpec:
    """What a run follows from."""

    seed: int
    days: int
    nodes: int
    meters: int
    """Usage points of each node; the meters of its transformers and feeders come on top."""
    scenario: Scenario
    stop_at_first: bool = False
    """End with the first violation, within an hour of it: for looking after one bug."""


@dataclass(slots=True)
class Rehearsal:
    """One run, wired."""

    spec: RunSpec
    loop: VirtualLoop
    folder: Path
    start: int = 0
    sites: dict[str, Site] = field(default_factory=dict)
    nodes: dict[str, Process[Node]] = field(default_factory=dict)
    book: Book = field(default_factory=Book)
    background: list[asyncio.Task[None]] = field(default_factory=list)
    faults: Faults = field(init=False)
    trace: Trace = field(init=False)
    verdicts: Verdicts = field(init=False)
    hub: Process[Hub] = field(init=False)
    door: SimHubDoor = field(init=False)
    court: Court = field(init=False)
    people: People = field(init=False)
    office: Office = field(init=False)
    crew: Crew = field(init=False)
    couriers: Couriers = field(init=False)
    backups: Backups = field(init=False)
    hub_wall: NodeWall = field(init=False)
    hub_wrong: list[WallSpan] = field(default_factory=list)
    """When and by how much the hub's wall was wrong."""

    def __post_init__(self) -> None:
        spec, scenario = self.spec, self.spec.scenario
        self.start = day_bounds(stream(spec.seed, "start").choice(scenario.start_days), ZONE)[0]
        self.faults = Faults(scenario, spec.seed)
        self.trace = Trace(self.loop.time)
        self.faults.told = lambda whom, what: self.trace.add("fault", whom, what)
        self.verdicts = Verdicts(self.now, self.faults)
        wires = Wires(self.loop)
        self.loop.connector = wires.connect
        world = World(spec.seed, self.loop, self.start, self.folder, scenario, wires)
        for number in range(spec.nodes):
            site = Site(world, number, spec.meters)
            self.sites[site.node] = site
        self._wire_hub()
        self._call_judges()
        for site in self.sites.values():
            self._wire_node(site)
        self._wire_people()

    def now(self) -> int:
        """World time, UTC seconds."""
        return self.start + int(self.loop.time())

    async def live(self) -> RunReport:
        """Both phases; gives the report."""
        papers = self.people.papers()
        self.hub.start()
        await self.office.prepare(papers)
        for process in self.nodes.values():
            process.start()
        self._background(
            lambda: self.court.watch(self.note_lines, self.trace),
            self.office.run_feed,
            self.office.run_forecasts,
            self.office.run_mandates,
        )
        self._background(lambda: self.office.later(papers))
        misfortune = Misfortune(self)
        self.background += misfortune.begin()
        if await self._first_phase():
            return self._report(None, papers)
        self.faults.cease()
        await misfortune.mend()
        converged_s = await Convergence(self).reached()
        self.court.last(Convergence(self).missing() if converged_s is None else None)
        return self._report(converged_s, papers)

    async def _first_phase(self) -> bool:
        """Let the days pass; gives whether the run is over already."""
        over_s = self.spec.days * DAY_S
        while self.loop.time() < over_s:
            if self.spec.stop_at_first and self.verdicts.found:
                return True
            await asyncio.sleep(min(HOUR_S, over_s - self.loop.time()))
        return False

    def end(self) -> None:
        """Stop everything and give files back."""
        for task in self.background:
            task.cancel()
        self.crew.stop()
        self.court.rise()

    def link_clean(self, node: str) -> bool:
        """Whether the node's line and the hub are without fault now."""
        return self.sites[node].line.clean and self.hub.up_since is not None

    def note_lines(self) -> None:
        """Keep since when each line has been clean; called whenever something may have changed."""
        for node in self.sites:
            if not self.link_clean(node):
                self.court.links_clean_since[node] = None
            elif self.court.links_clean_since.get(node) is None:
                self.court.links_clean_since[node] = self.loop.time()

    def _wire_hub(self) -> None:
        self.hub_wall = NodeWall(self.loop, may_lie=self.spec.scenario.clocks_lie)
        folder = self.folder / "hub"
        folder.mkdir(mode=0o700)
        config = self._hub_config(folder)

        async def build(disk: SimDisk, incarnation: int) -> Hub:
            seed, name = self.spec.seed, f"hub/{incarnation}"

            async def built() -> Hub:
                return await build_hub(
                    config,
                    clock=node_clock(self.loop, self.hub_wall, self.start),
                    io_clock=io_clock(self.loop),
                    rng=stream(seed, name),
                    entropy=SeededEntropy(seed, name),
                    open_database=disk,
                    compute=InlineCompute(),
                    row_key=sha256(f"{seed}/row/hub".encode()).digest(),
                    bundle_keys=hub_keys(seed, list(self.sites)),
                )

            if self.backups.hub_put_back:
                hub = await built()
                await restored(hub.store, hub.clock, SeededEntropy(seed, f"restored/{incarnation}"))
                await hub.close()
                self.backups.hub_put_back = False
            return await built()

        events = (AtEvent.HUB_CRASH_BEFORE_COMMIT, AtEvent.HUB_CRASH_AFTER_COMMIT)
        self.hub = Process("hub", folder, build, self._surroundings(), events)
        self.door = SimHubDoor(lambda: self.hub.product, self.verdicts)
        self.hub.on_crash += [self.door.died, self.note_lines]
        self.hub.on_start.append(self.note_lines)

    def _surroundings(self) -> Surroundings:
        return Surroundings(self.loop, self.spec.seed, self.faults, self.trace, self.verdicts)

    def _hub_config(self, folder: Path) -> HubConfig:
        return HubConfig(
            data_dir=folder,
            zone=ZONE,
            demo=True,
            nodes=tuple(
                NodeConfig(
                    id=node, public_key=key_to_text(site.signer.public), districts=districts_of(int(node[1:]) - 1)
                )
                for node, site in self.sites.items()
            ),
            approvers=tuple(
                ApproverConfig(name=f"approver-{n}", public_key=key_to_text(one.public))
                for n, one in enumerate(approvers_of(self.spec.seed), start=1)
            ),
        )

    def _call_judges(self) -> None:
        self.court = Court(
            self.sites,
            self.nodes,
            self.book,
            self.verdicts,
            self.loop.time,
            start=self.start,
            present_pct=self.spec.scenario.present_pct,
            hub_file=self.folder / "hub" / "hub.db",
            hub_wrong=self.hub_wrong,
        )
        self.hub.on_start += [self.court.money.marks, self.court.money.kept]

    def _wire_node(self, site: Site) -> None:
        node = site.node

        def moved(meter: str, closed: bool, at: int) -> None:
            self.trace.add("relay", node, f"{meter} {'closed' if closed else 'open'}")
            self.court.relays.moved(node, meter, closed=closed, at=at)

        site.truth.moved = moved

        async def build(disk: SimDisk, incarnation: int) -> Node:
            process = self.nodes[node]
            dice = stream(self.spec.seed, f"commands/{node}/{incarnation}")

            def watch(inner: MeterDriver, way: Way) -> WatchedDriver:
                return watched(
                    node,
                    inner,
                    way,
                    io_clock=io_clock(self.loop),
                    rng=dice,
                    hung=site.hung,
                    faults=self.faults,
                    checker=self.court.relays,
                    trace=self.trace,
                    die=process.crash,
                    asked=lambda meter: self.court.supply.asked(node, meter),
                )

            link = SimLink(
                node,
                self.door,
                site.line,
                faults=self.faults,
                rng=stream(self.spec.seed, f"line/{node}/{incarnation}"),
                trace=self.trace,
                die=process.crash,
                answered=lambda _: self.court.supply.answered(node),
            )
            return await site.build(disk, incarnation, watch, link)

        events = (AtEvent.NODE_CRASH_BEFORE_COMMIT, AtEvent.NODE_CRASH_AFTER_COMMIT)
        process = Process(node, site.folder, build, self._surroundings(), events)
        process.on_commit.append(lambda name: self.court.supply.polled(node) if name.startswith("readings") else None)
        process.on_crash += [lambda: self.court.relays.node_died(node), site.died]
        process.on_start += [self.court.money.kept]
        self.nodes[node] = process

    def _wire_people(self) -> None:
        spec = self.spec
        self.people = People(
            spec.seed,
            {node: site.grid for node, site in self.sites.items()},
            start=self.start,
            days=spec.days,
            faults=self.faults,
            book=self.book,
            verdicts=self.verdicts,
            desk=lambda node: self.nodes[node].product,
            doom=lambda node, after: self.nodes[node].doom(after=after),
        )
        self.court.relays.on_opened.append(self.people.went_dark)
        self.office = Office(
            lambda: self.hub.product,
            self.people,
            registries={node: site.registry for node, site in self.sites.items()},
            approvers=approvers_of(spec.seed),
            policy_version=rules_of(spec.scenario).version,
            start=self.start,
            verdicts=self.verdicts,
            faults=self.faults,
            dice=stream(spec.seed, "office"),
            hub_wrong=self.hub_wrong,
        )
        self.crew = Crew(self)
        self.couriers = Couriers(self)
        self.backups = Backups(self)

    def _report(self, converged_s: float | None, papers: Papers) -> RunReport:
        self.trace.add("end", "world", f"{len(papers.charges)} debts, {len(self.verdicts.found)} violations")
        return RunReport(
            seed=self.spec.seed,
            days=self.spec.days,
            nodes=self.spec.nodes,
            meters=self.spec.meters,
            scenario=self.spec.scenario.name,
            trace_sha256=self.trace.sha256(),
            violations=tuple(self.verdicts.found),
            sometimes=dict(sorted(self.faults.sometimes.items())),
            faults=dict(sorted(self.faults.struck.items())),
            exposed=len(self.court.relays.exposed),
            converged_s=converged_s,
            present_pct=self.court.presence.worst_pct,
            transcript=tuple(self.trace.transcript()) if self.verdicts.found else (),
        )

    def _background(self, *works: Callable[[], Awaitable[None]]) -> None:
        for work in works:
            self.background.append(asyncio.ensure_future(_endless(work)))


async def _endless(work: Callable[[], Awaitable[None]]) -> None:
    await work()
