"""What is asked of a running node through the local door about bundles: write one, apply one. Above the rooms.

On the walk of link loss. A bundle proves itself, so any person of the office may carry one.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_node.console.people import People
from edge_node.uplink.bundles import Bundles
from edge_node.verbs import checked_name, checked_text, only, wrong_argument
from hosting.door import Verb
from protocols.sync.bundle import BUNDLE_BYTES_MAX

BUNDLE_BYTES_MIN = 16 * 1_048_576
"""A smaller file might not take the largest message."""


class BundleVerbs:
    """The verbs by name."""

    def __init__(self, bundles: Bundles, people: People) -> None:
        self._bundles = bundles
        self._people = people

    def mapping(self) -> Mapping[str, Verb]:
        """For `hosting.door.serve_door`."""
        return {"bundle-write": self.write, "bundle-apply": self.apply}

    async def write(self, body: dict[str, Any]) -> dict[str, Any]:
        """A bundle for the hub at `path`: a file that is not there yet, or a folder."""
        only(body, "by", "secret", "path", "bytes_max")
        size = body.get("bytes_max", BUNDLE_BYTES_MAX)
        if type(size) is not int or not BUNDLE_BYTES_MIN <= size <= BUNDLE_BYTES_MAX:
            raise wrong_argument("bytes_max", f"whole bytes from {BUNDLE_BYTES_MIN} to {BUNDLE_BYTES_MAX}")
        path = _path(body)
        await self._signed(body)
        return await self._bundles.write(path, bytes_max=size)

    async def apply(self, body: dict[str, Any]) -> dict[str, Any]:
        """Take in the hub's bundle at `path`; `new_hub`: the person knows that the hub was rebuilt."""
        only(body, "by", "secret", "path", "new_hub")
        new_hub = body.get("new_hub", False)
        if type(new_hub) is not bool:
            raise wrong_argument("new_hub", "true or false")
        path = _path(body)
        await self._signed(body)
        return await self._bundles.apply(path, new_hub=new_hub)

    async def _signed(self, body: Mapping[str, Any]) -> None:
        await self._people.check(checked_name(body, "by"), checked_text(body, "secret"))


def _path(body: Mapping[str, Any]) -> Path:
    path = Path(checked_text(body, "path"))
    if not path.is_absolute():
        raise wrong_argument("path", "a whole path: the node works in another folder")
    return path
