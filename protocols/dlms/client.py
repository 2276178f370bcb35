"""A client over any carrier: bytes in, bytes out, outcomes; still no I/O. Floor: protocols; walks: reading, payment.

The driver owns a socket and this object: it writes what the verbs give, feeds what arrives, and looks at the outcomes.
The verbs of the association (`get`, `set`, `act`, …) make APDUs; `send` puts one on the carrier.
"""

from protocols.dlms.association import ClientAssociation
from protocols.dlms.carrier import Carrier
from protocols.dlms.state import ClientState
from protocols.dlms.terms import Outcome, Send


class DlmsClient:
    """One association over one carrier; not used again after a `DlmsFault` that closed it."""

    __slots__ = ("association", "carrier")

    def __init__(self, carrier: Carrier, association: ClientAssociation) -> None:
        self.carrier = carrier
        self.association = association

    def connect(self) -> bytes:
        """What to write first: the carrier's greeting or, where it has none, the AARQ."""
        out = self.carrier.connect()
        return out + self.carrier.send(self.association.open()) if self.carrier.ready else out

    def send(self, apdu: bytes) -> bytes:
        """What to write for one APDU of the association's."""
        return self.carrier.send(apdu)

    def receive(self, data: bytes) -> tuple[bytes, list[Outcome]]:
        """What to write now, and the outcomes that the bytes amount to (never a `Send`).

        Raises:
            DlmsFault: as the carrier and `ClientAssociation.receive`.

        """
        incoming = self.carrier.receive(data)
        out = incoming.reply
        outcomes: list[Outcome] = []
        for apdu in incoming.apdus:
            outcome = self.association.receive(apdu)
            if isinstance(outcome, Send):
                out += self.carrier.send(outcome.apdu)
            else:
                outcomes.append(outcome)
        if self.association.state is ClientState.IDLE and self.carrier.ready:
            out += self.carrier.send(self.association.open())
        return out, outcomes
