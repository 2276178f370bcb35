"""The hub on a real socket: sync through HttpLink, JSON, health, refusals; the command line beside it."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from central_sync.api import app
from central_sync.api.app import EXCHANGES_AT_ONCE_MAX, hub_app, serve_hub
from central_sync.config import HubConfig
from central_sync.door_verbs import MISTAKES_SUFFIX
from central_sync.hub import Hub
from central_sync.serving import Serving, serve
from gridmodel.clock import ClockTrust
from gridmodel.fault import Fault
from gridmodel.registry_document import registry_to_document
from hosting.clocks import ScaledClock, SystemEntropy
from hosting.config import load_toml
from hosting.door import call_door
from hosting.web import web_application
from protocols.authority.signatures import key_to_text
from protocols.sync.lanes import DownLane, Lane
from protocols.sync.link import CONTENT_TYPE, HttpLink, LinkLost
from protocols.sync.messages import Push, PushReply
from protocols.sync.pull import PullReply
from tests.central_sync.hub_rig import (
    DAY,
    DISTRICTS,
    END,
    SIGNERS,
    A,
    HandClock,
    SeededEntropy,
    Speaker,
    chunk_bytes,
    import_registry,
    open_hub,
    registry_of,
)


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[tuple[Hub, str]]:
    hub = await open_hub(folder, HandClock(END + 3_600))
    try:
        async with serve_hub(hub_app(hub, SeededEntropy()), "127.0.0.1:0") as address:
            yield hub, address
    finally:
        await hub.close()


class OverHttp:
    """A `Speaker`'s hub whose `handle` goes over a link."""

    def __init__(self, hub: Hub, link: HttpLink) -> None:
        self.clock = hub.clock
        self._link = link

    async def handle(self, kind: str, body: bytes) -> bytes:
        return await self._link.exchange(kind, body)


def test_sync_over_http_is_the_same_as_in_memory(tmp_path: Path) -> None:
    async def story() -> None:
        async with served(tmp_path) as (hub, address):
            registry = registry_of(A)
            await import_registry(hub, registry)
            link = HttpLink(address)
            try:
                node = Speaker(OverHttp(hub, link), A)  # type: ignore[arg-type]
                assert (await node.hello()).hub_incarnation == hub.incarnation
                chunk = node.seal(Lane.INTERVAL, chunk_bytes(registry, Random(1)))
                assert [ack.outcome.value for ack in await node.push(chunk)] == ["applied"]
                reply = await node.pull({DownLane.REGISTRY: 0})
                assert isinstance(reply, PullReply)
                assert [item.kind for item in reply.items] == ["registry"]
                with pytest.raises(LinkLost, match=r"TQ-SY-20|TQ-SY-56") as lost:
                    await link.exchange("hello", b"\x80")
                assert lost.value.hope.value == "permanent"
            finally:
                await link.close()

    asyncio.run(story())


async def get(session: aiohttp.ClientSession, path: str, **options: Any) -> tuple[int, Any, Any]:
    async with session.get(path, **options) as reply:
        text = await reply.text()
        return reply.status, (json.loads(text) if text else None), reply.headers


