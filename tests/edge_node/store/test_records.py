"""Records in SQL: the protections' set equals its model, mandates rise, damaged rows permit nothing."""

import asyncio
import random
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_node.store.mandates import mandate_checker
from edge_node.store.record_items import RecordFault, protection_to_body
from edge_node.store.records import Records
from gridmodel.clock import TimeBounds
from gridmodel.fault import Fault
from gridmodel.identity import AccountId
from gridmodel.record import Notice, NoticeEvidence, Protection, ProtectionKind, WeatherForecast
from gridmodel.replicated import ObservedRemoveSet
from hosting.database import Connection, Database
from hosting.migrations import load_migrations
from protocols.authority.mandate import MandateAccepted, MandateOutcome, MandateRefused
from simulate.disk import SimDisk
from tests.edge_node.supply.network import DISTRICT, NODE, point_id
from tests.edge_node.supply.office import DAY, KEYRING, mandate_document
from tests.edge_node.supply.ports import MORNING

NOW = MORNING
POINT = point_id(1)
Story = Callable[[Database, Records], Awaitable[None]]


def told(folder: Path, story: Story) -> None:
    async def whole() -> None:
        disk = SimDisk(random.Random(1))
        control = await disk(folder / "c.db", "control", load_migrations("edge_node.store", "schema/control"))
        await story(control, Records(control, b"k" * 32, NODE, mandate_checker(KEYRING, NODE)))
        await control.close()

    asyncio.run(whole())


def protection(name: str, kind: ProtectionKind = ProtectionKind.MEDICAL, **where: Any) -> Protection:
    place = {"usage_point": POINT, "district": None, **where}
    return Protection(name, kind, place["usage_point"], place["district"], NOW - DAY, NOW + DAY, "clinic")


async def apply(control: Database, records: Records, kind: str, body: dict[str, Any]) -> None:
    await control.write(lambda conn: records.apply_record_item(conn, kind, "item", body, NOW))


async def standing(control: Database, records: Records) -> tuple[dict[str, ProtectionKind], tuple[str, ...]]:
    found, damaged = await control.read(lambda conn: records.standing_protections(conn, POINT, DISTRICT))
    return {one.id: one.kind for one in found}, damaged


NAME = st.sampled_from([f"p{n}" for n in range(5)])
STEP = st.one_of(
    st.tuples(st.just("assert"), NAME.map(lambda name: (name,))),
    st.tuples(st.just("revoke"), st.lists(NAME, min_size=1, max_size=3, unique=True).map(tuple)),
)


@settings(max_examples=30, deadline=None)
@given(steps=st.lists(STEP, max_size=10), data=st.data())
def test_the_tables_are_an_observed_remove_set(steps: list[tuple[str, tuple[str, ...]]], data: st.DataObject) -> None:
    """Any order, any repetition: what stands is what the pure type says."""
    kinds = {f"p{n}": kind for n, kind in enumerate(list(ProtectionKind)[:5])}
    model: ObservedRemoveSet[ProtectionKind] = ObservedRemoveSet()
    for what, names in steps:
        model = model.asserted(names[0], kinds[names[0]]) if what == "assert" else model.revoked(set(names))
    shuffled = data.draw(st.permutations(steps + steps[:3]))

    async def story(control: Database, records: Records) -> None:
        for what, names in shuffled:
            if what == "assert":
                await apply(control, records, "protection", protection_to_body(protection(names[0], kinds[names[0]])))
            else:
                await apply(control, records, "protection_revoked", {"ids": list(names), "by": "chief"})
        assert await standing(control, records) == (model.standing(), ())
        assert await records.verify() == ()

    with tempfile.TemporaryDirectory() as folder:
        told(Path(folder), story)


def test_protections_reach_points_districts_and_all(tmp_path: Path) -> None:
    async def story(control: Database, records: Records) -> None:
        for one in (
            protection("mine"),
            protection("other", usage_point=point_id(2)),
            protection("ours", usage_point=None, district=DISTRICT),
            protection("theirs", usage_point=None, district="1703202"),
            protection("all", ProtectionKind.MORATORIUM, usage_point=None),
        ):
            await records.put_protection(one, NOW)
        assert (await standing(control, records))[0].keys() == {"mine", "ours", "all"}

    told(tmp_path, story)


def test_a_standing_protection_is_found_behind_any_number_of_revoked_ones(tmp_path: Path) -> None:
    async def story(control: Database, records: Records) -> None:
        gone = [f"lock-{number:03}" for number in range(150)]
        for name in gone:
            await records.put_protection(protection(name, ProtectionKind.SAFETY_LOCK), NOW)
        await records.put_protection(protection("p1"), NOW)
        await control.write(lambda conn: records.revoke_protections(conn, gone, "office", NOW))
        assert await standing(control, records) == ({"p1": ProtectionKind.MEDICAL}, ())

    told(tmp_path, story)


