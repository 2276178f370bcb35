"""The office's pages: which there are, and at which addresses. Room: console; on all walks.

They work with the link lost and with JavaScript off; with it, a page is told when to look again. `add_pages` is called
by whoever serves the console, on the application of `console.app`.
"""

import json
from collections.abc import Hashable

from aiohttp import web

from edge_node.console.consumer import consumer
from edge_node.console.consumers import ConsumerIndex, Matter, find
from edge_node.console.day import energy_of_day
from edge_node.console.desk import DeskPages
from edge_node.console.meters import MeterPages
from edge_node.console.office import Office
from edge_node.console.overview import overview
from gridmodel.identity import UsagePointId, checked_id
from hosting.web import WebFault
from hosting.web_face import Face, address
from hosting.web_pulse import Pulse


def add_pages(application: web.Application, office: Office) -> None:
    """Add every page, their static files and the stream that keeps them fresh."""
    face = office.face()
    face.attach(application)
    index = ConsumerIndex()
    pages = _Pages(office, face, index)
    application.router.add_get("/", pages.office)
    application.router.add_get("/consumers", pages.consumers)
    application.router.add_get("/consumers/{point}", pages.consumer)
    application.router.add_get("/energy", pages.energy)
    DeskPages(office, face, index).attach(application)
    MeterPages(office, face).attach(application)
    Pulse(pages.look, digest=face.digest, io_clock=office.io_clock).attach(application)


class _Pages:
    """The handlers of the pages that only show."""

    def __init__(self, office: Office, face: Face, index: ConsumerIndex) -> None:
        self._office = office
        self._face = face
        self._index = index

    async def look(self) -> Hashable:
        """Something that changes when a page would: the status without the time at which it was asked."""
        status = await self._office.node.status()
        return json.dumps({name: value for name, value in status.items() if name != "at"}, sort_keys=True, default=str)

    async def office(self, request: web.Request) -> web.Response:
        values = await overview(self._office, self._face.speaker(request))
        return self._face.render(request, "office.html", values)

    async def consumers(self, request: web.Request) -> web.Response:
        query = request.query.get("q", "").strip()
        try:
            matter = Matter(request.query.get("show", Matter.ALL))
        except ValueError as error:
            raise WebFault("TQ-CN-01", "there is no such list", f"show is one of {', '.join(Matter)}") from error
        after = request.query.get("after", "")
        found = await find(self._office, self._index, query, matter, after)
        values = {
            "found": found,
            "query": query,
            "matter": matter,
            "matters": [(one, address("/consumers", {"q": query, "show": one.value})) for one in Matter],
            "first": address("/consumers", {"q": query, "show": matter.value}) if after else None,
            "next": None
            if found.next is None
            else address("/consumers", {"q": query, "show": matter.value, "after": found.next}),
        }
        return self._face.render(request, "consumers.html", values)

    async def consumer(self, request: web.Request) -> web.Response:
        point = UsagePointId(checked_id("usage point", request.match_info["point"]))
        values = await consumer(self._office, self._index, self._face.speaker(request), point)
        return self._face.render(request, "consumer.html", values)

    async def energy(self, request: web.Request) -> web.Response:
        values = await energy_of_day(
            self._office,
            by=request.query.get("by", "feeder"),
            day=request.query.get("day", ""),
            hour=request.query.get("hour", ""),
        )
        return self._face.render(request, "energy.html", values)
