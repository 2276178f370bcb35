"""Sealing: how facts become signed batches, and greetings become signed. Floor: protocols; on the walk of link loss.

Pure: the caller stores a sealed batch and the lane's new mark in one transaction, and only then may it be sent.
"""

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256

from gridmodel.clock import TimeBounds
from gridmodel.identity import NodeId
from protocols.authority.signatures import (
    KeyRing,
    RefusalReason,
    Role,
    Signature,
    SignatureRefused,
    Signer,
    Verification,
    Verified,
)
from protocols.sync.attest import Attest
from protocols.sync.batch import Batch, BatchHeader
from protocols.sync.completeness import Compare
from protocols.sync.lanes import (
    RECORD_PAYLOAD_BYTES_MAX,
    RECORDS_PER_BATCH_MAX,
    Lane,
    LaneMark,
    Record,
    records_to_payload,
)
from protocols.sync.messages import Hello
from protocols.sync.pull import Pull
from protocols.sync.recall import Recall
from protocols.sync.wire import WireFault

_ARRAY_HEAD_BYTES = 3


def seal(
    payload: bytes, *, node: NodeId, lane: Lane, after: LaneMark, registry_version: int, now: int, signer: Signer
) -> Batch:
    """The batch that follows `after` in its lane. Raises MessageFault (TQ-SY-23) when it is too long for the lane."""
    unsigned = BatchHeader(
        node=node,
        lane=lane,
        epoch=after.epoch,
        seq=after.seq + 1,
        previous=after.hash,
        digest=sha256(payload).digest(),
        registry_version=registry_version,
        created_at=now,
        key_id=signer.key_id,
    )
    batch = Batch(unsigned.signed(signer.sign(unsigned.canonical_bytes())), payload)
    batch.to_bytes()
    return batch


def fitting(records: Sequence[Record]) -> int:
    """How many of the leading records fit one batch of the small lanes; at least 1 when there are any.

    Raises WireFault (blame local) when the first alone is too large: it can never travel, and its maker must know.
    """
    size = _ARRAY_HEAD_BYTES
    for count, record in enumerate(records[:RECORDS_PER_BATCH_MAX]):
        try:
            size += len(records_to_payload([record])) - 1
        except WireFault:
            if count == 0:
                raise
            return count
        if size > RECORD_PAYLOAD_BYTES_MAX:
            return max(count, 1)
    return min(len(records), RECORDS_PER_BATCH_MAX)


def sign_hello(hello: Hello, signer: Signer) -> Hello:
    """The hello with this signer's key and signature."""
    named = replace(hello, key_id=signer.key_id)
    return replace(named, signature=signer.sign(named.canonical_bytes()))


def sign_pull(pull: Pull, signer: Signer) -> Pull:
    """The pull with this signer's key and signature."""
    named = replace(pull, key_id=signer.key_id)
    return replace(named, signature=signer.sign(named.canonical_bytes()))


def sign_compare(compare: Compare, signer: Signer) -> Compare:
    """The compare with this signer's key and signature."""
    named = replace(compare, key_id=signer.key_id)
    return replace(named, signature=signer.sign(named.canonical_bytes()))


def sign_attest(attest: Attest, signer: Signer) -> Attest:
    """The attestation with this signer's key and signature."""
    named = replace(attest, key_id=signer.key_id)
    return replace(named, signature=signer.sign(named.canonical_bytes()))


def sign_recall(recall: Recall, signer: Signer) -> Recall:
    """The recall with this signer's key and signature."""
    named = replace(recall, key_id=signer.key_id)
    return replace(named, signature=signer.sign(named.canonical_bytes()))


Signed = BatchHeader | Hello | Pull | Compare | Attest | Recall
"""What a node signs."""


def check_signature(message: Signed, keyring: KeyRing, now: TimeBounds) -> Verification:
    """Whether the node the message names signed it: its key must have the role *node* and be named for that node."""
    signature = Signature(message.key_id, message.signature)
    outcome = keyring.verify(Role.NODE, message.canonical_bytes(), signature, now)
    if isinstance(outcome, Verified) and outcome.name != message.node:
        return SignatureRefused(RefusalReason.WRONG_ROLE, message.key_id)
    return outcome
