"""The session: under loss, duplication, reordering and restart the hub holds exactly what the node made, each once."""

import copy
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.sync.effects import (
    Acknowledged,
    Fetch,
    Forked,
    Greet,
    Held,
    HubChanged,
    HubRolledBack,
    NewEpoch,
    Rest,
    Send,
    UplinkLimits,
)
from protocols.sync.messages import AckOutcome, Lane, LaneMark, PushReply, Welcome, fresh_mark
from protocols.sync.session import UplinkSession, stored
from protocols.sync.state import (
    LinkState,
    LocalLane,
    SessionFault,
)
from tests.protocols.sync import samples
from tests.protocols.sync.parties import HubStore, World

SMALL_LANES = (Lane.CONTROL, Lane.LEDGER, Lane.SUMMARY)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 40))
def test_everything_arrives_once_and_in_order(seed: int, count: int) -> None:
    world = World(seed)
    for number in range(count):
        lane = world.rng.choice(SMALL_LANES)
        world.node.add(lane, f"{lane}-{number}")
        world.session.stored(lane)
        for _ in range(world.rng.randrange(6)):
            world.turn()
    world.settle()
    for lane in SMALL_LANES:
        assert world.hub.applied[lane] == world.node.records[lane]
        assert world.node.acknowledged[lane] == world.node.sealed[lane]
    assert not any(isinstance(effect, Forked | Held) for effect in world.effects)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 15), st.integers(1, 15))
def test_a_node_restored_from_a_backup_loses_nothing_new(seed: int, before: int, after: int) -> None:
    """The trap of a plain high-watermark: the same numbers with other payments must not pass for duplicates."""
    world = World(seed)
    backup = world.node
    for number in range(before):
        world.node.add(Lane.LEDGER, f"pay-{number}")
        if number == before // 2:
            backup = copy.deepcopy(world.node)
    world.settle()
    world.node = backup
    world.restart()
    world.faults = True
    for number in range(after):
        world.node.add(Lane.LEDGER, f"new-{number}")
        world.turn()
    world.settle()
    world.now += 3_600
    world.settle()
    hub = world.hub.applied[Lane.LEDGER]
    assert set(hub) == {f"pay-{n}" for n in range(before)} | {f"new-{n}" for n in range(after)}
    assert len(set(hub)) == len(hub)
    assert world.node.acknowledged[Lane.LEDGER] == world.node.sealed[Lane.LEDGER]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 15))
def test_a_hub_restored_from_a_backup_is_noticed_and_refilled(seed: int, count: int) -> None:
    world = World(seed)
    backup = world.hub
    for number in range(count):
        world.node.add(Lane.LEDGER, f"pay-{number}")
        if number == count // 2:
            world.settle()
            backup = copy.deepcopy(world.hub)
    world.settle()
    world.hub = replace(backup, incarnation="hub-b")
    if backup.marks[Lane.LEDGER] != world.node.acknowledged[Lane.LEDGER]:
        world.node.add(Lane.LEDGER, "pay-last")
        world.settle()
        assert any(isinstance(effect, HubRolledBack) for effect in world.effects)
        assert HubChanged("hub-a", "hub-b") in world.effects
    assert world.hub.applied[Lane.LEDGER] == world.node.records[Lane.LEDGER]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 8), st.integers(1, 8), st.integers(1, 8))
def test_two_histories_in_any_order_never_mix(seed: int, shared: int, first: int, second: int) -> None:
    """Two copies of a node at once: whatever arrives in whatever order, the hub holds one chain, and says so."""
    rng = Random(seed)
    trunk = samples.chain(Lane.LEDGER, shared)
    ours, others = list(trunk), list(trunk)
    for history, count, base in ((ours, first, 100), (others, second, 200)):
        for number in range(count):
            history.append(samples.batch(Lane.LEDGER, history[-1].header.mark(), base + number))
    hub = HubStore()
    for _ in range(60):
        one = rng.choice(rng.choice((ours, others)))
        (ack,) = hub.take(samples.NODE, (one.to_bytes(),)).acks
        held = hub.digests.get((Lane.LEDGER, 1, one.header.seq))
        said_durable = ack.outcome in {AckOutcome.APPLIED, AckOutcome.DUPLICATE}
        assert said_durable == (held == one.header.digest)
    names = [[f"pay-{r.header.seq}" for r in trunk] + [f"pay-{base + n}" for n in range(8)] for base in (100, 200)]
    applied = hub.applied[Lane.LEDGER]
    assert any(applied == history[: len(applied)] for history in names)


