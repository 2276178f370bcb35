"""The line between each node and the hub, in memory, and all that can happen to it. Floor: simulate; walk: link loss.

`SimLink` is a `protocols.sync.link.Link`: bytes go to the hub's own handler after a seeded latency. It keeps the port's
promises (a reply is whole or LinkLost is raised; after LinkLost nobody knows whether the hub took it in) except where a
fault is a broken promise: a half-open line never answers at all, and only the node's own last resort ends the wait.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NoReturn, Protocol

from gridmodel.clock import Rng
from protocols.errors import ProtocolFault
from protocols.sync.link import ANSWER_S_MAX, LinkLost
from simulate.crash import SimulatedCrash
from simulate.faults import Faults
from simulate.scenario import AtEvent
from simulate.trace import Trace

LATENCY_S = (0.02, 0.4)
"""One way, on a healthy line."""
LATE_S = (5.0, 900.0)
"""How much later a duplicate or a held-back request arrives."""
LATE_IN_FLIGHT_MAX = 64
"""Requests still on their way beside the one exchange: more than an hour of the worst line makes."""


class HubDoor(Protocol):
    """The hub as a network sees it."""

    async def serve(self, kind: str, body: bytes) -> bytes:
        """The hub's reply; raises LinkLost when it is down, dies, or refuses."""
        ...


@dataclass(slots=True)
class LineState:
    """What stands against a line now; counts, because faults overlap."""

    down: int = 0
    """Nothing passes."""
    requests_vanish: int = 0
    replies_vanish: int = 0
    half_open: int = 0
    slow_s: float = 0.0
    """Added to each way."""

    @property
    def clean(self) -> bool:
        """Nothing stands against it."""
        return not (self.down or self.requests_vanish or self.replies_vanish or self.half_open or self.slow_s)


class SimLink:
    """One node's line; an implementation of `Link`. `die` kills the node at an event and gives what to raise."""

    def __init__(
        self,
        node: str,
        hub: HubDoor,
        state: LineState,
        *,
        faults: Faults,
        rng: Rng,
        trace: Trace,
        die: Callable[[str], SimulatedCrash],
        answered: Callable[[str], None],
    ) -> None:
        self._node = node
        self._hub = hub
        self._state = state
        self._faults = faults
        self._rng = rng
        self._trace = trace
        self._die = die
        self._answered = answered
        self._closed = False
        self._late: set[asyncio.Task[None]] = set()

    async def exchange(self, kind: str, body: bytes) -> bytes:
        """See `Link.exchange`."""
        if self._closed:
            raise LinkLost(50, "the link was closed", "start the node again")
        self._trace.add("send", self._node, f"{kind} {_digest(body)}")
        if self._faults.strikes(AtEvent.NODE_CRASH_AT_SEND):
            raise self._die(f"at sending a {kind}")
        await self._travel()
        if self._state.requests_vanish or self._faults.strikes(AtEvent.REQUEST_LOST):
            await self._silence(kind)
        if self._faults.strikes(AtEvent.REORDERED):
            self._later(kind, body, "late")
            await self._silence(kind)
        reply = await self._hub.serve(kind, body)
        if self._faults.strikes(AtEvent.DUPLICATED):
            self._later(kind, body, "duplicate")
        return await self._back(kind, reply)

    async def close(self) -> None:
        """See `Link.close`."""
        self._closed = True

    async def _back(self, kind: str, reply: bytes) -> bytes:
        if self._faults.strikes(AtEvent.RESET):
            raise LinkLost(52, "the connection broke off", "the node tries again by itself")
        if self._state.replies_vanish or self._faults.strikes(AtEvent.REPLY_LOST):
            if kind == "push":
                self._faults.happened("reply_lost_after_commit")
            await self._silence(kind)
        await self._travel()
        if self._faults.strikes(AtEvent.NODE_CRASH_AT_REPLY):
            raise self._die(f"at the reply to a {kind}")
        self._trace.add("reply", self._node, f"{kind} {_digest(reply)}")
        self._answered(kind)
        return reply

    async def _travel(self) -> None:
        await asyncio.sleep(self._rng.uniform(*LATENCY_S) + self._state.slow_s)
        if self._state.half_open:
            self._faults.happened("half_open_exchange")
            await asyncio.get_running_loop().create_future()
        if self._state.down:
            raise LinkLost(50, "no connection to the hub: the line is cut", "the node tries again by itself")

    async def _silence(self, kind: str) -> NoReturn:
        """Nothing comes back: the link's own patience ends it, as `HttpLink` does."""
        await asyncio.sleep(ANSWER_S_MAX)
        raise LinkLost(51, f"the hub did not answer a {kind} in time", "the node tries again by itself")

    def _later(self, kind: str, body: bytes, what: str) -> None:
        """The same request reaches the hub once more, or late; its reply goes nowhere."""
        if len(self._late) >= LATE_IN_FLIGHT_MAX:
            return
        task = asyncio.ensure_future(self._arrive_late(kind, body, what, self._rng.uniform(*LATE_S)))
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    async def _arrive_late(self, kind: str, body: bytes, what: str, after_s: float) -> None:
        await asyncio.sleep(after_s)
        self._trace.add("late", self._node, f"{what} {kind} {_digest(body)}")
        try:
            await self._hub.serve(kind, body)
        except ProtocolFault:
            return
        self._faults.happened("duplicate_delivered" if what == "duplicate" else "late_delivered")


async def cut_for(state: LineState, name: str, seconds: float, sleep: Callable[[float], Awaitable[None]]) -> None:
    """Let `name` (a counter of LineState) stand against the line for so many virtual seconds."""
    setattr(state, name, getattr(state, name) + 1)
    try:
        await sleep(seconds)
    finally:
        setattr(state, name, getattr(state, name) - 1)


def _digest(body: bytes) -> str:
    return f"{len(body)}B {hashlib.sha256(body).hexdigest()[:12]}"
