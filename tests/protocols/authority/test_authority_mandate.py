"""Mandates: two different persons, for one node, for a while; everything else permits nothing."""

import json
import random
from dataclasses import replace
from typing import Any

import pytest

from gridmodel.clock import TimeBounds
from gridmodel.fault import Fault
from gridmodel.identity import NodeId
from protocols.authority.canonical import Domain
from protocols.authority.mandate import (
    LIFETIME_S_MAX,
    Mandate,
    MandateAccepted,
    MandateFault,
    MandateRefusal,
    MandateRefused,
    SignedMandate,
    check_mandate,
    sign_mandate,
)
from protocols.authority.signatures import KeyRing, NamedKey, Role, Signature, Signer

NODE = NodeId("node-1")
FROM = 1_780_000_000
NOW = TimeBounds(FROM + 100, FROM + 110)
SIGNERS = [Signer.from_seed(bytes([number]) * 32, Domain.PRODUCTION) for number in range(5)]
APPROVER = frozenset({Role.APPROVER})
RING = KeyRing(
    [NamedKey(one.public, f"person-{min(number, 3)}", APPROVER) for number, one in enumerate(SIGNERS)],
    Domain.PRODUCTION,
)
"""The last two keys belong to one person."""


def mandate(**changes: Any) -> Mandate:
    values: dict[str, Any] = {
        "id": "mandate-1",
        "node": NODE,
        "issued_at": FROM - 50,
        "not_before": FROM,
        "expires": FROM + 3_600,
        "policy_version": "demo-1",
        "quota_per_day": 40,
        "watermark_age_h_max": 24,
        "account_classes": ("household", "company"),
        "counter": 7,
    }
    return Mandate(**(values | changes))


def signed(*who: int, **changes: Any) -> SignedMandate:
    out = SignedMandate(mandate(**changes))
    for number in who:
        out = sign_mandate(out, SIGNERS[number])
    return out


def refusal(one: SignedMandate, now: TimeBounds = NOW, **arguments: Any) -> MandateRefusal:
    outcome = check_mandate(one, RING, NODE, now, **arguments)
    assert isinstance(outcome, MandateRefused)
    assert outcome.what
    return outcome.reason


def test_two_persons_give_a_mandate() -> None:
    outcome = check_mandate(signed(0, 1), RING, NODE, NOW, counter_above=6)
    assert outcome == MandateAccepted(mandate(), frozenset({"person-0", "person-1"}))


def test_one_person_gives_none_however_often_or_with_how_many_keys() -> None:
    once = signed(0)
    assert refusal(signed()) is MandateRefusal.TOO_FEW_PERSONS
    assert refusal(once) is MandateRefusal.TOO_FEW_PERSONS
    assert sign_mandate(once, SIGNERS[0]) == once
    assert refusal(SignedMandate(once.mandate, once.signatures * 2)) is MandateRefusal.TOO_FEW_PERSONS
    assert refusal(signed(3, 4)) is MandateRefusal.TOO_FEW_PERSONS


def test_an_old_watermark_takes_four_persons() -> None:
    assert refusal(signed(0, 1, 2, watermark_age_h_max=25)) is MandateRefusal.TOO_FEW_PERSONS
    assert refusal(signed(0, 1, 3, 4, watermark_age_h_max=25)) is MandateRefusal.TOO_FEW_PERSONS
    assert isinstance(check_mandate(signed(0, 1, 2, 3, watermark_age_h_max=25), RING, NODE, NOW), MandateAccepted)


def test_it_holds_for_its_node_its_time_and_rises() -> None:
    good = signed(0, 1)
    outcome = check_mandate(good, RING, NodeId("node-2"), NOW)
    assert isinstance(outcome, MandateRefused)
    assert outcome.reason is MandateRefusal.OTHER_NODE
    assert refusal(good, counter_above=7) is MandateRefusal.COUNTER_OLD
    assert refusal(good, TimeBounds(FROM - 1, FROM + 9)) is MandateRefusal.NOT_YET
    assert refusal(good, TimeBounds(FROM + 9, FROM + 3_600)) is MandateRefusal.EXPIRED
    assert isinstance(check_mandate(good, RING, NODE, TimeBounds(FROM, FROM + 3_599)), MandateAccepted)


def test_signers_who_may_not_approve_do_not_count() -> None:
    cashier = KeyRing(
        [
            NamedKey(SIGNERS[0].public, "a", APPROVER),
            NamedKey(SIGNERS[1].public, "b", frozenset({Role.BILLING, Role.HUB})),
        ],
        Domain.PRODUCTION,
    )
    outcome = check_mandate(signed(0, 1), cashier, NODE, NOW)
    assert isinstance(outcome, MandateRefused)
    assert outcome.reason is MandateRefusal.TOO_FEW_PERSONS
    assert "wrong_role" in outcome.what


