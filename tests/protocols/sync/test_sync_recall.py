"""Facts compared by id: what either side lacks is found, whatever the line does; ids with two contents are told."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridmodel.identity import NodeId
from protocols.authority.canonical import Domain
from protocols.authority.signatures import Signer
from protocols.errors import ProtocolFault
from protocols.sync.facts import LEDGER_ENTRY
from protocols.sync.lanes import Record
from protocols.sync.recall import (
    LEAF_BYTES,
    LEAVES_MAX,
    PARTS,
    PLACE_END,
    RECALL_BYTES_MAX,
    Leaf,
    Leaves,
    Recall,
    RecallReply,
    fitting_reply,
    leaf_of,
)
from protocols.sync.seal import sign_recall

SIGNER = Signer.from_seed(bytes(32), Domain.DEMO)
SEED = bytes(16)


def recall(**changes: object) -> Recall:
    plain = Recall(node=NodeId("node-a"), seed=SEED, signed_at=1, nonce=SEED, key_id=SIGNER.key_id)
    return sign_recall(replace(plain, **changes), SIGNER)  # type: ignore[arg-type]


def fact(number: int, amount: int = 1) -> Record:
    return Record(LEDGER_ENTRY, f"pay-{number}", {"amount_tiyin": amount})


def compared(ours: set[Leaf], theirs: set[Leaf]) -> tuple[set[Leaf], set[Leaf], int]:
    """(the hub lacks, we lack, bytes) as the node finds it out, message by message."""
    mine, other = Leaves(ours), Leaves(theirs)
    first = recall(parts=mine.parts(SEED))
    size = len(first.to_bytes())
    lacking, extra = set[Leaf](), set[Leaf]()
    differ = [part for part, digest in enumerate(other.parts(SEED)) if digest != first.parts[part]]
    for low, high in [one for part in differ for one in mine.ranges(part)]:
        asked = Recall.from_bytes(recall(low=low, high=high, leaves=tuple(mine.between(low, high))).to_bytes())
        assert len(asked.to_bytes()) <= RECALL_BYTES_MAX
        size += len(asked.to_bytes())
        there = set(other.between(low, high))
        lacking |= set(asked.leaves) - there
        extra |= there - set(asked.leaves)
    return lacking, extra, size


@settings(deadline=None, max_examples=80)
@given(st.integers(0, 2**32), st.integers(0, 400), st.integers(0, 30), st.integers(0, 30), st.integers(0, 10))
def test_whatever_differs_is_found_in_both_directions(
    seed: int, common: int, ours: int, theirs: int, conflicts: int
) -> None:
    numbers = iter(Random(seed).sample(range(10**6), common + ours + theirs + conflicts))
    both = {leaf_of(fact(next(numbers))) for _ in range(common)}
    mine = {leaf_of(fact(next(numbers))) for _ in range(ours)}
    other = {leaf_of(fact(next(numbers))) for _ in range(theirs)}
    twice = [next(numbers) for _ in range(conflicts)]
    here, there = {leaf_of(fact(one, 1)) for one in twice}, {leaf_of(fact(one, 2)) for one in twice}
    lacking, extra, _ = compared(both | mine | here, both | other | there)
    assert lacking == mine | here
    assert extra == other | there


def test_equal_sides_say_little_and_a_thousand_facts_of_one_part_are_cut() -> None:
    leaves = {leaf_of(fact(number)) for number in range(20_000)}
    lacking, extra, size = compared(leaves, leaves)
    assert (lacking, extra) == (set(), set())
    assert size < 5_000
    missing = leaf_of(fact(7))
    _, _, size = compared(leaves, leaves - {missing})
    assert size < 10_000
    crowded = Leaves({number.to_bytes(6, "big") + bytes(16) for number in range(3 * LEAVES_MAX)})
    ranges = crowded.ranges(0)
    assert ranges[0][0] == 0
    assert ranges[-1][1] == PLACE_END // PARTS
    assert all(len(crowded.between(low, high)) <= LEAVES_MAX for low, high in ranges)
    assert sum(len(crowded.between(low, high)) for low, high in ranges) == 3 * LEAVES_MAX


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32), st.floats(0, 0.5))
def test_rounds_over_a_bad_line_end_with_equal_sides(seed: int, loss: float) -> None:
    """A round that breaks off begins anew; facts told or given twice are one."""
    dice = Random(seed)
    numbers = range(60)
    mine = {leaf_of(fact(one)) for one in numbers if dice.random() < 0.7}
    other = {leaf_of(fact(one)) for one in numbers if dice.random() < 0.7}
    whole = mine | other
    for _ in range(200):
        tree, theirs = Leaves(mine), Leaves(other)
        pairs = enumerate(zip(tree.parts(SEED), theirs.parts(SEED), strict=True))
        differ = [part for part, (here, there) in pairs if here != there]
        if not differ:
            break
        for part in differ:
            ((low, high),) = tree.ranges(part)
            told, held = set(tree.between(low, high)), set(theirs.between(low, high))
            if dice.random() < loss:
                break
            mine |= held - told
            if dice.random() < loss:
                break  # what the hub lacks was never told again
            other |= told - held
    assert mine == other == whole


def test_messages_come_back_as_they_were_and_nonsense_is_refused() -> None:
    leaves = Leaves({leaf_of(fact(number)) for number in range(50)})
    for one in (
        recall(parts=leaves.parts(SEED)),
        recall(low=0, high=PLACE_END, leaves=tuple(leaves.between(0, PLACE_END))),
        recall(done=True),
    ):
        assert Recall.from_bytes(one.to_bytes()) == one
    reply = RecallReply(
        hub_incarnation="hub-1", hub_time=5, differ=(0, 255), lacking=(leaf_of(fact(1)),), given=(fact(2),), upto=9
    )
    assert RecallReply.from_bytes(reply.to_bytes()) == reply
    for wrong in (
        recall(parts=leaves.parts(SEED)[:-1]),
        recall(low=0, high=1, leaves=tuple(leaves.between(0, PLACE_END))),
        recall(low=5, high=4),
        recall(leaves=(b"x" * (LEAF_BYTES - 1),)),
    ):
        with pytest.raises(ProtocolFault):
            Recall.from_bytes(wrong.to_bytes())
    with pytest.raises(ProtocolFault):
        RecallReply.from_bytes(replace(reply, given=(Record("mandate", "m", {}),)).to_bytes())


def test_a_reply_holds_what_fits_and_at_least_one() -> None:
    large = [Record(LEDGER_ENTRY, f"pay-{n}", {"x": "y" * 4_000}) for n in range(100)]
    assert 1 < fitting_reply(large) < 100
    assert fitting_reply(large[:1]) == 1
    assert fitting_reply([]) == 0
    RecallReply(hub_incarnation="h", hub_time=1, given=tuple(large[: fitting_reply(large)])).to_bytes()
