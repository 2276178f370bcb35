"""The second phase: faults have ceased, and everything must come together within a bound. Floor: simulate; link loss.

Safety alone is cheap: a node that does nothing breaks no law. Here hub and edges must agree on every closed hour, every
payment, every mark; backlogs must be gone, closed days final, and who paid or is protected must have light.
"""

import asyncio
from typing import TYPE_CHECKING

from gridmodel.period import HOUR_S, local_day
from simulate.judges.energy import final_days
from simulate.judges.sight import NodeSight

if TYPE_CHECKING:
    from simulate.world import Rehearsal

BOUND_S = 8 * HOUR_S
"""Everything has come together by then: the longest back-off, an hour's and a day's grace, and the drain."""
LOOK_S = 120.0
SETTLE_S = HOUR_S + 1_500
"""Not before so long: one whole hour without faults must have closed, so that sums end at a true anchor."""
DAY_GRACE_S = 2 * HOUR_S
"""After midnight, when a day's chunks must be at the hub."""
WAITING_S = 900
"""A fact younger than this may wait: status records are made all the time."""


class Convergence:
    """Looks whether all of it has come together."""

    def __init__(self, world: "Rehearsal") -> None:
        self._world = world

    async def reached(self) -> float | None:
        """Virtual seconds from the end of the faults until everything agreed; None when the bound passed."""
        loop = self._world.loop
        began = loop.time()
        while loop.time() - began < BOUND_S:
            await asyncio.sleep(LOOK_S)
            if loop.time() - began >= SETTLE_S and not self.missing():
                return round(loop.time() - began, 3)
        return None

    def missing(self) -> str:
        """What has not come together, in words; empty when all has."""
        world = self._world
        down = [name for name, process in world.nodes.items() if process.up_since is None]
        if world.hub.up_since is None:
            down.append("hub")
        if down:
            return f"{', '.join(down)} does not run"
        if world.people.busy or world.people.feed:
            return "a payment is still on its way"
        if world.crew.busy:
            return "an exchange of a meter is under way"
        if world.verdicts.forgetful:
            return f"a backup was put back, and {', '.join(sorted(world.verdicts.forgetful))} lacks what was lost"
        if not world.court.money.settled():
            return "hub, edges and book differ in money"
        for node, sight in world.court.sights.items():
            what = (
                self._waits(sight)
                or self._gaps(node)
                or world.court.exchanges.waits(node)
                or self._hours(node)
                or self._dark(sight)
            )
            if what:
                return f"{node}: {what}"
        return ""

    def _waits(self, sight: NodeSight) -> str:
        """A fact that has not left, or one that has not come down."""
        before = self._world.now() - WAITING_S
        for lane, count in sight.control.rows(
            "SELECT lane, count(*) FROM (SELECT lane, created_at FROM outbox_batch WHERE acked_at IS NULL"
            " UNION ALL SELECT lane, created_at FROM outbox_record WHERE seq IS NULL) WHERE created_at < ?"
            " GROUP BY lane",
            (before,),
        ):
            return f"{count} facts wait in lane {lane}"
        have = dict(sight.control.rows("SELECT lane, next_offset FROM downlink"))
        for lane, number in self._world.court.hub_eye.rows(
            "SELECT lane, max(number) FROM down_item WHERE node = ? AND created_at < ? GROUP BY lane",
            (sight.node, before),
        ):
            if have.get(lane, 1) <= number:
                return f"item {number} of lane {lane} has not come down"
        refused = sight.control.value("SELECT count(*) FROM downlink_refused")
        return f"{refused} items down were refused" if refused else ""

    def _gaps(self, node: str) -> str:
        """What meters' memories are still owed for."""
        waiting = self._world.court.intervals.waiting(node, self._world.now())
        return f"{waiting} gaps are neither filled nor explained" if waiting else ""

    def _hours(self, node: str) -> str:
        """Hours closed and at the hub, with days that are over final there."""
        world = self._world
        closed_to = world.court.energy.closed_to(node)
        if closed_to < world.start + world.spec.days * 24 * HOUR_S + HOUR_S:
            return f"hours are closed to {closed_to} only"
        if not world.court.energy.agree(node, closed_to):
            return "hub and edge differ in hours"
        zone = world.sites[node].grid.spec.zone
        final = final_days(world.court.hub_eye, node)
        for number in range(world.spec.days):
            end = world.start + (number + 1) * 24 * HOUR_S
            day = local_day(end, zone)
            if end + DAY_GRACE_S < world.now() and day not in final:
                return f"day {day} is not final at the hub"
        quarantined = world.court.hub_eye.value(
            "SELECT count(*) FROM batch WHERE node = ? AND outcome = 'quarantined'", (node,)
        )
        return f"{quarantined} batches are set aside at the hub" if quarantined else ""

    def _dark(self, sight: NodeSight) -> str:
        """Who paid by now or is protected, and is dark."""
        world = self._world
        now, before = world.now(), world.now() - WAITING_S
        for index, point in enumerate(sight.grid.points):
            account = str(point.account)
            if sight.truth.connected(index) or account not in world.book.debits:
                continue
            if world.book.overdue_tiyin(account, before) <= 0:
                return f"{point.id} is paid and dark"
            if all(world.book.shielded(str(point.id), at, str(point.district)) for at in (before, now)):
                return f"{point.id} is protected and dark"
        return ""
