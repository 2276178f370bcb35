"""Canonical bytes are unambiguous; signatures count for their key, role, time, domain and purpose only."""

import base64
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridmodel.clock import TimeBounds
from gridmodel.fault import Fault
from protocols.authority.canonical import CanonicalFault, Domain, canonical, signing_bytes
from protocols.authority.signatures import (
    KeyFault,
    KeyRing,
    NamedKey,
    RefusalReason,
    Role,
    Signature,
    SignatureRefused,
    Signer,
    Verified,
    key_entry,
    key_from_text,
    key_id_of,
    key_to_text,
)

NOW = TimeBounds(1_000, 1_010)
ANNA = Signer.from_seed(b"a" * 32, Domain.PRODUCTION)
STATEMENT = canonical("test.1", {"x": 1})


def ring(**changes: Any) -> KeyRing:
    entry: dict[str, Any] = {"public": ANNA.public, "name": "person-a", "roles": frozenset({Role.APPROVER})} | changes
    return KeyRing([NamedKey(**entry)], Domain.PRODUCTION)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


def _typed(value: Any) -> Any:
    """Python calls True and 1 equal; a statement does not."""
    if isinstance(value, dict):
        return ("m", sorted((key, _typed(inner)) for key, inner in value.items()))
    if isinstance(value, list):
        return ("l", [_typed(inner) for inner in value])
    return (type(value).__name__, repr(value))


@given(VALUES, VALUES)
def test_only_equal_statements_have_equal_bytes(one: Any, other: Any) -> None:
    same = _typed(one) == _typed(other)
    assert (canonical("p", {"v": one}) == canonical("p", {"v": other})) == same


def test_bytes_of_a_statement_are_fixed_for_ever() -> None:
    value: dict[str, Any] = {"b": b"\x01", "a": [None, True, False, -12, "ў"], "m": {}}
    expected = (
        b"s\0\0\0\x06test.1m\0\0\0\x03"
        b"s\0\0\0\x01al\0\0\0\x05ntfi\0\0\0\x03-12s\0\0\0\x02\xd1\x9e"
        b"s\0\0\0\x01bb\0\0\0\x01\x01s\0\0\0\x01mm\0\0\0\0"
    )
    assert canonical("test.1", value) == expected
    assert signing_bytes(Domain.DEMO, b"X") == b"tarmoq-sign/1\0demo\0X"


def test_order_of_fields_does_not_matter() -> None:
    assert canonical("p", {"a": 1, "b": 2}) == canonical("p", {"b": 2, "a": 1})


@pytest.mark.parametrize("value", [1.5, {1: 2}, object(), {"x"}, "\ud800"])
def test_what_has_no_one_form_is_refused(value: Any) -> None:
    with pytest.raises(CanonicalFault):
        canonical("p", {"v": value})


def test_a_loop_in_a_value_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(CanonicalFault):
        canonical("p", {"v": endless})


def test_a_good_signature_names_who_signed() -> None:
    assert ring().verify(Role.APPROVER, STATEMENT, ANNA.signature(STATEMENT), NOW) == Verified("person-a", ANNA.key_id)


@pytest.mark.parametrize(
    ("changes", "role", "reason"),
    [
        ({"public": b"\x01" * 32}, Role.APPROVER, RefusalReason.UNKNOWN_KEY),
        ({}, Role.BILLING, RefusalReason.WRONG_ROLE),
        ({"not_before": 1_001}, Role.APPROVER, RefusalReason.NOT_YET_VALID),
        ({"not_after": 1_010}, Role.APPROVER, RefusalReason.EXPIRED),
    ],
)
def test_a_key_counts_in_its_role_and_time_only(changes: dict[str, Any], role: Role, reason: RefusalReason) -> None:
    outcome = ring(**changes).verify(role, STATEMENT, ANNA.signature(STATEMENT), NOW)
    assert isinstance(outcome, SignatureRefused)
    assert outcome.reason is reason


def test_validity_includes_its_first_and_excludes_its_last_second() -> None:
    outcome = ring(not_before=1_000, not_after=1_011).verify(Role.APPROVER, STATEMENT, ANNA.signature(STATEMENT), NOW)
    assert isinstance(outcome, Verified)


