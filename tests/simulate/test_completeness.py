"""A node and a hub compare their days over HTTP: what either lost comes back with one command, and balances stand."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from central_sync.api import app
from central_sync.reports import verify_exit
from edge_node.store.completeness import SealedDays
from edge_node.store.state import Mark
from edge_node.uplink import comparison
from gridmodel.fault import Fault
from gridmodel.identity import NodeId
from hosting.compute import InlineCompute
from hosting.process import Exit
from protocols.sync.completeness import ROOT, Compare, CompareReply
from protocols.sync.link import Link, LinkLost
from protocols.sync.messages import PUSH_BYTES_MAX
from protocols.sync.seal import sign_compare
from tests.central_sync.hub_rig import SIGNERS, A, B
from tests.simulate.parted_days import DAYS, FIRST, LAST, NOW, Parted, parted, until

Story = Callable[[Parted], Awaitable[None]]


def play(folder: Path, story: Story, link_over: Callable[[Link], Link] = lambda link: link) -> None:
    async def whole() -> None:
        async with parted(folder, link_over) as both:
            await story(both)

    asyncio.run(whole())


@pytest.mark.parametrize(("limit", "value"), [("STEPS_MAX", 10), ("RANGES_MAX", 4)])
def test_a_hub_that_never_comes_to_an_end_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    monkeypatch.setattr(comparison, limit, value)
    asked = 0

    async def endless(kind: str, body: bytes) -> bytes:
        nonlocal asked
        assert kind == "compare"
        asked += 1
        parents = Compare.from_bytes(body).parents
        under = [f"{one}{'' if len(one) > 10 else '/'}{n:x}" for one in parents if len(one) >= 10 for n in range(9)]
        days = [f"{one}-{n:02}" for one in parents if len(one) == 7 for n in range(3, 6)]
        differ = dict.fromkeys([*(["2026-05"] if ROOT in parents else days + under)][:900], 999)
        return CompareReply(hub_incarnation="hub-1", hub_time=NOW, kept_from="", differ=differ).to_bytes()

    async def story(both: Parted) -> None:
        await both.store.state.put(Mark.COMPARE_WANTED, json.dumps({"id": "asked", "first": FIRST, "last": LAST}))
        for _ in range(50):
            await both.room.step(endless)
            if (await both.compared())["state"] == "differs":
                break
        assert (await both.compared())["state"] == "differs"
        assert asked == {"STEPS_MAX": 11, "RANGES_MAX": 3}[limit]

    play(tmp_path, story)


@pytest.mark.parametrize(
    ("state", "differences", "code"),
    [
        ("equal", [], Exit.OK),
        ("equal", ["2026-05-04: hours"], Exit.FAILED),
        ("differs", [], Exit.FAILED),
        ("healing", [], Exit.PARTLY),
        ("no_answer", [], Exit.LINK_DOWN),
        ("never_compared", [], Exit.LINK_DOWN),
    ],
)
def test_what_was_found_is_told_to_scripts(state: str, differences: list[str], code: Exit) -> None:
    assert verify_exit({"state": state, "differences": differences}) is code


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


def test_an_office_brings_back_what_the_hub_lost_with_one_command(tmp_path: Path) -> None:
    async def story(both: Parted) -> None:
        await both.at_hub("DELETE FROM chunk WHERE day = '2026-05-04'")
        with pytest.raises(Fault, match="TQ-CM-10"):
            await both.uplink.compare(LAST, FIRST)
        with pytest.raises(Fault, match="TQ-PD-"):
            await both.uplink.compare("yesterday", LAST)
        request = await both.uplink.compare(FIRST, LAST)
        with pytest.raises(Fault, match="TQ-CM-20"):
            await both.uplink.compare(FIRST, LAST)

        async def done() -> bool:
            told = await both.compared()
            return (told["request"], told["state"]) == (request, "equal")

        await until(done, "the days are equal")
        assert len(await both.at_hub("SELECT 1 FROM chunk")) == len(DAYS)

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


def test_a_hub_of_the_version_before_is_told_and_the_link_stays_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "REQUEST_BYTES_MAX", {"hello": 8_192, "push": PUSH_BYTES_MAX, "pull": 8_192})

    async def story(both: Parted) -> None:
        assert (await both.compared())["state"] == "unsupported"
        assert both.uplink.view().up
        assert (await both.verify())["state"] == "never_compared"

    play(tmp_path, story)


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


def test_a_link_lost_in_the_middle_begins_the_comparison_anew(tmp_path: Path) -> None:
    class Torn:
        """Loses every third comparing exchange, the reply after the hub has acted."""

        def __init__(self, link: Link) -> None:
            self._link = link
            self._count = 0

        async def exchange(self, kind: str, body: bytes) -> bytes:
            reply = await self._link.exchange(kind, body)
            self._count += kind == "compare"
            if kind == "compare" and self._count in {2, 4, 7}:
                raise LinkLost(52, "the connection broke off", "wait")
            return reply

        async def close(self) -> None:
            await self._link.close()

    async def story(both: Parted) -> None:
        before = await both.energy()
        await both.at_hub("DELETE FROM chunk WHERE day = '2026-05-04'")
        await both.at_hub("DELETE FROM place_day WHERE day = '2026-05-04'")
        told = await both.verify()
        assert told["ok"], told
        assert await both.energy() == before

    play(tmp_path, story, Torn)


def test_both_sides_losing_different_days_end_with_both(tmp_path: Path) -> None:
    async def story(both: Parted) -> None:
        before = await both.energy()
        await both.at_hub("DELETE FROM chunk WHERE day = '2026-05-04'")
        await both.in_segment("DELETE FROM chunk WHERE day = '2026-05-05'")
        told = await both.verify()
        assert told["ok"], told
        assert await both.energy() == before
        assert len(await both.in_segment("SELECT 1 FROM chunk")) == len(DAYS)
        assert len(await both.at_hub("SELECT 1 FROM chunk")) == len(DAYS)

    play(tmp_path, story)


def test_a_chunk_on_its_way_is_not_offered_twice(tmp_path: Path) -> None:
    async def story(both: Parted) -> None:
        days = SealedDays(both.store.control, both.store.readings.segments, A, InlineCompute())
        held = await days.held(FIRST, LAST)
        assert (len(held.leaves), held.under_way, held.damaged) == (len(DAYS), 0, 0)
        assert await days.offer_again(held.leaves, NOW) == len(DAYS)
        assert await days.offer_again(held.leaves, NOW) == 0
        again = await days.held(FIRST, LAST)
        assert (again.leaves, again.under_way) == ((), len(DAYS))

    play(tmp_path, story)


def test_bytes_that_are_not_the_chunk_asked_for_are_not_taken_back(tmp_path: Path) -> None:
    async def story(both: Parted) -> None:
        days = SealedDays(both.store.control, both.store.readings.segments, A, InlineCompute())
        (payload,) = (await both.in_segment("SELECT payload FROM chunk WHERE day = ?", DAYS[0]))[0]
        await both.in_segment("DELETE FROM chunk")
        digest = sha256(payload).digest()
        assert not await days.take_back(DAYS[0], digest, payload + b"x")
        assert not await days.take_back(DAYS[0], sha256(b"x").digest(), b"x")
        assert not await days.take_back(DAYS[1], digest, payload), "of another day"
        other = SealedDays(both.store.control, both.store.readings.segments, B, InlineCompute())
        assert not await other.take_back(DAYS[0], digest, payload), "of another node"
        assert not await both.in_segment("SELECT 1 FROM chunk")
        assert await days.take_back(DAYS[0], digest, payload)
        assert await days.has(DAYS[0], digest)

    play(tmp_path, story)


def test_a_strangers_comparison_is_refused_and_gives_nothing_back(tmp_path: Path) -> None:
    async def story(both: Parted) -> None:
        (payload,) = (await both.in_segment("SELECT payload FROM chunk WHERE day = ?", DAYS[0]))[0]
        asked = Compare(
            node=A, request="node", first=FIRST, last=LAST, kept_from="", seed=bytes(16), signed_at=NOW,
            nonce=bytes(16), key_id=SIGNERS[A].key_id, fetch=sha256(payload).digest(),
        )  # fmt: skip
        with pytest.raises(Fault, match="TQ-HB-22"):
            await both.hub.handle("compare", sign_compare(asked, SIGNERS[B]).to_bytes())
        with pytest.raises(Fault, match="TQ-HB-21"):
            await both.hub.handle("compare", sign_compare(replace(asked, node=NodeId("x")), SIGNERS[A]).to_bytes())
        foreign = sign_compare(replace(asked, node=B), SIGNERS[B])
        assert not CompareReply.from_bytes(await both.hub.handle("compare", foreign.to_bytes())).chunk
        own = CompareReply.from_bytes(await both.hub.handle("compare", sign_compare(asked, SIGNERS[A]).to_bytes()))
        assert own.chunk == payload

    play(tmp_path, story)
