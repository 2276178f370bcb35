"""Who may speak as which node, as verbs of a transaction: a part of `port`. Floor: central_sync/store."""

from typing import Protocol

from central_sync.store.rows_identity import CertificateRow, EnrolmentRow, TokenRow
from gridmodel.identity import NodeId


class IdentityVerbs(Protocol):
    """Tokens, enrolments, certificates."""

    async def put_token(self, row: TokenRow) -> None:
        """Keep a token."""
        ...

    async def token(self, token: bytes) -> TokenRow | None:
        """The token of that hash."""
        ...

    async def tokens_unused(self, now: int, limit: int) -> list[TokenRow]:
        """Tokens that somebody may still use, the one that ends first first."""
        ...

    async def put_enrolment(self, row: EnrolmentRow) -> None:
        """Keep an enrolment, or what became of it."""
        ...

    async def enrolment(self, enrolment: str) -> EnrolmentRow | None:
        """One by its id."""
        ...

    async def enrolment_by_token(self, token: bytes) -> EnrolmentRow | None:
        """The one that used the token of that hash."""
        ...

    async def approved_enrolment(self, node: NodeId) -> EnrolmentRow | None:
        """The one whose keys count for the node, if one does."""
        ...

    async def enrolments(self, limit: int) -> list[EnrolmentRow]:
        """The latest first, those that wait for a person before all."""
        ...

    async def put_certificate(self, row: CertificateRow) -> None:
        """Keep a certificate that is issued."""
        ...

    async def certificate(self, serial: str) -> CertificateRow | None:
        """One by its serial number."""
        ...

    async def newest_certificate(self, enrolment: str) -> CertificateRow | None:
        """The latest of an enrolment."""
        ...

    async def newest_certificates(self) -> dict[NodeId, CertificateRow]:
        """The latest of every node."""
        ...

    async def revoke_certificates(self, node: NodeId, now: int) -> int:
        """None of the node's counts any more; gives how many did."""
        ...
