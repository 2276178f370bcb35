"""`edge-node doctor`: everything that can be wrong, one line each, with what to do. Above the rooms; on every walk.

The same checks run inside the running node (through the local door) and beside a stopped one (on the files alone). A
line is ok, warn (it goes on, less than it could) or fail (something must be done).
"""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from edge_node.store.opening import EdgeStore
from edge_node.store.photos import FOLDER_NAME, Photos
from edge_node.store.state import Agreement, agreement_of
from edge_node.uplink.hub_link import LinkView
from gridmodel.clock import ClockDoubt, ClockTrust, UtilityClock
from gridmodel.fault import Fault
from gridmodel.period import rfc3339
from gridmodel.policy_rules import PolicyRules
from hosting.checkup import Check, Health
from hosting.instance import FreeSpaceGuard
from hosting.supervision import TaskCondition, TaskState
from protocols.sync.lanes import Lane

BACKLOG_AGE_S_MAX = 24 * 3600
"""A fact that waits longer than a day is worth a line."""
NAMED_MAX = 5
"""Damaged rows and missing parameters named in one line; the rest is counted."""
_CLOCK_HINTS = {
    ClockDoubt.UNCONFIRMED: "the hub's first answer, or five meters' clocks, confirm it; check NTP on this machine",
    ClockDoubt.AHEAD: "set this machine's clock back, or look at its NTP; nothing else needs to be done",
    ClockDoubt.BEHIND: "set this machine's clock forward, or look at its NTP; nothing else needs to be done",
    ClockDoubt.BELOW_FLOOR: "set this machine's clock: its battery may be empty",
    ClockDoubt.HUB_DISAGREES: "compare this machine's clock and the hub's with a third one, and set the wrong one",
}


