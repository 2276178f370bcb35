"""A small office for tests of supply and money: a registry, a store on the twin disk, meters in memory, one clock.

Everything above the ports is the product's. `opened` and `crash` are a process's life; what the meters did is kept
apart from what the product wrote down.
"""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from edge_node.money.payments import Desk
from edge_node.store.field_works import FieldWorks
from edge_node.store.ledger import Ledger, Origin, PaymentTaken
from edge_node.store.mandates import mandate_checker
from edge_node.store.operations import Operation, Operations
from edge_node.store.records import Records
from edge_node.store.registries import Registries
from edge_node.store.relays import RelayRow, Relays, Sighting
from edge_node.store.state import Mark, write_mark
from edge_node.supply.enforcement import Enforcement, TickReport
from edge_node.supply.facts import Sources
from edge_node.wakeups import Wakeups
from gridmodel.account import EntryKind, LedgerEntry
from gridmodel.clock import TimeBounds
from gridmodel.identity import (
    ChannelId,
    EntryId,
    UsagePointId,
)
from gridmodel.policy_rules import PolicyRules, rules_from_parameters
from gridmodel.record import Notice, NoticeEvidence, WeatherForecast
from gridmodel.registry import Registry
from gridmodel.registry_document import registry_to_document
from hosting.compute import InlineCompute
from hosting.database import Connection, Database
from hosting.migrations import load_migrations
from protocols.authority.canonical import Domain
from protocols.authority.mandate import Mandate, sign_mandate
from protocols.authority.signatures import KeyRing, NamedKey, Role, Signer
from protocols.driver import RelayContact
from protocols.profile import load_profiles
from simulate.clock import SeededEntropy
from simulate.disk import SimDisk
from tests.edge_node.supply.network import DISTRICT, NODE, PROFILE, account_id, point_id, registry
from tests.edge_node.supply.ports import HandClock, Meters, Qualities

DAY = 86_400
BANK = ChannelId("bank")
APPROVERS = [Signer.from_seed(bytes([n]) * 32, Domain.DEMO) for n in (1, 2, 3)]
KEYRING = KeyRing(
    (NamedKey(one.public, f"approver-{n}", frozenset({Role.APPROVER})) for n, one in enumerate(APPROVERS)), Domain.DEMO
)
PARAMETERS = {
    "min_debt_uzs": 50_000,
    "min_debt_age_days": 30,
    "mode": "postpaid",
    "notice_days": 5,
    "notice_expiry_days": 30,
    "allowed_hours": ["09:00-14:00"],
    "no_cut_weekdays": ["fri", "sat", "sun"],
    "no_cut_days": ["2026-05-08", "2026-05-09"],
    "cold_moratorium_c": -5,
    "heat_moratorium_c": 40,
    "weather_max_age_h": 24,
    "fresh_balance_max_age_h": 24,
    "max_cuts_per_transformer_hour": 3,
    "max_cuts_per_transformer_day_pct": 30,
    "max_cuts_per_node_day_pct": 25,
    "max_cuts_per_node_10min": 5,
    "min_minutes_between_switchings": 15,
    "max_cuts_per_meter_day": 1,
    "cut_delay_max_min": 0,
    "mandate_lifetime_h": 72,
}


def rules(**changed: object) -> PolicyRules:
    return rules_from_parameters("test-1", {**PARAMETERS, **changed})


@dataclass
class Office:
    """One life of the process."""

    control: Database
    sources: Sources
    registries: Registries
    enforcement: Enforcement
    desk: Desk
    clock: HandClock
    meters: Meters
    qualities: Qualities
    wakeups: Wakeups
    rules: PolicyRules
    numbers: "itertools.count[int]"

    async def tick(self) -> TickReport:
        """A few seconds later: one look and everything it started, to its end."""
        self.clock.at += 5
        async with asyncio.TaskGroup() as group:
            return await self.enforcement.tick(group)

    async def look(self, later_s: int = 60) -> TickReport:
        """A look as the room takes them by itself: whoever was judged and has nothing new is not judged again."""
        self.clock.at += later_s
        async with asyncio.TaskGroup() as group:
            return await self.enforcement.tick(group, debtors=False, owing=False)

    async def tick_twice(self) -> TickReport:
        """Plan, then carry out."""
        await self.tick()
        return await self.tick()

    async def see_all(self) -> None:
        """A poll of every meter that answers, and its handling."""
        places = self.enforcement.places()
        assert places is not None
        seen = []
        for placed in places.registry.installations:
            if placed.meter not in self.meters.silent:
                reading = self.meters.reading(placed.meter)
                contact = "closed" if reading.state is RelayContact.CLOSED else "open"
                seen.append(Sighting(UsagePointId(placed.point), placed.meter, contact, reading.load_w, self.clock.at))
        await self.sources.relays.record_sightings(seen)
        await self.tick()

    async def charge(self, number: int, som: int, *, due_days_ago: int = 40) -> None:
        entry = LedgerEntry(
            EntryId(f"charge-{next(self.numbers)}"),
            account_id(number),
            EntryKind.CHARGE,
            -som * 100,
            self.clock.at - (due_days_ago + 10) * DAY,
            self.clock.at - due_days_ago * DAY,
            ChannelId("billing"),
            "billing",
        )
        await self.control.write(lambda conn: self.sources.ledger.insert_entry(conn, entry, Origin.HUB, self.clock.at))

    async def notify(self, number: int, som: int, *, days_ago: int = 10) -> None:
        notice = Notice(
            f"notice-{next(self.numbers)}",
            account_id(number),
            som * 100,
            NoticeEvidence.SMS_DELIVERED,
            self.clock.at - days_ago * DAY,
        )
        await self.control.write(lambda conn: self.sources.records.add_notice(conn, notice, self.clock.at))

    async def debtor(self, number: int, som: int = 100_000) -> None:
        """Somebody who may be cut, as far as money and notice go."""
        await self.charge(number, som)
        await self.notify(number, som)

    async def pay(self, number: int, som: int = 100_000) -> PaymentTaken:
        return await self.desk.take(account_id(number), som * 100, "cashier-1", f"req-{next(self.numbers)}")

    async def row(self, number: int) -> RelayRow:
        row = await self.sources.relays.get(point_id(number))
        assert row is not None
        return row

    async def operations(self, number: int) -> list[Operation]:
        return await self.sources.operations.of_point(point_id(number))

    async def permissions(self, *, watermark: int | None = None, quota: int = 100, counter: int = 1) -> None:
        """Everything that is not about one home: mandate, weather, watermark, a reconciled store."""
        now = self.clock.at

        async def verb(conn: Connection) -> None:
            await write_mark(conn, Mark.RECONCILED_AT, str(now))
            records, ledger = self.sources.records, self.sources.ledger
            await records.set_weather(conn, WeatherForecast(DISTRICT, now, 8.0, 22.0), now)
            await ledger.set_watermark(conn, BANK, now if watermark is None else watermark, now)
            document = mandate_document(now, self.rules.version, quota=quota, counter=counter)
            await records.put_mandate(conn, document, now, TimeBounds(now, now))

        await self.control.write(verb)


