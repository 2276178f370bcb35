"""Mandates at the hub: carried, never made. Room: authority; on the payment walk.

Persons draft and sign files on their own machines (`draft`, `signed_text`; the commands `mandate new` and `mandate
sign` run there without a hub). `publish` looks whether enough approvers known here signed, so that a mistake is told to
the person in front of the screen, and puts the file, byte for byte, into the node's authority lane; the node counts the
persons again. The hub process never reads a person's private key.

Codes: TQ-HB-40 a mandate that cannot be published, -41 an unknown node.
"""

from dataclasses import asdict, dataclass
from typing import Any

from central_sync.store.port import HubStore, HubTransaction
from central_sync.store.rows import IssuedRow
from gridmodel.clock import Entropy, TimeBounds, UtilityClock
from gridmodel.fault import Fault
from gridmodel.identity import NodeId, new_id
from gridmodel.period import rfc3339
from protocols.authority.mandate import (
    Mandate,
    MandateAccepted,
    MandateOutcome,
    MandateRefused,
    SignedMandate,
    check_mandate,
)
from protocols.authority.signatures import KeyRing
from protocols.sync import wire
from protocols.sync.facts import ITEM_LIMITS
from protocols.sync.lanes import DownLane

KIND = "mandate"
LISTED_MAX = 1_000
"""Mandates of one node: at least one a fortnight, for decades."""


class MandatePublishFault(Fault):
    """A mandate that the hub does not carry. `status` says refused by policy."""

    status = 409


@dataclass(frozen=True, slots=True)
class MandateTerms:
    """What a person asks for when drafting a mandate."""

    node: NodeId
    not_before: int
    expires: int
    policy_version: str
    quota_per_day: int
    watermark_age_h_max: int
    account_classes: tuple[str, ...]
    counter: int


def draft(terms: MandateTerms, now: int, entropy: Entropy) -> SignedMandate:
    """A mandate without signatures; raises MandateFault for terms that no mandate may have."""
    return SignedMandate(Mandate(id=new_id("mandate", entropy), issued_at=now, **asdict(terms)))


def shown(signed: SignedMandate) -> dict[str, Any]:
    """The mandate as a person reads it before signing, and later in lists."""
    mandate = signed.mandate
    return asdict(mandate) | {
        "account_classes": list(mandate.account_classes),
        "issued_at": rfc3339(mandate.issued_at),
        "not_before": rfc3339(mandate.not_before),
        "expires": rfc3339(mandate.expires),
        "persons_needed": mandate.persons_needed(),
        "signatures": [signature.key_id for signature in signed.signatures],
    }


class MandateOffice:
    """Publishes mandates to nodes and lists what was published."""

    def __init__(self, store: HubStore, clock: UtilityClock, keyring: KeyRing) -> None:
        self._store = store
        self._clock = clock
        self._keyring = keyring

    async def publish(self, document: bytes) -> dict[str, Any]:
        """Carry a signed mandate to its node; the same file twice is carried once. Raises Fault."""
        signed = SignedMandate.from_json(document)
        mandate = signed.mandate
        now = self._clock.now()

        async def verb(tx: HubTransaction) -> bool:
            if await tx.node(mandate.node) is None:
                raise MandatePublishFault(
                    "TQ-HB-41", f"no node {mandate.node} is known here", "mend the mandate or [[nodes]]"
                )
            published = await tx.issued_to(KIND, mandate.node, LISTED_MAX)
            if any(row.id == mandate.id and row.content.encode("utf-8") == document for row in published):
                return False
            highest = max(
                (SignedMandate.from_json(row.content.encode()).mandate.counter for row in published), default=0
            )
            outcome = self._checked(signed, highest)
            if isinstance(outcome, MandateRefused):
                raise MandatePublishFault(
                    "TQ-HB-40",
                    f"the mandate permits nothing: {outcome.what}",
                    "let the approvers sign it, or draft anew",
                )
            row = IssuedRow(KIND, mandate.id, mandate.node, mandate.node, document.decode("utf-8"), now)
            await tx.put_issued([row])
            body = wire.pack({"document": document}, ITEM_LIMITS)
            await tx.append_down(mandate.node, DownLane.AUTHORITY, [(KIND, mandate.id, body)], now)
            return True

        new = await self._store.write_for(mandate.node, verb)
        outcome = self._checked(signed, mandate.counter - 1)
        persons = sorted(outcome.persons) if isinstance(outcome, MandateAccepted) else []
        return {"mandate": mandate.id, "node": mandate.node, "new": new, "persons": persons}

    async def listed(self, node: NodeId | None) -> list[dict[str, Any]]:
        """What was published, newest first, each with what it permits now."""

        async def verb(tx: HubTransaction) -> list[IssuedRow]:
            nodes = [node] if node is not None else [row.id for row in await tx.nodes()]
            return [row for one in nodes for row in await tx.issued_to(KIND, one, LISTED_MAX)]

        found = []
        for row in await self._store.read(verb):
            signed = SignedMandate.from_json(row.content.encode("utf-8"))
            outcome = check_mandate(
                signed, self._keyring, row.node, self._clock.bounds(), counter_above=signed.mandate.counter - 1
            )
            state = "in_force" if isinstance(outcome, MandateAccepted) else outcome.reason.value
            found.append(shown(signed) | {"published_at": rfc3339(row.issued_at), "state": state})
        return found

    def _checked(self, signed: SignedMandate, counter_above: int) -> MandateOutcome:
        """Judged for the moment when its time will have come: it may be published ahead."""
        now, start = self._clock.bounds(), signed.mandate.not_before
        moment = TimeBounds(max(now.earliest, start), max(now.latest, start))
        return check_mandate(signed, self._keyring, signed.mandate.node, moment, counter_above=counter_above)
