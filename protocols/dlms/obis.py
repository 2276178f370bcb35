"""OBIS codes: the names of everything in a meter (IEC 62056-6-1). Floor: protocols; walk: reading."""

import re
from typing import NamedTuple

from protocols.dlms.faults import local_fault

_TEXT = re.compile(r"(\d{1,3})[.-](\d{1,3})[.:](\d{1,3})\.(\d{1,3})\.(\d{1,3})(?:[.*](\d{1,3}))?", re.ASCII)
SIZE = 6


class Obis(NamedTuple):
    """A logical name: six value groups, 0-255 each."""

    a: int
    """Medium: 0 abstract, 1 electricity."""
    b: int
    """Channel."""
    c: int
    """Quantity."""
    d: int
    """Processing."""
    e: int
    """Tariff or kind."""
    f: int = 255
    """Billing period; 255 is the present one. It belongs to the name: two objects may differ by it alone."""

    @classmethod
    def parse(cls, text: str) -> "Obis":
        """From ``1.0.1.8.0.255`` or ``1-0:1.8.0*255``; F may be left out and is 255 then.

        Raises:
            DlmsFault: TQ-DM-70 for anything else, above all for a group over 255.

        """
        match = _TEXT.fullmatch(text)
        groups = [int(group) for group in match.groups("255")] if match else []
        if len(groups) != SIZE or max(groups) > 255:
            raise local_fault("TQ-DM-70", f"{text!r} is no OBIS code", "write six numbers 0-255: 1.0.1.8.0.255")
        return cls(*groups)

    def pack(self) -> bytes:
        """The six bytes of the wire. Raises DlmsFault TQ-DM-70 for a group outside 0-255."""
        try:
            return bytes(self)
        except ValueError:
            raise local_fault("TQ-DM-70", f"{self} is no OBIS code", "every group is 0-255") from None

    def __str__(self) -> str:
        """As ``1.0.1.8.0.255``."""
        return ".".join(map(str, self))


CURRENT_ASSOCIATION = Obis(0, 0, 40, 0, 0)
"""The association object of whoever asks (class 15)."""
LOGICAL_DEVICE_NAME = Obis(0, 0, 42, 0, 0)
"""Data: maker and serial number, the same in every meter."""
CLOCK = Obis(0, 0, 1, 0, 0)
"""Clock (class 8)."""
SERIAL = Obis(0, 0, 96, 1, 0)
"""Data: the serial number on the front plate."""
DISCONNECT_CONTROL = Obis(0, 0, 96, 3, 10)
"""Disconnect control (class 70): the relay."""
LIMITER = Obis(0, 0, 17, 0, 0)
"""Limiter (class 71)."""
LOAD_PROFILE = Obis(1, 0, 99, 1, 0)
"""Profile generic (class 7): load profile 1."""
DAILY_PROFILE = Obis(1, 0, 99, 2, 0)
"""Profile generic: load profile 2."""
SECURITY_SETUP = Obis(0, 0, 43, 0, 0)
"""Security setup (class 64)."""
PUSH_SETUP = Obis(0, 0, 25, 9, 0)
"""Push setup (class 40)."""
IMPORT_ENERGY = Obis(1, 0, 1, 8, 0)
"""Register: active energy, import."""
EXPORT_ENERGY = Obis(1, 0, 2, 8, 0)
"""Register: active energy, export."""


def invocation_counter_of(client: int) -> Obis:
    """Data: the last invocation counter a meter accepted from a client SAP, where it tells (0.0.43.1.x.255).

    The x is the meter's own numbering; most use 0 and offer one for each security setup, so profiles may override it.
    """
    return Obis(0, 0, 43, 1, client)
