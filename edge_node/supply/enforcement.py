"""Enforcement: at every look, what is wanted of each relay and is not so. Floor: edge_node/supply; payment walk.

Level-triggered: nothing is remembered between looks but what the store holds, so that a lost event, a crash or a silent
meter costs time and never a fact. The order of a look is the promise of the house: first what was seen, then intents a
crash left behind, then restores, and only when no restore waits for a place, cuts. Only candidates are judged (dark
relays; accounts whose debt is due), a bounded number each time, round and round; but whether a dark home still owes is
asked of every one at every look, so that nobody who paid waits for a turn.
"""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from edge_node.store.operations import DAY_S, CutPlan, Movement
from edge_node.store.registries import Registries
from edge_node.store.relays import DARK_PER_READ, RelayRow, Sighting
from edge_node.supply.door import Door
from edge_node.supply.facts import Moment, Sources, moment_of
from edge_node.supply.glance import SIGHTINGS_PER_TICK, Glance, glance
from edge_node.supply.judged_dark import JudgedDark
from edge_node.supply.judging import Judged
from edge_node.supply.place import Place, Places
from edge_node.supply.relay import RelayRoom
from edge_node.wakeups import Wakeups, rung_or_over
from gridmodel.clock import Entropy, TimeBounds, UtilityClock
from gridmodel.control import Cause, RelayState
from gridmodel.identity import UsagePointId
from gridmodel.policy import Action, Reason, against_by_hours
from gridmodel.policy_rules import PolicyRules
from protocols.driver import MeterDriver
from protocols.profile import MeterProfile

PERIOD_S = 60
"""Utility seconds between two looks when nothing wakes us."""
QUIET_S = 300
"""The same when the last look found nothing and nothing was written since: what can change that wakes us."""
ROUND_S = 15
"""The same in the midst of a round of dark homes: some 12,000 of them are judged within the quarter of an hour in which
whoever may have light again gets it."""
DARK_PER_TICK = 200
"""Dark points judged in one look; paid ones come first."""
DEBTORS_S = 300
"""How often debtors are looked for: a planned cut waits up to half an hour anyway. Restores wait for no turn."""
JUDGED_AT_ONCE = 10
"""Points judged in one snapshot: some 10 ms of the database's turn, and what they share is read once."""
CANDIDATES_PER_TICK = 50
"""Debtors judged in one look: a district's few hundred are gone round in minutes."""
OPERATIONS_AT_ONCE = 16
"""Movements under way: gateways are slow, and each waits for its own meter."""
CUTS_AT_ONCE = 2
"""Of these, cuts: the other places are always free for those who paid."""

_BEGINNING = (-1, "")
_UNDER_WAY = frozenset({RelayState.CUT_UNCONFIRMED, RelayState.RESTORE_UNCONFIRMED, RelayState.RESTORE_INTENDED})


@dataclass(slots=True)
class TickReport:
    """What one look found, for logs and tests."""

    sightings: int = 0
    withheld: int = 0
    dark: int = 0
    restores: int = 0
    restores_waiting: int = 0
    """Restores that found no place; cuts wait with them."""
    planned: int = 0
    cuts: int = 0


