"""Duties that run in time: who must have light, who must be asked, and what a wrong wall excuses."""

import json
from pathlib import Path

import pytest

from simulate.clock import WallSpan
from simulate.judges.supply import LOOK_S, POLL_S_MAX, RESTORE_S_MAX, SupplyChecker
from tests.simulate.judges.scenes import MIDNIGHT, OWED, TEN, Scene, scene


def checker_of(one: Scene) -> SupplyChecker:
    one.up_since = float(TEN - MIDNIGHT)
    return SupplyChecker({"n1": one.sight}, one.verdicts, one.time_s)


def lives(one: Scene, checker: SupplyChecker, seconds: int, *, asks: bool = True, stamps: bool = True) -> set[str]:
    """Let so much time pass, with a look now and then; gives what was found."""
    for _ in range(0, seconds, LOOK_S):
        one.now += LOOK_S
        for meter in one.sight.measured if asks else ():
            checker.asked("n1", meter)
        if stamps:
            checker.polled("n1")
        checker.look()
    return {found.what.split(":")[0] for found in one.verdicts.found if found.checker == "liveness"}


def test_a_node_that_asks_nobody_is_seen_whatever_its_wall_shows(tmp_path: Path) -> None:
    with scene(tmp_path) as one:
        checker = checker_of(one)
        one.walls.append(WallSpan(TEN, TEN + 20_000, -6 * 3_600.0))
        found = lives(one, checker, POLL_S_MAX, asks=False, stamps=False)
        assert found == set()
        found = lives(one, checker, 2 * LOOK_S, asks=False, stamps=False)
        assert found == {"asking"}


def test_a_wrong_wall_excuses_rounds_without_stamps(tmp_path: Path) -> None:
    with scene(tmp_path) as one:
        checker = checker_of(one)
        one.walls.append(WallSpan(TEN, TEN + 20_000, 86_400.0))
        assert lives(one, checker, 2 * POLL_S_MAX, stamps=False) == set()


@pytest.mark.parametrize(
    ("began_s", "answered_s", "doubted", "excused"),
    [
        (-5_000, TEN - MIDNIGHT - 900.0, False, False),  # the hub contradicted it all along
        (-1_000, 2.0, False, True),  # by the wrong wall: the right one looks wrong to it
        (-1_000, TEN - MIDNIGHT + 1.0, False, False),  # and the hub has told it
        (1, 2.0, True, True),  # later, with the doubt of an earlier run
        (1, 2.0, False, False),
        (1, TEN - MIDNIGHT + 2.0, True, False),
        (-5_000, 2.0, False, False),  # before: its steady clock tells
    ],
)
def test_a_doubt_outlasts_the_wrong_wall(
    tmp_path: Path, began_s: int, answered_s: float, doubted: bool, excused: bool
) -> None:
    """The wall was wrong for an hour until ten; the process began `began_s` from then."""
    with scene(tmp_path) as one:
        checker = checker_of(one)
        one.walls.append(WallSpan(TEN - 3_600, TEN, 1_200.0))
        one.up_since, one.sight.answered_s = float(TEN - MIDNIGHT + began_s), answered_s
        one.sql("INSERT INTO node_state VALUES ('clock_anchor', '{\"boot\": \"\"}')")
        if doubted:
            one.sql("INSERT INTO node_state VALUES ('clock_doubted', '1')")
        found = lives(one, checker, 2 * POLL_S_MAX, stamps=False)
        assert ("polling" in found) != excused


def test_a_confirmed_wall_that_was_a_little_wrong_leaves_a_doubt(tmp_path: Path) -> None:
    with scene(tmp_path) as one:
        checker = checker_of(one)
        one.walls.append(WallSpan(TEN - 3_600, TEN, 90.0))
        one.up_since, one.sight.answered_s = 1.0, float(TEN - MIDNIGHT - 900)
        assert lives(one, checker, 2 * POLL_S_MAX, stamps=False) == set()


