"""The hub's list of consumers: everybody once, as a person counts; those without supply or in debt alone."""

from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from central_sync.hub import Hub
from central_sync.situation.finding import Matter
from central_sync.situation.nodes import NodeFault
from gridmodel.account import EntryKind
from gridmodel.identity import AccountId, EntryId
from protocols.sync import facts
from protocols.sync.lanes import Lane, Record
from tests.central_sync.furnished_hub import POINT, FurnishedHub
from tests.central_sync.hub_rig import (
    START,
    A,
    B,
    HandClock,
    Speaker,
    entry_record,
    import_registry,
    payment,
    registry_of,
    run_hub,
)
from tests.central_sync.test_hub_pages import page, told

MOVED = (
    ("up-t-a0-10", 1, "cut", "confirmed"),
    ("up-t-a0-9", 1, "cut", "confirmed"),
    ("up-t-a0-9", 2, "restore", None),
    ("up-t-a0-8", 1, "cut", "confirmed"),
    ("up-t-a0-8", 2, "restore", "confirmed"),
    ("up-t-a1-0", 1, "cut", "withheld"),
    ("up-t-a1-1", 1, "restore", "withheld"),
)


def moved(point: str, number: int, action: str, outcome: str | None) -> Record:
    fact = facts.RelayOperationFact(
        usage_point=point,
        meter="m-" + point,
        transformer="t-a0",
        action=action,
        cause="debt",
        basis={"reasons": []},
        mandate=None,
        intent_at=START + number,
        sent_at=None,
        result_at=None if outcome is None else START + number,
        outcome=outcome,
    )
    return Record(facts.RELAY_OPERATION, f"op-{point}-{number}", fact.to_body())


async def listed(hub: Hub, node: str | None, size: int, matter: Matter = Matter.ALL) -> list[str]:
    seen: list[str] = []
    after: str | None = ""
    while after is not None:
        part = await hub.consumers.page(node, after, size, matter)
        assert len(part["consumers"]) <= size
        seen += [one["usage_point"] for one in part["consumers"]]
        after = part["next"]
    return seen


def test_everybody_stands_once_as_a_person_counts(tmp_path: Path) -> None:
    async def story(hub: Hub, _: HandClock) -> None:
        await import_registry(hub, registry_of(A, transformers=2, points=11))
        await import_registry(hub, registry_of(B, transformers=1, points=2))
        first = [f"up-t-a{n}-{m}" for n in range(2) for m in range(11)]
        for size in (1, 3, 100):
            assert await listed(hub, A, size) == first, "house 9 comes before house 10"
            assert await listed(hub, None, size) == [*first, "up-t-b0-0", "up-t-b0-1"]
        await import_registry(hub, registry_of(B, version=2, transformers=1, points=3))
        assert (await listed(hub, B, 2))[-1] == "up-t-b0-2", "a newer registry is seen"
        with pytest.raises(NodeFault, match="go on from"):
            await hub.consumers.page(None, "up-x", 3)

    run_hub(tmp_path, story)


def test_those_in_debt_and_those_without_supply_are_found(tmp_path: Path) -> None:
    async def story(hub: Hub, _: HandClock) -> None:
        await import_registry(hub, registry_of(A, transformers=2, points=11))
        await import_registry(hub, registry_of(B, transformers=1, points=2))
        speaker = Speaker(hub, A)
        await speaker.hello()
        charge = replace(payment(A, 1), kind=EntryKind.CHARGE, amount_tiyin=-500, due_at=START)
        owing = ("up-t-a0-2", "up-t-a0-10", "up-t-a1-3")
        rows = [replace(charge, id=EntryId(f"c-{one}"), account=AccountId(f"acc-{one}")) for one in owing]
        rows.append(replace(rows[0], id=EntryId("paid"), kind=EntryKind.PAYMENT, amount_tiyin=500))
        await speaker.send(Lane.LEDGER, *(entry_record(one) for one in rows))
        await speaker.send(Lane.CONTROL, *(moved(*one) for one in MOVED))
        for size in (1, 2, 9):
            assert await listed(hub, None, size, Matter.OWING) == ["up-t-a0-10", "up-t-a1-3"]
            assert await listed(hub, None, size, Matter.CUT) == ["up-t-a0-9", "up-t-a0-10", "up-t-a1-1"]
        assert await listed(hub, B, 9, Matter.CUT) == []

    run_hub(tmp_path, story)


def test_the_page_has_its_lists(tmp_path: Path) -> None:
    async def story(_: FurnishedHub, session: aiohttp.ClientSession) -> None:
        text = await page(session, "/consumers?show=cut")
        assert text.count('href="/consumers/up-') == 1
        assert f'href="/consumers/{POINT}"' in text
        assert "Nobody is on this list now" in await page(session, "/consumers?show=owing")
        assert "TQ-HB-54" in await page(session, "/consumers?show=everybody", 400)
        assert "TQ-HB-53" in await page(session, "/consumers?after=up-x", 404)
        async with session.get("/api/v1/consumers?show=cut", headers={"Accept": "application/json"}) as reply:
            assert [one["usage_point"] for one in (await reply.json())["consumers"]] == [POINT]

    told(tmp_path, story)
