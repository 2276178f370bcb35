"""Reads that nobody could stamp, in the order of reading, until the time is known. Floor: edge_node/store.

On the reading walk, while the clock is in doubt. Metering keeps rows and takes them back; a row goes once everything in
it is booked, so that a crash in between books it again, and what is booked twice changes nothing.
"""

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from hosting.database import Connection, Database

HELD_MAX = 3_000_000
"""Reads kept: a month of hours for 4,000 meters, three days for a district's 42,000; some 100 MB. What comes later is
let go, and the first register with a stamp books its energy."""


@dataclass(frozen=True, slots=True)
class HeldRead:
    """The registers of one meter at a moment of the steady clock."""

    meter: str
    point: str
    steady_ms: int
    registers: dict[int, int]
    """Meter-side Wh by channel."""


@dataclass(frozen=True, slots=True)
class HeldRow:
    """What was kept at once."""

    number: int
    boot: str
    reads: tuple[HeldRead, ...]


class HeldReads:
    """The reads that one node holds."""

    def __init__(self, control: Database) -> None:
        self._control = control

    async def put(self, boot: str, doubts: Sequence[str], reads: Sequence[HeldRead]) -> bool:
        """Keep reads of one boot; False when there is no room."""
        plain = [[one.meter, one.point, one.steady_ms, one.registers] for one in reads]
        body = zlib.compress(json.dumps(plain, separators=(",", ":")).encode(), 1)

        async def verb(conn: Connection) -> bool:
            if await _count(conn) + len(reads) > HELD_MAX:
                return False
            await conn.execute(
                "INSERT INTO held_read (boot, reads, doubts, body) VALUES (?, ?, ?, ?)",
                (boot, len(reads), ",".join(doubts), body),
            )
            return True

        return await self._control.write(verb)

    async def first(self) -> HeldRow | None:
        """The oldest row; None when nothing is held."""
        row = await self._control.read(
            lambda conn: conn.fetch_one("SELECT number, boot, body FROM held_read ORDER BY number LIMIT 1")
        )
        if row is None:
            return None
        plain = json.loads(zlib.decompress(bytes(row[2])))
        reads = (
            HeldRead(meter, point, steady_ms, {int(channel): wh for channel, wh in registers.items()})
            for meter, point, steady_ms, registers in plain
        )
        return HeldRow(int(row[0]), str(row[1]), tuple(reads))

    async def forget(self, number: int) -> None:
        """All of a row is booked, or can never be."""
        await self._control.write(lambda conn: conn.execute("DELETE FROM held_read WHERE number = ?", (number,)))

    async def count(self) -> int:
        """How many reads are held."""
        return await self._control.read(_count)


async def _count(conn: Connection) -> int:
    row = await conn.fetch_one("SELECT coalesce(sum(reads), 0) FROM held_read")
    return 0 if row is None else int(row[0])
