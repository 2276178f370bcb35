"""The contract of `Link`, held by the HTTP link over real sockets and by the simulator's line in virtual time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, NoReturn, Protocol

import pytest
from aiohttp import web

from protocols.errors import Blame, Hope
from protocols.sync.link import CONTENT_TYPE, HttpLink, Link, LinkLost
from simulate.clock import stream
from simulate.faults import Faults
from simulate.loop import run_virtual
from simulate.network import LineState, SimLink
from simulate.scenario import Scenario
from simulate.trace import Trace

Answer = Callable[[str, bytes], Awaitable[bytes]]


class Line(Protocol):
    """A link and what stands behind it."""

    link: Link
    answer: Answer
    """What the hub says; may be changed."""

    async def cut(self) -> None:
        """From now on nobody is there."""
        ...

    async def refuse(self) -> None:
        """From now on the hub refuses for ever."""
        ...

    async def mute(self) -> None:
        """From now on the hub never answers."""
        ...


async def echo(kind: str, body: bytes) -> bytes:
    return kind.encode() + b":" + body


class HttpLine:
    def __init__(self, link: HttpLink, runner: web.AppRunner) -> None:
        self.link: Link = link
        self.answer: Answer = echo
        self._runner = runner

    async def cut(self) -> None:
        await self._runner.cleanup()

    async def refuse(self) -> None:
        async def refusing(_kind: str, _body: bytes) -> bytes:
            raise web.HTTPForbidden(text='{"code": "TQ-AU-20", "detail": "unknown node"}')

        self.answer = refusing

    async def mute(self) -> None:
        async def silent(_kind: str, _body: bytes) -> bytes:
            await asyncio.Event().wait()
            return b""

        self.answer = silent


@asynccontextmanager
async def http_line() -> AsyncIterator[Line]:
    async def handle(request: web.Request) -> web.Response:
        reply = await line.answer(request.match_info["kind"], await request.read())
        return web.Response(body=reply, content_type=CONTENT_TYPE)

    app = web.Application(client_max_size=2_000_000)
    app.router.add_post("/sync/v1/{kind}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    link = HttpLink(site_url(runner), connect_s_max=0.5, answer_s_max=0.3, rate_bytes_s_min=10_000_000)
    line = HttpLine(link, runner)
    try:
        yield line
    finally:
        await link.close()
        await runner.cleanup()


def site_url(runner: web.AppRunner) -> str:
    host, port = runner.addresses[0][:2]
    return f"http://{host}:{port}"


class SimLine:
    def __init__(self) -> None:
        self.answer: Answer = echo
        self._state = LineState()
        self.link: Link = SimLink(
            "node-1",
            self,
            self._state,
            faults=Faults(Scenario("quiet", "nothing goes wrong", at_event={}, in_time={}), 1),
            rng=stream(1, "line"),
            trace=Trace(lambda: 0.0),
            die=self._die,
            answered=lambda _kind: None,
        )

    @staticmethod
    def _die(what: str) -> NoReturn:
        raise AssertionError(what)

    async def serve(self, kind: str, body: bytes) -> bytes:
        return await self.answer(kind, body)

    async def cut(self) -> None:
        self._state.down += 1

    async def refuse(self) -> None:
        async def refusing(_kind: str, _body: bytes) -> bytes:
            raise LinkLost(56, "the hub refuses", "look it up", hope=Hope.PERMANENT)

        self.answer = refusing

    async def mute(self) -> None:
        self._state.requests_vanish += 1


@asynccontextmanager
async def sim_line() -> AsyncIterator[Line]:
    line = SimLine()
    yield line
    await line.link.close()


Setting = tuple[Callable[[], AbstractAsyncContextManager[Line]], Callable[[Coroutine[Any, Any, None]], None]]
SETTINGS: list[Setting] = [(http_line, asyncio.run), (sim_line, run_virtual)]
on_every_link = pytest.mark.parametrize("setting", SETTINGS, ids=["http", "simulated"])


@on_every_link
def test_a_reply_is_whole_and_that_of_its_exchange(setting: Setting) -> None:
    async def story() -> None:
        async with setting[0]() as line:
            for number in range(5):
                body = bytes([number]) * number * 200
                assert await line.link.exchange("pull", body) == b"pull:" + body
            assert await line.link.exchange("push", bytes(50_000)) == b"push:" + bytes(50_000)

    setting[1](story())


@on_every_link
def test_a_cut_line_is_lost_and_may_come_back(setting: Setting) -> None:
    async def story() -> None:
        async with setting[0]() as line:
            await line.link.exchange("hello", b"x")
            await line.cut()
            with pytest.raises(LinkLost) as caught:
                await line.link.exchange("hello", b"x")
            assert caught.value.code in {"TQ-SY-50", "TQ-SY-52"}
            assert (caught.value.hope, caught.value.blame) == (Hope.RETRY, Blame.REMOTE)

    setting[1](story())


@on_every_link
def test_silence_ends_by_itself(setting: Setting) -> None:
    async def story() -> None:
        async with setting[0]() as line:
            await line.mute()
            with pytest.raises(LinkLost) as caught:
                await line.link.exchange("hello", b"x")
            assert caught.value.code == "TQ-SY-51"
            assert caught.value.hope is Hope.RETRY

    setting[1](story())


@on_every_link
def test_a_late_reply_is_never_given_to_another_exchange(setting: Setting) -> None:
    async def story() -> None:
        async with setting[0]() as line:
            late = asyncio.Event()

            async def tardy(kind: str, body: bytes) -> bytes:
                if body == b"first":
                    await late.wait()
                return await echo(kind, body)

            line.answer = tardy
            first = asyncio.ensure_future(line.link.exchange("hello", b"first"))
            if setting[0] is http_line:
                with pytest.raises(LinkLost):
                    await first
            late.set()
            assert await line.link.exchange("hello", b"second") == b"hello:second"
            if not first.done():
                assert await first == b"hello:first"

    setting[1](story())


@on_every_link
def test_a_refusal_is_permanent(setting: Setting) -> None:
    async def story() -> None:
        async with setting[0]() as line:
            await line.refuse()
            with pytest.raises(LinkLost) as caught:
                await line.link.exchange("hello", b"x")
            assert caught.value.code == "TQ-SY-56"
            assert caught.value.hope is Hope.PERMANENT

    setting[1](story())


@on_every_link
def test_a_cancelled_exchange_leaves_the_link_usable(setting: Setting) -> None:
    async def story() -> None:
        async with setting[0]() as line:
            reached = asyncio.Event()

            async def waiting(kind: str, body: bytes) -> bytes:
                if body == b"first":
                    reached.set()
                    await asyncio.Event().wait()
                return await echo(kind, body)

            line.answer = waiting
            first = asyncio.ensure_future(line.link.exchange("hello", b"first"))
            await reached.wait()
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            assert await line.link.exchange("hello", b"second") == b"hello:second"

    setting[1](story())


@on_every_link
def test_a_closed_link_is_lost_for_good(setting: Setting) -> None:
    async def story() -> None:
        async with setting[0]() as line:
            await line.link.close()
            await line.link.close()
            with pytest.raises(LinkLost) as caught:
                await line.link.exchange("hello", b"x")
            assert caught.value.code == "TQ-SY-50"

    setting[1](story())
