"""What pages and verbs need of a node, as a port: `edge_node.node.Node` is one, tests have their own. Room: console."""

from typing import Any, Protocol

from edge_node.console.people import People
from edge_node.uplink.hub_link import LinkView
from gridmodel.identity import AccountId, ChannelId, UsagePointId


class NodeFace(Protocol):
    """A running node as people see it. Every dict is plain values, fit for JSON."""

    @property
    def people(self) -> People:
        """Who may do what."""
        ...

    @property
    def zone(self) -> str:
        """Local time of the office."""
        ...

    @property
    def channels(self) -> tuple[ChannelId, ...]:
        """Payment channels that must vouch for themselves before anybody is cut for a debt."""
        ...

    def link(self) -> LinkView:
        """How the link to the hub stands."""
        ...

    def ready(self) -> tuple[bool, str]:
        """Whether it does its work, and what is missing if not."""
        ...

    async def status(self) -> dict[str, Any]:
        """See `console.status.StatusBoard.full`."""
        ...

    async def doctor(self) -> dict[str, Any]:
        """See `edge_node.doctor`."""
        ...

    async def explain(self, point: UsagePointId) -> dict[str, Any]:
        """Why a point is on or off, by which facts and right, and what restores it."""
        ...

    async def points(self, after: str, limit: int, state: str) -> dict[str, Any]:
        """A page of usage points with relay state and money, in order of their ids."""
        ...

    async def areas(self, level: str, end: int) -> dict[str, Any]:
        """Balances of one closed hour by transformer or feeder; `end` 0: the latest closed one."""
        ...

    async def preview(self, limit: int) -> dict[str, Any]:
        """What the node will do by itself next."""
        ...

    async def pay(self, account: AccountId, amount_tiyin: int, cashier: str, request: str) -> dict[str, Any]:
        """Take a payment, once per request."""
        ...

    async def field_work(self, verb: str, body: dict[str, Any], photo: bytes | None) -> dict[str, Any]:
        """Record what was done to a meter, or list it; the verbs of the local door."""
        ...

    async def stop_cuts(self, by: str, why: str) -> dict[str, Any]:
        """Stop every cut of this node."""
        ...

    async def lift_stop(self, by: str) -> dict[str, Any]:
        """Lift every standing stop."""
        ...
