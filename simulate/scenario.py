"""Scenarios: what goes wrong, how often, and who lives in the world; files in `simulate/scenarios`. Floor: simulate.

A scenario is data: probabilities of faults at events, rates of faults in time, the mix of people, and what of the
policy is changed so that a small world sees in days what a country sees in a year.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from fractions import Fraction
from functools import lru_cache
from importlib.resources import files
from typing import Any

from gridmodel.fault import Fault

START_DAYS = ("2026-05-11",)
"""A working Monday."""


class ScenarioFault(Fault):
    """A scenario that is none; codes TQ-SM-2n."""


class AtEvent(StrEnum):
    """Faults aligned to events: each is thrown anew at every such event."""

    NODE_CRASH_BEFORE_COMMIT = "node_crash_before_commit"
    NODE_CRASH_AFTER_COMMIT = "node_crash_after_commit"
    HUB_CRASH_BEFORE_COMMIT = "hub_crash_before_commit"
    HUB_CRASH_AFTER_COMMIT = "hub_crash_after_commit"
    NODE_CRASH_AT_SEND = "node_crash_at_send"
    NODE_CRASH_AT_REPLY = "node_crash_at_reply"
    NODE_CRASH_AT_COMMAND = "node_crash_at_command"
    """The relay command is on its way; the node dies before it hears of it."""
    NODE_CRASH_AT_PAYMENT = "node_crash_at_payment"
    """A cashier's request is in; the node dies at its commit, before or after."""
    REQUEST_LOST = "request_lost"
    REPLY_LOST = "reply_lost"
    """The hub has committed; the node never hears."""
    RESET = "reset"
    """The connection breaks off after the hub took the request in."""
    DUPLICATED = "duplicated"
    """The hub gets the same request again, later."""
    REORDERED = "reordered"
    """The request arrives after the node gave it up, behind later ones."""
    COMMAND_LOST = "command_lost"
    COMMAND_REPLY_LOST = "command_reply_lost"


class InTime(StrEnum):
    """Faults that begin at some time and last."""

    LINK_CUT = "link_cut"
    """Nothing passes, at once known."""
    LINK_ONE_WAY = "link_one_way"
    """Requests pass, replies do not."""
    LINK_HALF_OPEN = "link_half_open"
    """The connection seems to stand and nothing ever comes back, not even an error."""
    LINK_FLAPPING = "link_flapping"
    LINK_SLOW = "link_slow"
    NODE_CRASH = "node_crash"
    """At a random moment; the length is how long the node stays down."""
    HUB_DOWN = "hub_down"
    START_TWICE = "start_twice"
    """Someone starts the node's program once more beside the running one."""
    METER_SILENT = "meter_silent"
    METER_HUNG = "meter_hung"
    """A driver's call for some meters never returns, not even with a fault."""
    METER_SLOW = "meter_slow"
    GATEWAY_SLOW = "gateway_slow"
    """Everything behind one address answers seconds later than anybody waits; over bytes alone."""
    METERS_SWAPPED = "meters_swapped"
    """Two meters stand at each other's address, as where an electrician mixed up two flats; over bytes alone."""
    METER_EXCHANGED = "meter_exchanged"
    """A crew puts another meter in; the length is what lies between the crew and the registry, either being first."""
    COURIER = "courier"
    """A courier takes the office's bundle to the hub and the answer home; the length is his whole way."""
    NODE_PUT_BACK = "node_put_back"
    """Somebody puts a backup in place of the node's databases; the length is how old it is."""
    HUB_PUT_BACK = "hub_put_back"
    """The same at the hub."""
    FEED_DEAD = "feed_dead"
    """Payments by app are taken, but their feed to the hub is dead."""
    CLOCK_STEP = "clock_step"
    """The node's wall clock is set wrong by some seconds to minutes, and back at the end."""
    CLOCK_YEARS = "clock_years"
    """The wall jumps ahead by years, as from a hardware clock that was set wrongly."""
    CLOCK_BACK = "clock_back"
    """The wall is set back by hours or days."""
    CLOCK_DRIFT = "clock_drift"
    """The wall runs fast or slow, minutes in the end."""
    CLOCK_STANDS = "clock_stands"
    """The wall stands still."""
    MACHINE_REBOOT = "machine_reboot"
    """The machine starts anew: by 1970, in local time, as long behind as it was without current, or right."""
    HUB_CLOCK = "hub_clock"
    """The hub's wall is wrong by minutes to a day."""
    METER_CLOCKS = "meter_clocks"
    """All DLMS meters of a node show another time, as after a wrong setting from the head-end; over bytes alone."""


CLOCK_FAULTS = frozenset(
    {
        InTime.CLOCK_STEP,
        InTime.CLOCK_YEARS,
        InTime.CLOCK_BACK,
        InTime.CLOCK_DRIFT,
        InTime.CLOCK_STANDS,
        InTime.MACHINE_REBOOT,
        InTime.HUB_CLOCK,
        InTime.METER_CLOCKS,
    }
)
"""After which a machine's clock, or one that it asks, may be wrong."""


class Depth(StrEnum):
    """How deep a node's meters are simulated."""

    PORT = "port"
    """At the driver's port: fast, one read in some through bytes."""
    MODBUS = "modbus"
    """Every byte of Modbus, through the product's driver."""
    DLMS = "dlms"
    """Consumers' meters speak DLMS with ciphering, supply meters Modbus; every byte of both."""
    CONCENTRATOR = "concentrator"
    """As `dlms`, the consumers' meters behind concentrators on power line: slow, and lossy in the evening."""


@dataclass(frozen=True, slots=True)
class Spell:
    """How often something begins, and how long it lasts."""

    per_day: float
    """Mean number of beginnings in a day, for each node (hub and feed: in all)."""
    minutes: tuple[float, float]
    """Shortest and longest."""