def test_the_json_answers_and_refuses_by_name(tmp_path: Path) -> None:
    async def story() -> None:
        async with served(tmp_path) as (hub, address), aiohttp.ClientSession(address) as session:
            registry = registry_of(A)
            await import_registry(hub, registry)
            await Speaker(hub, A).send_chunk(chunk_bytes(registry, Random(1)))
            where = f"/api/v1/balances?level=district&period=day&at={DAY}"
            status, told, headers = await get(session, where)
            assert status == 200
            assert told["areas"][0]["id"] == DISTRICTS[A]
            assert headers["Content-Security-Policy"]
            status, told, _ = await get(session, where, headers={"If-None-Match": headers["ETag"]})
            assert (status, told) == (304, None)
            for path, key in {
                "/api/v1/status": "incarnation",
                "/api/v1/nodes": "nodes",
                f"/api/v1/nodes/{A}": "link_history",
                f"/api/v1/losses?level=feeder&period=month&at={DAY[:7]}": "areas",
                "/api/v1/alarms": "alarms",
                "/api/v1/relay-operations": "relay_operations",
                "/api/v1/quarantine?limit=5": "batches",
                "/api/v1/mandates": "mandates",
                "/api/v1/consumers?limit=2": "consumers",
                "/api/v1/consumers/up-t-a0-0": "operations",
                "/api/v1/accounts/acc-up-t-a0-0/ledger": "credit_tiyin",
                "/healthz": "status",
            }.items():
                status, told, _ = await get(session, path)
                assert (status, key in told) == (200, True), path
            for path, (wanted, code) in {
                "/api/v1/balances?level=village&period=day&at=2026-05-04": (400, "TQ-HB-10"),
                "/api/v1/balances?level=district&period=day": (400, "TQ-HB-70"),
                "/api/v1/balances?level=district&period=day&at=4.5.26": (400, "TQ-PD-02"),
                "/api/v1/alarms?limit=0": (400, "TQ-HB-70"),
                "/api/v1/nodes/nobody": (404, "TQ-HB-50"),
                "/api/v1/consumers/up-x": (404, "TQ-HB-52"),
                "/api/v1/consumers/%27%20OR%201": (400, "TQ-ID-01"),
                "/api/v1/accounts/acc-x/ledger": (404, "TQ-HB-51"),
                "/nothing": (404, "TQ-WB-04"),
            }.items():
                status, told, _ = await get(session, path)
                assert (status, told["code"]) == (wanted, code), path
            assert (await get(session, "/readyz"))[0] == 503, "its background work does not run here"

    asyncio.run(story())


def test_pages_of_consumers_reach_everyone_once(tmp_path: Path) -> None:
    async def story() -> None:
        async with served(tmp_path) as (hub, _):
            await import_registry(hub, registry_of(A))
            seen: list[str] = []
            after: str | None = ""
            while after is not None:
                page = await hub.consumers.page(A, after, 3)
                seen += [one["usage_point"] for one in page["consumers"]]
                after = page["next"]
            assert seen == ["up-t-a0-0", "up-t-a0-1", "up-t-a1-0", "up-t-a1-1"]

    asyncio.run(story())


def test_exchanges_are_bounded(tmp_path: Path) -> None:
    async def story() -> None:
        async with served(tmp_path) as (hub, address), aiohttp.ClientSession(address) as session:
            headers = {"Content-Type": CONTENT_TYPE}

            async def post(path: str, body: bytes, **more: Any) -> int:
                async with session.post(path, data=body, headers=headers | more) as reply:
                    return reply.status

            assert await post("/sync/v1/hello", b"x" * 9_000) == 413
            assert await post("/sync/v1/other", b"") == 404
            assert await post("/sync/v1/hello", b"", **{"Content-Type": "text/plain"}) == 415
            assert await post("/sync/v1/push", Push(node=A, batches=()).to_bytes()) == 200
            assert await post("/sync/v1/push", b"", Host="evil.example") == 421
            held = asyncio.Event()

            async def slow(kind: str, body: bytes) -> bytes:
                await held.wait()
                return PushReply(hub_incarnation="h", hub_time=1, acks=()).to_bytes()

            hub.link.handle = slow  # type: ignore[method-assign]
            connector = aiohttp.TCPConnector(limit=0)
            async with aiohttp.ClientSession(address, connector=connector) as many:
                calls = [
                    asyncio.ensure_future(many.post("/sync/v1/push", data=b"", headers=headers))
                    for _ in range(EXCHANGES_AT_ONCE_MAX + 8)
                ]
                done, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
                refused = next(iter(done)).result()
                assert (refused.status, refused.headers["Retry-After"]) == (503, "15")
                held.set()
                statuses = [(await call).status for call in calls]
                assert statuses.count(200) == EXCHANGES_AT_ONCE_MAX

    asyncio.run(story())


