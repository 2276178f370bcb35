"""Files from billing and the registry office: strict, whole or not at all, twice is once, watermark after entries."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from central_sync.billing.tables import LINE_CHARACTERS_MAX, Mistake, TableFault, mistakes_csv, read_table
from central_sync.door_verbs import MISTAKES_SUFFIX
from central_sync.hub import Hub
from gridmodel.fault import Fault
from gridmodel.period import rfc3339
from gridmodel.registry_document import registry_to_document
from protocols.sync import wire
from protocols.sync.facts import ledger_entry_from_body
from protocols.sync.lanes import DownLane
from tests.central_sync.hub_rig import END, START, A, B, HandClock, Speaker, import_registry, registry_of, run_hub

HEADER = "entry_id;account;kind;amount;at;due_at;reverses"
ACCOUNT = "acc-up-t-a0-0"
PAYMENT = f"e-1;{ACCOUNT};payment;12500,50;2026-05-04T10:00:00+05:00;;"
CHARGE = "e-2;acc-up-t-b1-1;charge;-90000;2026-05-01;2026-05-03;"


def csv_of(*rows: str, header: str = HEADER) -> bytes:
    return "\n".join((header, *rows, "")).encode("utf-8")


async def with_registries(hub: Hub) -> None:
    for node in (A, B):
        await import_registry(hub, registry_of(node))


async def down(hub: Hub, node: Any, lane: DownLane) -> list[tuple[str, dict[str, Any]]]:
    reply = await Speaker(hub, node).pull({lane: 0})
    return [(item.kind, wire.unpack(item.body)) for item in reply.items]


@pytest.mark.parametrize(
    "data",
    [
        csv_of(PAYMENT, CHARGE),
        b"\xef\xbb\xbf" + csv_of(PAYMENT, CHARGE).replace(b"\n", b"\r\n"),
        csv_of(
            PAYMENT.replace(";", "\t").replace("12500,50", '"12 500,50"'),
            CHARGE.replace(";", "\t"),
            header=HEADER.replace(";", "\t"),
        ),
        json.dumps(
            [
                {
                    "entry_id": "e-1",
                    "account": ACCOUNT,
                    "kind": "payment",
                    "amount": 12500.5,
                    "at": "2026-05-04T10:00:00+05:00",
                },
                {
                    "entry_id": "e-2",
                    "account": "acc-up-t-b1-1",
                    "kind": "charge",
                    "amount": "-90000",
                    "at": "2026-05-01",
                    "due_at": "2026-05-03",
                },
            ]
        ).encode(),
    ],
    ids=["semicolons", "bom-crlf", "tabs-quotes", "json"],
)
def test_entries_reach_the_node_of_their_account_and_the_watermark_follows(tmp_path: Path, data: bytes) -> None:
    async def story(hub: Hub, clock: HandClock) -> None:
        await with_registries(hub)
        report = await hub.import_ledger(data, "bank", complete_up_to=END)
        assert (report.applied, report.known, report.mistakes, report.done) == (2, 0, (), True)
        assert report.nodes == (A, B)
        kinds = await down(hub, A, DownLane.LEDGER)
        assert [kind for kind, _ in kinds] == ["ledger_entry", "watermark"]
        entry = ledger_entry_from_body(kinds[0][1])
        assert (entry.amount_tiyin, entry.channel) == (1_250_050, "bank")
        assert kinds[1][1] == {"channel": "bank", "complete_up_to": END}
        of_b = await down(hub, B, DownLane.LEDGER)
        assert ledger_entry_from_body(of_b[0][1]).due_at == START - 86_400 + 86_400
        again = await hub.import_ledger(data, "bank", complete_up_to=START)
        assert (again.applied, again.known) == (0, 2)
        assert (await down(hub, A, DownLane.LEDGER))[-1][1]["complete_up_to"] == END, "a watermark never sinks"
        assert (await hub.consumers.ledger(ACCOUNT))["credit_tiyin"] == 1_250_050

    run_hub(tmp_path, story)


BAD = {
    "e-3;nobody;payment;5;2026-05-04;;": "TQ-IM-11",
    f"e-3;{ACCOUNT};gift;5;2026-05-04;;": "TQ-IM-10",
    f"e-3;{ACCOUNT};payment;-5;2026-05-04;;": "TQ-AC-01",
    f"e-3;{ACCOUNT};payment;1e9;2026-05-04;;": "TQ-QT-01",
    f"e-3;{ACCOUNT};payment;99999999999999;2026-05-04;;": "TQ-QT-02",
    f"e-3;{ACCOUNT};payment;5;04.05.2026;;": "TQ-PD-02",
    f"e-3;{ACCOUNT};payment;5;2026-13-41T00:00:00Z;;": "TQ-PD-03",
    f"e-3;{ACCOUNT};payment;5;2027-05-04;;": "TQ-IM-10",
    f"e-3;{ACCOUNT};charge;-5;2026-05-04;;": "TQ-AC-02",
    f"e-3;{ACCOUNT};reversal;-5;2026-05-04;;": "TQ-AC-01",
    f"=cmd|' /C calc'!A0;{ACCOUNT};payment;5;2026-05-04;;": "TQ-ID-01",
    f"e-3;{ACCOUNT};payment;5;2026-05-04;;;extra": "TQ-IM-02",
    f"e-3;{ACCOUNT}": "TQ-IM-02",
    f'e-3;"{ACCOUNT};payment;5;2026-05-04;;': "TQ-IM-02",
    "e-3;" + "x" * LINE_CHARACTERS_MAX: "TQ-IM-02",
    f"e-1;{ACCOUNT};payment;1;2026-05-04;;": "TQ-IM-12",
}


@pytest.mark.parametrize(("row", "code"), BAD.items(), ids=range(len(BAD)))
def test_a_wrong_row_is_told_with_its_line_and_nothing_is_applied(tmp_path: Path, row: str, code: str) -> None:
    async def story(hub: Hub, clock: HandClock) -> None:
        await with_registries(hub)
        data = csv_of(PAYMENT, row, CHARGE)
        report = await hub.import_ledger(data, "bank", complete_up_to=END)
        assert not report.done
        assert [(one.line, one.code) for one in report.mistakes] == [(3, code)]
        assert await down(hub, A, DownLane.LEDGER) == []
        partly = await hub.import_ledger(data, "bank", complete_up_to=END, skip_bad=True)
        assert (partly.applied, partly.watermark, partly.done) == (2, None, True)
        assert [kind for kind, _ in await down(hub, A, DownLane.LEDGER)] == ["ledger_entry"], "no watermark over a hole"

    run_hub(tmp_path, story)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "TQ-IM-02"),
        (b"\xff\xfe\x00", "TQ-IM-01"),
        (csv_of(PAYMENT).replace(b"e-1", b"e\0"), "TQ-IM-01"),
        (csv_of(PAYMENT, header=HEADER + ";extra"), "TQ-IM-02"),
        (csv_of(PAYMENT, header=HEADER.replace("amount;", "")), "TQ-IM-02"),
        (csv_of(PAYMENT, header=HEADER + ";amount"), "TQ-IM-02"),
        (b"[" * 100_000, "TQ-IM-04"),
        (b'{"a": 1}', "TQ-IM-04"),
        (b"[NaN]", "TQ-IM-04"),
    ],
)
def test_a_file_that_is_no_such_table_is_refused_whole(tmp_path: Path, data: bytes, code: str) -> None:
    async def story(hub: Hub, _: HandClock) -> None:
        await with_registries(hub)
        with pytest.raises(TableFault) as raised:
            await hub.import_ledger(data, "bank")
        assert raised.value.code == code

    run_hub(tmp_path, story)


def test_a_dry_run_and_a_future_watermark_change_nothing(tmp_path: Path) -> None:
    async def story(hub: Hub, clock: HandClock) -> None:
        await with_registries(hub)
        report = await hub.import_ledger(csv_of(PAYMENT), "bank", complete_up_to=END, dry_run=True)
        assert (report.applied, report.done, report.nodes) == (1, False, (A, B))
        with pytest.raises(TableFault, match="TQ-IM-13"):
            await hub.import_ledger(csv_of(PAYMENT), "bank", complete_up_to=clock.at + 400)
        with pytest.raises(Fault, match="TQ-ID-01"):
            await hub.import_ledger(csv_of(PAYMENT), "no such channel")
        assert await down(hub, A, DownLane.LEDGER) == []
        assert (await hub.status())["watermarks"] == {}

    run_hub(tmp_path, story)


def test_mistakes_are_told_in_a_file_that_runs_nothing() -> None:
    told = mistakes_csv([Mistake(2, "TQ-IM-10", "=1+1", "+x", "-2;3")])
    assert told.startswith("\ufeff")
    assert "'=1+1" in told
    assert "'-2;3" in told


def test_json_rows_of_foreign_shape_are_mistakes() -> None:
    table = read_table(b'[1, {"a": {"b": 1}}, {"a": true}, {"a": "x"}, {"b": 1}]', ("a",), (), lambda row: row["a"])
    assert [value for _, value in table.rows] == ["x"]
    assert [one.line for one in table.mistakes] == [1, 2, 3, 5]


def test_records_go_to_the_nodes_they_concern(tmp_path: Path) -> None:
    async def story(hub: Hub, clock: HandClock) -> None:
        await with_registries(hub)
        notices = f"id;account;amount;evidence;delivered_at\nn-1;{ACCOUNT};900,00;signed_list;2026-05-01\n".encode()
        assert (await hub.import_records("notice", notices)).applied == 1
        assert (await hub.import_records("notice", notices)).known == 1
        changed = await hub.import_records("notice", notices.replace(b"900", b"901"))
        assert [one.code for one in changed.mistakes] == ["TQ-IM-12"]
        protections = [
            {
                "id": "p-1",
                "kind": "medical",
                "usage_point": "up-t-a0-1",
                "valid_from": rfc3339(START),
                "valid_to": "2026-06-01",
                "asserted_by": "dr",
            },
            {
                "id": "p-2",
                "kind": "moratorium",
                "district": "1706204",
                "valid_from": rfc3339(START),
                "valid_to": "2026-06-01",
                "asserted_by": "gov",
            },
            {
                "id": "p-3",
                "kind": "moratorium",
                "valid_from": rfc3339(START),
                "valid_to": "2026-06-01",
                "asserted_by": "gov",
            },
        ]
        report = await hub.import_records("protection", json.dumps(protections).encode())
        assert report.nodes == (A, B)
        weather = b"district,issued_at,min_c,max_c\n1703202,2026-05-04T12:00:00+05:00,-3.5,11\n"
        assert (await hub.import_records("weather", weather)).applied == 1
        of_a = await down(hub, A, DownLane.AUTHORITY)
        assert [(kind, body.get("id")) for kind, body in of_a] == [
            ("notice", "n-1"), ("protection", "p-1"), ("protection", "p-3"), ("weather", None),
        ]  # fmt: skip
        assert of_a[0][1]["amount_tiyin"] == 90_000
        assert [body["id"] for _, body in await down(hub, B, DownLane.AUTHORITY)] == ["p-2", "p-3"]
        wrong = [
            {**protections[0], "id": "p-4", "usage_point": ""},
            {**protections[0], "id": "p-5", "valid_to": "2020-01-01"},
        ]
        refused = await hub.import_records("protection", json.dumps(wrong).encode())
        assert len(refused.mistakes) == 2
        told = await hub.consumers.explain("up-t-a0-1")
        assert [one["id"] for one in told["protections"]] == ["p-1"]

    run_hub(tmp_path, story)


def test_a_registry_is_newer_in_scope_and_claims_nothing_foreign(tmp_path: Path) -> None:
    async def story(hub: Hub, _: HandClock) -> None:
        await with_registries(hub)

        async def refused(registry: Any, code: str) -> None:
            with pytest.raises(Fault) as raised:
                await hub.import_registry(json.dumps(registry_to_document(registry)).encode())
            assert raised.value.code == code

        await refused(registry_of(A, 1, transformers=3), "TQ-IM-22")
        await refused(registry_of(A, 0), "TQ-IM-22")
        foreign = registry_to_document(registry_of(B, 2))
        foreign["node"] = str(A)
        with pytest.raises(Fault, match="TQ-IM-23"):
            await hub.import_registry(json.dumps(foreign).encode())
        foreign["districts"] = ["1703202"]
        with pytest.raises(Fault, match="TQ-RG-04"):
            await hub.import_registry(json.dumps(foreign).encode())
        text = (
            json.dumps(registry_to_document(registry_of(B, 2)))
            .replace("1706204", "1703202")
            .replace("node-b", "node-a")
        )
        with pytest.raises(Fault, match="TQ-IM-23") as raised:
            await hub.import_registry(text.encode())
        assert "node-b" in raised.value.what
        for junk in (b"{", b"[]", b"\xff", b'{"node": 1}', b"[" * 100_000):
            with pytest.raises(Fault):
                await hub.import_registry(junk)
        assert (await hub.import_registry(json.dumps(registry_to_document(registry_of(A, 1))).encode())).done, (
            "twice is once"
        )
        assert len(await down_registry(hub)) == 1

    run_hub(tmp_path, story)


def test_a_first_registry_has_a_version_that_can_hold(tmp_path: Path) -> None:
    """Version 0 is what a node without any registry has: it would be told nothing, and poll nobody."""

    async def story(hub: Hub, _: HandClock) -> None:
        with pytest.raises(Fault, match="TQ-IM-22"):
            await import_registry(hub, registry_of(A, 0))
        await import_registry(hub, registry_of(A, 1))

    run_hub(tmp_path, story)


async def down_registry(hub: Hub) -> list[str]:
    reply = await Speaker(hub, A).pull({DownLane.REGISTRY: 0})
    return [item.id for item in reply.items]


def test_only_ordinary_files_are_read(tmp_path: Path) -> None:
    """A pipe would hold the hub for ever, /dev/zero fill it, /dev/fd/N is another file here than at the caller."""
    pipe, ours = tmp_path / "pipe", tmp_path / "bank.csv"
    os.mkfifo(pipe)
    ours.write_bytes(csv_of(PAYMENT))

    async def story(hub: Hub, clock: HandClock) -> None:
        await with_registries(hub)
        verb = hub.verbs()["import-ledger"]
        with ours.open("rb") as opened:
            for path in (str(pipe), "/dev/zero", str(tmp_path), f"/dev/fd/{opened.fileno()}", str(tmp_path / "none")):
                with pytest.raises(Fault, match="TQ-HB-62"):
                    await asyncio.wait_for(verb({"channel": "bank", "path": path}), 5)
        assert (await verb({"channel": "bank", "path": str(ours)}))["applied"] == 1

    run_hub(tmp_path, story)


def test_a_header_without_end_is_refused_before_it_is_cut_up() -> None:
    with pytest.raises(TableFault, match="TQ-IM-02"):
        read_table(b"a;" * 10_000_000, ("entry_id",), (), lambda row: row)


def test_half_a_letter_in_a_row_is_told_in_the_file_of_mistakes(tmp_path: Path) -> None:
    """JSON may hold half a surrogate pair, which no UTF-8 file can: the good rows were applied, and the verb failed."""
    given = tmp_path / "bank.json"
    row = {"entry_id": "\\ud800", "account": ACCOUNT, "kind": "payment", "amount": 5, "at": "2026-05-04"}
    given.write_text(json.dumps([row, row | {"entry_id": "e-1"}]).replace("\\\\ud800", "\\ud800"), "utf-8")

    async def story(hub: Hub, clock: HandClock) -> None:
        await with_registries(hub)
        told = await hub.verbs()["import-ledger"]({"channel": "bank", "path": str(given), "skip_bad": True})
        assert (told["applied"], told["mistakes"]) == (1, 1)
        assert told["mistakes_file"] == f"{given}{MISTAKES_SUFFIX}"

    run_hub(tmp_path, story)
    assert "TQ-ID-01" in Path(f"{given}{MISTAKES_SUFFIX}").read_text("utf-8")
