"""The office's pages over a really running console: read by programs, and looked at in a real browser."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest

from edge_node.reports import status_lines
from edge_node.store.absences import Missing
from edge_node.store.meter_clocks import DAY_S
from gridmodel.absence import Absence
from gridmodel.account import credit_tiyin
from gridmodel.identity import UsagePointId
from hosting.i18n import Language, translator
from tests.browsing import PHONE, browser_at, watched
from tests.edge_node.furnished import CUT, FOREIGN, PAYER, PROTECTED, READY, Furnished, furnished
from tests.edge_node.offices import CASHIER_SECRET, CHIEF_SECRET

HTML = {"Accept": "text/html", "Accept-Language": "en"}
Story = Callable[[Furnished, aiohttp.ClientSession], Awaitable[None]]


def told(folder: Path, story: Story) -> None:
    async def whole() -> None:
        async with furnished(folder) as at, aiohttp.ClientSession(at.url, headers=HTML) as session:
            await story(at, session)

    asyncio.run(whole())


async def page(session: aiohttp.ClientSession, path: str, status: int = 200) -> str:
    async with session.get(path) as reply:
        text = await reply.text()
        assert reply.status == status, text[:500]
        return text


def point_of(at: Furnished, number: int) -> UsagePointId:
    return at.office.registry.usage_points[number].id


def paths_of(at: Furnished) -> dict[str, str]:
    return {
        "office": "/",
        "consumers": "/consumers",
        "consumers-owing": "/consumers?show=owing",
        "consumers-cuttable": "/consumers?show=cuttable",
        "consumer-cut": f"/consumers/{point_of(at, CUT)}",
        "consumer-on": f"/consumers/{point_of(at, 40)}",
        "consumer-foreign": f"/consumers/{point_of(at, FOREIGN)}",
        "desk": "/desk",
        "desk-pay": f"/desk?account={at.account(CUT).id}",
        "stop": "/stop",
        "energy": "/energy",
        "energy-transformers": "/energy?by=transformer",
        "meters": "/meters",
        "meters-commission": "/meters?work=commissioned",
    }


def test_the_overview_tells_link_backlog_brakes_and_books(tmp_path: Path) -> None:
    async def story(at: Furnished, session: aiohttp.ClientSession) -> None:
        text = await page(session, "/")
        for said in ("not tried yet", "Hourly balances", "1 of 1", "mandate-2026-19", "10 hours today", "4 May 2026"):
            assert said in text, said
        await at.node.stop_cuts("p-cashier", "fire in the village")
        text = await page(session, "/")
        assert "All cuts are stopped" in text
        assert "fire in the village" in text

    told(tmp_path, story)


def test_lists_hold_who_they_say_and_go_on_without_doubles(tmp_path: Path) -> None:
    async def story(at: Furnished, session: aiohttp.ClientSession) -> None:
        def listed(text: str) -> list[str]:
            return re.findall(r'<a href="/consumers/([^"]+)"', text)

        assert set(listed(await page(session, "/consumers?show=cut"))) == {point_of(at, CUT), point_of(at, READY)}
        assert listed(await page(session, "/consumers?show=protected")) == [point_of(at, PROTECTED)]
        cuttable = listed(await page(session, "/consumers?show=cuttable"))
        assert cuttable
        assert not {point_of(at, CUT), point_of(at, PROTECTED), point_of(at, PAYER)} & set(cuttable)
        seen: list[str] = []
        path = "/consumers"
        while path:
            text = await page(session, path)
            seen += listed(text)
            following = re.search(r'rel="next" href="([^"]+)"', text)
            path = following.group(1).replace("&amp;", "&") if following else ""
        assert sorted(seen) == sorted(point.id for point in at.office.registry.usage_points)
        assert seen.index(point_of(at, 8)) < seen.index(point_of(at, 9)), "house 9 comes before house 10"

    told(tmp_path, story)


def test_a_search_finds_account_address_and_meter_in_either_script(tmp_path: Path) -> None:
    async def story(at: Furnished, session: aiohttp.ClientSession) -> None:
        point = at.office.registry.usage_points[60]
        meter = at.office.registry.topology(at.office.clock.now()).installation_at[point.id].meter
        serial = at.office.registry.meter[meter].serial
        for query in (at.account(60).id, point.address, point.address.upper(), serial):
            assert f"/consumers/{point.id}" in await page(session, f"/consumers?q={query}")
        assert "Nobody fits" in await page(session, "/consumers?q=%3Cscript%3E")
        assert "&lt;script&gt;" in await page(session, "/consumers?q=%3Cscript%3E")
        assert "TQ-CN-01" in await page(session, "/consumers?show=everything", 400)

    told(tmp_path, story)


def test_one_consumer_says_why_by_which_right_and_what_restores(tmp_path: Path) -> None:
    async def story(at: Furnished, session: aiohttp.ClientSession) -> None:
        text = await page(session, f"/consumers/{point_of(at, CUT)}")
        for said in ("Supply is off: cut for debt", "By which right", "mandate-2026-19", "A payment of what is owed"):
            assert said in text, said
        text = await page(session, f"/consumers/{point_of(at, PROTECTED)}")
        assert "It is not cut, because" in text
        assert "A protection is in force" in text
        text = await page(session, f"/consumers/{point_of(at, READY)}")
        assert "Paid and still without supply" in text
        assert "TQ-SU-01" in await page(session, "/consumers/up-nowhere", 404)
        estimated = [
            text for n in range(19) if ">estimated<" in (text := await page(session, f"/consumers/{point_of(at, n)}"))
        ]
        assert estimated, "some of them were silent lately"
        assert all("as in the weeks before" in text for text in estimated)

    told(tmp_path, story)


def test_one_consumer_says_why_there_is_no_fresh_reading(tmp_path: Path) -> None:
    async def story(at: Furnished, session: aiohttp.ClientSession) -> None:
        path = f"/consumers/{point_of(at, CUT)}"
        assert "Why there is no fresh one" not in await page(session, path)
        now = at.office.clock.now()
        placed = at.office.registry.topology(now).installation_at[point_of(at, CUT)]
        missing = Missing(Absence.UNREACHABLE, now - now % 3600, "TQ-DM-80: no connection")
        await at.node.store.absences.put([(placed.meter, missing)])
        text = await page(session, path)
        assert "Why there is no fresh one" in text
        assert "the way to it takes no connection" in text
        assert (await at.node.status())["meters_absent"] == {"unreachable": 1}
        lines = [" ".join(line.split()) for line in status_lines(await at.node.status())]
        assert "no fresh reading unreachable 1" in lines

    told(tmp_path, story)


def test_a_doubt_of_the_clock_has_a_name_on_the_page_in_status_and_in_the_check_up(tmp_path: Path) -> None:
    async def story(at: Furnished, session: aiohttp.ClientSession) -> None:
        clock = at.office.clock
        assert 'data-part="clock"' not in await page(session, "/")
        clock.confirm(clock.now() + DAY_S)
        at.node.store.held_reads.count = _seven  # type: ignore[method-assign]
        banner = (await page(session, "/")).split('data-part="clock"')[1].split("</p>")[0]
        assert "The hub shows another time." in banner
        assert "7 readings wait for their hour." in banner
        told = (await at.node.status())["clock"]
        assert (told["doubts"], told["time_known"], told["confirmed"]) == (["hub_disagrees"], False, False)
        assert told["latest"] - told["earliest"] >= DAY_S
        line = next(line for line in status_lines(await at.node.status()) if line.startswith("clock "))
        assert "hub disagrees: nobody is cut; it is" in line
        checks = {check["name"]: check for check in (await at.node.doctor())["checks"]}
        assert "hub disagrees: nobody is cut" in checks["clock"]["what"]
        assert "compare this machine's clock and the hub's" in checks["clock"]["hint"]

    told(tmp_path, story)


async def _seven() -> int:
    return 7


def test_the_day_says_what_it_does_not_know(tmp_path: Path) -> None:
    async def story(at: Furnished, session: aiohttp.ClientSession) -> None:
        text = await page(session, "/energy")
        assert "supply readings are missing" in text
        assert re.search(r"<strong>3\.8\d %", text), "the loss of the first feeder"
        hour = at.office.clock.now() // 3600 * 3600 - 3600
        assert "08:00 to 09:00" in await page(session, f"/energy?hour={hour}&by=transformer")
        assert "No hour of this day is closed yet" in await page(session, "/energy?day=2026-05-01")
        for bad in ("/energy?by=house", "/energy?hour=1", "/energy?day=yesterday"):
            assert "TQ-" in await page(session, bad, 400)

    told(tmp_path, story)


def test_a_plant_behind_a_head_supplies_its_feeder_on_the_page_as_in_the_api(tmp_path: Path) -> None:
    async def story(at: Furnished, session: aiohttp.ClientSession) -> None:
        speak = translator(Language.EN)
        hour = at.office.clock.now() // 3600 * 3600 - 3600
        async with session.get(f"/api/v1/areas?level=feeder&end={hour}") as reply:
            told = (await reply.json())["areas"]
        text = await page(session, f"/energy?hour={hour}")
        shown = re.findall(r"<strong>(-?[\d.]+ %)</strong>", text.split('data-part="areas"')[1].split("</section>")[0])
        assert shown == [speak.percent(area["loss_pct"], 2) for area in told]
        assert all(area["loss_wh"] > 0 for area in told)
        assert {area["supplied_wh"] for area in told} == {
            int(found.replace(",", "").replace(".", ""))
            for found in re.findall(r'data-label="Supplied">([\d,.]+) kWh', text.split('data-part="hours"')[0])
        }
        tiles = text.split('data-part="total"')[1].split("</dl>")[0]
        assert re.search(r"feeder heads: [\d.,]+\xa0kWh", tiles)
        assert re.search(r"plants: [\d.,]+\xa0kWh", tiles)
        assert "at the feeder heads" not in tiles
        assert re.search(r"Given back.*?0\.04", tiles, re.DOTALL)
        assert re.search(r'data-label="Given back">0\.040 kWh</td>', text)

    told(tmp_path, story)


def test_nothing_expected_is_not_complete(tmp_path: Path) -> None:
    async def story(_: Furnished, session: aiohttp.ClientSession) -> None:
        async with session.get("/api/v1/areas?level=feeder&end=5") as reply:
            areas = (await reply.json())["areas"]
        assert areas
        assert {(area["points_expected"], area["completeness_pct"]) for area in areas} == {(0, None)}

    told(tmp_path, story)


def form_of(text: str) -> dict[str, str]:
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', text))


def test_a_form_pressed_twice_is_one_payment(tmp_path: Path) -> None:
    async def story(at: Furnished, session: aiohttp.ClientSession) -> None:
        account = at.account(CUT)
        before = credit_tiyin((await at.node.store.ledger.statement(account.id)).entries)
        form = form_of(await page(session, f"/desk?account={account.id}"))
        form |= {"amount": "512 000,50", "cashier": "p-cashier", "secret": CASHIER_SECRET}
        places = []
        for _ in range(2):
            async with session.post("/desk/pay", data=form, allow_redirects=False) as reply:
                assert reply.status == 303
                places.append(reply.headers["Location"])
        assert places[0] == places[1]
        receipt = await page(session, places[0])
        assert "512,000.50" in receipt
        assert ">Cashier<" in receipt
        assert CASHIER_SECRET not in receipt
        after = credit_tiyin((await at.node.store.ledger.statement(account.id)).entries)
        assert after - before == 51_200_050

    told(tmp_path, story)


WRONG_FORMS = (
    ({"secret": "guess"}, 403, "TQ-LG-01"),
    ({"cashier": "p-chief", "secret": CHIEF_SECRET}, 403, "TQ-LG-03"),
    ({"cashier": "<b>"}, 400, "TQ-ID-01"),
    ({"amount": "12,345,67"}, 400, "TQ-QT-01"),
    ({"amount": "0"}, 400, "TQ-PY-02"),
    ({"amount": "999999999999"}, 400, "TQ-PY-02"),
    ({"account": "acc-nowhere"}, 400, "TQ-PY-01"),
    ({"request": ""}, 400, "TQ-ID-01"),
)


def test_a_wrong_form_comes_back_filled_and_nothing_is_recorded(tmp_path: Path) -> None:
    async def story(at: Furnished, session: aiohttp.ClientSession) -> None:
        account = at.account(CUT)
        before = len((await at.node.store.ledger.statement(account.id)).entries)
        fresh = form_of(await page(session, f"/desk?account={account.id}"))
        for change, status, code in WRONG_FORMS:
            form = fresh | {"amount": "1000", "cashier": "p-cashier", "secret": CASHIER_SECRET} | change
            async with session.post("/desk/pay", data=form, allow_redirects=False) as reply:
                text = await reply.text()
                assert reply.status == status, change
            assert code in text
            assert "Nothing was recorded" in text
            assert form["secret"] not in text
            assert len((await at.node.store.ledger.statement(account.id)).entries) == before

    told(tmp_path, story)


def test_no_form_of_another_site_and_no_other_body_is_taken(tmp_path: Path) -> None:
    async def story(at: Furnished, session: aiohttp.ClientSession) -> None:
        form = {"by": "p-cashier", "secret": CASHIER_SECRET, "why": "fire"}
        for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            async with session.post("/stop", data=form, headers=headers) as reply:
                assert reply.status == 403
        async with session.post("/stop", json=form) as reply:
            assert reply.status == 415
        for wrong in ({"why": " "}, {"secret": "guess"}):
            async with session.post("/stop", data=form | wrong, allow_redirects=False) as reply:
                assert reply.status in {400, 403}
        assert (await at.node.status())["stops"] == []
        async with session.post("/stop", data=form, allow_redirects=False) as reply:
            assert reply.status == 303
        assert [stop["why"] for stop in (await at.node.status())["stops"]] == ["fire"]

    told(tmp_path, story)


def test_every_page_speaks_every_language(tmp_path: Path) -> None:
    async def story(at: Furnished, session: aiohttp.ClientSession) -> None:
        for language in Language:
            session.cookie_jar.update_cookies({"lang_office": language.value})
            for path in paths_of(at).values():
                text = await page(session, path)
                assert f'<html lang="{translator(language).tag}">' in text
                assert not re.findall(r">\s*(?:reason|relay_state|alarm_kind|cause|loss_unknown|outcome)\.\w+", text)

    told(tmp_path, story)


@pytest.mark.browser
def test_pages_in_a_browser_lack_nothing_and_load_nothing_from_elsewhere(
    tmp_path: Path, chromium: str, picture_folder: Path
) -> None:
    async def story(at: Furnished, _: aiohttp.ClientSession) -> None:
        async with browser_at(chromium) as browser:
            for language, scheme, size in (("uz_Latn", "light", None), ("en", "dark", None), ("ru", "light", PHONE)):
                look = watched(browser, at.url, language=language, scheme=scheme, size=size)  # type: ignore[arg-type]
                async with look as seen:
                    for name, path in paths_of(at).items():
                        await seen.open(path)
                        assert await seen.lacks() == [], path
                        await seen.picture(picture_folder, f"office-{name}-{language}-{scheme}")
                    assert (seen.complaints, seen.elsewhere) == ([], [])

    told(tmp_path, story)


@pytest.mark.browser
def test_a_page_comes_alive_without_being_asked_and_says_when_it_lost_its_server(tmp_path: Path, chromium: str) -> None:
    async def whole() -> None:
        async with browser_at(chromium) as browser, furnished(tmp_path) as at, watched(browser, at.url) as seen:
            await seen.open("/")
            await seen.page.wait_for_selector("html[data-ready=live]", state="attached")
            assert "All cuts are stopped" not in await seen.text("body")
            await at.node.stop_cuts("p-cashier", "flood at the substation")
            await seen.page.wait_for_selector("text=flood at the substation")
            assert not await seen.page.is_visible("#not-live")
            await at.stop_serving()
            await seen.page.wait_for_selector("#not-live", state="visible")

    asyncio.run(whole())


@pytest.mark.browser
def test_a_payment_in_the_browser_by_keyboard(tmp_path: Path, chromium: str, picture_folder: Path) -> None:
    async def story(at: Furnished, _: aiohttp.ClientSession) -> None:
        account = at.account(CUT)
        async with browser_at(chromium) as browser, watched(browser, at.url) as seen:
            await seen.open("/desk")
            await seen.page.keyboard.type(account.id)  # the field has the focus
            await seen.page.keyboard.press("Enter")
            await seen.page.wait_for_selector("#amount:focus")
            await seen.page.keyboard.type("12500.50")
            await seen.page.keyboard.press("Tab")
            await seen.page.keyboard.type("p-cashier")
            await seen.page.keyboard.press("Tab")
            await seen.page.keyboard.type(CASHIER_SECRET)
            await seen.page.keyboard.press("Enter")
            await seen.page.wait_for_url("**/desk/receipts/*")
            assert "12,500.50" in await seen.text(".receipt")
            await seen.page.wait_for_selector("button[data-print]", state="visible")
            assert await seen.lacks() == []
            await seen.picture(picture_folder, "office-receipt-en-light")
            await seen.page.go_back()
            await seen.page.reload()
            entries = (await at.node.store.ledger.statement(account.id)).entries
            assert sum(entry.amount_tiyin == 1_250_050 for entry in entries) == 1
            assert (seen.complaints, seen.elsewhere) == ([], [])

    told(tmp_path, story)


@pytest.mark.browser
def test_everything_works_with_javascript_off(tmp_path: Path, chromium: str) -> None:
    async def story(at: Furnished, _: aiohttp.ClientSession) -> None:
        async with browser_at(chromium) as browser, watched(browser, at.url, javascript=False) as seen:
            for path in paths_of(at).values():
                await seen.open(path, ready=False)
                assert await seen.page.inner_text("h1")
            await seen.open("/consumers", ready=False)
            await seen.page.fill("#q", at.account(CUT).id)
            await seen.page.click("form button")
            await seen.page.click("tbody a")
            assert "cut for debt" in await seen.text()
            await seen.page.click("text=Take a payment")
            await seen.page.fill("#amount", "1000")
            await seen.page.fill("#cashier", "p-cashier")
            await seen.page.fill("#secret", CASHIER_SECRET)
            await seen.page.click("form button")
            assert "1,000 so" in await seen.text(".receipt")
            await seen.page.click("text=Русский")
            assert "Квитанция" in await seen.text(".receipt")
            assert seen.elsewhere == []

    told(tmp_path, story)
