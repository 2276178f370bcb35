"""What a refused registry forbids until another holds, and parts that come a second time."""

from dataclasses import replace
from pathlib import Path

import pytest

from edge_node.store.downlink import may_lack_protection
from gridmodel import registry_parts
from gridmodel.event import AlarmKind
from tests.edge_node.metering.small_grid import grid, link, placed
from tests.edge_node.store.test_registry_parts import (
    Site,
    Spoil,
    items,
    numbered,
    reordered,
    same_version,
    told,
    unknown,
    without,
)
from tests.gridmodel.test_registry_parts import same


@pytest.fixture(autouse=True)
def few_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_parts, "PART_PLACES", 4)


@pytest.mark.parametrize("spoil", [without, reordered, unknown, same_version])
def test_parts_of_the_next_version_do_not_permit_what_a_refused_one_forbids(tmp_path: Path, spoil: Spoil) -> None:
    """The refused version is the newest word on the network until another holds, however slowly its parts come."""

    async def story(one: Site) -> None:
        await one.take(items(numbered(1, 20)))
        await one.take(spoil(items(numbered(2), first=30)))
        sent = items(numbered(3), first=60)
        for part in sent[:-1]:
            await one.take([part])
            assert await one.control.read(may_lack_protection)
            assert await one.downlink.registry_refused(), "the hub is told, and sends all parts of the next one"
        await one.take(sent[-1:])
        assert not await one.control.read(may_lack_protection)
        assert not await one.downlink.registry_refused()
        assert await one.alarms.count(AlarmKind.DOWNLINK_REFUSED) == 0, "a newer version holds: that one is moot"
        assert await one.codes() == set()

    told(story, tmp_path)


def test_a_part_that_comes_again_mends_a_damaged_one_and_waits_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_node.store.registry_versions.PARTS_WAITING_MAX", 20)

    async def story(one: Site) -> None:
        sent = items(numbered(1))
        await one.take(sent[:-1])
        await one.control.write(
            lambda conn: conn.execute("UPDATE registry_part SET document = zeroblob(9) WHERE rowid = 3")
        )
        strays = [
            items(grid([link(f"up-{number}", "t-1")], [placed("m-x", f"up-{number}")], version=9))[0]
            for number in range(8)
        ]
        sent_again = [*strays[:4], *sent[:-1], *strays[4:]]
        await one.take([replace(part, offset=number) for number, part in enumerate(sent_again, start=50)])
        await one.take([replace(sent[-1], offset=300)])
        assert same(one.registries.current(), numbered(1))

    told(story, tmp_path)
