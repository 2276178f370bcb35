"""The hub's pages over a really served hub: read by programs, and looked at in a real browser."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random

import aiohttp
import pytest

from central_sync.balance.reading import Level
from central_sync.web.outlines import drawing
from central_sync.web.tree import Spot, Tree
from central_sync.web.views import AreaLine, sorted_lines
from gridmodel.identity import NodeId
from hosting.i18n import Language, translator
from hosting.territory import country
from protocols.sync.lanes import Lane
from tests.browsing import PHONE, browser_at, watched
from tests.central_sync.furnished_hub import NOW, POINT, FurnishedHub, furnished_hub
from tests.central_sync.hub_rig import START, A, hour_record, transformer_cell

HTML = {"Accept": "text/html", "Accept-Language": "en"}
LIGHT = "up-t-a1-0"
"""Never switched, at a node that is live."""
Story = Callable[[FurnishedHub, aiohttp.ClientSession], Awaitable[None]]
PATHS = {
    "republic": "/",
    "republic-completeness": "/?map=completeness",
    "balances": "/balances",
    "balances-feeders": "/balances?level=feeder&in=district:1703202&sort=loss&falling=1",
    "balances-hour": "/balances?level=transformer&period=hour&at=2026-05-04T04:00:00Z",
    "nodes": "/nodes",
    "node": "/nodes/node-a",
    "node-silent": "/nodes/node-b",
    "alarms": "/alarms",
    "quarantine": "/quarantine",
    "consumers": "/consumers",
    "consumer": f"/consumers/{POINT}",
    "consumer-silent": "/consumers/up-t-b0-0",
}


def told(folder: Path, story: Story) -> None:
    async def whole() -> None:
        async with furnished_hub(folder) as at, aiohttp.ClientSession(at.url, headers=HTML) as session:
            await story(at, session)

    asyncio.run(whole())


async def page(session: aiohttp.ClientSession, path: str, status: int = 200) -> str:
    async with session.get(path) as reply:
        text = await reply.text()
        assert reply.status == status, text[:500]
        return text


def test_the_republic_tells_energy_nodes_and_what_is_not_known(tmp_path: Path) -> None:
    async def story(_: FurnishedHub, session: aiohttp.ClientSession) -> None:
        text = await page(session, "/")
        for said in ("1 live", "1 no link", "supply readings are missing", "Olot district", "3.80 %", "15:00"):
            assert said in text, said
        assert len(re.findall(r'<path class="region', text)) == 14
        assert "Andijan Region: 99.9 %" in await page(session, "/?map=completeness")

    told(tmp_path, story)


def test_balances_lead_down_from_the_republic_to_a_transformer(tmp_path: Path) -> None:
    async def story(at: FurnishedHub, session: aiohttp.ClientSession) -> None:
        assert at.clock.now() == NOW
        path = "/balances?level=republic"
        for _ in range(len(Level) - 1):
            text = await page(session, path)
            following = re.search(r'<tbody>.*?<th scope="row"><a href="([^"]+)"', text, re.DOTALL)
            assert following, path
            path = following.group(1).replace("&amp;", "&")
        text = await page(session, path)
        assert "level=transformer" in path
        assert len(re.findall(r"Transformer t-a\d", text)) == 4
        assert "Transformer t-b" not in text, "only those that hang below"
        assert re.search(r"Uzbekistan.*Andijan Region.*Altinkul.*Substation a.*Feeder a", text, re.DOTALL)

    told(tmp_path, story)


def test_periods_columns_and_neighbours_are_links(tmp_path: Path) -> None:
    async def story(_: FurnishedHub, session: aiohttp.ClientSession) -> None:
        text = await page(session, "/balances?level=transformer&period=hour&at=2026-05-04T04:00:00Z")
        assert "at=2026-05-04T03%3A00%3A00Z" in text
        assert "at=2026-05-04T05%3A00%3A00Z" in text
        local = await page(session, "/balances?level=transformer&period=hour&until=2026-05-04T09:00")
        assert "4 May 2026, 08:00 to 4 May 2026, 09:00" in local
        assert "at=2026-05-03" in await page(session, "/balances?period=day")
        assert "at=2026-04" in await page(session, "/balances?period=month")
        assert "at=2025" in await page(session, "/balances?period=year")
        assert 'aria-sort="descending"' in await page(session, "/balances?sort=supplied&falling=1")
        for bad in (
            "level=house",
            "period=week",
            "sort=colour",
            "in=house:1",
            "period=hour&at=now",
            "at=x",
            "in=district:;",
        ):
            assert "TQ-" in await page(session, f"/balances?{bad}", 400)

    told(tmp_path, story)


def test_nodes_alarms_batches_and_consumers_are_told(tmp_path: Path) -> None:
    async def story(_: FurnishedHub, session: aiohttp.ClientSession) -> None:
        assert "The debt is overdue" in await page(session, "/nodes/node-a")
        assert "TQ-HB-50" in await page(session, "/nodes/nowhere", 404)
        assert "The meter does not answer" in await page(session, "/alarms")
        assert "t-unknown" in await page(session, "/quarantine")
        text = await page(session, f"/consumers?q=acc-{POINT}")
        assert "disconnected" in text
        assert "10,000 so" in text
        assert "TQ-HB-52" in await page(session, "/consumers?q=acc-nowhere", 404)
        assert "&lt;b&gt;" in await page(session, "/consumers?q=%3Cb%3E", 404)
        seen: list[str] = []
        path = "/consumers"
        while path:
            text = await page(session, path)
            seen += re.findall(r'href="/consumers/([^"]+)"', text)
            following = re.search(r'rel="next" href="([^"]+)"', text)
            path = following.group(1) if following else ""
        assert len(seen) == len(set(seen)) == 96

    told(tmp_path, story)


DARK = "up-t-b0-0"
"""At the node that was not heard for three hours."""


def test_of_a_silent_node_nothing_is_said_to_be_known(tmp_path: Path) -> None:
    async def story(_: FurnishedHub, session: aiohttp.ClientSession) -> None:
        text = await page(session, f"/consumers/{DARK}")
        supply = text.split('data-part="operations"')[1].split("</section>")[0]
        assert 'class="chip good"' not in supply
        assert "connected, in doubt" in supply
        assert "last heard 4 May 2026, 12:10" in supply
        assert "Up to then it was never switched" in supply
        text = await page(session, "/consumers?after=up-t-a3-11")
        assert "connected, in doubt" in text
        assert 'class="chip good"' not in text.split("<tbody>")[1]
        assert 'class="chip good"' in await page(session, f"/consumers/{LIGHT}"), "a live node is believed"
        silent = "not known since 4 May 2026, 12:10"
        assert silent in await page(session, "/nodes")
        assert silent in await page(session, "/nodes/node-b")
        tile = (await page(session, "/")).split("Nodes still owe")[1].split("</div>")[0]
        assert '<span class="value">not known</span>' in tile
        assert "7 by live nodes; of 1 not known since 4 May 2026, 12:10" in tile

    told(tmp_path, story)


def test_alarms_say_who_and_why_and_notices_when_they_were_delivered(tmp_path: Path) -> None:
    async def story(at: FurnishedHub, session: aiohttp.ClientSession) -> None:
        assert "3 polls" in await page(session, "/alarms")
        assert "3 polls" in await page(session, "/")
        assert "3 polls" in await page(session, "/nodes/node-a")
        rows = f"id;account;amount;evidence;delivered_at\nn-1;acc-{POINT};900,00;signed_list;2026-05-01\n".encode()
        assert (await at.hub.import_records("notice", rows)).applied == 1
        text = await page(session, f"/consumers/{POINT}")
        assert "delivered 2 May 2026, 00:00 · imported 4 May 2026, 16:00" in text

    told(tmp_path, story)


def test_every_page_speaks_every_language(tmp_path: Path) -> None:
    async def story(_: FurnishedHub, session: aiohttp.ClientSession) -> None:
        for language in Language:
            session.cookie_jar.update_cookies({"lang_hub": language.value})
            for path in PATHS.values():
                text = await page(session, path)
                assert f'<html lang="{translator(language).tag}">' in text
                assert not re.findall(r">\s*(?:reason|relay_state|alarm_kind|level|node_state|loss_unknown)\.\w+", text)

    told(tmp_path, story)


def test_what_is_not_known_comes_last_whichever_way_a_column_is_sorted() -> None:
    def line(name: str, loss_pct: float | None) -> AreaLine:
        return AreaLine(Spot(Level.FEEDER, name), name, {"loss_pct": loss_pct})

    lines = [line("a", None), line("b", 2.0), line("c", 9.0)]
    assert [one.name for one in sorted_lines(lines, "loss", falling=True)] == ["c", "b", "a"]
    assert [one.name for one in sorted_lines(lines, "loss", falling=False)] == ["b", "c", "a"]


def test_the_map_has_every_region_and_every_office_inside_it() -> None:
    assert {outline.soato for outline in drawing().outlines} == {region.soato for region in country().regions}
    for region in country().regions:
        for district in region.districts:
            x, y = drawing().place(district.lat_deg, district.lon_deg)
            assert 0 < x < drawing().width, district.soato
            assert 0 < y < drawing().height, district.soato


def test_a_tree_without_registries_still_knows_regions_and_the_republic() -> None:
    tree = Tree({}, NOW)
    speaker = translator(Language.EN)
    assert [tree.name(speaker, spot) for spot in tree.path(Spot(Level.DISTRICT, "1703202"))] == [
        "Uzbekistan",
        "Andijan Region",
        "Altinkul district",
    ]
    assert tree.name(speaker, Spot(Level.FEEDER, "f-9")) == "f-9"


@pytest.mark.browser
def test_hub_pages_in_a_browser_lack_nothing_and_load_nothing_from_elsewhere(
    tmp_path: Path, chromium: str, picture_folder: Path
) -> None:
    async def story(at: FurnishedHub, _: aiohttp.ClientSession) -> None:
        async with browser_at(chromium) as browser:
            for language, scheme, size in (("en", "light", None), ("uz_Cyrl", "dark", None), ("ru", "light", PHONE)):
                look = watched(browser, at.url, language=language, scheme=scheme, size=size)  # type: ignore[arg-type]
                async with look as seen:
                    for name, path in PATHS.items():
                        await seen.open(path)
                        assert await seen.lacks() == [], path
                        await seen.picture(picture_folder, f"hub-{name}-{language}-{scheme}")
                    assert (seen.complaints, seen.elsewhere) == ([], [])

    told(tmp_path, story)


@pytest.mark.browser
def test_what_a_node_proves_appears_by_itself_and_the_hub_works_without_javascript(
    tmp_path: Path, chromium: str
) -> None:
    async def story(at: FurnishedHub, _: aiohttp.ClientSession) -> None:
        async with browser_at(chromium) as browser:
            async with watched(browser, at.url) as seen:
                await seen.open("/quarantine")
                assert "t-nowhere" not in await seen.text()
                assert at.speaker.node == NodeId(A)
                await at.speaker.send(Lane.SUMMARY, hour_record("t-nowhere", START + 3600, transformer_cell(Random(1))))
                await seen.page.wait_for_selector("text=t-nowhere")
            async with watched(browser, at.url, javascript=False) as seen:
                for path in PATHS.values():
                    await seen.open(path, ready=False)
                await seen.open("/", ready=False)
                await seen.page.click('.map a[aria-label^="Andijan"]')
                assert "Altinkul" in await seen.text()
                assert seen.elsewhere == []

    told(tmp_path, story)
