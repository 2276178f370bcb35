"""What a durable stamp says of the time, and what it holds the clock to. Floor: edge_node/store; walk: payment.

A stamp by a clock that nothing speaks against raises the clock's floor in its own transaction: no later process can
stamp anything before it, whatever happens to the machine. A stamp of a time that is not known keeps its interval.
"""

from dataclasses import dataclass

from edge_node.store.state import Mark, raise_mark
from gridmodel.clock import ClockDoubt, ClockTrust, TimeBounds, UtilityClock
from hosting.database import Connection


@dataclass(frozen=True, slots=True)
class Stamp:
    """The present, as it is known."""

    at: int
    """What is written: the beginning of the interval where the time is not known, so that it is never of the future."""
    bounds: TimeBounds
    doubts: tuple[ClockDoubt, ...]
    known: bool


def stamp_of(clock: UtilityClock) -> Stamp:
    """The clock's present."""
    bounds, known = clock.bounds(), clock.trust() is ClockTrust.TRUSTED
    return Stamp(clock.now() if known else bounds.earliest, bounds, clock.doubts(), known)


async def keep_stamp(conn: Connection, entry: str, stamp: Stamp) -> None:
    """Beside a payment, in its transaction: raise the floor, or keep the interval."""
    if not stamp.doubts:
        await raise_mark(conn, Mark.CLOCK_FLOOR, stamp.bounds.earliest)
    if not stamp.known:
        await conn.execute(
            "INSERT INTO payment_time (entry, earliest, latest, doubts) VALUES (?, ?, ?, ?)",
            (entry, stamp.bounds.earliest, stamp.bounds.latest, ",".join(stamp.doubts)),
        )