@dataclass(frozen=True, slots=True)
class PeopleMix:
    """Parts of the usage points with a relay."""

    debtors: float = 0.45
    """Owe long enough, with a proven notice."""
    protected: float = 0.2
    """Part of the debtors with a protection."""
    unnoticed: float = 0.15
    """Part of the debtors whose notice is missing or unproven."""
    pays: float = 0.5
    """Part of the debtors who pay at a time of their own."""
    pays_in_the_dark: float = 0.8
    """Part of those who are cut that pay within hours."""
    by_app: float = 0.5
    """Part of the payments that go by app."""
    only_part: float = 0.1
    """Part of the payments that do not cover the debt."""
    two_bills: float = 0.0
    """Part of the debtors whose debt is one old bill and one young one: who pays half owes the young one."""
    moratoria: float = 0.0
    """Chance of a district that nobody in it may be cut for some hours; a quarter of these hold everywhere."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One scenario; see the files."""

    name: str
    what: str
    """One sentence for people."""
    at_event: Mapping[AtEvent, float] = field(default_factory=dict)
    in_time: Mapping[InTime, Spell] = field(default_factory=dict)
    people: PeopleMix = PeopleMix()
    start_days: tuple[str, ...] = START_DAYS
    """Local days one of which the run begins with."""
    quotas: tuple[int, ...] = (20,)
    """Cuts a day that mandates allow: each new mandate draws one of these."""
    frost: float = 0.0
    """Chance of a local day in a district that frost is forecast, below the policy's limit."""
    heat: float = 0.0
    """The same of heat, above the policy's limit."""
    brakes: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `PolicyRules` that differ from configs/policy/demo.toml."""
    meters: tuple[Depth, ...] = (Depth.PORT,)
    """Of the nodes in turn."""
    present_pct: tuple[float, float] = (0.0, 0.0)
    """Of all intervals of consumers' meters so many must be actual an hour after they ended, so many by six in the
    morning; over a whole local day."""
    dead_part: float = 0.0
    """Part of the meters of each node that answer nobody until the faults end."""
    meter_latency_s: float = 0.02
    """Of one exchange with a meter that is well."""
    restart_minutes: tuple[float, float] = (0.1, 20.0)
    """How long after a crash a process is started again."""
    down_hours_max: float = 24.0
    """No fault lasts longer than this, whatever its spell says."""

    @property
    def clocks_lie(self) -> bool:
        """Whether any clock can be wrong in it."""
        return not CLOCK_FAULTS.isdisjoint(self.in_time)


def scenario_names() -> list[str]:
    """The scenarios that are shipped."""
    folder = files("simulate").joinpath("scenarios")
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


@lru_cache(maxsize=32)
def load_scenario(name: str) -> Scenario:
    """The scenario of that name; raises ScenarioFault TQ-SM-20, 21."""
    if name not in scenario_names():
        raise ScenarioFault(
            "TQ-SM-20", f"there is no scenario {name!r:.40}", f"use one of {', '.join(scenario_names())}"
        )
    text = files("simulate").joinpath("scenarios", f"{name}.toml").read_text(encoding="utf-8")
    return scenario_from(name, tomllib.loads(text))


def scenario_from(name: str, table: Mapping[str, Any]) -> Scenario:
    """A scenario from its table; raises ScenarioFault TQ-SM-21 naming the key."""
    known = {one.name for one in fields(Scenario)} - {"name"}
    _exactly("scenario", table, known)
    try:
        brakes = {
            key: Fraction(str(value)) if key.endswith("_pct") else value
            for key, value in table.get("brakes", {}).items()
        }
        return Scenario(
            name=name,
            what=table["what"],
            at_event={AtEvent(key): float(value) for key, value in table.get("at_event", {}).items()},
            in_time={InTime(key): _spell(value) for key, value in table.get("in_time", {}).items()},
            people=_people(table.get("people", {})),
            start_days=tuple(table.get("start_days", START_DAYS)),
            quotas=tuple(int(one) for one in table.get("quotas", (20,))),
            frost=float(table.get("frost", 0.0)),
            heat=float(table.get("heat", 0.0)),
            brakes=brakes,
            restart_minutes=_pair(table.get("restart_minutes", (0.1, 20.0))),
            meters=tuple(Depth(one) for one in table.get("meters", (Depth.PORT,))),
            present_pct=_pair(table.get("present_pct", (0.0, 0.0))),
            dead_part=float(table.get("dead_part", 0.0)),
            meter_latency_s=float(table.get("meter_latency_s", 0.02)),
            down_hours_max=float(table.get("down_hours_max", 24.0)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ScenarioFault(
            "TQ-SM-21", f"scenario {name}: {error}", "compare it with scenarios/everyday.toml"
        ) from error


def _spell(value: Mapping[str, Any]) -> Spell:
    _exactly("spell", value, {"per_day", "minutes"})
    return Spell(float(value["per_day"]), _pair(value["minutes"]))


def _people(value: Mapping[str, Any]) -> PeopleMix:
    _exactly("people", value, {one.name for one in fields(PeopleMix)})
    return PeopleMix(**{key: float(part) for key, part in value.items()})


def _pair(value: Any) -> tuple[float, float]:
    low, high = value
    if not 0 <= low <= high:
        raise ValueError(f"{value!r} is not a lowest and a highest value")
    return float(low), float(high)


def _exactly(what: str, value: Mapping[str, Any], known: set[str]) -> None:
    odd = sorted(value.keys() - known)
    if odd:
        raise ScenarioFault("TQ-SM-21", f"{odd[0]!r:.40} is no key of a {what}", f"use {', '.join(sorted(known))}")
