"""SQL: tokens, enrolments, certificates. Floor: central_sync/store; contracts in `port_identity`; walk of link loss."""

from collections.abc import Sequence
from typing import Any

from central_sync.store.rows_identity import CertificateRow, EnrolmentRow, EnrolmentState, TokenRow
from central_sync.store.statements import Statements, inserted, replaced
from gridmodel.identity import NodeId

_TOKEN = "hash, node, made_at, ends_at, made_by"  # noqa: S105 — the names of columns
_ENROLMENT = "id, token, node, signing_key, request, key_hash, requested_at, state, decided_at, decided_by, reason"
_CERTIFICATE = "serial, node, enrolment, content, not_after, issued_at, late_s, revoked_at"


class SqlIdentity:
    """`IdentityVerbs`."""

    _connection: Statements

    async def put_token(self, row: TokenRow) -> None:
        """See `port_identity`."""
        values = (row.hash, row.node, row.made_at, row.ends_at, row.made_by)
        await self._connection.execute(inserted("enrolment_token", _TOKEN), values)

    async def token(self, token: bytes) -> TokenRow | None:
        """See `port_identity`."""
        row = await self._connection.fetch_one(f"SELECT {_TOKEN} FROM enrolment_token WHERE hash = ?", (token,))
        return None if row is None else _token(row)

    async def tokens_unused(self, now: int, limit: int) -> list[TokenRow]:
        """See `port_identity`."""
        rows = await self._connection.fetch_all(
            f"SELECT {_TOKEN} FROM enrolment_token WHERE ends_at > ? AND hash NOT IN (SELECT token FROM enrolment)"
            " ORDER BY ends_at, node LIMIT ?",
            (now, limit),
        )
        return [_token(row) for row in rows]

    async def put_enrolment(self, row: EnrolmentRow) -> None:
        """See `port_identity`."""
        await self._connection.execute(
            replaced("enrolment", _ENROLMENT, "id"),
            (
                *(row.id, row.token, row.node, row.signing_key, row.request, row.key_hash, row.requested_at),
                *(row.state.value, row.decided_at, row.decided_by, row.reason),
            ),
        )

    async def enrolment(self, enrolment: str) -> EnrolmentRow | None:
        """See `port_identity`."""
        return await self._enrolment("id = ?", (enrolment,))

    async def enrolment_by_token(self, token: bytes) -> EnrolmentRow | None:
        """See `port_identity`."""
        return await self._enrolment("token = ?", (token,))

    async def approved_enrolment(self, node: NodeId) -> EnrolmentRow | None:
        """See `port_identity`."""
        return await self._enrolment("node = ? AND state = 'approved'", (node,))

    async def enrolments(self, limit: int) -> list[EnrolmentRow]:
        """See `port_identity`."""
        rows = await self._connection.fetch_all(
            f"SELECT {_ENROLMENT} FROM enrolment"
            " ORDER BY CASE state WHEN 'waiting' THEN 0 ELSE 1 END, requested_at DESC, id LIMIT ?",
            (limit,),
        )
        return [_enrolment(row) for row in rows]

    async def put_certificate(self, row: CertificateRow) -> None:
        """See `port_identity`."""
        await self._connection.execute(
            inserted("certificate", _CERTIFICATE),
            (
                *(row.serial, row.node, row.enrolment, row.content),
                *(row.not_after, row.issued_at, row.late_s, row.revoked_at),
            ),
        )

    async def certificate(self, serial: str) -> CertificateRow | None:
        """See `port_identity`."""
        row = await self._connection.fetch_one(f"SELECT {_CERTIFICATE} FROM certificate WHERE serial = ?", (serial,))
        return None if row is None else _certificate(row)

    async def newest_certificate(self, enrolment: str) -> CertificateRow | None:
        """See `port_identity`."""
        row = await self._connection.fetch_one(
            f"SELECT {_CERTIFICATE} FROM certificate WHERE enrolment = ? ORDER BY issued_at DESC, serial LIMIT 1",
            (enrolment,),
        )
        return None if row is None else _certificate(row)

    async def newest_certificates(self) -> dict[NodeId, CertificateRow]:
        """See `port_identity`."""
        rows = await self._connection.fetch_all(
            f"SELECT {_CERTIFICATE} FROM certificate AS c WHERE NOT EXISTS (SELECT 1 FROM certificate AS later"
            " WHERE later.node = c.node AND later.issued_at > c.issued_at) ORDER BY node, serial DESC"
        )
        return {row.node: row for row in map(_certificate, rows)}

    async def revoke_certificates(self, node: NodeId, now: int) -> int:
        """See `port_identity`."""
        return await self._connection.execute(
            "UPDATE certificate SET revoked_at = ? WHERE node = ? AND revoked_at IS NULL", (now, node)
        )

    async def _enrolment(self, where: str, parameters: Sequence[Any]) -> EnrolmentRow | None:
        row = await self._connection.fetch_one(f"SELECT {_ENROLMENT} FROM enrolment WHERE {where}", parameters)
        return None if row is None else _enrolment(row)


def _token(row: Sequence[Any]) -> TokenRow:
    return TokenRow(bytes(row[0]), NodeId(row[1]), *row[2:])


def _enrolment(row: Sequence[Any]) -> EnrolmentRow:
    return EnrolmentRow(
        row[0], bytes(row[1]), NodeId(row[2]), row[3], bytes(row[4]), bytes(row[5]), row[6],
        EnrolmentState(row[7]), *row[8:],
    )  # fmt: skip


def _certificate(row: Sequence[Any]) -> CertificateRow:
    return CertificateRow(row[0], NodeId(row[1]), row[2], bytes(row[3]), *row[4:])
