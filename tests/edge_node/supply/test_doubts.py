"""In doubt nothing is cut: what could not be taken in, a registry that changed meanwhile, a store that went back."""

from dataclasses import replace
from pathlib import Path

import pytest

from edge_node.store.downlink import Downlink
from edge_node.store.readings import Latest
from edge_node.store.registries import pack_document
from edge_node.store.registry_versions import insert_registry
from gridmodel.control import RelayState
from gridmodel.policy import Reason
from gridmodel.reading import Quality
from gridmodel.registry_document import registry_to_document
from protocols.sync import wire
from protocols.sync.chunk import document as documents
from protocols.sync.lanes import DownLane
from protocols.sync.pull import DownItem
from tests.edge_node.supply.network import account_id, point_id, registry
from tests.edge_node.supply.office import Office, alarms, told


def _downlink(office: Office) -> Downlink:
    sources = office.sources
    appliers = {
        DownLane.LEDGER: sources.ledger.apply_ledger_item,
        DownLane.AUTHORITY: sources.records.apply_record_item,
    }
    return Downlink(office.control, registries=office.registries, appliers=appliers)


async def _reasons(office: Office, number: int) -> tuple[Reason, ...]:
    places = office.enforcement.places()
    assert places is not None
    place = places.at(point_id(number), office.clock.at)
    assert place is not None
    return (await office.enforcement.door.judge(place)).decision.reasons


@pytest.mark.parametrize(
    ("lane", "kind", "body"),
    [
        (DownLane.LEDGER, "ledger_entry", {"id": "pay-9", "account": account_id(3), "kind": "payment_by_barter"}),
        (DownLane.LEDGER, "receipt", {"account": account_id(3)}),
        (DownLane.AUTHORITY, "protection", {"id": "prot-9", "kind": "life_support", "usage_point": point_id(3)}),
        (DownLane.AUTHORITY, "moratorium_of_a_later_program", {}),
        (DownLane.REGISTRY, "registry", {"document": {"version": 2}}),
    ],
)
def test_an_item_that_may_have_been_a_payment_or_a_protection_cuts_nobody(
    tmp_path: Path, lane: DownLane, kind: str, body: dict[str, object]
) -> None:
    async def story(office: Office) -> None:
        await office.debtor(3)
        assert await _reasons(office, 3) == (Reason.DEBT_OVERDUE,)
        item = DownItem(lane, 1, kind, "item-1", wire.pack(body))
        assert (await _downlink(office).apply([item], office.clock.at)).refused == 1
        await office.tick_twice()
        assert office.meters.moved == []
        assert Reason.RECORDS_DOUBTFUL in await _reasons(office, 3)

    told(tmp_path, story)


@pytest.mark.parametrize(
    ("lane", "kind", "body"),
    [
        (DownLane.AUTHORITY, "lift_stop", {}),
        (DownLane.AUTHORITY, "mandate", {"document": b"{}"}),
        (DownLane.LEDGER, "watermark", {"channel": "bank", "complete_up_to": 2**40}),
    ],
)
def test_an_item_that_could_only_have_permitted_more_holds_nothing_up(
    tmp_path: Path, lane: DownLane, kind: str, body: dict[str, object]
) -> None:
    async def story(office: Office) -> None:
        await office.debtor(3)
        item = DownItem(lane, 1, kind, "item-1", wire.pack(body))
        assert (await _downlink(office).apply([item], office.clock.at)).refused == 1
        await office.tick_twice()
        assert (await office.row(3)).state is RelayState.DISCONNECTED

    told(tmp_path, story)


def test_who_is_protected_by_a_registry_that_is_durable_but_not_yet_read_is_not_cut(tmp_path: Path) -> None:
    async def story(office: Office) -> None:
        await office.debtor(3)
        await office.tick()
        later = replace(registry(protected={3: "hospital"}), version=2)
        await office.control.write(lambda conn: insert_registry(conn, 2, pack_document(later), office.clock.at))
        await office.tick()
        assert office.meters.moved == []

    told(tmp_path, story)


def test_a_refused_item_that_comes_again_readable_is_settled(tmp_path: Path) -> None:
    async def story(office: Office) -> None:
        await office.debtor(3)
        downlink = _downlink(office)
        torn = DownItem(DownLane.AUTHORITY, 1, "protection", "prot-9", wire.pack({"id": "prot-9"}))
        assert (await downlink.apply([torn], office.clock.at)).refused == 1
        whole = {
            "id": "prot-9",
            "kind": "vulnerable",
            "usage_point": point_id(4),
            "district": None,
            "valid_from": office.clock.at - 1,
            "valid_to": office.clock.at + 86_400,
            "asserted_by": "person-1",
        }
        item = DownItem(DownLane.AUTHORITY, 2, "protection", "prot-9", wire.pack(whole))
        assert (await downlink.apply([item], office.clock.at)).applied == 1
        assert await downlink.refused() == []
        assert not {subject for kind, subject in await alarms(office) if kind == "downlink_refused"}
        await office.tick_twice()
        assert (await office.row(3)).state is RelayState.DISCONNECTED

    told(tmp_path, story)


def test_a_refused_registry_is_settled_by_a_later_one(tmp_path: Path) -> None:
    async def story(office: Office) -> None:
        await office.debtor(3)
        downlink = _downlink(office)
        torn = DownItem(DownLane.REGISTRY, 1, "registry", "r-2", wire.pack({"document": {"version": 2}}))
        later = documents.pack_document({"document": registry_to_document(replace(registry(), version=3))})
        await downlink.apply([torn], office.clock.at)
        assert Reason.RECORDS_DOUBTFUL in await _reasons(office, 3)
        await downlink.apply([DownItem(DownLane.REGISTRY, 2, "registry", "r-3", later)], office.clock.at)
        assert await _reasons(office, 3) == (Reason.DEBT_OVERDUE,)

    told(tmp_path, story)


@pytest.mark.parametrize("ahead_s", [3_600, 365 * 86_400])
def test_a_reading_from_the_future_is_no_fresh_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead_s: int
) -> None:
    """A clock that was wrong for one poll leaves such a reading, and every later one counts as older than it."""

    async def story(office: Office) -> None:
        await office.debtor(3)
        monkeypatch.setattr(office.qualities, "latest", lambda _: Latest(office.clock.at + ahead_s, Quality.ACTUAL))
        await office.tick_twice()
        assert office.meters.moved == []
        assert await _reasons(office, 3) == (Reason.READING_DOUBTFUL,)

    told(tmp_path, story)