def test_a_demo_signature_is_worth_nothing_in_production() -> None:
    demo = Signer.from_seed(b"a" * 32, Domain.DEMO)
    assert demo.public == ANNA.public
    outcome = ring().verify(Role.APPROVER, STATEMENT, demo.signature(STATEMENT), NOW)
    assert outcome == SignatureRefused(RefusalReason.BAD_SIGNATURE, ANNA.key_id)


def test_every_flipped_bit_fails() -> None:
    good = ANNA.sign(STATEMENT)
    keys = ring()
    for bit in range(len(good) * 8):
        value = bytearray(good)
        value[bit // 8] ^= 1 << bit % 8
        assert isinstance(
            keys.verify(Role.APPROVER, STATEMENT, Signature(ANNA.key_id, bytes(value)), NOW), SignatureRefused
        )
    for bit in range(len(STATEMENT) * 8):
        changed = bytearray(STATEMENT)
        changed[bit // 8] ^= 1 << bit % 8
        assert isinstance(
            keys.verify(Role.APPROVER, bytes(changed), Signature(ANNA.key_id, good), NOW), SignatureRefused
        )
    for cut in (b"", good[:63], good + b"x", bytes(64)):
        assert isinstance(keys.verify(Role.APPROVER, STATEMENT, Signature(ANNA.key_id, cut), NOW), SignatureRefused)


def test_two_keys_of_one_person_are_one_voice() -> None:
    other = Signer.from_seed(b"b" * 32, Domain.PRODUCTION)
    roles = frozenset({Role.APPROVER})
    keys = KeyRing(
        [NamedKey(ANNA.public, "person-a", roles), NamedKey(other.public, "person-a", roles)], Domain.PRODUCTION
    )
    names, refused = keys.voices(
        Role.APPROVER, STATEMENT, [ANNA.signature(STATEMENT), other.signature(STATEMENT), Signature("0" * 16, b"")], NOW
    )
    assert names == {"person-a"}
    assert [one.reason for one in refused] == [RefusalReason.UNKNOWN_KEY]


def test_keys_travel_as_text() -> None:
    text = key_to_text(ANNA.public)
    assert text.startswith("ed25519:")
    assert key_from_text(text) == ANNA.public
    assert ANNA.key_id == key_id_of(ANNA.public)
    assert len(ANNA.key_id) == 16
    short = "ed25519:" + base64.b64encode(b"x" * 31).decode()
    for wrong in (text[8:], text[:-1], text + "=", text + "\n", short, "rsa:" + text[8:], None, 5, b"ed25519:"):
        with pytest.raises(KeyFault) as caught:
            key_from_text(wrong)
        assert caught.value.code == "TQ-AU-02"


def test_a_signer_does_not_show_its_secret() -> None:
    assert ("a" * 8) not in repr(ANNA)
    with pytest.raises(KeyFault):
        Signer.from_seed(b"short", Domain.DEMO)


def test_an_entry_of_the_configuration_is_read_whole_or_refused() -> None:
    good: dict[str, Any] = {"name": "person-a", "public": key_to_text(ANNA.public), "roles": ["approver", "billing"]}
    assert key_entry(good) == NamedKey(ANNA.public, "person-a", frozenset({Role.APPROVER, Role.BILLING}))
    assert key_entry(good | {"not_before": 5, "not_after": 9}).not_after == 9
    wrong: list[dict[str, Any]] = [
        good | {"extra": 1},
        {"name": "person-a"},
        good | {"roles": ["king"]},
        good | {"roles": []},
        good | {"roles": "approver"},
        good | {"name": "a b"},
        good | {"public": "ed25519:"},
        good | {"not_before": 9, "not_after": 9},
        good | {"not_before": 1.5},
        good | {"not_after": True},
    ]
    for entry in wrong:
        with pytest.raises(Fault):
            key_entry(entry)


def test_a_key_listed_twice_is_refused() -> None:
    key = NamedKey(ANNA.public, "person-a", frozenset({Role.APPROVER}))
    with pytest.raises(KeyFault):
        KeyRing([key, key], Domain.DEMO)


def test_noise_is_never_a_signature() -> None:
    rng = random.Random(3)
    keys = ring()
    for _ in range(500):
        outcome = keys.verify(Role.APPROVER, STATEMENT, Signature(ANNA.key_id, rng.randbytes(64)), NOW)
        assert isinstance(outcome, SignatureRefused)
