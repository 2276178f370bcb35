"""Names of things: opaque, short, checked once at the door. Ground floor; on every walk.

Districts and regions are named by their SOATO code; everything else by an opaque identifier that its owner made before
it was sent anywhere, so that a retry can never make a second thing.
"""

import re
from typing import NewType

from gridmodel.clock import Entropy
from gridmodel.fault import Fault

NodeId = NewType("NodeId", str)
"""An edge node."""
RegionId = NewType("RegionId", str)
"""A first-level region, by its four-digit SOATO code."""
DistrictId = NewType("DistrictId", str)
"""A district or city, by its seven-digit SOATO code."""
SubstationId = NewType("SubstationId", str)
FeederId = NewType("FeederId", str)
TransformerId = NewType("TransformerId", str)
UsagePointId = NewType("UsagePointId", str)
"""Where a consumer takes energy; it stays when meters are exchanged."""
SupplyPointId = NewType("SupplyPointId", str)
"""Where energy enters or leaves a part of the network."""
MeterId = NewType("MeterId", str)
AccountId = NewType("AccountId", str)
EntryId = NewType("EntryId", str)
"""A ledger entry, named and stored before any send."""
DeskId = NewType("DeskId", str)
"""A cashier's desk at an office."""
ChannelId = NewType("ChannelId", str)
"""A payment channel: a desk, a bank, a phone application."""
PersonId = NewType("PersonId", str)
"""Opaque: names and addresses stand in one erasable table elsewhere."""

ID_LENGTH_MAX = 64
"""A batch of 1,000 ids must fit a small frame; the longest real identifiers (EIC, serials) are below 40."""

_NUMBER = re.compile(r"[0-9]+")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:\-]*\Z")
_SOATO = {"region": re.compile(r"17\d{2}\Z", re.ASCII), "district": re.compile(r"17\d{5}\Z", re.ASCII)}


def counted(name: str) -> tuple[str, str]:
    """Sorts names by their numbers as numbers, house 9 before house 10; the name parts those that count alike."""
    return _NUMBER.sub(lambda match: match.group().zfill(ID_LENGTH_MAX), name), name


class IdentityFault(Fault):
    """A name that cannot be one."""


def checked_id(kind: str, text: object) -> str:
    """`text` if it can name a `kind`; raises IdentityFault (TQ-ID-01) with the offending value cut short."""
    if not isinstance(text, str) or len(text) > ID_LENGTH_MAX or not _ID.match(text):
        shown = repr(text)[:ID_LENGTH_MAX]
        raise IdentityFault(
            "TQ-ID-01",
            f"{shown} cannot name a {kind}",
            f"use 1 to {ID_LENGTH_MAX} letters, digits and . _ : - , starting with a letter or digit",
        )
    return text


def checked_soato(kind: str, text: object) -> str:
    """`text` if it is a SOATO code of a `kind` ("region" or "district"); raises IdentityFault (TQ-ID-02)."""
    if not isinstance(text, str) or not _SOATO[kind].match(text):
        raise IdentityFault(
            "TQ-ID-02",
            f"{text!r:.64} is not the SOATO code of a {kind}",
            "a region has 4 digits, a district 7, both start with 17; the list is in configs/regions",
        )
    return text


def new_id(prefix: str, entropy: Entropy) -> str:
    """A fresh identifier such as ``pay-3f9c…`` with 96 random bits: made by one owner, never coordinated."""
    return f"{prefix}-{entropy.token(12).hex()}"
