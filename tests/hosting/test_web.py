import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from gridmodel.fault import Fault
from hosting.clocks import SystemEntropy, SystemIoClock
from hosting.log import silence_log
from hosting.web import SECURITY_HEADERS, WebFault, web_application
from hosting.web_events import QUEUE_EVENTS_MAX, EventFan


@contextlib.asynccontextmanager
async def served(application: web.Application) -> AsyncIterator[tuple[str, aiohttp.ClientSession]]:
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        async with aiohttp.ClientSession() as session:
            yield f"http://127.0.0.1:{port}", session
    finally:
        await runner.cleanup()


def application() -> web.Application:
    async def page(_: web.Request) -> web.Response:
        return web.Response(text="salom")

    async def refuse(_: web.Request) -> web.Response:
        raise Fault("TQ-XX-01", "no such account", "check the number")

    async def conflict(_: web.Request) -> web.Response:
        raise WebFault("TQ-XX-02", "two contents under one id", "tell the office", 409)

    async def broken(_: web.Request) -> web.Response:
        raise ZeroDivisionError("the secret reason")

    async def echo(request: web.Request) -> web.Response:
        return web.json_response({"size": len(await request.read())})

    async def away(_: web.Request) -> web.Response:
        raise web.HTTPSeeOther("/page")

    made = web_application(["hub.example"], SystemEntropy(), body_size_bytes_max=1000)
    made.router.add_get("/page", page)
    made.router.add_get("/refuse", refuse)
    made.router.add_get("/conflict", conflict)
    made.router.add_get("/broken", broken)
    made.router.add_get("/away", away)
    made.router.add_post("/echo", echo)
    return made


def test_every_answer_carries_the_security_headers() -> None:
    async def whole() -> None:
        async with served(application()) as (base, session):
            for path in ("/page", "/refuse", "/nowhere"):
                async with session.get(base + path) as reply:
                    assert {name: reply.headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS
                    assert reply.headers["Cache-Control"] == "no-store"
            async with session.get(base + "/away", allow_redirects=False) as reply:
                assert (reply.status, reply.headers["Location"]) == (303, "/page")

    asyncio.run(whole())


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/refuse", 400, "TQ-XX-01"),
        ("GET", "/conflict", 409, "TQ-XX-02"),
        ("GET", "/nowhere", 404, "TQ-WB-04"),
        ("PUT", "/page", 405, "TQ-WB-06"),
        ("POST", "/echo", 413, "TQ-WB-03"),
    ],
)
def test_errors_are_problem_details_with_a_code(method: str, path: str, status: int, code: str) -> None:
    async def whole() -> None:
        async with (
            served(application()) as (base, session),
            session.request(method, base + path, data=b"x" * 2000 if path == "/echo" else None) as reply,
        ):
            assert reply.status == status
            assert reply.content_type == "application/problem+json"
            body = await reply.json()
            assert body["code"] == code
            assert body["status"] == status
            assert body["instance"] == path
            assert body["title"]
            assert body["hint"]
            if status == 405:
                assert "GET" in reply.headers["Allow"]

    asyncio.run(whole())


def test_an_unknown_error_gives_a_trace_and_no_stack() -> None:
    silence_log()

    async def whole() -> None:
        async with served(application()) as (base, session), session.get(base + "/broken") as reply:
            text = await reply.text()
            assert reply.status == 500
            assert json.loads(text)["code"] == "TQ-WB-05"
            assert json.loads(text)["trace"] in json.loads(text)["hint"]
            assert "secret" not in text
            assert "Zero" not in text

    asyncio.run(whole())


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        (None, None, 200),
        (None, "http://localhost:99", 200),
        ("hub.example:8080", "https://hub.example", 200),
        ("[::1]:8080", None, 200),
        ("evil.example", None, 421),
        (None, "https://evil.example", 403),
        (None, "null", 403),
        (None, "http://[broken", 403),
    ],
)
def test_strange_hosts_and_other_sites_writes_are_refused(host: str | None, origin: str | None, status: int) -> None:
    headers = {name: value for name, value in (("Host", host), ("Origin", origin)) if value is not None}

    async def whole() -> None:
        async with (
            served(application()) as (base, session),
            session.post(base + "/echo", data=b"x", headers=headers) as reply,
        ):
            assert reply.status == status

    asyncio.run(whole())


class HurriedClock(SystemIoClock):
    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / 1000)


def live(fan: EventFan) -> web.Application:
    async def events(request: web.Request) -> web.StreamResponse:
        return await fan.respond(request, [("state", {"nodes": 2})])

    made = web_application([], SystemEntropy())
    made.router.add_get("/events", events)
    return made


async def line_with(reply: aiohttp.ClientResponse, wanted: bytes) -> bytes:
    while line := await reply.content.readline():
        if wanted in line:
            return line
    raise AssertionError(f"{wanted!r} never came")


def test_live_events_open_then_flow_then_end() -> None:
    async def whole() -> None:
        fan = EventFan(HurriedClock())
        async with served(live(fan)) as (base, session):
            async with session.get(base + "/events") as reply:
                assert reply.headers["Content-Type"] == "text/event-stream"
                assert reply.headers["Content-Security-Policy"]
                assert await line_with(reply, b"data") == b'data: {"nodes": 2}\n'
                await line_with(reply, b": alive")
                fan.publish("meter", {"word": "soʻm"})
                assert await line_with(reply, b"event") == b"event: meter\n"
                assert "soʻm" in (await reply.content.readline()).decode()
                assert len(fan) == 1
                fan.close()
                async with asyncio.timeout(5):
                    await reply.content.read()
            assert len(fan) == 0
            async with session.get(base + "/events") as reply:
                assert reply.status == 503

    asyncio.run(whole())


def test_a_slow_page_is_dropped_by_name_and_the_others_go_on() -> None:
    async def whole() -> None:
        dropped: list[str] = []
        fan = EventFan(SystemIoClock(), report=dropped.append)
        async with served(live(fan)) as (base, session):
            async with session.get(base + "/events") as slow, session.get(base + "/events") as quick:
                await line_with(slow, b"data")
                await line_with(quick, b"data")
                for number in range(200):
                    fan.publish("load", {"number": number, "text": "x" * 100_000})
                    await line_with(quick, f'"number": {number},'.encode())
                    if dropped:
                        break
                assert dropped == ["127.0.0.1 #1"]
                assert len(fan) == 1
                with pytest.raises(aiohttp.ClientError):
                    await slow.content.read()
            fan.close()

    assert QUEUE_EVENTS_MAX < 200
    asyncio.run(whole())
