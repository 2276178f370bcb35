"""A node and a hub compare their days over HTTP: what either lost comes back with one command, and balances stand."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from edge_node.store.state import Mark
from protocols.sync.link import Link, LinkLost
from tests.central_sync.hub_rig import A
from tests.simulate.parted_days import DAYS, Parted, parted

Story = Callable[[Parted], Awaitable[None]]


def play(folder: Path, story: Story, link_over: Callable[[Link], Link] = lambda link: link) -> None:
    async def whole() -> None:
        async with parted(folder, link_over) as both:
            await story(both)

    asyncio.run(whole())


def test_equal_days_take_one_small_exchange(tmp_path: Path) -> None:
    async def story(both: Parted) -> None:
        both.exchanged.clear()
        told = await both.verify(repair=False)
        assert told["ok"]
        assert told["state"] == "equal"
        compares = [(asked, answered) for kind, asked, answered in both.exchanged if kind == "compare"]
        assert len(compares) == 1
        assert sum(compares[0]) < 1_000
        assert (await both.compared())["state"] == "equal"

    play(tmp_path, story)


DELETIONS = {
    "a chunk": "DELETE FROM chunk WHERE day = '2026-05-04'",
    "hours of a place": "DELETE FROM place_day WHERE place = 't-a0' AND day = '2026-05-04'",
    "hours of a day": "DELETE FROM place_day WHERE day = '2026-05-04'",
    "a balance": "DELETE FROM balance_day WHERE level = 'district' AND day = '2026-05-04'",
    "a month": "DELETE FROM balance_month",
    "a chunk altered": (
        "UPDATE chunk SET content = CAST(substr(content, 1, 99) || 'x' AS BLOB) WHERE day < '2026-05-04'"
    ),
    "a chunk moved to another day": "UPDATE chunk SET day = '2026-05-05' WHERE day = '2026-05-03'",
    "hours altered": (
        "UPDATE place_day SET state = (SELECT state FROM place_day WHERE place = 't-a1' AND day = '2026-05-05')"
        " WHERE place = 't-a0' AND day = '2026-05-04'"
    ),
}


@pytest.mark.parametrize("what", DELETIONS)
def test_what_the_hub_lost_comes_back_with_one_command(tmp_path: Path, what: str) -> None:
    async def story(both: Parted) -> None:
        before = await both.energy()
        await both.at_hub(DELETIONS[what])
        told = await both.verify()
        assert told["ok"], told
        assert await both.energy() == before
        assert not (await both.hub.verify()).differences
        again = await both.verify()
        assert again["ok"]
        assert not again["restored"]

    play(tmp_path, story)


def test_a_whole_day_comes_back_with_all_its_rows(tmp_path: Path) -> None:
    async def story(both: Parted) -> None:
        before = await both.energy()
        for table in ("chunk", "place_day", "balance_day"):
            await both.at_hub(f"DELETE FROM {table} WHERE day = '2026-05-04'")
        told = await both.verify()
        assert told["ok"], told
        assert await both.energy() == before
        assert not (await both.hub.verify()).differences

    play(tmp_path, story)


def test_hours_and_chunk_gone_while_the_sums_above_stand_count_once(tmp_path: Path) -> None:
    async def story(both: Parted) -> None:
        before = await both.energy()
        for table in ("chunk", "place_day"):
            await both.at_hub(f"DELETE FROM {table} WHERE day = '2026-05-04'")
        told = await both.verify(repair=False)
        assert told["comparison"]["lacking"] == 0
        assert await both.energy() == before

    play(tmp_path, story)


def test_without_repair_a_difference_is_told_and_left(tmp_path: Path) -> None:
    async def story(both: Parted) -> None:
        await both.at_hub(DELETIONS["a balance"])
        told = await both.verify(repair=False)
        assert not told["ok"]
        assert told["differences"]
        assert not told["restored"]

    play(tmp_path, story)


@pytest.mark.parametrize("query", ["DELETE FROM chunk", "UPDATE chunk SET payload = X'00' WHERE day = '2026-05-04'"])
def test_what_the_node_lost_is_given_back(tmp_path: Path, query: str) -> None:
    async def story(both: Parted) -> None:
        payloads = "SELECT day, payload FROM chunk ORDER BY day"
        before = await both.in_segment(payloads)
        await both.in_segment(query)
        told = await both.verify()
        assert told["ok"], told
        assert await both.in_segment(payloads) == before
        compared = await both.compared()
        assert compared["given_back"] == (3 if query.startswith("DELETE") else 1)
        assert compared["state"] == "equal"

    play(tmp_path, story)


def test_what_either_side_let_go_by_rule_is_no_loss(tmp_path: Path) -> None:
    async def story(both: Parted) -> None:
        await both.store.state.put(Mark.CHUNKS_KEPT_FROM, DAYS[1])
        await both.in_segment("DELETE FROM chunk WHERE day = '2026-05-03'")
        told = await both.verify(repair=False)
        assert told["state"] == "equal"
        assert told["comparison"]["given_back"] == 0
        assert not await both.in_segment("SELECT 1 FROM chunk WHERE day = '2026-05-03'")
        await both.hub.store.write(lambda tx: tx.set_hub_value("chunks_kept_from", DAYS[2]))
        await both.at_hub("DELETE FROM chunk WHERE day < '2026-05-05'")
        told = await both.verify(repair=False)
        assert told["state"] == "equal"
        assert not await both.at_hub("SELECT 1 FROM chunk WHERE day < '2026-05-05'")
        assert (await both.compared())["retained_here"] == 1

    play(tmp_path, story)


def test_a_hub_of_the_version_before_is_told_and_the_link_stays_up(tmp_path: Path) -> None:
    class Old:
        def __init__(self, link: Link) -> None:
            self._link = link

        async def exchange(self, kind: str, body: bytes) -> bytes:
            return await self._link.exchange(kind if kind != "compare" else "pull", body)

        async def close(self) -> None:
            await self._link.close()

    class Unknown(Old):
        async def exchange(self, kind: str, body: bytes) -> bytes:
            if kind == "compare":
                raise LinkLost(56, "the hub refuses (HTTP 404)", "upgrade the hub", unknown_kind=True)
            return await self._link.exchange(kind, body)

    async def story(both: Parted) -> None:
        assert (await both.compared())["state"] == "unsupported"
        assert both.uplink.view().up
        assert (await both.verify())["state"] == "never_compared"

    play(tmp_path, story, Unknown)


def test_the_gap_list_names_a_reason_for_each_interval(tmp_path: Path) -> None:
    async def story(both: Parted) -> None:
        told = (await both.verify(repair=False))["gaps"]
        assert set(told["intervals"]) == {"estimated", "meter_unreachable"}
        listed = sum(row["intervals"] for row in told["listed"])
        assert listed == sum(told["intervals"].values())
        absent = await both.hub.verifying.coverage.gaps(A, "2026-05-01", "2026-05-08", both.hub.clock.now())
        assert absent["intervals"]["never_installed"] == 2
        assert absent["intervals"]["node_down"] == 1
        assert absent["intervals"]["not_closed"] >= 1

    play(tmp_path, story)
