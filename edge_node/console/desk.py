"""The desk's forms: a payment and its receipt, the stop of all cuts. Room: console; on the payment walk.

Every form names a person and proves it in the same request: there is no session that a forgotten browser could lend.
A form's request name is made with the form, so that a second press of the button, or the browser's own repetition,
finds the first payment; afterwards the browser is sent to the receipt, which it may ask for again and again.

Codes: TQ-CN-04 an account that is not here, -05 a form that cannot be used.
"""

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from edge_node.config import PersonRole
from edge_node.console.consumers import ConsumerIndex, Line, one_line
from edge_node.console.office import Office
from edge_node.console.payments_known import payments_known
from gridmodel.fault import Fault
from gridmodel.identity import AccountId, UsagePointId, checked_id, new_id
from gridmodel.quantity import parse_som
from hosting.web import WebFault
from hosting.web_face import Face, address

WHY_LENGTH_MAX = 400
"""Characters: a sentence or two."""
FIELD_LENGTH_MAX = 256
"""Characters of any other field."""


class DeskPages:
    """The handlers of the forms."""

    def __init__(self, office: Office, face: Face, index: ConsumerIndex) -> None:
        self._office = office
        self._face = face
        self._index = index

    def attach(self, application: web.Application) -> None:
        """Add the routes."""
        application.router.add_get("/desk", self._desk)
        application.router.add_post("/desk/pay", self._pay)
        application.router.add_get("/desk/receipts/{entry}", self._receipt)
        application.router.add_get("/stop", self._stop_form)
        application.router.add_post("/stop", self._stop)

    async def _desk(self, request: web.Request) -> web.Response:
        account = request.query.get("account", "").strip()[:FIELD_LENGTH_MAX]
        if not account:
            return self._face.render(request, "desk.html", {"account": "", "line": None, "fault": None, "said": None})
        return await self._form(request, account, {}, None)

    async def _form(
        self, request: web.Request, account: str, filled: Mapping[str, str], fault: Fault | None
    ) -> web.Response:
        """The form for one account, again with what was filled in (never the secret) and what was wrong."""
        line = await self._line(account)
        if line is None and fault is None:
            fault = WebFault("TQ-CN-04", f"there is no account {account:.70} at this office", "check the number", 404)
        values: dict[str, Any] = {
            "account": account,
            "line": line,
            "payments": await payments_known(self._office),
            "amount": filled.get("amount", ""),
            "cashier": filled.get("cashier", ""),
            "request_id": filled.get("request") or new_id("req", self._office.entropy),
            "fault": fault,
            "said": None if fault is None else self._face.words_for(self._face.speaker(request), fault),
        }
        status = 200 if fault is None else getattr(fault, "status", 400)
        return self._face.render(request, "desk.html" if line is None else "pay.html", values, status=status)

    async def _line(self, account: str) -> Line | None:
        registry = await self._index.fresh(self._office)
        known = None if registry is None else registry.account.get(AccountId(account))
        return None if known is None else await one_line(self._office, self._index, known.usage_point)

    async def _pay(self, request: web.Request) -> web.Response:
        form = await _form_of(request)
        account = form.get("account", "").strip()
        try:
            amount_tiyin = parse_som(form.get("amount", ""))
            cashier = checked_id("cashier", form.get("cashier", "").strip())
            name = checked_id("request", form.get("request", ""))
            await self._office.node.people.check(cashier, form.get("secret", ""), PersonRole.CASHIER)
            taken = await self._office.node.pay(AccountId(checked_id("account", account)), amount_tiyin, cashier, name)
        except Fault as fault:
            return await self._form(request, account, form, fault)
        raise web.HTTPSeeOther(f"/desk/receipts/{taken['entry']}")

    async def _receipt(self, request: web.Request) -> web.Response:
        entry_id = checked_id("entry", request.match_info["entry"])
        entry = await self._office.listing.entry(entry_id)
        if entry is None:
            raise web.HTTPNotFound
        account, amount_tiyin, at, cashier = entry
        owed = (await self._office.listing.owed([AccountId(account)])).get(AccountId(account))
        line = await self._line(account)
        person = self._office.node.people.name_of(cashier)
        values = {
            "entry": entry_id,
            "account": account,
            "amount_tiyin": amount_tiyin,
            "at": at,
            "cashier": cashier,
            "person": person,
            "owed": owed,
            "line": line,
        }
        return self._face.render(request, "receipt.html", values)

    async def _stop_form(self, request: web.Request) -> web.Response:
        return await self._stop_page(request, {}, None)

    async def _stop_page(self, request: web.Request, filled: Mapping[str, str], fault: Fault | None) -> web.Response:
        values = {
            "stops": await self._office.store.control.read(self._office.store.records.stops),
            "by": filled.get("by", ""),
            "why": filled.get("why", ""),
            "fault": fault,
            "said": None if fault is None else self._face.words_for(self._face.speaker(request), fault),
        }
        status = 200 if fault is None else getattr(fault, "status", 400)
        return self._face.render(request, "stop.html", values, status=status)

    async def _stop(self, request: web.Request) -> web.Response:
        form = await _form_of(request)
        why = form.get("why", "").strip()[:WHY_LENGTH_MAX]
        try:
            by = checked_id("person", form.get("by", "").strip())
            if not why:
                raise WebFault("TQ-CN-05", "a stop needs its reason", "write in a few words why")
            await self._office.node.people.check(by, form.get("secret", ""))
            await self._office.node.stop_cuts(by, why)
        except Fault as fault:
            return await self._stop_page(request, form, fault)
        raise web.HTTPSeeOther("/")


def pay_address(account: str) -> str:
    """Where an account's payment form is."""
    return address("/desk", {"account": account})


def consumer_address(point: UsagePointId) -> str:
    """Where a consumer's page is."""
    return f"/consumers/{point}"


async def _form_of(request: web.Request) -> dict[str, str]:
    """The text fields of a form; raises WebFault for a body that is none."""
    if request.content_type not in {"application/x-www-form-urlencoded", "multipart/form-data"}:
        raise WebFault("TQ-CN-05", "this is no form of ours", "use the page of the desk", 415)
    sent = await request.post()
    return {name: value[: FIELD_LENGTH_MAX * 2] for name, value in sent.items() if isinstance(value, str)}
