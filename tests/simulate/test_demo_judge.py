"""The demo's judges can say no: protected and paid cuts, brakes, hours, late restores, exposure, lost and doubled."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from edge_node.config import load_rules
from hosting.process import Exit
from simulate.book import Payment
from simulate.demo.books import compare, compare_batches, compare_payments
from simulate.demo.cast import BANK, Cast, Part, book_of, choose_cast
from simulate.demo.energy import Energy, disagreements
from simulate.demo.judge import Papers, Verdict, judge
from simulate.demo.line import Cut
from simulate.demo.plan import STORY_DAY, DemoOptions, DemoPlan, moment, plan_demo
from simulate.demo.report import energy_violations, exit_code, payments_of_visitors
from simulate.relay_memory import RelayMove

PLAN: DemoPlan = plan_demo(DemoOptions(meters=160, port=21_700))
CAST: Cast = choose_cast(PLAN)
FIRST = PLAN.nodes[0].id
RULES = load_rules(Path("configs/policy/demo.toml"))
LINE_CUT = Cut(moment("10:30"), moment("00:25", "2026-04-16"))
EVENING = moment("23:00")


def papers(*payments: Payment, until: int = EVENING, cuts: Sequence[Cut] = (LINE_CUT,)) -> Papers:
    book = book_of(CAST)
    for one in payments:
        book.payments[one.account].append(one)
    return Papers(CAST, book, RULES, {FIRST: cuts}, 600.0, until)


def move(part: Part, clock: str, *, closed: bool = False, day: str = STORY_DAY) -> RelayMove:
    return RelayMove(str(CAST.of(part).point.meter), closed, moment(clock, day))


def paid(part: Part, clock: str, channel: str, day: str = STORY_DAY) -> Payment:
    one, at = CAST.of(part), moment(clock, day)
    return Payment("p", one.node, str(one.point.account), one.owed_tiyin, channel, at, acknowledged_at=at, entry="p")


def judged(*moves: RelayMove, by: Papers | None = None) -> Verdict:
    return judge(papers() if by is None else by, {FIRST: moves})


def checkers(*moves: RelayMove, by: Papers | None = None) -> set[str]:
    return {one.checker for one in judged(*moves, by=by).violations}


def test_the_story_as_it_is_meant_breaks_nothing() -> None:
    by = papers(paid(Part.PAYER, "11:10", f"desk-{FIRST}"))
    verdict = judged(
        move(Part.PAYER, "09:30", day="2026-04-13"),
        move(Part.PAYER, "11:12", closed=True),
        move(Part.DEBTOR, "11:40"),
        by=by,
    )
    assert verdict.violations == []
    assert (verdict.cut_while_offline, verdict.restored_while_offline, verdict.exposed) == (1, 1, [])


@pytest.mark.parametrize(
    ("part", "clock", "checker"),
    [
        (Part.SHELTERED, "11:40", "no_protected_cut"),
        (Part.PROMPT, "11:40", "no_paid_up_cut"),
        (Part.EVERYBODY, "11:40", "no_paid_up_cut"),
        (Part.SMALL, "11:40", "no_cut_without_debt"),
        (Part.YOUNG, "11:40", "no_cut_without_debt"),
        (Part.UNTOLD, "11:40", "notice"),
        (Part.ELSEWHERE, "12:30", "notice"),
        (Part.DEBTOR, "14:30", "allowed_hours"),
    ],
)
def test_a_cut_that_no_reason_permits(part: Part, clock: str, checker: str) -> None:
    assert checker in checkers(move(part, clock))


def test_a_cut_on_a_day_without_cuts() -> None:
    assert "allowed_hours" in checkers(move(Part.DEBTOR, "11:40", day="2026-04-17"))


def test_brakes_are_counted_over_what_the_meters_did() -> None:
    told = judged(move(Part.PAYER, "11:20"), move(Part.DEBTOR, "11:40")).violations
    assert {one.checker for one in told} == {"brakes"}
    assert any("node and day" in one.what for one in told)
    again = [move(Part.PAYER, "11:20"), move(Part.PAYER, "11:24", closed=True), move(Part.PAYER, "11:29")]
    what = " ".join(one.what for one in judged(*again).violations)
    assert "switched again" in what
    assert "meter and day" in what


def test_who_paid_where_the_office_could_not_know_is_exposed_and_no_violation() -> None:
    by = papers(paid(Part.ELSEWHERE, "12:00", BANK))
    verdict = judged(move(Part.ELSEWHERE, "13:10"), by=by)
    assert verdict.violations == []
    assert verdict.exposed == [(str(CAST.of(Part.ELSEWHERE).point.meter), moment("13:10"))]


def test_who_paid_where_the_office_could_know_must_not_be_cut() -> None:
    by = papers(paid(Part.ELSEWHERE, "12:00", BANK), cuts=())
    assert "no_paid_up_cut" in checkers(move(Part.ELSEWHERE, "13:10"), by=by)


def test_a_payer_who_stays_dark_is_a_violation() -> None:
    by = papers(paid(Part.PAYER, "11:10", f"desk-{FIRST}"))
    cut = move(Part.PAYER, "09:30", day="2026-04-13")
    assert checkers(cut, by=by) == {"restored_in_time"}
    assert checkers(cut, move(Part.PAYER, "15:00", closed=True), by=by) == {"restored_in_time"}
    assert checkers(cut, by=replace(by, until=moment("11:20"))) == set(), "the duty still runs when the story ends"


def test_supply_for_somebody_who_still_owes_is_a_violation() -> None:
    cut = move(Part.PAYER, "09:30", day="2026-04-13")
    assert checkers(cut, move(Part.PAYER, "11:00", closed=True)) == {"no_restore_without_payment"}


def test_things_lost_doubled_and_changed_are_found() -> None:
    truth = {"a": 1, "b": 2, "c": 3}
    told = compare("thing", "here", truth, [("a", 1), ("b", 9), ("b", 9), ("d", 4)])
    assert (len(told.lost), len(told.doubled), len(told.differing)) == (1, 2, 1)
    assert compare("thing", "here", truth, list(truth.items())).doubled == []


def test_a_doubled_payment_is_found_at_the_edge_and_at_the_hub() -> None:
    truth = {"p-1": ("acc", 500)}
    node_of = {"acc": "n"}
    one = ("p-1", "acc", 500)
    assert compare_payments(truth, node_of, {"n": [one]}, [one]).doubled == []
    assert len(compare_payments(truth, node_of, {"n": [one, ("p-2", "acc", 500)]}, [one]).doubled) == 1
    assert len(compare_payments(truth, node_of, {"n": [one]}, [one, ("p-2", "acc", 500)]).doubled) == 1
    assert len(compare_payments(truth, node_of, {"n": []}, [one]).lost) == 1
    assert len(compare_payments(truth, node_of, {"n": [one]}, []).lost) == 1


def test_batches_lost_doubled_forged_and_set_aside_are_found() -> None:
    key, other = ("n", "ledger", 1, 1), ("n", "ledger", 1, 2)
    fine = (key, "d1", "applied")
    assert compare_batches([(key, "d1")], {key}, [fine]).lost == []
    assert len(compare_batches([(key, "d1"), (other, "d2")], {key, other}, [fine]).lost) == 1
    assert len(compare_batches([(key, "d1")], {key}, [fine, fine]).doubled) == 1
    assert len(compare_batches([(key, "d1")], {key}, [fine, (other, "d2", "applied")]).doubled) == 1
    assert len(compare_batches([(key, "d1")], {key}, [(key, "d9", "applied")]).differing) == 1
    assert len(compare_batches([(key, "d1")], {key}, [(key, "d1", "quarantined")]).differing) == 1


def test_levels_that_disagree_are_found() -> None:
    def areas(*delivered: int) -> list[dict[str, object]]:
        return [{"delivered_wh": wh, "nodes": [{"delivered_wh": wh}]} for wh in delivered]

    whole = {"republic": areas(30), "region": areas(30), "district": areas(10, 20), "feeder": areas(4, 6, 20)}
    assert disagreements(0, whole) == []
    assert len(disagreements(0, whole | {"feeder": areas(4, 6, 19)})) == 1


@pytest.mark.parametrize(
    ("changed", "checkers_found"),
    [
        ({}, set()),
        ({"hub_wh": 99}, {"energy_equal"}),
        ({"edges_wh": 101}, {"energy_equal"}),
        ({"until": moment("15:00")}, {"energy_equal"}),
        ({"feeder_loss_wh": 60}, {"loss_found"}),
        ({"feeder_loss_wh": None}, {"loss_found"}),
    ],
)
def test_energies_that_differ_and_a_loss_that_hides_are_found(
    changed: dict[str, int | None], checkers_found: set[str]
) -> None:
    energy = Energy(moment("00:00", "2026-04-16"), 100, 100, 100, 1_000, 41)
    for name, value in changed.items():
        setattr(energy, name, value)
    assert {one.checker for one in energy_violations(energy, whole=True)} == checkers_found


def test_a_payment_that_a_visitor_took_is_no_mistake_and_pays() -> None:
    book = book_of(CAST)
    debtor = CAST.of(Part.DEBTOR)
    account = str(debtor.point.account)
    at = moment("11:50", STORY_DAY)
    before = book.overdue_tiyin(account, at)
    rows = [("pay-1", account, before, "desk-altinkul", at)]
    assert payments_of_visitors(book, {debtor.node: rows}) == 1
    assert payments_of_visitors(book, {debtor.node: rows}) == 0, "known by now"
    assert book.overdue_tiyin(account, at) == 0


@pytest.mark.parametrize(
    ("changed", "asked_to_end", "code"),
    [
        ({}, False, Exit.OK),
        ({"lost": 1}, False, Exit.FAILED),
        ({"doubled": 1}, True, Exit.FAILED),
        ({"violations": [{}]}, False, Exit.FAILED),
        ({"steps_missing": ["healed"]}, False, Exit.PARTLY),
        ({"steps_missing": ["healed"]}, True, Exit.OK),
        ({"steps_missing": ["healed"], "lost": 1}, False, Exit.FAILED),
    ],
)
def test_the_exit_code_says_it(changed: dict[str, object], asked_to_end: bool, code: Exit) -> None:
    report = {"lost": 0, "doubled": 0, "violations": [], "steps_missing": []}
    assert exit_code(report | changed, asked_to_end=asked_to_end) is code
