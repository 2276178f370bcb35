"""Sides that are validly signed and lie: a comparison ends, takes in nothing that was not asked for."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from central_sync.reports import verify_exit
from edge_node.store.state import Mark
from edge_node.uplink import comparison
from hosting.process import Exit
from protocols.errors import ProtocolFault
from protocols.sync.completeness import ROOT, Compare, CompareReply
from protocols.sync.lanes import DownLane
from protocols.sync.link import LinkLost
from protocols.sync.seal import sign_compare
from tests.central_sync.hub_rig import SIGNERS, A
from tests.simulate.parted_days import FIRST, LAST, NOW, Parted
from tests.simulate.test_completeness import play

HEARD: dict[str, Any] = {"hub_incarnation": "hub-1", "hub_time": NOW, "kept_from": ""}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"differ": {"": 1}}, {}),
        ({"differ": {"2026-05-04": 1}}, {}),
        ({"differ": {"2026-06": 1}}, {}),
        ({"differ": {"2026-05": 1}}, {"differ": {"2026-05": 1}}),
        ({"differ": {"2026-05": 1}}, {"differ": {"2026-05-06": 1}}),
        ({"extra": (("2026-05-04", bytes(32)),)}, {}),
        ({"lacking": (bytes(32),)}, {}),
        ({"chunk": b"x"}, {}),
    ],
)
def test_a_hub_that_answers_what_was_not_asked_is_heard_no_further(
    tmp_path: Path, first: dict[str, Any], second: dict[str, Any]
) -> None:
    answers = [CompareReply(**HEARD, **first), CompareReply(**HEARD, **second)]

    async def hostile(_: str, __: bytes) -> bytes:
        return answers.pop(0).to_bytes()

    async def story(both: Parted) -> None:
        await both.store.state.put(Mark.COMPARE_WANTED, json.dumps({"id": "asked", "first": FIRST, "last": LAST}))
        with pytest.raises(ProtocolFault, match="TQ-SY-60"):
            for _ in range(2):
                await both.room.step(hostile)
        assert not await both.store.outbox.owing()
        assert both.store.readings.segments.months() == ["2026-05"]

    play(tmp_path, story)


def test_a_hub_that_counts_less_than_is_here_breaks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "LEAVES_TOLD_MAX", 0)

    async def lying(_: str, body: bytes) -> bytes:
        asked = Compare.from_bytes(body)
        assert not asked.leaves, "a range of more leaves than fit is asked about by its parts"
        return CompareReply(**HEARD, differ=dict.fromkeys(asked.children, 0)).to_bytes()

    async def story(both: Parted) -> None:
        await both.store.state.put(Mark.COMPARE_WANTED, json.dumps({"id": "asked", "first": FIRST, "last": LAST}))
        for _ in range(6):
            await both.room.step(lying)

    play(tmp_path, story)


def test_a_month_whose_file_is_damaged_is_told_and_the_others_are_compared(tmp_path: Path) -> None:
    async def story(both: Parted) -> None:
        segments = both.store.readings.segments
        await segments.close()
        segments._path("2026-05").write_bytes(b"no database at all" * 4_000)
        segments._path("2026-04").write_bytes(b"nor this" * 4_000)
        told = await both.verify(repair=False)
        assert told["state"] == "differs", told
        compared = await both.compared()
        assert (compared["state"], compared["damaged"], compared["given_back"]) == ("differs", 1, 0)
        assert both.uplink.view().up

    play(tmp_path, story)


def test_a_node_that_says_all_is_well_without_having_looked_is_not_believed(tmp_path: Path) -> None:
    asked = Compare(
        node=A, request="", first=FIRST, last=LAST, kept_from="", seed=bytes(16), parents=(ROOT,), signed_at=NOW,
        nonce=bytes(16), key_id=SIGNERS[A].key_id,
    )  # fmt: skip

    async def story(both: Parted) -> None:
        await stopped(both)

        async def lie() -> None:
            while True:
                items = await both.hub.store.read(lambda tx: tx.down_items(A, DownLane.AUTHORITY, 0, 9, 99_999))
                requests = [item.id for item in items if item.kind == "compare"]
                for one in [replace(asked, request=request) for request in requests]:
                    for message in (one, replace(one, parents=())):
                        await both.hub.handle("compare", sign_compare(message, SIGNERS[A]).to_bytes())
                if requests:
                    return
                await asyncio.sleep(0)

        lying = asyncio.create_task(lie())
        told = await both.verify(repair=False)
        await lying
        assert told["state"] == "differs", told
        assert verify_exit(told) is Exit.FAILED

    play(tmp_path, story)


async def stopped(both: Parted) -> None:
    """The node itself asks for nothing any more."""

    class Mute:
        async def exchange(self, kind: str, _: bytes) -> bytes:
            raise LinkLost(50, f"no {kind}", "wait")

        async def close(self) -> None:
            return

    both.uplink._link = Mute()
