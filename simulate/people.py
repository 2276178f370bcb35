"""The people of a rehearsal: debtors, payers by desk and by app, cashiers who try again. Floor: simulate; payment walk.

They act as people do: somebody in the dark walks to the desk, a cashier whose screen froze asks the same request again,
an app's payments reach the hub when their feed does. All of it goes into the `Book`, which the product never sees.
What they do is drawn from the seed before the run, or at the moment a home goes dark.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol

from gridmodel.account import EntryKind, LedgerEntry
from gridmodel.fault import Fault
from gridmodel.identity import AccountId, ChannelId, DistrictId, EntryId, UsagePointId
from gridmodel.quantity import TIYIN_PER_SOM
from gridmodel.record import Notice, NoticeEvidence, Protection, ProtectionKind
from simulate.book import Book, Debit, Payment, Shield
from simulate.clock import stream
from simulate.crash import SimulatedCrash
from simulate.faults import Faults
from simulate.grid import THREE_PHASE_PROFILE, Grid, PointPlan
from simulate.judges.sight import Verdicts
from simulate.scenario import AtEvent

APP = "app"
"""The payment channel of the phone application; its feed reaches the hub."""
BILLING = "billing"
"""Where debts come from."""
DAY_S, HOUR_S = 86_400, 3_600
YOUNG_DAYS, OLD_DAYS = (5, 20), (32, 90)
"""Since when a bill is due: below the age at which a debt may be cut for, or above it."""
MORATORIUM_H = (6.0, 40.0)
"""How long nobody in a district may be cut."""
PAYS_FROM_H = 7.0
"""Nobody pays before so many hours of the first day."""
DARK_BEFORE_PAYING_S = (300.0, 6.0 * HOUR_S)
ASKS_AGAIN_S = (60.0, 900.0)
"""When a cashier tries again after the machine was down or died under the request."""
REFUSALS_MAX = 200
"""A desk that refuses so often never takes the payment: found as a violation."""


class Desk(Protocol):
    """A running node as its cashier sees it."""

    async def pay(self, account: AccountId, amount_tiyin: int, cashier: str, request: str) -> Mapping[str, Any]:
        """Take a payment; see `edge_node.node.Node.pay`."""
        ...


@dataclass(frozen=True, slots=True)
class Papers:
    """What billing brings to the hub before the run."""

    charges: tuple[LedgerEntry, ...]
    notices: tuple[Notice, ...]
    protections: tuple[tuple[int, Protection], ...]
    """(when it is asserted, seconds after the start; what)."""


class People:
    """Everybody around one hub and its nodes."""

    def __init__(
        self,
        seed: int,
        grids: Mapping[str, Grid],
        *,
        start: int,
        days: int,
        faults: Faults,
        book: Book,
        verdicts: Verdicts,
        desk: Callable[[str], Desk | None],
        doom: Callable[[str, bool], None],
    ) -> None:
        """`start` is the run's first moment (UTC seconds); `desk(node)` gives the node if it runs.

        `doom(node, after)` has it die at its next commit, just before or just after.
        """
        self._seed = seed
        self._grids = grids
        self._start = start
        self._length_s = days * DAY_S
        self._mix = faults.scenario.people
        self._book = book
        self._verdicts = verdicts
        self._desk = desk
        self._doom = doom
        self._faults = faults
        self._numbers = 0
        self._errands: set[asyncio.Task[None]] = set()
        self.feed: list[LedgerEntry] = []
        """Payments by app that have not reached the hub."""
        self.on_their_way: dict[str, Payment] = {}
        """By entry id, payments in the feed."""
        self._dark = stream(seed, "people/dark")

    def papers(self) -> Papers:
        """Draw who owes, who was told and who is protected; the book is filled with it."""
        charges: list[LedgerEntry] = []
        notices: list[Notice] = []
        protections: list[tuple[int, Protection]] = []
        for node, grid in sorted(self._grids.items()):
            dice = stream(self._seed, f"people/{node}")
            homes = [point for point in grid.points if point.profile != THREE_PHASE_PROFILE]
            dice.shuffle(homes)
            for point in homes[: max(2, round(len(homes) * self._mix.debtors))]:
                bills = self._bills(point, dice)
                charges += bills
                notice = self._notice(point, -sum(bill.amount_tiyin for bill in bills), dice)
                if notice is not None:
                    notices.append(notice)
                if dice.random() < self._mix.protected:
                    protections.append(self._protection(point, dice))
                if dice.random() < self._mix.pays:
                    after_s = dice.uniform(PAYS_FROM_H * HOUR_S, self._length_s)
                    self._errand(self._pays_later(node, point, after_s, dice.random(), dice.random()))
            protections += [
                self._moratorium(DistrictId(district), dice)
                for district in grid.spec.districts
                if dice.random() < self._mix.moratoria
            ]
        return Papers(tuple(charges), tuple(notices), tuple(protections))

    def went_dark(self, node: str, index: int, at: int) -> None:
        """A relay opened: who lives there may go and pay."""
        del at
        dice = self._dark
        if dice.random() < self._mix.pays_in_the_dark:
            after_s = dice.uniform(*DARK_BEFORE_PAYING_S)
            point = self._grids[node].points[index]
            self._errand(self._pays_later(node, point, after_s, dice.random(), 1.0))

    def fed(self, entries: list[LedgerEntry], at: int) -> None:
        """The hub said that it keeps these payments by app."""
        for entry in entries:
            payment = self.on_their_way.pop(entry.id, None)
            if payment is not None:
                payment.acknowledged_at = at

    @property
    def busy(self) -> bool:
        """Whether anybody is still at a desk with money in hand."""
        return any(one.acknowledged_at is None for one in self._book.all_payments())

    def _errand(self, errand: Awaitable[None]) -> None:
        task = asyncio.ensure_future(errand)
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)

    def _bills(self, point: PointPlan, dice: Random) -> list[LedgerEntry]:
        amount_tiyin = dice.randrange(60_000, 400_000) * TIYIN_PER_SOM
        if dice.random() < self._mix.two_bills:
            half = amount_tiyin // 2  # just what somebody pays who pays half
            return [
                self._bill(f"old-bill-{point.account}", point, half, dice.uniform(*OLD_DAYS)),
                self._bill(f"bill-{point.account}", point, amount_tiyin - half, dice.uniform(*YOUNG_DAYS)),
            ]
        age_days = dice.uniform(*YOUNG_DAYS) if dice.random() < 0.1 else dice.uniform(*OLD_DAYS)
        return [self._bill(f"bill-{point.account}", point, amount_tiyin, age_days)]

    def _bill(self, name: str, point: PointPlan, amount_tiyin: int, age_days: float) -> LedgerEntry:
        due_at = self._start - int(age_days * DAY_S)
        entry = EntryId(name)
        self._book.debits[point.account].append(Debit(entry, point.account, amount_tiyin, due_at))
        return LedgerEntry(
            id=entry,
            account=point.account,
            kind=EntryKind.CHARGE,
            amount_tiyin=-amount_tiyin,
            at=due_at - 20 * DAY_S,
            due_at=due_at,
            channel=ChannelId(BILLING),
            recorded_by="billing-run",
        )

    def _notice(self, point: PointPlan, amount_tiyin: int, dice: Random) -> Notice | None:
        odds, delivered_at = dice.random(), self._start - int(dice.uniform(6, 20) * DAY_S)
        if odds < self._mix.unnoticed / 2:
            return None
        proven = odds >= self._mix.unnoticed
        return Notice(
            id=f"notice-{point.account}",
            account=point.account,
            amount_tiyin=amount_tiyin,
            evidence=NoticeEvidence.SMS_DELIVERED if proven else NoticeEvidence.NONE,
            delivered_at=delivered_at if proven else None,
        )

    def _protection(self, point: PointPlan, dice: Random) -> tuple[int, Protection]:
        after_s = 0 if dice.random() < 0.6 else int(dice.uniform(0.2, 0.8) * self._length_s)
        kind = (ProtectionKind.MEDICAL, ProtectionKind.DISPUTE, ProtectionKind.INSTALMENT_PLAN)[dice.randrange(3)]
        protection = Protection(
            id=f"protection-{point.id}",
            kind=kind,
            usage_point=UsagePointId(point.id),
            district=None,
            valid_from=self._start + after_s - DAY_S,
            valid_to=self._start + 60 * DAY_S,
            asserted_by="registrar",
        )
        return after_s, protection

    def _moratorium(self, district: DistrictId, dice: Random) -> tuple[int, Protection]:
        after_s = int(dice.uniform(0.0, 0.8) * self._length_s)
        everywhere = dice.random() < 0.25
        protection = Protection(
            id=f"moratorium-{district}",
            kind=ProtectionKind.MORATORIUM,
            usage_point=None,
            district=None if everywhere else district,
            valid_from=self._start + after_s,
            valid_to=self._start + after_s + int(dice.uniform(*MORATORIUM_H) * HOUR_S),
            asserted_by="registrar",
        )
        return after_s, protection

    def asserted(self, protection: Protection, at: int) -> None:
        """The registrar signed it at `at`."""
        one, point = protection, protection.usage_point
        shield = Shield(one.id, point, one.valid_from, one.valid_to, at, one.district)
        (self._book.moratoria if point is None else self._book.shields[point]).append(shield)

    async def _pays_later(self, node: str, point: PointPlan, after_s: float, by: float, part: float) -> None:
        await asyncio.sleep(after_s)
        owed = self._book.overdue_tiyin(point.account, self._verdicts.now())
        if owed <= 0:
            return
        amount_tiyin = owed // 2 if part < self._mix.only_part else owed
        self._numbers += 1
        if by < self._mix.by_app:
            self._by_app(point, node, amount_tiyin)
        else:
            await self._at_desk(point, node, amount_tiyin)

    def _by_app(self, point: PointPlan, node: str, amount_tiyin: int) -> None:
        now = self._verdicts.now()
        entry = LedgerEntry(
            id=EntryId(f"app-{self._numbers}-{point.account}"),
            account=point.account,
            kind=EntryKind.PAYMENT,
            amount_tiyin=amount_tiyin,
            at=now,
            due_at=None,
            channel=ChannelId(APP),
            recorded_by="app",
        )
        payment = Payment(entry.id, node, point.account, amount_tiyin, APP, now, entry=entry.id)
        self._book.payments[point.account].append(payment)
        self.feed.append(entry)
        self.on_their_way[entry.id] = payment

    async def _at_desk(self, point: PointPlan, node: str, amount_tiyin: int) -> None:
        """One request, asked until it is answered: the cashier never takes the money twice."""
        request = f"request-{self._numbers}-{point.account}"
        payment = Payment(request, node, point.account, amount_tiyin, "desk", self._verdicts.now())
        self._book.payments[point.account].append(payment)
        refusals = 0
        while payment.acknowledged_at is None:
            desk = self._desk(node)
            if desk is not None:
                payment.at = self._verdicts.now()
                if self._faults.strikes(AtEvent.NODE_CRASH_AT_PAYMENT):
                    self._doom(node, self._faults.pick("payment", 2) == 1)
                try:
                    receipt = await desk.pay(point.account, amount_tiyin, cashier_of(node), request)
                except SimulatedCrash:
                    self._verdicts.happened("payment_interrupted")
                except Fault as fault:
                    refusals += 1
                    if refusals == REFUSALS_MAX:
                        self._verdicts.against("payment_taken", node, request, f"{fault.code}: {fault.what}")
                else:
                    payment.acknowledged_at = self._verdicts.now()
                    payment.entry = str(receipt["entry"])
                    return
            await asyncio.sleep(self._dark.uniform(*ASKS_AGAIN_S))


def cashier_of(node: str) -> str:
    """The cashier's id at a node's desk."""
    return f"cashier-{node}"
