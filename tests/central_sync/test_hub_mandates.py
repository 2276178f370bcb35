"""Mandates: drafted and signed on persons' machines, carried by the hub, byte for byte, only when two approved."""

from pathlib import Path

import pytest

from central_sync import mandate_files
from central_sync.authority.mandates import MandateTerms, draft, shown
from central_sync.hub import Hub
from gridmodel.fault import Fault
from gridmodel.identity import NodeId
from gridmodel.period import HOUR_S, rfc3339
from hosting.keys import KeyDomain, create_signing_key
from protocols.authority.mandate import SignedMandate, sign_mandate
from protocols.sync import wire
from protocols.sync.lanes import DownLane
from tests.central_sync.hub_rig import APPROVERS, END, A, HandClock, SeededEntropy, Speaker, run_hub


def terms(**changes: object) -> MandateTerms:
    fields: dict[str, object] = {
        "node": A, "not_before": END, "expires": END + 48 * HOUR_S, "policy_version": "demo-1", "quota_per_day": 5,
        "watermark_age_h_max": 24, "account_classes": ("household",), "counter": 1,
    }  # fmt: skip
    return MandateTerms(**(fields | changes))  # type: ignore[arg-type]


def signed(*people: str, seed: int = 1, **changes: object) -> bytes:
    mandate = draft(terms(**changes), END, SeededEntropy(seed))
    for person in people:
        mandate = sign_mandate(mandate, APPROVERS[person])
    return mandate.to_json()


def test_two_persons_are_enough_and_the_node_gets_their_bytes(tmp_path: Path) -> None:
    async def story(hub: Hub, clock: HandClock) -> None:
        document = signed("p1", "p2")
        told = await hub.publish_mandate(document)
        assert (told["new"], told["persons"]) == (True, ["p1", "p2"])
        assert (await hub.publish_mandate(document))["new"] is False
        (item,) = (await Speaker(hub, A).pull({DownLane.AUTHORITY: 0})).items
        assert item.kind == "mandate"
        assert wire.unpack(item.body) == {"document": document}
        (listed,) = await hub.mandates.listed(A)
        assert listed["state"] == "in_force"
        clock.at = END + 48 * HOUR_S
        assert (await hub.mandates.listed(None))[0]["state"] == "expired"

    run_hub(tmp_path, story)


def test_a_mandate_of_the_future_may_be_published_ahead(tmp_path: Path) -> None:
    async def story(hub: Hub, _: HandClock) -> None:
        later = signed("p1", "p2", not_before=END + 24 * HOUR_S)
        assert (await hub.publish_mandate(later))["new"]
        assert (await hub.mandates.listed(A))[0]["state"] == "not_yet"

    run_hub(tmp_path, story)


@pytest.mark.parametrize(
    "document",
    [
        signed("p1"),
        signed("p1", "p2", watermark_age_h_max=72),
        signed("p1", "p2", not_before=END - 90 * HOUR_S, expires=END - HOUR_S),
        signed("p1", "p2").replace(b'"quota_per_day": 5', b'"quota_per_day": 6'),
        signed("p1", "p2", node=NodeId("node-x")),
        b"{}",
        b"\xff",
        b"[" * 8_000,
    ],
    ids=["one", "extended", "expired", "altered", "stranger", "empty", "bytes", "deep"],
)
def test_what_permits_nothing_is_not_carried(tmp_path: Path, document: bytes) -> None:
    async def story(hub: Hub, _: HandClock) -> None:
        with pytest.raises(Fault):
            await hub.publish_mandate(document)
        assert (await Speaker(hub, A).pull({DownLane.AUTHORITY: 0})).items == ()

    run_hub(tmp_path, story)


def test_an_older_counter_cannot_come_back(tmp_path: Path) -> None:
    async def story(hub: Hub, _: HandClock) -> None:
        await hub.publish_mandate(signed("p1", "p2", seed=1, counter=7))
        with pytest.raises(Fault, match="TQ-HB-40"):
            await hub.publish_mandate(signed("p1", "p3", seed=2, counter=7))
        await hub.publish_mandate(signed("p1", "p3", seed=2, counter=8))

    run_hub(tmp_path, story)


def test_a_person_sees_what_is_signed_and_may_refuse(tmp_path: Path) -> None:
    file, key = tmp_path / "mandate.json", tmp_path / "person.key"
    create_signing_key(key, SeededEntropy(3), KeyDomain.DEMO)
    asked = mandate_files.Asked("node-a", rfc3339(END), rfc3339(END + HOUR_S), "demo-1", 5, 24, ("household",), 1)
    told = mandate_files.write_draft(file, asked, END, SeededEntropy())
    assert told["persons_needed"] == 2
    seen: list[str] = []

    def refuse(text: str) -> bool:
        seen.append(text)
        return False

    before = file.read_bytes()
    assert mandate_files.sign(file, key, demo=True, agree=refuse) == {"signed": False}
    assert file.read_bytes() == before
    assert '"quota_per_day": 5' in seen[0]
    assert mandate_files.sign(file, key, demo=True, agree=lambda _: True)["signatures"] == 1
    assert len(SignedMandate.from_json(file.read_bytes()).signatures) == 1
    with pytest.raises(Fault, match="TQ-KY-05"):
        mandate_files.sign(file, key, demo=False, agree=lambda _: True)
    with pytest.raises(Fault, match="TQ-HB-63"):
        mandate_files.write_draft(file, asked, END, SeededEntropy())
    assert shown(SignedMandate.from_json(file.read_bytes()))["node"] == "node-a"
