"""What moves the state of sync, driven with no bytes: the link's table, marks beside marks, the hub's verdicts."""

from dataclasses import replace
from typing import Any

import pytest

from gridmodel.identity import NodeId
from protocols.authority.signatures import RefusalReason, SignatureRefused, Verified
from protocols.sync.messages import AckOutcome, Lane, LaneMark, fresh_mark
from protocols.sync.state import (
    LINK_TABLE,
    NEVER_SEALED,
    LinkEvent,
    LinkState,
    LocalLane,
    SessionFault,
    Standing,
    VerdictKind,
    compare,
    judge,
    minted_epoch,
    step,
)
from tests.protocols.sync import samples


def test_the_link_table_is_whole() -> None:
    assert set(LINK_TABLE) == set(LinkState)
    for state in LinkState:
        for event in LinkEvent:
            if event in LINK_TABLE[state]:
                assert step(state, event) in LinkState
            else:
                with pytest.raises(SessionFault):
                    step(state, event)


H = b"h" * 32
MARK = LaneMark(2, 5, H)


@pytest.mark.parametrize(
    ("local", "hub", "standing"),
    [
        (NEVER_SEALED, fresh_mark(1), Standing.NEW_EPOCH),
        (NEVER_SEALED, MARK, Standing.FORKED),
        (LocalLane(MARK, fresh_mark(2), None), fresh_mark(2), Standing.IN_STEP),
        (LocalLane(MARK, fresh_mark(2), None), fresh_mark(3), Standing.NEW_EPOCH),
        (LocalLane(MARK, fresh_mark(2), H), MARK, Standing.IN_STEP),
        (LocalLane(MARK, fresh_mark(2), b"o" * 32), MARK, Standing.FORKED),
        (LocalLane(MARK, fresh_mark(2), None), MARK, Standing.FORKED),
        (LocalLane(LaneMark(2, 9, H), MARK, None), MARK, Standing.IN_STEP),
        (LocalLane(LaneMark(2, 9, H), LaneMark(2, 5, b"o" * 32), None), MARK, Standing.FORKED),
        (LocalLane(MARK, MARK, H), LaneMark(2, 6, H), Standing.FORKED),
        (LocalLane(MARK, MARK, H), LaneMark(1, 5, H), Standing.FORKED),
        (LocalLane(MARK, MARK, H), LaneMark(3, 1, H), Standing.FORKED),
    ],
)
def test_marks_stand_to_each_other(local: LocalLane, hub: LaneMark, standing: Standing) -> None:
    assert compare(local, hub) is standing


def test_an_epoch_is_minted_above_all_that_either_side_has_seen() -> None:
    assert minted_epoch(1, samples.hello()) == 3
    assert minted_epoch(7, samples.hello()) == 8
    hostile = replace(samples.hello(), lanes={Lane.LEDGER: LaneMark(2**31, 1, H)})
    with pytest.raises(SessionFault):
        minted_epoch(1, hostile)


TRUSTED = Verified(samples.NODE, samples.SIGNER.key_id)


def _judged(number: int, have: LaneMark | None, held: bytes | None = None, **changes: Any) -> VerdictKind:
    one = samples.chain(Lane.LEDGER, 4)[number - 1]
    arguments: dict[str, Any] = {"node": samples.NODE, "signature": TRUSTED} | changes
    return judge(one, have=have, held_digest=held, **arguments).kind


def test_the_hub_judges_by_what_it_holds() -> None:
    made = [one.header for one in samples.chain(Lane.LEDGER, 4)]
    marks = [header.mark() for header in made]
    assert _judged(1, None) is VerdictKind.APPLY
    assert _judged(2, marks[0]) is VerdictKind.APPLY
    assert _judged(2, None) is VerdictKind.GAP
    assert _judged(4, marks[0]) is VerdictKind.GAP
    assert _judged(1, marks[2], made[0].digest) is VerdictKind.DUPLICATE
    assert _judged(1, marks[2], bytes(32)) is VerdictKind.FORK
    assert _judged(1, marks[2]) is VerdictKind.FORK
    assert _judged(2, replace(marks[0], hash=H)) is VerdictKind.FORK
    assert _judged(2, replace(marks[0], epoch=2)) is VerdictKind.FORK
    assert _judged(2, fresh_mark(1)) is VerdictKind.GAP


def test_the_hub_refuses_what_is_not_authentic() -> None:
    bad = SignatureRefused(RefusalReason.BAD_SIGNATURE, "0" * 16)
    assert _judged(1, None, signature=bad) is VerdictKind.REFUSED
    assert _judged(1, None, node=NodeId("node-2")) is VerdictKind.REFUSED
    one = samples.batch()
    tampered = replace(one, payload=one.payload + b"x")
    verdict = judge(tampered, node=samples.NODE, have=None, held_digest=None, signature=TRUSTED)
    assert verdict.kind is VerdictKind.REFUSED
    assert verdict.have == fresh_mark(1)


def test_an_ack_tells_applied_from_set_aside() -> None:
    one = samples.batch()
    verdict = judge(one, node=samples.NODE, have=None, held_digest=None, signature=TRUSTED)
    assert verdict.ack(one.header).outcome is AckOutcome.APPLIED
    aside = verdict.ack(one.header, quarantined="unknown point up-9")
    assert (aside.outcome, aside.reason, aside.have) == (
        AckOutcome.QUARANTINED,
        "unknown point up-9",
        one.header.mark(),
    )
