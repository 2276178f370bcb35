"""The hub's pages: which there are, and at which addresses. Room: web; on all walks.

They show what the JSON of `api` tells, and link downwards from the republic to a transformer. `add_pages` is called by
whoever serves the hub, on the application of `api.app`.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Protocol

from aiohttp import web

from central_sync.api.face import HubFace
from central_sync.balance.reading import REPUBLIC, BalanceFault, BalanceReader, Level, question
from central_sync.balance.topology import RegistryShelf
from central_sync.situation.finding import Matter, matter_of
from central_sync.situation.nodes import NodeState
from central_sync.web.outlines import drawing
from central_sync.web.tree import BELOW, Spot, Tree, territory_name
from central_sync.web.views import (
    SORTS,
    MapOf,
    area_lines,
    at_ending,
    at_local,
    at_of,
    backlog_of,
    heard_of,
    map_of_completeness,
    map_of_nodes,
    node_tone,
    seats,
    seconds,
    sorted_lines,
)
from gridmodel.clock import Compute, IoClock
from gridmodel.fault import Fault
from gridmodel.identity import checked_id
from gridmodel.period import HOUR_S, Period, local_day, local_time, parse_rfc3339
from hosting.i18n import DEFAULT, Translator
from hosting.web import WebFault
from hosting.web_face import Face, Section, address
from hosting.web_pulse import Pulse

LISTED_MAX = 100
"""Lines of a list of alarms or batches."""
AREAS_MAX = 500
"""Areas of one page of balances: more are reached by going down from above."""
QUERY_LENGTH_MAX = 128
HOUR_GRACE_S = 1_800
"""Utility seconds after its end for which a page does not miss an hour: nodes wait 10 minutes for late readings."""
LOOK_S = 60
"""Utility seconds after which a page is asked again though nothing came: "last heard" grows."""


class HubPagesFace(HubFace, Protocol):
    """What pages need beyond the JSON: see `central_sync.hub.Hub`."""

    @property
    def shelf(self) -> RegistryShelf:
        """Decoded registries."""
        ...

    @property
    def balances(self) -> BalanceReader:
        """Balances of any level and period."""
        ...

    @property
    def compute(self) -> Compute:
        """Where long work goes."""
        ...

    @property
    def io_clock(self) -> IoClock:
        """Real time."""
        ...


def add_pages(application: web.Application, hub: HubPagesFace) -> None:
    """Add every page, their static files and the stream that keeps them fresh."""
    face = Face(
        "central_sync.web",
        house="hub",
        title=lambda t: t.gettext("Central hub"),
        zone=hub.config.zone,
        clock=hub.clock,
        default=DEFAULT,
        sections=sections,
        wordings=wording,
    )
    face.attach(application)
    pages = _Pages(hub, face)
    for path, handler in (
        ("/", pages.overview),
        ("/balances", pages.balances),
        ("/nodes", pages.nodes),
        ("/nodes/{node}", pages.node),
        ("/alarms", pages.alarms),
        ("/quarantine", pages.quarantine),
        ("/consumers", pages.consumers),
        ("/consumers/{point}", pages.consumer),
    ):
        application.router.add_get(path, handler)
    Pulse(pages.look, digest=face.digest, io_clock=hub.io_clock).attach(application)


def sections(t: Translator) -> tuple[Section, ...]:
    """The main navigation."""
    _ = t.gettext
    return (
        Section("/", _("Republic")),
        Section("/balances", _("Balances")),
        Section("/nodes", _("Nodes")),
        Section("/alarms", _("Alarms")),
        Section("/quarantine", _("Set aside")),
        Section("/consumers", _("Consumers")),
    )


def wording(t: Translator, fault: Fault) -> str | None:
    """What is asked for and not here, in words."""
    _ = t.gettext
    said = {
        "HB-10": _("There is no such balance. Choose level and period on the page of balances."),
        "HB-50": _("The hub knows no such node. Its page of nodes lists them all."),
        "HB-51": _("Nothing here has this number. Check it; a new account comes with its registry."),
        "HB-52": _("Nothing here has this number. Check it; a new account comes with its registry."),
    }
    return said.get(fault.code.removeprefix("TQ-"))


@dataclass(frozen=True, slots=True)
class _Asked:
    """A balance as a page asks for it."""

    level: Level
    period: Period
    at: str
    area: Spot | None
    """Only areas inside it."""
    sort: str
    falling: bool

    def link(self, **changed: str | None) -> str:
        """The address of the same page with something changed."""
        query: dict[str, str | None] = {
            "level": self.level.value,
            "period": self.period.value,
            "at": self.at,
            "in": None if self.area is None else f"{self.area.level.value}:{self.area.id}",
            "sort": self.sort,
            "falling": "1" if self.falling else None,
        }
        return address("/balances", query | changed)


class _Pages:
    """The handlers."""

    def __init__(self, hub: HubPagesFace, face: Face) -> None:
        self._hub = hub
        self._face = face
        self._kept: tuple[Hashable, Tree] | None = None

    async def look(self) -> Hashable:
        """Something that changes when a page would."""
        return self._hub.changes.number, self._hub.clock.now() // LOOK_S

    async def overview(self, request: web.Request) -> web.Response:
        t = self._face.speaker(request)
        hub, zone = self._hub, self._hub.config.zone
        today = local_day(hub.clock.now() + 1, zone)
        shown = MapOf.COMPLETENESS if request.query.get("map") == MapOf.COMPLETENESS else MapOf.NODES
        nodes = await hub.situation.nodes()
        republic = (await self._balance("republic", "day", today))["areas"]
        regions = await self._balance("region", "day", today)
        tree = await self._tree()
        states = {state: sum(node["state"] == state for node in nodes) for state in NodeState}
        values = {
            "today": today,
            "republic": area_lines(t, tree, {"level": "republic", "areas": republic}, None)[0] if republic else None,
            "regions": sorted_lines(area_lines(t, tree, regions, None), "name", falling=False),
            "map": map_of_nodes(t, nodes) if shown is MapOf.NODES else map_of_completeness(t, regions),
            "map_of": shown.value,
            "drawing": drawing(),
            "seats": seats(t, nodes),
            "states": [(state, node_tone(state), count) for state, count in states.items()],
            "trouble": [self._node_line(t, node) for node in nodes if node["state"] != NodeState.LIVE][:12],
            "nodes_count": len(nodes),
            "owes": sum(backlog_of(node) or 0 for node in nodes if node["state"] == NodeState.LIVE),
            "silent": [since for node in nodes if (since := heard_of(node)) is not None],
            "status": await hub.status(),
            "alarms": await hub.situation.alarms(None, 10, standing=True),
            "expected_to": self._expected_to(),
            "seconds": seconds,
        }
        return self._face.render(request, "republic.html", values)

    async def balances(self, request: web.Request) -> web.Response:
        t = self._face.speaker(request)
        asked = self._asked(request)
        told = await self._balance(asked.level.value, asked.period.value, asked.at)
        tree = await self._tree()
        lines = sorted_lines(area_lines(t, tree, told, asked.area), asked.sort, falling=asked.falling)
        below = BELOW[asked.level]
        zone, end = self._hub.config.zone, parse_rfc3339(told["to"])
        after = end + HOUR_S if asked.period is Period.HOUR else end + 1
        over = after > self._hub.clock.now()
        trail = [] if asked.area is None else tree.path(asked.area)
        values = {
            "asked": asked,
            "told": told,
            "from": seconds(told["from"]),
            "to": seconds(told["to"]),
            "lines": lines[:AREAS_MAX],
            "lines_more": max(0, len(lines) - AREAS_MAX),
            "links": {}
            if below is None
            else {line.spot.id: self._down(asked, line.spot, below) for line in lines[:AREAS_MAX]},
            "expected_to": self._expected_to(),
            "before": asked.link(at=at_ending(asked.period, parse_rfc3339(told["from"]), zone)),
            "after": None if over else asked.link(at=at_ending(asked.period, after, zone)),
            "until": local_time(parse_rfc3339(told["to"]), zone).strftime("%Y-%m-%dT%H:%M"),
            "trail": [(tree.name(t, spot), self._down(asked, spot, BELOW[spot.level] or spot.level)) for spot in trail],
            "levels": [(level, asked.link(level=level.value)) for level in reversed(Level)],
            "periods": [
                (
                    period,
                    asked.link(period=period.value, at=at_of(period, self._hub.clock.now(), self._hub.config.zone)),
                )
                for period in Period
            ],
            "heads": {
                name: (
                    asked.link(sort=name, falling=None if asked.sort == name and asked.falling else "1"),
                    None if asked.sort != name else "descending" if asked.falling else "ascending",
                )
                for name in SORTS
            },
            "seconds": seconds,
        }
        return self._face.render(request, "balances.html", values)

    def _asked(self, request: web.Request) -> _Asked:
        query = request.query
        try:
            level, period = Level(query.get("level", Level.REGION)), Period(query.get("period", Period.DAY))
            area_level, _, area = query.get("in", "").partition(":")
            within = Spot(Level(area_level), checked_id("area", area)) if area_level else None
        except ValueError as error:
            raise BalanceFault(
                "TQ-HB-10",
                "there is no such level or period",
                f"levels: {', '.join(Level)}; periods: {', '.join(Period)}",
            ) from error
        sort = query.get("sort", "name")
        if sort not in SORTS:
            raise WebFault("TQ-HB-70", f"there is no column {sort:.20}", f"sort is one of {', '.join(SORTS)}")
        until = query.get("until", "") if period is Period.HOUR else ""
        at = (
            at_local(until, self._hub.config.zone)
            if until
            else query.get("at") or at_of(period, self._hub.clock.now(), self._hub.config.zone)
        )
        return _Asked(level, period, at, within, sort, query.get("falling") == "1")

    def _down(self, asked: _Asked, spot: Spot, level: Level) -> str:
        within = None if spot.id == REPUBLIC else f"{spot.level.value}:{spot.id}"
        return asked.link(**{"level": level.value, "in": within})

    async def nodes(self, request: web.Request) -> web.Response:
        t = self._face.speaker(request)
        lines = [self._node_line(t, node) for node in await self._hub.situation.nodes()]
        return self._face.render(request, "nodes.html", {"nodes": lines})

    async def node(self, request: web.Request) -> web.Response:
        t = self._face.speaker(request)
        name = checked_id("node", request.match_info["node"])
        node = await self._hub.situation.node(name)
        today = local_day(self._hub.clock.now() + 1, self._hub.config.zone)
        told = await self._balance("district", "day", today)
        tree = await self._tree()
        values = {
            "node": self._node_line(t, node),
            "districts": [line for line in area_lines(t, tree, told, None) if line.spot.id in node["districts"]],
            "operations": await self._hub.situation.operations(name, None, 20),
            "alarms": await self._hub.situation.alarms(name, 20, standing=True),
            "batches": await self._hub.situation.quarantine(name, 20),
            "seconds": seconds,
        }
        return self._face.render(request, "node.html", values)

    async def alarms(self, request: web.Request) -> web.Response:
        standing = request.query.get("show") != "all"
        rows = await self._hub.situation.alarms(None, LISTED_MAX, standing=standing)
        return self._face.render(request, "alarms.html", {"alarms": rows, "standing": standing, "seconds": seconds})

    async def quarantine(self, request: web.Request) -> web.Response:
        rows = await self._hub.situation.quarantine(None, LISTED_MAX)
        return self._face.render(request, "quarantine.html", {"batches": rows, "seconds": seconds})

    async def consumers(self, request: web.Request) -> web.Response:
        """Look one consumer up by usage point or account; what the hub knows is on its page."""
        query = request.query.get("q", "").strip()[:QUERY_LENGTH_MAX]
        fault: Fault | None = None
        if query:
            try:
                point = await self._hub.consumers.point_of(checked_id("account or usage point", query))
                raise web.HTTPSeeOther(f"/consumers/{point}")
            except Fault as error:
                fault = error
        after = request.query.get("after", "")
        matter = matter_of(request.query.get("show", Matter.ALL))
        found = await self._hub.consumers.page(None, after, LISTED_MAX // 2, matter)
        values = {
            "query": query,
            "fault": fault,
            "lines": found["consumers"],
            "unheard": {node["id"]: heard_of(node) for node in await self._hub.situation.nodes()},
            "matter": matter,
            "matters": [(one, _list_address(one)) for one in Matter],
            "first": _list_address(matter) if after else None,
            "next": _list_address(matter, found["next"]) if found["next"] else None,
            "seconds": seconds,
        }
        return self._face.render(request, "consumers.html", values, status=200 if fault is None else 404)

    async def consumer(self, request: web.Request) -> web.Response:
        point = checked_id("usage point", request.match_info["point"])
        told = await self._hub.consumers.explain(point)
        node = await self._hub.situation.node(told["node"])
        values = {"told": told, "unheard_since": heard_of(node), "seconds": seconds}
        return self._face.render(request, "consumer.html", values)

    async def _balance(self, level: str, period: str, at: str) -> dict[str, Any]:
        """A balance in which an hour is missed only when it had time to be closed and to come here."""
        return await self._hub.balances.balance(
            question(level, period, at, None, self._hub.config.zone), self._hub.clock.now() - HOUR_GRACE_S
        )

    def _expected_to(self) -> int:
        """The end of the last hour that should be here."""
        due = self._hub.clock.now() - HOUR_GRACE_S
        return due - due % HOUR_S

    async def _tree(self) -> Tree:
        """What hangs below what today; made once for each set of registries, off the event loop."""
        registries, now = await self._hub.shelf.newest(), self._hub.clock.now()
        versions = tuple(sorted((node, known.registry.version) for node, known in registries.items()))
        key = (local_day(now, self._hub.config.zone), versions)
        if self._kept is None or self._kept[0] != key:
            self._kept = (key, await self._hub.compute.run(Tree, registries, now))
        return self._kept[1]

    def _node_line(self, t: Translator, node: dict[str, Any]) -> dict[str, Any]:
        """A node as pages show it: its districts by name, its times as numbers, its tone."""
        state = NodeState(node["state"])
        return node | {
            "title": ", ".join(territory_name(t, district) for district in node["districts"][:3]),
            "state": state,
            "tone": node_tone(state),
            "last_seen": seconds(node["last_seen"]),
            "status_at": seconds(node["status_at"]),
            "owes": backlog_of(node),
            "unheard_since": heard_of(node),
        }


def _list_address(matter: Matter, after: str | None = None) -> str:
    return address("/consumers", {"show": None if matter is Matter.ALL else matter.value, "after": after})
