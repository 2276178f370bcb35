"""New keys for a meter, wrapped under its master key (IEC 62056-6-2, class 64). Floor: protocols; walk: payment.

Whoever rotates keys makes `wrapped_keys` and hands them to the method of the security setup; the meter side reads them
with `unwrapped_keys`. The master key itself never travels. New keys count from the next association on, and a new block
key begins its invocation counters anew.
"""

from collections.abc import Mapping
from enum import IntEnum

from protocols.dlms.data import Data, Tag, array, octets, structure
from protocols.dlms.faults import malformed
from protocols.dlms.security import unwrap_key, wrap_key

KEYS_MAX = 4
"""In one transfer: there are four kinds."""


class KeyId(IntEnum):
    """Which key is meant."""

    BLOCK = 0
    """Global unicast encryption key."""
    BROADCAST = 1
    """Global broadcast encryption key."""
    AUTHENTICATION = 2
    """Authentication key."""
    MASTER = 3
    """Master key (KEK)."""


def wrapped_keys(master: bytes, keys: Mapping[KeyId, bytes]) -> Data:
    """The parameter of key_transfer. Keys are 16 bytes each; DlmsFault TQ-DM-75 for other sizes."""
    return array(structure(Data(Tag.ENUM, int(which)), octets(wrap_key(master, key))) for which, key in keys.items())


def unwrapped_keys(master: bytes, parameter: Data | None) -> dict[KeyId, bytes]:
    """The keys inside.

    Raises:
        DlmsFault: TQ-DM-02 for another form or a kind twice, 30 for keys wrapped under another master key.

    """
    items = parameter.value if parameter is not None else None
    if not isinstance(items, tuple) or not 1 <= len(items) <= KEYS_MAX:
        raise malformed("key transfer", b"")
    keys: dict[KeyId, bytes] = {}
    for item in items:
        pair = item.value
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise malformed("key transfer", b"")
        which, wrapped = pair[0].value, pair[1].value
        if not isinstance(which, int) or which not in set(KeyId) or not isinstance(wrapped, bytes) or which in keys:
            raise malformed("key transfer", b"")
        keys[KeyId(which)] = unwrap_key(master, wrapped)
    return keys
