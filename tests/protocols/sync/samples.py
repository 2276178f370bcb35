"""Samples of every message and chunk, small enough to read, for the tests of sync."""

from hashlib import sha256

from gridmodel.clock import TimeBounds
from gridmodel.identity import DistrictId, NodeId
from gridmodel.reading import Channel, Quality, Revision
from protocols.authority.canonical import Domain
from protocols.authority.signatures import KeyRing, NamedKey, Role, Signer
from protocols.sync.chunk import ChunkContent, ChunkHead, Series, SeriesKind, sums_of
from protocols.sync.messages import (
    Ack,
    AckOutcome,
    Batch,
    DownItem,
    DownLane,
    Hello,
    Lane,
    LaneMark,
    Pull,
    PullReply,
    Push,
    PushReply,
    Record,
    Welcome,
    fresh_mark,
    records_to_payload,
)
from protocols.sync.seal import seal, sign_hello, sign_pull

NODE = NodeId("node-1726264")
NOW = 1_780_000_000
PRESENT = TimeBounds(NOW, NOW)
SIGNER = Signer.from_seed(bytes(range(32)), Domain.DEMO)
KEYRING = KeyRing([NamedKey(SIGNER.public, NODE, frozenset({Role.NODE}))], Domain.DEMO)


def batch(lane: Lane = Lane.LEDGER, after: LaneMark | None = None, number: int = 1, *, node: NodeId = NODE) -> Batch:
    payload = records_to_payload([Record("ledger_entry", f"pay-{number}", {"amount_tiyin": 100 * number})])
    mark = after if after is not None else fresh_mark(1)
    return seal(payload, node=node, lane=lane, after=mark, registry_version=3, now=NOW, signer=SIGNER)


def chain(lane: Lane, count: int, epoch: int = 1) -> list[Batch]:
    made: list[Batch] = []
    mark = fresh_mark(epoch)
    for number in range(1, count + 1):
        made.append(batch(lane, mark, number))
        mark = made[-1].header.mark()
    return made


def hello() -> Hello:
    lanes = {lane: LaneMark(2, 5, sha256(lane.encode()).digest()) for lane in Lane}
    unsigned = Hello(node=NODE, hub_incarnation="hub-a", lanes=lanes, signed_at=NOW, nonce=bytes(16), key_id="0" * 16)
    return sign_hello(unsigned, SIGNER)


def welcome() -> Welcome:
    return Welcome(hub_incarnation="hub-a", hub_time=NOW, lanes={Lane.CONTROL: fresh_mark(1)}, node_epoch=2)


def push() -> Push:
    return Push(node=NODE, batches=tuple(one.to_bytes() for one in chain(Lane.LEDGER, 3)))


def push_reply() -> PushReply:
    mark = batch().header.mark()
    ack = Ack(lane=Lane.LEDGER, epoch=1, seq=1, outcome=AckOutcome.QUARANTINED, reason="unknown point", have=mark)
    return PushReply(hub_incarnation="hub-a", hub_time=NOW, acks=(ack,))


def pull() -> Pull:
    offsets = {DownLane.AUTHORITY: 0, DownLane.LEDGER: 7}
    unsigned = Pull(node=NODE, offsets=offsets, limit=50, signed_at=NOW, nonce=bytes(16), key_id="0" * 16)
    return sign_pull(unsigned, SIGNER)


def pull_reply() -> PullReply:
    items = (
        DownItem(DownLane.LEDGER, 8, "watermark", "w-1", b"x"),
        DownItem(DownLane.LEDGER, 9, "watermark", "w-2", b""),
    )
    return PullReply(hub_incarnation="hub-a", hub_time=NOW, items=items, more=True, refetch=(DownLane.REGISTRY,))


HEAD = ChunkHead(
    node=NODE,
    district=DistrictId("1726264"),
    day="2026-05-04",
    zone="Asia/Tashkent",
    interval_minutes=60,
    registry_version=3,
    revision=Revision(1, 2),
)


def content(head: ChunkHead, series: list[Series]) -> ChunkContent:
    return ChunkContent(
        node=head.node,
        district=head.district,
        day=head.day,
        zone=head.zone,
        interval_minutes=head.interval_minutes,
        registry_version=head.registry_version,
        revision=head.revision,
        series=tuple(series),
        transformer_sums=sums_of(head, series),
    )


def small_chunk() -> ChunkContent:
    """Two transformers: a household, a prosumer, a point never heard, a transformer meter; and a feeder head."""
    day = tuple(range(100, 124))
    missing = bytes([Quality.MISSING] * 24)
    mixed = bytes([Quality.ACTUAL] * 20 + [Quality.ESTIMATED, Quality.SUSPECT, Quality.MISSING, Quality.ACTUAL])
    gap = (*day[:22], 0, day[23])
    series = [
        Series("up-1", Channel.IMPORT, SeriesKind.USAGE, "tr-1", 123_456, day, bytes(24)),
        Series("up-2", Channel.IMPORT, SeriesKind.USAGE, "tr-1", 2**53, gap, mixed),
        Series("up-2", Channel.EXPORT, SeriesKind.USAGE, "tr-1", 0, tuple([5] * 24), bytes(24)),
        Series("up-3", Channel.IMPORT, SeriesKind.USAGE, "tr-2", None, (0,) * 24, missing),
        Series("sp-1", Channel.IMPORT, SeriesKind.TRANSFORMER, "tr-1", 9, tuple(v * 2 for v in day), bytes(24)),
        Series("sp-1", Channel.EXPORT, SeriesKind.TRANSFORMER, "tr-1", 9, (300,) * 24, bytes(24)),
        Series("sp-f", Channel.IMPORT, SeriesKind.FEEDER_HEAD, "", 10**12, (10**11,) * 24, bytes(24)),
    ]
    return content(HEAD, series)