def test_a_damaged_protection_locks_and_a_damaged_revocation_revokes_nothing(tmp_path: Path) -> None:
    async def story(control: Database, records: Records) -> None:
        await records.put_protection(protection("a"), NOW)
        await records.put_protection(protection("b"), NOW)
        await apply(control, records, "protection_revoked", {"ids": ["a", "b"], "by": "chief"})
        assert await standing(control, records) == ({}, ())
        await control.write(lambda conn: conn.execute("UPDATE protection_revoked SET revoked_by = 'x' WHERE id = 'a'"))
        assert await standing(control, records) == ({"a": ProtectionKind.MEDICAL}, ("a",))
        await control.write(lambda conn: conn.execute("UPDATE protection SET valid_to = 5 WHERE id = 'a'"))
        assert await standing(control, records) == ({"a": ProtectionKind.SAFETY_LOCK}, ("a",))
        assert set(await records.verify()) == {"protection a", "protection_revoked a"}

    told(tmp_path, story)


def test_the_notice_delivered_last_counts(tmp_path: Path) -> None:
    async def story(control: Database, records: Records) -> None:
        account = AccountId("acc")

        def notice(name: str, delivered: int | None) -> Notice:
            evidence = NoticeEvidence.NONE if delivered is None else NoticeEvidence.APP_READ
            return Notice(name, account, 100, evidence, delivered)

        async def latest() -> tuple[str | None, tuple[str, ...]]:
            found, damaged = await control.read(lambda conn: records.latest_notice(conn, account))
            return None if found is None else found.id, damaged

        assert await latest() == (None, ())
        for one in (notice("c", None), notice("a", NOW - DAY), notice("b", NOW - 9 * DAY)):
            await control.write(lambda conn, it=one: records.add_notice(conn, it, NOW))  # type: ignore[misc]
        assert await latest() == ("a", ())
        assert not await control.write(lambda conn: records.add_notice(conn, notice("a", NOW - 5), NOW + 5))
        assert await latest() == ("a", ())
        alarms = await control.read(lambda conn: conn.fetch_all("SELECT kind, subject FROM alarm"))
        assert alarms == [("ledger_conflict", "a")]
        await control.write(lambda conn: conn.execute("UPDATE notice SET amount_tiyin = 10000 WHERE id = 'a'"))
        assert await latest() == (None, ("a",))

    told(tmp_path, story)


def test_weather_is_the_latest_whole_forecast(tmp_path: Path) -> None:
    async def story(control: Database, records: Records) -> None:
        def forecast(at: int, low: float) -> WeatherForecast:
            return WeatherForecast(DISTRICT, at, low, 20.0)

        async def tell(one: WeatherForecast) -> bool:
            return await control.write(lambda conn: records.set_weather(conn, one, NOW))

        assert await tell(forecast(NOW - 60, -20.0))
        assert not await tell(forecast(NOW - 90, 5.0))
        assert await control.read(lambda conn: records.weather_of(conn, DISTRICT)) == forecast(NOW - 60, -20.0)
        with pytest.raises(RecordFault, match="TQ-RC-03"):
            await tell(forecast(NOW + 10_000, 5.0))
        await control.write(lambda conn: conn.execute("UPDATE weather SET min_c = 5.0"))
        assert await control.read(lambda conn: records.weather_of(conn, DISTRICT)) is None

    told(tmp_path, story)


async def offer(control: Database, records: Records, document: bytes, now: int = NOW) -> MandateOutcome:
    return await control.write(lambda conn: records.put_mandate(conn, document, now, TimeBounds(now, now)))


async def in_force(control: Database, records: Records, now: int = NOW) -> int | None:
    found = await control.read(lambda conn: records.mandate_in_force(conn, TimeBounds(now - 2, now + 2)))
    return None if found is None else found.counter


