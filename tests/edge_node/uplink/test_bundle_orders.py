"""Whatever a courier does with his files, the hub ends where the link would have led it."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.central_sync.hub_rig import A
from tests.edge_node.uplink.courier_bench import Courier, DirectLink, courier, holdings, uplink
from tests.edge_node.uplink.test_bundles import at_bank

STEPS = ("office", "bank", "up", "down", "give", "bring", "give", "bring")


async def at_work(carrier: Courier, number: int) -> None:
    """A piece of an office's day."""
    await carrier.desk.take(2 * number, 2 * number + 1)
    await carrier.desk.close_hours(1 + number % 3, number)
    if number % 3 == 0:
        await carrier.desk.close_day(1 + number // 3)


async def carried_about(carrier: Courier, steps: list[str], dice: Random) -> tuple[int, int]:
    """Files are written, brought in any order, again, or never; gives how much was worked."""
    ups, downs, worked, paid = list[Path](), list[Path](), 0, 0
    for step in steps:
        match step:
            case "office":
                worked += 1
                await at_work(carrier, worked)
            case "bank":
                paid += 1
                await carrier.hub.import_ledger(at_bank(paid), "bank")
            case "up":
                ups.append(await carrier.up())
            case "down":
                downs.append(await carrier.down())
            case "give" if ups:
                downs.append((await carrier.give(dice.choice(ups)))[1])
            case "bring" if downs:
                assert (await carrier.bring(dice.choice(downs)))["ok"]
            case _:
                continue
    return worked, paid


@settings(
    max_examples=12,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=st.lists(st.sampled_from(STEPS), min_size=6, max_size=24), seed=st.integers(0, 2**32))
def test_any_order_ends_where_the_link_leads(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str], seed: int
) -> None:
    by_courier, by_link = tmp_path_factory.mktemp("courier"), tmp_path_factory.mktemp("link")

    async def by_files() -> tuple[int, int]:
        async with courier(by_courier) as carrier:
            counts = await carried_about(carrier, steps, Random(seed))
            assert (await carrier.trip())["settled"]
            assert (await carrier.trip())["ok"]
            assert await carrier.desk.drained()
            assert len(await carrier.desk.payments_known()) == counts[1]
            assert await carrier.hub.link.retry(A) == 0
            return counts

    async def by_line(worked: int, paid: int) -> None:
        async with courier(by_link) as carrier:
            for number in range(1, worked + 1):
                await at_work(carrier, number)
            for number in range(1, paid + 1):
                await carrier.hub.import_ledger(at_bank(number), "bank")
            link = asyncio.create_task(uplink(carrier.desk, DirectLink(carrier.hub)).run())
            await until(link, carrier.desk.drained)
            link.cancel()

    worked, paid = asyncio.run(by_files())
    asyncio.run(by_line(worked, paid))
    assert holdings(by_courier / "hub") == holdings(by_link / "hub")


async def until(link: "asyncio.Task[None]", condition: Callable[[], Awaitable[bool]]) -> None:
    while not await condition():
        assert not link.done()


def test_a_courier_alone_and_the_link_in_between(tmp_path: Path) -> None:
    async def story() -> None:
        async with courier(tmp_path) as carrier:
            office = carrier.desk
            await at_work(carrier, 1)
            first = await carrier.up()
            link = asyncio.create_task(uplink(office, DirectLink(carrier.hub)).run())
            await until(link, office.drained)
            link.cancel()
            await at_work(carrier, 2)
            told, answer = await carrier.give(first)
            assert set(told["batches"]) == {"duplicate"}
            assert (await carrier.bring(answer))["ok"]
            assert (await carrier.trip())["settled"]
            assert await office.drained()

    asyncio.run(story())
