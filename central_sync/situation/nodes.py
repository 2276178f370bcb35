"""How the nodes stand, worked out from what is durable here. Room: situation; on the walk of link loss.

Never seen, live, stale, offline: told by when a node was last heard, by limits that the configuration names, after
Netdata. A node without a link is no fault of its own: its office goes on. What it still owes is its own word
(node_status) and may be as old as the link loss.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from central_sync.config import SituationConfig
from central_sync.store.port import HubStore, HubTransaction
from central_sync.store.rows import AlarmRow, LinkSpan, NodeRow, OperationRow, bundle_mark
from central_sync.store.rows_identity import CertificateRow
from gridmodel.clock import UtilityClock
from gridmodel.fault import Fault
from gridmodel.identity import NodeId
from gridmodel.period import rfc3339
from protocols.sync import wire
from protocols.sync.facts import ITEM_LIMITS
from protocols.sync.field_works import work_to_body
from protocols.sync.lanes import Lane

SPANS_SHOWN_MAX = 50
"""A month of a bad line fits; the page says what is older."""
LISTED_MAX = 500
"""Rows of one list of alarms or relay operations."""


class NodeFault(Fault):
    """A node that is not known."""

    status = 404


class NodeState(StrEnum):
    """How long ago a node was heard."""

    LIVE = "live"
    STALE = "stale"
    """Hours may be missing; nothing is wrong yet."""
    OFFLINE = "offline"
    """Link lost: the office works on by itself."""
    NEVER_SEEN = "never_seen"


def state_of(last_seen: int | None, now: int, limits: SituationConfig) -> NodeState:
    """The state of a node heard at `last_seen`."""
    if last_seen is None:
        return NodeState.NEVER_SEEN
    silent_s = now - last_seen
    if silent_s <= limits.live_s_max:
        return NodeState.LIVE
    return NodeState.STALE if silent_s <= limits.stale_s_max else NodeState.OFFLINE


@dataclass(frozen=True, slots=True)
class _Known:
    row: NodeRow
    lanes: Mapping[Lane, int]
    registry_version: int | None
    quarantined: int
    down_waiting: int
    alarms: int
    spans: list[LinkSpan]
    certificate: CertificateRow | None


class Situation:
    """Answers for pages and commands; every answer is plain values."""

    def __init__(self, store: HubStore, clock: UtilityClock, limits: SituationConfig) -> None:
        self._store = store
        self._clock = clock
        self._limits = limits

    async def nodes(self) -> list[dict[str, Any]]:
        """Every configured node."""
        now = self._clock.now()

        async def verb(tx: HubTransaction) -> list[_Known]:
            versions, quarantined = await tx.registry_versions(), await tx.count_quarantined()
            papers = await tx.newest_certificates()
            return [
                await self._known(tx, row, versions, quarantined, papers.get(row.id), spans=0)
                for row in await tx.nodes()
            ]

        return [self._told(one, now) for one in await self._store.read(verb)]

    async def node(self, node: str) -> dict[str, Any]:
        """One node with its link's history and status; raises NodeFault (TQ-HB-50)."""
        now = self._clock.now()

        async def verb(tx: HubTransaction) -> tuple[_Known, dict[str, Any]]:
            row = await tx.node(NodeId(node))
            if row is None:
                raise NodeFault("TQ-HB-50", f"no node {node!r:.70} is known here", "central-sync nodes lists them")
            versions, quarantined = await tx.registry_versions(), await tx.count_quarantined()
            marks = {what: await tx.hub_value(bundle_mark(row.id, what)) for what in ("written", "applied")}
            bundles = {what: None if text is None else json.loads(text) for what, text in marks.items()}
            paper = (await tx.newest_certificates()).get(row.id)
            return await self._known(tx, row, versions, quarantined, paper, spans=SPANS_SHOWN_MAX), bundles

        known, bundles = await self._store.read(verb)
        status = None if known.row.status is None else wire.unpack(known.row.status, ITEM_LIMITS)
        return self._told(known, now) | {
            "status": status,
            "bundles": bundles,
            "link_history": [{"from": rfc3339(one.began_at), "to": rfc3339(one.last_at)} for one in known.spans],
        }

    async def alarms(self, node: str | None, limit: int, *, standing: bool) -> list[dict[str, Any]]:
        """Alarms of the nodes and of the hub, newest first."""
        wanted = None if node is None else NodeId(node)
        rows = await self._store.read(lambda tx: tx.alarms(wanted, min(limit, LISTED_MAX), standing=standing))
        return [_alarm(row) for row in rows]

    async def operations(self, node: str | None, usage_point: str | None, limit: int) -> list[dict[str, Any]]:
        """Relay operations, newest first, each with the reasons its node gave."""
        wanted = None if node is None else NodeId(node)
        rows = await self._store.read(lambda tx: tx.operations(wanted, usage_point, min(limit, LISTED_MAX)))
        return [operation_told(row) for row in rows]

    async def field_works(self, node: str | None, limit: int) -> list[dict[str, Any]]:
        """What offices recorded of meters, the latest first, and what became of it."""
        wanted = None if node is None else NodeId(node)
        rows = await self._store.read(lambda tx: tx.recent_field_works(wanted, min(limit, LISTED_MAX)))
        return [
            {
                "node": row.node,
                **work_to_body(row.work()),
                "meter": row.meter,
                "at": rfc3339(row.at),
                "received_at": rfc3339(row.received_at),
                "state": row.state,
                "code": row.code or None,
                "reason": row.reason or None,
                "registry_version": row.version,
            }
            for row in rows
        ]

    async def quarantine(self, node: str | None, limit: int) -> list[dict[str, Any]]:
        """Batches set aside, oldest first, each with the reason."""
        wanted = None if node is None else NodeId(node)
        rows = await self._store.read(lambda tx: tx.quarantined(wanted, min(limit, LISTED_MAX)))
        return [
            {
                "node": row.node,
                "lane": row.lane.value,
                "epoch": row.epoch,
                "seq": row.seq,
                "registry_version": row.registry_version,
                "received_at": rfc3339(row.received_at),
                "code": row.quarantine,
                "reason": row.reason,
            }
            for row in rows
        ]

    async def _known(
        self,
        tx: HubTransaction,
        row: NodeRow,
        versions: Mapping[NodeId, int],
        quarantined: Mapping[NodeId, int],
        certificate: CertificateRow | None,
        *,
        spans: int,
    ) -> _Known:
        heads, marks = await tx.down_heads(row.id), await tx.down_marks(row.id)
        return _Known(
            row=row,
            lanes={lane: mark.seq for lane, mark in (await tx.marks(row.id)).items()},
            registry_version=versions.get(row.id),
            quarantined=quarantined.get(row.id, 0),
            down_waiting=sum(max(0, heads[lane] - marks[lane]) for lane in heads),
            alarms=len(await tx.alarms(row.id, LISTED_MAX, standing=True)),
            spans=await tx.link_spans(row.id, spans) if spans else [],
            certificate=certificate,
        )

    def _told(self, known: _Known, now: int) -> dict[str, Any]:
        row = known.row
        status = {} if row.status is None else wire.unpack(row.status, ITEM_LIMITS)
        return {
            "id": row.id,
            "districts": list(row.districts),
            "state": state_of(row.last_seen, now, self._limits).value,
            "last_seen": None if row.last_seen is None else rfc3339(row.last_seen),
            "silent_s": None if row.last_seen is None else max(0, now - row.last_seen),
            "epoch": row.epoch,
            "lanes": {lane.value: known.lanes.get(lane, 0) for lane in Lane},
            "registry_version": known.registry_version,
            "backlog": status.get("backlog"),
            "agreement": status.get("agreement"),
            "status_at": None if row.status_at is None else rfc3339(row.status_at),
            "quarantined": known.quarantined,
            "down_waiting": known.down_waiting,
            "alarms_standing": known.alarms,
            "clock_trusted": status.get("clock_trusted"),
            "certificate": _certificate(known.certificate, now),
        }