def mandate_document(now: int, version: str, *, quota: int = 100, counter: int = 1, signers: int = 2) -> bytes:
    signed = Mandate(
        id=f"mandate-{counter}",
        node=NODE,
        issued_at=now,
        not_before=now - 3600,
        expires=now + 10 * DAY,
        policy_version=version,
        quota_per_day=quota,
        watermark_age_h_max=24,
        account_classes=("household",),
        counter=counter,
    )
    document = sign_mandate(signed, APPROVERS[0])
    for signer in APPROVERS[1:signers]:
        document = sign_mandate(document, signer)
    return document.to_json()


def sources_of(control: Database, qualities: Qualities) -> Sources:
    key = b"k" * 32
    return Sources(
        control=control,
        ledger=Ledger(control, key),
        records=Records(control, key, NODE, mandate_checker(KEYRING, NODE)),
        relays=Relays(control),
        operations=Operations(control, key),
        quality=qualities,
        channels=(BANK,),
    )


@asynccontextmanager
async def opened(
    folder: Path,
    *,
    clock: HandClock | None = None,
    meters: Meters | None = None,
    disk: SimDisk | None = None,
    network: Registry | None = None,
    policy: PolicyRules | None = None,
    numbers: "itertools.count[int] | None" = None,
    seed: int = 1,
) -> AsyncIterator[Office]:
    """A process of the office over `folder`; leaving the block is its end."""
    clock = clock or HandClock()
    meters = meters or Meters(clock)
    disk = disk or SimDisk(random.Random(seed))
    policy = policy or rules()
    control = await disk(folder / "control.db", "control", load_migrations("edge_node.store", "schema/control"))
    qualities, wakeups = Qualities(clock), Wakeups()
    sources = sources_of(control, qualities)
    registries = Registries(control, NODE, InlineCompute(), FieldWorks(control, bytes(32)))
    await registries.put(registry_to_document(network or registry()), clock.at)
    entropy = SeededEntropy(seed, f"office-{clock.at}")
    enforcement = Enforcement(
        sources,
        registries,
        profiles=load_profiles(),
        cut_profiles=(PROFILE,),
        drivers={"modbus": meters},
        clock=clock,
        entropy=entropy,
        wakeups=wakeups,
        rules=lambda: office.rules,
    )
    desk = Desk(
        sources.ledger,
        registries,
        channel=ChannelId("desk"),
        cashiers=("cashier-1",),
        check_secret=_secret,
        clock=clock,
        wakeups=wakeups,
    )
    office = Office(
        control,
        sources,
        registries,
        enforcement,
        desk,
        clock,
        meters,
        qualities,
        wakeups,
        policy,
        numbers or itertools.count(),
    )
    try:
        yield office
    finally:
        await control.close()


async def _secret(cashier: str, secret: str) -> bool:
    return (cashier, secret) == ("cashier-1", "right")


def changed(rules_: PolicyRules, **fields: object) -> PolicyRules:
    return replace(rules_, **fields)  # type: ignore[arg-type]


Story = Callable[[Office], Awaitable[None]]


def told(tmp_path: Path, story: Story, **options: object) -> None:
    async def whole() -> None:
        async with opened(tmp_path, **options) as office:  # type: ignore[arg-type]
            await office.permissions()
            await office.see_all()
            await story(office)

    asyncio.run(whole())


async def alarms(office: Office) -> set[tuple[str, str]]:
    rows = await office.control.read(
        lambda conn: conn.fetch_all("SELECT kind, subject FROM alarm WHERE cleared_at IS NULL")
    )
    return {(kind, subject) for kind, subject in rows}
