"""A checker that cannot fail proves nothing: one reason after the other is taken from a cut, and each is missed."""

from pathlib import Path

import pytest

from protocols.driver import RelayCommand
from simulate.book import Payment, Shield
from simulate.clock import WallSpan
from simulate.judges.debts import open_overdue
from tests.simulate.judges.scenes import DAY_S, MIDNIGHT, OWED, TEN, Scene, scene


def test_a_cut_that_everything_permits_is_no_violation(tmp_path: Path) -> None:
    with scene(tmp_path) as one:
        one.opens()
        assert one.found() == set()


@pytest.mark.parametrize(
    ("sql", "checker"),
    [
        ("UPDATE relay_operation SET sent_at = NULL", "no_cut_without_intent"),
        ("UPDATE relay_operation SET sent_at = sent_at - 60", "no_cut_without_intent"),
        ("UPDATE relay_operation SET result_at = sent_at", "no_cut_without_intent"),
        ("UPDATE relay_operation SET action = 'restore'", "no_cut_without_intent"),
        ("DELETE FROM mandate", "no_cut_without_mandate"),
        ("UPDATE mandate SET refused = 'bad_signature'", "no_cut_without_mandate"),
        ("INSERT INTO cuts_stopped (id, stopped_at, stopped_by, why) VALUES ('s', 1, 'x', 'y')", "no_cut_when_stopped"),
        ("UPDATE weather SET min_c = -5.1", "weather"),
        ("UPDATE weather SET max_c = 40.1", "weather"),
        ("UPDATE weather SET issued_at = issued_at - 90000", "weather"),
        ("DELETE FROM weather", "weather"),
        ("DELETE FROM watermark WHERE channel = 'app'", "watermark"),
        ("UPDATE watermark SET complete_up_to = complete_up_to - 90000 WHERE channel = 'billing'", "watermark"),
        ("UPDATE notice SET amount_tiyin = amount_tiyin - 1", "notice"),
        ("UPDATE notice SET evidence = 'none'", "notice"),
        ("UPDATE ledger_entry SET due_at = due_at + 2000000", "no_cut_without_debt"),
        ("UPDATE ledger_entry SET amount_tiyin = -100", "no_cut_without_debt"),
    ],
)
def test_what_one_row_takes_away_is_missed(tmp_path: Path, sql: str, checker: str) -> None:
    with scene(tmp_path) as one:
        one.sql(sql)
        one.opens()
        assert one.found() == {checker}


@pytest.mark.parametrize(
    ("age_s", "quality", "fresh"),
    [(900, 0, True), (7_200, 0, True), (8_100, 0, False), (900, 1, False), (900, 2, False), (-7_200, 0, False)],
)
def test_nobody_is_cut_on_an_old_or_estimated_reading(tmp_path: Path, age_s: int, quality: int, fresh: bool) -> None:
    with scene(tmp_path) as one:
        one.readings.execute("DELETE FROM reading")
        one.reading(TEN - age_s, quality)
        one.opens()
        assert one.found() == (set() if fresh else {"fresh_reading"})


def test_the_latest_mandate_alone_gives_the_right(tmp_path: Path) -> None:
    with scene(tmp_path) as one:
        one.mandate(2, policy="other")
        one.opens()
        assert one.found() == {"no_cut_without_mandate"}


def test_a_mandate_that_came_while_the_command_flew_could_not_stop_it(tmp_path: Path) -> None:
    with scene(tmp_path) as one:
        one.mandate(2, quota=0, received_at=TEN - 3)
        one.opens()
        assert one.found() == set()


def test_the_quota_is_counted_over_the_local_day(tmp_path: Path) -> None:
    with scene(tmp_path) as one:
        one.mandate(2, quota=1)
        one.now -= 11 * 3_600  # yesterday evening: another day, and other violations
        one.opens()
        one.verdicts.found.clear()
        one.now = TEN
        one.opens()
        assert "mandate_quota" not in one.found()
        one.opens()
        assert "mandate_quota" in one.found()


