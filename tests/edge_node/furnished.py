"""An office as a browser finds it on a working morning: debtors, one of them cut, protections, closed hours, alarms.

The store, the node, the console and its pages are the product's, on a real disk and a real socket; only the meters and
the link are absent, so what a morning would have left behind is written through the store's own verbs.
"""

import dataclasses
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from edge_node.config import ApproverConfig, SupplyConfig
from edge_node.console.app import console_app, serve_console
from edge_node.console.office import Office as Face
from edge_node.console.pages import add_pages
from edge_node.node import Node
from edge_node.policy_file import load_policy
from edge_node.store.hours import PlaceCell
from edge_node.store.ledger import Origin
from edge_node.store.operations import Movement, Operation, Outcome
from edge_node.store.reading_round import Booking
from edge_node.store.relays import RelayRow
from edge_node.store.state import Mark, write_mark
from gridmodel.account import EntryKind, LedgerEntry
from gridmodel.balance import HourCell
from gridmodel.clock import TimeBounds
from gridmodel.control import Cause, RelayState
from gridmodel.event import AlarmKind
from gridmodel.identity import ChannelId, EntryId, TransformerId, UsagePointId
from gridmodel.network import FAR_FUTURE, Account, SupplyPointKind
from gridmodel.period import day_bounds, local_day
from gridmodel.reading import Channel, Estimation, IntervalReading, Quality, Revision
from gridmodel.record import Notice, NoticeEvidence, Protection, ProtectionKind, WeatherForecast
from gridmodel.vee import LastRegister
from hosting.clocks import SystemEntropy, SystemIoClock
from hosting.compute import InlineCompute
from hosting.database import Connection
from protocols.authority.canonical import Domain
from protocols.authority.mandate import Mandate, sign_mandate
from protocols.authority.signatures import Signer, key_to_text
from tests.edge_node.offices import Office, built, office

POLICY = Path(__file__).parents[2] / "configs" / "policy" / "demo.toml"
SIGNERS = [Signer.from_seed(bytes([n]) * 32, Domain.DEMO) for n in (1, 2)]
DAY_S = 86_400
PLANT_PCT = 30
"""Of its feeder's load that a plant feeds in behind the head."""
GIVEN_BACK_WH = 40
"""What consumers of the first transformer feed back in an hour."""
CUT, READY, DEBTORS, PROTECTED, PAYER, FOREIGN = 3, 7, range(3, 12), 11, 5, 50
"""Numbers of usage points in the order of the registry; a company's meter (FOREIGN) is not switched from here."""


@dataclass(frozen=True)
class Furnished:
    """A running console."""

    office: Office
    node: Node
    url: str
    stop_serving: Callable[[], Awaitable[None]]
    """Take the console away, as a crash would."""

    def account(self, number: int) -> Account:
        return self.office.registry.accounts[number]


@asynccontextmanager
async def furnished(
    folder: Path, points: int = 120, *, weather_age_s: int = 7200, watermark_age_s: int = 240
) -> AsyncIterator[Furnished]:
    plain = await office(folder, points)
    supply = SupplyConfig(policy=POLICY, remote_cut_profiles=("dds238_2_zn_sr",), payment_channels=("bank", "paynet"))
    approvers = tuple(
        ApproverConfig(name=f"approver-{n}", public=key_to_text(signer.public)) for n, signer in enumerate(SIGNERS)
    )
    config = plain.config.model_copy(update={"supply": supply, "approvers": approvers})
    given = dataclasses.replace(plain, config=config)
    async with built(given) as node:
        await _morning(given, node, weather_age_s, watermark_age_s)
        async with console_of(given, node) as at:
            yield at


@asynccontextmanager
async def console_of(given: Office, node: Node) -> AsyncIterator[Furnished]:
    """The console of a node as it is."""
    config = given.config
    application = console_app(node, config.console, SystemEntropy())
    add_pages(
        application,
        Face(
            node=node,
            name=config.node_id,
            store=node.store,
            rules=load_policy(POLICY, given.clock.now(), config.zone),
            clock=given.clock,
            io_clock=SystemIoClock(),
            entropy=SystemEntropy(),
            compute=InlineCompute(),
            language=config.language,
        ),
    )
    async with AsyncExitStack() as served:
        url = await served.enter_async_context(serve_console(application, "127.0.0.1:0"))
        yield Furnished(given, node, url, served.aclose)


