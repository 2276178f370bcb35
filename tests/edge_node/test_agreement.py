"""How a store stands to its hub, as status and doctor say it; nobody is cut unless both agree."""

import asyncio
from pathlib import Path

import pytest

from edge_node.config import load_rules
from edge_node.console.status import StatusBoard
from edge_node.doctor import Doctor
from edge_node.reports import status_lines
from edge_node.store.state import Agreement, Mark
from hosting.checkup import Health
from tests.central_sync.hub_rig import END, ZONE, A, HandClock
from tests.edge_node.uplink.courier_bench import desk

FENCE = '{"challenge": "", "since": 1, "wait_s": 840}'
AGREED = {Mark.RECONCILED_AT: "1"}
CASES = {
    Agreement.NEVER: ({}, Health.WARN),
    Agreement.AGREED: (AGREED, Health.OK),
    Agreement.RECALLING: (
        AGREED | {Mark.HUB_MOVED: "hub-2", Mark.RECALL_WANTED: "lane ledger: it forked"},
        Health.WARN,
    ),
    Agreement.HUB_ROLLED_BACK: (
        AGREED | {Mark.HUB_MOVED: "hub-1", Mark.HUB_ROLLED_BACK: "the hub has 2, 5 it had"},
        Health.WARN,
    ),
    Agreement.FENCED: (AGREED | {Mark.FENCED: FENCE}, Health.FAIL),
}


@pytest.mark.parametrize("state", CASES)
def test_status_and_doctor_say_how_a_store_stands_to_its_hub(tmp_path: Path, state: Agreement) -> None:
    marks, health = CASES[state]

    async def story() -> None:
        clock = HandClock(END)
        async with desk(tmp_path / "office", clock) as office:
            for mark, value in marks.items():
                await office.store.state.put(mark, value)
            assert await office.store.state.reconciled() == (state is Agreement.AGREED)
            status = await StatusBoard(office.store, node=A, zone=ZONE, clock=clock).full()
            assert status["agreement"]["state"] == state.value
            line = next(one for one in status_lines(status) if one.startswith("reconciled"))
            shown = "yes" if state is Agreement.AGREED else state.value.upper().replace("_", " ")
            assert shown in line
            doctor = Doctor(office.store, directory=tmp_path / "office", clock=clock, rules=load_rules(None))
            check = next(one for one in await doctor.look() if one.name == "reconciled")
            assert check.health is health
            assert (state is Agreement.AGREED) or "nobody is cut" in check.what
            brief = await StatusBoard(office.store, node=A, zone=ZONE, clock=clock).brief()
            assert brief["agreement"] == state.value

    asyncio.run(story())
