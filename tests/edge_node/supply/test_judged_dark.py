"""Dark homes that owe are judged once, and again as soon as anything may have changed, whoever changed it."""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from edge_node.store.records import Records
from edge_node.supply.door import Door
from edge_node.supply.judging import Judged
from edge_node.supply.place import Place
from gridmodel.control import RelayState
from gridmodel.identity import UsagePointId
from gridmodel.record import Protection, ProtectionKind
from hosting.migrations import load_migrations
from simulate.disk import SimDisk
from tests.edge_node.supply.network import meter_id, point_id
from tests.edge_node.supply.office import DAY, Office, sources_of, told


def _shield(point: str, since: int, until: int, name: str = "shield") -> Protection:
    return Protection(name, ProtectionKind.MEDICAL, UsagePointId(point), None, since, until, "clinic")


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The points judged by looks, in order."""
    found: list[str] = []
    plain = Door.look_at_dark

    async def noted(self: Door, places: Sequence[Place]) -> list[Judged]:
        found.extend(place.point.id for place in places)
        return await plain(self, places)

    monkeypatch.setattr(Door, "look_at_dark", noted)
    return found


async def _dark(office: Office, judged: list[str]) -> None:
    """Home 3 is cut for its debt, and judged since."""
    await office.debtor(3)
    await office.tick_twice()
    await office.look()
    assert (await office.row(3)).state is RelayState.DISCONNECTED
    assert judged[-1] == point_id(3)
    judged.clear()


def test_who_owes_is_not_judged_again_for_an_hour_when_nothing_changes(tmp_path: Path, judged: list[str]) -> None:
    async def story(office: Office) -> None:
        await _dark(office, judged)
        for _ in range(9):
            await office.look(300)
        assert judged == []
        for _ in range(3):
            await office.look(300)
        assert judged == [point_id(3)]

    told(tmp_path, story)


def test_a_protection_written_by_another_process_restores_at_the_next_look(tmp_path: Path, judged: list[str]) -> None:
    async def story(office: Office) -> None:
        await _dark(office, judged)
        disk = SimDisk(random.Random(2))
        other = await disk(tmp_path / "control.db", "control", load_migrations("edge_node.store", "schema/control"))
        try:
            now = office.clock.at
            records: Records = sources_of(other, office.qualities).records
            await records.put_protection(_shield(point_id(3), now - DAY, now + DAY), now)
        finally:
            await other.close()
        await office.look()
        await office.look()
        assert (await office.row(3)).state is RelayState.CONNECTED

    told(tmp_path, story)


def test_a_protection_that_begins_by_the_clock_restores_at_the_next_look(tmp_path: Path, judged: list[str]) -> None:
    async def story(office: Office) -> None:
        await _dark(office, judged)
        now = office.clock.at
        await office.sources.records.put_protection(_shield(point_id(3), now + 900, now + DAY), now)
        await office.look()
        await office.look(600)
        assert (await office.row(3)).state is RelayState.DISCONNECTED
        await office.look(400)
        await office.look()
        assert (await office.row(3)).state is RelayState.CONNECTED

    told(tmp_path, story)


def test_a_safety_lock_that_ends_by_the_clock_holds_back_no_longer(tmp_path: Path, judged: list[str]) -> None:
    async def story(office: Office) -> None:
        await _dark(office, judged)
        now, point = office.clock.at, UsagePointId(point_id(3))
        lock = Protection("lock", ProtectionKind.SAFETY_LOCK, point, None, now - DAY, now + 900, "crew")
        await office.sources.records.put_protection(lock, now)
        await office.sources.records.put_protection(_shield(point_id(3), now - DAY, now + DAY), now)
        await office.look()
        await office.look(600)
        assert (await office.row(3)).state is RelayState.DISCONNECTED
        await office.look(400)
        await office.look()
        assert (await office.row(3)).state is RelayState.CONNECTED

    told(tmp_path, story)


def test_a_clock_that_stepped_over_a_protection_and_back_takes_it_from_nobody(
    tmp_path: Path, judged: list[str]
) -> None:
    async def story(office: Office) -> None:
        await _dark(office, judged)
        now = office.clock.at
        await office.sources.records.put_protection(_shield(point_id(3), now - DAY, now + 600), now)
        await office.look(1_200)
        assert (await office.row(3)).state is RelayState.DISCONNECTED
        await office.look(-900)
        await office.look()
        assert (await office.row(3)).state is RelayState.CONNECTED

    told(tmp_path, story)


def test_a_home_cut_again_after_it_was_judged_is_judged_again(tmp_path: Path, judged: list[str]) -> None:
    async def story(office: Office) -> None:
        await _dark(office, judged)
        await office.debtor(5)
        await office.tick_twice()
        judged.clear()
        await office.look()
        assert judged == [point_id(5)]
        await office.look()
        assert judged == [point_id(5)]

    told(tmp_path, story)


def test_a_home_whose_relay_is_seen_otherwise_is_judged_again(tmp_path: Path, judged: list[str]) -> None:
    async def story(office: Office) -> None:
        await _dark(office, judged)
        relays, row, now = office.sources.relays, await office.row(3), office.clock.at
        foreign = replace(row, meter=meter_id(9))
        await office.control.write(lambda conn: relays.put(conn, [foreign]))
        await office.sources.records.put_protection(_shield(point_id(3), now - DAY, now + DAY), now)
        await office.look()
        assert office.meters.moved[-1][2] is False
        await office.control.write(lambda conn: relays.put(conn, [row]))
        await office.look()
        assert (await office.row(3)).state is RelayState.CONNECTED

    told(tmp_path, story)


def test_other_rules_have_everybody_judged_again(tmp_path: Path, judged: list[str]) -> None:
    async def story(office: Office) -> None:
        await _dark(office, judged)
        office.rules = type(office.rules)(**{name: getattr(office.rules, name) for name in office.rules.__slots__})
        await office.look()
        assert judged == [point_id(3)]

    told(tmp_path, story)