def _certificate(row: CertificateRow | None, now: int) -> dict[str, Any] | None:
    """The newest certificate of a node; None when it speaks without one."""
    if row is None:
        return None
    state = "revoked" if row.revoked_at is not None else "ended" if now >= row.not_after else "valid"
    return {
        "state": state,
        "issued_at": rfc3339(row.issued_at),
        "not_after": rfc3339(row.not_after),
        "renewed_late_s": row.late_s,
    }


def _alarm(row: AlarmRow) -> dict[str, Any]:
    return {
        "node": row.node or None,
        "id": row.id,
        "kind": row.kind,
        "subject": row.subject,
        "at": rfc3339(row.at),
        "detail": row.detail,
        "cleared_at": None if row.cleared_at is None else rfc3339(row.cleared_at),
    }


def operation_told(row: OperationRow) -> dict[str, Any]:
    """A relay operation as plain values; its basis always has reasons, if only none (a damaged row lost them)."""
    return {
        "node": row.node,
        "id": row.id,
        "usage_point": row.usage_point,
        "meter": row.meter,
        "transformer": row.transformer,
        "action": row.action,
        "cause": row.cause,
        "basis": {"reasons": []} | wire.unpack(row.basis, ITEM_LIMITS),
        "mandate": row.mandate,
        "intent_at": rfc3339(row.intent_at),
        "sent_at": None if row.sent_at is None else rfc3339(row.sent_at),
        "result_at": None if row.result_at is None else rfc3339(row.result_at),
        "outcome": row.outcome,
    }
