"""The simulated hub as the network reaches it: requests handled in the hub's own tasks. Floor: simulate; link loss.

A node that dies does not stop the hub from committing what it sent, and a hub that dies must not take a node with it:
so every request runs in a task of its own, and the wire turns what came of it into a reply or a lost link.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from gridmodel.fault import Fault
from protocols.errors import Blame, Hope
from protocols.sync.lanes import AckOutcome
from protocols.sync.link import LinkLost
from protocols.sync.messages import PushReply
from simulate.crash import SimulatedCrash
from simulate.judges.sight import Verdicts


class HubHandler(Protocol):
    """A running hub as its wire sees it."""

    async def handle(self, kind: str, body: bytes) -> bytes:
        """See `central_sync.hub.Hub.handle`."""
        ...


class SimHubDoor:
    """`simulate.network.HubDoor` over the running hub, if there is one."""

    def __init__(self, hub: Callable[[], HubHandler | None], verdicts: Verdicts) -> None:
        self._hub = hub
        self._verdicts = verdicts
        self._handlers: set[asyncio.Task[bytes]] = set()

    async def serve(self, kind: str, body: bytes) -> bytes:
        """See `HubDoor.serve`."""
        hub = self._hub()
        if hub is None:
            raise LinkLost(50, "no connection to the hub: it is down", "the node tries again by itself")
        task: asyncio.Task[bytes] = asyncio.ensure_future(self._handled(hub, kind, body))
        self._handlers.add(task)
        task.add_done_callback(self._over)
        await asyncio.wait({task})
        if task.cancelled() or isinstance(task.exception(), SimulatedCrash):
            raise LinkLost(52, "the connection broke off: the hub died", "the node tries again by itself")
        error = task.exception()
        if isinstance(error, Fault):
            self._verdicts.happened("hub_refused_exchange")
            raise LinkLost(56, f"the hub refuses: {error.code} {error.what}", error.hint, hope=Hope.PERMANENT)
        if error is not None:
            self._verdicts.against("hub_handles", "hub", kind, f"{type(error).__name__}: {error}"[:300])
            raise LinkLost(54, "the hub failed", "the node tries again by itself", blame=Blame.REMOTE)
        reply = task.result()
        if kind == "push":
            self._note_outcomes(reply)
        return reply

    def died(self) -> None:
        """The hub's process is gone: so are its handlers, oldest first."""
        for task in sorted(self._handlers, key=hash):
            task.cancel()

    async def _handled(self, hub: HubHandler, kind: str, body: bytes) -> bytes:
        return await hub.handle(kind, body)

    def _over(self, task: asyncio.Task[bytes]) -> None:
        self._handlers.discard(task)
        if not task.cancelled():
            task.exception()  # it was told to whoever waited; nobody may wait any more

    def _note_outcomes(self, reply: bytes) -> None:
        for ack in PushReply.from_bytes(reply).acks:
            match ack.outcome:
                case AckOutcome.APPLIED:
                    continue
                case AckOutcome.QUARANTINED:
                    self._verdicts.happened("batch_quarantined")
                case AckOutcome.DUPLICATE:
                    self._verdicts.happened("batch_duplicate")
                case AckOutcome.GAP:
                    self._verdicts.happened("batch_gap")
                case AckOutcome.FORK:
                    self._verdicts.happened("batch_fork")
                case AckOutcome.REFUSED:
                    self._verdicts.against("hub_handles", "hub", ack.lane.value, f"a true batch refused: {ack.reason}")