CONFIG = f"""
data_dir = "data"
demo = true
listen = "127.0.0.1:0"
[[nodes]]
id = "{A}"
public_key = "{key_to_text(SIGNERS[A].public)}"
districts = ["{DISTRICTS[A]}"]
"""


def command(*arguments: str) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(  # noqa: S603 — our own program
        [sys.executable, "-m", "central_sync", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"COLUMNS": "200"},
        check=False,
    )
    return done.returncode, json.loads(done.stdout) if done.stdout.startswith("{") else {"stderr": done.stderr}


def text_of(path: Path) -> str:
    return path.read_text("utf-8")


@pytest.mark.slow
def test_the_command_line_beside_a_running_hub(tmp_path: Path) -> None:
    file = tmp_path / "hub.toml"
    file.write_text(CONFIG, "utf-8")
    registry = tmp_path / "registry.json"
    registry.write_text(json.dumps(registry_to_document(registry_of(A))), "utf-8")
    ledger = tmp_path / "bank.csv"
    ledger.write_text(
        "entry_id,account,kind,amount,at\ne-1,acc-up-t-a0-0,payment,5,2026-05-04\ne-2,x,payment,5,2026-05-04\n", "utf-8"
    )
    base = ("--config", str(file), "--json")

    async def story() -> None:
        stop, address = asyncio.Event(), asyncio.get_running_loop().create_future()

        def ready(serving: Serving) -> None:
            address.set_result(serving.address)

        config = load_toml(file, HubConfig, {})
        clock = ScaledClock(END, 0.0, 1.0, wall=lambda: 0.0, monotonic=lambda: 0.0)
        assert clock.trust() is ClockTrust.TRUSTED
        running = asyncio.create_task(serve(config, stop, clock=clock, entropy=SystemEntropy(), ready=ready))
        await address
        try:
            code, told = await asyncio.to_thread(command, "import", "registry", str(registry), *base)
            assert (code, told["usage_points"], told["done"]) == (0, 4, True)
            code, told = await asyncio.to_thread(command, "import", "ledger", str(ledger), "--channel", "bank", *base)
            assert (code, told["done"], told["first_mistakes"][0]["code"]) == (1, False, "TQ-IM-11")
            assert "TQ-IM-11" in text_of(Path(str(ledger) + MISTAKES_SUFFIX))
            code, told = await asyncio.to_thread(
                command, "import", "ledger", str(ledger), "--channel", "bank", "--skip-bad", *base
            )
            assert (code, told["applied"]) == (3, 1)
            code, told = await asyncio.to_thread(command, "nodes", *base)
            assert (code, told["nodes"][0]["state"]) == (0, "never_seen")
            code, told = await asyncio.to_thread(
                command, "balance", "--level", "republic", "--period", "day", "--at", DAY, *base
            )
            assert (code, told["areas"][0]["id"]) == (0, "17")
            code, told = await asyncio.to_thread(command, "verify", *base)
            assert (code, told["differences"]) == (0, [])
            assert (await asyncio.to_thread(command, "status", *base))[1]["tasks"]["audit"] == "running"
            with pytest.raises(Fault, match="TQ-IN-01"):
                await serve(config, stop, clock=clock, entropy=SystemEntropy(), ready=ready)
            with pytest.raises(Fault, match="TQ-HB-61"):
                await call_door(config.door, "import-ledger", {"channel": "bank"})
            with pytest.raises(Fault, match="TQ-HB-62"):
                await call_door(config.door, "import-ledger", {"channel": "bank", "path": "/nowhere"})
        finally:
            stop.set()
            await running
        code, told = await asyncio.to_thread(command, "doctor", *base)
        assert {one["name"] for one in told["checks"]} >= {"disk", "database", "ledger", "nodes", "audit"}
        code, told = await asyncio.to_thread(command, "balance", "--level", "x", "--period", "day", "--at", DAY, *base)
        assert (code, told["error"]["code"]) == (2, "TQ-HB-10")
        code, told = await asyncio.to_thread(command, "import", "registry", str(registry), *base)
        assert (code, told["error"]["code"]) == (1, "TQ-DR-01")
        code, told = await asyncio.to_thread(command, "run", "--config", str(file), "--database", "postgresql://x")
        assert (code, "TQ-HB-01" in told["stderr"]) == (1, True)

    asyncio.run(story())


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (("data_dir", "data_dirr"), "TQ-CF-03"),
        (('"1703202"', '"17"'), "TQ-CF-05"),
        (("ed25519:", "rsa:"), "TQ-CF-05"),
        (("demo = true", "demo = "), "TQ-CF-02"),
        (('listen = "127.0.0.1:0"', 'listen = "nowhere"'), "TQ-CF-05"),
        (('[[nodes]]\nid = "node-a"', "[[nodes]]"), "TQ-CF-04"),
    ],
)
def test_a_wrong_configuration_is_told_by_key(tmp_path: Path, change: tuple[str, str], code: str) -> None:
    file = tmp_path / "hub.toml"
    file.write_text(CONFIG.replace(*change), "utf-8")
    with pytest.raises(Fault) as raised:
        load_toml(file, HubConfig, {})
    assert raised.value.code == code


