"""The centre's people: what they import at the hub, and how they try again. Floor: simulate; payment walk.

Registries, debts, notices, protections, forecasts, mandates and the app's payments go in through the hub's own import
verbs, in the form of files, as an operator's scripts would bring them. Imports are idempotent, so whoever got no answer
brings the same file again.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from random import Random
from typing import Any, Protocol, TypeVar

from gridmodel.account import LedgerEntry
from gridmodel.fault import Fault
from gridmodel.identity import NodeId
from gridmodel.period import HOUR_S, local_day, rfc3339
from gridmodel.record import Notice, Protection
from gridmodel.registry import Registry
from gridmodel.registry_document import registry_to_document
from protocols.authority.mandate import Mandate, SignedMandate, sign_mandate
from protocols.authority.signatures import Signer
from simulate.clock import WallSpan
from simulate.crash import SimulatedCrash
from simulate.faults import Faults
from simulate.judges.sight import Verdicts
from simulate.people import APP, BILLING, Papers, People

T = TypeVar("T")
Extremes = tuple[tuple[float, float], tuple[float, float]]

FEED_S = 900.0
"""How often the app's feed brings payments and its watermark."""
FORECAST_S = 8.0 * HOUR_S
MANDATE_S = 24.0 * HOUR_S
MANDATE_LIFE_S = 72 * HOUR_S
TRIES_AGAIN_S = 120.0
"""After the hub was away."""
MILD_C, FROST_C, HEAT_C = ((2, 14), (18, 36)), ((-25, -6), (-4, 8)), ((22, 28), (41, 47))
"""(coldest, warmest) of the next 72 hours, each between two degrees."""


class HubOffice(Protocol):
    """A running hub as its operators see it."""

    async def import_ledger(self, data: bytes, channel: str, *, complete_up_to: int | None = None) -> Any:
        """See `central_sync.hub.Hub`."""
        ...

    async def import_records(self, kind: str, data: bytes) -> Any:
        """See `central_sync.hub.Hub`."""
        ...

    async def import_registry(self, read: bytes) -> Any:
        """See `central_sync.hub.Hub`."""
        ...

    async def publish_mandate(self, document: bytes) -> Any:
        """See `central_sync.hub.Hub`."""
        ...


