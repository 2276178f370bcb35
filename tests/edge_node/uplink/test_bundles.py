"""A courier in place of the link: there and back, twice, late, in any order, to the wrong door."""

import asyncio
from pathlib import Path

import pytest

from edge_node.store.state import Mark
from gridmodel.fault import Fault
from protocols.sync.lanes import DownLane, Lane
from tests.central_sync.hub_rig import END, A, B, HandClock, payment
from tests.central_sync.test_hub_imports import csv_of
from tests.edge_node.uplink.courier_bench import Courier, courier, desk, holdings, uplink, with_courier, DirectLink

MONTH_S = 30 * 86_400
AT_BANK = "e-1;acc-up-t-a0-0;payment;150000.50;2026-05-04T18:00:00+05:00;;"


def test_a_courier_replaces_the_link_whole(tmp_path: Path) -> None:
    async def story(carrier: Courier) -> None:
        office, hub = carrier.desk, carrier.hub
        assert office.store.registries.newest is not None, "the first bundle brought the registry"
        await office.take(1, 2)
        await office.close_hours(3)
        await office.close_day()
        told, answer = await carrier.give(await carrier.up())
        assert told["batches"] == {"applied": 3}
        assert (told["ok"], told["stopped"]) == (True, {})
        assert await hub.store.read(lambda tx: tx.ledger_entries(["pay-node-a-1", "pay-node-a-2"]))
        assert (await hub.store.read(lambda tx: tx.chunk_days(A))) == [("2026-05-04", 1)]
        assert not await office.drained()
        back = await carrier.bring(answer)
        assert back["acknowledged"] == {"ledger": 1, "summary": 1, "interval": 1}
        assert await office.drained()
        assert back["settled"]
        assert await office.store.state.reconciled()

    with_courier(tmp_path, story)
