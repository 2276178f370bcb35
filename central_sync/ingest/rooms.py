"""The exchanges beside hello, push and pull, as the link calls them. Floor: central_sync/ingest; walk: link loss."""

from typing import Any, Protocol


class Reply(Protocol):
    """What goes back."""

    @property
    def hub_time(self) -> int:
        """UTC seconds."""
        ...

    def to_bytes(self) -> bytes:
        """Packed by wire."""
        ...


class Room(Protocol):
    """Answers one kind of exchange. What it reads is signed by the node that it names."""

    def read(self, body: bytes) -> Any:
        """The message, not yet believed; raises WireFault or MessageFault."""
        ...

    async def answer(self, message: Any, incarnation: str) -> Reply:
        """The reply; the node's turn is held, and its signature was checked."""
        ...
