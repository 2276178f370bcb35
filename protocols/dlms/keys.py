"""The secrets of meters, and which of them are no secrets at all. Floor: protocols; walks: reading, payment.

The driver asks the port `MeterKeys` for a meter's secrets each time it associates, so that a key changed at rest counts
at once and nothing secret is kept here. Manuals and test houses print a few keys that many meters are delivered with:
`is_well_known` names them, and hosts refuse them outside a demo.
"""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol

from gridmodel.identity import MeterId

_PRINTED = frozenset(
    (
        bytes.fromhex("0123456789ABCDEF0123456789ABCDEF"),
        bytes.fromhex("FEDCBA9876543210FEDCBA9876543210"),
        bytes.fromhex("01234567890123456789012345678901"),
        bytes.fromhex("12345678901234567890123456789012"),
        b"0123456789ABCDEF",
        b"0123456789abcdef",
        b"0123456789012345",
        b"1234567890123456",
        b"1234567890",
        b"12345678901",
        b"password",
        b"Password",
        b"PASSWORD",
        b"Gurux",
        b"secret",
    )
)
"""Keys and passwords printed in manuals and examples that no rule below covers."""


@dataclass(frozen=True, slots=True)
class MeterSecrets:
    """What a client must know to associate with one meter; absent ones are None. They are shown nowhere."""

    password: bytes | None = field(default=None, repr=False)
    """For low level security."""
    block_key: bytes | None = field(default=None, repr=False)
    """Global unicast encryption key, 16 bytes."""
    authentication_key: bytes | None = field(default=None, repr=False)
    """16 bytes."""
    hls_secret: bytes | None = field(default=None, repr=False)
    """For high level mechanisms other than GMAC, none of which is spoken yet; kept with the others, and judged."""
    meter_title: bytes | None = None
    """The meter's system title where it is known beforehand, 8 bytes: another one is refused."""
    counter_least: int = 1
    """The lowest invocation counter to be used: a person's way over a jump that is too far to be believed."""

    def secrets(self) -> dict[str, bytes]:
        """Those that are there, by the names they have in key files."""
        named = {
            "password": self.password,
            "block_key": self.block_key,
            "authentication_key": self.authentication_key,
            "hls_secret": self.hls_secret,
        }
        return {name: value for name, value in named.items() if value is not None}


class MeterKeys(Protocol):
    """Where the driver finds secrets."""

    def client_title(self) -> bytes:
        """Our own system title, 8 bytes; no two clients that know the same keys may share one."""
        ...

    def secrets_of(self, meter: MeterId) -> MeterSecrets:
        """The meter's secrets.

        Raises:
            ProtocolFault: local and permanent, when they must not be used (well-known ones outside a demo).

        """
        ...


class NoKeys:
    """No secrets for anybody: meters without security can be read."""

    def client_title(self) -> bytes:
        """A title, for the form."""
        return b"TMQ\x00\x00\x00\x00\x00"

    def secrets_of(self, meter: MeterId) -> MeterSecrets:  # noqa: ARG002
        """None of them."""
        return MeterSecrets()


def is_well_known(secret: bytes) -> bool:
    """Whether everybody knows it: printed in manuals, or bytes in equal steps (00 00 00…, 00 01 02…, D0 D1 D2…)."""
    steps = {(after - before) % 256 for before, after in pairwise(secret)}
    return len(steps) <= 1 or secret in _PRINTED or secret.rstrip(b"\x00") in _PRINTED
