"""Meters as witnesses of the time: how many, how near to each other, how lately."""

from edge_node.metering.clock_witnesses import HEARD_S, WITNESSES_MIN, ClockWitnesses, agreed_shift_s

NOON = 1_778_500_000


def test_too_few_say_nothing() -> None:
    assert agreed_shift_s([3] * (WITNESSES_MIN - 1)) is None
    assert agreed_shift_s([3] * WITNESSES_MIN) == 3


def test_one_wild_clock_among_many_does_not_matter_and_a_third_does() -> None:
    assert agreed_shift_s([0, 1, -2, 3, 0, 2, 90_000]) == 1
    assert agreed_shift_s([0, 1, -2, 3, 90_000, 90_001]) is None


def test_what_a_poll_took_is_no_shift() -> None:
    witnesses = ClockWitnesses()
    for n in range(6):
        witnesses.heard(f"m-{n}", NOON + n * 5, NOON, NOON + 30)
    assert witnesses.shift_s(NOON + 40) == 0


def test_a_meter_counts_once_and_only_while_its_word_is_fresh() -> None:
    witnesses = ClockWitnesses()
    for _ in range(9):
        witnesses.heard("m-1", NOON, NOON, NOON)
    assert witnesses.shift_s(NOON) is None
    for n in range(6):
        witnesses.heard(f"m-{n}", NOON + 7_200, NOON, NOON)
    assert witnesses.shift_s(NOON + HEARD_S) == 7_200
    assert witnesses.shift_s(NOON + HEARD_S + 1) is None


def test_nobody_speaks_for_a_clock_that_was_set_back_before_they_spoke() -> None:
    witnesses = ClockWitnesses()
    for n in range(6):
        witnesses.heard(f"m-{n}", NOON, NOON, NOON)
    assert witnesses.shift_s(NOON - 60) is None
    witnesses.forget()
    assert witnesses.shift_s(NOON) is None
