"""The shared face: languages kept, static files named by content, faults as pages, colours that can be read."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from importlib.resources import files
from itertools import product

import aiohttp
import pytest
from aiohttp import web

from gridmodel.fault import Fault
from hosting.clocks import ScaledClock, SystemEntropy, SystemIoClock
from hosting.i18n import Language, Translator
from hosting.uzbek_script import folded
from hosting.web import web_application
from hosting.web_face import FOREVER, Face, Section, address
from hosting.web_pulse import Pulse
from tests.hosting.test_web import served

Story = Callable[[str, aiohttp.ClientSession], Awaitable[None]]
HTML = {"Accept": "text/html"}


def application(look: Callable[[], Awaitable[int]] | None = None) -> web.Application:
    def sections(t: Translator) -> tuple[Section, ...]:
        return (Section("/", t.gettext("Office")),)

    face = Face(
        "edge_node.console",
        house="office",
        title=lambda t: "Rehearsal",
        zone="Asia/Tashkent",
        clock=ScaledClock(),
        default=Language.RU,
        sections=sections,
        wordings=lambda t, fault: t.gettext("yes") if fault.code == "TQ-XX-01" else None,
    )

    async def page(request: web.Request) -> web.Response:
        return face.render(request, "desk.html", {"account": "<b>", "line": None, "fault": None, "said": None})

    async def refuse(_: web.Request) -> web.Response:
        raise Fault("TQ-XX-01", "no such <account>", "check the number")

    async def broken(_: web.Request) -> web.Response:
        raise ZeroDivisionError("the secret reason")

    async def still() -> int:
        return 0

    made = web_application([], SystemEntropy())
    face.attach(made)
    for path, handler in (("/", page), ("/refuse", refuse), ("/broken", broken)):
        made.router.add_get(path, handler)
    Pulse(look or still, digest=face.digest, io_clock=SystemIoClock(), period_s=0.01).attach(made)
    return made


def told(story: Story, look: Callable[[], Awaitable[int]] | None = None) -> None:
    async def whole() -> None:
        async with served(application(look)) as (base, session):
            await story(base, session)

    asyncio.run(whole())


def language_of(text: str) -> str:
    found = re.search(r'<html lang="([^"]+)"', text)
    assert found
    return found.group(1)


def test_the_browsers_wish_the_cookie_and_the_houses_own_language() -> None:
    async def story(base: str, session: aiohttp.ClientSession) -> None:
        async def language(headers: dict[str, str], path: str = "/") -> str:
            async with session.get(base + path, headers=headers) as reply:
                assert reply.status == 200
                return language_of(await reply.text())

        assert await language({}) == "ru"
        assert await language({"Accept-Language": "uz-Cyrl, en;q=0.5"}) == "uz-Cyrl"
        assert await language({"Accept-Language": "xx" * 200}) == "ru"
        async with session.get(base + "/?q=1&lang=en", allow_redirects=False) as reply:
            assert (reply.status, reply.headers["Location"]) == (303, "/?q=1")
            assert "SameSite=Lax" in reply.headers["Set-Cookie"]
            assert "HttpOnly" in reply.headers["Set-Cookie"]
        assert await language({"Accept-Language": "uz", "Cookie": "lang_office=en"}) == "en"
        assert await language({"Cookie": "lang_office=%00<script>"}) == "ru"

    told(story)


def test_a_language_link_leads_nowhere_else() -> None:
    async def story(base: str, session: aiohttp.ClientSession) -> None:
        async with session.get(base + "//evil.example/?lang=en", allow_redirects=False) as reply:
            assert reply.headers.get("Location", "/").startswith("/")
            assert not reply.headers.get("Location", "/").startswith("//")

    told(story)


def test_static_files_are_kept_for_good_under_the_name_of_their_content() -> None:
    async def story(base: str, session: aiohttp.ClientSession) -> None:
        async with session.get(base + "/") as reply:
            text = await reply.text()
        assert "&lt;b&gt;" in text, "values are escaped"
        assert "style=" not in text, "no inline style: the CSP forbids it"
        assert not re.search(r"<script(?![^>]*\bsrc=)", text), "no inline script"
        paths = re.findall(r'(?:href|src)="(/static/[^"]+)"', text)
        assert len(paths) == 2
        for path in paths:
            async with session.get(base + path) as reply:
                assert (reply.status, reply.headers["Cache-Control"]) == (200, FOREVER)
        for path in ("/static/0000/face.css", paths[0] + "x", "/static/x/../../hosting/web.py"):
            async with session.get(base + path) as reply:
                assert reply.status == 404

    told(story)


def test_a_browser_gets_a_page_about_a_fault_and_a_program_gets_json() -> None:
    async def story(base: str, session: aiohttp.ClientSession) -> None:
        async with session.get(base + "/refuse", headers=HTML) as reply:
            text = await reply.text()
            assert (reply.status, reply.content_type) == (400, "text/html")
            assert "TQ-XX-01" in text
            assert "no such &lt;account&gt;" in text
            assert ">да<" in text, "said in the reader's language"
        async with session.get(base + "/refuse") as reply:
            assert reply.content_type == "application/problem+json"
        async with session.get(base + "/nowhere", headers=HTML) as reply:
            assert (reply.status, reply.content_type) == (404, "text/html")
        async with session.get(base + "/broken", headers=HTML) as reply:
            text = await reply.text()
            assert reply.status == 500
            assert "secret" not in text
            assert "TQ-WB-05" in text
        async with session.post(base + "/", headers={"Sec-Fetch-Site": "cross-site"}) as reply:
            assert (reply.status, (await reply.json())["code"]) == (403, "TQ-WB-02")

    told(story)


def test_pages_are_told_to_look_again_when_something_changed() -> None:
    number = 0

    async def look() -> int:
        return number

    async def story(base: str, session: aiohttp.ClientSession) -> None:
        nonlocal number
        async with asyncio.timeout(10), session.get(base + "/events") as reply:
            lines = aiter(reply.content)
            assert b"hello" in await _event(lines)
            assert b"changed" in await _event(lines), "the first look of an open page"
            number = 1
            assert b"changed" in await _event(lines)

    told(story, look)


def test_a_pulse_that_fails_ends_the_streams() -> None:
    async def look() -> int:
        raise Fault("TQ-XX-09", "the store is gone", "look at the log")

    async def story(base: str, session: aiohttp.ClientSession) -> None:
        async with asyncio.timeout(10), session.get(base + "/events") as reply:
            assert b"changed" not in await reply.read()
        async with session.get(base + "/events") as reply:
            assert reply.status == 503

    told(story, look)


async def _event(lines: "aiohttp.streams.AsyncStreamIterator[bytes]") -> bytes:
    async for line in lines:
        if line.startswith(b"event:"):
            return line
    raise AssertionError("the stream ended")


def test_an_address_leaves_out_what_is_not_asked() -> None:
    assert address("/consumers", {"q": "", "show": "cut", "after": None}) == "/consumers?show=cut"
    assert address("/consumers", {"q": "a&b"}) == "/consumers?q=a%26b"
    assert address("/", {}) == "/"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Қарши кўчаси 4", "QARSHI KOʻCHASI 4"),
        ("Ғиштўприк", "G'ishto'prik"),
        ("Шайхонтоҳур", "shayxontohur"),
        ("маъмурий", "maʼmuriy"),
        ("Юнусобод", "yunusobod"),
    ],
)
def test_searching_does_not_mind_the_script(one: str, other: str) -> None:
    assert folded(one) == folded(other)


CSS = files("hosting").joinpath("face", "face.css").read_text("utf-8")
GROUNDS = ("ground", "panel", "sunk")


def _palettes() -> Iterator[dict[str, str]]:
    light = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", CSS.split("@media")[0]))
    dark = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", CSS.split("prefers-color-scheme: dark")[1].split("* {")[0]))
    yield light
    yield dark


def _luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("palette", list(_palettes()), ids=["light", "dark"])
def test_text_can_be_read_on_its_ground(palette: dict[str, str]) -> None:
    pairs = [
        *product(("ink", "soft"), GROUNDS),
        *product(("accent", "good", "warn", "bad", "off", "info"), ("ground", "panel")),
        *((tone, f"{tone}-soft") for tone in ("good", "warn", "bad", "off", "info", "accent")),
        ("accent-ink", "accent"),
        ("panel", "bad"),
        ("ink", "accent-soft"),
        ("soft", "accent-soft"),
    ]
    poor = {pair: round(_contrast(palette[pair[0]], palette[pair[1]]), 2) for pair in pairs}
    assert {pair: ratio for pair, ratio in poor.items() if ratio < 4.5} == {}
    assert all(_contrast(palette["focus"], palette[ground]) >= 3 for ground in GROUNDS)
    assert all(_contrast(palette["soft"], palette[ground]) >= 3 for ground in GROUNDS), "edges of fields"
