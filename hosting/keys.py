"""Keys at rest: private keys and secret keys, one per file, for their owner only. Floor: hosting.

On the walk of a link loss (batches are signed), of a payment (rows are hashed) and of a reading (meters' secrets are
sealed, see `keys_envelope`). A key file is one line of text, ``ed25519-private:<domain>:<base64>``. Demo keys stand in
a domain of their own and sign into one of their own, so that nothing made in a rehearsal opens a relay: a production
process refuses to load them, and the other way round. The text form of public keys is the protocols'
(`protocols/authority/signatures`).
"""

import base64
import binascii
from enum import StrEnum
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gridmodel.clock import Entropy
from gridmodel.fault import Fault
from hosting.files import create_private, read_private

KEY_SIZE_BYTES = 32
"""Of an Ed25519 seed and of a row-hash key alike."""
KEY_FILE_SIZE_BYTES_MAX = 256
"""One line; more is the wrong file."""
MISSING = "TQ-KY-01"
"""Code of the fault for a key file that is not there."""


class KeyFault(Fault):
    """A key file that is missing, exposed, malformed or of the other domain."""


class KeyDomain(StrEnum):
    """What a key may be used for at all."""

    PRODUCTION = "production"
    """Real homes."""
    DEMO = "demo"
    """Rehearsals, simulations and tests."""


class KeyKind(StrEnum):
    """What a key is for: the first word of its file, so that none is taken for another."""

    SIGNING = "ed25519-private"
    """Signs."""
    ROW_HASH = "row-hash-key"
    """Hashes the rows of a store."""
    NODE = "node-key"
    """Wraps the data key of a store."""
    RECOVERY = "x25519-private"
    """Unwraps a data key whose node key is lost; kept offline."""
    BUNDLE = "x25519-bundle-private"
    """Opens bundles that couriers bring."""
    DATA = "data-key"
    """A data key that was recovered, on its way to its office."""


def create_signing_key(path: Path, entropy: Entropy, domain: KeyDomain = KeyDomain.PRODUCTION) -> Ed25519PrivateKey:
    """Make a private key and its file (0600); raises `KeyFault` ``TQ-KY-04`` when the file exists."""
    seed = entropy.token(KEY_SIZE_BYTES)
    create_key(path, KeyKind.SIGNING, seed, domain)
    return Ed25519PrivateKey.from_private_bytes(seed)


def load_signing_key(path: Path, domain: KeyDomain = KeyDomain.PRODUCTION) -> Ed25519PrivateKey:
    """The private key in a file.

    Raises `KeyFault`: ``TQ-KY-01`` missing, ``TQ-KY-02`` others may read it, ``TQ-KY-03`` not such a key, ``TQ-KY-05``
    of the other domain.
    """
    return Ed25519PrivateKey.from_private_bytes(load_key(path, KeyKind.SIGNING, domain))


def create_row_key(path: Path, entropy: Entropy, domain: KeyDomain = KeyDomain.PRODUCTION) -> bytes:
    """Make the key of a node's row hashes and its file; never beside rows that were hashed with another."""
    key = entropy.token(KEY_SIZE_BYTES)
    create_key(path, KeyKind.ROW_HASH, key, domain)
    return key


def load_row_key(path: Path, domain: KeyDomain = KeyDomain.PRODUCTION) -> bytes:
    """The 32 bytes of a row-hash key; raises like `load_signing_key`."""
    return load_key(path, KeyKind.ROW_HASH, domain)


def create_key(path: Path, kind: KeyKind, key: bytes, domain: KeyDomain = KeyDomain.PRODUCTION) -> None:
    """Write the 32 bytes of a key to a file of its own (0600), whole or not at all.

    Raises `KeyFault`: ``TQ-KY-04`` the file exists, it is never replaced; ``TQ-KY-01`` its folder is missing;
    ``TQ-KY-06`` it cannot be written.
    """
    line = f"{kind}:{domain}:{base64.b64encode(key).decode('ascii')}\n"
    try:
        create_private(path, line.encode("ascii"))
    except FileExistsError as error:
        raise KeyFault("TQ-KY-04", f"there is a key in {path} already", "keep it; choose another name") from error
    except FileNotFoundError as error:
        raise KeyFault("TQ-KY-01", f"the folder {path.parent} is missing", "make the folder first") from error
    except OSError as error:
        raise KeyFault("TQ-KY-06", f"{path} cannot be written: {error.strerror}", "choose a folder of yours") from error


def load_key(path: Path, kind: KeyKind, domain: KeyDomain = KeyDomain.PRODUCTION) -> bytes:
    """The 32 bytes in a key file of that kind; raises like `load_signing_key`."""
    try:
        content = read_private(path, KEY_FILE_SIZE_BYTES_MAX)
    except FileNotFoundError as error:
        raise KeyFault(
            "TQ-KY-01", f"there is no key file {path}", "enrol, or restore the file from its safe"
        ) from error
    except PermissionError as error:
        raise KeyFault(
            "TQ-KY-02",
            f"the key file {path} cannot be trusted: {error}",
            f"chmod 600 {path}; if strangers saw it, replace it",
        ) from error
    except (OSError, ValueError) as error:
        raise KeyFault(
            "TQ-KY-03", f"the key file {path} cannot be used: {error}", "restore it from its safe"
        ) from error
    found, _, rest = content.decode("ascii", "replace").strip().partition(":")
    written, _, encoded = rest.partition(":")
    raw = _decoded(encoded)
    if found != kind or written not in set(KeyDomain) or raw is None:
        raise KeyFault("TQ-KY-03", f"{path} holds no {kind}", "restore it from its safe")
    if written != domain:
        raise KeyFault(
            "TQ-KY-05",
            f"{path} is a key for {written}, this process is for {domain}",
            "never mix them: use the right folder",
        )
    return raw


def _decoded(encoded: str) -> bytes | None:
    try:
        raw = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if len(raw) == KEY_SIZE_BYTES else None
