"""How far payments made elsewhere are known here, by channel, and whether that is too old to cut on. Room: console.

On the payment walk. A debt shown without this would look as if nobody could have paid it since. The limit is the one of
the decision: the rules' own, lowered by the mandate that holds.
"""

from dataclasses import dataclass

from edge_node.console.office import Office
from gridmodel.identity import ChannelId
from gridmodel.policy import fresh


@dataclass(frozen=True, slots=True)
class ChannelKnown:
    """One payment channel."""

    channel: ChannelId
    at: int | None
    """Its payments up to then are all here; None when it never said so."""
    too_old: bool
    """Nobody is cut on this."""


async def payments_known(office: Office) -> tuple[ChannelKnown, ...]:
    """Every channel that must vouch for itself, and every other that ever did."""
    bounds, store = office.clock.bounds(), office.store
    known = await store.ledger.watermarks()
    mandate = await store.control.read(lambda conn: store.records.mandate_in_force(conn, bounds))
    limits_h = [office.rules.fresh_balance_max_age_h, *([] if mandate is None else [mandate.watermark_age_h_max])]
    channels = sorted({*office.node.channels, *known})
    return tuple(
        ChannelKnown(one, at, at is None or not fresh(at, min(limits_h), bounds))
        for one in channels
        for at in (known.get(one),)
    )
