"""What commands say: local times, soʻm and words instead of stamps, tiyin and codes."""

from gridmodel.period import parse_rfc3339
from hosting.checkup import Check, Health, as_report
from hosting.speech import check_lines, spoken_lines, table

AT = parse_rfc3339("2026-04-15T08:56:16Z")


def test_numbers_are_said_as_what_they_are() -> None:
    told = {
        "at": AT,
        "seen_at": None,
        "quota_left": 3,
        "overdue_tiyin": 23_600_050,
        "supplied": True,
        "decision": {
            "action": {"code": "none", "label": "action.none"},
            "reasons": [{"code": "no_debt", "label": "reason.no_debt"}],
        },
        "debts": [{"entry": "bill-1", "remaining_tiyin": 100}],
        "nothing": [],
    }
    lines = spoken_lines(told, "Asia/Tashkent")
    assert lines[:5] == [
        "at: 15 Apr 2026, 13:56:16",
        "seen at: —",
        "quota left: 3",
        "overdue: 236,000.50 soʻm",
        "supplied: yes",
    ]
    assert lines[5] == "decision:"
    assert "action.none" not in "\n".join(lines)
    assert lines[-4:] == ["debts:", "  - entry: bill-1", "    remaining: 1 soʻm", "nothing: —"]


def test_a_table_without_rows_still_has_its_head() -> None:
    assert table([], ("id", "loss %")) == ["id  loss %"]
    assert table([("a", None)], ("id", "loss %")) == ["id  loss %", "a   —"]


def test_a_report_that_came_through_the_door_fails_where_a_line_failed() -> None:
    report = as_report([Check("registry", Health.FAIL, "no registry yet", "wait for the hub")])
    again = as_report([Check.from_plain(one) for one in report["checks"]])
    assert again == report
    assert not again["ok"]
    assert check_lines(again) == [
        "FAIL  registry    no registry yet",
        "                  -> wait for the hub",
    ]
