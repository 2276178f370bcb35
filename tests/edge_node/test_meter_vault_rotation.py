"""Making the keys of sealed secrets new: through a death at every step, and after the node key was lost."""

import asyncio
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edge_node.key_commands import recover
from edge_node.meter_keys import MeterKeyFault
from edge_node.meter_vault import MeterVault
from edge_node.sealed_secrets import open_all
from gridmodel.identity import MeterId
from hosting.database import Database
from hosting.keys import KeyDomain, KeyFault, KeyKind
from hosting.keys_envelope import RecoveryPrivate, SealingKey
from simulate.crash import SimulatedCrash
from simulate.disk import SimDisk
from tests.edge_node.vaults import ENTROPY, FIRST, OTHER, Office, folder, rows_of, told


class Dying:
    """Counts the steps of files and commits; at the chosen one the process dies, and does nothing more."""

    def __init__(self, at: int) -> None:
        self.left, self.dead = at, False

    def step(self, where: str) -> None:
        if self.dead:
            raise SimulatedCrash(where, "after its death")
        self.left -= 1
        if self.left == 0:
            self.dead = True
            raise SimulatedCrash(where, "at this step")

    def before_commit(self, name: str) -> None:
        self.step(name)

    def after_commit(self, name: str) -> None:
        self.step(name)


@contextmanager
def dying_files(dying: Dying, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each call that changes names or makes them durable is two steps: just before it, and just after."""

    def around(real: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            dying.step(f"before {name}")
            result = real(*arguments, **named)
            dying.step(f"after {name}")
            return result

        return call

    with monkeypatch.context() as patch:
        for owner, name in ((os, "link"), (os, "fsync"), (Path, "replace"), (Path, "unlink")):
            patch.setattr(owner, name, around(getattr(owner, name), name))
        yield


def test_a_rotation_that_dies_at_any_step_leaves_a_store_that_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def whole(office: Office) -> tuple[str, str]:
        async with office.opened() as (vault, control):
            assert vault.locked is None
            assert vault.secrets_of(MeterId("m-1")) == FIRST
            assert vault.secrets_of(MeterId("m-2")).block_key == bytes.fromhex(OTHER)
            left = {path.name for path in office.folder.iterdir() if path.name.endswith((".next", ".partial"))}
            assert left == set(), "nothing of a rotation is left lying about"
            key = (await rows_of(control).load()).key
            assert key is not None
            return key.id, key.node_key

    async def dies(office: Office, at: int) -> bool:
        dying = Dying(0)
        try:
            async with office.opened(SimDisk(random.Random(1), dying)) as (vault, _):
                with dying_files(dying, monkeypatch):
                    dying.left = at
                    await vault.rotate()
        except SimulatedCrash:
            return True
        return False

    async def story() -> int:
        office = Office(tmp_path)
        async with office.opened() as (vault, _):
            await vault.take(office.file(), dry_run=False)
        outcomes, at = set[bool](), 1
        while True:
            before = await whole(office)
            died = await dies(office, at)
            after = await whole(office)
            assert office.key_path.stat().st_mode & 0o777 == 0o600
            if not died:
                break
            outcomes.add(before == after)
            assert (before[0] == after[0]) == (before[1] == after[1]), "both keys, or none"
            at += 1
        assert outcomes == {True, False}, "some deaths came before the commit, some after"
        assert before != after
        return at - 1

    assert asyncio.run(asyncio.wait_for(story(), 120)) >= 15


def test_a_lost_node_key_is_recovered_from_a_copy_with_the_offline_key(tmp_path: Path) -> None:
    office, away = Office(tmp_path), folder(tmp_path / "away")
    copy, out = away / "copy.db", away / "data.key"

    async def lost(vault: MeterVault, control: Database) -> None:
        await vault.take(office.file(), dry_run=False)
        await control.copy_to(copy)

    async def offline() -> None:
        stranger = away / "stranger.key"
        RecoveryPrivate.create(stranger, ENTROPY, KeyDomain.PRODUCTION)
        with pytest.raises(MeterKeyFault, match="TQ-MK-12"):
            await recover(copy, stranger, out, demo=False)
        with pytest.raises(KeyFault, match="TQ-KY-05"):
            await recover(copy, office.private, out, demo=True)
        result = await recover(copy, office.private, out, demo=False)
        assert (result["ok"], result["opened"], result["damaged"]) == (True, 3, [])
        assert out.stat().st_mode & 0o777 == 0o600

    async def back(vault: MeterVault, control: Database) -> None:
        with pytest.raises(MeterKeyFault, match="TQ-MK-08"):
            await vault.rotate()
        stranger = away / "stranger-data.key"
        SealingKey.fresh(ENTROPY).write(stranger, KeyKind.DATA, KeyDomain.PRODUCTION)
        with pytest.raises(MeterKeyFault, match="TQ-MK-12"):
            await vault.rotate(stranger)
        await vault.rotate(out)
        assert vault.secrets_of(MeterId("m-1")) == FIRST
        carried = SealingKey.read(out, KeyKind.DATA, KeyDomain.PRODUCTION)
        opened = open_all(carried, await rows_of(control).load())
        assert opened.damaged == ("*", "m-1", "m-2"), "what was carried to the office opens nothing any more"

    told(lost, office)
    asyncio.run(offline())
    office.key_path.unlink()
    told(back, office)
