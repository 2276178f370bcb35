"""The node's status, told to the hub: a snapshot in the control lane at a named period. Room: uplink; walk: link loss.

A snapshot supersedes the one before: while the link is lost one waits, not thousands. Beside it what is known of the
clock is made durable, and old acknowledged batches go.

The clock's floor is a time that the present cannot be before. A clock that nobody else confirmed may be wrong from the
start (a board without a battery): by itself it moves the floor no further than the program has run, for a floor in the
future would make bills look overdue and protections ended. A doubt is remembered until another source confirms. The
floor is kept more often than a hub may want a status, and beside it what the next process of this boot goes on from.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from edge_node.store.batches import Outbox
from edge_node.store.outbox import append_latest
from edge_node.store.stamping import stamp_of
from edge_node.store.state import Mark, forget_mark, read_marks, write_mark
from edge_node.store.upkeep import purge_control
from edge_node.wakeups import Wakeups
from gridmodel.clock import Anchor, ClockDoubt, ClockTrust, UtilityClock
from hosting.database import Connection, Database
from protocols.sync.facts import NODE_STATUS

FLOOR_S = 900
"""Utility seconds between two looks at the clock, at most: a power cut takes little of it."""
FIRST_FLOOR_S = 60
"""The same before there is any floor: a process that dies without one leaves the next one in doubt."""
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
        anchor: Callable[[], Anchor | None] | None = None,
    ) -> None:
        """`anchor`: what the clock hands on to the next process of this boot."""
        self._control = control
        self._outbox = outbox
        self._collect = collect
        self._clock = clock
        self._wakeups = wakeups
        self._period_s = period_s
        self._anchor = anchor
        self._ran_s = 0
        """Utility seconds by the steady clock since the floor was last looked at."""
        self._has_floor = False

    async def run(self) -> None:
        """One status at the start, then one at each full period of the clock (waited for by the steady one)."""
        told: int | None = None
        while True:
            now = self._clock.now()
            period = now // self._period_s
            if period != told:
                await self.tick(now)
                told = period
            else:
                await self.remember(now)
            pause_s = min(self._period_s - now % self._period_s, FLOOR_S if self._has_floor else FIRST_FLOOR_S)
            await self._clock.sleep(pause_s)
            self._ran_s += pause_s

    async def tick(self, now: int) -> None:
        """Write one status and what is known of the clock, and let old batches go.

        A status of a time that is not known bears the earliest that it can be: one of the future would be set aside.
        """
        at = stamp_of(self._clock).at
        body = dict(await self._collect()) | {"at": at}
        await self._control.write(lambda conn: append_latest(conn, NODE_STATUS, f"status-{now}", body, at))
        self._wakeups.outbox.set()
        trusted = await self.remember(now)
        for _ in range(PRUNES_PER_TURN_MAX if trusted else 0):  # a wall a month ahead would forget a month too early
            if not await self._outbox.prune(now) + await self._control.write(lambda conn: purge_control(conn, now)):
                break

    async def remember(self, now: int) -> bool:
        """Make durable what is known of the clock; gives whether it is trusted."""
        trusted, confirmed = self._clock.trust() is ClockTrust.TRUSTED, self._clock.confirmed()
        earliest, ran_s, anchor = (
            self._clock.bounds().earliest,
            self._ran_s,
            None if self._anchor is None else self._anchor(),
        )
        contradicted = ClockDoubt.HUB_DISAGREES in self._clock.doubts()

        async def verb(conn: Connection) -> bool:
            marks = await read_marks(conn, (Mark.CLOCK_FLOOR, Mark.CLOCK_DOUBTED))
            known = marks.get(Mark.CLOCK_FLOOR)
            if contradicted:  # the next process must not take it for granted
                await forget_mark(conn, Mark.CLOCK_ANCHOR)
            if not trusted:
                await write_mark(conn, Mark.CLOCK_DOUBTED, str(now))
                return known is not None
            if anchor is not None and not contradicted:
                told = {"boot": anchor.moment.boot, "steady_s": anchor.moment.steady_s, "at": anchor.at}
                await write_mark(conn, Mark.CLOCK_ANCHOR, json.dumps(told))
            if confirmed and Mark.CLOCK_DOUBTED in marks:
                await forget_mark(conn, Mark.CLOCK_DOUBTED)
            if not confirmed and known is None:
                return False
            floor = earliest if known is None or confirmed else min(earliest, int(known) + ran_s)
            await write_mark(conn, Mark.CLOCK_FLOOR, str(max(floor, int(known or 0))))
            return True

        self._has_floor = await self._control.write(verb)
        self._ran_s -= ran_s
        return trusted
