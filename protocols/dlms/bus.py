"""Everything that is asked of one ``host:port``: one association at a time. Floor: protocols; walk: reading.

A meter has one association at a time, and behind a gateway all meters share one line; so a bus is a turn, and what is
known of who answered. A meter that stays silent three times is suspended and costs its neighbours nothing but one probe
a minute. An address that does not accept connections is left alone for a growing, jittered while. Relay commands go
before polls and are tried in spite of both: a late restore flies. Suspension and back-off are utility time.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gridmodel.clock import Rng, UtilityClock
from protocols.dlms.associating import NO_CONNECTION
from protocols.dlms.faults import DlmsFault, remote_fault
from protocols.dlms.place import Place
from protocols.errors import Blame, Hope
from protocols.turns import Turns

SILENCES_BEFORE_SUSPENSION = 3
"""One lost answer is weather, two are bad luck, three in a row are a dead meter."""
SUSPENSION_S = 60
"""A suspended meter is probed once a minute (utility seconds)."""
BACKOFF_S_MIN = 1.0
"""After the first refused connection (utility seconds)."""
BACKOFF_S_MAX = 60.0
"""A gateway that comes back is found within a minute."""
BACKOFF_JITTER = 0.25
"""Gateways of one street that lost power together are not tried again together."""
SILENT = frozenset({"TQ-DM-28", "TQ-DM-81", "TQ-DM-83"})
"""Faults of a meter that does not answer, or not to the end."""


class _Health:
    """What is known about one meter behind this bus."""

    __slots__ = ("rest_until", "silences")

    def __init__(self) -> None:
        self.silences = 0
        self.rest_until = 0


class Bus:
    """The turns of one ``host:port``."""

    def __init__(self, clock: UtilityClock, rng: Rng) -> None:
        self._clock = clock
        self._rng = rng
        self._turns = Turns(_queue_full)
        self._meters: dict[tuple[int, int], _Health] = {}
        self._refusals = 0
        self._retry_at = 0

    def suspended(self, device: tuple[int, int]) -> bool:
        """Whether the meter is left alone at this moment."""
        health = self._meters.get(device)
        return health is not None and self._left_s(health.rest_until, SUSPENSION_S) > 0

    @asynccontextmanager
    async def turn(self, place: Place, *, urgent: bool) -> AsyncIterator[None]:
        """The right to speak with one meter; what the body raises is booked.

        Raises:
            DlmsFault: 88 the address is in back-off, 89 the meter is suspended, 95 too many wait.

        """
        await self._turns.take(urgent=urgent)
        try:
            if not urgent:
                self._refuse_if_resting(place)
            yield
        except DlmsFault as fault:
            self._book(place, fault)
            raise
        else:
            self._meters.pop(place.device, None)
            self._refusals = self._retry_at = 0
        finally:
            self._turns.give()

    def _refuse_if_resting(self, place: Place) -> None:
        if (left_s := self._left_s(self._retry_at, BACKOFF_S_MAX * (1 + BACKOFF_JITTER))) > 0:
            raise remote_fault(
                "TQ-DM-88",
                f"{place.host}:{place.port} did not accept a connection and is left alone for {left_s} s more",
                "check the gateway's supply and network",
            )
        health = self._meters.get(place.device)
        if health is None or health.silences < SILENCES_BEFORE_SUSPENSION:
            return
        if (left_s := self._left_s(health.rest_until, SUSPENSION_S)) > 0:
            raise remote_fault(
                "TQ-DM-89",
                f"device {place.server}/{place.physical} at {place.host}:{place.port} stayed silent and is left alone "
                f"for {left_s} s more",
                "check the meter's supply, line and address; it is probed once a minute",
            )
        health.rest_until = self._clock.now() + SUSPENSION_S

    def _left_s(self, until: int, at_most_s: float) -> int:
        """Utility seconds until `until`; 0 when the clock was set back and the wait would exceed its own limit."""
        left_s = until - self._clock.now()
        return left_s if 0 < left_s <= at_most_s + 1 else 0

    def _book(self, place: Place, fault: DlmsFault) -> None:
        if fault.code == NO_CONNECTION:
            growth = min(BACKOFF_S_MAX, BACKOFF_S_MIN * 2.0 ** min(self._refusals, 10))
            wait_s = growth * self._rng.uniform(1 - BACKOFF_JITTER, 1 + BACKOFF_JITTER)
            self._refusals += 1
            self._retry_at = self._clock.now() + max(1, round(wait_s))
        elif fault.code in SILENT:
            health = self._meters.setdefault(place.device, _Health())
            health.silences += 1
            if health.silences >= SILENCES_BEFORE_SUSPENSION:
                health.rest_until = self._clock.now() + SUSPENSION_S
        elif fault.code not in {"TQ-DM-88", "TQ-DM-89"}:
            self._refusals = self._retry_at = 0


def _queue_full(waiting: int) -> DlmsFault:
    return DlmsFault(
        "TQ-DM-95",
        f"{waiting} calls wait for this address already",
        "poll these meters less often or spread them over more gateways",
        blame=Blame.LOCAL,
        hope=Hope.RETRY,
    )