async def _morning(given: Office, node: Node, weather_age_s: int, watermark_age_s: int) -> None:
    now = given.clock.now()
    given.clock.confirm(now)  # as a hub's first answer does
    await node.store.control.write(lambda conn: _rights(given, node, conn, now, weather_age_s, watermark_age_s))
    await node.store.control.write(lambda conn: _money(given, node, conn, now))
    await node.store.control.write(lambda conn: _relays(given, node, conn, now))
    await _energy(given, node, now)
    await node.store.alarms.put(
        AlarmKind.METER_SILENT, given.registry.meters[20].id, "no answer for 3 polls", now - 900
    )
    await node.store.alarms.put(AlarmKind.LOAD_WHILE_OPEN, given.registry.usage_points[READY].id, "840 W", now - 300)


async def _rights(  # noqa: PLR0917
    given: Office, node: Node, conn: Connection, now: int, weather_age_s: int, watermark_age_s: int
) -> None:
    records, ledger, registry = node.store.records, node.store.ledger, given.registry
    await write_mark(conn, Mark.RECONCILED_AT, str(now - DAY_S))
    await records.set_weather(conn, WeatherForecast(registry.districts[0], now - weather_age_s, 9.0, 24.0), now)
    await ledger.set_watermark(conn, ChannelId("bank"), now - 1800, now)
    await ledger.set_watermark(conn, ChannelId("paynet"), now - watermark_age_s, now)
    mandate = Mandate(
        id="mandate-2026-19",
        node=registry.node,
        issued_at=now - DAY_S,
        not_before=now - DAY_S,
        expires=now + 2 * DAY_S,
        policy_version="demo-1",
        quota_per_day=2,
        watermark_age_h_max=24,
        account_classes=("household",),
        counter=1,
    )
    signed = sign_mandate(sign_mandate(mandate, SIGNERS[0]), SIGNERS[1])
    await records.put_mandate(conn, signed.to_json(), now, TimeBounds(now, now))
    point = registry.usage_points[PROTECTED].id
    protection = Protection("prot-1", ProtectionKind.MEDICAL, point, None, 0, FAR_FUTURE, "mahalla-12")
    await records.add_protection(conn, protection, now)


async def _money(given: Office, node: Node, conn: Connection, now: int) -> None:
    dice = random.Random(7)
    for number, account in enumerate(given.registry.accounts):
        lines: list[tuple[str, EntryKind, int, int, int | None]] = [
            ("opening", EntryKind.OPENING_BALANCE, dice.randrange(0, 90_000) * 100, now - 90 * DAY_S, None)
        ]
        debtor = number in DEBTORS
        for month in (3, 2, 1):
            at = now - month * 30 * DAY_S
            charge = -(180_000 if debtor else 60_000) * 100 - dice.randrange(100) * 100
            lines.append((f"charge-{month}", EntryKind.CHARGE, charge, at, at + 10 * DAY_S))
            if not debtor:
                lines.append((f"paid-{month}", EntryKind.PAYMENT, -charge, at + 5 * DAY_S, None))
        for name, kind, amount, at, due in lines:
            channel = ChannelId("bank" if kind is EntryKind.PAYMENT else "billing")
            entry = LedgerEntry(EntryId(f"{name}-{account.id}"), account.id, kind, amount, at, due, channel, "billing")
            await node.store.ledger.insert_entry(conn, entry, Origin.HUB, now)
        if debtor and number != PAYER:
            delivered = now - 8 * DAY_S
            notice = Notice(f"notice-{number}", account.id, 70_000_000, NoticeEvidence.SMS_DELIVERED, delivered)
            await node.store.records.add_notice(conn, notice, now)


async def _relays(given: Office, node: Node, conn: Connection, now: int) -> None:
    topology = given.registry.topology(now)
    for number, point in enumerate(given.registry.usage_points):
        placed = topology.installation_at[point.id]
        if given.registry.meter[placed.meter].profile not in given.config.supply.remote_cut_profiles:
            continue  # nobody here switches it, nobody here knows its relay
        state = {CUT: RelayState.DISCONNECTED, READY: RelayState.READY_FOR_RECONNECTION}.get(
            number, RelayState.CONNECTED
        )
        dark = state is not RelayState.CONNECTED
        row = RelayRow(
            usage_point=point.id,
            meter=placed.meter,
            state=state,
            cause=Cause.DEBT if dark else None,
            since=now - {CUT: 1500, READY: 30 * 3600}.get(number, 5 * DAY_S),
            seen_at=now - 200,
            load_w=0 if dark else 640,
            operation=f"op-{number}" if dark else None,
            paid_at=now - 600 if state is RelayState.READY_FOR_RECONNECTION else None,
        )
        await node.store.relays.put(conn, [row])
        if dark:
            await node.store.operations.put(conn, _cut(given, row, number, now), now)


