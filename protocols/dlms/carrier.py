"""What carries APDUs: one face for the TCP wrapper and for HDLC, without I/O. Floor: protocols; walk: reading.

Whoever owns the socket writes the bytes that a carrier hands out and feeds it what arrives. After a `DlmsFault` the
carrier is not to be used any more: close the connection, so that a late answer dies with it.
"""

from typing import NamedTuple, Protocol

APDU_SIZE_MAX = 65_535
"""The longest APDU: its size field in the initiate service, and the wrapper's length, have 16 bits."""


class Incoming(NamedTuple):
    """What some received bytes amount to."""

    apdus: tuple[bytes, ...] = ()
    """APDUs that are now complete."""
    reply: bytes = b""
    """To be written at once: acknowledgements, the next segments."""


class Carrier(Protocol):
    """A client's way to one logical device."""

    @property
    def ready(self) -> bool:
        """Whether APDUs may be sent."""
        ...

    def connect(self) -> bytes:
        """What to write before anything else; empty when there is no such step and the carrier is ready."""
        ...

    def send(self, apdu: bytes) -> bytes:
        """What to write for one APDU. Raises DlmsFault TQ-DM-41 when the carrier is not ready."""
        ...

    def receive(self, data: bytes) -> Incoming:
        """Take bytes off the wire. Raises DlmsFault with Blame.REMOTE for bytes that break the rules."""
        ...

    def retry(self) -> bytes:
        """What to write again after silence; empty where the carrier has no such rule (TCP repeats by itself).

        Raises:
            DlmsFault: TQ-DM-28 after too many.

        """
        ...

    def disconnect(self) -> bytes:
        """What to write when done; may be empty."""
        ...
