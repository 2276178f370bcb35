"""SQL: chunks, hours in force, moved balances. Floor: central_sync/store; contracts in `port`."""

from collections.abc import Mapping, Sequence

from central_sync.store.port import AreaKey
from central_sync.store.rows import BalanceRow, ChunkRow, PlaceDayRow
from central_sync.store.statements import Statements, inserted, marks_of, replaced, slices
from gridmodel.identity import NodeId

_CHUNK = "id, node, day, epoch, number, registry_version, received_at, content"
_PLACE_DAY = "place, day, node, kind, state, booked, chunk"


class SqlEnergy:
    """`EnergyVerbs`."""

    _connection: Statements

    async def put_chunk(self, row: ChunkRow) -> None:
        """See `port`."""
        await self._connection.execute(
            f"{inserted('chunk', _CHUNK)} ON CONFLICT (id) DO UPDATE SET"
            " node = excluded.node, day = excluded.day, epoch = excluded.epoch, number = excluded.number,"
            " registry_version = excluded.registry_version, content = excluded.content",
            (row.id, row.node, row.day, row.epoch, row.number, row.registry_version, row.received_at, row.content),
        )

    async def chunk(self, chunk_id: str) -> ChunkRow | None:
        """See `port`."""
        row = await self._connection.fetch_one(f"SELECT {_CHUNK} FROM chunk WHERE id = ?", (chunk_id,))
        return None if row is None else ChunkRow(*row)

    async def chunks_of(self, node: NodeId, day: str, after: str, limit: int) -> list[ChunkRow]:
        """See `port`."""
        rows = await self._connection.fetch_all(
            f"SELECT {_CHUNK} FROM chunk WHERE id IN"  # sorting whole rows would move every blob of the day
            " (SELECT id FROM chunk WHERE node = ? AND day = ? AND id > ? ORDER BY id LIMIT ?) ORDER BY id",
            (node, day, after, limit),
        )
        return [ChunkRow(*row) for row in rows]

    async def chunk_days(self, node: NodeId) -> list[tuple[str, int]]:
        """See `port`."""
        rows = await self._connection.fetch_all(
            "SELECT day, count(*) FROM chunk WHERE node = ? GROUP BY day ORDER BY day", (node,)
        )
        return [(str(day), int(count)) for day, count in rows]

    async def place_days(self, day: str, places: Sequence[str]) -> dict[str, PlaceDayRow]:
        """See `port`."""
        found: dict[str, PlaceDayRow] = {}
        for some in slices(places):
            rows = await self._connection.fetch_all(
                f"SELECT {_PLACE_DAY} FROM place_day WHERE day = ? AND place IN ({marks_of(len(some))})",
                (day, *some),
            )
            found.update((row[0], PlaceDayRow(*row)) for row in rows)
        return found

    async def put_place_days(self, rows: Sequence[PlaceDayRow]) -> None:
        """See `port`."""
        await self._connection.execute_many(
            replaced("place_day", _PLACE_DAY, "place, day"),
            [(row.place, row.day, row.node, row.kind, row.state, row.booked, row.chunk) for row in rows],
        )

    async def all_place_days(self, day: str, node: NodeId) -> list[PlaceDayRow]:
        """See `port`."""
        rows = await self._connection.fetch_all(
            f"SELECT {_PLACE_DAY} FROM place_day WHERE node = ? AND day = ? ORDER BY place", (node, day)
        )
        return [PlaceDayRow(*row) for row in rows]

    async def place_day_keys(self) -> list[tuple[NodeId, str]]:
        """See `port`."""
        rows = await self._connection.fetch_all("SELECT DISTINCT node, day FROM place_day ORDER BY node, day")
        return [(NodeId(node), str(day)) for node, day in rows]

    async def balance_days(self, node: NodeId, day: str, keys: Sequence[AreaKey]) -> dict[AreaKey, bytes]:
        """See `port`."""
        return await self._states("balance_day", "day", node, day, keys)

    async def put_balance_days(self, node: NodeId, day: str, states: Mapping[AreaKey, bytes]) -> None:
        """See `port`."""
        await self._put_states("balance_day", "day", node, day, states)

    async def balance_months(self, node: NodeId, month: str, keys: Sequence[AreaKey]) -> dict[AreaKey, bytes]:
        """See `port`."""
        return await self._states("balance_month", "month", node, month, keys)

    async def put_balance_months(self, node: NodeId, month: str, states: Mapping[AreaKey, bytes]) -> None:
        """See `port`."""
        await self._put_states("balance_month", "month", node, month, states)

    async def node_balances(self, node: NodeId, period: str) -> dict[AreaKey, bytes]:
        """See `port`."""
        table, column = ("balance_month", "month") if len(period) == 7 else ("balance_day", "day")
        rows = await self._connection.fetch_all(
            f"SELECT level, area, state FROM {table} WHERE {column} = ? AND node = ? ORDER BY level, area",
            (period, node),
        )
        return {(level, area): bytes(state) for level, area, state in rows}

    async def area_days(self, level: str, day: str, area: str | None) -> list[BalanceRow]:
        """See `port`."""
        return await self._areas("balance_day", "day", level, day, area)

    async def area_months(self, level: str, month: str, area: str | None) -> list[BalanceRow]:
        """See `port`."""
        return await self._areas("balance_month", "month", level, month, area)

    async def _states(
        self, table: str, column: str, node: NodeId, period: str, keys: Sequence[AreaKey]
    ) -> dict[AreaKey, bytes]:
        found: dict[AreaKey, bytes] = {}
        for level in sorted({level for level, _ in keys}):
            for some in slices([area for one, area in keys if one == level]):
                rows = await self._connection.fetch_all(
                    f"SELECT area, state FROM {table} WHERE level = ? AND {column} = ? AND node = ?"
                    f" AND area IN ({marks_of(len(some))})",
                    (level, period, node, *some),
                )
                found.update(((level, area), bytes(state)) for area, state in rows)
        return found

    async def _put_states(
        self, table: str, column: str, node: NodeId, period: str, states: Mapping[AreaKey, bytes]
    ) -> None:
        await self._connection.execute_many(
            replaced(table, f"level, area, {column}, node, state", f"level, {column}, area, node"),
            [(level, area, period, node, state) for (level, area), state in states.items()],
        )

    async def _areas(self, table: str, column: str, level: str, period: str, area: str | None) -> list[BalanceRow]:
        where, parameters = ("", ()) if area is None else (" AND area = ?", (area,))
        rows = await self._connection.fetch_all(
            f"SELECT area, node, state FROM {table} WHERE level = ? AND {column} = ?{where} ORDER BY area, node",
            (level, period, *parameters),
        )
        return [BalanceRow(area_id, NodeId(node), bytes(state)) for area_id, node, state in rows]
