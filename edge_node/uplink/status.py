"""The node's status, told to the hub: a snapshot in the control lane at a named period. Room: uplink; walk: link loss.

A snapshot supersedes the one before: while the link is lost one waits, not thousands. Beside it what is known of the
clock is made durable, and old acknowledged batches go.

The clock's floor is a time that the present cannot be before. A clock that nobody else confirmed may be wrong from the
start (a board without a battery): by itself it moves the floor no further than the program has run, for a floor in the
future would make bills look overdue and protections ended. A doubt is remembered until another source confirms.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from edge_node.store.batches import Outbox
from edge_node.store.outbox import append_latest
from edge_node.store.state import Mark, forget_mark, read_mark, write_mark
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
        self._ran_s = 0
        """Utility seconds by the steady clock since the floor was last looked at."""

    async def run(self) -> None:
        """One status at the start, then one at each full period of the clock (waited for by the steady one)."""
        while True:
            now = self._clock.now()
            await self.tick(now)
            pause_s = self._period_s - now % self._period_s
            await self._clock.sleep(pause_s)
            self._ran_s += pause_s

    async def tick(self, now: int) -> None:
        """Write one status and what is known of the clock, and let old batches go."""
        body = dict(await self._collect()) | {"at": now}
        trusted, confirmed = self._clock.trust() is ClockTrust.TRUSTED, bool(body.get("link_up"))
        earliest, ran_s = self._clock.bounds().earliest, self._ran_s

        async def verb(conn: Connection) -> None:
            await append_latest(conn, NODE_STATUS, f"status-{now}", body, now)
            if not trusted:
                await write_mark(conn, Mark.CLOCK_DOUBTED, str(now))
                return
            known = await read_mark(conn, Mark.CLOCK_FLOOR)
            if confirmed:
                await forget_mark(conn, Mark.CLOCK_DOUBTED)
            if confirmed or known is not None:
                floor = earliest if known is None or confirmed else min(earliest, int(known) + ran_s)
                await write_mark(conn, Mark.CLOCK_FLOOR, str(max(floor, int(known or 0))))

        await self._control.write(verb)
        self._ran_s -= ran_s
        self._wakeups.outbox.set()
        for _ in range(PRUNES_PER_TURN_MAX if trusted else 0):  # a wall a month ahead would forget a month too early
            if not await self._outbox.prune(now):
                break