@pytest.mark.parametrize("now", [TEN - 3_700, MIDNIGHT + 14 * 3_600 + 61, TEN + 3 * DAY_S])
def test_hours_and_days_are_the_worlds(tmp_path: Path, now: int) -> None:
    with scene(tmp_path) as one:
        one.now = now
        one.opens()
        assert "allowed_hours" in one.found()


@pytest.mark.parametrize("where", ["point", "district", "everywhere"])
def test_whom_a_protection_covers(tmp_path: Path, where: str) -> None:
    with scene(tmp_path) as one:
        one.protect(
            point=str(one.point.id) if where == "point" else None,
            district=str(one.point.district) if where == "district" else None,
            kind="moratorium",
        )
        one.opens()
        assert one.found() == {"no_protected_cut"}


def test_another_district_is_not_covered(tmp_path: Path) -> None:
    with scene(tmp_path) as one:
        one.protect(district="1799999", kind="moratorium")
        one.opens()
        assert one.found() == set()


def test_a_protection_that_raced_the_cut_is_exposure(tmp_path: Path) -> None:
    with scene(tmp_path) as one:
        one.protect(district=str(one.point.district), kind="moratorium")
        one.sql("UPDATE protection SET received_at = ?", TEN - 4)
        one.book.moratoria.append(Shield("p", None, MIDNIGHT, MIDNIGHT + DAY_S, MIDNIGHT, str(one.point.district)))
        one.opens()
        assert one.found() == set()
        assert len(one.relays.exposed) == 1


def paid(one: Scene, *, acknowledged_at: int | None, channel: str = "desk") -> None:
    payment = Payment("request", "n1", str(one.point.account), OWED, channel, TEN - 600, acknowledged_at, "paid")
    one.book.payments[str(one.point.account)].append(payment)


def test_a_receipt_is_known_whatever_stamp_the_row_bears(tmp_path: Path) -> None:
    with scene(tmp_path) as one:
        one.entry("paid", OWED, received_at=TEN - 2)
        paid(one, acknowledged_at=TEN - 500)
        one.opens()
        assert "no_paid_up_cut" in one.found()


def test_a_payment_that_commits_while_the_command_flies_is_a_race(tmp_path: Path) -> None:
    with scene(tmp_path) as one:
        one.entry("paid", OWED, received_at=TEN - 2)
        paid(one, acknowledged_at=None)
        one.opens()
        assert one.found() == set()
        assert one.faults.sometimes["payment_raced_a_cut"] == 1


def test_a_row_from_a_wall_that_is_ahead_is_known_all_the_same(tmp_path: Path) -> None:
    with scene(tmp_path) as one:
        one.walls.append(WallSpan(TEN - 4_000, TEN - 1_000, 7_200.0))
        one.entry("paid", OWED, received_at=TEN - 2_000 + 7_200)
        one.opens()
        assert "no_paid_up_cut" in one.found()


@pytest.mark.parametrize(("mark", "vouched"), [(TEN - 300, True), (TEN - 1_800, False)])
def test_a_payment_elsewhere_is_known_by_its_watermark_or_exposure(tmp_path: Path, mark: int, vouched: bool) -> None:
    with scene(tmp_path) as one:
        one.sql("UPDATE watermark SET complete_up_to = ? WHERE channel = 'app'", mark)
        paid(one, acknowledged_at=TEN - 100, channel="app")
        one.opens()
        assert one.found() == ({"no_paid_up_cut"} if vouched else set())
        assert len(one.relays.exposed) == (not vouched)


def test_the_age_of_a_debt_is_that_of_its_oldest_open_bill(tmp_path: Path) -> None:
    assert open_overdue([(20, 5), (10, 7)], 7, 30) == (5, 20)
    assert open_overdue([(20, 5), (10, 7)], 6, 30) == (6, 10)
    assert open_overdue([(40, 5)], 0, 30) == (0, None)
    with scene(tmp_path) as one:
        one.entry("young", -OWED, due_at=TEN - 10 * DAY_S, received_at=MIDNIGHT)
        one.entry("half", OWED, received_at=MIDNIGHT)
        one.opens()
        assert one.found() == {"no_cut_without_debt"}


