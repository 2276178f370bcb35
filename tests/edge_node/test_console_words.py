"""What the office's pages say: of a lost link, of what is too old, of what is not known, in words a cashier can use."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from hosting.i18n import Language
from tests.edge_node.furnished import CUT, DAY_S, FOREIGN, Furnished, console_of, furnished
from tests.edge_node.offices import built, office
from tests.edge_node.test_console_pages import HTML, page, paths_of, point_of

Story = Callable[[Furnished, aiohttp.ClientSession], Awaitable[None]]


def told(folder: Path, story: Story, **ages: Any) -> None:
    async def whole() -> None:
        async with furnished(folder, **ages) as at, aiohttp.ClientSession(at.url, headers=HTML) as session:
            await story(at, session)

    asyncio.run(whole())


@asynccontextmanager
async def link_lost(at: Furnished) -> AsyncIterator[None]:
    """The node's own link, at work on a line that is cut."""
    working = asyncio.create_task(at.node.rooms.hub_link.run())
    try:
        for _ in range(2_000):
            if at.node.link().since:
                break
            await asyncio.sleep(0.01)
        else:
            pytest.fail("the link was never found lost")
        yield
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


def test_every_page_says_that_the_link_is_lost(tmp_path: Path) -> None:
    async def story(at: Furnished, session: aiohttp.ClientSession) -> None:
        said = "The link to the hub is lost since"
        assert said not in await page(session, "/desk")
        async with link_lost(at):
            for path in paths_of(at).values():
                text = await page(session, path)
                assert text.count(said) == 1, path
                assert "paid elsewhere meanwhile is not known here" in text
            assert said in await page(session, "/nowhere", 404)
            text = await page(session, "/")
            assert re.search(r"<p>The hub does not answer\. It is tried again at", text)
            assert "the line is cut" in text, "the engineer's words are there, too"

    told(tmp_path, story)


def test_a_debt_stands_beside_how_far_payments_are_known(tmp_path: Path) -> None:
    async def story(at: Furnished, session: aiohttp.ClientSession) -> None:
        for path in (f"/desk?account={at.account(CUT).id}", f"/consumers/{point_of(at, CUT)}", "/"):
            text = await page(session, path)
            rows = dict(re.findall(r"<dt>Payments by (\w+)</dt><dd>(.*?)</dd>", text, re.DOTALL))
            assert set(rows) == {"bank", "paynet"}, path
            assert "known up to 5 May 2026" in rows["bank"]
            assert "too old" not in rows["bank"]
            assert "too old to cut on" in rows["paynet"]

    told(tmp_path, story, watermark_age_s=25 * 3600)


def test_a_home_whose_relay_is_not_switched_from_here_is_no_riddle(tmp_path: Path) -> None:
    async def story(at: Furnished, session: aiohttp.ClientSession) -> None:
        text = await page(session, f"/consumers/{point_of(at, FOREIGN)}")
        why = text.split('data-part="why"')[1].split("</section>")[0]
        assert 'class="panel good"' in text.split('data-part="why"')[0][-40:]
        assert "Its relay is not switched from here; supply is measured" in why
        assert "The meter has no relay that can be switched from here" in why
        assert "not known" not in why
        assert "cut for debt" not in why

    told(tmp_path, story)


def test_an_old_forecast_is_called_old_on_both_lines(tmp_path: Path) -> None:
    async def story(at: Furnished, session: aiohttp.ClientSession) -> None:
        text = await page(session, f"/consumers/{point_of(at, 40)}")
        assert "The forecast is too old, which counts as frost" in text
        assert re.search(r"9 to 24 °C, of 4 May 2026, 09:\d\d: too old", text)
        assert "The weather is not known" not in text

    told(tmp_path, story, weather_age_s=DAY_S + 3600)


def test_a_notice_is_labelled(tmp_path: Path) -> None:
    async def story(at: Furnished, session: aiohttp.ClientSession) -> None:
        text = await page(session, f"/consumers/{point_of(at, CUT)}")
        assert re.search(r"delivered 27 Apr 2026, 10:\d\d", text)

    told(tmp_path, story)


@pytest.mark.parametrize(
    ("language", "words"),
    [
        (
            Language.RU,
            {"day": "Это не дата", "else": "Непонятно, что запрошено", "english": "Для инженера, по-английски"},
        ),
        (Language.UZ_LATN, {"day": "Bu sana emas", "else": "Nima soʻralgani", "english": "Muhandis uchun, inglizcha"}),
        (Language.UZ_CYRL, {"day": "Бу сана эмас", "else": "Нима сўралгани", "english": "Муҳандис учун, инглизча"}),
    ],
)
def test_a_refusal_says_what_to_do_in_the_readers_language(
    tmp_path: Path, language: Language, words: dict[str, str]
) -> None:
    async def story(_: Furnished, session: aiohttp.ClientSession) -> None:
        session.cookie_jar.update_cookies({"lang_office": language.value})
        for path, said in (("/energy?day=2099-13-01", words["day"]), ("/energy?by=house", words["else"])):
            text = await page(session, path, 400)
            assert re.search(r'<p class="said">' + said, text)
            assert f"<dt>{words['english']}</dt>" in text
        async with session.post("/stop", data={"by": "p-chief", "secret": "x", "why": " "}) as reply:
            assert words["else"] in await reply.text()

    told(tmp_path, story)


def test_a_fresh_node_says_that_no_registry_has_come_and_what_to_do(tmp_path: Path) -> None:
    async def whole() -> None:
        given = await office(tmp_path, registered=False)
        async with (
            built(given) as node,
            console_of(given, node) as at,
            aiohttp.ClientSession(at.url, headers=HTML) as session,
        ):
            text = await page(session, "/")
            assert "No registry has come yet" in text
            assert "ask the centre" in text
            assert "0 of 0" not in text

    asyncio.run(whole())


def test_an_alarm_says_who_and_why(tmp_path: Path) -> None:
    async def story(_: Furnished, session: aiohttp.ClientSession) -> None:
        assert "no answer for 3 polls" in await page(session, "/")

    told(tmp_path, story)
