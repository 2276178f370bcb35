"""The mandate: by what right a node cuts on its own, and how much. Floor: protocols; on the payment walk.

Persons with the role *approver* sign it on their own machines; the hub carries it down the lane `authority` and cannot
make one. The edge counts the persons itself: two different ones, four when the mandate stretches the age of payment
watermarks beyond a day. A mandate only ever permits *less* than policy and brakes do, and it ends by itself.

The file form is JSON (`to_json`, `from_json`), the same on a flash drive, in the hub's log and at the edge.
Codes: TQ-AU-10 not a mandate file, -11 a value out of bounds, -12 too many signatures.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import lru_cache
from typing import Any

from gridmodel.clock import TimeBounds
from gridmodel.fault import Fault
from gridmodel.identity import IdentityFault, NodeId, checked_id
from protocols.authority.canonical import canonical
from protocols.authority.signatures import SIGNATURE_BYTES, KeyRing, Role, Signature, Signer

PERSONS_MIN = 2
"""Nobody darkens homes alone."""
PERSONS_EXTENDED_MIN = 4
"""For watermarks older than a day: more people must know what cannot be known."""
WATERMARK_AGE_H_STANDARD = 24
WATERMARK_AGE_H_MAX = 24 * 14
"""As long as the longest mandate: beyond it the right has ended anyway."""
LIFETIME_S_MAX = 14 * 24 * 3600
"""A forgotten mandate ends within two weeks."""
QUOTA_PER_DAY_MAX = 1_000
"""0.1 % of the largest node (1,000,000 points); the brakes at the node are lower."""
SIGNATURES_MAX = 8
CLASSES_MAX = 32
FILE_BYTES_MAX = 8_192
MANDATES_KEPT_MAX = 64
"""Canonical bytes kept: a node judges by one mandate, a rehearsal by one for each of its nodes."""
COUNTER_MAX = 2**53
TIME_MAX = 2**40


class MandateFault(Fault):
    """A mandate file that cannot be read, or a mandate that cannot be signed."""


def _fault(number: int, what: str) -> MandateFault:
    return MandateFault(
        f"TQ-AU-{number}",
        what,
        "nothing was taken in and nobody is cut by it; make the file anew with central-sync mandate",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Mandate:
    """What is permitted, to which node, from when to when."""

    id: str
    node: NodeId
    issued_at: int
    not_before: int
    """UTC seconds; counts from the moment the *earliest* possible time has reached it."""
    expires: int
    """UTC seconds; ends at the moment the *latest* possible time has reached it."""
    policy_version: str
    """The rule set it was given for; under any other it permits nothing."""
    quota_per_day: int
    """Cuts per local day at most."""
    watermark_age_h_max: int
    """How old the oldest payment watermark may be for a cut."""
    account_classes: tuple[str, ...]
    """Accounts it covers; others are not cut by it."""
    counter: int
    """Rises with every mandate of the node: an older one cannot come back."""

    def __post_init__(self) -> None:
        for name in ("id", "node", "policy_version"):
            _identity(name, getattr(self, name))
        for name in ("issued_at", "not_before", "expires"):
            _integer(name, getattr(self, name), 0, TIME_MAX)
        _integer("quota_per_day", self.quota_per_day, 0, QUOTA_PER_DAY_MAX)
        _integer("watermark_age_h_max", self.watermark_age_h_max, 1, WATERMARK_AGE_H_MAX)
        _integer("counter", self.counter, 1, COUNTER_MAX)
        if not 0 < self.expires - self.not_before <= LIFETIME_S_MAX:
            raise _fault(11, "a mandate lasts more than nothing and at most 14 days")
        for name in self.account_classes:
            _identity("account class", name)
        if not 1 <= len(set(self.account_classes)) == len(self.account_classes) <= CLASSES_MAX:
            raise _fault(11, f"a mandate names 1 to {CLASSES_MAX} different account classes")

    def canonical_bytes(self) -> bytes:
        """What the approvers sign."""
        return _canonical(self)

    def persons_needed(self) -> int:
        """How many different approvers must have signed."""
        return PERSONS_EXTENDED_MIN if self.watermark_age_h_max > WATERMARK_AGE_H_STANDARD else PERSONS_MIN


@lru_cache(maxsize=MANDATES_KEPT_MAX)
def _canonical(mandate: Mandate) -> bytes:
    """A mandate that permits is asked for at each judgement, and never changes."""
    return canonical("mandate.1", {field.name: getattr(mandate, field.name) for field in fields(mandate)})


@dataclass(frozen=True, slots=True)
class SignedMandate:
    """A mandate and the signatures under it; whether they suffice is for `check_mandate` to say."""

    mandate: Mandate
    signatures: tuple[Signature, ...] = ()

    def to_json(self) -> bytes:
        """The file form: UTF-8 JSON, the same bytes for the same mandate."""
        told = {
            "mandate": {field.name: getattr(self.mandate, field.name) for field in fields(self.mandate)},
            "signatures": [
                {"key_id": signature.key_id, "value": base64.b64encode(signature.value).decode("ascii")}
                for signature in self.signatures
            ],
        }
        return json.dumps(told, ensure_ascii=False, indent=1, sort_keys=True).encode("utf-8") + b"\n"

    @classmethod
    def from_json(cls, data: bytes) -> "SignedMandate":
        """Back from `to_json`; raises MandateFault on anything that is not exactly such a file."""
        told = _exactly("the file", _loaded(data), {"mandate", "signatures"})
        names = {field.name for field in fields(Mandate)}
        values = dict(_exactly("the mandate", told["mandate"], names))
        classes = values["account_classes"]
        if not isinstance(classes, list):
            raise _fault(10, "account_classes is not a list")
        values["account_classes"] = tuple(classes)
        signatures = told["signatures"]
        if not isinstance(signatures, list) or len(signatures) > SIGNATURES_MAX:
            raise _fault(12, f"a mandate has a list of at most {SIGNATURES_MAX} signatures")
        return cls(Mandate(**values), tuple(_signature(item) for item in signatures))


def sign_mandate(mandate: "Mandate | SignedMandate", signer: Signer) -> SignedMandate:
    """The mandate with one more signature; signing twice with one key changes nothing. Raises MandateFault (-12)."""
    signed = mandate if isinstance(mandate, SignedMandate) else SignedMandate(mandate)
    others = tuple(signature for signature in signed.signatures if signature.key_id != signer.key_id)
    if len(others) >= SIGNATURES_MAX:
        raise _fault(12, f"a mandate has at most {SIGNATURES_MAX} signatures")
    return SignedMandate(signed.mandate, (*others, signer.signature(signed.mandate.canonical_bytes())))


class MandateRefusal(StrEnum):
    """Why a mandate permits nothing."""

    OTHER_NODE = "other_node"
    NOT_YET = "not_yet"
    EXPIRED = "expired"
    COUNTER_OLD = "counter_old"
    TOO_FEW_PERSONS = "too_few_persons"
    BAD_SIGNATURE = "bad_signature"
    """A signature under it is false: the file was altered, and none of it is believed."""


@dataclass(frozen=True, slots=True)
class MandateAccepted:
    """It permits what it says, now."""

    mandate: Mandate
    persons: frozenset[str]
    """Who approved it."""


@dataclass(frozen=True, slots=True)
class MandateRefused:
    """It permits nothing now."""

    reason: MandateRefusal
    what: str
    """One sentence for a person."""


MandateOutcome = MandateAccepted | MandateRefused


def check_mandate(
    signed: SignedMandate, keyring: KeyRing, node: NodeId, now: TimeBounds, *, counter_above: int = 0
) -> MandateOutcome:
    """Whether the mandate permits anything to `node` at all of `now`.

    `counter_above` is the highest counter that `node` ever accepted (durable there) when a new mandate is taken in; to
    ask again about the one accepted, give its own counter less one.
    """
    mandate = signed.mandate
    if mandate.node != node:
        return MandateRefused(MandateRefusal.OTHER_NODE, f"it is for {mandate.node}, not for {node}")
    if now.earliest < mandate.not_before:
        return MandateRefused(MandateRefusal.NOT_YET, "its time has not come, or the clock is in doubt")
    if now.latest >= mandate.expires:
        return MandateRefused(MandateRefusal.EXPIRED, "it has expired, or the clock is in doubt")
    if mandate.counter <= counter_above:
        return MandateRefused(
            MandateRefusal.COUNTER_OLD, f"its counter {mandate.counter} is not above {counter_above}: a later one came"
        )
    persons, refused = keyring.voices(Role.APPROVER, mandate.canonical_bytes(), signed.signatures, now)
    false = [outcome.key_id for outcome in refused if outcome.reason == "bad_signature"]
    if false:
        return MandateRefused(MandateRefusal.BAD_SIGNATURE, f"the signature of key {false[0]} is false")
    if len(persons) < mandate.persons_needed():
        odd = "".join(f"; key {outcome.key_id}: {outcome.reason.value}" for outcome in refused)
        return MandateRefused(
            MandateRefusal.TOO_FEW_PERSONS,
            f"{len(persons)} of {mandate.persons_needed()} persons approved it{odd:.160}",
        )
    return MandateAccepted(mandate, persons)


def _loaded(data: bytes) -> object:
    if len(data) > FILE_BYTES_MAX:
        raise _fault(10, f"a mandate file has at most {FILE_BYTES_MAX} bytes")
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise _fault(10, f"not JSON in UTF-8 ({error!s:.80})") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise _fault(10, "a field is given twice")
    return value


def _no_constant(name: str) -> object:
    raise _fault(10, f"{name} is not a value")


def _exactly(what: str, value: object, names: set[str]) -> Mapping[str, Any]:
    if not isinstance(value, dict) or value.keys() != names:
        odd = ", ".join(sorted(value.keys() ^ names)) if isinstance(value, dict) else "everything"
        raise _fault(10, f"missing or unknown in {what}: {odd:.100}")
    return value


def _signature(value: object) -> Signature:
    item = _exactly("a signature", value, {"key_id", "value"})
    _identity("key_id", item["key_id"])
    try:
        raw = base64.b64decode(item["value"], validate=True)
    except (ValueError, TypeError, binascii.Error) as error:
        raise _fault(10, "a signature is not base64") from error
    if len(raw) != SIGNATURE_BYTES:
        raise _fault(10, f"a signature has {SIGNATURE_BYTES} bytes")
    return Signature(item["key_id"], raw)


def _identity(name: str, value: object) -> None:
    try:
        checked_id(name, value)
    except IdentityFault as error:
        raise _fault(11, error.what) from error


def _integer(name: str, value: object, low: int, high: int) -> None:
    if type(value) is not int or not low <= value <= high:
        raise _fault(11, f"{name} is not a whole number from {low} to {high}")