def test_mandates_rise_and_end_by_themselves(tmp_path: Path) -> None:
    async def story(control: Database, records: Records) -> None:
        assert await in_force(control, records) is None
        five = mandate_document(NOW, "v", counter=5)
        assert isinstance(await offer(control, records, five), MandateAccepted)
        assert isinstance(await offer(control, records, five), MandateAccepted), "a repeat is harmless"
        for bad in (
            mandate_document(NOW, "v", counter=4),
            mandate_document(NOW, "v", counter=6, signers=1),
            mandate_document(NOW, "v", counter=7).replace(b'"quota_per_day": 100', b'"quota_per_day": 999'),
        ):
            assert isinstance(await offer(control, records, bad), MandateRefused)
        assert await in_force(control, records) == 5
        later = mandate_document(NOW + 2 * DAY, "v", counter=8)
        assert isinstance(await offer(control, records, later), MandateAccepted), "checked for its own time"
        assert await in_force(control, records) == 5
        assert await in_force(control, records, NOW + 2 * DAY) == 8
        assert await in_force(control, records, NOW + 13 * DAY) is None
        refused = [row.refused for row in await records.mandates()]
        assert sorted(one or "" for one in refused) == ["", "", "bad_signature", "counter_old", "too_few_persons"]
        await control.write(lambda conn: conn.execute("UPDATE mandate SET document = x'7b7d' WHERE counter = 8"))
        assert await in_force(control, records, NOW + 2 * DAY) is None, "a damaged document permits nothing"

    told(tmp_path, story)


def test_a_mandate_that_a_clock_ahead_took_for_ended_permits_once_the_clock_is_right(tmp_path: Path) -> None:
    async def story(control: Database, records: Records) -> None:
        outcome = await offer(control, records, mandate_document(NOW, "v", counter=5), now=NOW + 100 * DAY)
        assert isinstance(outcome, MandateRefused)
        assert await in_force(control, records, NOW + 100 * DAY) is None
        assert await in_force(control, records) == 5
        assert isinstance(await offer(control, records, mandate_document(NOW, "v", counter=4)), MandateAccepted)
        assert await in_force(control, records) == 5, "the later one stands"
        assert await in_force(control, records, NOW + 100 * DAY) is None

    told(tmp_path, story)


BAD: list[tuple[str, dict[str, Any]]] = [
    ("protection", {}),
    ("protection", {**protection_to_body(protection("a")), "kind": "vip"}),
    ("protection", {**protection_to_body(protection("a")), "valid_to": 0}),
    ("protection", {**protection_to_body(protection("a")), "district": "17"}),
    ("protection_revoked", {"ids": "a", "by": "x"}),
    ("protection_revoked", {"ids": ["a b"], "by": "x"}),
    ("protection_revoked", {"ids": [f"p{n}" for n in range(501)], "by": "x"}),
    ("notice", {"id": "n", "account": "a", "amount_tiyin": -1, "evidence": "app_read", "delivered_at": 5}),
    ("notice", {"id": "n", "account": "a", "amount_tiyin": 1, "evidence": "rumour", "delivered_at": 5}),
    ("notice", {"id": "n", "account": "a", "amount_tiyin": 1, "evidence": "none", "delivered_at": 5}),
    ("weather", {"district": DISTRICT, "issued_at": NOW, "min_c": 30.0, "max_c": 20.0}),
    ("weather", {"district": DISTRICT, "issued_at": NOW, "min_c": -300.0, "max_c": 20.0}),
    ("weather", {"district": DISTRICT, "issued_at": NOW, "min_c": True, "max_c": 20.0}),
    ("weather", {"district": DISTRICT, "issued_at": NOW, "min_c": float("nan"), "max_c": 20.0}),
    ("mandate", {"document": b"{}"}),
    ("mandate", {"document": "text"}),
    ("stop_cuts", {"id": "s", "by": "x", "why": "y"}),
    ("lift_stop", {"id": "s", "by": "x", "at": NOW}),
    ("order", {}),
]


@pytest.mark.parametrize(("kind", "body"), BAD)
def test_an_item_that_cannot_be_leaves_nothing(tmp_path: Path, kind: str, body: dict[str, Any]) -> None:
    async def story(control: Database, records: Records) -> None:
        with pytest.raises(Fault, match="TQ-"):
            await apply(control, records, kind, body)
        for table in ("protection", "protection_revoked", "notice", "weather", "mandate", "cuts_stopped"):
            assert await control.read(lambda conn, name=table: conn.fetch_all(f"SELECT * FROM {name}")) == []  # type: ignore[misc]

    told(tmp_path, story)


def test_the_hub_may_stop_cuts_and_may_not_lift(tmp_path: Path) -> None:
    async def story(control: Database, records: Records) -> None:
        body = {"id": "s1", "by": "ministry", "why": "works", "at": NOW}
        await apply(control, records, "stop_cuts", body)
        await apply(control, records, "stop_cuts", body)

        async def stops(conn: Connection) -> list[str]:
            return [one.id for one in await records.stops(conn)]

        assert await control.read(stops) == ["s1"]
        with pytest.raises(RecordFault, match="TQ-RC-04"):
            await apply(control, records, "lift_stop", {})
        assert await records.put_lift("chief", NOW + 9) == 1
        assert await control.read(stops) == []

    told(tmp_path, story)
