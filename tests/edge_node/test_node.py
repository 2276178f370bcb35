"""A node as its people meet it: verbs through a real local door, pages' JSON over HTTP, a store on a real disk."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from edge_node.console.app import console_app, serve_console
from edge_node.node import Node
from edge_node.store.state import Mark
from gridmodel.clock import ClockTrust
from hosting.clocks import SystemEntropy, clock_from_environment
from hosting.door import DoorFault, call_door, serve_door
from hosting.supervision import SupervisionFault, TaskCondition
from protocols.sync.lanes import Lane
from simulate.grid import RELAY_PROFILE
from tests.edge_node.offices import BORN, CASHIER_SECRET, CHIEF_SECRET, Office, built, office

WRONG = "guess"
Ask = Callable[..., Awaitable[dict[str, Any]]]


@dataclass
class Running:
    """A node at work."""

    office: Office
    node: Node
    ask: Ask
    url: str


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Running]:
    given = await office(folder)
    await given.fleet.start()
    try:
        async with (
            built(given) as node,
            serve_door(given.config.door, node.verbs),
            serve_console(console_app(node, given.config.console, SystemEntropy()), "127.0.0.1:0") as url,
        ):

            async def ask(verb: str, **body: Any) -> dict[str, Any]:
                return await call_door(given.config.door, verb, body)

            task = asyncio.create_task(node.run())
            await asyncio.sleep(0)
            try:
                yield Running(given, node, ask, url)
            finally:
                node.stop()
                await task
    finally:
        given.fleet.close()
        await asyncio.sleep(0)


async def refusal(asked: Awaitable[dict[str, Any]]) -> str:
    with pytest.raises(DoorFault) as caught:
        await asked
    return caught.value.code


def test_a_payment_is_taken_once_by_a_cashier_who_proves_it_and_waits_for_the_hub(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as at:
            account = at.office.registry.accounts[0].id
            body = {"account": account, "amount_tiyin": 1_250_050, "cashier": "p-cashier", "secret": CASHIER_SECRET}
            paid = await at.ask("pay", **body, request="req-1")
            assert (paid["credit_tiyin"], paid["repeated"]) == (1_250_050, False)
            again = await at.ask("pay", **body, request="req-1")
            assert (again["entry"], again["credit_tiyin"], again["repeated"]) == (paid["entry"], 1_250_050, True)
            other = await at.ask("pay", **body)
            assert other["credit_tiyin"] == 2_500_100
            assert (await at.node.store.outbox.backlog())[Lane.LEDGER].records == 2
            told = await at.ask("explain", usage_point=at.office.registry.accounts[0].usage_point)
            assert told["money"]["credit_tiyin"] == 2_500_100
        async with built(at.office) as node:
            assert (await node.store.outbox.backlog())[Lane.LEDGER].records == 2, "nothing is lost with the process"

    asyncio.run(story())


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"secret": "guess"}, "TQ-LG-01"),
        ({"cashier": "nobody"}, "TQ-LG-01"),
        ({"cashier": "p-chief", "secret": CHIEF_SECRET}, "TQ-LG-03"),
        ({"account": "acc-nowhere"}, "TQ-PY-01"),
        ({"account": None}, "TQ-ID-01"),
        ({"amount_tiyin": 0}, "TQ-PY-02"),
        ({"amount_tiyin": -5}, "TQ-PY-02"),
        ({"amount_tiyin": "100"}, "TQ-QT-02"),
        ({"amount_tiyin": 12.5}, "TQ-QT-02"),
        ({"amount_tiyin": True}, "TQ-QT-02"),
        ({"secret": 7}, "TQ-VB-01"),
        ({"secret": "x" * 500}, "TQ-VB-01"),
        ({"secret": "\ud800"}, "TQ-VB-01"),
        ({"request": "no spaces"}, "TQ-ID-01"),
        ({"extra": 1}, "TQ-VB-01"),
    ],
)
def test_a_payment_that_makes_no_sense_is_named_and_nothing_is_recorded(
    tmp_path: Path, change: dict[str, object], code: str
) -> None:
    async def story() -> None:
        async with running(tmp_path) as at:
            account = at.office.registry.accounts[0].id
            body = {"account": account, "amount_tiyin": 100, "cashier": "p-cashier", "secret": CASHIER_SECRET}
            assert await refusal(at.ask("pay", **(body | change))) == code
            assert (await at.node.store.outbox.backlog())[Lane.LEDGER].records == 0

    asyncio.run(story())


def test_guessing_a_secret_is_slow_and_closes_one_name_only(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as at:
            for _ in range(5):
                assert await refusal(at.ask("lift-stop", by="p-cashier", secret=WRONG)) == "TQ-LG-01"
            assert await refusal(at.ask("lift-stop", by="p-cashier", secret=CASHIER_SECRET)) == "TQ-LG-02"
            assert (await at.ask("lift-stop", by="p-chief", secret=CHIEF_SECRET))["lifted"] == 0

    asyncio.run(story())


def test_anybody_stops_all_cuts_and_only_a_chief_lifts_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as at:
            assert await refusal(at.ask("stop-cuts", by="p-cashier", secret=CASHIER_SECRET, why=" ")) == "TQ-VB-01"
            assert await refusal(at.ask("stop-cuts", by="p-cashier", secret=WRONG, why="fire")) == "TQ-LG-01"
            await at.ask("stop-cuts", by="p-cashier", secret=CASHIER_SECRET, why="fire in the village")
            status = await at.ask("status")
            assert [stop["why"] for stop in status["stops"]] == ["fire in the village"]
            assert "cuts_stopped" in {alarm["kind"] for alarm in status["alarms"]}
            assert await refusal(at.ask("lift-stop", by="p-cashier", secret=CASHIER_SECRET)) == "TQ-LG-03"
            assert (await at.ask("lift-stop", by="p-chief", secret=CHIEF_SECRET))["lifted"] == 1
            assert (await at.ask("status"))["stops"] == []

    asyncio.run(story())


def test_looking_verbs_tell_and_refuse_what_makes_no_sense(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as at:
            status = await at.ask("status")
            assert status["running"] is True
            assert status["registry_version"] == at.office.registry.version
            assert status["usage_points"] == len(at.office.registry.usage_points)
            assert status["reconciled"] is False
            report = await at.ask("doctor")
            assert {check["name"] for check in report["checks"]} >= {"disk", "database", "rows", "registry", "link"}
            assert await refusal(at.ask("explain", usage_point="up-nowhere")) == "TQ-SU-01"
            assert await refusal(at.ask("explain", usage_point=5)) == "TQ-ID-01"
            assert (await at.ask("preview"))["rules_missing"]
            assert await refusal(at.ask("preview", limit=0)) == "TQ-VB-01"
            assert await refusal(at.ask("status", verbose=True)) == "TQ-VB-01"
            assert await refusal(at.ask("dance")) == "TQ-DR-03"

    asyncio.run(story())


def test_every_meter_is_read_and_every_relay_seen(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as at:
            registry = at.office.registry
            with_relay = {meter.id for meter in registry.meters if meter.profile == RELAY_PROFILE}
            homes = {one.point for one in registry.installations if one.meter in with_relay}
            async with asyncio.timeout(30):
                while (await at.ask("status"))["relays"].get("connected", 0) < len(homes):
                    await at.office.clock.sleep(6)
            status = await at.ask("status")
            assert (status["newest_reading_end"], status["meters_silent"]) == (BORN, 0)
            assert {task["condition"] for task in status["tasks"]} == {"running"}

    asyncio.run(story())


def test_the_console_answers_with_the_link_lost(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as at, aiohttp.ClientSession(at.url) as browser:
            ids = sorted(point.id for point in at.office.registry.usage_points)

            async def get(path: str) -> tuple[int, Any]:
                async with browser.get(path) as reply:
                    return reply.status, await reply.json(content_type=None)

            assert await get("/healthz") == (200, {"status": "ok"})
            assert (await get("/readyz"))[0] == 200
            assert (await get("/api/v1/status"))[1]["node"] == at.office.config.node
            seen: list[str] = []
            after: str | None = ""
            while after is not None:
                page = (await get(f"/api/v1/points?limit=3&after={after}"))[1]
                seen += [point["usage_point"] for point in page["points"]]
                after = page["next"]
            assert seen == ids
            assert (await get(f"/api/v1/points/{ids[0]}"))[1]["usage_point"] == ids[0]
            for path, code in (
                ("/api/v1/points?state=green", "TQ-CN-03"),
                ("/api/v1/points?limit=100000", "TQ-CN-01"),
                ("/api/v1/points?limit=-1", "TQ-CN-01"),
                ("/api/v1/points/up-nowhere", "TQ-SU-01"),
                ("/nowhere", "TQ-WB-04"),
            ):
                status, problem = await get(path)
                assert status >= 400
                assert problem["code"] == code
                assert problem["hint"]

    asyncio.run(story())


def test_a_room_that_cannot_be_kept_alive_ends_the_node_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        given = await office(tmp_path)
        async with built(given) as node:
            failed = asyncio.Event()

            async def broken() -> None:
                failed.set()
                raise OSError("the disk is gone")

            monkeypatch.setattr(type(node.rooms), "tasks", lambda _: (("metering", broken),))
            task = asyncio.create_task(node.run())
            await failed.wait()
            await asyncio.sleep(0)
            assert [task.condition for task in node.tasks()] == [TaskCondition.PAUSED]
            assert node.ready() == (False, "metering does not run")
            report = await node.doctor()
            assert {check["name"]: check["health"] for check in report["checks"]}["process"] == "fail"
            task.cancel()
            with suppress(asyncio.CancelledError, SupervisionFault):
                await task

    asyncio.run(story())


def test_the_present_is_never_before_what_an_earlier_run_was_certain_of(tmp_path: Path) -> None:
    async def story() -> None:
        given = await office(tmp_path)
        async with built(given) as node:
            await node.rooms.status.tick(given.clock.now())
            await node.rooms.status.tick(given.clock.now() + 1)
            assert (await node.store.outbox.backlog())[Lane.CONTROL].records == 1, "a status supersedes the one before"
        later = given.clock.now() + 3600
        async with built(given) as node:
            await node.store.state.put(Mark.CLOCK_FLOOR, str(later))
        async with built(given):
            assert given.clock.bounds().earliest >= later
            assert given.clock.trust() is ClockTrust.DOUBTFUL

    asyncio.run(story())


def test_a_restart_alone_clears_no_doubt_of_the_clock(tmp_path: Path) -> None:
    async def story() -> None:
        given = await office(tmp_path)
        async with built(given) as node:
            assert given.clock.trust() is ClockTrust.TRUSTED
            await node.store.state.put(Mark.CLOCK_DOUBTED, "1")
            await node.store.state.put(Mark.CLOCK_ANCHOR, '{"boot": "before", "steady_s": 1.0, "at": 1.0}')
        given = replace(given, clock=clock_from_environment(given.environ))
        async with built(given):
            assert given.clock.trust() is ClockTrust.DOUBTFUL

    asyncio.run(story())


def test_a_number_changed_in_the_file_is_found(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as at:
            account = at.office.registry.accounts[0].id
            body = {"account": account, "amount_tiyin": 100, "cashier": "p-cashier", "secret": CASHIER_SECRET}
            await at.ask("pay", **body)
            flip = "UPDATE ledger_entry SET amount_tiyin = 100000"
            await at.node.store.control.write(lambda conn: conn.execute(flip))
            report = await at.ask("doctor")
            rows = next(check for check in report["checks"] if check["name"] == "rows")
            assert rows["health"] == "fail"
            assert "not what was written" in rows["what"]
            assert report["ok"] is False

    asyncio.run(story())
