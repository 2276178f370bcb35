"""Who may come into a fleet's DLMS meters: security, password, keys, from a file or well known. Floor: simulate.

The well-known secrets stand in textbooks; they are for rehearsals alone.
"""

import tomllib
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import assert_never

from hosting.files import read_text
from protocols.dlms.apdu.acse import Mechanism
from protocols.dlms.faults import DlmsFault
from protocols.dlms.meter_side.association import ClientAccess
from protocols.dlms.security import KEY_SIZE, SecurityKeys
from simulate.grid_registry import GridFault

KEYS_SIZE_MAX = 4_096
"""Bytes of a key file: four short lines."""
PASSWORD_SIZE_MAX = 64


class Security(StrEnum):
    """What every client but the public one must bring."""

    NONE = "none"
    """Nothing: everybody may do everything."""
    LOW = "low"
    """The password."""
    GMAC = "gmac"
    """A proof by GMAC, and everything sealed by AES-GCM."""


@dataclass(frozen=True, slots=True)
class FleetSecrets:
    """The same for all meters of a fleet."""

    keys: SecurityKeys = field(default=SecurityKeys(bytes(range(16)), bytes(range(0xD0, 0xE0))), repr=False)
    password: bytes = field(default=b"12345678", repr=False)
    master: bytes = field(default=bytes(range(0x70, 0x80)), repr=False)
    """Under which new keys are wrapped."""


def read_secrets(path: Path) -> FleetSecrets:
    """From a TOML file with hex values: block_key, authentication_key, password, master_key; each may be left out.

    system_title, which readers keep in the same file, is theirs and passed over. Raises GridFault TQ-SM-16.
    """
    usual = FleetSecrets()
    try:
        table = tomllib.loads(read_text(path, KEYS_SIZE_MAX))
        unknown = sorted(set(table) - {"block_key", "authentication_key", "password", "master_key", "system_title"})
        found = {name: bytes.fromhex(value) for name, value in table.items()}
        block, authentication = usual.keys.block_key, usual.keys.authentication_key
        keys = SecurityKeys(found.get("block_key", block), found.get("authentication_key", authentication))
    except (OSError, ValueError, RecursionError, TypeError, DlmsFault) as error:
        raise GridFault(
            "TQ-SM-16", f"no keys can be read from {path}: {type(error).__name__}", "write TOML with hex"
        ) from error
    secrets = FleetSecrets(keys, found.get("password", usual.password), found.get("master_key", usual.master))
    if unknown or len(secrets.master) != KEY_SIZE or not 1 <= len(secrets.password) <= PASSWORD_SIZE_MAX:
        wrong = f"unknown names {', '.join(unknown):.60}" if unknown else "a master key or password of a wrong size"
        raise GridFault("TQ-SM-16", f"{path} has {wrong}", "use block_key, authentication_key, password, master_key")
    return secrets


def access_to(security: Security, secrets: FleetSecrets) -> ClientAccess:
    """How every client but the public one associates."""
    match security:
        case Security.NONE:
            return ClientAccess()
        case Security.LOW:
            return ClientAccess(Mechanism.LOW, secrets.password)
        case Security.GMAC:
            return ClientAccess(Mechanism.GMAC, keys=secrets.keys, ciphered=True)
        case _:
            assert_never(security)
