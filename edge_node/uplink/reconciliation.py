"""Whether the node and its hub agree on what both hold; without that nothing is cut. Room: uplink; walk: link loss.

A new or rebuilt store has never heard the hub; a hub restored from a backup lacks what it acknowledged; another hub may
answer in its place. All three stand as marks in the store, in the transaction that notices them, and are taken away
only when every lane is at the hub again, a whole pull went through, and facts were compared by id (`recalling`).

A store that went back itself (a copy was restored, a disk lost) has forgotten cuts that its brakes should count and
payments that its own desk took. The comparison brings back what the hub has of them; what never reached the hub is on
paper alone. So cuts are stopped as well, until a person at the office has entered those receipts and lifts the stop.
"""

from collections.abc import Mapping

from edge_node.store.alarms import clear_alarm, raise_alarm
from edge_node.store.records import stop_cuts_once
from edge_node.store.state import Mark, forget_mark, read_mark, write_mark
from edge_node.wakeups import Wakeups
from gridmodel.event import AlarmKind
from gridmodel.identity import NodeId
from hosting.database import Connection, Database
from protocols.sync.lanes import Lane, LaneMark
from protocols.sync.state import LocalLane

UNKNOWN = "unknown"
"""In place of a hub's incarnation: it moved before it said a word."""
ITSELF = "node"
"""Who stopped the cuts when no person did."""


class Reconciliation:
    """The marks HUB_INCARNATION, HUB_MOVED and RECONCILED_AT of one store."""

    def __init__(self, control: Database, node: NodeId, wakeups: Wakeups) -> None:
        self._control = control
        self._node = node
        self._wakeups = wakeups
        self._known: str | None = None
        self._spoken: str | None = None
        self._settled = False
        self._begun = False

    @property
    def settled(self) -> bool:
        """Whether node and hub agree."""
        return self._settled

    async def begin(self) -> None:
        """Read what an earlier process left."""

        async def verb(conn: Connection) -> tuple[str | None, bool]:
            moved = await read_mark(conn, Mark.HUB_MOVED) is not None
            known = await read_mark(conn, Mark.HUB_INCARNATION)
            return known, await read_mark(conn, Mark.RECONCILED_AT) is not None and not moved

        self._known, self._settled = await self._control.read(verb)
        self._begun = True
        self._spoken = self._known

    async def hub_known(self) -> str | None:
        """The incarnation this store agreed with last."""
        if not self._begun:
            await self.begin()
        return self._known

    async def hub_expected(self) -> str | None:
        """The incarnation this store speaks with: the one it agreed with, or one it met since; None: any."""
        known = await self.hub_known()
        moved = await self._control.read(lambda conn: read_mark(conn, Mark.HUB_MOVED))
        return known if moved in {None, UNKNOWN} else moved

    async def met(self, incarnation: str, now: int) -> bool:
        """A hub answered under this name; gives whether it is another than the one that spoke before."""
        before, self._spoken = self._spoken, incarnation
        changed = before is not None and before != incarnation
        if self._known is not None and incarnation != self._known and changed:
            await self.moved(f"hub {incarnation} answers, {self._known} did before", now)
        return changed

    async def moved(self, what: str, now: int) -> None:
        """The hub moved backwards or was replaced: nothing is cut from now on."""
        self._settled = False

        await self._control.write(lambda conn: self._note_moved(conn, what, now))
        self._wakeups.outbox.set()

    async def rolled_back(self, what: str, now: int) -> None:
        """The hub was put back from a backup: `moved`, under its own name until the hub holds again what it had."""
        self._settled = False

        async def verb(conn: Connection) -> None:
            await self._note_moved(conn, what, now)
            if await read_mark(conn, Mark.HUB_ROLLED_BACK) is None:
                await write_mark(conn, Mark.HUB_ROLLED_BACK, what)
            await raise_alarm(conn, AlarmKind.HUB_ROLLED_BACK, self._node, what, now)

        await self._control.write(verb)
        self._wakeups.outbox.set()

    async def went_back(self, lane: str, now: int) -> None:
        """The hub holds what this store does not: stop cuts, once, for a person to lift when receipts are entered."""
        why = f"this store went back ({lane}): enter receipts that the hub never had, then lift"
        await self._control.write(lambda conn: stop_cuts_once(conn, self._node, ITSELF, why, now))
        self._wakeups.outbox.set()

    async def settle(self, held: Mapping[Lane, LaneMark], local: Mapping[Lane, LocalLane], now: int) -> bool:
        """A whole pull went through: when the hub holds all it ever acknowledged, node and hub agree (again)."""
        if self._settled:
            return True
        for lane, ours in local.items():
            there, acknowledged = held[lane], ours.acknowledged
            if (there.epoch, there.seq) < (acknowledged.epoch, acknowledged.seq):
                return False

        async def verb(conn: Connection) -> None:
            if self._spoken is not None:
                await write_mark(conn, Mark.HUB_INCARNATION, self._spoken)
            if await read_mark(conn, Mark.RECONCILED_AT) is None:
                await write_mark(conn, Mark.RECONCILED_AT, str(now))
            for mark in (Mark.HUB_MOVED, Mark.HUB_ROLLED_BACK, Mark.HUB_HEADS):  # its heights are counted anew
                await forget_mark(conn, mark)
            for kind in (AlarmKind.HUB_MOVED, AlarmKind.HUB_ROLLED_BACK):
                await clear_alarm(conn, kind, self._node, now)

        await self._control.write(verb)
        self._known = self._spoken
        self._settled = True
        self._wakeups.outbox.set()
        self._wakeups.enforcement.set()
        return True

    async def _note_moved(self, conn: Connection, what: str, now: int) -> None:
        await write_mark(conn, Mark.HUB_MOVED, self._spoken or UNKNOWN)
        await write_mark(conn, Mark.RECALL_WANTED, what)
        await raise_alarm(conn, AlarmKind.HUB_MOVED, self._node, what, now)
