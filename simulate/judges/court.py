"""All judges of one rehearsal: wired to what they look at, and called at their times. Floor: simulate; all walks."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edge_node.node import Node
from gridmodel.period import HOUR_S
from simulate.book import Book
from simulate.clock import WallSpan
from simulate.judges.energy import EnergyChecker
from simulate.judges.exchanges import ExchangeChecker
from simulate.judges.intervals import IntervalChecker
from simulate.judges.levels import LevelChecker
from simulate.judges.money import MoneyChecker
from simulate.judges.places import PlaceChecker
from simulate.judges.presence import PresenceChecker
from simulate.judges.relays import RelayChecker
from simulate.judges.sight import Eye, NodeSight, Verdicts
from simulate.judges.supply import DRAIN_S_MAX, LOOK_S, SupplyChecker
from simulate.judges.temptation import Temptations
from simulate.process import Process
from simulate.site import Site
from simulate.trace import Trace

LEVELS_S = 6 * HOUR_S
"""How often the hub's levels are added up in the middle of a run: each takes milliseconds of the checker."""


@dataclass(slots=True)
class Court:
    """The judges, and what they look at."""

    sites: Mapping[str, Site]
    nodes: Mapping[str, Process[Node]]
    book: Book
    verdicts: Verdicts
    time_s: Callable[[], float]
    """Virtual seconds."""
    start: int
    """World time at which the run begins, UTC seconds."""
    present_pct: tuple[float, float]
    """See `Scenario.present_pct`."""
    hub_file: Path
    hub_wrong: list[WallSpan] = field(default_factory=list)
    """When the hub's wall was wrong."""
    links_clean_since: dict[str, float | None] = field(default_factory=dict)
    """Virtual second since when each line has been clean."""
    sights: dict[str, NodeSight] = field(default_factory=dict)
    hub_eye: Eye = field(init=False)
    relays: RelayChecker = field(init=False)
    supply: SupplyChecker = field(init=False)
    money: MoneyChecker = field(init=False)
    energy: EnergyChecker = field(init=False)
    levels: LevelChecker = field(init=False)
    places: PlaceChecker = field(init=False)
    intervals: IntervalChecker = field(init=False)
    exchanges: ExchangeChecker = field(init=False)
    presence: PresenceChecker = field(init=False)
    temptations: Temptations = field(init=False)

    def __post_init__(self) -> None:
        self.hub_eye = Eye(self.hub_file)
        for node, site in self.sites.items():
            self.sights[node] = self._sight(node, site)
        self.exchanges = ExchangeChecker(self.sights, self.verdicts)
        self.relays = RelayChecker(self.sights, self.book, self.verdicts, self.time_s, self.exchanges)
        self.supply = SupplyChecker(self.sights, self.verdicts, self.time_s)
        self.money = MoneyChecker(self.sights, self.hub_eye, self.book, self.verdicts)
        self.energy = EnergyChecker(self.sights, self.hub_eye, self.verdicts)
        self.levels = LevelChecker(self.sights, self.hub_eye, self.verdicts)
        self.presence = PresenceChecker(self.sights, self.verdicts, self.start, self.present_pct)
        self.intervals = IntervalChecker(self.sights, self.verdicts)
        self.places = PlaceChecker(self.sights, self.verdicts, self.time_s)
        self.temptations = Temptations(self.sights, self.book, self.relays, self.verdicts, self.time_s)

    def _sight(self, node: str, site: Site) -> NodeSight:
        return NodeSight(
            node=node,
            grid=site.grid,
            truth=site.truth,
            rules=site.rules,
            control=Eye(site.folder / "control.db"),
            up_since=lambda: self.nodes[node].up_since,
            ill=site.ill,
            well_since=site.well_since,
            folder=site.folder,
            command_s_max=site.command_s_max,
            link_clean_since=lambda: self.links_clean_since.get(node),
            clock_spans=lambda: site.wall_wrong,
            hub_spans=lambda: self.hub_wrong,
            boot=lambda: site.boot,
        )

    async def watch(self, note_lines: Callable[[], None], trace: Trace) -> None:
        """The continuous checks, every few virtual minutes, for ever."""
        levels_at = self.time_s() + LEVELS_S
        while True:
            await asyncio.sleep(LOOK_S)
            note_lines()
            self.supply.look()
            self.temptations.look()
            self.presence.look(self.verdicts.now())
            self.money.marks()
            self.tasks_alive()
            if self.time_s() >= levels_at:
                levels_at += LEVELS_S
                self.money.kept()
                self.money.counted_once()
                self.levels.add_up()
                self._heard_by_now()
            trace.add("check", "world", str(len(self.verdicts.found)))

    def _heard_by_now(self) -> None:
        """On a line that has long been clean the hub knows what the edge closed."""
        for node in self.sites:
            clean_since, up_since = self.links_clean_since.get(node), self.nodes[node].up_since
            if clean_since is None or up_since is None:
                continue
            if self.time_s() - max(clean_since, up_since) > DRAIN_S_MAX:
                self.energy.heard(node, self.verdicts.now() - DRAIN_S_MAX)

    def tasks_alive(self) -> None:
        """No supervised task failed: no fault of this rehearsal is an excuse for an exception in a room."""
        for name, process in self.nodes.items():
            node = process.product
            for task in () if node is None else node.tasks():
                if task.last_error is not None:
                    self.verdicts.against("task_alive", name, task.name, f"it failed: {task.last_error}")

    def last(self, missing: str | None) -> None:
        """The checks at the end; `missing` says what has not come together, None when all has."""
        self.tasks_alive()
        self.money.kept()
        self.money.marks()
        self.money.counted_once()
        self.money.compare()
        self.money.complete(self.verdicts.now() - DRAIN_S_MAX // 2)
        self.money.forks()
        self.levels.add_up()
        if missing is not None:
            self.verdicts.against("convergence", "world", "world", missing)
        upto = min((self.energy.closed_to(node) for node in self.sites), default=0)
        for node in self.sites:
            self.energy.compare_hours(node, upto)
            self.energy.compare_truth(node, upto)
            self.intervals.hours(node)
            self._intervals(node)
            self.exchanges.compare(node)

    def _intervals(self, node: str) -> None:
        """Where every byte is rehearsed: it takes a second for a week."""
        if self.sites[node].bytes is not None:
            self.intervals.compare(node)
            self.verdicts.faults.happened("interval_filled_from_memory", self.intervals.filled(node))

    def rise(self) -> None:
        """Give files back."""
        self.hub_eye.close()
        for sight in self.sights.values():
            sight.close()