def test_the_example_configuration_holds() -> None:
    example = Path(__file__).parents[2] / "configs" / "central-sync.example.toml"
    config = load_toml(example, HubConfig, {})
    assert len(config.keyring().keys()) == 3


PUSH_HEAD = f"POST /sync/v1/push HTTP/1.1\r\nHost: localhost\r\nContent-Type: {CONTENT_TYPE}\r\n".encode()


async def dripped(address: str, count: int) -> list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Connections whose first byte of a megabyte came, and no more."""
    host, port = address.removeprefix("http://").split(":")
    opened = [await asyncio.open_connection(host, int(port)) for _ in range(count)]
    for _, writer in opened:
        writer.write(PUSH_HEAD + b"Content-Length: 1000000\r\n\r\nx")
        await writer.drain()
    return opened


def test_strangers_that_drip_keep_no_node_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "BODY_S_MIN", 0.2)
    monkeypatch.setattr(app, "RATE_BYTES_S_MIN", 10_000_000)

    async def story() -> None:
        async with served(tmp_path) as (_, address), aiohttp.ClientSession(address) as session:
            slow = await dripped(address, EXCHANGES_AT_ONCE_MAX)
            body, headers = Push(node=A, batches=()).to_bytes(), {"Content-Type": CONTENT_TYPE}
            async with session.post("/sync/v1/push", data=body, headers=headers) as reply:
                assert reply.status == 200
            answers = [await asyncio.wait_for(reader.read(4_096), 10) for reader, _ in slow]
            assert {b"TQ-HB-73" in answer for answer in answers} == {True}
            for _, writer in slow:
                writer.close()

    asyncio.run(story())


def test_a_broken_body_is_no_failure_of_ours(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A line that breaks within a body is daily weather: no traceback, no 500."""

    async def story() -> None:
        async with served(tmp_path) as (_, address), aiohttp.ClientSession(address) as session:
            for _, writer in await dripped(address, 3):
                writer.close()
            headers = {"Content-Type": CONTENT_TYPE, "Content-Encoding": "gzip"}
            async with session.post("/sync/v1/push", data=b"no gzip", headers=headers) as reply:
                assert reply.status == 415

    asyncio.run(story())
    assert "request_failed" not in "".join(capfd.readouterr())


def test_bad_compression_is_told_by_every_face(tmp_path: Path) -> None:
    async def story() -> None:
        async def echo(request: web.Request) -> web.Response:
            return web.Response(body=await request.read())

        application = web_application((), SeededEntropy())
        application.router.add_post("/", echo)
        runner = web.AppRunner(application)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            where = f"http://127.0.0.1:{runner.addresses[0][1]}/"
            async with aiohttp.request("POST", where, data=b"no gzip", headers={"Content-Encoding": "gzip"}) as reply:
                assert (reply.status, (await reply.json())["code"]) == (400, "TQ-WB-07")
        finally:
            await runner.cleanup()

    asyncio.run(story())
