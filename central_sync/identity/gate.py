"""The gate of the nodes' interface: which node shows this certificate, and may it speak now? Room: identity; link loss.

TLS has proven that our authority signed the certificate and that the other side has its key. What remains is asked at
every request, so that a revocation acts at the next one, in every process of the hub: is it a node's, was it issued
here, does it still count. One that ended while its office had no link may renew for a while, and do nothing else.

Codes: TQ-CE-20 no certificate, -21 not a node's, -22 not issued here, -23 revoked, -24 ended, -25 ended too long ago,
-26 speaks for another node, -27 sync is not spoken here, -28 not valid yet by the hub's clock.
"""

from central_sync.config import HubConfig
from central_sync.identity.enrolment import Enrolments, Speaker
from central_sync.store.port import HubStore, HubTransaction
from central_sync.store.rows_identity import CertificateRow, EnrolmentRow
from gridmodel.clock import UtilityClock
from gridmodel.identity import NodeId
from gridmodel.period import rfc3339
from hosting.keys_certificates import DAY_S, Certificate, CertificateFault, CertificateKind


class Gate:
    """Judges certificates; see the module."""

    def __init__(self, config: HubConfig, store: HubStore, enrolments: Enrolments, clock: UtilityClock) -> None:
        self._grace_s = 0 if config.tls is None else config.tls.grace_days * DAY_S
        self._nodes = frozenset(node.id for node in config.nodes)
        self._store = store
        self._enrolments = enrolments
        self._clock = clock

    async def speaker(self, der: bytes | None, *, renewing: bool = False) -> Speaker:
        """Who speaks; raises CertificateFault."""
        if der is None:
            raise CertificateFault(20, "no certificate was shown", "edge-node enrol gets one", 401)
        certificate = Certificate.from_der(der)
        if certificate.kind is not CertificateKind.NODE or certificate.name not in self._nodes:
            raise CertificateFault(21, "this is not the certificate of a node of this hub", "edge-node enrol")
        node = NodeId(certificate.name)

        async def verb(tx: HubTransaction) -> tuple[CertificateRow | None, EnrolmentRow | None]:
            return await tx.certificate(certificate.serial), await tx.approved_enrolment(node)

        row, enrolment = await self._store.read(verb)
        if row is None or row.content != der:
            raise CertificateFault(22, "this certificate was not issued here", "enrol again with a new token")
        if row.revoked_at is not None:
            raise CertificateFault(
                23, f"this certificate was revoked {rfc3339(row.revoked_at)}", "ask the hub's operator for a token"
            )
        self._enrolments.know(node, enrolment)  # another process of the hub may have approved it
        return Speaker(node, certificate, self._late_s(certificate, renewing=renewing))

    def _late_s(self, certificate: Certificate, *, renewing: bool) -> int:
        now = self._clock.bounds()
        if now.latest < certificate.not_before:
            raise CertificateFault(
                28, f"this certificate is valid from {rfc3339(certificate.not_before)} on", "set the hub's clock", 503
            )
        late_s = max(0, now.latest + 1 - certificate.not_after)
        if late_s and not renewing:
            raise CertificateFault(
                24, f"the certificate ended {rfc3339(certificate.not_after)}", "the node renews it by itself"
            )
        if late_s > self._grace_s:
            raise CertificateFault(
                25,
                f"the certificate ended {rfc3339(certificate.not_after)}, too long ago to renew it",
                "ask the hub's operator for a token and enrol again; nothing at the office is lost",
            )
        return late_s


def spoken_elsewhere() -> CertificateFault:
    """The answer to a node that speaks where only pages are."""
    return CertificateFault(
        27, "nodes do not speak here: they speak over TLS", "hub.url is https:// and the port of tls.listen"
    )


def check_speaks_for(speaker: Speaker, node: NodeId | None) -> None:
    """A node speaks for itself alone; raises CertificateFault (TQ-CE-26)."""
    if node is not None and speaker.node != node:
        raise CertificateFault(
            26, f"the certificate is that of {speaker.node}, the message that of {node:.64}", "look at `node` there"
        )
