"""The demo's stage before the curtain: real districts, free ports, a table in order, papers without a mistake."""

import socket
from pathlib import Path
from string import Formatter

import pytest

from central_sync.billing.imports import read_ledger
from central_sync.billing.records import RecordKind, read_records
from central_sync.config import HubConfig
from edge_node.config import NodeConfig
from edge_node.policy_file import load_policy
from gridmodel.clock import TimeBounds
from gridmodel.identity import NodeId
from gridmodel.period import local_time
from hosting.clocks import SystemEntropy
from hosting.config import load_toml
from hosting.territory import country
from protocols.authority.mandate import MandateAccepted, SignedMandate, check_mandate
from simulate.demo.cast import (
    BANK,
    MATURE_AT,
    NOTICE_DAYS,
    Part,
    bills_csv,
    book_of,
    choose_cast,
    notices_csv,
    payments_csv,
    protections_csv,
    weather_csv,
)
from simulate.demo.files import APPROVERS, POLICY, lay_out
from simulate.demo.plan import (
    PROLOGUE_DAY,
    STORY_DAY,
    ZONE,
    DemoFault,
    DemoOptions,
    DemoPlan,
    moment,
    node_name,
    plan_demo,
)
from simulate.demo.story import STORY, story_of
from simulate.demo.words import words_of

DAY_S = 86_400
SMALL = DemoOptions(meters=80, port=21_500)


def small() -> DemoPlan:
    return plan_demo(SMALL)


def test_offices_stand_in_real_districts_of_one_region() -> None:
    plan = small()
    known = [country().district(node.district) for node in plan.nodes]
    assert len({one.region for one in known}) == 1
    assert [node.id for node in plan.nodes] == [node_name(one.names.en) for one in known]
    assert sum(len(node.grid.points) for node in plan.nodes) == 80
    assert all(len(node.grid.feeders) >= 2 for node in plan.nodes)


def test_ports_are_free_and_the_meters_below_outgoing_ones() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        plan = plan_demo(DemoOptions(meters=80, port=port))
    assert plan.hub_port != port
    ports = [plan.hub_port, *(one for node in plan.nodes for one in (node.console_port, node.line_port))]
    assert len(set(ports)) == len(ports)
    assert all(node.fleet.port < 32_768 for node in plan.nodes)
    assert len({node.fleet.place(0)[0] for node in plan.nodes}) == 2


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (DemoOptions(nodes=0), "TQ-SM-30"),
        (DemoOptions(nodes=99), "TQ-SM-30"),
        (DemoOptions(meters=20), "TQ-SM-30"),
        (DemoOptions(speed=0.5), "TQ-SM-30"),
        (DemoOptions(speed=1e6), "TQ-SM-30"),
        (DemoOptions(port=0), "TQ-SM-31"),
        (DemoOptions(port=70_000), "TQ-SM-31"),
    ],
)
def test_what_cannot_be_told_is_named(options: DemoOptions, code: str) -> None:
    with pytest.raises(DemoFault, match=code):
        plan_demo(options)


@pytest.mark.parametrize("nodes", [1, 2, 3])
@pytest.mark.parametrize("seed", [1, 2, 7])
def test_every_part_has_a_home_of_its_own_with_a_relay(nodes: int, seed: int) -> None:
    plan = plan_demo(DemoOptions(nodes=nodes, meters=40 * nodes, seed=seed, port=21_600))
    cast = choose_cast(plan)
    wanted = set(Part) if nodes > 1 else set(Part) - {Part.NEIGHBOUR}
    assert {one.part for one in cast.consumers} == wanted
    assert len(cast.by_meter) == len(cast.consumers) == 40 * nodes
    alone = [one for one in cast.consumers if one.part is not Part.EVERYBODY]
    assert all(one.point.household and one.point.read_pct == 100 for one in alone)
    book = book_of(cast)
    dark = {one.part for one in cast.consumers if book.overdue_tiyin(str(one.point.account), moment("10:00")) > 0}
    assert dark == wanted - {Part.EVERYBODY, Part.PROMPT}


