"""One TCP connection that carries one association, believed only while it keeps every rule. Floor: protocols; reading.

One request is out at a time. The codec judges every byte: an answer with another invoke id, another's address or ports,
another counter or key, spoils the connection, and a spoiled connection is closed and never used again; so a late answer
dies with the socket it was meant for. A connection lives for one call of the driver.
"""

import asyncio
from typing import cast

from gridmodel.clock import IoClock
from protocols.dlms.association import REFUSED_REQUEST
from protocols.dlms.client import DlmsClient
from protocols.dlms.faults import DlmsFault, remote_fault
from protocols.dlms.pace import Pace
from protocols.dlms.state import ClientState
from protocols.dlms.terms import Notified, Outcome
from protocols.errors import Blame, Hope

TURNED_AWAY_S = 1.0
"""I/O seconds within which a connection without an answer was not meant to last; dead meters take longer to be told."""
NOTICES_MAX = 64
"""Notifications that a meter may send into one call; more is a meter that does not listen."""


class TurnedAway(DlmsFault):
    """TQ-DM-82 of a connection that was closed at once: whoever took it has enough of them, or knows no such meter."""

    def __init__(self, what: str) -> None:
        hint = "check the meter, and how many connections its gateway takes"
        super().__init__("TQ-DM-82", what, hint, blame=Blame.REMOTE, hope=Hope.RETRY)


