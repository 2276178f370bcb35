"""Bundles cut off, altered, forged, or carried to the wrong door: each a named fault, nothing half-applied."""

import errno
import os
from collections.abc import Awaitable, Callable
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any, BinaryIO, cast

import pytest

from central_sync.ingest.bundles import HubBundleKeys
from edge_node.uplink.bundles import NodeBundleKeys
from gridmodel.fault import Fault
from hosting.carried import Draft
from hosting.keys_bundle import BundlePrivate, BundlePublic
from protocols.authority.canonical import Domain
from protocols.authority.signatures import KeyRing, NamedKey, Role, Signer
from protocols.sync.bundle import BundleHead, BundleWriter, Direction, FrameKind
from protocols.sync.bundle_reading import read_head
from protocols.sync.lanes import DownLane
from protocols.sync.messages import Hello, Welcome
from protocols.sync.pull import DownItem, PullReply
from protocols.sync.seal import sign_hello
from tests.central_sync.hub_rig import SIGNERS, A, B, SeededEntropy, open_hub
from tests.edge_node.uplink.courier_bench import (
    HUB_OPENING,
    HUB_RING,
    HUB_SIGNER,
    NODE_OPENING,
    Courier,
    desk,
    holdings,
    with_courier,
)
from tests.edge_node.uplink.test_bundles import at_bank, stands

ENTROPY = SeededEntropy(5)


async def refused(apply: Callable[[Path], Awaitable[Any]], path: Path, data: bytes) -> str:
    path.write_bytes(data)  # noqa: ASYNC240 — a file of the test
    with pytest.raises(Fault) as caught:
        await apply(path)
    assert caught.value.hint
    return caught.value.code


def test_one_bit_anywhere_and_any_length_changes_nothing_at_the_hub(tmp_path: Path) -> None:
    async def story(carrier: Courier) -> None:
        await carrier.desk.take(1)
        up, path, held = await carrier.up(), tmp_path / "altered", holdings(tmp_path / "hub")
        data, dice, codes = up.read_bytes(), Random(1), set[str]()

        async def apply(file: Path) -> None:
            await carrier.hub.apply_bundle(file, carrier.drive)

        for at in range(len(data)):
            flipped = bytearray(data)
            flipped[at] ^= 1 << dice.randrange(8)
            codes.add(await refused(apply, path, bytes(flipped)))
            if at % 3 == 0:
                codes.add(await refused(apply, path, data[:at]))
        codes.add(await refused(apply, path, data + b"\0"))
        assert codes == {"TQ-BN-01", "TQ-BN-02", "TQ-BN-03", "TQ-BN-04", "TQ-BN-05", "TQ-BN-06"}
        assert holdings(tmp_path / "hub") == held
        assert (await carrier.give(up))[0]["batches"] == {"applied": 1}

    with_courier(tmp_path, story)


def test_one_bit_anywhere_and_any_length_changes_nothing_at_the_office(tmp_path: Path) -> None:
    async def story(carrier: Courier) -> None:
        office = carrier.desk
        await carrier.trip()
        await carrier.hub.import_ledger(at_bank(1), "bank")
        down, path, before = await carrier.down(), tmp_path / "altered", await stands(office)
        data, dice, codes = down.read_bytes(), Random(2), set[str]()
        for at in range(len(data)):
            flipped = bytearray(data)
            flipped[at] ^= 1 << dice.randrange(8)
            codes.add(await refused(office.bundles.apply, path, bytes(flipped)))
            if at % 3 == 0:
                codes.add(await refused(office.bundles.apply, path, data[:at]))
        assert codes <= {f"TQ-BN-0{number}" for number in range(1, 7)}
        assert await stands(office) == before
        assert (await carrier.bring(down))["items"] == 1

    with_courier(tmp_path, story)


def test_the_wrong_door_says_whose_it_is(tmp_path: Path) -> None:
    async def story(carrier: Courier) -> None:
        up, down = await carrier.up(), await carrier.down()
        for apply, path in ((carrier.desk.bundles.apply, up), (carrier.give, down)):
            with pytest.raises(Fault, match="TQ-BN-05"):
                await apply(path)
        with pytest.raises(Fault, match="TQ-HB-21"):
            await carrier.hub.write_bundle(type(A)("nobody"), carrier.drive, whole=False)
        with pytest.raises(Fault, match="TQ-BN-31"):
            await carrier.hub.write_bundle(B, carrier.drive, whole=False)
        other = NodeBundleKeys(BundlePrivate(b"o" * 32), HUB_OPENING.public, HUB_RING)
        async with desk(tmp_path / "other", carrier.clock, keys=other) as stranger:
            with pytest.raises(Fault, match="TQ-BN-05"):
                await stranger.bundles.apply(down)

    with_courier(tmp_path, story)


