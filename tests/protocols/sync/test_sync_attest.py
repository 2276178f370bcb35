"""Tickets: over any line, with restarts at any point, one store never waits; of several copies one alone goes on."""

from dataclasses import dataclass, field, replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridmodel.identity import NodeId
from protocols.authority.canonical import Domain
from protocols.authority.signatures import Signer
from protocols.errors import ProtocolFault
from protocols.sync.attest import (
    ALONE_S,
    TAKEOVER_S,
    TICKET_BYTES,
    Attest,
    AttestReply,
    Copy,
    Held,
    judge_copy,
    lower_heads,
)
from protocols.sync.lanes import DownLane
from protocols.sync.seal import sign_attest

SIGNER = Signer.from_seed(bytes(32), Domain.DEMO)
PERIOD_S = 300


def attest(**changes: object) -> Attest:
    plain = Attest(
        node=NodeId("node-a"), ticket=b"", next_ticket=bytes(TICKET_BYTES), challenge=b"", tails={}, heads={},
        signed_at=1, nonce=bytes(16), key_id=SIGNER.key_id,
    )  # fmt: skip
    return sign_attest(replace(plain, **changes), SIGNER)  # type: ignore[arg-type]


@dataclass
class Store:
    """What one copy keeps durably; a restart forgets nothing else."""

    name: str
    dice: Random
    ticket: bytes = b""
    following: bytes = b""
    challenge: bytes = b""
    goes_on: bool = False

    def ask(self) -> Attest:
        self.following = self.following or self.dice.randbytes(TICKET_BYTES)
        return attest(ticket=self.ticket, next_ticket=self.following, challenge=self.challenge)

    def hear(self, asked: Attest, copy: Copy, challenge: bytes) -> None:
        self.goes_on = copy is not Copy.ANOTHER
        if self.goes_on:
            self.ticket, self.following, self.challenge = asked.next_ticket, b"", b""
        else:
            self.challenge = challenge

    def copied(self, name: str) -> "Store":
        return Store(name, Random(name), self.ticket, self.following, self.challenge)


@dataclass
class Line:
    """A hub behind a line that loses, doubles and delays; `now` is the hub's clock."""

    dice: Random
    loss: float
    doubled: float = 0.2
    now: int = 1_000
    held: Held | None = None
    late: list[Attest] = field(default_factory=list)

    def exchange(self, store: Store) -> Copy | None:
        asked = store.ask()
        if self.late and self.dice.random() < 0.3:
            self._judge(self.late.pop(self.dice.randrange(len(self.late))))
        if self.dice.random() < self.loss:
            if self.dice.random() < 0.5:
                self.late.append(asked)
            return None
        copy, challenge = self._judge(asked)
        if self.dice.random() < self.doubled:
            self.late.append(asked)
        if self.dice.random() < self.loss:
            return None
        store.hear(asked, copy, challenge)
        return copy

    def _judge(self, asked: Attest) -> tuple[Copy, bytes]:
        judged = judge_copy(asked, self.held, self.now, self.dice.randbytes(TICKET_BYTES))
        self.held = judged.held
        return judged.copy, judged.held.challenge


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 2**32), st.floats(0, 0.6))
def test_one_store_never_waits_whatever_the_line_does(seed: int, loss: float) -> None:
    dice = Random(seed)
    line, store = Line(dice, loss), Store("one", Random(seed + 1))
    for _ in range(60):
        line.now += dice.randrange(1, 2 * TAKEOVER_S)
        assert line.exchange(store) in {None, Copy.GOES_ON}


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 2**32), st.floats(0, 0.4), st.integers(2, 4))
def test_of_copies_that_are_heard_again_and_again_one_alone_goes_on(seed: int, loss: float, copies: int) -> None:
    """Also where they were copied at the same moment, and a ticket was drawn and not yet shown."""
    dice = Random(seed)
    line, first = Line(dice, loss), Store("one", Random(seed + 1))
    for _ in range(dice.randrange(1, 6)):
        line.now += PERIOD_S
        line.exchange(first)
    first.ask() if dice.random() < 0.5 else None
    stores = [first, *(first.copied(f"copy-{number}") for number in range(1, copies))]
    for _ in range(4):
        for store in stores:
            line.exchange(store)
        line.now += 10
    line.loss = 0.0  # from here on each of them is heard
    for turn in range(20):
        line.now += PERIOD_S // 2
        heard = {store.name: line.exchange(store) for store in stores}
        if turn > 2:
            going = [name for name, copy in heard.items() if copy is not Copy.ANOTHER]
            assert len(going) == 1, heard
            assert Copy.TOOK_OVER not in heard.values()


def test_the_other_copy_goes_on_when_the_first_is_silent_and_not_before() -> None:
    line, first = Line(Random(1), 0.0, doubled=0.0), Store("one", Random(2))
    line.exchange(first)
    other = first.copied("other")
    line.exchange(first)
    assert line.exchange(other) is Copy.ANOTHER
    line.now += TAKEOVER_S - 1
    assert line.exchange(other) is Copy.ANOTHER
    line.now += 1
    assert line.exchange(other) is Copy.TOOK_OVER
    assert line.exchange(first) is Copy.ANOTHER
    assert line.exchange(other) is Copy.GOES_ON


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 2**32))
def test_a_message_that_comes_late_takes_nothing_over(seed: int) -> None:
    dice = Random(seed)
    line, store = Line(dice, 0.0), Store("one", Random(seed + 1))
    asked = []
    for _ in range(12):
        asked.append(store.ask())
        assert line.exchange(store) is Copy.GOES_ON
    line.now += 2 * TAKEOVER_S
    for old in dice.sample(asked[:-1], 6):
        judged = judge_copy(old, line.held, line.now, dice.randbytes(TICKET_BYTES))
        assert judged.copy is Copy.ANOTHER
        line.held = judged.held
    assert line.exchange(store) is Copy.GOES_ON


def test_a_copy_that_is_there_no_more_is_forgotten() -> None:
    line, first = Line(Random(1), 0.0, doubled=0.0), Store("one", Random(2))
    line.exchange(first)
    other = first.copied("other")
    line.exchange(first)
    line.exchange(other)
    line.exchange(first)
    assert line.held is not None
    assert line.held.challenge
    line.now += ALONE_S
    line.exchange(first)
    assert not line.held.challenge


def test_counters_that_sank_are_named() -> None:
    assert lower_heads({"epoch": 2, "log": 5, "new": 0}, {"epoch": 3, "log": 5, "gone": 9}) == {"epoch": (2, 3)}


def test_messages_come_back_as_they_were_and_nonsense_is_refused() -> None:
    one = attest(ticket=b"t" * 16, challenge=b"c" * 16, tails={DownLane.LEDGER: (7, b"d" * 32)}, heads={"epoch": 3})
    assert Attest.from_bytes(one.to_bytes()) == one
    reply = AttestReply(
        hub_incarnation="hub-1", hub_time=5, copy=Copy.ANOTHER, wait_s=9, challenge=b"c" * 16, heads={"epoch": 3},
        refetch=(DownLane.LEDGER,),
    )  # fmt: skip
    assert AttestReply.from_bytes(reply.to_bytes()) == reply
    for wrong in (replace(one, ticket=b"short"), replace(one, challenge=b"c" * 15), replace(one, next_ticket=b"")):
        with pytest.raises(ProtocolFault):
            Attest.from_bytes(wrong.to_bytes())
    with pytest.raises(ProtocolFault):
        AttestReply.from_bytes(replace(reply, wait_s=TAKEOVER_S + 1).to_bytes())