class Office:
    """Everything that is brought to the hub. `hub()` gives it while it runs."""

    def __init__(
        self,
        hub: Callable[[], HubOffice | None],
        people: People,
        *,
        registries: Mapping[str, Registry],
        approvers: tuple[Signer, Signer],
        policy_version: str,
        start: int,
        verdicts: Verdicts,
        faults: Faults,
        dice: Random,
        hub_wrong: Sequence[WallSpan] = (),
    ) -> None:
        self._hub = hub
        self._people = people
        self._registries = registries
        self._approvers = approvers
        self._policy_version = policy_version
        self._start = start
        self._verdicts = verdicts
        self._faults = faults
        self._dice = dice
        self.hub_wrong = hub_wrong
        self._zone = {
            str(district): registry.zone for registry in registries.values() for district in registry.districts
        }
        self._sky: dict[tuple[str, str], Extremes] = {}
        """What is forecast, by district and local day."""
        self._counter = 0
        self._debts_brought: list[LedgerEntry] = []
        self._notices_brought: list[Notice] = []
        self._protections_brought: list[Protection] = []
        self._fed: list[LedgerEntry] = []
        self.feed_dead = 0
        """Faults that keep the feed from running; counted, because they overlap."""

    async def prepare(self, papers: Papers) -> None:
        """Everything that stands before the run: registries, debts, notices, standing protections, mandates."""
        for node in sorted(self._registries):
            await self.bring_registry(self._registries[node])
        await self._debts(list(papers.charges))
        self._notices_brought = list(papers.notices)
        await self._records("notice", [_notice(one) for one in papers.notices])
        standing = [protection for after_s, protection in papers.protections if after_s == 0]
        await self._protect(standing)
        await self.forecasts()
        await self.mandates()
        await self._feed_once()

    async def bring_registry(self, registry: Registry) -> None:
        """Import a version of a node's registry."""
        document = json.dumps(registry_to_document(registry)).encode()
        await self._until_done(lambda hub: hub.import_registry(document))

    async def bring_again(self) -> None:
        """The hub was put back from a backup: whatever was brought to it since is brought once more, and all before."""
        for node in sorted(self._registries):
            await self.bring_registry(self._registries[node])
        await self._debts(self._debts_brought)
        await self._records("notice", [_notice(one) for one in self._notices_brought])
        await self._records("protection", [_protection(one) for one in self._protections_brought])
        await self.forecasts()
        await self.mandates()
        upto, data = self._verdicts.now(), json.dumps([_entry(entry) for entry in self._fed]).encode()
        await self._until_done(lambda hub: hub.import_ledger(data, APP, complete_up_to=upto))

    async def later(self, papers: Papers) -> None:
        """Protections that are asserted during the run, each at its time."""
        for after_s, protection in sorted(papers.protections, key=lambda one: (one[0], one[1].id)):
            if after_s:
                await asyncio.sleep(max(0.0, self._start + after_s - self._verdicts.now()))
                await self._protect([protection])

    async def run_feed(self) -> None:
        """Bring the app's payments and its watermark, again and again."""
        while True:
            await asyncio.sleep(FEED_S)
            if not self.feed_dead:
                await self._feed_once()

    async def run_forecasts(self) -> None:
        """Bring forecasts, and what billing has to say, again and again."""
        while True:
            await asyncio.sleep(FORECAST_S)
            await self.forecasts()
            await self._debts([])

    async def run_mandates(self) -> None:
        """Sign a new mandate for every node each day."""
        while True:
            await asyncio.sleep(MANDATE_S)
            await self.mandates()

    async def forecasts(self) -> None:
        """A forecast for every district."""
        now = self._verdicts.now()
        rows = []
        for district in (one for node in sorted(self._registries) for one in self._registries[node].districts):
            coldest, warmest = self._forecast(district, now)
            rows.append(
                {
                    "district": district,
                    "issued_at": rfc3339(now),
                    "min_c": round(self._dice.uniform(*coldest), 1),
                    "max_c": round(self._dice.uniform(*warmest), 1),
                }
            )
        await self._records("weather", rows)

    def _forecast(self, district: str, now: int) -> Extremes:
        """Mild, frost or heat: the same all day."""
        key = (district, local_day(now, self._zone[district]))
        if key not in self._sky:
            odds, scenario = self._dice.random(), self._faults.scenario
            cold, hot = odds < scenario.frost, odds >= 1 - scenario.heat
            self._sky[key] = FROST_C if cold else HEAT_C if hot else MILD_C
        return self._sky[key]

    async def mandates(self) -> None:
        """Two persons sign for each node."""
        now = self._verdicts.now()
        for node in sorted(self._registries):
            self._counter += 1
            mandate = Mandate(
                id=f"mandate-{self._counter}",
                node=NodeId(node),
                issued_at=now,
                not_before=now - 60,
                expires=now + MANDATE_LIFE_S,
                policy_version=self._policy_version,
                quota_per_day=self._dice.choice(self._faults.scenario.quotas),
                watermark_age_h_max=24,
                account_classes=("household", "company"),
                counter=self._counter,
            )
            first, second = self._approvers
            signed: SignedMandate = sign_mandate(sign_mandate(mandate, first), second)
            document = signed.to_json()
            await self._until_done(lambda hub, data=document: hub.publish_mandate(data))  # type: ignore[misc]

    async def _feed_once(self) -> None:
        upto = self._verdicts.now()
        entries = [entry for entry in self._people.feed if entry.at <= upto]
        data = json.dumps([_entry(entry) for entry in entries]).encode()
        await self._until_done(lambda hub: hub.import_ledger(data, APP, complete_up_to=upto))
        self._people.fed(entries, self._verdicts.now())
        self._fed += entries
        done = {entry.id for entry in entries}
        self._people.feed[:] = [entry for entry in self._people.feed if entry.id not in done]

    async def _debts(self, charges: list[LedgerEntry]) -> None:
        upto = self._verdicts.now()
        self._debts_brought += [one for one in charges if one not in self._debts_brought]
        data = json.dumps([_entry(entry) for entry in charges]).encode()
        await self._until_done(lambda hub: hub.import_ledger(data, BILLING, complete_up_to=upto))

    async def _protect(self, protections: list[Protection]) -> None:
        now = self._verdicts.now()
        for protection in protections:
            self._people.asserted(protection, now)
        self._protections_brought += protections
        await self._records("protection", [_protection(one) for one in protections])

    async def _records(self, kind: str, rows: list[dict[str, Any]]) -> None:
        if rows:
            data = json.dumps(rows).encode()
            await self._until_done(lambda hub: hub.import_records(kind, data))

    async def _until_done(self, bring: Callable[[HubOffice], Awaitable[Any]]) -> None:
        """Bring it until the hub says that it keeps it; a hub that dies under it is asked again.

        So is one whose clock is behind: to it what is brought is of the future.
        """
        while True:
            hub = self._hub()
            if hub is not None:
                try:
                    report = await bring(hub)
                    held_back = getattr(report, "done", True) is False
                except SimulatedCrash:
                    self._verdicts.happened("import_interrupted")
                except Fault:
                    if not self._hub_lied():
                        raise
                    self._verdicts.happened("import_refused_by_a_wrong_clock")
                else:
                    if not held_back:
                        return
                    if not self._hub_lied():
                        self._verdicts.against("import_taken", "hub", "import", f"held back: {report}"[:300])
                        return
                    self._verdicts.happened("import_refused_by_a_wrong_clock")
            await asyncio.sleep(TRIES_AGAIN_S)

    def _hub_lied(self) -> bool:
        return bool(self.hub_wrong) and self.hub_wrong[-1].over + TRIES_AGAIN_S >= self._verdicts.now()


def _entry(entry: LedgerEntry) -> dict[str, Any]:
    return {
        "entry_id": entry.id,
        "account": entry.account,
        "kind": entry.kind.value,
        "amount": _som(entry.amount_tiyin),
        "at": rfc3339(entry.at),
        "due_at": None if entry.due_at is None else rfc3339(entry.due_at),
    }


def _notice(notice: Notice) -> dict[str, Any]:
    return {
        "id": notice.id,
        "account": notice.account,
        "amount": _som(notice.amount_tiyin),
        "evidence": notice.evidence.value,
        "delivered_at": None if notice.delivered_at is None else rfc3339(notice.delivered_at),
    }


def _protection(protection: Protection) -> dict[str, Any]:
    told = {
        "id": protection.id,
        "kind": protection.kind.value,
        "usage_point": protection.usage_point,
        "district": protection.district,
        "valid_from": rfc3339(protection.valid_from),
        "valid_to": rfc3339(protection.valid_to),
        "asserted_by": protection.asserted_by,
    }
    return {name: value for name, value in told.items() if value is not None}


def _som(tiyin: int) -> str:
    return f"{'-' if tiyin < 0 else ''}{abs(tiyin) // 100}.{abs(tiyin) % 100:02d}"
