"""Who is in the demo's story: who owes, who was told, who is protected, who pays. Floor: simulate; payment walk.

Chosen from the planned grids by fixed rules. Their papers go to the hub as files, as billing and banks would bring
them; the same facts stand in the `Book`, which no product code reads and by which the report judges.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from gridmodel.period import rfc3339
from gridmodel.quantity import TIYIN_PER_SOM
from gridmodel.record import NoticeEvidence
from simulate.book import Book, Debit, Payment, Shield
from simulate.demo.plan import PROLOGUE_DAY, STORY_DAY, DemoPlan, NodePlan, moment
from simulate.grid import PointPlan

BANK = "bank"
APP = "app"
BILLING = "billing"
CHANNELS = (BANK, APP)
"""Payment channels whose watermarks an office waits for before it cuts."""
DUE_DAY = "2026-02-10"
LATE_DUE_DAY = "2026-04-01"
NOTICE_DAYS = 5
"""Of configs/policy/demo.toml: from a proven notice to the first cut."""
EVERY_OWED_SOM = 90_000
"""What everybody else was charged and has paid."""


class Part(StrEnum):
    """A part in the story."""

    PAYER = "payer"
    """Cut in the prologue; pays at the office while the line is cut, and gets supply back."""
    DEBTOR = "debtor"
    """May be cut from 11:15 on, when the line is cut."""
    ELSEWHERE = "elsewhere"
    """Pays at the bank while the line is cut; could be cut from 13:00 on for all that the office can know."""
    NEIGHBOUR = "neighbour"
    """At the second office, whose line holds: cut, pays at the bank, gets supply back."""
    SHELTERED = "sheltered"
    """Owes most of all, was told, and lives on a machine that needs current."""
    PROMPT = "prompt"
    """Owed, was told, and paid by app before the prologue."""
    UNTOLD = "untold"
    """Owes, and no notice was proven."""
    SMALL = "small"
    """Owes less than the least sum for a cut."""
    YOUNG = "young"
    """Owes for two weeks only."""
    EVERYBODY = "everybody"
    """Paid the bill."""


@dataclass(frozen=True, slots=True)
class Told:
    """A notice."""

    amount_tiyin: int
    evidence: NoticeEvidence
    delivered_at: int


@dataclass(frozen=True, slots=True)
class Consumer:
    """One usage point and what is on paper about it before the story."""

    part: Part
    node: str
    point: PointPlan
    owed_tiyin: int
    due_at: int
    told: Told | None = None
    sheltered: bool = False
    paid: Payment | None = None
    """Before the prologue."""


@dataclass(frozen=True, slots=True)
class Cast:
    """Everybody. `of` gives the one with a part."""

    consumers: tuple[Consumer, ...]
    by_meter: Mapping[str, Consumer]

    def of(self, part: Part) -> Consumer:
        """The first consumer with that part; KeyError when the story has none."""
        for one in self.consumers:
            if one.part is part:
                return one
        raise KeyError(part)


@dataclass(frozen=True, slots=True)
class _Role:
    part: Part
    owed_som: int
    due_day: str = DUE_DAY
    told_at: int | None = None
    evidence: NoticeEvidence = NoticeEvidence.SIGNED_LIST
    sheltered: bool = False
    paid: bool = False


_TOLD_LONG_AGO = moment("15:00", "2026-04-02")
_FIRST_NODE = (
    _Role(Part.PAYER, 236_000, told_at=_TOLD_LONG_AGO),
    _Role(Part.DEBTOR, 412_000, told_at=moment("11:15", "2026-04-10"), evidence=NoticeEvidence.SMS_DELIVERED),
    _Role(Part.ELSEWHERE, 158_000, told_at=moment("13:00", "2026-04-10"), evidence=NoticeEvidence.APP_READ),
    _Role(Part.SHELTERED, 634_000, told_at=_TOLD_LONG_AGO, sheltered=True),
    _Role(Part.PROMPT, 121_000, told_at=_TOLD_LONG_AGO, paid=True),
    _Role(Part.UNTOLD, 287_000),
    _Role(Part.SMALL, 31_000, told_at=_TOLD_LONG_AGO),
    _Role(Part.YOUNG, 198_000, due_day=LATE_DUE_DAY, told_at=_TOLD_LONG_AGO),
)
_OTHER_NODES = (
    _Role(Part.NEIGHBOUR, 175_000, told_at=moment("10:10", "2026-04-10"), evidence=NoticeEvidence.SMS_DELIVERED),
    _Role(Part.SHELTERED, 355_000, told_at=_TOLD_LONG_AGO, sheltered=True),
    _Role(Part.UNTOLD, 260_000),
    _Role(Part.SMALL, 22_000, told_at=_TOLD_LONG_AGO),
)


def choose_cast(plan: DemoPlan) -> Cast:
    """The story's people, spread over each node's households with a relay; everybody else has paid."""
    found: list[Consumer] = []
    for number, node in enumerate(plan.nodes):
        roles = _FIRST_NODE if number == 0 else _OTHER_NODES if number == 1 else _OTHER_NODES[1:]
        free = [one for one in node.grid.points if one.household]
        honest = [one for one in free if one.read_pct == 100 and not one.solar_w]
        step = max(1, len(honest) // (len(roles) + 1))
        chosen = {honest[(n + 1) * step - 1].id: role for n, role in enumerate(roles)}
        everybody = _Role(Part.EVERYBODY, EVERY_OWED_SOM, paid=True)
        found += [_consumer(node, point, chosen.get(point.id, everybody)) for point in node.grid.points]
    return Cast(tuple(found), {str(one.point.meter): one for one in found})


def _consumer(node: NodePlan, point: PointPlan, role: _Role) -> Consumer:
    owed_tiyin, account = role.owed_som * TIYIN_PER_SOM, str(point.account)
    channel = APP if role.part is Part.PROMPT else BANK
    paid_at = moment("12:00", "2026-04-12" if role.part is Part.PROMPT else "2026-02-06")
    paid = Payment(
        f"{channel}-{account}-1", node.id, account, owed_tiyin, channel, paid_at, entry=f"{channel}-{account}-1"
    )
    return Consumer(
        part=role.part,
        node=node.id,
        point=point,
        owed_tiyin=owed_tiyin,
        due_at=moment("00:00", role.due_day),
        told=None if role.told_at is None else Told(owed_tiyin, role.evidence, role.told_at),
        sheltered=role.sheltered,
        paid=paid if role.paid else None,
    )


def book_of(cast: Cast) -> Book:
    """The papers as the world knows them."""
    book = Book()
    for one in cast.consumers:
        account, point = str(one.point.account), str(one.point.id)
        book.debits[account].append(Debit(bill_of(one), account, one.owed_tiyin, one.due_at))
        if one.paid is not None:
            book.payments[account].append(one.paid)
        if one.sheltered:
            since, until = _shelter_span()
            book.shields[point].append(Shield(f"shelter-{point}", point, since, until, since))
    return book


def bill_of(consumer: Consumer) -> str:
    """The ledger entry that charges a consumer."""
    return f"bill-{consumer.point.account}-1"


def bills_csv(cast: Cast) -> str:
    """Every charge, as billing brings it to the hub."""
    rows = (
        (bill_of(one), one.point.account, "charge", _som(-one.owed_tiyin), rfc3339(one.due_at - 86_400 * 20),
         rfc3339(one.due_at))
        for one in cast.consumers
    )  # fmt: skip
    return _csv(("entry_id", "account", "kind", "amount", "at", "due_at"), rows)


def payments_csv(payments: Iterable[Payment]) -> str:
    """Payments of one channel, as a bank brings them."""
    rows = ((one.id, one.account, "payment", _som(one.amount_tiyin), rfc3339(one.at)) for one in payments)
    return _csv(("entry_id", "account", "kind", "amount", "at"), rows)


def notices_csv(cast: Cast) -> str:
    """Every notice with its evidence."""
    rows = (
        (f"notice-{one.point.account}", one.point.account, _som(told.amount_tiyin), told.evidence.value,
         rfc3339(told.delivered_at))
        for one, told in _told(cast)
    )  # fmt: skip
    return _csv(("id", "account", "amount", "evidence", "delivered_at"), rows)


def protections_csv(cast: Cast) -> str:
    """Who must not be cut, with a certificate until the end of the year."""
    since, until = map(rfc3339, _shelter_span())
    rows = (
        (f"shelter-{one.point.id}", "medical", one.point.id, since, until, "clinic-7")
        for one in cast.consumers
        if one.sheltered
    )
    return _csv(("id", "kind", "usage_point", "valid_from", "valid_to", "asserted_by"), rows)


def weather_csv(plan: DemoPlan, at: int) -> str:
    """A mild forecast for every district of the story."""
    rows = ((node.district, rfc3339(at), "9.5", "24.0") for node in plan.nodes)
    return _csv(("district", "issued_at", "min_c", "max_c"), rows)


def _told(cast: Cast) -> Iterator[tuple[Consumer, Told]]:
    return ((one, one.told) for one in cast.consumers if one.told is not None)


def _shelter_span() -> tuple[int, int]:
    return moment("00:00", "2026-01-15"), moment("00:00", "2026-12-31")


def _som(tiyin: int) -> str:
    sign = "-" if tiyin < 0 else ""
    return f"{sign}{abs(tiyin) // TIYIN_PER_SOM}.{abs(tiyin) % TIYIN_PER_SOM:02}"


def _csv(head: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=";", lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return out.getvalue()


MATURE_AT = {
    Part.PAYER: moment("00:00", PROLOGUE_DAY),
    Part.DEBTOR: moment("11:15", STORY_DAY),
    Part.ELSEWHERE: moment("13:00", STORY_DAY),
    Part.NEIGHBOUR: moment("10:10", STORY_DAY),
}
"""When each of them may be cut at the earliest by notice, in UTC seconds; for tests."""
