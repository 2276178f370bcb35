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
from protocols.resting import Resting
from protocols.turns import Turns

SILENT = frozenset({"TQ-DM-28", "TQ-DM-81", "TQ-DM-83"})
"""Faults of a meter that does not answer, or not to the end."""


class Bus:
    """The turns of one ``host:port``."""

    def __init__(self, clock: UtilityClock, rng: Rng) -> None:
        self._turns = Turns(_queue_full)
        self._resting = Resting[tuple[int, int]](clock, rng)

    def suspended(self, device: tuple[int, int]) -> bool:
        """Whether the meter is left alone at this moment."""
        return self._resting.suspended(device)

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
            self._resting.answered(place.device)
            self._resting.accepted()
        finally:
            self._turns.give()

    def _refuse_if_resting(self, place: Place) -> None:
        if (left_s := self._resting.address_left_s()) > 0:
            raise remote_fault(
                "TQ-DM-88",
                f"{place.host}:{place.port} did not accept a connection and is left alone for {left_s} s more",
                "check the gateway's supply and network",
            )
        if (left_s := self._resting.probe_left_s(place.device)) > 0:
            raise remote_fault(
                "TQ-DM-89",
                f"device {place.server}/{place.physical} at {place.host}:{place.port} stayed silent and is left alone "
                f"for {left_s} s more",
                "check the meter's supply, line and address; it is probed once a minute",
            )

    def _book(self, place: Place, fault: DlmsFault) -> None:
        if fault.code == NO_CONNECTION:
            self._resting.refused()
        elif fault.code in SILENT:
            self._resting.silent(place.device)
        elif fault.code not in {"TQ-DM-88", "TQ-DM-89"}:
            self._resting.accepted()


def _queue_full(waiting: int) -> DlmsFault:
    return DlmsFault(
        "TQ-DM-95",
        f"{waiting} calls wait for this address already",
        "poll these meters less often or spread them over more gateways",
        blame=Blame.LOCAL,
        hope=Hope.RETRY,
    )