@pytest.mark.parametrize(
    ("began", "lived", "step_s", "doubtful"),
    [
        (TEN - 600, (1.0, 2.0), 60.0, True),  # set wrong under a running process
        (TEN - 600, (1.0, 2.0), 1.0, False),  # nobody could tell
        (TEN - 600, (1.0, 35_500.0), 60.0, False),  # and then the hub agreed, as far as its answer can tell
        (TEN - 600, (1.0, 35_500.0), 200.0, True),
        (TEN - 5, (1.0, 2.0), 3_600.0, False),  # while the command flew
        (TEN - 600, (35_700.0, 35_800.0), 3_600.0, True),  # the hub has contradicted
        (TEN - 600, (35_700.0, 35_800.0), 60.0, False),  # within what the hub's answer can tell
        (TEN - 600, (35_700.0, 2.0), 60.0, True),  # nobody has confirmed it since the start
        (TEN + 600, (35_700.0, 2.0), 0.0, True),
    ],
)
def test_no_contact_opens_by_a_clock_in_doubt(
    tmp_path: Path, began: int, lived: tuple[float, float], step_s: float, doubtful: bool
) -> None:
    """`lived` is when the process began and when the hub last answered it, virtual seconds."""
    with scene(tmp_path) as one:
        one.walls.append(WallSpan(began, TEN + 3_600, step_s))
        one.up_since, one.sight.answered_s = lived
        shown = TEN - 1 + (int(step_s) if began < TEN else 0)
        one.sql("UPDATE relay_operation SET sent_at = ?", shown)
        one.opens()
        assert ("clock_doubt" in one.found()) == doubtful
        assert "no_cut_without_intent" not in one.found() or began == TEN - 5


@pytest.mark.parametrize(("outcome", "found"), [("failed", False), ("withheld", True), ("confirmed", True)])
def test_a_cut_that_a_queue_held_back_may_open_after_it_was_found_closed(
    tmp_path: Path, outcome: str, *, found: bool
) -> None:
    with scene(tmp_path) as one:
        one.sql("UPDATE relay_operation SET result_at = sent_at + 2, outcome = ?", outcome)
        one.opens()
        assert ("no_cut_without_intent" in one.found()) == found


def test_a_cut_is_told_once_and_on_its_own_intent(tmp_path: Path) -> None:
    with scene(tmp_path) as one:
        meter = str(one.point.meter)
        for command, intent in ((RelayCommand.CLOSE, "whatever"), (RelayCommand.OPEN, "op-1")):
            one.relays.command_ends("n1", meter, one.relays.command_begins("n1", meter, command, intent))
        assert one.found() == set()
        one.relays.command_ends("n1", meter, one.relays.command_begins("n1", meter, RelayCommand.OPEN, "op-1"))
        assert one.found() == {"cut_told_once"}
        one.relays.command_begins("n1", meter, RelayCommand.OPEN, "op-2")
        assert one.found() == {"cut_told_once", "no_cut_without_intent"}


def test_a_command_of_a_dead_process_hides_none_of_the_next(tmp_path: Path) -> None:
    with scene(tmp_path) as one:
        meter = str(one.point.meter)
        dead = one.relays.command_begins("n1", meter, RelayCommand.CLOSE, "op-1")
        one.relays.node_died("n1")
        one.relays.command_ends("n1", meter, dead)  # its task ends after the process
        one.relays.command_begins("n1", meter, RelayCommand.CLOSE, "op-1")
        assert one.found() == set()
        one.relays.command_begins("n1", meter, RelayCommand.CLOSE, "op-1")
        assert one.found() == {"one_operation_per_point"}