def _cut(given: Office, row: RelayRow, number: int, now: int) -> Operation:
    transformer = given.registry.topology(now).transformer_of[row.usage_point]
    basis = {
        "reasons": ["debt_overdue"],
        "rules": "demo-1",
        "overdue_tiyin": 36_000_000,
        "oldest_due_at": now - 80 * DAY_S,
        "notice": f"notice-{number}",
        "notice_delivered_at": now - 8 * DAY_S,
        "watermark_at": now - 3600,
    }
    return Operation(
        id=f"op-{number}",
        usage_point=UsagePointId(row.usage_point),
        meter=row.meter,
        transformer=TransformerId(transformer),
        action=Movement.CUT,
        cause=Cause.DEBT,
        basis=basis,
        mandate="mandate-2026-19",
        intent_at=row.since,
        sent_at=row.since + 2,
        result_at=row.since + 8,
        outcome=Outcome.CONFIRMED,
    )


async def _energy(given: Office, node: Node, now: int) -> None:
    dice = random.Random(3)
    registry = given.registry
    start = day_bounds(local_day(now, given.config.zone), given.config.zone)[0]
    ends = list(range(start - 6 * 3600, now - now % 3600 + 1, 3600))
    bookings = []
    for number, point in enumerate(registry.usage_points):
        if number == 20:
            continue
        meter = registry.topology(now).installation_at[point.id].meter
        total, intervals = 1_000_000, []
        for end in ends:
            used = dice.randrange(60, 900)
            total += used
            quality = Quality.ESTIMATED if (number + end // 3600) % 23 == 0 else Quality.ACTUAL
            method = Estimation.OWN_PROFILE if quality is Quality.ESTIMATED else Estimation.NONE
            intervals.append(IntervalReading(point.id, Channel.IMPORT, end, used, quality, total, method))
        bookings.append(Booking(point.id, Channel.IMPORT, tuple(intervals), LastRegister(meter, ends[-1], total, 0)))
    await node.store.readings.book(bookings, Revision(1, 1))
    for end in [end for end in ends if end > start]:
        await node.store.hours.put_hour(end, _cells(given, dice, end), end + 600)
    await node.store.hours.put_day(local_day(start, given.config.zone), 1, (), start + 3600)


def _cells(given: Office, dice: random.Random, end: int) -> list[PlaceCell]:
    registry = given.registry
    topology = registry.topology(end)
    found, through = [], dict.fromkeys((feeder.id for feeder in registry.feeders), 0)
    for number, transformer in enumerate(registry.transformers):
        points = len(topology.points_of[transformer.id])
        delivered = points * dice.randrange(250, 420)
        missing = 1 if dice.random() < 0.08 else 0
        back = GIVEN_BACK_WH if number == 0 else 0
        cell = HourCell(delivered * 102 // 100, delivered, back, 1, 0, points, points - missing - 1, 1, missing)
        found.append(PlaceCell(transformer.id, SupplyPointKind.TRANSFORMER, cell))
        through[topology.feeder_of[transformer.id]] += delivered - back
    plants = {point.feeder for point in registry.supply_points if point.kind is SupplyPointKind.GENERATOR}
    for number, point in enumerate(registry.supply_points):
        if point.kind is SupplyPointKind.FEEDER_HEAD and point.feeder is not None:
            lost = (104 if number % 2 == 0 else 108) - (PLANT_PCT if point.feeder in plants else 0)
            silent = int(end == given.clock.now() // 3600 * 3600 and number % 2 == 1)
            cell = HourCell(0 if silent else through[point.feeder] * lost // 100, 0, 0, 1, silent)
            found.append(PlaceCell(point.id, point.kind, cell))
        elif point.kind is SupplyPointKind.GENERATOR and point.feeder is not None:
            cell = HourCell(through[point.feeder] * PLANT_PCT // 100, 0, 0, 1, 0)
            found.append(PlaceCell(point.id, point.kind, cell))
    return found
