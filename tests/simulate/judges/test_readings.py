"""Checkers of single intervals, of presence and of places: each finds what it looks for, and is content otherwise."""

from pathlib import Path

from gridmodel.event import AlarmKind
from gridmodel.period import HOUR_S
from gridmodel.reading import Channel, Quality
from simulate.judges.intervals import IntervalChecker
from simulate.judges.places import NOTICED_S_MAX, PlaceChecker
from simulate.judges.presence import FIRST_HOURS, PresenceChecker
from tests.simulate.judges.scenes import MIDNIGHT, Scene, scene

QUARTER = 900


def note_points(one: Scene) -> None:
    one.readings.executescript("DELETE FROM reading; DELETE FROM point;")
    for number, point in enumerate(one.sight.grid.points, start=1):
        one.readings.execute("INSERT INTO point VALUES (?, ?, ?, x'00')", (number, point.id, int(Channel.IMPORT)))


def note(one: Scene, number: int, end: int, wh: int, quality: Quality = Quality.ACTUAL) -> None:
    row = (end, number, wh, int(quality))
    one.readings.execute("INSERT OR REPLACE INTO reading VALUES (?, ?, ?, ?, 5, 1, 1, x'00')", row)


def true_wh(one: Scene, index: int, end: int) -> int:
    truth = one.sight.truth
    before, after = truth.registers_at(index, end - QUARTER), truth.registers_at(index, end)
    return (after.import_wh - before.import_wh) * truth.multiplier(index)


def test_an_actual_interval_that_the_meter_did_not_count_is_found(tmp_path: Path) -> None:
    with scene(tmp_path) as one:
        note_points(one)
        end = MIDNIGHT + 20 * QUARTER
        for index in range(len(one.sight.grid.points)):
            note(one, index + 1, end, true_wh(one, index, end))
        checker = IntervalChecker({"n1": one.sight}, one.verdicts)
        assert checker.compare("n1") == len(one.sight.grid.points)
        assert one.verdicts.found == []
        note(one, 3, end, true_wh(one, 2, end) + 1, Quality.ESTIMATED)
        checker.compare("n1")
        assert one.verdicts.found == [], "an estimate may be wrong"
        note(one, 3, end, true_wh(one, 2, end) + 1)
        checker.compare("n1")
        assert [found.checker for found in one.verdicts.found] == ["actual_is_true"]


def test_presence_counts_what_was_there_an_hour_later_and_by_six(tmp_path: Path) -> None:
    with scene(tmp_path) as one:
        note_points(one)
        points, first = len(one.sight.grid.points), MIDNIGHT + (FIRST_HOURS - 1) * HOUR_S
        ends = range(first + QUARTER, MIDNIGHT + 24 * HOUR_S + 1, QUARTER)
        for end in ends:
            for number in range(1, points + 1):
                note(one, number, end, 1)
        content = PresenceChecker({"n1": one.sight}, one.verdicts, MIDNIGHT, (95, 99))
        content.look(MIDNIGHT + 30 * HOUR_S)
        assert one.verdicts.found == []
        assert content.worst_pct == (100.0, 100.0)
        for end in ends:
            for number in range(1, points // 20 + 1):
                note(one, number, end, 1, Quality.ESTIMATED)
        again = PresenceChecker({"n1": one.sight}, one.verdicts, MIDNIGHT, (95, 99))
        again.look(MIDNIGHT + 30 * HOUR_S)
        assert [found.what[:30] for found in one.verdicts.found] == ["2026-05-12 by six: 95.00 % of "]
        demanding = PresenceChecker({"n1": one.sight}, one.verdicts, MIDNIGHT, (96, 0))
        demanding.look(MIDNIGHT + 30 * HOUR_S)
        assert [found.checker for found in one.verdicts.found] == ["presence"] * 2


def test_a_meter_in_anothers_place_must_be_noticed_by_a_node_that_could(tmp_path: Path) -> None:
    with scene(tmp_path) as one:
        checker, meters = PlaceChecker({"n1": one.sight}, one.verdicts, one.time_s), frozenset({"n1-m1"})
        checker.swapped("n1", meters, NOTICED_S_MAX - 1)
        one.up_since = None
        checker.swapped("n1", meters, 2 * NOTICED_S_MAX)
        one.up_since = one.time_s() - 60
        checker.swapped("n1", meters, 2 * NOTICED_S_MAX)
        assert one.verdicts.found == [], "too short, not running, only just running"
        one.up_since = 1.0
        one.sql("INSERT INTO alarm VALUES ('a', ?, 'n1-m1', ?, 'x', NULL)", AlarmKind.WRONG_METER.value, one.now - 60)
        checker.swapped("n1", meters, 2 * NOTICED_S_MAX)
        assert one.verdicts.found == []
        checker.swapped("n1", frozenset({"n1-m2"}), 2 * NOTICED_S_MAX)
        assert [found.checker for found in one.verdicts.found] == ["wrong_meter"]
