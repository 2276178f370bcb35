"""The office at one look: link, what waits, cuts and brakes, closed books. Room: console; on all walks.

A view is made of the node's own status (console/status) and a few counts; the template only lays it out.
"""

from dataclasses import dataclass
from typing import Any

from edge_node.console.office import Office, district_name
from edge_node.console.payments_known import payments_known
from gridmodel.control import RelayState, may_be_dark
from gridmodel.period import day_bounds, local_day
from gridmodel.quantity import percent_rounded_up
from hosting.i18n import Translator
from protocols.sync.lanes import Lane

WAITS_S_WARN = 3_600
"""Something that waits longer than an hour while the link is up is worth a look."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """One lane to the hub."""

    title: str
    carries: str
    records: int
    batches: int
    oldest_at: int | None
    tone: str


@dataclass(frozen=True, slots=True)
class Limit:
    """Something of which only so much is allowed."""

    title: str
    used: int
    allowed: int

    @property
    def share_pct(self) -> float:
        """Of the bar."""
        return 100.0 if self.allowed <= 0 else min(100.0, 100.0 * self.used / self.allowed)

    @property
    def tone(self) -> str:
        """Full is a warning, not a fault: the brake does its work."""
        return "warn" if self.used >= self.allowed else "good"


async def overview(office: Office, t: Translator) -> dict[str, Any]:
    """The values of `office.html`."""
    _ = t.gettext
    status = await office.node.status()
    now = int(status["at"])
    today = local_day(now + 1, office.zone)
    listing = office.listing
    counts = await listing.cuts(now)
    points = int(status["usage_points"])
    limits = [
        Limit(_("In the last 10 minutes"), counts.last_10min, office.rules.max_cuts_per_node_10min),
        Limit(
            _("In the last 24 hours"),
            counts.last_day,
            percent_rounded_up(points, office.rules.max_cuts_per_node_day_pct),
        ),
    ]
    mandate = status["mandate"]
    if mandate is not None:
        limits.append(Limit(_("Of the mandate's quota"), counts.last_day, int(mandate["quota_per_day"])))
    relays = {RelayState(state): int(count) for state, count in status["relays"].items()}
    registry = office.store.registries.newest
    return {
        "status": status,
        "at": now,
        "link": status["link"],
        "link_words": None if status["link"] is None else link_words(t, status["link"]["error"]),
        "waiting": [_waiting(t, Lane(lane), owed, now) for lane, owed in status["lanes"].items()],
        "owes": sum(owed["records"] + owed["batches"] for owed in status["lanes"].values()),
        "connected": relays.get(RelayState.CONNECTED, 0),
        "dark": sum(count for state, count in relays.items() if may_be_dark(state)),
        "limits": limits,
        "mandate": mandate,
        "rules": office.rules,
        "rules_missing": office.rules.missing(),
        "closing": await listing.closing(day_bounds(today, office.zone)[0]),
        "estimated": sum(status["gaps"].values()),
        "outages": [line | {"name": district_name(t, line["district"])} for line in status["reliability"]],
        "alarms": status["alarms"],
        "stops": status["stops"],
        "ill": [task for task in status["tasks"] if task["condition"] != "running"],
        "payments": await payments_known(office),
        "districts": [] if registry is None else [district_name(t, one) for one in registry.districts],
    }


def link_words(t: Translator, error: dict[str, str] | None) -> str | None:
    """What the last attempt to reach the hub came to, at a desk's words; its own are for an engineer."""
    if error is None:
        return None
    _ = t.gettext
    said = {
        "SY-50": _("The hub does not answer."),
        "SY-51": _("The hub does not answer in time."),
        "SY-52": _("The connection to the hub breaks off."),
        "SY-54": _("The hub answers that it failed."),
        "SY-55": _("The hub is busy and asks to come back later."),
        "SY-56": _("The hub refuses this node."),
        "SY-57": _("Something answers at the hub's address that is no hub."),
    }
    return said.get(error["code"].removeprefix("TQ-"), _("The hub cannot be spoken with."))


def lane_words(t: Translator, lane: Lane) -> tuple[str, str]:
    """What a lane is called at a desk, and what it carries."""
    _ = t.gettext
    match lane:
        case Lane.CONTROL:
            return _("Switchings and alarms"), _("first in line")
        case Lane.LEDGER:
            return _("Payments"), _("taken at this desk")
        case Lane.SUMMARY:
            return _("Hourly balances"), _("provisional figures")
        case Lane.INTERVAL:
            return _("Days of readings"), _("final figures")


def _waiting(t: Translator, lane: Lane, owed: dict[str, Any], now: int) -> Waiting:
    title, carries = lane_words(t, lane)
    oldest_at = owed["oldest_at"]
    tone = "good" if oldest_at is None else "warn" if now - oldest_at > WAITS_S_WARN else "info"
    return Waiting(title, carries, owed["records"], owed["batches"], oldest_at, tone)