def test_a_machine_that_started_anew_has_to_be_told_the_time(tmp_path: Path) -> None:
    for boot, excused in (("b-1", False), ("b-0", True)):
        (tmp_path / boot).mkdir()
        with scene(tmp_path / boot) as one:
            checker = checker_of(one)
            one.sight.boot = lambda: "b-1"
            one.up_since, one.sight.answered_s = 2.0, 1.0
            one.sql("INSERT INTO node_state VALUES ('clock_anchor', ?)", json.dumps({"boot": boot}))
            assert ("polling" not in lives(one, checker, 2 * POLL_S_MAX, stamps=False)) == excused


def test_a_hub_that_was_wrong_excuses_until_it_speaks_again(tmp_path: Path) -> None:
    for answered_s, excused in ((TEN - MIDNIGHT - 1_900.0, True), (TEN - MIDNIGHT - 1_700.0, False)):
        folder = tmp_path / str(answered_s)
        folder.mkdir()
        with scene(folder) as one:
            checker = checker_of(one)
            one.sight.hub_spans = lambda: [WallSpan(TEN - 3_600, TEN - 1_800, 5_000.0)]
            one.up_since, one.sight.answered_s = 1.0, answered_s
            assert ("polling" not in lives(one, checker, 2 * POLL_S_MAX, stamps=False)) == excused


def test_a_wall_that_drifts_shows_all_between(tmp_path: Path) -> None:
    with scene(tmp_path) as one:
        one.walls.append(WallSpan(1_000, 2_000, 0.0, drift_s=-1_000.0))  # it stands still
        within = one.sight.stamped_within
        assert within(1_000, 1_500, 1_600)
        assert not within(1_100, 1_500, 1_600)


def test_a_right_wall_excuses_nothing(tmp_path: Path) -> None:
    with scene(tmp_path) as one:
        one.sql("INSERT INTO node_state VALUES ('clock_anchor', ?)", json.dumps({"boot": one.sight.boot()}))
        assert "polling" in lives(one, checker_of(one), POLL_S_MAX + 2 * LOOK_S, stamps=False)


def test_one_meter_that_is_left_out_is_seen(tmp_path: Path) -> None:
    with scene(tmp_path) as one:
        checker = checker_of(one)
        one.walls.append(WallSpan(TEN, TEN + 40_000, 60.0))
        left_out = str(one.point.meter)
        for _ in range(40):
            one.now += LOOK_S
            for meter in one.sight.measured:
                if meter != left_out:
                    checker.asked("n1", meter)
            checker.look()
        assert {found.what for found in one.verdicts.found} == {f"{left_out}: it was not asked for 5400 s"}


@pytest.mark.parametrize(
    ("why", "bright"),
    [("paid", True), ("point", True), ("district", True), ("safety_lock", False), ("revoked", False), ("owes", False)],
)
def test_who_is_to_have_light_again(tmp_path: Path, why: str, bright: bool) -> None:
    with scene(tmp_path) as one:
        checker = checker_of(one)
        one.sight.truth.move_relay(str(one.point.meter), closed=False, at=TEN)
        if why in {"paid", "safety_lock"}:
            one.entry("paid", OWED, received_at=TEN)
        if why in {"point", "revoked", "safety_lock"}:
            one.protect(point=str(one.point.id), kind="safety_lock" if why == "safety_lock" else "medical")
        if why == "district":
            one.protect(district=str(one.point.district), kind="moratorium")
        if why == "revoked":
            one.sql("INSERT INTO protection_revoked VALUES ('p', 'x', 1, x'00')")
        lives(one, checker, RESTORE_S_MAX + LOOK_S)
        assert "restored_in_time" not in one.found()
        lives(one, checker, 2 * LOOK_S)
        assert ("restored_in_time" in one.found()) == bright


def test_a_stamp_is_taken_back_to_the_worlds_time(tmp_path: Path) -> None:
    with scene(tmp_path) as one:
        one.walls += [WallSpan(1_000, 2_000, 500.0), WallSpan(5_000, 6_000, -300.0)]
        within = one.sight.stamped_within
        assert within(900, 890, 910)
        assert not within(900, 910, 920)
        assert within(1_600, 1_050, 1_150)  # it was 1,100
        assert within(1_100, 1_050, 1_150)  # the wall never showed that then, but others may have told the time
        assert within(5_200, 5_490, 5_510)
        assert within(990, 990, 1_010)  # before the step
        assert within(1_505, 990, 1_010)  # after it
