"""The page of field works: what was done to meters lately, and the forms to record it. Room: console; reading walk.

A form names a person and proves it in the same request, as at the desk. The node's verbs do the work; a photo comes
with the form, is read no further than its limit, and is kept by the node.
"""

from collections.abc import Mapping
from typing import Any

from aiohttp import BodyPartReader, web

from edge_node.console.office import Office
from gridmodel.fault import Fault
from gridmodel.field_work import PHOTO_BYTES_MAX, WorkKind
from gridmodel.identity import new_id
from gridmodel.period import parse_local
from gridmodel.quantity import parse_kwh
from hosting.web import WebFault
from hosting.web_face import Face, address

FIELD_BYTES_MAX = 512
"""Of any field but the photo."""
FIELDS_MAX = 32
"""Parts of one form: the largest has twenty."""
LISTED_MAX = 50
"""The latest works that the page shows."""
VERBS: Mapping[WorkKind, str] = {
    WorkKind.EXCHANGED: "field-exchange",
    WorkKind.INSTALLED: "field-install",
    WorkKind.REMOVED: "field-remove",
    WorkKind.MOVED: "field-move",
    WorkKind.COMMISSIONED: "field-commission",
}
"""In the order in which the page offers them."""
FITTING = (WorkKind.EXCHANGED, WorkKind.INSTALLED)
TAKING = (WorkKind.EXCHANGED, WorkKind.REMOVED, WorkKind.MOVED)
_SIGNED = ("by", "secret", "request")
_TEXTS: Mapping[WorkKind, tuple[str, ...]] = {
    **dict.fromkeys(FITTING, (*_SIGNED, "usage_point", "meter", "serial", "profile", "address")),
    WorkKind.MOVED: (*_SIGNED, "usage_point", "to_usage_point"),
    WorkKind.REMOVED: (*_SIGNED, "usage_point"),
    WorkKind.COMMISSIONED: (*_SIGNED, "meter"),
}


class MeterPages:
    """The handlers of the forms."""

    def __init__(self, office: Office, face: Face) -> None:
        self._office = office
        self._face = face

    def attach(self, application: web.Application) -> None:
        """Add the routes."""
        application.router.add_get("/meters", self._show)
        application.router.add_post("/meters/{work}", self._record)

    async def _show(self, request: web.Request) -> web.Response:
        filled = {
            name: request.query[name][:FIELD_BYTES_MAX] for name in ("usage_point", "meter") if name in request.query
        }
        return await self._page(request, _kind(request.query.get("work", WorkKind.EXCHANGED)), filled, None)

    async def _page(
        self, request: web.Request, kind: WorkKind, filled: Mapping[str, str], fault: Fault | None
    ) -> web.Response:
        """The form, again with what was filled in (never the secret or the photo) and what was wrong."""
        told = await self._office.node.field_work("field-list", {"limit": LISTED_MAX}, None)
        names = {"usage_point", "to_usage_point", "meter", "serial", "profile", "address", "unit", "seals", "at", "by"}
        names |= {f"{which}_{channel}" for which in ("final", "start") for channel in ("import", "export")}
        values = {
            "kind": kind,
            "kinds": [(one, address("/meters", {"work": one.value})) for one in VERBS],
            "fitting": kind in FITTING,
            "taking": kind in TAKING,
            "moving": kind is WorkKind.MOVED,
            "proving": kind is WorkKind.COMMISSIONED,
            "filled": {name: filled.get(name, "") for name in names},
            "request_id": filled.get("request") or new_id("work", self._office.entropy),
            "photo_mb_max": PHOTO_BYTES_MAX // 1_048_576,
            "works": told["works"],
            "fault": fault,
            "said": None if fault is None else self._face.words_for(self._face.speaker(request), fault),
        }
        status = 200 if fault is None else getattr(fault, "status", 400)
        return self._face.render(request, "meters.html", values, status=status)

    async def _record(self, request: web.Request) -> web.Response:
        kind = _kind(request.match_info["work"])
        form: dict[str, str] = {}
        try:
            photo = await _read(request, form)
            await self._office.node.field_work(VERBS[kind], self._body(kind, form), photo)
        except Fault as fault:
            return await self._page(request, kind, form, fault)
        raise web.HTTPSeeOther(address("/meters", {"work": kind.value}))

    def _body(self, kind: WorkKind, form: Mapping[str, str]) -> dict[str, Any]:
        """The form as arguments of a verb."""
        body: dict[str, Any] = {name: form[name].strip() for name in _TEXTS[kind] if form.get(name, "").strip()}
        if kind in FITTING:
            body["unit"] = _unit(form.get("unit", ""))
            body["start_wh"] = _registers("start", form)
        if kind in TAKING:
            body["final_wh"] = _registers("final", form)
        if kind in {*FITTING, WorkKind.MOVED}:
            body["seals"] = [one.strip() for one in form.get("seals", "").split(",") if one.strip()]
        if kind is not WorkKind.COMMISSIONED and form.get("at", "").strip():
            body["at"] = parse_local(form["at"].strip(), self._office.zone)
        return body


def _kind(text: str) -> WorkKind:
    try:
        return WorkKind(text)
    except ValueError as error:
        raise WebFault("TQ-CN-01", "there is no such work", f"one of {', '.join(VERBS)}", 404) from error


def _unit(text: str) -> int:
    if text.strip() and not (text.strip().isascii() and text.strip().isdecimal()):
        raise WebFault("TQ-CN-05", f"unit is {text:.20}", "write a whole number, mostly 1")
    return int(text.strip() or "1")


def _registers(which: str, form: Mapping[str, str]) -> dict[str, int]:
    told = {channel: form.get(f"{which}_{channel}", "").strip() for channel in ("import", "export")}
    return {channel: parse_kwh(kwh) for channel, kwh in told.items() if kwh}


async def _read(request: web.Request, form: dict[str, str]) -> bytes | None:
    """The texts of a form into `form`, and its photo; raises WebFault for a body that is none, or too large a part."""
    if request.content_type != "multipart/form-data":
        raise WebFault("TQ-CN-05", "this is no form of ours", "use the page of meters", 415)
    photo: bytes | None = None
    reader = await request.multipart()
    for _ in range(FIELDS_MAX):
        try:
            part = await reader.next()
        except ValueError as error:
            raise WebFault("TQ-CN-05", "the form cannot be read", "send it again") from error
        if part is None:
            return photo
        if not isinstance(part, BodyPartReader) or part.name is None:
            raise WebFault("TQ-CN-05", "this is no form of ours", "use the page of meters")
        if part.name == "photo":
            photo = await _bounded(part, PHOTO_BYTES_MAX + 1) or None  # one more: the node tells that it is too large
        else:
            form[part.name] = (await _bounded(part, FIELD_BYTES_MAX)).decode("utf-8", "replace")
    raise WebFault("TQ-CN-05", "the form has too many fields", "use the page of meters")


async def _bounded(part: BodyPartReader, bytes_max: int) -> bytes:
    """The part, cut at `bytes_max`; what is beyond is read past and kept nowhere."""
    found = bytearray()
    while chunk := await part.read_chunk():
        found += chunk[: max(0, bytes_max - len(found))]
    return bytes(found)
