"""Enrolment at the hub: tokens, requests, a person's decision, certificates, renewal, revocation. Room: identity.

On the walk of link loss. Which nodes there are, and for which districts, is the configuration's word; an enrolment
gives a configured node its keys. A token is good for one enrolment: the same request again (the same keys) is the same
enrolment, another one is refused. Approving takes the digits that the office reads out: whoever stands between cannot
know both keys. One enrolment of a node counts at a time; its keys take the place of those before.

Codes: TQ-CE-40 no authority here, -41 an argument, -42 a token that is unknown or used up, -43 a token that ended, -44
a token of another node, -45 a node that is not configured, -46 another key is configured, -47 no such enrolment, -48 it
was decided already, -49 other digits.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from central_sync.config import HubConfig
from central_sync.store.port import HubStore, HubTransaction
from central_sync.store.rows_identity import CertificateRow, EnrolmentRow, EnrolmentState, TokenRow
from gridmodel.clock import Entropy, UtilityClock
from gridmodel.identity import NodeId, checked_id, new_id
from gridmodel.period import HOUR_S, rfc3339
from hosting.keys_certificates import (
    Certificate,
    CertificateAuthority,
    CertificateFault,
    SigningRequest,
)
from hosting.log import logger
from protocols.authority.signatures import KeyRing, Role, key_from_text
from protocols.enrolment.messages import HALF_BYTES, EnrolReply, EnrolRequest, Token, fingerprint

TOKEN_HOURS_MAX = 24 * 30
"""A letter may be on its way for some weeks."""
LISTED_MAX = 500
WHY_MAX = 200


@dataclass(frozen=True, slots=True)
class Speaker:
    """Who stands behind a connection."""

    node: NodeId
    certificate: Certificate
    late_s: int
    """Its certificate has ended so many seconds ago; 0 while it is valid."""


class Enrolments:
    """All of it; one instance per process. `ring` is the hub's, told of keys as they come and go."""

    def __init__(
        self,
        config: HubConfig,
        store: HubStore,
        *,
        authority: CertificateAuthority | None,
        ring: KeyRing,
        clock: UtilityClock,
        entropy: Entropy,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._config = config
        self._nodes = {NodeId(node.id): node for node in config.nodes}
        self._store = store
        self.authority = authority
        self._ring = ring
        self._clock = clock
        self._entropy = entropy
        self._changed = changed
        self._log = logger("enrolment")

    async def learn(self) -> None:
        """Take the keys of approved enrolments into the ring."""
        for node in self._nodes:
            row = await self._store.read(lambda tx, node=node: tx.approved_enrolment(node))  # type: ignore[misc]
            self.know(node, row)

    def know(self, node: NodeId, row: EnrolmentRow | None) -> None:
        """The key of the approved enrolment is the node's, unless the configuration names one."""
        if self._nodes[node].public_key is None:
            self._ring.assign(node, Role.NODE, None if row is None else key_from_text(row.signing_key))

    async def token(self, node: str, hours: int, by: str) -> dict[str, Any]:
        """A token for an office; shown once, kept as a hash."""
        if not 1 <= hours <= TOKEN_HOURS_MAX:
            raise CertificateFault(41, f"a token lives 1 to {TOKEN_HOURS_MAX} hours", "--hours 72", 400)
        authority, known, now = self._needed(), self._known(node), self._clock.now()
        token = Token(authority.certificate.fingerprint[:HALF_BYTES], self._entropy.token(HALF_BYTES))
        row = TokenRow(token.hash, known, now, now + hours * HOUR_S, checked_id("person", by))
        await self._store.write(lambda tx: tx.put_token(row))
        self._log.info("token_made", node=known, by=by, token=token.hash.hex()[:8])
        return {"ok": True, "node": known, "token": token.to_text(), "ends_at": rfc3339(row.ends_at)}

    async def request(self, asked: EnrolRequest) -> EnrolReply:
        """A node asks; the same again gives how it stands. Raises CertificateFault, EnrolmentFault."""
        self._needed()
        asked.check(self._config.domain)
        signing = SigningRequest.from_der(asked.request)
        if signing.node != asked.node:
            raise CertificateFault(6, "the signing request names another node", "send what edge-node enrol made", 400)
        configured = self._nodes.get(asked.node)
        now, fresh = self._clock.now(), new_id("enrol", self._entropy)

        async def verb(tx: HubTransaction) -> EnrolmentRow:
            token = await tx.token(asked.token_hash)
            if token is None:
                raise CertificateFault(42, "this token is not known here", "ask the hub's operator for a new one")
            if token.node != asked.node:
                raise CertificateFault(44, "this token is for another node", "look at `node` in the configuration")
            held = await tx.enrolment_by_token(token.hash)
            if held is not None:
                if (held.key_hash, held.signing_key) != (signing.key_hash, asked.signing_key):
                    raise CertificateFault(
                        42,
                        "this token was used already, with other keys",
                        "if it was not this office: tell the hub's operator at once; else ask for a new token",
                    )
                return held
            if now >= token.ends_at:
                raise CertificateFault(43, "this token has ended", "ask the hub's operator for a new one")
            if configured is None:
                raise CertificateFault(45, f"no node {asked.node} is configured here", "add it to [[nodes]]")
            if configured.public_key not in {None, asked.signing_key}:
                raise CertificateFault(
                    46,
                    "the hub's configuration names another signing key for this node",
                    "take public_key out of its [[nodes]], restart the hub, and try again",
                )
            row = EnrolmentRow(
                id=fresh,
                token=token.hash,
                node=asked.node,
                signing_key=asked.signing_key,
                request=asked.request,
                key_hash=signing.key_hash,
                requested_at=now,
                state=EnrolmentState.WAITING,
                decided_at=None,
                decided_by="",
                reason="",
            )
            await tx.put_enrolment(row)
            return row

        row = await self._store.write(verb)
        if row.id == fresh:
            self._log.warning("enrolment_waits", node=row.node, enrolment=row.id, fingerprint=digits_of(row))
            self._changed()
        return await self._reply(row)

    async def state(self, enrolment: str) -> EnrolReply:
        """How an enrolment stands; raises CertificateFault (TQ-CE-47)."""
        row = await self._store.read(lambda tx: tx.enrolment(enrolment))
        if row is None:
            raise _unknown(enrolment)
        return await self._reply(row)

    async def approve(self, enrolment: str, digits: str, by: str) -> dict[str, Any]:
        """A person compared the digits: the node gets its certificate. Raises CertificateFault."""
        person, authority, now = checked_id("person", by), self._needed(), self._clock.now()

        async def verb(tx: HubTransaction) -> tuple[EnrolmentRow, Certificate]:
            row = await self._waiting(tx, enrolment)
            if "".join(digits.split()) != "".join(digits_of(row).split()):
                raise CertificateFault(
                    49,
                    "the digits are not those of this enrolment",
                    "let the office read them out again; if they differ, reject it: somebody stands between",
                )
            before = await tx.approved_enrolment(row.node)
            if before is not None:
                await tx.put_enrolment(replace(before, state=EnrolmentState.REPLACED))
                await tx.revoke_certificates(row.node, now)
            row = replace(row, state=EnrolmentState.APPROVED, decided_at=now, decided_by=person)
            await tx.put_enrolment(row)
            request = SigningRequest.from_der(row.request)
            certificate = authority.for_node(request, row.node, now, self._days, self._entropy)
            await tx.put_certificate(_issued(certificate, row, now, 0))
            return row, certificate

        row, certificate = await self._store.write(verb)
        self.know(row.node, row)
        self._log.warning("enrolment_approved", node=row.node, enrolment=row.id, by=person)
        self._changed()
        return {"ok": True, "node": row.node, "enrolment": row.id, "not_after": rfc3339(certificate.not_after)}

    async def reject(self, enrolment: str, by: str, why: str) -> dict[str, Any]:
        """A person says no. Raises CertificateFault."""
        person, now = checked_id("person", by), self._clock.now()

        async def verb(tx: HubTransaction) -> EnrolmentRow:
            row = await self._waiting(tx, enrolment)
            state = EnrolmentState.REJECTED
            row = replace(row, state=state, decided_at=now, decided_by=person, reason=why[:WHY_MAX])
            await tx.put_enrolment(row)
            return row

        row = await self._store.write(verb)
        self._log.warning("enrolment_rejected", node=row.node, enrolment=row.id, by=person)
        return {"ok": True, "node": row.node, "enrolment": row.id, "state": row.state.value}

    async def revoke(self, node: str, by: str, why: str) -> dict[str, Any]:
        """Nothing that the node's keys say counts from the next request on, until it enrols again."""
        person, known, now = checked_id("person", by), self._known(node), self._clock.now()

        async def verb(tx: HubTransaction) -> int:
            row = await tx.approved_enrolment(known)
            if row is not None:
                state = EnrolmentState.REVOKED
                await tx.put_enrolment(
                    replace(row, state=state, decided_at=now, decided_by=person, reason=why[:WHY_MAX])
                )
            return await tx.revoke_certificates(known, now)

        count = await self._store.write(verb)
        self.know(known, None)
        self._log.warning("node_revoked", node=known, by=person, certificates=count)
        self._changed()
        return {"ok": True, "node": known, "certificates": count}

    async def renew(self, speaker: Speaker, request: bytes) -> Certificate:
        """A new certificate for whoever shows one that counts, or ended not too long ago."""
        authority, signing, now = self._needed(), SigningRequest.from_der(request), self._clock.now()
        if signing.node != speaker.node:
            raise CertificateFault(44, "the signing request names another node", "renew your own", 403)

        async def verb(tx: HubTransaction) -> Certificate:
            row = await tx.approved_enrolment(speaker.node)
            if row is None:
                raise CertificateFault(42, "no enrolment of this node counts", "ask for a token and enrol again")
            certificate = authority.for_node(signing, speaker.node, now, self._days, self._entropy)
            await tx.put_certificate(_issued(certificate, row, now, speaker.late_s))
            return certificate

        certificate = await self._store.write(verb)
        self._log.info("certificate_renewed", node=speaker.node, late_s=speaker.late_s)
        self._changed()
        return certificate

    async def listed(self) -> dict[str, Any]:
        """Enrolments, those that wait first, and tokens that may still be used."""
        now = self._clock.now()

        async def verb(tx: HubTransaction) -> tuple[list[EnrolmentRow], list[TokenRow]]:
            return await tx.enrolments(LISTED_MAX), await tx.tokens_unused(now, LISTED_MAX)

        rows, tokens = await self._store.read(verb)
        return {
            "enrolments": [
                {
                    "enrolment": row.id,
                    "node": row.node,
                    "state": row.state.value,
                    "fingerprint": digits_of(row),
                    "signing_key": row.signing_key,
                    "requested_at": rfc3339(row.requested_at),
                    "decided_at": None if row.decided_at is None else rfc3339(row.decided_at),
                    "decided_by": row.decided_by or None,
                    "reason": row.reason or None,
                }
                for row in rows
            ],
            "tokens": [{"node": row.node, "ends_at": rfc3339(row.ends_at), "made_by": row.made_by} for row in tokens],
        }

    @property
    def _days(self) -> int:
        return 90 if self._config.tls is None else self._config.tls.certificate_days

    def _needed(self) -> CertificateAuthority:
        if self.authority is None:
            raise CertificateFault(
                40, "this hub has no authority", "central-sync ca make, then [tls] in its configuration", 503
            )
        return self.authority

    def _known(self, node: str) -> NodeId:
        known = NodeId(checked_id("node", node))
        if known not in self._nodes:
            raise CertificateFault(45, f"no node {known} is configured here", "add it to [[nodes]]", 404)
        return known

    async def _waiting(self, tx: HubTransaction, enrolment: str) -> EnrolmentRow:
        row = await tx.enrolment(enrolment)
        if row is None:
            raise _unknown(enrolment)
        if row.state is not EnrolmentState.WAITING:
            raise CertificateFault(48, f"this enrolment is {row.state.value} already", "central-sync enrol list", 409)
        return row

    async def _reply(self, row: EnrolmentRow) -> EnrolReply:
        issued = None
        if row.state is EnrolmentState.APPROVED:
            issued = await self._store.read(lambda tx: tx.newest_certificate(row.id))
        return EnrolReply(
            enrolment=row.id,
            state=row.state.value,
            fingerprint=digits_of(row),
            certificate="" if issued is None else Certificate.from_der(issued.content).pem,
            reason=row.reason,
            hub_time=self._clock.now(),
        )


def digits_of(row: EnrolmentRow) -> str:
    """What two persons compare."""
    return fingerprint(row.node, row.key_hash, row.signing_key)


def _issued(certificate: Certificate, row: EnrolmentRow, now: int, late_s: int) -> CertificateRow:
    return CertificateRow(
        certificate.serial, row.node, row.id, certificate.der, certificate.not_after, now, late_s, None
    )


def _unknown(enrolment: str) -> CertificateFault:
    return CertificateFault(47, f"there is no enrolment {enrolment!r:.40} here", "central-sync enrol list", 404)