def test_notices_ripen_when_the_story_needs_them() -> None:
    rules = load_policy(None, moment("10:00"), ZONE)
    assert rules.notice_days == NOTICE_DAYS
    cast = choose_cast(small())
    for part, at in MATURE_AT.items():
        told = cast.of(part).told
        assert told is not None
        if part is Part.PAYER:
            assert told.delivered_at + NOTICE_DAYS * DAY_S <= at
        else:
            assert told.delivered_at + NOTICE_DAYS * DAY_S == at
            assert moment("00:00", PROLOGUE_DAY) + DAY_S < at, "nobody else may be cut in the prologue"


def test_the_days_are_days_of_cuts_by_the_demos_own_rules(tmp_path: Path) -> None:
    files = lay_out(tmp_path, small(), SystemEntropy())
    for day in (PROLOGUE_DAY, STORY_DAY):
        rules = load_policy(files.root / "policy.toml", moment("10:00", day), ZONE)
        assert rules.missing() == ()
        assert rules.version == POLICY
        local = local_time(moment("10:00", day), ZONE)
        assert local.weekday() not in rules.no_cut_weekdays
        assert day not in rules.no_cut_days


def test_the_table_is_a_story() -> None:
    assert [step.begins_at for step in STORY] == sorted(step.begins_at for step in STORY)
    assert len({step.name for step in STORY}) == len(STORY)
    assert all(step.begins_at < step.ends_at for step in STORY)
    plan = small()
    words = words_of(plan, choose_cast(plan))
    for step in STORY:
        for text in (step.now, step.watch):
            assert {name for _, name, _, _ in Formatter().parse(text) if name} <= set(words)
            assert "None" not in text.format_map(words)
    assert [step.name for step in STORY if step not in story_of(1)] == ["neighbour_cut", "neighbour_restored"]


def test_configurations_load_and_two_persons_signed_every_mandate(tmp_path: Path) -> None:
    plan = small()
    files = lay_out(tmp_path, plan, SystemEntropy())
    hub = load_toml(files.hub, HubConfig, {})
    assert hub.demo
    assert {node.id for node in hub.nodes} == {node.id for node in plan.nodes}
    for node in plan.nodes:
        config = load_toml(files.node(node.id), NodeConfig, {})
        assert config.hub.url.endswith(f":{node.line_port}"), "an office speaks to its line, not to the hub"
        for day, above in ((PROLOGUE_DAY, 0), (STORY_DAY, 1)):
            signed = SignedMandate.from_json(files.mandate(node.id, day).read_bytes())
            at = moment("10:00", day)
            outcome = check_mandate(signed, config.keyring(), NodeId(node.id), TimeBounds(at, at), counter_above=above)
            assert isinstance(outcome, MandateAccepted)
            assert outcome.persons == set(APPROVERS)


def test_the_hub_takes_every_paper_without_a_mistake() -> None:
    plan = small()
    cast = choose_cast(plan)
    now = moment("09:00", PROLOGUE_DAY)
    bills = read_ledger(bills_csv(cast).encode(), "billing", ZONE, now)
    payments = read_ledger(payments_csv(book_of(cast).all_payments()).encode(), BANK, ZONE, now)
    assert (len(bills.rows), bills.mistakes) == (80, ())
    assert payments.mistakes == ()
    assert sum(entry.amount_tiyin for _, entry in bills.rows) == -sum(one.owed_tiyin for one in cast.consumers)
    texts = {
        RecordKind.NOTICE: notices_csv(cast),
        RecordKind.PROTECTION: protections_csv(cast),
        RecordKind.WEATHER: weather_csv(plan, now),
    }
    for kind, text in texts.items():
        read = read_records(kind, text.encode(), ZONE, now)
        assert read.rows
        assert read.mistakes == ()
