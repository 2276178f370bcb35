"""A small country for the hub's tests: two nodes, two districts, a clock that is set by hand, batches made to order."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

from central_sync.billing.registries import packed_registry
from central_sync.config import ApproverConfig, HubConfig, NodeConfig
from central_sync.hub import Hub, build
from central_sync.ingest.bundles import HubBundleKeys
from gridmodel.account import EntryKind, LedgerEntry
from gridmodel.balance import HourCell
from gridmodel.clock import ClockDoubt, ClockTrust, TimeBounds
from gridmodel.identity import (
    AccountId,
    ChannelId,
    DistrictId,
    EntryId,
    FeederId,
    MeterId,
    NodeId,
    PersonId,
    SubstationId,
    SupplyPointId,
    TransformerId,
    UsagePointId,
)
from gridmodel.network import (
    Account,
    ConsumerClass,
    Feeder,
    FeederLink,
    Installation,
    Meter,
    Substation,
    SupplyPoint,
    SupplyPointKind,
    Transformer,
    TransformerLink,
    UsagePoint,
)
from gridmodel.period import day_bounds
from gridmodel.quantity import Multiplier
from gridmodel.reading import Channel, Quality, Revision
from gridmodel.registry import Registry
from hosting.compute import InlineCompute
from hosting.database import open_database
from protocols.authority.canonical import Domain
from protocols.authority.signatures import Signer, key_to_text
from protocols.sync import facts
from protocols.sync.batch import Batch
from protocols.sync.chunk import ChunkContent, ChunkHead, Series, SeriesKind, encode_chunk, sums_of
from protocols.sync.lanes import Lane, LaneMark, Record, fresh_mark, records_to_payload
from protocols.sync.messages import Ack, Hello, Push, PushReply, Welcome
from protocols.sync.pull import Pull, PullReply
from protocols.sync.seal import seal, sign_hello, sign_pull

ZONE = "Asia/Tashkent"
DAY = "2026-05-04"
START, END = day_bounds(DAY, ZONE)
A, B = NodeId("node-a"), NodeId("node-b")
DISTRICTS: Mapping[NodeId, str] = {A: "1703202", B: "1706204"}
SIGNERS = {A: Signer.from_seed(b"a" * 32, Domain.DEMO), B: Signer.from_seed(b"b" * 32, Domain.DEMO)}
APPROVERS = {name: Signer.from_seed(name.encode() * 16, Domain.DEMO) for name in ("p1", "p2", "p3")}
PER_HOUR = 4
ROW_KEY = b"k" * 32
Story = Callable[[Hub], Awaitable[None]]


class HandClock:
    """A utility clock that moves when told."""

    def __init__(self, at: int) -> None:
        self.at = at

    def now(self) -> int:
        return self.at

    def confirmed(self) -> bool:
        return True

    def doubts(self) -> tuple[ClockDoubt, ...]:
        return ()

    def trust(self) -> ClockTrust:
        return ClockTrust.TRUSTED

    def bounds(self) -> TimeBounds:
        return TimeBounds(self.at - 2, self.at + 2)

    async def sleep_until(self, at: int) -> None:
        await asyncio.Event().wait()

    async def sleep(self, seconds: float) -> None:
        await asyncio.Event().wait()


class IdleIoClock:
    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        await asyncio.Event().wait()


class SeededEntropy:
    def __init__(self, seed: int = 1) -> None:
        self._random = Random(seed)

    def token(self, size_bytes: int) -> bytes:
        return self._random.randbytes(size_bytes)


def on_sqlite(folder: Path) -> str | None:
    return None


database_of: Callable[[Path], str | None] = on_sqlite
"""The database of the hub in a folder; `test_hub_on_postgresql` names others."""


def hub_config(folder: Path) -> HubConfig:
    return HubConfig(
        data_dir=folder,
        demo=True,
        database=database_of(folder),
        nodes=tuple(
            NodeConfig(id=node, public_key=key_to_text(SIGNERS[node].public), districts=(district,))
            for node, district in DISTRICTS.items()
        ),
        approvers=tuple(
            ApproverConfig(name=name, public_key=key_to_text(signer.public)) for name, signer in APPROVERS.items()
        ),
    )


async def open_hub(folder: Path, clock: HandClock, bundle_keys: HubBundleKeys | None = None) -> Hub:
    return await build(
        hub_config(folder),
        clock=clock,
        io_clock=IdleIoClock(),
        rng=Random(1),
        entropy=SeededEntropy(),
        open_database=open_database,
        compute=InlineCompute(),
        row_key=ROW_KEY,
        bundle_keys=bundle_keys,
    )


def run_hub(folder: Path, story: Callable[[Hub, HandClock], Awaitable[None]], at: int = END + 3600) -> None:
    async def whole() -> None:
        clock = HandClock(at)
        hub = await open_hub(folder, clock)
        try:
            await story(hub, clock)
        finally:
            await hub.close()

    asyncio.run(whole())


def registry_of(node: NodeId, version: int = 1, transformers: int = 2, points: int = 2, **changes: Any) -> Registry:
    """One substation, one feeder with a head meter; `transformers` with a meter each and `points` points each.

    Node A also has a boundary towards B's district and a generator.
    """
    tag = node[-1]
    district = DistrictId(DISTRICTS[node])
    substation, feeder = SubstationId(f"ss-{tag}"), FeederId(f"f-{tag}")
    names = [TransformerId(f"t-{tag}{n}") for n in range(transformers)]
    usage = [(name, UsagePointId(f"up-{name}-{n}")) for name in names for n in range(points)]
    supply = [
        SupplyPoint(SupplyPointId(f"head-{tag}"), SupplyPointKind.FEEDER_HEAD, district, feeder=feeder),
        *(SupplyPoint(SupplyPointId(f"sp-{n}"), SupplyPointKind.TRANSFORMER, district, transformer=n) for n in names),
    ]
    if node == A:
        far = DistrictId(DISTRICTS[B])
        supply.append(SupplyPoint(SupplyPointId("bp-ab"), SupplyPointKind.BOUNDARY, district, to_district=far))
        supply.append(SupplyPoint(SupplyPointId("gen-a"), SupplyPointKind.GENERATOR, district))
    places = [*(point for _, point in usage), *(point.id for point in supply)]
    fields: dict[str, Any] = {
        "node": node,
        "version": version,
        "zone": ZONE,
        "interval_minutes": 60 // PER_HOUR,
        "districts": (district,),
        "substations": (Substation(substation, district, f"Substation {tag}"),),
        "feeders": (Feeder(feeder, substation, f"Feeder {tag}"),),
        "transformers": tuple(Transformer(name, district, f"Transformer {name}", 100) for name in names),
        "usage_points": tuple(
            UsagePoint(point, district, ConsumerClass.HOUSEHOLD, None, "Navoiy 1") for _, point in usage
        ),
        "supply_points": tuple(supply),
        "accounts": tuple(Account(AccountId(f"acc-{point}"), point, PersonId("person-1")) for _, point in usage),
        "meters": tuple(Meter(MeterId(f"m-{place}"), "1", "sdm630", "127.0.0.1:502", 1) for place in places),
        "installations": tuple(
            Installation(MeterId(f"m-{place}"), place, (Channel.IMPORT,), Multiplier(), START - 86_400)
            for place in places
        ),
        "transformer_links": tuple(TransformerLink(point, name, START - 86_400) for name, point in usage),
        "feeder_links": tuple(FeederLink(name, feeder, START - 86_400) for name in names),
    }
    return Registry(**(fields | changes))


async def import_registry(hub: Hub, registry: Registry) -> None:
    await hub.import_registry(packed_registry(registry))


def transformer_cell(rng: Random, points: int = 2) -> HourCell:
    expected = points * PER_HOUR
    missing = rng.choice([0, 0, 0, 1])
    estimated = rng.choice([0, 0, 1])
    delivered = rng.randrange(0, 20_000)
    return HourCell(
        supplied_wh=delivered + rng.randrange(0, 1_000),
        delivered_wh=delivered,
        exported_wh=rng.choice([0, 0, 300]),
        supply_expected=PER_HOUR,
        points_expected=expected,
        points_actual=expected - missing - estimated,
        points_estimated=estimated,
        points_missing=missing,
    )


def supply_cell(wh: int, missing: int = 0) -> HourCell:
    return HourCell(supplied_wh=wh, supply_expected=PER_HOUR, supply_missing=missing)


def hour_record(place: str, end: int, cell: HourCell, number: int = 1, epoch: int = 1) -> Record:
    kind = facts.TRANSFORMER_HOUR if place.startswith("t-") else facts.SUPPLY_HOUR
    body = facts.PlaceHour(place, end, cell, Revision(epoch, number)).to_body()
    return Record(kind, f"{place}:{end}:{number}", body)


def payment(node: NodeId, number: int, amount: int = 10_000_00, at: int = START + 3600) -> LedgerEntry:
    return LedgerEntry(
        id=EntryId(f"pay-{node}-{number}"),
        account=AccountId(f"acc-up-t-{node[-1]}0-0"),
        kind=EntryKind.PAYMENT,
        amount_tiyin=amount,
        at=at,
        due_at=None,
        channel=ChannelId(f"desk-{node}"),
        recorded_by="cashier-1",
    )


def entry_record(entry: LedgerEntry) -> Record:
    return Record(facts.LEDGER_ENTRY, entry.id, facts.ledger_entry_to_body(entry))


def chunk_content(
    registry: Registry, rng: Random, *, number: int = 1, day: str = DAY, epoch: int = 1, alter: str = ""
) -> ChunkContent:
    """A whole day of a whole node; `alter` shifts the sums after they were made ("" leaves them true)."""
    head = ChunkHead(
        node=registry.node,
        district=registry.districts[0],
        day=day,
        zone=registry.zone,
        interval_minutes=registry.interval_minutes,
        registry_version=registry.version,
        revision=Revision(epoch, number),
    )
    topology = registry.topology(day_bounds(day, ZONE)[1])
    series = [
        _series(rng, str(point), SeriesKind.USAGE, str(transformer), most=900)
        for point, transformer in sorted(topology.transformer_of.items())
    ]
    series += [
        _series(rng, str(supply.id), SeriesKind.of(supply.kind), str(supply.transformer or ""), most=2_000)
        for supply in registry.supply_points
    ]
    sums = sums_of(head, series)
    if alter:
        hours = list(sums[alter])
        hours[3] = replace(hours[3], delivered_wh=hours[3].delivered_wh + 1)
        sums = {**sums, alter: tuple(hours)}
    names = {name: getattr(head, name) for name in ChunkHead.__dataclass_fields__}
    return ChunkContent(**names, series=tuple(series), transformer_sums=sums)


def _series(rng: Random, point: str, kind: SeriesKind, transformer: str, *, most: int) -> Series:
    count = 24 * PER_HOUR
    quality = bytes(rng.choices([Quality.ACTUAL, Quality.ESTIMATED, Quality.MISSING], [97, 2, 1], k=count))
    energy = tuple(0 if one == Quality.MISSING else rng.randrange(most) for one in quality)
    return Series(point, Channel.IMPORT, kind, transformer, 0, energy, quality)


def chunk_bytes(registry: Registry, rng: Random, **options: Any) -> bytes:
    return encode_chunk(chunk_content(registry, rng, **options))


@dataclass
class Speaker:
    """A node's side, with no store: it seals batches and exchanges them with a hub."""

    hub: Hub
    node: NodeId
    registry_version: int = 1
    marks: dict[Lane, LaneMark] = field(default_factory=lambda: {lane: fresh_mark(1) for lane in Lane})
    entropy: SeededEntropy = field(default_factory=lambda: SeededEntropy(7))

    @property
    def signer(self) -> Signer:
        return SIGNERS[self.node]

    async def hello(self, fork_lane: Lane | None = None, nonce: bytes | None = None) -> Welcome:
        unsigned = Hello(
            node=self.node,
            hub_incarnation=None,
            lanes=self.marks,
            signed_at=self.hub.clock.now(),
            nonce=self.entropy.token(16) if nonce is None else nonce,
            key_id=self.signer.key_id,
            fork_lane=fork_lane,
        )
        reply = await self.hub.handle("hello", sign_hello(unsigned, self.signer).to_bytes())
        return Welcome.from_bytes(reply)

    def seal(self, lane: Lane, payload: bytes, registry_version: int | None = None) -> Batch:
        version = self.registry_version if registry_version is None else registry_version
        batch = seal(
            payload,
            node=self.node,
            lane=lane,
            after=self.marks[lane],
            registry_version=version,
            now=self.hub.clock.now(),
            signer=self.signer,
        )
        self.marks[lane] = batch.header.mark()
        return batch

    def seal_records(self, lane: Lane, records: Sequence[Record], registry_version: int | None = None) -> Batch:
        return self.seal(lane, records_to_payload(list(records)), registry_version)

    async def push(self, *batches: Batch) -> list[Ack]:
        push = Push(node=self.node, batches=tuple(batch.to_bytes() for batch in batches))
        reply = PushReply.from_bytes(await self.hub.handle("push", push.to_bytes()))
        return list(reply.acks)

    async def send(self, lane: Lane, *records: Record) -> Ack:
        return (await self.push(self.seal_records(lane, records)))[0]

    async def send_chunk(self, data: bytes) -> Ack:
        return (await self.push(self.seal(Lane.INTERVAL, data)))[0]

    async def pull(self, offsets: Mapping[Any, int], limit: int = 512) -> PullReply:
        unsigned = Pull(
            node=self.node,
            offsets=offsets,
            limit=limit,
            signed_at=self.hub.clock.now(),
            nonce=self.entropy.token(16),
            key_id=self.signer.key_id,
        )
        return PullReply.from_bytes(await self.hub.handle("pull", sign_pull(unsigned, self.signer).to_bytes()))


async def areas(hub: Hub, level: str, period: str, at: str, area: str | None = None) -> dict[str, dict[str, Any]]:
    told = await hub.balance(level, period, at, area)
    return {one["id"]: one for one in told["areas"]}