class Enforcement:
    """The supply room of one node. `run` for ever, or `tick` under a task group of the caller."""

    def __init__(
        self,
        sources: Sources,
        registries: Registries,
        *,
        profiles: Mapping[str, MeterProfile],
        cut_profiles: Collection[str],
        drivers: Mapping[str, MeterDriver],
        clock: UtilityClock,
        entropy: Entropy,
        wakeups: Wakeups,
        rules: Callable[[], PolicyRules],
    ) -> None:
        """`cut_profiles` may be opened from here; `drivers` by protocol; `rules` gives the rules that hold now."""
        self._sources = sources
        self._registries = registries
        self._profiles = profiles
        self._cut_profiles = cut_profiles
        self._clock = clock
        self._wakeups = wakeups
        self._rules = rules
        self.door = Door(sources, entropy, self.moment, wakeups.outbox.set)
        self.room = RelayRoom(self.door, drivers, clock)
        self._places: Places | None = None
        self._busy: dict[UsagePointId, asyncio.Task[None]] = {}
        self._cutting: set[UsagePointId] = set()
        self._again = False
        """Something waits for a movement under way to end."""
        self._judged_dark = JudgedDark()
        self._some_dark = False
        """The last look found somebody whom we may have darkened: the clock alone may give light back."""
        self._more_dark = False
        """Dark homes that owe are left to be judged."""
        self._debtors_after: tuple[int, str] = _BEGINNING
        self._debtors_at = 0
        """When debtors were last gone round from the beginning."""
        self._quiet_at = -1
        """The store's count of commits before the last look that left nothing to do."""
        self._quiet_places: Places | None = None

    def moment(self) -> Moment:
        """The present and the rules that hold in it."""
        return moment_of(self._clock, self._rules())

    def places(self) -> Places | None:
        """The places of the registry that holds; None before the first registry."""
        registry = self._registries.newest
        if registry is not None and (self._places is None or self._places.registry is not registry):
            self._places = Places(registry, self._profiles, self._cut_profiles)
        return self._places

    async def run(self) -> None:
        """Look, wait, look again; ends only by cancellation or failure."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._wakeups.enforcement.clear()
                await self.tick(group, debtors=self._debtors_due(), owing=False)
                await self._pause()

    async def tick(self, group: asyncio.TaskGroup, *, debtors: bool = True, owing: bool = True) -> TickReport:
        """One look; movements are started in `group` and go on after it.

        New debtors are looked for with `debtors`; with `owing` every dark home that still owes is judged again, without
        it those alone for whom anything may have changed.
        """
        report = TickReport()
        self._again = False
        places = self.places()
        seen = self._sources.control.commits
        if places is None:
            return report
        quiet = seen == self._quiet_at and places is self._quiet_places
        if quiet and not (debtors or owing or self._some_dark):
            return report  # nothing was written since a look that left nothing to do
        if owing:
            self._judged_dark.forget()
        now = self._clock.bounds()
        found = await self._glance(now)
        if found.looks:
            report.sightings = await self._book_sightings(places, found.looks)
        if found.unsent:
            report.withheld = await self.door.withhold_orphans(list(self._busy))
        if found.looks or found.unsent:
            found = await self._glance(now)
        self._judged_dark.look(found.protections, places, self._rules(), now, turned=found.turned)
        dark = await self._dark(places, found.dark)
        urgent = await self._restore_first(places, dark, group, report)
        if not (found.looks or found.unsent or found.plans or urgent or self._busy):
            self._quiet_at, self._quiet_places = seen, places
        if report.restores_waiting == 0 and not self._rules().missing():
            await self._carry_out_plans(places, found.plans, group, report)
            if debtors:
                await self._plan_cuts(places, {row.usage_point for row in dark}, report)
        return report

    async def _glance(self, now: TimeBounds) -> Glance:
        return await glance(self._sources, set(self._busy), self._judged_dark.window(now))

    async def _dark(self, places: Places, part: list[RelayRow]) -> list[RelayRow]:
        """Every point of the registry that we may have darkened, `part` and what follows: any of them may have paid."""
        known, found = places.registry.usage_point, list[RelayRow]()
        while True:
            found += [row for row in part if row.usage_point in known]
            if len(part) < DARK_PER_READ:
                return found
            after = part[-1].usage_point
            part = await self._sources.control.read(
                lambda conn, after=after: self._sources.relays.dark_by_us(conn, after)  # type: ignore[misc]
            )

    def _debtors_due(self) -> bool:
        """Whether anybody could be planned for a cut by the calendar, and the last round is long enough ago."""
        places, moment = self.places(), self.moment()
        if places is None or against_by_hours(moment.rules, places.registry.zone, moment.bounds):
            return False
        if self._debtors_after == _BEGINNING and 0 <= moment.now - self._debtors_at < DEBTORS_S:
            return False
        if self._debtors_after == _BEGINNING:
            self._debtors_at = moment.now
        return True

    async def _book_sightings(self, places: Places, looks: list[Sighting]) -> int:
        """Handle what polls saw; a look at a meter that no longer stands there is dropped."""
        control, relays, present = self._sources.control, self._sources.relays, self._clock.bounds().latest
        installed: list[Sighting] = []
        gone: list[Sighting] = []
        for look in looks:
            place = places.at(look.usage_point, present)
            fits = place is not None and place.meter is not None and place.meter.id == look.meter
            (installed if fits else gone).append(look)
        if gone:
            await control.write(lambda conn: relays.forget_sightings(conn, gone))
        if installed:
            await self.door.settle(installed, read_back=False)
        if len(looks) >= SIGHTINGS_PER_TICK:
            self._wakeups.enforcement.set()
        return len(looks)

    async def _restore_first(
        self, places: Places, dark: list[RelayRow], group: asyncio.TaskGroup, report: TickReport
    ) -> bool:
        """Judge dark points and start what is to be started; gives whether any of them cannot wait for its turn."""
        report.dark, self._some_dark = len(dark), bool(dark)
        self._judged_dark.keep(row.usage_point for row in dark)
        if not dark:
            self._more_dark = False
            return False
        urgent, chosen = await self._dark_in_order(places, dark)
        present = self._clock.bounds().latest  # a wall of 1970 would know no meter, and restore nobody
        known: list[tuple[Place, RelayRow]] = []
        for row in chosen:
            if row.usage_point in self._busy:
                self._again = True  # what it asks for now is looked at when its movement has ended
            elif (place := places.at(row.usage_point, present)) is not None:
                known.append((place, row))
        for start in range(0, len(known), JUDGED_AT_ONCE):
            part = known[start : start + JUDGED_AT_ONCE]
            judged = await self.door.look_at_dark([place for place, _ in part])
            for (place, row), one in zip(part, judged, strict=True):
                if one.decision.action is not Action.RESTORE:
                    self._judged_dark.judged(row)
                self._restore(place, one, group, report)
        return urgent

    def _restore(self, place: Place, judged: Judged, group: asyncio.TaskGroup, report: TickReport) -> None:
        """Start what a dark point asks for by its judgement."""
        point, relay, now = place.point.id, judged.gathered.facts.relay, self._clock.now()
        movement = Movement.CUT if relay is RelayState.CUT_UNCONFIRMED else Movement.RESTORE
        if judged.decision.action is Action.RESTORE:
            if not self.room.patience.due(point, Movement.RESTORE, now):
                return
            if self._start(group, place, self.room.restore(place)):
                report.restores += 1
            else:
                report.restores_waiting += 1
        elif relay in _UNDER_WAY and self.room.patience.due(point, movement, now):
            self._start(group, place, self.room.look(place, movement))

    async def _dark_in_order(self, places: Places, dark: list[RelayRow]) -> tuple[bool, list[RelayRow]]:
        """At most DARK_PER_TICK rows: those that owe nothing any more, those under way, then the rest that is due.

        Beside them whether there is any of the first two kinds.
        """
        first: list[RelayRow] = []
        rest: list[RelayRow] = []
        in_debt = await self._owing(places, dark)
        for row in dark:
            urgent = row.paid_at is not None or row.state in _UNDER_WAY
            cleared = row.cause is Cause.DEBT and row.usage_point not in in_debt
            (first if urgent or cleared else rest).append(row)
        patience = self.room.patience
        first.sort(key=lambda row: (patience.tries(row.usage_point), row.since, row.usage_point))
        rest = self._judged_dark.due(rest)
        chosen = (first + rest)[:DARK_PER_TICK]
        self._more_dark = len(first) + len(rest) > len(chosen)
        return bool(first), chosen

    async def _owing(self, places: Places, dark: list[RelayRow]) -> set[UsagePointId]:
        """Points of `dark` whose account has an overdue debt by the worked-out table; the judgement reads entries."""
        account_of = {}
        for row in dark:
            accounts = places.accounts_of(row.usage_point)
            if len(accounts) == 1:
                account_of[accounts[0]] = row.usage_point
        now = self._clock.now()
        owing: set[UsagePointId] = set()
        accounts_all = list(account_of)
        for start in range(0, len(accounts_all), DARK_PER_TICK):
            part = accounts_all[start : start + DARK_PER_TICK]
            late = await self._sources.control.read(
                lambda conn, part=part: self._sources.ledger.overdue_accounts(conn, part, now)  # type: ignore[misc]
            )
            owing |= {account_of[account] for account in late}
        return owing

    async def _carry_out_plans(
        self, places: Places, plans: list[CutPlan], group: asyncio.TaskGroup, report: TickReport
    ) -> None:
        control, operations = self._sources.control, self._sources.operations
        for plan in plans:
            if len(self._cutting) >= CUTS_AT_ONCE:
                self._again = True
                return
            now = self.moment().bounds
            overtaken = plan.planned_at > now.latest  # the clock stepped back: judge and wait anew
            place, soon = places.at(plan.usage_point, now.earliest), places.at(plan.usage_point, now.latest)
            gone = place is None or soon is None or (place.meter, place.proven) != (soon.meter, soon.proven)
            if place is None or place.target() is None or overtaken or gone:
                await control.write(lambda conn, point=plan.usage_point: operations.drop_plan(conn, point))  # type: ignore[misc]
            elif (
                plan.not_before <= now.earliest
                and self.room.patience.due(plan.usage_point, Movement.CUT, self._clock.now())
                and self._start(group, place, self.room.cut(place), cut=True)
            ):
                report.cuts += 1

    async def _plan_cuts(self, places: Places, dark: set[UsagePointId], report: TickReport) -> None:
        """Judge debtors whose turn it is; whoever is dark by us was looked at already, and nobody is cut twice."""
        moment, control, ledger = self.moment(), self._sources.control, self._sources.ledger
        age_days, debt_min = moment.rules.min_debt_age_days, moment.rules.min_debt_tiyin
        if age_days is None or debt_min is None:
            return
        due_before = moment.bounds.earliest - age_days * DAY_S
        found = await control.read(
            lambda conn: ledger.candidates(
                conn, due_before, debt_min, self._debtors_after, CANDIDATES_PER_TICK, told=True
            )
        )
        last = found[-1] if len(found) == CANDIDATES_PER_TICK else None
        self._debtors_after = _BEGINNING if last is None else (last.first_due_at, last.account)
        debtors: list[Place] = []
        for candidate in found:
            point = places.point_of(candidate.account)
            place = None if point is None or point in dark else places.at(point, moment.now)
            if place is not None and place.point.id not in self._busy and place.account == candidate.account:
                debtors.append(place)
        for start in range(0, len(debtors), JUDGED_AT_ONCE):
            part = debtors[start : start + JUDGED_AT_ONCE]
            for place, judged in zip(part, await self.door.judge_all(part), strict=True):
                if not await self._plan_cut(place, judged, report):
                    return

    async def _plan_cut(self, place: Place, judged: Judged, report: TickReport) -> bool:
        """Plan a cut where the judgement permits one; false when nobody else could be cut today."""
        decision = judged.decision
        wanted = decision.action is Action.CUT and judged.gathered.plan is None
        if wanted or judged.gathered.damaged:
            decision = await self.door.plan_cut(place)
        report.planned += decision.action is Action.CUT
        return Reason.BRAKE_NODE_DAY not in decision.reasons

    def _start(
        self, group: asyncio.TaskGroup, place: Place, work: Coroutine[Any, Any, None], *, cut: bool = False
    ) -> bool:
        """Begin a movement unless its point is busy or no place is free; gives whether it began."""
        point = place.point.id
        full = len(self._busy) >= OPERATIONS_AT_ONCE or (cut and len(self._cutting) >= CUTS_AT_ONCE)
        if full or point in self._busy:
            work.close()
            self._again = True
            return False
        task = group.create_task(work, name=f"relay {point}")
        self._busy[point] = task
        if cut:
            self._cutting.add(point)
        task.add_done_callback(lambda _: self._ended(point))
        return True

    def _ended(self, point: UsagePointId) -> None:
        self._busy.pop(point, None)
        self._cutting.discard(point)
        if self._again:
            self._wakeups.enforcement.set()

    async def _pause(self) -> bool:
        """Wait until woken, or for a while; gives whether it was woken."""
        if self._more_dark:
            length_s = ROUND_S
        else:
            length_s = QUIET_S if self._quiet_at == self._sources.control.commits else PERIOD_S
        return await rung_or_over(self._wakeups.enforcement, self._clock.sleep(length_s))
