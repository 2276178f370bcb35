"""The hub's own tests once more, over PostgreSQL: no feature rests on one engine."""

from collections.abc import Callable
from functools import cache

import pytest

from tests.central_sync import (
    hub_rig,
    test_hub_balances,
    test_hub_consumers,
    test_hub_field_works,
    test_hub_hostile,
    test_hub_imports,
    test_hub_ingest,
    test_hub_mandates,
    test_hub_reports,
    test_hub_situation,
)

MODULES = (
    test_hub_balances,
    test_hub_consumers,
    test_hub_field_works,
    test_hub_hostile,
    test_hub_imports,
    test_hub_ingest,
    test_hub_mandates,
    test_hub_reports,
    test_hub_situation,
)
LEFT_OUT = {
    "test_a_database_of_the_first_version_is_brought_forward": "about the steps of SQLite",
    "test_any_order_gives_the_same_balances": "a hundred hubs; about arithmetic, not about rows",
    "test_one_damaged_batch_set_aside_stops_no_other": "damages SQLite's file",
}
HOSTILE_BATCHES = 800

pytestmark = pytest.mark.postgresql


@pytest.fixture(autouse=True)
def on_postgresql(fresh_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_rig, "database_of", cache(lambda _: fresh_database()))
    monkeypatch.setattr(test_hub_hostile, "BATCHES", HOSTILE_BATCHES)


globals().update(
    (name, test)
    for module in MODULES
    for name, test in vars(module).items()
    if name.startswith("test_") and name not in LEFT_OUT
)


def test_what_is_left_out_exists() -> None:
    assert [name for name in LEFT_OUT if not any(hasattr(module, name) for module in MODULES)] == []
