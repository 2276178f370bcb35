"""Notices, protections and forecasts from a file, on to the nodes they concern. Floor: billing; on the payment walk.

Each is a record with an id made by its owner: one id, one content, however often the file comes. A notice goes to the
node of its account, a protection to that of its usage point or district (or to all), a forecast to that of its
district. Removing a protection is no import: it takes two persons, counted at the edge.

Codes: TQ-IM-10 a wrong value, -11 something that no node has, -12 an id with two contents.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, TypeVar

from central_sync.billing.imports import AHEAD_S_MAX, ImportReport, moment
from central_sync.billing.tables import Mistake, Row, Table, TableFault, read_table
from central_sync.store.port import HubStore, HubTransaction
from central_sync.store.rows import IssuedRow
from gridmodel.clock import UtilityClock
from gridmodel.identity import AccountId, DistrictId, NodeId, UsagePointId, checked_id, checked_soato
from gridmodel.period import parse_rfc3339
from gridmodel.quantity import parse_som
from gridmodel.record import Notice, NoticeEvidence, Protection, ProtectionKind, WeatherForecast
from protocols.sync import wire
from protocols.sync.facts import ITEM_LIMITS
from protocols.sync.lanes import DownLane

CELSIUS_MAX = 70.0
E = TypeVar("E", bound=StrEnum)


class RecordKind(StrEnum):
    """What such a file holds; also the kind of the item down."""

    NOTICE = "notice"
    PROTECTION = "protection"
    WEATHER = "weather"


@dataclass(frozen=True, slots=True)
class IssuedRecord:
    """One record, ready to go."""

    kind: RecordKind
    id: str
    subject_kind: str
    """account, usage_point, district or everybody."""
    subject: str
    body: Mapping[str, Any]


def _fault(number: int, what: str, hint: str) -> TableFault:
    return TableFault(f"TQ-IM-{number}", what, hint)


def _choice(text: str, kind: type[E]) -> E:
    try:
        return kind(text)
    except ValueError as error:
        raise _fault(10, f"{text!r:.40} is no {kind.__name__}", f"use {', '.join(kind)}") from error


def _past(text: str, zone: str, now: int) -> int:
    at = moment(text, zone)
    if at > now + AHEAD_S_MAX:
        raise _fault(10, f"{text} lies in the future", "mend the date")
    return at


def _notice(row: Row, zone: str, now: int) -> IssuedRecord:
    delivered = row.get("delivered_at", "")
    notice = Notice(
        id=checked_id("notice", row["id"]),
        account=AccountId(checked_id("account", row["account"])),
        amount_tiyin=parse_som(row["amount"]),
        evidence=_choice(row["evidence"], NoticeEvidence),
        delivered_at=_past(delivered, zone, now) if delivered else None,
    )
    if notice.amount_tiyin < 0 or (notice.evidence is NoticeEvidence.NONE) != (notice.delivered_at is None):
        raise _fault(10, f"notice {notice.id}: delivery and evidence belong together", "give both, or neither")
    return IssuedRecord(RecordKind.NOTICE, notice.id, "account", notice.account, asdict(notice))


def _protection(row: Row, zone: str, now: int) -> IssuedRecord:  # noqa: ARG001 — protections may lie in the future
    point, district = row.get("usage_point", ""), row.get("district", "")
    if point and district:
        raise _fault(10, "a protection is for a usage point or for a district", "leave one of the two empty")
    kind = _choice(row["kind"], ProtectionKind)
    if not point and kind is not ProtectionKind.MORATORIUM:
        raise _fault(10, f"a {kind} is for one usage point", "only a moratorium covers districts or everybody")
    protection = Protection(
        id=checked_id("protection", row["id"]),
        kind=kind,
        usage_point=UsagePointId(checked_id("usage point", point)) if point else None,
        district=DistrictId(checked_soato("district", district)) if district else None,
        valid_from=parse_rfc3339(row["valid_from"]),
        valid_to=moment(row["valid_to"], zone),
        asserted_by=checked_id("person", row["asserted_by"]),
    )
    if protection.valid_to <= protection.valid_from:
        raise _fault(10, f"protection {protection.id} ends before it begins", "mend its dates")
    subject_kind = "usage_point" if point else "district" if district else "everybody"
    return IssuedRecord(RecordKind.PROTECTION, protection.id, subject_kind, point or district, asdict(protection))


def _weather(row: Row, zone: str, now: int) -> IssuedRecord:
    try:
        low, high = float(row["min_c"]), float(row["max_c"])
    except ValueError as error:
        raise _fault(10, "a temperature is no number", "write degrees Celsius: -12.5") from error
    if not -CELSIUS_MAX <= low <= high <= CELSIUS_MAX:
        raise _fault(10, f"{low} to {high} °C is no forecast", "min_c is not above max_c, both within 70 °C")
    forecast = WeatherForecast(
        DistrictId(checked_soato("district", row["district"])), _past(row["issued_at"], zone, now), low, high
    )
    name = f"weather-{forecast.district}-{forecast.issued_at}"
    return IssuedRecord(RecordKind.WEATHER, name, "district", forecast.district, asdict(forecast))


_READERS: dict[RecordKind, tuple[tuple[str, ...], tuple[str, ...], Callable[[Row, str, int], IssuedRecord]]] = {
    RecordKind.NOTICE: (("id", "account", "amount", "evidence"), ("delivered_at",), _notice),
    RecordKind.PROTECTION: (
        ("id", "kind", "valid_from", "valid_to", "asserted_by"),
        ("usage_point", "district"),
        _protection,
    ),
    RecordKind.WEATHER: (("district", "issued_at", "min_c", "max_c"), (), _weather),
}


def read_records(kind: RecordKind, data: bytes, zone: str, now: int) -> Table[IssuedRecord]:
    """The records in a file; pure. Raises TableFault."""
    required, optional, read = _READERS[kind]
    return read_table(data, required, optional, lambda row: read(row, zone, now))


class RecordImport:
    """Applies tables of records."""

    def __init__(self, store: HubStore, clock: UtilityClock, node_of_district: Mapping[DistrictId, NodeId]) -> None:
        self._store = store
        self._clock = clock
        self._node_of_district = node_of_district

    async def apply(self, table: Table[IssuedRecord], *, dry_run: bool = False, skip_bad: bool = False) -> ImportReport:
        """Apply a table in one transaction, whole or (with `skip_bad`) without the wrong rows."""
        now = self._clock.now()

        async def verb(tx: HubTransaction) -> ImportReport:
            new, known, mistakes = await self._sorted(tx, table)
            wrong = (*table.mistakes, *mistakes)
            held_back = bool(wrong) and not skip_bad
            done = not dry_run and not held_back
            if done:
                await issue(tx, new, now)
            return ImportReport(
                read=len(table.rows),
                applied=0 if held_back else len(new),
                known=known,
                mistakes=tuple(sorted(wrong, key=lambda one: one.line)),
                watermark=None,
                nodes=() if held_back else tuple(sorted({node for nodes, _ in new for node in nodes})),
                done=done,
            )

        return await (self._store.read(verb) if dry_run else self._store.write(verb))

    async def _sorted(
        self, tx: HubTransaction, table: Table[IssuedRecord]
    ) -> tuple[list[tuple[list[NodeId], IssuedRecord]], int, list[Mistake]]:
        records = [record for _, record in table.rows]
        nodes = await self._nodes_of(tx, records)
        standing: dict[str, str] = {}
        for kind in RecordKind:
            ids = sorted({record.id for record in records if record.kind is kind})
            standing |= {row.id: row.content for row in await tx.issued(kind.value, ids)}
        new: list[tuple[list[NodeId], IssuedRecord]] = []
        mistakes: list[Mistake] = []
        known = 0
        for line, record in table.rows:
            content = _content(record)
            targets = nodes[record.subject_kind, record.subject]
            if not targets:
                what = f"{record.subject_kind} {record.subject} is of no node"
                mistakes.append(Mistake(line, "TQ-IM-11", what, "import its registry first", record.id))
            elif record.id not in standing:
                standing[record.id] = content
                new.append((targets, record))
            elif standing[record.id] == content:
                known += 1
            else:
                what = f"{record.kind} {record.id} stands with another content"
                mistakes.append(Mistake(line, "TQ-IM-12", what, "give a new id to a new fact", record.id))
        return new, known, mistakes

    async def _nodes_of(self, tx: HubTransaction, records: list[IssuedRecord]) -> dict[tuple[str, str], list[NodeId]]:
        found: dict[tuple[str, str], list[NodeId]] = {}
        for kind in ("account", "usage_point"):
            ids = sorted({record.subject for record in records if record.subject_kind == kind})
            owners = await tx.owners(kind, ids)
            found |= {(kind, one): [owners[one].node] if one in owners else [] for one in ids}
        everybody = [row.id for row in await tx.nodes()]
        for record in records:
            if record.subject_kind == "district":
                node = self._node_of_district.get(DistrictId(record.subject))
                found["district", record.subject] = [] if node is None else [node]
            elif record.subject_kind == "everybody":
                found["everybody", record.subject] = everybody
        return found


def _content(record: IssuedRecord) -> str:
    return json.dumps(record.body, sort_keys=True, ensure_ascii=False)


async def issue(tx: HubTransaction, new: Sequence[tuple[Sequence[NodeId], IssuedRecord]], now: int) -> None:
    """Keep new records and send each down to its nodes, within the caller's transaction."""
    for node in sorted({node for nodes, _ in new for node in nodes}):
        records = [record for nodes, record in new if node in nodes]
        await tx.put_issued(
            [IssuedRow(record.kind.value, record.id, node, record.subject, _content(record), now) for record in records]
        )
        items = [(record.kind.value, record.id, wire.pack(dict(record.body), ITEM_LIMITS)) for record in records]
        await tx.append_down(node, DownLane.AUTHORITY, items, now)
