import asyncio
import itertools
import sqlite3
from pathlib import Path

import pytest

from hosting.database import Connection, Database
from hosting.database_faults import DatabaseFault
from hosting.supervision import Supervisor
from simulate.clock import io_clock, stream
from simulate.crash import SimulatedCrash
from simulate.disk import SimDisk, committed_rows
from simulate.loop import VirtualLoop, run_virtual

STEPS = ("CREATE TABLE fact (id TEXT PRIMARY KEY) STRICT;",)


class Aligned:
    """Crashes at one chosen commit, before or after it."""

    def __init__(self, at: str, number: int) -> None:
        self.at, self.left = at, number
        self.seen: list[str] = []

    def before_commit(self, name: str) -> None:
        self._meet("before", name)

    def after_commit(self, name: str) -> None:
        self._meet("after", name)

    def _meet(self, side: str, name: str) -> None:
        self.seen.append(f"{side} {name}")
        if side == self.at:
            self.left -= 1
            if self.left == 0:
                raise SimulatedCrash(name, f"{side} a commit")


async def put(database: Database, name: str) -> None:
    async def verb(connection: Connection) -> None:
        await connection.execute("INSERT INTO fact VALUES (?)", (name,))

    await database.write(verb)


@pytest.mark.parametrize(("side", "kept"), [("before", ["a"]), ("after", ["a", "b"])])
def test_a_crash_at_a_commit_keeps_exactly_what_is_durable(tmp_path: Path, side: str, kept: list[str]) -> None:
    path = tmp_path / "n.db"

    async def main() -> None:
        hooks = Aligned(side, 3)  # the first commit is the schema's
        disk = SimDisk(stream(1, "disk"), hooks)
        database = await disk(path, "n-1/control", STEPS)
        await put(database, "a")
        with pytest.raises(SimulatedCrash, match=f"n-1/control crashed {side} a commit"):
            await put(database, "b")
        with pytest.raises(SimulatedCrash):
            await put(database, "c")
        with pytest.raises(SimulatedCrash):
            await database.read(lambda connection: connection.fetch_all("SELECT id FROM fact"))
        again = await SimDisk(stream(1, "disk"))(path, "n-1/control", STEPS)
        rows = await again.read(lambda connection: connection.fetch_all("SELECT id FROM fact ORDER BY id"))
        assert [row[0] for row in rows] == kept
        await again.close()

    run_virtual(main())


def test_a_node_dies_whole_in_the_middle_of_a_verb(tmp_path: Path) -> None:
    async def main() -> None:
        disk = SimDisk(stream(1, "disk"))
        control = await disk(tmp_path / "control.db", "control", STEPS)
        readings = await disk(tmp_path / "readings.db", "readings", STEPS)
        inside, go = asyncio.Event(), asyncio.Event()

        async def verb(connection: Connection) -> None:
            await connection.execute("INSERT INTO fact VALUES ('a')")
            inside.set()
            await go.wait()

        task = asyncio.ensure_future(control.write(verb))
        await inside.wait()
        disk.crash(SimulatedCrash("n-1", "at random"))
        go.set()
        with pytest.raises(SimulatedCrash):
            await task
        with pytest.raises(SimulatedCrash):
            await put(readings, "b")

    run_virtual(main())
    assert committed_rows(tmp_path / "control.db", "SELECT * FROM fact") == []


def order_under(seed: int, folder: Path) -> list[str]:
    """Four tasks on two databases: in which order do they end?"""
    ended: list[str] = []

    async def main() -> None:
        disk = SimDisk(stream(seed, "disk"))
        databases = [await disk(folder / f"{seed}-{number}.db", str(number), STEPS) for number in range(2)]

        async def worker(number: int) -> None:
            for round_ in range(3):
                await put(databases[number % 2], f"{number}/{round_}")
                ended.append(f"{number}/{round_}")

        await asyncio.gather(*(worker(number) for number in range(4)))
        for database in databases:
            await database.close()

    run_virtual(main())
    return ended


def test_a_seed_gives_one_order_and_seeds_give_many(tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    orders = {tuple(order_under(seed, tmp_path)) for seed in range(8)}
    assert len(orders) >= 4
    assert orders == {tuple(order_under(seed, tmp_path / "again")) for seed in range(8)}


def test_strangers_see_committed_rows_only(tmp_path: Path) -> None:
    path = tmp_path / "n.db"

    async def main() -> None:
        disk = SimDisk(stream(1, "disk"))
        database = await disk(path, "n", STEPS)

        async def verb(connection: Connection) -> None:
            await connection.execute("INSERT INTO fact VALUES ('a')")
            assert committed_rows(path, "SELECT id FROM fact") == []

        await database.write(verb)
        assert committed_rows(path, "SELECT id FROM fact WHERE id = ?", ("a",)) == [("a",)]
        await database.close()

    run_virtual(main())
    assert committed_rows(path, "SELECT id FROM fact") == [("a",)]


def test_trouble_at_opening_is_named_as_in_production(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database at all, only a letter to the next engineer", encoding="utf-8")

    async def main() -> None:
        disk = SimDisk(stream(1, "disk"))
        with pytest.raises(DatabaseFault, match="TQ-DB-01"):
            await disk(tmp_path / "none" / "n.db", "n", STEPS)
        with pytest.raises(DatabaseFault, match="TQ-DB-03"):
            await disk(tmp_path / "text.db", "n", STEPS)
        other = sqlite3.connect(tmp_path / "held.db", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(DatabaseFault, match="TQ-DB-04"):
            await disk(tmp_path / "held.db", "n", STEPS)
        other.close()

    run_virtual(main())


def test_a_crash_ends_a_supervised_node_at_once_and_its_restart_finds_what_was_durable(tmp_path: Path) -> None:
    """A node in small: two rooms over one database, killed at its tenth commit, started again."""
    path = tmp_path / "control.db"

    async def life(hooks: Aligned) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        database = await SimDisk(stream(3, "disk"), hooks)(path, "n-1/control", STEPS)

        async def room(name: str) -> None:
            (count,) = (await database.read(lambda connection: connection.fetch_all("SELECT count(*) FROM fact")))[0]
            for number in itertools.count(count):
                await put(database, f"{name}/{hooks.at}/{number}")
                await asyncio.sleep(900)

        async with Supervisor(io_clock(loop)) as group:
            group.start("metering", lambda: room("metering"))
            group.start("money", lambda: room("money"))
            await asyncio.Event().wait()

    async def main() -> None:
        for side in ("before", "after"):
            with pytest.raises(SimulatedCrash, match=side):
                await life(Aligned(side, 10))

    run_virtual(main())
    # Of the first life nine commits were durable, one of them the schema's; of the second all ten were facts.
    assert committed_rows(path, "SELECT count(*) FROM fact") == [(8 + 10,)]