def test_who_has_no_keys_is_told_how_to_get_them(tmp_path: Path) -> None:
    async def story(carrier: Courier) -> None:
        hub, up = await open_hub(tmp_path / "keyless", carrier.clock), await carrier.up()
        try:
            for what in (
                hub.write_bundle(A, carrier.drive, whole=False),
                hub.apply_bundle(up, carrier.drive),
            ):
                with pytest.raises(Fault, match="TQ-BN-30"):
                    await what
        finally:
            await hub.close()

    (tmp_path / "keyless").mkdir()
    with_courier(tmp_path, story)


def forged(signer: Signer, public: BundlePublic, *messages: tuple[FrameKind, bytes], **changes: Any) -> bytes:
    """A bundle down by whoever `signer` is."""
    wrapped, box = public.box("bundle-x", ENTROPY)
    told: dict[str, Any] = {
        "direction": Direction.DOWN,
        "node": A,
        "bundle": "bundle-x",
        "made_at": 2_000_000_000,
        "hub_incarnation": "hub-x",
        "lanes": {},
        "offsets": {DownLane.LEDGER: 0},
        "wrapped": wrapped,
        "for_key": public.id,
        "key_id": signer.key_id,
    }
    out = BytesIO()
    writer = BundleWriter(out, BundleHead(**(told | changes)), box, signer)
    for kind, message in messages:
        writer.add(kind, message)
    writer.finish(whole=True)
    return out.getvalue()


WELCOME = Welcome(hub_incarnation="hub-x", hub_time=2_000_000_000, lanes={}, node_epoch=1).to_bytes()


def items(*offsets: int) -> bytes:
    found = tuple(DownItem(DownLane.LEDGER, at, "ledger_entry", f"e-{at}", b"\x80") for at in offsets)
    return PullReply(hub_incarnation="hub-x", hub_time=2_000_000_000, items=found, more=False).to_bytes()


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        ([(FrameKind.WELCOME, WELCOME), (FrameKind.PULL_REPLY, items(1, 3))], "TQ-BN-08"),
        ([(FrameKind.WELCOME, WELCOME), (FrameKind.PULL_REPLY, items(2))], "TQ-BN-08"),
        ([(FrameKind.PULL_REPLY, items(1)), (FrameKind.WELCOME, WELCOME)], "TQ-BN-08"),
        ([(FrameKind.WELCOME, b"\x80")], "TQ-BN-08"),
        ([(FrameKind.WELCOME, b"\xdd\xff\xff\xff\xff")], "TQ-BN-08"),
        ([(FrameKind.PUSH, b"\x80")], "TQ-BN-08"),
        ([(FrameKind.END, b"\x81\xa5whole\xc3")], "TQ-BN-08"),
        ([], "TQ-BN-08"),
    ],
)
def test_validly_signed_nonsense_is_refused_whole(
    tmp_path: Path, messages: list[tuple[FrameKind, bytes]], code: str
) -> None:
    async def story(carrier: Courier) -> None:
        before = await stands(carrier.desk)
        data = forged(HUB_SIGNER, NODE_OPENING.public, *messages)
        assert await refused(carrier.desk.bundles.apply, tmp_path / "forged", data) == code
        assert await stands(carrier.desk) == before

    with_courier(tmp_path, story)


def test_nobody_but_the_hub_signs_what_goes_down(tmp_path: Path) -> None:
    stranger = Signer.from_seed(b"x" * 32, Domain.DEMO)
    ring = KeyRing([NamedKey(stranger.public, "hub", frozenset({Role.HUB}))], Domain.PRODUCTION)

    async def story(carrier: Courier) -> None:
        for signer in (stranger, SIGNERS[A]):
            data = forged(signer, NODE_OPENING.public, (FrameKind.WELCOME, WELCOME))
            assert await refused(carrier.desk.bundles.apply, tmp_path / "forged", data) == "TQ-BN-06"
        keys = NodeBundleKeys(NODE_OPENING, HUB_OPENING.public, ring)
        async with desk(tmp_path / "production", carrier.clock, keys=keys) as office:
            data = forged(stranger, NODE_OPENING.public, (FrameKind.WELCOME, WELCOME))
            assert await refused(office.bundles.apply, tmp_path / "forged", data) == "TQ-BN-06", "of another domain"

    with_courier(tmp_path, story)


