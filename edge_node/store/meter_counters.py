"""Marks of invocation counters, durable before they are used. Floor: edge_node/store; walks: reading, payment.

AES-GCM breaks when one key meets one number twice. So the DLMS driver sets a block of numbers aside here, in a
transaction of its own, before it uses the first of them; after a crash the rest of the block is never used. A mark
only rises. A store that was restored from a copy knows marks of yesterday: whoever restores it calls `leap`
(``edge-node keys leap-counters``) before a meter is read, and the meters' own counters do the rest.
"""

from hosting.database import Connection, Database

LEAP = 1 << 18
"""Numbers skipped after a restore: a copy of last week, and a thousand polls a day in between, lie far within."""


class MeterCounters:
    """The marks; an implementation of `protocols.dlms.counters.CounterStore`."""

    def __init__(self, control: Database) -> None:
        self._control = control

    async def mark(self, key: str) -> int:
        """The first number that was never set aside; 1 for a new key."""
        row = await self._control.read(
            lambda conn: conn.fetch_one("SELECT mark FROM meter_counter WHERE key = ?", (key,))
        )
        return 1 if row is None else int(row[0])

    async def move(self, key: str, mark: int) -> None:
        """Make `mark` durable; a lower one than the present changes nothing."""
        await self._control.write(
            lambda conn: conn.execute(
                "INSERT INTO meter_counter (key, mark) VALUES (?, ?)"
                " ON CONFLICT (key) DO UPDATE SET mark = max(mark, excluded.mark)",
                (key, mark),
            )
        )

    async def leap(self, numbers: int = LEAP) -> int:
        """Skip so many numbers of every key, durably; gives the count of keys. For a store out of a copy."""

        async def verb(conn: Connection) -> int:
            return await conn.execute("UPDATE meter_counter SET mark = mark + ?", (numbers,))

        return await self._control.write(verb)
