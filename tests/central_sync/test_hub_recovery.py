"""Attestations and recalls at the hub: only a node's own facts, only to its own key, and nothing from hostile bytes."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from central_sync.hub import Hub
from central_sync.ingest.refilling import restored
from gridmodel.fault import Fault
from protocols.authority.canonical import Domain
from protocols.authority.signatures import Signer
from protocols.sync.attest import Attest, AttestReply, Copy
from protocols.sync.facts import LEDGER_RETURNED, ledger_entry_to_body
from protocols.sync.lanes import AckOutcome, Lane, Record
from protocols.sync.recall import PLACE_END, Recall, RecallReply, leaf_of
from protocols.sync.seal import sign_attest, sign_recall
from tests.central_sync.hub_rig import (
    END,
    SIGNERS,
    A,
    B,
    HandClock,
    SeededEntropy,
    Speaker,
    entry_record,
    import_registry,
    payment,
    registry_of,
    run_hub,
)
from tests.central_sync.test_hub_http import CONFIG, command
from tests.central_sync.test_hub_imports import csv_of

MUTATIONS = 2_000
STRANGER = Signer.from_seed(b"s" * 32, Domain.DEMO)


def attest(signer: Signer = SIGNERS[A], **changes: object) -> Attest:
    plain = Attest(
        node=A, ticket=b"", next_ticket=b"1" * 16, challenge=b"", tails={}, heads={}, signed_at=END,
        nonce=b"n" * 16, key_id=signer.key_id,
    )  # fmt: skip
    return sign_attest(replace(plain, **changes), signer)  # type: ignore[arg-type]


def recall(signer: Signer = SIGNERS[A], **changes: object) -> Recall:
    plain = Recall(node=A, seed=b"s" * 16, high=PLACE_END, signed_at=END, nonce=b"n" * 16, key_id=signer.key_id)
    return sign_recall(replace(plain, **changes), signer)  # type: ignore[arg-type]


async def asked(hub: Hub, message: Recall) -> RecallReply:
    return RecallReply.from_bytes(await hub.handle("recall", message.to_bytes()))


async def filled(hub: Hub) -> None:
    """Two nodes with payments of their own."""
    for node in (A, B):
        await import_registry(hub, registry_of(node))
        speaker = Speaker(hub, node)
        await speaker.hello()
        await speaker.send(Lane.LEDGER, *(entry_record(payment(node, number)) for number in range(3)))


def test_a_node_is_told_its_own_facts_alone(tmp_path: Path) -> None:
    async def story(hub: Hub, _: HandClock) -> None:
        await filled(hub)
        reply = await asked(hub, recall())
        assert {one.id for one in reply.given} == {f"pay-node-a-{number}" for number in range(3)}
        assert reply.upto == PLACE_END
        foreign = leaf_of(entry_record(payment(B, 1)))
        reply = await asked(hub, recall(leaves=(foreign,)))
        assert reply.lacking == (foreign,), "what another node's hub row says is no business of this one"

    run_hub(tmp_path, story)


@pytest.mark.parametrize("kind", ["attest", "recall"])
def test_a_stranger_and_a_wrong_key_are_refused(tmp_path: Path, kind: str) -> None:
    async def story(hub: Hub, _: HandClock) -> None:
        make = attest if kind == "attest" else recall
        for message in (make(STRANGER), make(SIGNERS[B]), make(node="node-z")):
            with pytest.raises(Fault) as refused:
                await hub.handle(kind, message.to_bytes())
            assert refused.value.code in {"TQ-HB-21", "TQ-HB-22"}
        assert await hub.store.read(lambda tx: tx.ticket(A)) is None

    run_hub(tmp_path, story)


def test_a_damaged_entry_is_never_given(tmp_path: Path) -> None:
    async def story(hub: Hub, _: HandClock) -> None:
        await filled(hub)
        with closing(sqlite3.connect(tmp_path / "hub.db")) as conn, conn:
            conn.execute("UPDATE ledger_entry SET amount_tiyin = 1 WHERE id = 'pay-node-a-1'")
        reply = await asked(hub, recall())
        assert {one.id for one in reply.given} == {"pay-node-a-0", "pay-node-a-2"}

    run_hub(tmp_path, story)


def test_nobody_speaks_for_an_imported_channel_but_at_a_restored_hub(tmp_path: Path) -> None:
    async def story(hub: Hub, clock: HandClock) -> None:
        await filled(hub)
        await hub.import_ledger(
            csv_of("bank-1;acc-up-t-a0-0;payment;1000;2026-05-04T10:00:00+05:00;;"), "bank", complete_up_to=END - 60
        )
        lost = replace(payment(A, 77), channel="bank")  # type: ignore[arg-type]
        record = Record(LEDGER_RETURNED, lost.id, ledger_entry_to_body(lost))
        speaker = Speaker(hub, A)
        await speaker.hello()
        assert (await speaker.send(Lane.CONTROL, record)).outcome is AckOutcome.APPLIED
        assert await hub.store.read(lambda tx: tx.ledger_entries([lost.id])) == {}
        await restored(hub.store, clock, SeededEntropy(5))
        for _ in range(2):
            assert (await speaker.send(Lane.CONTROL, record)).outcome is AckOutcome.APPLIED
        row = (await hub.store.read(lambda tx: tx.ledger_entries([lost.id])))[lost.id]
        assert (row.entry, row.origin) == (lost, "import")
        foreign = replace(payment(B, 78), channel="bank")  # type: ignore[arg-type]
        ack = await speaker.send(Lane.CONTROL, Record(LEDGER_RETURNED, foreign.id, ledger_entry_to_body(foreign)))
        assert (ack.outcome, ack.reason[:8]) == (AckOutcome.QUARANTINED, "TQ-HQ-02")

    run_hub(tmp_path, story)


def test_mutated_messages_are_refused_by_name_and_move_nothing(tmp_path: Path) -> None:
    async def story(hub: Hub, clock: HandClock) -> None:
        del clock
        await filled(hub)
        first = AttestReply.from_bytes(await hub.handle("attest", attest().to_bytes()))
        assert first.copy is Copy.GOES_ON
        held = await hub.store.read(lambda tx: tx.ticket(A))
        rng = Random(4)
        messages = (("attest", attest(ticket=b"9" * 16).to_bytes()), ("recall", recall(done=True).to_bytes()))
        for _ in range(MUTATIONS):
            kind, data = rng.choice(messages)
            wrong = bytearray(data)
            for _ in range(rng.randrange(1, 4)):
                wrong[rng.randrange(len(wrong))] ^= 1 << rng.randrange(8)
            with pytest.raises(Fault):
                await hub.handle(kind, bytes(wrong))
        assert await hub.store.read(lambda tx: tx.ticket(A)) == held

    run_hub(tmp_path, story)


def test_a_stopped_hub_is_said_to_be_restored_by_a_command(tmp_path: Path) -> None:
    """It gets another name each time, and names whom it waits for."""
    file = tmp_path / "hub.toml"
    file.write_text(CONFIG, "utf-8")
    first, told = command("restored", "--config", str(file), "--json")
    again, other = command("restored", "--config", str(file), "--json")
    assert (first, again) == (0, 0)
    assert told["incarnation"] == other["before"] != other["incarnation"]
    assert told["nodes_to_refill"] == [], "nobody ever spoke with it"
