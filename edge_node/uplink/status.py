"""The node's status, told to the hub: a snapshot in the control lane at a named period. Room: uplink; walk: link loss.

A snapshot supersedes the one before: while the link is lost one waits, not thousands. Beside it the clock's floor is
made durable, so that the present is never before a time that was once certain; and old acknowledged batches go.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from edge_node.store.batches import Outbox
from edge_node.store.outbox import append_latest
from edge_node.store.state import Mark, write_mark
from edge_node.wakeups import Wakeups
from gridmodel.clock import ClockTrust, UtilityClock
from hosting.database import Connection, Database
from protocols.sync.facts import NODE_STATUS

PRUNES_PER_TURN_MAX = 20
"""Transactions of pruning in one period: ten thousand rows, well above what a period adds."""


class StatusRoom:
    """Writes the status until cancelled. `collect` gathers it from the whole node."""

    def __init__(
        self,
        *,
        control: Database,
        outbox: Outbox,
        collect: Callable[[], Awaitable[Mapping[str, Any]]],
        clock: UtilityClock,
        wakeups: Wakeups,
        period_s: int,
    ) -> None:
        self._control = control
        self._outbox = outbox
        self._collect = collect
        self._clock = clock
        self._wakeups = wakeups
        self._period_s = period_s

    async def run(self) -> None:
        """One status at the start, then one at each full period of the clock (waited for by the steady one)."""
        while True:
            now = self._clock.now()
            await self.tick(now)
            await self._clock.sleep(self._period_s - now % self._period_s)

    async def tick(self, now: int) -> None:
        """Write one status and the floor, and let old batches go."""
        body = dict(await self._collect()) | {"at": now}
        floor = self._clock.bounds().earliest if self._clock.trust() is ClockTrust.TRUSTED else None

        async def verb(conn: Connection) -> None:
            await append_latest(conn, NODE_STATUS, f"status-{now}", body, now)
            if floor is not None:
                await write_mark(conn, Mark.CLOCK_FLOOR, str(floor))

        await self._control.write(verb)
        self._wakeups.outbox.set()
        for _ in range(PRUNES_PER_TURN_MAX):
            if not await self._outbox.prune(now):
                break
