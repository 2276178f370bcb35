"""The digest tree: whatever differs is found, equal sides say little, and what is said is bounded; its messages."""

from dataclasses import replace
from hashlib import sha256
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridmodel.identity import NodeId
from protocols.authority.canonical import Domain
from protocols.authority.signatures import Signer
from protocols.errors import ProtocolFault
from protocols.sync.completeness import (
    CHILDREN_PER_MESSAGE_MAX,
    COMPARE_BYTES_MAX,
    DAY_CHARACTERS,
    LEAVES_TOLD_MAX,
    PARENTS_PER_MESSAGE_MAX,
    ROOT,
    Compare,
    CompareReply,
    DigestTree,
    Leaf,
    Summary,
)
from protocols.sync.seal import sign_compare

SIGNER = Signer.from_seed(bytes(32), Domain.DEMO)
SEED = bytes(16)
DAYS = [f"2026-{month:02}-{day:02}" for month in (1, 2, 12) for day in range(1, 29)]


def leaf(rng: Random) -> Leaf:
    return rng.choice(DAYS), rng.randbytes(32)


def compare(**changes: object) -> Compare:
    plain = Compare(
        node=NodeId("node-a"), request="node", first="2026-01-01", last="2026-12-31", kept_from="", seed=SEED,
        signed_at=1, nonce=SEED, key_id=SIGNER.key_id,
    )  # fmt: skip
    return sign_compare(replace(plain, **changes), SIGNER)  # type: ignore[arg-type]


def walked(ours: DigestTree, theirs: DigestTree) -> tuple[set[Leaf], set[Leaf], int, int]:
    """(only ours, only theirs, bytes, messages): what two sides find by asking as the node does."""
    parents, told, size, messages = [ROOT], list[str](), 0, 0
    lacking, extra = set[Leaf](), set[Leaf]()
    while parents:
        some, parents = parents[:PARENTS_PER_MESSAGE_MAX], parents[PARENTS_PER_MESSAGE_MAX:]
        children: dict[str, Summary] = {}
        for parent in some:
            children |= ours.children(parent)
        assert len(children) <= CHILDREN_PER_MESSAGE_MAX
        body = compare(parents=tuple(some), children=children).to_bytes()
        assert len(body) <= COMPARE_BYTES_MAX
        differ = theirs.differing(some, children)
        size, messages = size + len(body), messages + 1
        for path, count in differ.items():
            (told if count <= LEAVES_TOLD_MAX and len(path) >= DAY_CHARACTERS else parents).append(path)
    for path in told:
        own, other = set(ours.leaves(path)), set(theirs.leaves(path))
        lacking, extra = lacking | (own - other), extra | (other - own)
        size += 32 * (len(own) + len(other))
    return lacking, extra, size, messages


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(0, 400), ours=st.integers(0, 30), theirs=st.integers(0, 30))
def test_any_set_of_differences_is_found_and_nothing_else(seed: int, count: int, ours: int, theirs: int) -> None:
    rng = Random(seed)
    both = {leaf(rng) for _ in range(count)}
    one, other = {leaf(rng) for _ in range(ours)}, {leaf(rng) for _ in range(theirs)}
    lacking, extra, _, _ = walked(DigestTree(both | one, SEED), DigestTree(both | other, SEED))
    assert lacking == one - other
    assert extra == other - one


def test_one_difference_among_many_costs_little() -> None:
    rng = Random(5)
    leaves = {("2026-12-24", rng.randbytes(32)) for _ in range(20_000)} | {leaf(rng) for _ in range(20_000)}
    gone = next(iter(sorted(leaves)))
    lacking, extra, size, messages = walked(DigestTree(leaves, SEED), DigestTree(leaves - {gone}, SEED))
    assert (lacking, extra) == ({gone}, set())
    assert size < 10_000
    assert messages <= 6


def test_a_range_says_something_else_under_another_seed() -> None:
    leaves = [leaf(Random(1))]
    assert DigestTree(leaves, SEED).summary(ROOT) != DigestTree(leaves, b"\1" * 16).summary(ROOT)
    assert DigestTree(leaves, SEED).summary(ROOT) == DigestTree([*leaves, *leaves], SEED).summary(ROOT)


def test_messages_round_trip() -> None:
    digest = sha256(b"").digest()
    full = compare(
        parents=(ROOT, "2026-05", "2026-05-04", "2026-05-04/3f"),
        children={"2026-05": Summary(3, bytes(16))},
        leaves={"2026-05-04/3": (digest, digest)},
        fetch=digest,
        kept_from="2026-01-01",
    )
    assert Compare.from_bytes(full.to_bytes()) == full
    reply = CompareReply(
        hub_incarnation="hub-1", hub_time=1, kept_from="", differ={"2026-05-04": 7}, lacking=(digest,), aside=1,
        extra=(("2026-05-04", digest),), chunk=b"bytes",
    )  # fmt: skip
    assert CompareReply.from_bytes(reply.to_bytes()) == reply


@pytest.mark.parametrize(
    "changes",
    [
        {"parents": ("2026-5",)},
        {"parents": ("2026-05-04/xyz",)},
        {"parents": ("2026-13-01",)},
        {"leaves": {"2026-05": (bytes(32),)}},
        {"leaves": {"2026-05-04": (bytes(31),)}},
        {"fetch": bytes(5)},
        {"first": "yesterday"},
        {"children": {"2026-05": Summary(-1, bytes(16))}},
        {"children": {"2026-05": Summary(1, bytes(3))}},
        {"request": "a b"},
    ],
)
def test_a_message_that_cannot_be_is_refused_by_name(changes: dict[str, object]) -> None:
    with pytest.raises(ProtocolFault):
        Compare.from_bytes(compare(**changes).to_bytes())
