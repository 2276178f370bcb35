"""The page of field works: filled in like a fitter would, with the link lost, over a really running console."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gridmodel.field_work import PHOTO_BYTES_MAX
from hosting.i18n import Language, translator
from tests.edge_node.furnished import Furnished, console_of
from tests.edge_node.offices import FITTER_SECRET, built, office

HTML = {"Accept": "text/html", "Accept-Language": "en"}
JPEG = b"\xff\xd8\xff\xe0" + b"picture" * 1_000
Story = Callable[[Furnished, aiohttp.ClientSession], Awaitable[None]]


def told(folder: Path, story: Story) -> None:
    async def whole() -> None:
        given = await office(folder)
        async with (
            built(given) as node,
            console_of(given, node) as at,
            aiohttp.ClientSession(at.url, headers=HTML) as http,
        ):
            await story(at, http)

    asyncio.run(whole())


async def page(session: aiohttp.ClientSession, path: str) -> str:
    async with session.get(path) as reply:
        text = await reply.text()
        assert reply.status == 200, text[:500]
        return text


def fields(at: Furnished, text: str, **changes: str) -> dict[str, str]:
    """An exchange: the second home's meter, taken down before, comes to the first."""
    registry = at.node.store.registries.current()
    placed = registry.topology(at.office.clock.now()).installation_at
    first, second = registry.usage_points[0].id, registry.usage_points[1].id
    new = registry.meter[placed[second].meter] if second in placed else registry.meters[1]
    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', text))
    plain = {
        "usage_point": str(first),
        "meter": str(new.id),
        "serial": new.serial,
        "profile": new.profile,
        "address": new.address,
        "unit": str(new.unit),
        "final_import": "99 999,5",
        "start_import": "0",
        "seals": "A-1, A-2",
        "by": "p-fitter",
        "secret": FITTER_SECRET,
    }
    return hidden | plain | changes


def form(values: dict[str, str], photo: bytes | None = JPEG) -> aiohttp.FormData:
    data = aiohttp.FormData(default_to_multipart=True)
    for name, value in values.items():
        data.add_field(name, value)
    if photo is not None:
        data.add_field("photo", BytesIO(photo), filename="old.jpg", content_type="image/jpeg")
    return data


async def send(session: aiohttp.ClientSession, work: str, data: Any) -> tuple[int, str]:
    async with session.post(f"/meters/{work}", data=data, allow_redirects=False) as reply:
        return reply.status, await reply.text()


async def removed(at: Furnished, session: aiohttp.ClientSession) -> None:
    text = await page(session, "/meters?work=removed")
    second = str(at.node.store.registries.current().usage_points[1].id)
    status, said = await send(session, "removed", form(fields(at, text, usage_point=second), None))
    assert status == 303, said


def test_an_exchange_pressed_twice_is_one_and_stands_on_the_page(tmp_path: Path) -> None:
    async def story(at: Furnished, session: aiohttp.ClientSession) -> None:
        values = fields(at, await page(session, "/meters"))
        await removed(at, session)
        for _ in range(2):
            status, said = await send(session, "exchanged", form(values))
            assert status == 303, said
        registry = at.node.store.registries.current()
        assert registry.works == 2
        placed = registry.topology(at.office.clock.now() + 60).installation_at[values["usage_point"]]
        assert (placed.meter, placed.start_registers_wh, placed.unproven) == (values["meter"], (0,), True)
        text = await page(session, "/meters")
        assert "Meter exchanged" in text
        assert values["meter"] in text
        assert FITTER_SECRET not in text
        assert len(list((at.office.config.data_dir / "photos").glob("*.jpg"))) == 1

    told(tmp_path, story)


def test_a_wrong_form_comes_back_filled_and_nothing_is_recorded(tmp_path: Path) -> None:
    async def story(at: Furnished, session: aiohttp.ClientSession) -> None:
        text = await page(session, "/meters")
        for changes, photo, code in (
            ({"secret": "guess"}, JPEG, "TQ-LG-01"),
            ({"final_import": "many"}, JPEG, "TQ-QT-04"),
            ({"seals": " , "}, JPEG, "TQ-FW-03"),
            ({}, None, "TQ-FW-04"),
            ({}, b"%PDF", "TQ-FW-32"),
            ({}, JPEG + bytes(PHOTO_BYTES_MAX), "TQ-FW-31"),
            ({"at": "soon"}, JPEG, "TQ-PD-03"),
            ({"unit": "one"}, JPEG, "TQ-CN-05"),
            ({"usage_point": "<b>"}, JPEG, "TQ-ID-01"),
            ({"profile": "none_such"}, JPEG, "TQ-FW-22"),
        ):
            values = fields(at, text) | changes
            status, said = await send(session, "exchanged", form(values, photo))
            assert status in {400, 403}, said
            assert code in said, (code, said[:2_000])
            assert "Nothing was recorded" in said
            assert f'value="{values["serial"]}"' in said
            assert FITTER_SECRET not in said
        status, said = await send(session, "exchanged", {"plain": "1"})
        assert status == 415
        status, said = await send(session, "exchanged", form({f"x{n}": "1" for n in range(40)}))
        assert "TQ-CN-05" in said
        status, said = await send(session, "stolen", form(fields(at, text)))
        assert status == 404
        assert at.node.store.registries.current().works == 0

    told(tmp_path, story)


@pytest.mark.parametrize("language", Language)
def test_every_form_speaks_every_language(tmp_path: Path, language: Language) -> None:
    async def story(at: Furnished, session: aiohttp.ClientSession) -> None:
        await removed(at, session)
        said = translator(language).gettext("Recorded lately")
        wish = {"Accept-Language": translator(language).tag}
        for work in ("exchanged", "installed", "moved", "removed", "commissioned"):
            text = await page(session, f"/meters?work={work}")
            async with session.get(f"/meters?work={work}", headers=wish) as reply:
                assert said in await reply.text()
            assert f'action="/meters/{work}"' in text

    told(tmp_path, story)