def live(limits: UplinkLimits | None = None) -> UplinkSession:
    session = UplinkSession(rng=Random(1), limits=limits)
    assert session.next(0) == Greet(None)
    assert session.next(0) == Rest(None)
    session.welcomed(_welcome(), {lane: _sealed(5) for lane in Lane})
    return session


def _welcome(**changes: Any) -> Welcome:
    return replace(samples.welcome(), lanes={lane: fresh_mark(1) for lane in Lane}, **changes)


def _sealed(seq: int) -> LocalLane:
    return LocalLane(LaneMark(1, seq, b"h" * 32), fresh_mark(1), None)


def _drain(session: UplinkSession, have: dict[Lane, list[Any]]) -> Send | Rest | Greet:
    while True:
        answer = session.next(samples.NOW)
        if not isinstance(answer, Fetch):
            return answer
        following = [one for one in have.get(answer.lane, []) if one.mark.seq > answer.after.seq]
        session.offer(answer.lane, following)


def test_control_goes_before_money_and_a_frame_is_kept() -> None:
    session = live()
    have = {lane: [stored(one.to_bytes()) for one in samples.chain(lane, 40)] for lane in (Lane.SUMMARY, Lane.CONTROL)}
    sent = _drain(session, have)
    assert isinstance(sent, Send)
    assert sum(map(len, sent.batches)) <= 8_192
    assert [stored(data).mark for data in sent.batches] == [one.mark for one in have[Lane.CONTROL][: len(sent.batches)]]
    assert session.next(samples.NOW) == Rest(None)


def test_a_batch_beyond_the_frame_travels_alone() -> None:
    session = live(UplinkLimits(frame_bytes_max=100))
    have = {Lane.INTERVAL: [stored(one.to_bytes()) for one in samples.chain(Lane.INTERVAL, 3)]}
    sent = _drain(session, have)
    assert isinstance(sent, Send)
    assert len(sent.batches) == 1


def _replied(session: UplinkSession, sent: Send, outcomes: list[AckOutcome], have: LaneMark | None = None) -> Any:
    acks = []
    for data, outcome in zip(sent.batches, outcomes, strict=True):
        mark = stored(data).mark
        ack = samples.push_reply().acks[0]
        acks.append(
            replace(ack, epoch=mark.epoch, seq=mark.seq, outcome=outcome, have=have if have is not None else mark)
        )
    return session.replied(replace(samples.push_reply(), acks=tuple(acks)), samples.NOW)


def _three() -> tuple[UplinkSession, dict[Lane, list[Any]], Send]:
    session = live()
    have = {Lane.LEDGER: [stored(one.to_bytes()) for one in samples.chain(Lane.LEDGER, 3)]}
    sent = _drain(session, have)
    assert isinstance(sent, Send)
    assert len(sent.batches) == 3
    return session, have, sent


def test_a_quarantined_batch_does_not_stop_the_lane() -> None:
    session, have, sent = _three()
    effects = _replied(session, sent, [AckOutcome.APPLIED, AckOutcome.QUARANTINED, AckOutcome.APPLIED])
    assert [effect.outcome for effect in effects] == ["applied", "quarantined", "applied"]
    assert session.cursor(Lane.LEDGER) == have[Lane.LEDGER][2].mark
    assert _drain(session, have) == Rest(None)


def test_a_gap_rewinds_to_what_the_hub_has() -> None:
    session, have, sent = _three()
    assert _replied(session, sent, [AckOutcome.GAP] * 3, fresh_mark(1)) == ()
    assert _drain(session, have) == sent
    _replied(session, sent, [AckOutcome.APPLIED] * 3)
    have = {Lane.LEDGER: [stored(one.to_bytes()) for one in samples.chain(Lane.LEDGER, 5)]}
    session.stored(Lane.LEDGER)
    sent = _drain(session, have)  # type: ignore[assignment]
    assert len(sent.batches) == 2
    _replied(session, sent, [AckOutcome.GAP] * 2, have[Lane.LEDGER][0].mark)
    assert _drain(session, have) == Send(tuple(one.data for one in have[Lane.LEDGER][1:]))


def test_gaps_without_progress_rest_the_lane() -> None:
    session, have, sent = _three()
    for _ in range(3):
        assert _replied(session, sent, [AckOutcome.GAP] * 3, fresh_mark(1)) == ()
        sent = _drain(session, have)  # type: ignore[assignment]
    (held,) = _replied(session, sent, [AckOutcome.GAP] * 3, fresh_mark(1))
    assert isinstance(held, Held)
    assert _drain(session, have) == Rest(held.until)