class Connection(asyncio.Protocol):
    """The client's end; `spoiled` says why it must not be used any more."""

    def __init__(self, client: DlmsClient, timeout_s: float, retries: int, io_clock: IoClock, pace: Pace) -> None:
        """`timeout_s`: I/O seconds without a byte that are silence; `retries`: HDLC repeats before it is one.

        `pace` is told how long each exchange took, or that it was lost.
        """
        self.client = client
        self.spoiled: DlmsFault | None = None
        self._io_clock = io_clock
        self._timeout_s = timeout_s
        self._retries = retries
        self._pace = pace
        self._asked_at = 0.0
        self._left = retries
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[Outcome] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._heard_at = 0.0
        self._made_at = 0.0
        self._answered = False
        """Whether any byte ever came."""
        self._bytes = 0
        self._notices = 0
        self._last_at: float | None = None
        """When the request was sent whose answer nobody needs."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The event loop hands over the open transport."""
        self._transport = cast("asyncio.Transport", transport)
        self._made_at = self._io_clock.monotonic()

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side is gone: whoever waits is told."""
        why = f": {exc}" if exc else ""
        half = f" after {self._bytes} bytes of an answer" if self._bytes else ""
        if self._transport is not None:
            open_circle(self._transport)
        if self.spoiled is not None:
            return
        if not self._answered and self._io_clock.monotonic() - self._made_at <= TURNED_AWAY_S:
            self._spoil(TurnedAway(f"the connection was closed as soon as it was made{why}"))
        else:
            if self._waiting is not None:
                self._pace.lost()
            self._spoil(remote_fault("TQ-DM-82", f"the meter closed the connection{half}{why}", "check the meter"))

    def data_received(self, data: bytes) -> None:
        """Take bytes off the wire; what breaks a rule spoils the connection."""
        if self.spoiled is not None:
            return
        self._heard_at = self._io_clock.monotonic()
        self._answered = True
        self._bytes += len(data)
        try:
            out, outcomes = self.client.receive(data)
        except DlmsFault as fault:
            if fault.code != REFUSED_REQUEST:
                self._spoil(fault)
            else:
                self._resolve(fault)
            return
        if out and self._transport is not None:
            self._exchanged()
            self._left = self._retries
            self._transport.write(out)
        for outcome in outcomes:
            if isinstance(outcome, Notified):
                self._notices += 1
                if self._notices > NOTICES_MAX:
                    self._spoil(remote_fault("TQ-DM-84", f"{NOTICES_MAX} notifications came into one call"))
            else:
                self._resolve(outcome)

    def begin(self) -> asyncio.Future[Outcome]:
        """Open link and association; the future gives `Opened`, or raises the fault that ended the connection."""
        return self._expect(self.client.connect())

    def ask(self, apdu: bytes, *, last: bool = False) -> asyncio.Future[Outcome]:
        """Send one request of the association's; the future gives its outcome or raises a DlmsFault.

        `last`: nobody needs the answer; a meter that drips bytes is silent then.
        """
        if self.spoiled is not None:
            raise self.spoiled
        self._last_at = self._io_clock.monotonic() if last else None
        return self._expect(self.client.send(apdu))

    @property
    def sound(self) -> bool:
        """Whether the association is open, idle, and may be asked more."""
        return self.spoiled is None and self.client.association.state is ClientState.ASSOCIATED

    def hang_up(self) -> None:
        """Say good-bye where the link has a word for it, and close. Nothing is waited for."""
        if self.spoiled is None and self._transport is not None:
            out = self.client.carrier.disconnect()
            if out:
                self._transport.write(out)
            self._transport.close()
        self.spoiled = _hung_up()  # and not what went before: its traceback holds whoever asked, who holds this
        self._still()

    def abandon(self, fault: DlmsFault) -> None:
        """Spoil the connection for a reason of the caller's and close it at once."""
        self._spoil(fault)

    def _expect(self, out: bytes) -> asyncio.Future[Outcome]:
        waiting: asyncio.Future[Outcome] = self._loop.create_future()
        if self._transport is None or self.spoiled is not None:
            waiting.set_exception(self.spoiled or _hung_up())
            return waiting
        self._waiting = waiting
        self._heard_at = self._asked_at = self._io_clock.monotonic()
        self._bytes = 0
        self._left = self._retries
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout_s, self._ring)
        self._transport.write(out)
        return waiting

    def _ring(self) -> None:
        """One timer for all requests: looked at when it rings, not made anew with every request."""
        self._timer = None
        if self._waiting is None or self._waiting.done():
            return
        since = self._heard_at if self._last_at is None else self._last_at
        left_s = since + self._timeout_s - self._io_clock.monotonic()
        if left_s > 0:
            self._timer = self._loop.call_later(left_s, self._ring)
            return
        again = b""
        opening = self.client.association.state is ClientState.IDLE
        if self._left > 0 and not opening:
            self._left -= 1
            try:
                again = self.client.carrier.retry()
            except DlmsFault as fault:
                self._spoil(fault)
                return
        if not again or self._transport is None:
            self._spoil(self._silence())
            return
        self._heard_at = self._io_clock.monotonic()
        self._timer = self._loop.call_later(self._timeout_s, self._ring)
        self._transport.write(again)

    def _silence(self) -> DlmsFault:
        self._pace.lost()
        half = f" after {self._bytes} bytes" if self._bytes else ""
        return remote_fault(
            "TQ-DM-81",
            f"the meter fell silent{half} for {self._timeout_s} s while {self.client.association.state.value}",
            "check the meter's supply and line, client, address and security of its profile",
        )

    def _resolve(self, outcome: Outcome | DlmsFault) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is None or waiting.done():
            return
        if isinstance(outcome, DlmsFault):
            waiting.set_exception(outcome)
        else:
            self._exchanged()
            waiting.set_result(outcome)

    def _exchanged(self) -> None:
        """Something was asked and answered: an association's step, a block, a result."""
        self._pace.answered(self._heard_at - self._asked_at)
        self._asked_at = self._heard_at

    def _still(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _spoil(self, fault: DlmsFault) -> None:
        if self.spoiled is None:
            self.spoiled = fault
        self._still()
        self._resolve(self.spoiled)
        if self._transport is not None and not self._transport.is_closing():
            self._transport.abort()


def open_circle(transport: asyncio.BaseTransport) -> None:
    """Let a transport that is closed die by itself: asyncio's keeps one of its own methods, which is a circle.

    Hundreds of connections a second would leave the garbage collector circles by the ten thousand, and each of its
    walks holds up the loop.
    """
    getattr(transport, "__dict__", {}).pop("_read_ready_cb", None)


def _hung_up() -> DlmsFault:
    return remote_fault("TQ-DM-82", "the connection is closed already", "the next call opens a new one", Hope.RETRY)
