"""What the HTTP faces need of a hub: the wiring above fits it. Room: api; on no walk."""

from typing import Any, Protocol

from central_sync.authority.mandates import MandateOffice
from central_sync.config import HubConfig
from central_sync.identity.enrolment import Enrolments
from central_sync.identity.gate import Gate
from central_sync.situation.changes import Changes
from central_sync.situation.consumers import Consumers
from central_sync.situation.nodes import Situation
from gridmodel.clock import UtilityClock


class HubFace(Protocol):
    """See `central_sync.hub.Hub`."""

    @property
    def config(self) -> HubConfig:
        """The configuration."""
        ...

    @property
    def clock(self) -> UtilityClock:
        """Utility time."""
        ...

    @property
    def situation(self) -> Situation:
        """Nodes, alarms, relay operations, field works, quarantine."""
        ...

    @property
    def consumers(self) -> Consumers:
        """Ledgers, explanations."""
        ...

    @property
    def mandates(self) -> MandateOffice:
        """Published mandates."""
        ...

    @property
    def enrolments(self) -> Enrolments:
        """Who asks to be a node."""
        ...

    @property
    def gate(self) -> Gate:
        """Who speaks as which node."""
        ...

    @property
    def changes(self) -> Changes:
        """When pages should ask again."""
        ...

    async def handle(self, kind: str, body: bytes) -> bytes:
        """One exchange of sync."""
        ...

    async def status(self) -> dict[str, Any]:
        """The hub as a whole."""
        ...

    async def balance(self, level: str, period: str, at: str, area: str | None = None) -> dict[str, Any]:
        """DESIGN §4 `balance`."""
        ...

    def ready(self) -> tuple[bool, str]:
        """Whether background work runs, and what is missing."""
        ...
