"""Selective access to profiles: by range and by entry (IEC 62056-6-2, class 7). Floor: protocols; reading.

A profile's buffer is asked for in part: the rows whose sort column lies between two values (selector 1), or rows by
their number (selector 2). Meters differ in whether a time in a range must carry its deviation from UTC: the caller
spells the time (`protocols/dlms/cosem_time.py`), as the meter's profile says.
"""

from functools import lru_cache
from typing import NamedTuple, TypeAlias

from protocols.dlms.apdu.parts import AccessSelection
from protocols.dlms.data import Data, Tag, array, octets, structure
from protocols.dlms.faults import malformed
from protocols.dlms.obis import CLOCK, SIZE, Obis

BY_RANGE = 1
BY_ENTRY = 2
ENTRY_MAX = 0xFFFF_FFFF
COLUMNS_REMEMBERED = 512
"""The columns of a few dozen meter models; every range asks by one of them."""


class CaptureObject(NamedTuple):
    """One column of a profile."""

    class_id: int
    """Interface class of the captured object."""
    obis: Obis
    """Its logical name, all six groups of it."""
    attribute: int
    """The captured attribute; 0: all of them."""
    data_index: int = 0
    """Which element of the attribute, from 1; 0: the whole."""

    def to_data(self) -> Data:
        """As the meter has it in capture_objects."""
        return _column(self)


@lru_cache(COLUMNS_REMEMBERED)
def _column(column: CaptureObject) -> Data:
    return structure(
        Data(Tag.LONG_UNSIGNED, column.class_id),
        octets(column.obis.pack()),
        Data(Tag.INTEGER, column.attribute),
        Data(Tag.LONG_UNSIGNED, column.data_index),
    )


CLOCK_COLUMN = CaptureObject(8, CLOCK, 2)
"""The time of a row, by which most profiles are sorted."""


class ByRange(NamedTuple):
    """Rows whose `column` lies between two values, both included."""

    column: CaptureObject
    """The restricting object: the sort column, which need not be the first."""
    first: Data
    """From."""
    last: Data
    """To."""
    wanted: tuple[CaptureObject, ...] = ()
    """Columns to give; none: all."""


class ByEntry(NamedTuple):
    """Rows and columns by number, both ends included, counted from 1; 0 as the last: to the end."""

    first: int
    """First row."""
    last: int = 0
    """Last row."""
    first_column: int = 1
    """First column."""
    last_column: int = 0
    """Last column."""


Selection: TypeAlias = ByRange | ByEntry


def encode_selection(selection: Selection) -> AccessSelection:
    """As an access selection of a GET."""
    if isinstance(selection, ByRange):
        wanted = array(column.to_data() for column in selection.wanted)
        return AccessSelection(BY_RANGE, structure(selection.column.to_data(), selection.first, selection.last, wanted))
    numbers = (
        Data(Tag.DOUBLE_LONG_UNSIGNED, selection.first),
        Data(Tag.DOUBLE_LONG_UNSIGNED, selection.last),
        Data(Tag.LONG_UNSIGNED, selection.first_column),
        Data(Tag.LONG_UNSIGNED, selection.last_column),
    )
    return AccessSelection(BY_ENTRY, structure(*numbers))


def read_selection(selection: AccessSelection) -> Selection:
    """What a client selects. Raises DlmsFault TQ-DM-02 for anything that is neither range nor entries."""
    value = selection.parameters.value
    if isinstance(value, tuple) and len(value) == 4:
        if selection.selector == BY_RANGE and isinstance(value[3].value, tuple):
            wanted = tuple(read_capture_object(one) for one in value[3].value)
            return ByRange(read_capture_object(value[0]), value[1], value[2], wanted)
        numbers = [one.value for one in value if isinstance(one.value, int)]
        if selection.selector == BY_ENTRY and len(numbers) == 4:
            return ByEntry(*numbers)
    raise malformed("access selection", selection.parameters.encode())


def read_capture_object(data: Data) -> CaptureObject:
    """One column definition. Raises DlmsFault TQ-DM-02 when it is none."""
    value = data.value
    if isinstance(value, tuple) and len(value) == 4:
        class_id, name, attribute, index = (one.value for one in value)
        if (
            isinstance(class_id, int)
            and isinstance(name, bytes)
            and len(name) == SIZE
            and isinstance(attribute, int)
            and isinstance(index, int)
        ):
            return CaptureObject(class_id, Obis(*name), attribute, index)
    raise malformed("capture object", data.encode())
