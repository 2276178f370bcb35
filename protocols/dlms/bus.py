"""Everything that is asked of one ``host:port``: turns, patience, and who is left alone. Floor: protocols; reading.

A meter has one association at a time, and behind a gateway all meters share one line: one turn. A concentrator passes
several through at once, each on a connection of its own, so that a late answer dies with its socket here as well; how
many is learned from its answers (`pace`), and each meter behind it still has one.

A meter that stays silent three times is suspended and costs its neighbours nothing but one probe a minute. An address
that does not accept connections is left alone for a growing, jittered while; one that refuses a further one while its
width is full has told its limit. Relay commands go before polls and are tried in spite of both: a late restore flies.
Suspension and back-off are utility time.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gridmodel.clock import Rng, UtilityClock
from protocols.dlms.associating import NO_CONNECTION, Way
from protocols.dlms.concentrators import ConcentratorTable
from protocols.dlms.connection import TurnedAway
from protocols.dlms.faults import DlmsFault, remote_fault
from protocols.dlms.pace import Pace
from protocols.dlms.place import Place
from protocols.dlms.section import DlmsPlan
from protocols.errors import Blame, Hope
from protocols.resting import Resting
from protocols.turns import Priority, Turns

Device = tuple[int, int]
"""Logical and physical device of a meter."""

SILENT = frozenset({"TQ-DM-28", "TQ-DM-81", "TQ-DM-83"})
"""Faults of a meter that does not answer, or not to the end."""


HUNG_UP = "TQ-DM-82"
"""From a concentrator, later than at once: it has given the meter up."""


class Bus:
    """The turns of one ``host:port``."""

    def __init__(self, name: str, clock: UtilityClock, rng: Rng, concentrator: ConcentratorTable | None = None) -> None:
        """`name`: ``host:port``. `concentrator`: what stands there; None: a meter, or a gateway that has one line."""
        self.name = name
        self.concentrator = concentrator
        most = 1 if concentrator is None else concentrator.associations_max
        self._pace = Pace(max(1, most - 1))  # the last one is for restores and relays
        self._turns = Turns[Device](_queue_full, width=self._pace.width, width_max=most)
        self._resting = Resting[Device](clock, rng)

    @property
    def width(self) -> int:
        """How many polls may be under way at once, as learned so far."""
        return self._pace.width

    def way(self, plan: DlmsPlan, place: Place) -> Way:
        """How a call reaches one meter: a concentrator's patience goes before its profile's."""
        timing = plan.timing if self.concentrator is None else self.concentrator.timing
        return Way(place, timing, self._pace)

    def suspended(self, device: Device) -> bool:
        """Whether the meter is left alone at this moment."""
        return self._resting.suspended(device)

    @asynccontextmanager
    async def turn(self, place: Place, priority: Priority) -> AsyncIterator[None]:
        """The right to speak with one meter; what the body raises is booked.

        Raises:
            DlmsFault: 88 the address is in back-off, 89 the meter is suspended, 95 too many wait.

        """
        device = place.device
        if not self._turns.take_free(device, priority):
            await self._turns.take(device, priority)
        if self._turns.held >= self._turns.width:
            self._pace.filled()
        try:
            if not priority.urgent and not self._resting.idle:
                self._refuse_if_resting(place)
            yield
        except DlmsFault as fault:
            self._book(place, fault)
            raise
        else:
            if not self._resting.idle:
                self._resting.answered(device)
                self._resting.accepted()
        finally:
            if self._turns.width != self._pace.width:
                self._turns.widen(self._pace.width)
            self._turns.give(device)

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
        if fault.blame is Blame.LOCAL:
            return  # nothing was sent, or what was says nothing about this address
        held = self._turns.held
        if held > 1 and (fault.code == NO_CONNECTION or isinstance(fault, TurnedAway)):
            if held >= self._turns.width:  # with fewer it took more before: this one was for another reason
                self._pace.refused(held)
        elif fault.code == NO_CONNECTION:
            self._resting.refused()
        elif fault.code in SILENT or (self.concentrator is not None and fault.code == HUNG_UP):
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
