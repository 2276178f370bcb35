"""The control database gives back what is old: ended alarms, cells of hours nobody closes again."""

from pathlib import Path

from edge_node.store.alarms import clear_alarm, raise_alarm
from edge_node.store.records import Records
from edge_node.store.upkeep import RAW_DAYS_KEPT, ROWS_PER_PURGE, purge_control
from gridmodel.event import AlarmKind
from hosting.database import Connection, Database
from tests.edge_node.store.test_records import NOW, told
from tests.edge_node.supply.office import DAY

OLD = NOW - (RAW_DAYS_KEPT + 1) * DAY


def test_ended_alarms_and_old_cells_go_and_what_stands_stays(tmp_path: Path) -> None:
    async def story(control: Database, _: Records) -> None:
        async def filled(conn: Connection) -> None:
            for subject, at, ends_at in (("ended", OLD, OLD), ("stands", OLD, None), ("fresh", NOW - DAY, NOW)):
                await raise_alarm(conn, AlarmKind.METER_SILENT, subject, "", at)
                if ends_at is not None:
                    await clear_alarm(conn, AlarmKind.METER_SILENT, subject, ends_at)
            hours = [*range(OLD, OLD + ROWS_PER_PURGE + 5), NOW]
            await conn.execute_many(
                "INSERT INTO hour_cell (place, hour_end, kind, cell, revision) VALUES ('t', ?, 'boundary', x'', 1)",
                [(hour,) for hour in hours],
            )

        await control.write(filled)
        gone = [await control.write(lambda conn: purge_control(conn, NOW)) for _ in range(3)]
        assert gone == [1 + ROWS_PER_PURGE, 5, 0]
        rows = await control.read(lambda conn: conn.fetch_all("SELECT subject FROM alarm ORDER BY subject"))
        assert [row[0] for row in rows] == ["fresh", "stands"]
        assert await control.read(lambda conn: conn.fetch_all("SELECT hour_end FROM hour_cell")) == [(NOW,)]

    told(tmp_path, story)