def test_a_demo_mandate_permits_nothing_in_production() -> None:
    demo = [Signer.from_seed(bytes([number]) * 32, Domain.DEMO) for number in range(2)]
    one = sign_mandate(sign_mandate(mandate(), demo[0]), demo[1])
    assert refusal(one) is MandateRefusal.BAD_SIGNATURE


CHANGES: list[dict[str, Any]] = [
    {"id": "mandate-2"},
    {"issued_at": FROM - 51},
    {"not_before": FROM + 1},
    {"expires": FROM + 3_601},
    {"policy_version": "demo-2"},
    {"quota_per_day": 41},
    {"watermark_age_h_max": 23},
    {"account_classes": ("household",)},
    {"account_classes": ("company", "household")},
    {"counter": 8},
]


@pytest.mark.parametrize("changes", CHANGES)
def test_nothing_in_it_can_be_changed(changes: dict[str, Any]) -> None:
    assert refusal(SignedMandate(mandate(**changes), signed(0, 1).signatures)) is MandateRefusal.BAD_SIGNATURE


def test_every_flipped_bit_of_a_signature_fails() -> None:
    good = signed(0, 1)
    for bit in range(0, 512, 3):
        value = bytearray(good.signatures[1].value)
        value[bit // 8] ^= 1 << bit % 8
        broken = SignedMandate(good.mandate, (good.signatures[0], Signature(good.signatures[1].key_id, bytes(value))))
        assert refusal(broken) is MandateRefusal.BAD_SIGNATURE


@pytest.mark.parametrize(
    "changes",
    [
        {"id": ""},
        {"node": "a b"},
        {"expires": FROM},
        {"expires": FROM + LIFETIME_S_MAX + 1},
        {"quota_per_day": -1},
        {"quota_per_day": 1_001},
        {"quota_per_day": True},
        {"watermark_age_h_max": 0},
        {"watermark_age_h_max": 337},
        {"account_classes": ()},
        {"account_classes": ("household", "household")},
        {"account_classes": ("house hold",)},
        {"counter": 0},
        {"issued_at": 1.5},
    ],
)
def test_a_mandate_that_cannot_be_is_not_made(changes: dict[str, Any]) -> None:
    with pytest.raises(MandateFault) as caught:
        mandate(**changes)
    assert caught.value.code == "TQ-AU-11"


def test_the_file_comes_back_and_is_the_same_each_time() -> None:
    one = signed(0, 1)
    assert SignedMandate.from_json(one.to_json()) == one
    assert SignedMandate.from_json(one.to_json()).to_json() == one.to_json()


def test_a_wrong_file_is_named() -> None:
    good = json.loads(signed(0, 1).to_json())
    wrong: list[bytes] = [
        b"",
        b"\xff",
        b"[" * 8_000,
        b"{}",
        b"null",
        b"1" * 8_000,
        b'{"mandate": NaN, "signatures": []}',
        b'{"mandate": {}, "mandate": {}, "signatures": []}',
        signed(0, 1).to_json() + b" " * 8_192,
        json.dumps(good | {"extra": 1}).encode(),
        json.dumps(good | {"signatures": good["signatures"] * 9}).encode(),
        json.dumps(good | {"signatures": [{"key_id": "a", "value": "?"}]}).encode(),
        json.dumps(good | {"signatures": [{"key_id": "a", "value": 5}]}).encode(),
        json.dumps(good | {"signatures": [{"key_id": [], "value": ""}]}).encode(),
        json.dumps(good | {"mandate": good["mandate"] | {"account_classes": "household"}}).encode(),
        json.dumps(good | {"mandate": good["mandate"] | {"account_classes": [["household"]]}}).encode(),
        json.dumps(good | {"mandate": good["mandate"] | {"counter": 2**60}}).encode(),
        json.dumps(good | {"mandate": good["mandate"] | {"id": None}}).encode(),
    ]
    for data in wrong:
        with pytest.raises(MandateFault) as caught:
            SignedMandate.from_json(data)
        assert caught.value.hint


def test_twenty_thousand_mutated_files_permit_nothing_new() -> None:
    rng = random.Random(11)
    good = signed(0, 1)
    data = good.to_json()
    refused = 0
    for _ in range(20_000):
        changed = bytearray(data)
        for _ in range(rng.randrange(1, 3)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        try:
            outcome = check_mandate(SignedMandate.from_json(bytes(changed)), RING, NODE, NOW)
        except Fault:
            refused += 1
            continue
        if isinstance(outcome, MandateAccepted):
            assert outcome.mandate == good.mandate
        else:
            refused += 1
    assert refused > 15_000


def test_at_most_eight_sign() -> None:
    one = signed(0)
    full = replace(one, signatures=tuple(Signature(f"{number:016x}", bytes(64)) for number in range(8)))
    with pytest.raises(MandateFault):
        sign_mandate(full, SIGNERS[1])
