"""The bodies of records up and items down: what each kind carries, said once for both sides. Floor: protocols.

On all three walks. `to_body` gives the plain values that travel; `from_body` reads them back typed and bounded, or
raises MessageFault (the hub then quarantines the batch). Whether a value is *true* (a known point, a sum that fits) is
for the hub's ingest to judge, which has the registry. Entries of the ledger travel alike in both directions.

    lane up   kinds
    control   alarm, relay_operation, node_status, audit_head, ledger_returned; field_work (`field_works`)
    ledger    ledger_entry
    summary   transformer_hour, supply_hour: `PlaceHour`
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from gridmodel.account import AccountFault, EntryKind, LedgerEntry
from gridmodel.balance import CELL_FIELDS, HourCell
from gridmodel.identity import AccountId, ChannelId, EntryId
from gridmodel.period import HOUR_S
from gridmodel.quantity import MONEY_TIYIN_MAX, QuantityFault
from gridmodel.reading import Revision
from protocols.sync import fields as f
from protocols.sync import wire
from protocols.sync.fields import Fields, fault

TRANSFORMER_HOUR = "transformer_hour"
SUPPLY_HOUR = "supply_hour"
LEDGER_ENTRY = "ledger_entry"
LEDGER_RETURNED = "ledger_returned"
"""An entry that the hub once sent down and has lost: its node gives it back. Counts only at a hub that was restored."""
ALARM = "alarm"
RELAY_OPERATION = "relay_operation"
NODE_STATUS = "node_status"
AUDIT_HEAD = "audit_head"

NAME_TEXT_MAX = 64
DETAIL_TEXT_MAX = 400
CELL_VALUE_MAX = 2**53
"""Beyond every energy and count; whether it makes sense is judged by the hub."""
STATUS_BYTES_MAX = 4_096
"""A node's status is a few dozen figures."""
REASONS_MAX = 64
"""Reason codes under one relay operation: there are not so many."""
LANES_MAX = 16
"""Lanes in a backlog: a later version may have more than four."""
ITEM_LIMITS = wire.Limits(bytes_max=65_536)
"""An item down other than a registry, which is a compressed document (chunk.document)."""


@dataclass(frozen=True, slots=True)
class PlaceHour:
    """One closed hour of one transformer (`transformer_hour`) or of another supply point (`supply_hour`).

    Of a supply point `supplied_wh` is IMPORT − EXPORT, and only the supply fields are set.
    """

    place: str
    """TransformerId or SupplyPointId."""
    end: int
    """The hour's end, UTC seconds."""
    cell: HourCell
    revision: Revision
    """The full new value replaces a lower revision's."""

    def to_body(self) -> dict[str, Any]:
        """{place, end, cell: nine integers in the order of CELL_FIELDS, revision: [epoch, number]}."""
        return {
            "place": self.place,
            "end": self.end,
            "cell": list(self.cell.as_tuple()),
            "revision": [self.revision.epoch, self.revision.number],
        }

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Self:
        """Back from `to_body`; raises MessageFault."""
        read = Fields("hour", body, ("place", "end", "cell", "revision"))
        cell = read.listed("cell", len(CELL_FIELDS))
        revision = read.listed("revision", 2)
        if len(cell) != len(CELL_FIELDS) or len(revision) != 2:
            raise fault(20, "an hour has nine values and a revision [epoch, number]")
        end = read.time("end")
        if end % HOUR_S:
            raise fault(22, "an hour ends on the full hour")
        return cls(
            place=read.identity("place"),
            end=end,
            cell=HourCell(*(f.integer("hour.cell", value, -CELL_VALUE_MAX, CELL_VALUE_MAX) for value in cell)),
            revision=Revision(
                f.integer("hour.revision", revision[0], 0, f.TIME_MAX),
                f.integer("hour.revision", revision[1], 0, f.COUNT_MAX),
            ),
        )


def ledger_entry_to_body(entry: LedgerEntry) -> dict[str, Any]:
    """The entry's fields by name; the same up and down."""
    body = {field.name: getattr(entry, field.name) for field in fields(entry)}
    return body | {"kind": entry.kind.value}


def ledger_entry_from_body(body: Mapping[str, Any]) -> LedgerEntry:
    """Back from `ledger_entry_to_body`; raises MessageFault, also for an entry that contradicts itself."""
    read = Fields("ledger entry", body, (field.name for field in fields(LedgerEntry)))
    try:
        return LedgerEntry(
            id=EntryId(read.identity("id")),
            account=AccountId(read.identity("account")),
            kind=read.choice("kind", EntryKind),
            amount_tiyin=read.integer("amount_tiyin", -MONEY_TIYIN_MAX, MONEY_TIYIN_MAX),
            at=read.time("at"),
            due_at=read.time("due_at") if read.given("due_at") else None,
            channel=ChannelId(read.identity("channel")),
            recorded_by=read.identity("recorded_by"),
            reverses=EntryId(read.identity("reverses")) if read.given("reverses") else None,
        )
    except (AccountFault, QuantityFault) as error:
        raise fault(22, error.what) from error


