"""Values as their classes mean them, times with every quirk, and the meter's objects with their rules."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.dlms.apdu.parts import (
    AccessResult,
    AccessSelection,
    ActionResult,
    AttributeDescriptor,
    AttributeRequest,
    MethodDescriptor,
)
from protocols.dlms.axdr import decode
from protocols.dlms.cosem import (
    ControlState,
    ScalerUnit,
    capture_objects,
    clock_time,
    control_state,
    number,
    output_state,
    rows,
    scaler_unit,
    text,
)
from protocols.dlms.cosem_time import encode_time, read_time
from protocols.dlms.data import NULL, Data, Tag, array, octets, structure
from protocols.dlms.faults import DlmsFault
from protocols.dlms.meter_side.model import Caller, ObjectTable
from protocols.dlms.meter_side.objects import ClockObject, DisconnectObject, PlainObject, ProfileObject
from protocols.dlms.obis import CLOCK, CURRENT_ASSOCIATION, DISCONNECT_CONTROL, LOAD_PROFILE, SERIAL, Obis
from protocols.dlms.selection import CLOCK_COLUMN, ByEntry, ByRange, CaptureObject, encode_selection, read_selection
from tests.protocols.dlms.parties import COLUMNS, NOW, OFFSET_MIN, ROWS

SOMEBODY = Caller(1, authenticated=True)
TASHKENT_MIN = 300


@given(st.integers(86_400, 4_000_000_000), st.integers(-840, 840), st.booleans(), st.booleans())
def test_times_round_trip_with_and_without_deviation(at: int, offset: int, deviation: bool, reverse: bool) -> None:
    time = read_time(encode_time(at, offset, deviation=deviation, reversed_sign=reverse))
    assert time is not None
    assert (time.deviation_min is None) is not deviation
    assert time.utc(offset, reversed_sign=reverse) == at


def test_a_time_of_tashkent_as_the_standard_spells_it() -> None:
    raw = bytes.fromhex("07EA0512020F1E2D00FED400")
    time = read_time(raw)
    assert time is not None
    assert time.local.isoformat() == "2026-05-18T15:30:45"
    assert time.deviation_min == -300
    assert time.utc(0) == time._replace(deviation_min=None).utc(TASHKENT_MIN)
    assert encode_time(time.utc(0), TASHKENT_MIN) == bytes.fromhex("07EA0512010F1E2D00FED400"), "a Monday"


@pytest.mark.parametrize("raw", ["FFFFFFFFFFFFFFFFFF800000", "07EAFE01FF000000FF800000", "07EA0512FFFF1E00FF800000"])
def test_a_time_that_says_no_moment_is_none(raw: str) -> None:
    assert read_time(bytes.fromhex(raw)) is None


@pytest.mark.parametrize(
    "raw", ["07EA0D12FF0F1E2D00FED400", "07EA021EFF0F1E2D00FED400", "07EA05", "07EA0512020F1E2D007FFF00"]
)
def test_a_time_that_cannot_be_is_a_fault(raw: str) -> None:
    with pytest.raises(DlmsFault, match="TQ-DM-02"):
        read_time(bytes.fromhex(raw))


@pytest.mark.parametrize(
    ("scaler", "unit", "value", "whole"),
    [
        (0, 30, 123_456, 123_456),
        (1, 30, 12, 120),
        (3, 30, 7, 7_000),
        (-1, 30, 1_239, 123),
        (-1, 35, 2_301, 230_100),
        (-3, 33, 4_125, 4_125),
        (-2, 44, 5_001, 50_010),
        (0, 27, -15, -15),
        (0, 30, 1.9, 1),
    ],
)
def test_registers_become_whole_units_of_ours(scaler: int, unit: int, value: float, whole: int) -> None:
    assert ScalerUnit(scaler, unit).whole(value) == whole


@pytest.mark.parametrize(("scaler", "unit", "value"), [(0, 255, 1), (99, 30, 1), (0, 30, float("nan")), (9, 30, 1e308)])
def test_registers_that_make_no_sense_are_faults(scaler: int, unit: int, value: float) -> None:
    with pytest.raises(DlmsFault, match="TQ-DM-61"):
        ScalerUnit(scaler, unit).whole(value)


def test_views_take_what_fits_and_nothing_else() -> None:
    assert number(NULL) is None
    assert text(octets(b"  AB12\x00")) == "AB12"
    assert text(Data(Tag.DOUBLE_LONG_UNSIGNED, 42)) == "42"
    assert clock_time(NULL) is None
    assert control_state(Data(Tag.ENUM, 2)) is ControlState.READY_FOR_RECONNECTION
    for view in (number, text, scaler_unit, clock_time, control_state, output_state, capture_objects):
        with pytest.raises(DlmsFault, match="TQ-DM-6"):
            view(Data(Tag.BIT_STRING, "1"))
    with pytest.raises(DlmsFault, match="TQ-DM-60"):
        control_state(Data(Tag.ENUM, 3))
    with pytest.raises(DlmsFault, match="TQ-DM-62"):
        rows(array([structure(NULL, NULL)]), 3)
    with pytest.raises(DlmsFault, match="TQ-DM-62"):
        rows(array([NULL]), 3)


@given(st.integers(0, 0xFFFFFFFF), st.integers(0, 0xFFFFFFFF), st.integers(0, 9), st.integers(0, 9))
def test_selections_round_trip(first: int, last: int, column: int, other: int) -> None:
    for selection in (
        ByEntry(first, last, column, other),
        ByRange(CLOCK_COLUMN, Data(6, first), Data(6, last), COLUMNS),
    ):
        assert read_selection(encode_selection(selection)) == selection


@pytest.mark.parametrize("selector", [0, 1, 2, 3])
def test_selections_of_another_form_are_faults(selector: int) -> None:
    for parameters in (NULL, structure(NULL, NULL, NULL, NULL), structure(octets(b""), NULL, NULL, array([NULL]))):
        with pytest.raises(DlmsFault, match="TQ-DM-02"):
            read_selection(AccessSelection(selector, parameters))


RECONNECTS = {1: 2, 2: 1, 3: 2, 4: 1, 5: 2, 6: 2}
BUTTON_OPENS = {1: 2, 2: 2, 3: 1, 4: 1, 5: 2, 6: 1}


@pytest.mark.parametrize("mode", range(1, 7))
def test_control_modes_move_as_the_standard_says(mode: int) -> None:
    relay = DisconnectObject(DISCONNECT_CONTROL, mode)
    assert relay.act(1, None, NOW).result is ActionResult.SUCCESS
    assert relay.state is ControlState.DISCONNECTED
    assert not relay.output
    relay.press_button()
    assert relay.state is ControlState.DISCONNECTED, "a button does not undo a remote cut"
    relay.act(2, None, NOW)
    assert relay.state == RECONNECTS[mode]
    relay.press_button()
    relay.state = ControlState.CONNECTED
    relay.press_button()
    assert relay.state == BUTTON_OPENS[mode]
    relay.state = ControlState.CONNECTED
    relay.local_disconnect()
    assert relay.state is ControlState.READY_FOR_RECONNECTION
    relay.act(1, None, NOW)
    assert relay.get(3, None, NOW) == Data(Tag.ENUM, 0), "a remote cut outranks a button that is awaited"


def test_mode_0_never_cuts_and_a_welded_contact_shows() -> None:
    relay = DisconnectObject(DISCONNECT_CONTROL, 0)
    assert relay.act(1, None, NOW).result is ActionResult.READ_WRITE_DENIED
    assert relay.set(4, Data(Tag.ENUM, 9), NOW) is AccessResult.TYPE_UNMATCHED
    assert relay.set(4, Data(Tag.ENUM, 3), NOW) is AccessResult.SUCCESS
    relay.welded = True
    relay.act(1, None, NOW)
    assert relay.get(3, None, NOW) == Data(Tag.ENUM, 0)
    assert relay.get(2, None, NOW) == Data(Tag.BOOLEAN, value=True)


def test_a_clock_is_set_and_shifted_in_small_steps() -> None:
    clock = ClockObject(CLOCK, OFFSET_MIN, error_s=40)
    assert clock.shown(NOW) == NOW + 40
    assert clock.act(6, Data(Tag.LONG, -15), NOW).result is ActionResult.SUCCESS
    assert clock.error_s == 25
    assert clock.act(6, Data(Tag.LONG, 901), NOW).result is ActionResult.TYPE_UNMATCHED
    assert clock.set(2, octets(encode_time(NOW, OFFSET_MIN)), NOW) is AccessResult.SUCCESS
    assert clock.error_s == 0
    for wrong in (octets(b"noon"), octets(b"\xff" * 12), NULL):
        assert clock.set(2, wrong, NOW) is AccessResult.TYPE_UNMATCHED


def test_a_profile_sorted_by_another_than_its_first_column() -> None:
    columns = (CaptureObject(1, SERIAL, 2), CLOCK_COLUMN)
    swapped = [(row[1], row[0]) for row in ROWS]
    profile = ProfileObject(LOAD_PROFILE, columns, lambda _: swapped, period_s=900, sort_column=1)
    assert profile.get(6, None, NOW) == CLOCK_COLUMN.to_data()
    selection = encode_selection(ByRange(CLOCK_COLUMN, ROWS[3][0], ROWS[5][0]))
    got = profile.get(2, selection, NOW)
    assert isinstance(got, Data)
    assert [row[0].value for row in rows(got, 2)] == [1003, 1004, 1005]
    entries_only = ProfileObject(LOAD_PROFILE, columns, lambda _: swapped, period_s=900, by_range=False)
    assert entries_only.get(2, selection, NOW) is AccessResult.SCOPE_OF_ACCESS_VIOLATED


def test_the_table_tells_what_is_missing_and_lists_what_is_there() -> None:
    table = ObjectTable([PlainObject(1, SERIAL, {2: octets(b"1")})])
    get = AttributeRequest(AttributeDescriptor(3, SERIAL, 2))
    assert table.get(SOMEBODY, get, NOW) is AccessResult.OBJECT_CLASS_INCONSISTENT
    get = AttributeRequest(AttributeDescriptor(1, Obis(9, 9, 9, 9, 9), 2))
    assert table.get(SOMEBODY, get, NOW) is AccessResult.OBJECT_UNDEFINED
    get = AttributeRequest(AttributeDescriptor(1, SERIAL, 1))
    assert table.get(SOMEBODY, get, NOW) == octets(SERIAL.pack())
    assert table.set(SOMEBODY, get, octets(b"renamed"), NOW) is AccessResult.READ_WRITE_DENIED
    outcome = table.act(SOMEBODY, MethodDescriptor(3, SERIAL, 1), None, NOW)
    assert outcome.result is ActionResult.OBJECT_CLASS_INCONSISTENT


def parts(data: Data) -> tuple[Data, ...]:
    assert isinstance(data.value, tuple)
    return data.value


def test_the_association_object_lists_everything_with_its_rights() -> None:
    table = ObjectTable(
        [PlainObject(1, SERIAL, {2: octets(b"1")}, writable=(2,)), DisconnectObject(DISCONNECT_CONTROL)]
    )

    def get(attribute: int) -> object:
        return table.get(SOMEBODY, AttributeRequest(AttributeDescriptor(15, CURRENT_ASSOCIATION, attribute)), NOW)

    listed = get(2)
    assert isinstance(listed, Data)
    assert decode(listed.encode()) == listed
    rights = {parts(one)[2].value: parts(parts(one)[3]) for one in parts(listed)}
    assert list(rights) == [CURRENT_ASSOCIATION.pack(), SERIAL.pack(), DISCONNECT_CONTROL.pack()]
    attributes, _ = rights[SERIAL.pack()]
    assert [parts(one)[0].value for one in parts(attributes) if parts(one)[1].value == 3] == [2]
    _, methods = rights[DISCONNECT_CONTROL.pack()]
    assert [parts(one)[0].value for one in parts(methods)] == [1, 2]
    assert get(1) == octets(CURRENT_ASSOCIATION.pack())
    assert get(8) == Data(Tag.ENUM, 2)
    assert get(9) == octets(b""), "there is no security setup in this table"
    assert get(7) is AccessResult.OBJECT_UNDEFINED
