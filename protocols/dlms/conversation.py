"""One open association with one meter: ask, act, write, release. Floor: protocols; walks: reading, payment.

On top of the connection, below the driver. A refusal by the meter of one attribute is a result; everything that breaks
the association is a `DlmsFault`, and the connection is gone with it.
"""

from collections.abc import Sequence
from typing import TypeVar

from gridmodel.clock import IoClock
from protocols.dlms.apdu.action import MethodOutcome
from protocols.dlms.apdu.initiate import Conformance
from protocols.dlms.apdu.parts import (
    AccessResult,
    AccessSelection,
    ActionResult,
    AttributeDescriptor,
    AttributeRequest,
    GetResult,
    MethodDescriptor,
)
from protocols.dlms.association import ClientAssociation
from protocols.dlms.blocks import ReservedCounter
from protocols.dlms.connection import Connection
from protocols.dlms.data import Data
from protocols.dlms.exchanges import Acted, Got, Written
from protocols.dlms.faults import DlmsFault, remote_fault
from protocols.dlms.section import DlmsPlan, write_name
from protocols.errors import Hope

T = TypeVar("T")


class Conversation:
    """An association that is open; ended by `release` and `hang_up`."""

    def __init__(
        self, connection: Connection, plan: DlmsPlan, pause_ms: int, io_clock: IoClock, counter: ReservedCounter
    ) -> None:
        """`pause_ms`: I/O time before each request, for whoever needs a breath."""
        self.counter = counter
        """The invocation counters set aside for it."""
        self.connection = connection
        """What carries it."""
        self._io_clock = io_clock
        self._pause_s = pause_ms / 1000
        self._release = plan.quirks.release
        self._list_max = plan.quirks.list_items_max

    @property
    def association(self) -> ClientAssociation:
        """The codec's side of it."""
        return self.connection.client.association

    async def get(self, attributes: Sequence[AttributeDescriptor]) -> tuple[GetResult, ...]:
        """Several attributes in order, with as few requests as meter and profile allow."""
        results: list[GetResult] = []
        agreed = self.association.agreed
        listed = agreed is not None and Conformance.MULTIPLE_REFERENCES in agreed.conformance
        size = min(self._list_max, self.association.list_items_max) if listed else 1
        for at in range(0, len(attributes), size):
            part = attributes[at : at + size]
            if len(part) == 1:
                results.append(await self.get_one(part[0]))
            else:
                apdu = self.association.get_list(tuple(AttributeRequest(one) for one in part))
                results += (await self._ask(apdu, Got)).results
        return tuple(results)

    async def get_one(self, attribute: AttributeDescriptor, selection: AccessSelection | None = None) -> GetResult:
        """One attribute, or the selected part of it."""
        return (await self._ask(self.association.get(attribute, selection), Got)).results[0]

    async def act(self, method: MethodDescriptor, parameter: Data | None) -> MethodOutcome:
        """Invoke a method. Raises DlmsFault TQ-DM-51 when the meter does not do it."""
        outcome = (await self._ask(self.association.act(method, parameter), Acted)).outcomes[0]
        if outcome.result is not ActionResult.SUCCESS:
            raise _not_done(write_name(method), outcome.result)
        return outcome

    async def write(self, attribute: AttributeDescriptor, value: Data) -> None:
        """Write one attribute. Raises DlmsFault TQ-DM-51 when the meter does not take it."""
        result = (await self._ask(self.association.set(attribute, value), Written)).results[0]
        if result is not AccessResult.SUCCESS:
            raise _not_done(write_name(attribute), result)

    async def release(self) -> None:
        """End the association in good order, as far as the meter plays along: what was asked is answered already."""
        if self._release == "none" or not self.connection.sound:
            return
        try:
            await self.connection.ask(self.association.release(), last=True)
        except DlmsFault as fault:
            self.connection.abandon(fault)

    def hang_up(self) -> None:
        """Close the connection, in whatever state. Idempotent."""
        self.connection.hang_up()

    async def _ask(self, apdu: bytes, kind: type[T]) -> T:
        if self._pause_s:
            await self._io_clock.sleep(self._pause_s)
        outcome = await self.connection.ask(apdu)
        if not isinstance(outcome, kind):
            raise remote_fault("TQ-DM-42", f"{type(outcome).__name__} came for {kind.__name__}")
        return outcome


def _not_done(name: str, why: AccessResult | ActionResult) -> DlmsFault:
    passing = why.name == "TEMPORARY_FAILURE"
    return remote_fault(
        "TQ-DM-51",
        f"the meter refused {name}: {why.name.lower()}",
        "nothing moved: look at control mode, access rights and lock of this meter",
        Hope.RETRY if passing else Hope.PERMANENT,
    )