def test_a_refusal_rests_one_lane_and_not_the_others() -> None:
    session, have, sent = _three()
    (held,) = _replied(session, sent, [AckOutcome.REFUSED] * 3, fresh_mark(1))
    assert (held.lane, held.reason, held.until) == (Lane.LEDGER, "unknown point", samples.NOW + 300)
    session.stored(Lane.CONTROL)
    control = [stored(one.to_bytes()) for one in samples.chain(Lane.CONTROL, 1)]
    assert _drain(session, have | {Lane.CONTROL: control}) == Send((control[0].data,))


def test_a_fork_asks_for_a_new_epoch_once_in_a_while() -> None:
    session, have, sent = _three()
    (forked,) = _replied(session, sent, [AckOutcome.FORK] * 3, fresh_mark(1))
    assert isinstance(forked, Forked)
    assert _drain(session, have) == Greet(Lane.LEDGER)
    lanes = {lane: fresh_mark(1) for lane in Lane} | {Lane.LEDGER: fresh_mark(2)}
    effects = session.welcomed(replace(_welcome(), lanes=lanes), {lane: _sealed(5) for lane in Lane})
    assert NewEpoch(Lane.LEDGER, fresh_mark(2)) in effects
    second = {Lane.LEDGER: [stored(one.to_bytes()) for one in samples.chain(Lane.LEDGER, 1, epoch=2)]}
    sent = _drain(session, second)  # type: ignore[assignment]
    _replied(session, sent, [AckOutcome.FORK], fresh_mark(2))
    assert _drain(session, second) == Rest(samples.NOW + 600)


def test_a_reply_to_another_push_is_a_fault_and_the_link_counts_as_lost() -> None:
    for outcomes, cut in (([AckOutcome.APPLIED] * 3, 2), ([AckOutcome.APPLIED] * 3, 0)):
        session, _, sent = _three()
        with pytest.raises(SessionFault):
            _replied(session, Send(sent.batches[:cut]), outcomes[:cut])
        assert session.state is LinkState.LOST
        assert session.retry_at > samples.NOW


def test_an_acknowledgement_of_another_batch_is_a_fork_and_never_believed() -> None:
    session, _, sent = _three()
    effects = _replied(session, sent, [AckOutcome.APPLIED] * 3, LaneMark(1, 1, b"x" * 32))
    assert [type(effect) for effect in effects] == [Forked]
    assert session.cursor(Lane.LEDGER) == fresh_mark(1)


def test_another_hub_is_greeted_anew() -> None:
    session, _, sent = _three()
    acks = tuple(
        replace(samples.push_reply().acks[0], seq=stored(data).mark.seq, have=stored(data).mark)
        for data in sent.batches
    )
    effects = session.replied(PushReply(hub_incarnation="hub-z", hub_time=samples.NOW, acks=acks), samples.NOW)
    assert HubChanged("hub-a", "hub-z") in effects
    assert session.next(samples.NOW) == Greet(None)


def test_back_off_doubles_with_jitter_and_obeys_the_hub() -> None:
    session = UplinkSession(rng=Random(3))
    now, waits = 0, []
    for _ in range(12):
        assert session.next(now) == Greet(None)
        session.lost(now)
        waits.append(session.retry_at - now)
        assert session.next(now) == Rest(session.retry_at)
        now = session.retry_at
    assert waits[0] in {1, 2}
    assert all(150 <= wait <= 300 for wait in waits[-4:])
    assert len(set(waits[-4:])) > 1
    session.next(now)
    session.lost(now, 3_000)
    assert 3_000 <= session.retry_at - now <= 3_750


def test_a_broken_chain_in_the_own_store_is_a_fork() -> None:
    session = live()
    assert isinstance(session.next(0), Fetch)
    (effect,) = session.offer(Lane.CONTROL, [stored(samples.chain(Lane.CONTROL, 2)[1].to_bytes())])
    assert isinstance(effect, Forked)


def test_an_ack_that_was_lost_is_learnt_from_the_welcome() -> None:
    batches = samples.chain(Lane.LEDGER, 2)
    mark = batches[1].header.mark()
    session = UplinkSession(rng=Random(1))
    session.next(0)
    local = {Lane.LEDGER: LocalLane(mark, fresh_mark(1), mark.hash)}
    effects = session.welcomed(replace(_welcome(), lanes={Lane.LEDGER: mark}), local)
    assert Acknowledged(Lane.LEDGER, mark, AckOutcome.DUPLICATE, "") in effects
