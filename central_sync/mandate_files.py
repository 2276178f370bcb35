"""Mandate files on a person's own machine: drafted, shown, signed. Above the rooms; on the payment walk.

Nothing here speaks to a hub. What is signed is shown first, decoded from the very bytes that get the signature; the key
file is read for that moment only.

Codes: TQ-HB-63 a file that cannot be read or written.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from central_sync.authority.mandates import MandateTerms, draft, shown
from gridmodel.clock import Entropy
from gridmodel.fault import Fault
from gridmodel.identity import NodeId, checked_id
from gridmodel.period import parse_rfc3339
from hosting.files import publish
from hosting.keys import KeyDomain, load_signing_key
from protocols.authority.canonical import Domain
from protocols.authority.mandate import FILE_BYTES_MAX, SignedMandate, sign_mandate
from protocols.authority.signatures import Signer


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of `mandate new`."""

    node: str
    not_before: str
    expires: str
    policy: str
    quota_per_day: int
    watermark_age_h_max: int
    account_classes: tuple[str, ...]
    counter: int


def write_draft(path: Path, asked: Asked, now: int, entropy: Entropy) -> dict[str, Any]:
    """A mandate without signatures into a new file; gives it as a person reads it."""
    if path.exists():
        raise Fault("TQ-HB-63", f"{path} exists", "choose another name: a signed mandate must not be overwritten")
    terms = MandateTerms(
        node=NodeId(checked_id("node", asked.node)),
        not_before=parse_rfc3339(asked.not_before),
        expires=parse_rfc3339(asked.expires),
        policy_version=asked.policy,
        quota_per_day=asked.quota_per_day,
        watermark_age_h_max=asked.watermark_age_h_max,
        account_classes=asked.account_classes,
        counter=asked.counter,
    )
    signed = draft(terms, now, entropy)
    _write(path, signed.to_json())
    return shown(signed)


def sign(path: Path, key: Path, *, demo: bool, agree: Callable[[str], bool]) -> dict[str, Any]:
    """Show the mandate in `path` and, when the person agrees, put the signature of the key in `key` under it."""
    signed = SignedMandate.from_json(read(path))
    if not agree(json.dumps(shown(signed), indent=1, ensure_ascii=False)):
        return {"signed": False}
    domain = Domain.DEMO if demo else Domain.PRODUCTION
    signer = Signer(load_signing_key(key, KeyDomain(domain.value)), domain)
    more = sign_mandate(signed, signer)
    _write(path, more.to_json())
    return {"signed": True, "key_id": signer.key_id, "signatures": len(more.signatures)} | {
        "persons_needed": more.mandate.persons_needed()
    }


def read(path: Path) -> bytes:
    """The bytes of a mandate file; raises Fault (TQ-HB-63)."""
    try:
        with path.open("rb") as file:
            return file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise Fault("TQ-HB-63", f"{path} cannot be read: {error.strerror}", "name an existing mandate file") from error


def node_or_none(text: str | None) -> NodeId | None:
    """A node's id, if one was given."""
    return None if text is None else NodeId(checked_id("node", text))


def _write(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        publish(partial, path)
    except OSError as error:
        raise Fault("TQ-HB-63", f"{path} cannot be written: {error.strerror}", "choose another folder") from error
