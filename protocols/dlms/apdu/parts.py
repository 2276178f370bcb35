"""What several APDUs are made of (IEC 62056-5-3, 8): descriptors, results, blocks. Floor: protocols; walk: reading."""

import struct
from enum import IntEnum
from typing import NamedTuple, TypeAlias

from protocols.dlms.axdr import Reader
from protocols.dlms.data import Data, encode_length
from protocols.dlms.faults import local_fault, too_large
from protocols.dlms.obis import Obis

LIST_ITEMS_MAX = 64
"""Attributes or methods in one request: a poll asks for a dozen; a meter's answer must fit its memory."""
CONFIRMED = 0x40
"""In an invoke-id-and-priority: the service is answered."""
HIGH_PRIORITY = 0x80
"""In an invoke-id-and-priority: before requests of normal priority."""
INVOKE_ID_MASK = 0x0F
"""In an invoke-id-and-priority: the invoke id."""
_DESCRIPTOR = struct.Struct(">H6Bb")


class AccessResult(IntEnum):
    """Data-Access-Result: why an attribute was not read or written; a number we do not know becomes OTHER_REASON."""

    SUCCESS = 0
    HARDWARE_FAULT = 1
    TEMPORARY_FAILURE = 2
    READ_WRITE_DENIED = 3
    OBJECT_UNDEFINED = 4
    OBJECT_CLASS_INCONSISTENT = 9
    OBJECT_UNAVAILABLE = 11
    TYPE_UNMATCHED = 12
    SCOPE_OF_ACCESS_VIOLATED = 13
    DATA_BLOCK_UNAVAILABLE = 14
    LONG_GET_ABORTED = 15
    NO_LONG_GET_IN_PROGRESS = 16
    LONG_SET_ABORTED = 17
    NO_LONG_SET_IN_PROGRESS = 18
    DATA_BLOCK_NUMBER_INVALID = 19
    OTHER_REASON = 250


class ActionResult(IntEnum):
    """Action-Result: how a method ended; a number we do not know becomes OTHER_REASON."""

    SUCCESS = 0
    HARDWARE_FAULT = 1
    TEMPORARY_FAILURE = 2
    READ_WRITE_DENIED = 3
    OBJECT_UNDEFINED = 4
    OBJECT_CLASS_INCONSISTENT = 9
    OBJECT_UNAVAILABLE = 11
    TYPE_UNMATCHED = 12
    SCOPE_OF_ACCESS_VIOLATED = 13
    DATA_BLOCK_UNAVAILABLE = 14
    LONG_ACTION_ABORTED = 15
    NO_LONG_ACTION_IN_PROGRESS = 16
    OTHER_REASON = 250


_ACCESS_RESULTS = {int(one): one for one in AccessResult}
_ACTION_RESULTS = {int(one): one for one in ActionResult}

GetResult: TypeAlias = Data | AccessResult
"""Get-Data-Result: the value, or why there is none."""


class AttributeDescriptor(NamedTuple):
    """One attribute of one object."""

    class_id: int
    """Interface class (IEC 62056-6-2)."""
    obis: Obis
    """Logical name of the instance."""
    attribute: int
    """Attribute number; 0 means all."""

    def encode(self) -> bytes:
        """Nine bytes. Raises DlmsFault TQ-DM-72 for numbers out of range."""
        return _descriptor(self.class_id, self.obis, self.attribute)


class MethodDescriptor(NamedTuple):
    """One method of one object."""

    class_id: int
    """Interface class."""
    obis: Obis
    """Logical name of the instance."""
    method: int
    """Method number."""

    def encode(self) -> bytes:
        """Nine bytes. Raises DlmsFault TQ-DM-72 for numbers out of range."""
        return _descriptor(self.class_id, self.obis, self.method)


class AccessSelection(NamedTuple):
    """Which part of an attribute is wanted: see `protocols/dlms/selection.py`."""

    selector: int
    """1 by range, 2 by entry for a profile."""
    parameters: Data
    """As the class defines for the selector."""


class AttributeRequest(NamedTuple):
    """An attribute, and what part of it."""

    attribute: AttributeDescriptor
    """Which."""
    selection: AccessSelection | None = None
    """None: the whole."""


class DataBlock(NamedTuple):
    """A part of something too long for one APDU."""

    last: bool
    """Whether it is the last."""
    number: int
    """Counts from 1."""
    raw: bytes
    """The part."""

    def encode(self) -> bytes:
        """Last flag, number, bytes."""
        return bytes((1 if self.last else 0,)) + encode_block_number(self.number) + encode_octets(self.raw)


def _descriptor(class_id: int, obis: Obis, member: int) -> bytes:
    try:
        return _DESCRIPTOR.pack(class_id, *obis, member)
    except struct.error:
        raise local_fault("TQ-DM-72", f"class {class_id}, {obis}, number {member} is no attribute or method") from None


def encode_octets(raw: bytes) -> bytes:
    """A length and the bytes."""
    return encode_length(len(raw)) + raw


def encode_block_number(number: int) -> bytes:
    """Four bytes."""
    return (number & 0xFFFFFFFF).to_bytes(4, "big")


def encode_selection(selection: AccessSelection | None) -> bytes:
    """The optional access-selection."""
    return b"\x00" if selection is None else bytes((1, selection.selector & 0xFF)) + selection.parameters.encode()


def encode_attribute_request(item: AttributeRequest) -> bytes:
    """Descriptor and optional selection."""
    return item.attribute.encode() + encode_selection(item.selection)


def encode_result(result: GetResult) -> bytes:
    """A Get-Data-Result."""
    return bytes((1, result)) if isinstance(result, AccessResult) else b"\x00" + result.encode()


def read_attribute(reader: Reader) -> AttributeDescriptor:
    """An attribute descriptor."""
    class_id, a, b, c, d, e, f, attribute = _DESCRIPTOR.unpack(reader.take(_DESCRIPTOR.size))
    return AttributeDescriptor(class_id, Obis(a, b, c, d, e, f), attribute)


def read_method(reader: Reader) -> MethodDescriptor:
    """A method descriptor."""
    return MethodDescriptor(*read_attribute(reader))


def read_selection(reader: Reader) -> AccessSelection | None:
    """The optional access-selection."""
    return AccessSelection(reader.u8(), reader.value()) if reader.flag() else None


def read_attribute_request(reader: Reader) -> AttributeRequest:
    """Descriptor and optional selection."""
    return AttributeRequest(read_attribute(reader), read_selection(reader))


def read_access_result(reader: Reader) -> AccessResult:
    """A Data-Access-Result."""
    return _ACCESS_RESULTS.get(reader.u8(), AccessResult.OTHER_REASON)


def read_action_result(reader: Reader) -> ActionResult:
    """An Action-Result."""
    return _ACTION_RESULTS.get(reader.u8(), ActionResult.OTHER_REASON)


def read_result(reader: Reader) -> GetResult:
    """A Get-Data-Result."""
    return read_access_result(reader) if reader.u8() else reader.value()


def read_block(reader: Reader) -> DataBlock:
    """Last flag, number, bytes."""
    return DataBlock(reader.flag(), reader.number(4), reader.octets())


def read_count(reader: Reader) -> int:
    """The count of a list, at most `LIST_ITEMS_MAX`. Raises DlmsFault TQ-DM-03 beyond."""
    count = reader.length()
    if count > LIST_ITEMS_MAX:
        raise too_large(f"a list of {count}, more than {LIST_ITEMS_MAX}")
    return count