@dataclass(frozen=True, slots=True)
class AlarmFact:
    """An alarm, when it begins and again when it is cleared; the record's id tells the two apart."""

    kind: str
    """An AlarmKind of the node's version; a hub shows kinds that it does not know yet."""
    subject: str
    at: int
    detail: str
    cleared_at: int | None

    def to_body(self) -> dict[str, Any]:
        """The fields by name."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Self:
        """Back from `to_body`; raises MessageFault."""
        read = Fields("alarm", body, cls.__slots__)
        return cls(
            kind=read.identity("kind"),
            subject=read.identity("subject"),
            at=read.time("at"),
            detail=read.text("detail", DETAIL_TEXT_MAX),
            cleared_at=read.time("cleared_at") if read.given("cleared_at") else None,
        )


@dataclass(frozen=True, slots=True)
class RelayOperationFact:
    """One movement of one relay: sent when it is intended and again with its result, under one record id."""

    usage_point: str
    meter: str
    transformer: str
    action: str
    """cut or restore."""
    cause: str
    basis: Mapping[str, Any]
    """Reasons, facts, rules version: what the consumer and the auditor are shown."""
    mandate: str | None
    intent_at: int
    sent_at: int | None
    result_at: int | None
    outcome: str | None
    """confirmed, unconfirmed, withheld, failed; None while it is under way."""

    def to_body(self) -> dict[str, Any]:
        """The fields by name."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Self:
        """Back from `to_body`; raises MessageFault."""
        read = Fields("relay operation", body, cls.__slots__)
        action = read.text("action", NAME_TEXT_MAX)
        if action not in {"cut", "restore"}:
            raise fault(22, "a relay operation is a cut or a restore")
        return cls(
            usage_point=read.identity("usage_point"),
            meter=read.identity("meter"),
            transformer=read.identity("transformer"),
            action=action,
            cause=read.identity("cause"),
            basis=_basis(read.mapping("basis", 256)),
            mandate=read.identity("mandate") if read.given("mandate") else None,
            intent_at=read.time("intent_at"),
            sent_at=read.time("sent_at") if read.given("sent_at") else None,
            result_at=read.time("result_at") if read.given("result_at") else None,
            outcome=read.identity("outcome") if read.given("outcome") else None,
        )


def _basis(basis: dict[str, Any]) -> dict[str, Any]:
    """A basis that can be shown: values of JSON, and reasons that are codes."""
    _shown("relay operation.basis", basis)
    for reason in f.listed("relay operation.basis.reasons", basis.get("reasons", []), REASONS_MAX):
        f.identity("relay operation.basis.reasons", reason)
    return basis


def status_from_body(body: Mapping[str, Any]) -> tuple[int, Mapping[str, Any]]:
    """(at, the whole status) of a `node_status`; raises MessageFault.

    A status is shown and decides nothing but which parts of a registry need not go again (a node that lacks one says
    so). So it may grow: `at` is required, what is unknown is taken as it is, and what a hub of this version shows has
    its type: `backlog` ({lane: batches not yet acknowledged}), the counts, times, flags and texts below.
    """
    at = _moment_of(body)
    _shown("status", body)
    for name in ("cuts_today", "meters", "meters_silent", "refused_items", "registry_version", "usage_points"):
        if body.get(name) is not None:
            f.integer(f"status.{name}", body[name], 0, f.COUNT_MAX)
    for name in ("mandate_until", "newest_reading_end", "oldest_waiting_at"):
        if body.get(name) is not None:
            f.integer(f"status.{name}", body[name], 0, f.TIME_MAX)
    for name in ("clock_trusted", "cuts_stopped", "link_up", "reconciled", "registry_refused"):
        if not isinstance(body.get(name, False), bool):
            raise fault(21, f"status.{name} is not true or false")
    f.text("status.software", body.get("software", ""), NAME_TEXT_MAX)
    f.text("status.agreement", body.get("agreement", ""), NAME_TEXT_MAX)
    backlog = body.get("backlog", {})
    if not isinstance(backlog, dict) or len(backlog) > LANES_MAX:
        raise fault(21, "status.backlog is no map of lanes")
    for owed in backlog.values():
        f.integer("status.backlog", owed, 0, f.COUNT_MAX)
    return at, body


def head_from_body(body: Mapping[str, Any]) -> tuple[int, Mapping[str, Any]]:
    """(at, the whole record) of an `audit_head`; raises MessageFault."""
    return _moment_of(body), body


def _moment_of(body: Mapping[str, Any]) -> int:
    if "at" not in body:
        raise fault(20, "a status says at what time it was true")
    at = f.integer("status.at", body["at"], 0, f.TIME_MAX)
    wire.pack(dict(body), wire.Limits(bytes_max=STATUS_BYTES_MAX))
    return at


def _shown(what: str, value: object) -> None:
    """Raises MessageFault for binary anywhere in `value`: JSON and pages have no form for it."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, bytes):
            raise fault(21, f"{what} holds binary, which cannot be shown")
        waiting.extend(one.values() if isinstance(one, dict) else one if isinstance(one, list) else ())
