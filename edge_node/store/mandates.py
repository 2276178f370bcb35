"""Mandates as they were signed: taken in by a rising counter, judged anew at each use. Floor: edge_node/store.

On the payment walk. The document is the truth; the columns beside it only find it. Whether it permits anything *now* is
asked of the checker (signatures, persons, dates) at every use, so that a damaged row, an expired key or a clock in
doubt gives no right.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from gridmodel.clock import TimeBounds
from gridmodel.identity import NodeId
from hosting.database import Connection
from protocols.authority.mandate import (
    Mandate,
    MandateAccepted,
    MandateFault,
    MandateOutcome,
    MandateRefusal,
    MandateRefused,
    SignedMandate,
    check_mandate,
)
from protocols.authority.signatures import KeyRing

MandateChecker = Callable[[SignedMandate, TimeBounds, int], MandateOutcome]
"""(document, the present, counter that it must exceed) -> what it permits."""

DOCUMENTS_KEPT_MAX = 16
"""Mandates kept parsed: the one in force is asked for at every judgement."""
AHEAD_MAX = 4
"""Mandates of the future that are looked past to find the one in force: approvers sign a few days ahead at most."""


@dataclass(frozen=True, slots=True)
class MandateRow:
    """A mandate as it is listed."""

    id: str
    counter: int
    not_before: int
    expires: int
    received_at: int
    refused: str | None


def mandate_checker(keyring: KeyRing, node: NodeId) -> MandateChecker:
    """The checker of one node: `protocols.authority.mandate.check_mandate` with its keys and its name."""
    return lambda signed, now, counter: check_mandate(signed, keyring, node, now, counter_above=counter)


async def put_mandate(
    conn: Connection, check: MandateChecker, document: bytes, now: int, bounds: TimeBounds
) -> MandateOutcome:
    """Take a mandate in, or keep it as refused with the reason. Raises MandateFault for what is no mandate.

    One whose time has not come is checked for the moment when it will.
    """
    signed = SignedMandate.from_json(document)
    mandate = signed.mandate
    row = await conn.fetch_one("SELECT coalesce(max(counter), 0) FROM mandate WHERE refused IS NULL")
    highest = 0 if row is None else int(row[0])
    known = await conn.fetch_one("SELECT document, refused FROM mandate WHERE id = ?", (mandate.id,))
    if known is not None and bytes(known[0]) == document:
        if known[1] is None:
            return check(signed, bounds, mandate.counter - 1)
        return MandateRefused(MandateRefusal(known[1]), "it was refused when it came")
    moment = bounds
    if bounds.earliest < mandate.not_before:
        moment = TimeBounds(mandate.not_before, max(mandate.not_before, bounds.latest))
    outcome = check(signed, moment, highest)
    if known is not None:
        return MandateRefused(MandateRefusal.COUNTER_OLD, f"the id {mandate.id} stands with another content")
    refused = outcome.reason.value if isinstance(outcome, MandateRefused) else None
    await conn.execute(
        "INSERT INTO mandate (id, counter, document, not_before, expires, received_at, refused)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (mandate.id, mandate.counter, document, mandate.not_before, mandate.expires, now, refused),
    )
    return outcome


async def mandate_in_force(conn: Connection, check: MandateChecker, bounds: TimeBounds) -> Mandate | None:
    """The mandate with the highest counter whose time has come, if it permits anything at all of the present."""
    rows = await conn.fetch_all(
        "SELECT counter, document, refused FROM mandate WHERE refused IS NULL OR refused = ?"
        " ORDER BY counter DESC LIMIT ?",
        (MandateRefusal.EXPIRED.value, AHEAD_MAX),
    )
    for counter, document, refused in rows:
        outcome = _judged(check, bytes(document), counter, bounds)
        if refused is not None and not isinstance(outcome, MandateAccepted):
            continue  # it had ended when it came, and still has: no clock was wrong
        if isinstance(outcome, MandateAccepted):
            return outcome.mandate if outcome.mandate.counter == counter else None
        if outcome is None or outcome.reason is not MandateRefusal.NOT_YET:
            return None
    return None


async def mandate_rows(conn: Connection, limit: int = 20) -> list[MandateRow]:
    """The latest mandates, refused ones too."""
    rows = await conn.fetch_all(
        "SELECT id, counter, not_before, expires, received_at, refused FROM mandate ORDER BY counter DESC LIMIT ?",
        (limit,),
    )
    return [MandateRow(*row) for row in rows]


def _judged(check: MandateChecker, document: bytes, counter: int, bounds: TimeBounds) -> MandateOutcome | None:
    """What the checker says; None when the row no longer holds a mandate."""
    try:
        return check(_parsed(document), bounds, counter - 1)
    except MandateFault:
        return None


@lru_cache(maxsize=DOCUMENTS_KEPT_MAX)
def _parsed(document: bytes) -> SignedMandate:
    """The mandate in these very bytes; a damaged row has others."""
    return SignedMandate.from_json(document)
