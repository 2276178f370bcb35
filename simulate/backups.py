"""Backups put back: a node's or the hub's databases as they were hours ago, and the people who do it. Floor: simulate.

On the walk of link loss. A copy of what was committed is taken, life goes on, and then somebody puts the copy in place
of the databases and starts the program again. A node's operator waits until it agrees with the hub again, sees that no
receipt is missing (a backup is put back at a moment when the hub had everything) and lifts the stop. The hub's operator
says so by `restored`, and brings the files of the meantime again. Until node and hub have told each other what is lost,
judges look for a payment at either of them; afterwards it must be back where it was.
"""

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from simulate.crash import SimulatedCrash

if TYPE_CHECKING:
    from simulate.site import Site
    from simulate.world import Rehearsal

DOWN_S = (60.0, 1_200.0)
"""How long the program is down while a backup is put in its place."""
QUIET_TRIES_MAX = 480
"""Minutes that somebody waits for a moment at which the hub has everything; then the backup stays where it is."""
LOOK_S = 60.0
HUB = "hub"
WHICH = ("", "", "control")
"""What somebody puts back: mostly all of it, sometimes the control database alone beside readings as they are.

Readings alone are not rehearsed: of a day whose chunk was sealed since the backup the node neither has the chunk nor
fetches it for its own hours, and what it estimates over midnight is shared between the two days by guess.
"""
_OWED = (
    "SELECT (SELECT count(*) FROM outbox_record WHERE seq IS NULL AND lane IN ('control', 'ledger'))"
    " + (SELECT count(*) FROM outbox_batch WHERE acked_at IS NULL AND lane IN ('control', 'ledger'))"
)

Copy = dict[str, bytes]
"""Databases by file name."""


def copy_of(folder: Path) -> Copy:
    """What is committed in the folder's databases now, all of one moment."""
    found: Copy = {}
    for path in sorted(folder.glob("*.db")):
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(":memory:")) as target:
            source.backup(target)
            found[path.name] = target.serialize()
    return found


def put_back(copy: Copy, folder: Path, some: str = "") -> None:
    """The folder's databases whose names begin with `some` are the copy's from now on; nobody may have one open."""
    for path in sorted(folder.glob(f"{some}*.db*")):
        path.unlink()
    for name, data in copy.items():
        if name.startswith(some):
            (folder / name).write_bytes(data)


class Backups:
    """Whoever puts backups back in a rehearsal."""

    def __init__(self, world: "Rehearsal") -> None:
        self._world = world
        self.hub_put_back = False
        """The hub's operator is to say so before it starts."""

    async def strike_node(self, site: "Site", age_s: float) -> None:
        """The node's databases of `age_s` ago take the place of its own."""
        world, node = self._world, site.node
        sight = world.court.sights[node]
        copy = copy_of(site.folder)
        await asyncio.sleep(age_s)
        for _ in range(QUIET_TRIES_MAX):
            if sight.control.value(_OWED) == 0 and node not in world.verdicts.forgetful:
                break
            await asyncio.sleep(LOOK_S)
        else:
            return
        put_back_at = world.now()
        some = WHICH[world.faults.pick(f"backup/{node}", len(WHICH))]

        def swap() -> None:
            sight.close()
            put_back(copy, site.folder, some)
            world.faults.happened("control_put_back_alone" if some else "all_put_back")
            world.verdicts.forgetful.add(node)
            world.verdicts.restored.add(node)
            world.trace.add("backup", node, f"{age_s:.0f} s old")

        world.background.append(asyncio.ensure_future(self._after_node(node, put_back_at)))
        await world.nodes[node].keep_down(world.faults.between(f"backup/{node}", *DOWN_S), swap)

    async def strike_hub(self, age_s: float) -> None:
        """The hub's database of `age_s` ago takes the place of its own."""
        world = self._world
        if HUB in world.verdicts.forgetful:
            return
        copy = copy_of(world.hub.folder)
        await asyncio.sleep(age_s)

        def swap() -> None:
            world.court.hub_eye.close()
            put_back(copy, world.hub.folder)
            world.verdicts.forgetful.add(HUB)
            world.verdicts.restored.add(HUB)
            world.trace.add("backup", HUB, f"{age_s:.0f} s old")
            self.hub_put_back = True

        world.background.append(asyncio.ensure_future(self._after_hub()))
        await world.hub.keep_down(world.faults.between("backup/hub", *DOWN_S), swap)

    async def _after_node(self, node: str, put_back_at: int) -> None:
        """Wait until node and hub agree again; then the operator lifts the stop."""
        await asyncio.sleep(LOOK_S)
        while not self._agrees(node, put_back_at):  # noqa: ASYNC110 — nobody tells a stranger
            await asyncio.sleep(LOOK_S)
        self._world.verdicts.forgetful.discard(node)
        self._world.faults.happened("node_put_back")
        await self._lift(node)

    async def _after_hub(self) -> None:
        """Bring what was imported once more, and wait until the hub is refilled."""
        await asyncio.sleep(LOOK_S)
        await self._world.office.bring_again()
        while self._refilling():  # noqa: ASYNC110 — nobody tells a stranger
            await asyncio.sleep(LOOK_S)
        self._world.verdicts.forgetful.discard(HUB)
        self._world.faults.happened("hub_put_back")

    def _agrees(self, node: str, since: int) -> bool:
        """Whether the node has compared its facts with the hub since then, and agrees with it."""
        told = json.loads(self._mark(node, "recalled") or '{"at": 0, "state": ""}')
        standing = any(self._mark(node, mark) for mark in ("hub_moved", "recall_wanted", "fenced"))
        return told["at"] >= since and told["state"] == "equal" and not standing

    def _refilling(self) -> bool:
        at = self._world.court.hub_eye.value("SELECT value FROM hub_state WHERE key = 'restored_at'")
        return self.hub_put_back or bool(at)

    def _mark(self, node: str, name: str) -> str | None:
        value = self._world.court.sights[node].control.value("SELECT value FROM node_state WHERE key = ?", (name,))
        return None if value is None else str(value)

    async def _lift(self, node: str) -> None:
        """The operator has looked, and lifts the stop that the node set itself."""
        while True:
            product = self._world.nodes[node].product
            if product is not None:
                try:
                    await product.lift_stop("operator")
                except SimulatedCrash:
                    self._world.verdicts.happened("lift_interrupted")
                else:
                    return
            await asyncio.sleep(LOOK_S)