class Doctor:
    """Looks at one node."""

    def __init__(
        self,
        store: EdgeStore,
        *,
        directory: Path,
        clock: UtilityClock,
        rules: PolicyRules,
        link: Callable[[], LinkView] | None = None,
        tasks: Callable[[], Sequence[TaskState]] | None = None,
    ) -> None:
        self._store = store
        self._directory = directory
        self._clock = clock
        self._rules = rules
        self._link = link
        self._tasks = tasks

    async def look(self) -> list[Check]:
        """Every check, in the order an operator works through them."""
        made: list[Check] = []
        looks: tuple[Callable[[], Awaitable[Check]], ...] = (
            self._process,
            self._disk,
            self._database,
            self._rows,
            self._photos,
            self._registry,
            self._hub,
            self._reconciled,
            self._backlog,
            self._refused,
            self._clock_trust,
            self._policy,
            self._mandate,
            self._stops,
        )
        for look in looks:
            try:
                made.append(await look())
            except Fault as fault:
                made.append(Check(look.__name__.strip("_"), Health.FAIL, f"{fault.code}: {fault.what}", fault.hint))
        return made

    async def _process(self) -> Check:
        if self._tasks is None:
            return Check("process", Health.WARN, "the node is not running", "start it: edge-node run --config FILE")
        worst = [task for task in self._tasks() if task.condition in {TaskCondition.PAUSED, TaskCondition.FAILED}]
        if worst:
            return Check(
                "process",
                Health.FAIL,
                f"task {worst[0].name}: {worst[0].last_error}",
                "mend what it names; it restarts",
            )
        restarted = [task.name for task in self._tasks() if task.restarts]
        if restarted:
            return Check(
                "process", Health.WARN, f"restarted since the start: {', '.join(restarted)}", "look at the log"
            )
        return Check("process", Health.OK, f"{len(self._tasks())} tasks run")

    async def _disk(self) -> Check:
        free_bytes = FreeSpaceGuard(self._directory).check()
        return Check("disk", Health.OK, f"{free_bytes // 2**20} MB free")

    async def _database(self) -> Check:
        complaints = await self._store.control.check()
        if complaints:
            hint = "stop the node, set control.db aside, restore the newest copy"
            return Check("database", Health.FAIL, complaints[0], hint)
        return Check("database", Health.OK, "SQLite finds no damage")

    async def _rows(self) -> Check:
        store = self._store
        works = (f"field_work {one}" for one in await store.field_works.verify())
        damaged = (
            *await store.ledger.verify(),
            *await store.records.verify(),
            *await store.operations.verify(),
            *works,
        )
        if damaged:
            named = ", ".join(damaged[:NAMED_MAX])
            hint = "nobody is cut on them; restore a copy or fetch them from the hub again"
            return Check("rows", Health.FAIL, f"{len(damaged)} rows are not what was written: {named}", hint)
        return Check("rows", Health.OK, "ledger, records and operations are what was written")

    async def _photos(self) -> Check:
        named = await self._store.field_works.photos()
        missing = await self._store.readings.compute.run(Photos(self._directory).missing, named)
        if missing:
            hint = f"they prove registers at exchanges: copy {FOLDER_NAME}/ back from a backup"
            names = ", ".join(missing[:NAMED_MAX])
            return Check("photos", Health.WARN, f"{len(missing)} of {len(named)} pictures are gone: {names}", hint)
        return Check("photos", Health.OK, f"{len(named)} pictures of meters are there")

    async def _registry(self) -> Check:
        registry = self._store.registries.newest
        if registry is None:
            hint = "import one at the hub; it comes down with the link"
            return Check("registry", Health.FAIL, "no registry yet: nothing is polled", hint)
        what = f"version {registry.version}: {len(registry.usage_points)} points, {len(registry.meters)} meters"
        return Check("registry", Health.OK, what)

    async def _hub(self) -> Check:
        if self._link is None:
            return Check("link", Health.WARN, "not known while the node is not running", "start it")
        view = self._link()
        if view.up:
            return Check("link", Health.OK, "up")
        error = view.error or {"what": "the hub was not asked yet", "hint": "wait a minute"}
        return Check("link", Health.WARN, f"lost: {error['what']}", error["hint"])

    async def _reconciled(self) -> Check:
        state, why = agreement_of(await self._store.state.get_all())
        if state is Agreement.AGREED:
            return Check("reconciled", Health.OK, "node and hub agree on what both hold")
        what = f"{state.value.upper()}: nobody is cut; {why}"
        if state is Agreement.FENCED:
            hint = "switch off the copy that is not to go on; the other goes on by itself a quarter of an hour later"
            return Check("reconciled", Health.FAIL, what, hint)
        hint = "it settles by itself once the link is up; meanwhile it polls, takes payments and restores"
        if state is Agreement.HUB_ROLLED_BACK:
            hint = "the node refills the hub by itself; at the hub: central-sync doctor"
        return Check("reconciled", Health.WARN, what, hint)

    async def _backlog(self) -> Check:
        lanes = await self._store.outbox.backlog()
        owed = {lane: one.records + one.batches for lane, one in lanes.items()}
        oldest = min((one.oldest_at for one in lanes.values() if one.oldest_at is not None), default=None)
        told = ", ".join(f"{lane.value} {owed[lane]}" for lane in Lane)
        if oldest is not None and self._clock.now() - oldest > BACKLOG_AGE_S_MAX:
            hours = (self._clock.now() - oldest) // 3600
            return Check(
                "backlog", Health.WARN, f"{told}; the oldest waits {hours} h", "nothing is lost; look at the link"
            )
        return Check("backlog", Health.OK, told)

    async def _refused(self) -> Check:
        refused = await self._store.downlink.refused()
        if refused:
            what = (
                f"{len(refused)} items from the hub were not taken in; the newest: {refused[0].code} {refused[0].what}"
            )
            return Check("downlink", Health.WARN, what, "update this program, or mend the record at the hub")
        return Check("downlink", Health.OK, "everything the hub sent was taken in")

    async def _clock_trust(self) -> Check:
        doubts, held = self._clock.doubts(), await self._store.held_reads.count()
        if not doubts:
            return Check("clock", Health.OK, "trusted")
        bounds, known = self._clock.bounds(), self._clock.trust() is ClockTrust.TRUSTED
        named = " and ".join(doubt.value.replace("_", " ") for doubt in doubts)
        span = f"it is between {rfc3339(bounds.earliest)} and {rfc3339(bounds.latest)}"
        told = "others tell the time" if known else f"{span}; {held} reads wait for their hour"
        return Check("clock", Health.WARN, f"{named}: nobody is cut; {told}", _CLOCK_HINTS[doubts[0]])

    async def _policy(self) -> Check:
        missing = self._rules.missing()
        if missing:
            what = f"policy {self._rules.version} lacks {', '.join(missing[:NAMED_MAX])}: nobody is cut"
            return Check("policy", Health.WARN, what, "the operator decides them in the policy file")
        return Check("policy", Health.OK, self._rules.version)

    async def _mandate(self) -> Check:
        bounds = self._clock.bounds()
        mandate = await self._store.control.read(lambda conn: self._store.records.mandate_in_force(conn, bounds))
        if mandate is None:
            return Check("mandate", Health.WARN, "none in force: nobody is cut", "two approvers sign one at the hub")
        return Check("mandate", Health.OK, f"{mandate.id}, {mandate.quota_per_day} cuts a day at most")

    async def _stops(self) -> Check:
        stops = await self._store.control.read(self._store.records.stops)
        if stops:
            what = f"all cuts are stopped by {stops[0].stopped_by}: {stops[0].why}"
            return Check("cuts", Health.WARN, what, "edge-node lift-stop, when the reason is gone")
        return Check("cuts", Health.OK, "not stopped")
