"""A node and a hub over a bad line, both with a durable part that survives a crash: the world of the session tests."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from random import Random

from gridmodel.identity import NodeId
from protocols.sync.batch import Batch
from protocols.sync.effects import Acknowledged, Effect, Fetch, Greet, Held, HubRolledBack, NewEpoch, Rest, Send
from protocols.sync.lanes import Lane, LaneMark, Record, fresh_mark, records_from_payload, records_to_payload
from protocols.sync.messages import Ack, Hello, PushReply, Welcome
from protocols.sync.seal import check_signature, seal
from protocols.sync.session import Stored, UplinkSession, stored
from protocols.sync.state import FIRST_EPOCH, LocalLane, VerdictKind, judge, minted_epoch
from tests.protocols.sync import samples


@dataclass
class NodeStore:
    """What is durable at the node: records by id, sealed batches, marks."""

    records: dict[Lane, list[str]] = field(default_factory=lambda: {lane: [] for lane in Lane})
    sealed_ids: dict[Lane, int] = field(default_factory=lambda: dict.fromkeys(Lane, 0))
    batches: dict[Lane, list[Batch]] = field(default_factory=lambda: {lane: [] for lane in Lane})
    sealed: dict[Lane, LaneMark] = field(default_factory=lambda: {lane: fresh_mark(0) for lane in Lane})
    acknowledged: dict[Lane, LaneMark] = field(default_factory=lambda: {lane: fresh_mark(0) for lane in Lane})
    ids_of: dict[tuple[Lane, int, int], str] = field(default_factory=dict)

    def add(self, lane: Lane, name: str) -> None:
        self.records[lane].append(name)
        self.seal_all(lane)

    def seal_all(self, lane: Lane) -> None:
        mark = self.sealed[lane]
        if mark.epoch == 0:
            return
        for name in self.records[lane][self.sealed_ids[lane] :]:
            payload = records_to_payload([Record("ledger_entry", name, {})])
            one = seal(
                payload,
                node=samples.NODE,
                lane=lane,
                after=mark,
                registry_version=1,
                now=samples.NOW,
                signer=samples.SIGNER,
            )
            self.batches[lane].append(one)
            mark = one.header.mark()
            self.ids_of[lane, mark.epoch, mark.seq] = name
        self.sealed_ids[lane] = len(self.records[lane])
        self.sealed[lane] = mark

    def after(self, lane: Lane, mark: LaneMark, bytes_max: int) -> list[Stored]:
        out: list[Stored] = []
        for one in self.batches[lane]:
            if one.header.epoch == mark.epoch and one.header.seq > mark.seq:
                item = stored(one.to_bytes())
                if out and sum(len(each.data) for each in out) + len(item.data) > bytes_max:
                    break
                out.append(item)
        return out

    def local(self, welcome: Welcome) -> Mapping[Lane, LocalLane]:
        out = {}
        for lane in Lane:
            hub = welcome.lanes.get(lane, fresh_mark(FIRST_EPOCH))
            held = [one.header for one in self.batches[lane]]
            ours = next((h.hash() for h in held if (h.epoch, h.seq) == (hub.epoch, hub.seq)), None)
            out[lane] = LocalLane(self.sealed[lane], self.acknowledged[lane], ours)
        return out

    def persist(self, effect: Effect) -> None:
        if isinstance(effect, Acknowledged):
            self.acknowledged[effect.lane] = effect.mark
        if isinstance(effect, NewEpoch):
            lane, old = effect.lane, self.acknowledged[effect.lane]
            acknowledged = self.ids_of.get((lane, old.epoch, old.seq))
            names = self.records[lane]
            self.sealed_ids[lane] = names.index(acknowledged) + 1 if acknowledged is not None else 0
            self.sealed[lane] = self.acknowledged[lane] = effect.mark
            self.seal_all(lane)
        if isinstance(effect, HubRolledBack):
            self.acknowledged[effect.lane] = effect.have


@dataclass
class HubStore:
    """What is durable at the hub: marks, digests, and how often each fact was applied."""

    incarnation: str = "hub-a"
    node_epoch: int = FIRST_EPOCH
    marks: dict[Lane, LaneMark] = field(default_factory=dict)
    digests: dict[tuple[Lane, int, int], bytes] = field(default_factory=dict)
    applied: dict[Lane, list[str]] = field(default_factory=lambda: {lane: [] for lane in Lane})

    def greet(self, hello: Hello) -> Welcome:
        if hello.fork_lane is not None:
            self.node_epoch = minted_epoch(self.node_epoch, hello)
            self.marks[hello.fork_lane] = fresh_mark(self.node_epoch)
        return Welcome(
            hub_incarnation=self.incarnation,
            hub_time=samples.NOW,
            lanes=dict(self.marks),
            node_epoch=self.node_epoch,
        )

    def take(self, node: NodeId, batches: tuple[bytes, ...]) -> PushReply:
        return PushReply(
            hub_incarnation=self.incarnation,
            hub_time=samples.NOW,
            acks=tuple(self._take(node, Batch.from_bytes(data)) for data in batches),
        )

    def _take(self, node: NodeId, one: Batch) -> Ack:
        header = one.header
        key = (header.lane, header.epoch, header.seq)
        verdict = judge(
            one,
            node=node,
            have=self.marks.get(header.lane),
            held_digest=self.digests.get(key),
            signature=check_signature(header, samples.KEYRING, samples.PRESENT),
        )
        if verdict.kind is VerdictKind.APPLY:
            self.digests[key] = header.digest
            self.marks[header.lane] = verdict.have
            for record in records_from_payload(one.payload):
                if record.id not in self.applied[header.lane]:
                    self.applied[header.lane].append(record.id)
        return verdict.ack(header)


class World:
    """Drives a session as a host does, over a line that loses, repeats and cuts off."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.node = NodeStore()
        self.hub = HubStore()
        self.session = UplinkSession(rng=self.rng)
        self.now = samples.NOW
        self.faults = True
        self.effects: list[Effect] = []
        self.late: list[Send] = []
        """Pushes that the line delivers once more, later."""

    def restart(self) -> None:
        self.session = UplinkSession(rng=self.rng)

    def chance(self, share: float) -> bool:
        return self.faults and self.rng.random() < share

    def turn(self) -> bool:
        """One step of the host; False when there is nothing left to do."""
        if self.late and self.chance(0.3):
            self.hub.take(samples.NODE, self.late.pop(self.rng.randrange(len(self.late))).batches)
        step = self.session.next(self.now)
        match step:
            case Rest(until):
                if until is None:
                    return False
                self.now = max(self.now + 1, until)
            case Fetch(lane, after, bytes_max, _):
                self._persist(self.session.offer(lane, self.node.after(lane, after, bytes_max)))
            case Greet(fork_lane):
                self._greet(fork_lane)
            case Send():
                self._send(step)
        if self.chance(0.03):
            self.restart()
        return True

    def _greet(self, fork_lane: Lane | None) -> None:
        if self.chance(0.2):
            self.session.lost(self.now)
            return
        hello = replace(samples.hello(), lanes=dict(self.node.sealed), fork_lane=fork_lane)
        welcome = Welcome.from_bytes(self.hub.greet(Hello.from_bytes(hello.to_bytes())).to_bytes())
        if self.chance(0.2):
            self.session.lost(self.now, 30)
            return
        self._persist(self.session.welcomed(welcome, self.node.local(welcome)))

    def _send(self, step: Send) -> None:
        if self.chance(0.2):
            self.late.append(step)
            self.session.lost(self.now)
            return
        if self.chance(0.2):
            self.hub.take(samples.NODE, step.batches)
        reply = PushReply.from_bytes(self.hub.take(samples.NODE, step.batches).to_bytes())
        if self.chance(0.2):
            self.session.lost(self.now)
            return
        if self.chance(0.05):
            self.restart()
            return
        self._persist(self.session.replied(reply, self.now))

    def _persist(self, effects: tuple[Effect, ...]) -> None:
        for effect in effects:
            self.effects.append(effect)
            self.node.persist(effect)

    def settle(self) -> None:
        """Faults off: everything must arrive within a bound."""
        self.faults = False
        for lane in Lane:
            self.session.stored(lane)
        for _ in range(3_000):
            if not self.turn():
                return
        raise AssertionError("the session did not come to rest")

    def held(self) -> list[Held]:
        return [effect for effect in self.effects if isinstance(effect, Held)]
