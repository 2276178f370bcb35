"""What is asked of a running node about its days and the hub's: to compare them now. Above the rooms; link loss.

A comparison changes nothing that is right, so nobody has to sign for one.
"""

from collections.abc import Mapping
from typing import Any

from edge_node.uplink.hub_link import HubLink
from edge_node.verbs import checked_text, only
from hosting.door import Verb


class CompareVerbs:
    """The verb by its name."""

    def __init__(self, hub_link: HubLink) -> None:
        self._hub_link = hub_link

    def mapping(self) -> Mapping[str, Verb]:
        """For `hosting.door.serve_door`."""
        return {"compare": self.compare}

    async def compare(self, body: dict[str, Any]) -> dict[str, Any]:
        """Let the days from `first` to `last` be compared; gives the request's name."""
        only(body, "first", "last")
        return {"request": await self._hub_link.compare(checked_text(body, "first"), checked_text(body, "last"))}
