"""What the hub's commands print: percentages rounded once, from what the balance holds, as its pages do."""

from typing import Any

from central_sync.reports import balance_lines
from hosting.i18n import Language, translator

AREA: dict[str, Any] = {
    "id": "f-1",
    "name": "Feeder 1",
    "supplied_wh": 20_000,
    "delivered_wh": 19_201,
    "exported_wh": 0,
    "loss_wh": 799,
    "loss_pct": 100.0 * 799 / 20_000,
    "completeness_pct": 99.96,
    "final": False,
}


def row_of(**changed: Any) -> list[str]:
    told = {
        "level": "feeder",
        "period": "day",
        "from": "2026-04-14T19:00:00Z",
        "to": "2026-04-15T19:00:00Z",
        "areas": [AREA | changed],
    }
    return balance_lines(told, "Asia/Tashkent")[-1].split()


def test_the_command_rounds_as_the_pages_do() -> None:
    row, speak = row_of(), translator(Language.EN)
    assert f"{row[-3]} %" == speak.percent(AREA["loss_pct"], 2) == "4.00 %"
    assert f"{row[-2]} %" == speak.percent(AREA["completeness_pct"], down=True) == "99.9 %", "nearly all is not all"


def test_what_is_not_known_or_not_expected_is_a_dash() -> None:
    assert row_of(loss_wh=None, loss_pct=None, completeness_pct=None)[-4:] == ["—", "—", "—", "provisional"]