def test_a_node_signs_for_itself_alone(tmp_path: Path) -> None:
    async def story(carrier: Courier) -> None:
        async def apply(path: Path) -> None:
            await carrier.hub.apply_bundle(path, carrier.drive)

        change = {"direction": Direction.UP, "hub_incarnation": None}
        hello = Hello(node=A, hub_incarnation=None, lanes={}, signed_at=1, nonce=bytes(16), key_id=SIGNERS[B].key_id)
        message = sign_hello(hello, SIGNERS[B]).to_bytes()
        data = forged(SIGNERS[B], HUB_OPENING.public, (FrameKind.HELLO, message), **change)
        assert await refused(apply, tmp_path / "forged", data) == "TQ-BN-06"
        up = await carrier.up()
        with up.open("rb") as source:
            assert read_head(source)[0].node == A

    with_courier(tmp_path, story)


class Failing:
    """A file on a drive that fails at its fourth write."""

    def __init__(self, file: BinaryIO, number: int) -> None:
        self._file, self._number, self._left = file, number, 3

    def write(self, data: bytes) -> int:
        self._left -= 1
        if self._left < 0:
            raise OSError(self._number, "a test says so")
        return self._file.write(data)

    def close(self) -> None:
        self._file.close()


@pytest.mark.parametrize(("number", "words"), [(errno.ENOSPC, "full"), (errno.EIO, "look at the drive")])
def test_a_drive_that_is_full_or_pulled_out_leaves_no_half_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    original = Draft.__init__

    def failing(self: Draft, place: Path, name: str) -> None:
        original(self, place, name)
        self.file = cast("BinaryIO", Failing(self.file, number))

    async def story(carrier: Courier) -> None:
        await carrier.desk.take(1)
        files = sorted(carrier.drive.iterdir())
        with monkeypatch.context() as patched:
            patched.setattr(Draft, "__init__", failing)
            for write in (carrier.up, carrier.down):
                with pytest.raises(Fault, match="TQ-BN-11") as caught:
                    await write()
                assert words in caught.value.hint
                assert sorted(carrier.drive.iterdir()) == files
        assert (await carrier.trip())["acknowledged"] == {"ledger": 1}

    with_courier(tmp_path, story)


def test_files_that_are_none(tmp_path: Path) -> None:
    async def story(carrier: Courier) -> None:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        for path in (pipe, tmp_path, tmp_path / "nowhere", Path("/dev/zero")):
            for apply in (carrier.desk.bundles.apply, carrier.give):
                with pytest.raises(Fault, match="TQ-BN-10"):
                    await apply(path)
        there = tmp_path / "there"
        there.write_bytes(b"mine")
        with pytest.raises(Fault, match="TQ-BN-12"):
            await carrier.desk.bundles.write(there)
        assert there.read_bytes() == b"mine"

    with_courier(tmp_path, story)


def test_what_could_not_be_answered_is_not_taken_in(tmp_path: Path) -> None:
    async def story(carrier: Courier) -> None:
        await carrier.desk.take(1)
        up = await carrier.up()
        (tmp_path / "mute").mkdir()
        hub = await open_hub(tmp_path / "mute", carrier.clock, HubBundleKeys(HUB_SIGNER, HUB_OPENING, {}))
        try:
            held = holdings(tmp_path / "mute")
            with pytest.raises(Fault, match="TQ-BN-31"):
                await hub.apply_bundle(up, carrier.drive)
            assert holdings(tmp_path / "mute") == held
        finally:
            await hub.close()

    with_courier(tmp_path, story)


def test_an_answer_that_no_drive_takes_leaves_what_came_taken_in(tmp_path: Path) -> None:
    async def story(carrier: Courier) -> None:
        await carrier.desk.take(1)
        up = await carrier.up()
        with pytest.raises(Fault, match="TQ-BN-11"):
            await carrier.hub.apply_bundle(up, tmp_path / "nowhere" / "answer")
        assert await carrier.hub.store.read(lambda tx: tx.ledger_entries(["pay-node-a-1"]))
        assert (await carrier.bring(await carrier.down()))["acknowledged"] == {"ledger": 1}

    with_courier(tmp_path, story)
