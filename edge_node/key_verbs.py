"""What a chief asks of a running node about meters' keys, through the local door. Above the rooms; reading walk.

The running node does it itself, so that it works with the new keys from the next association on. A key file is named,
never sent: no secret goes through the door.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_node.config import PersonRole
from edge_node.meter_vault import MeterVault, Taken
from edge_node.node import Node
from edge_node.verbs import checked_name, checked_text, only, wrong_argument
from gridmodel.identity import MeterId
from gridmodel.registry import Registry
from hosting.door import Verb

NAMED_MAX = 100
"""Meters named in an answer; the rest is counted."""


class KeyVerbs:
    """The verbs by name."""

    def __init__(self, vault: MeterVault, node: Node) -> None:
        self._vault = vault
        self._node = node

    def mapping(self) -> Mapping[str, Verb]:
        """For `hosting.door.serve_door`."""
        return {"keys-import": self._import, "keys-rotate": self._rotate}

    async def _import(self, body: dict[str, Any]) -> dict[str, Any]:
        only(body, "file", "dry_run", "by", "secret")
        path, dry_run = _path(body, "file"), body.get("dry_run", False)
        if not isinstance(dry_run, bool):
            raise wrong_argument("dry_run", "true or false")
        await self._chief(body)
        taken = await self._vault.take(path, dry_run=dry_run)
        return _told(taken, path, dry_run, await self._unknown(taken))

    async def _rotate(self, body: dict[str, Any]) -> dict[str, Any]:
        only(body, "recovered", "by", "secret")
        recovered = None if body.get("recovered") is None else _path(body, "recovered")
        await self._chief(body)
        key = await self._vault.rotate(recovered)
        return {
            "ok": True,
            "node_key": key.node_key,
            "data_key": key.id,
            "recovery_key": key.recovery_key,
            "at": key.created_at,
            "next": "copy the new node key file into the safe; older copies of the database need the older one",
        }

    async def _chief(self, body: Mapping[str, Any]) -> None:
        await self._node.people.check(checked_name(body, "by"), checked_text(body, "secret"), PersonRole.CHIEF)

    async def _unknown(self, taken: Taken) -> list[str]:
        """Meters with secrets that no registry has: mistyped, or not installed yet."""
        return await self._node.store.readings.compute.run(_unknown_in, self._node.store.registries.newest, taken)


def _unknown_in(registry: Registry | None, taken: Taken) -> list[str]:
    known = {} if registry is None else registry.meter
    return [meter for meter in (*taken.added, *taken.changed) if MeterId(meter) not in known and meter != "*"]


def _told(taken: Taken, path: Path, dry_run: bool, unknown: list[str]) -> dict[str, Any]:
    written = not dry_run and not taken.faults
    advice = {
        True: f"destroy {path} now (shred -u {path}), and every copy of it: the node works without",
        False: "nothing was written",
    }
    return {
        "ok": not taken.faults,
        "dry_run": dry_run,
        "file": str(path),
        "added": len(taken.added),
        "changed": len(taken.changed),
        "unchanged": taken.unchanged,
        "changed_meters": list(taken.changed[:NAMED_MAX]),
        "not_in_registry": len(unknown),
        "not_in_registry_meters": unknown[:NAMED_MAX],
        "error_count": len(taken.faults),
        "errors": [fault.as_dict() for fault in taken.faults[:NAMED_MAX]],
        "next": advice[written],
    }


def _path(body: Mapping[str, Any], name: str) -> Path:
    path = Path(checked_text(body, name))
    if not path.is_absolute():
        raise wrong_argument(name, "a whole path: the node works in another folder")
    return path
