"""What people ask of a running node through the local door: pay, stop, explain, look. Above the rooms; payment walk.

`edge-node` on the command line sends these; each takes and gives a JSON object. A verb that writes names a person and
proves it. Arguments are checked here, so that a wrong one is a named fault and nothing is half done.

Codes: TQ-VB-01 an argument is missing or of the wrong kind.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from edge_node.config import PersonRole
from edge_node.console.face import NodeFace
from gridmodel.clock import Entropy
from gridmodel.fault import Fault
from gridmodel.identity import AccountId, UsagePointId, checked_id, new_id
from gridmodel.quantity import checked_money
from hosting.door import Verb

TEXT_LENGTH_MAX = 400
"""A reason is a sentence or two."""
POINTS_PREVIEWED_MAX = 500
"""Lines of one preview."""


class VerbFault(Fault):
    """A verb asked in a way that makes no sense."""


class Verbs:
    """The verbs of one node by name."""

    def __init__(self, node: NodeFace, *, entropy: Entropy) -> None:
        self._node = node
        self._entropy = entropy

    def mapping(self) -> Mapping[str, Verb]:
        """For `hosting.door.serve_door`; names as the command line spells them."""
        found: dict[str, Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]] = {
            "status": self._status,
            "doctor": self._doctor,
            "explain": self._explain,
            "preview": self._preview,
            "pay": self._pay,
            "stop-cuts": self._stop_cuts,
            "lift-stop": self._lift_stop,
        }
        return found

    async def _status(self, body: dict[str, Any]) -> dict[str, Any]:
        only(body)
        return await self._node.status()

    async def _doctor(self, body: dict[str, Any]) -> dict[str, Any]:
        only(body)
        return await self._node.doctor()

    async def _explain(self, body: dict[str, Any]) -> dict[str, Any]:
        only(body, "usage_point")
        return await self._node.explain(UsagePointId(checked_name(body, "usage_point")))

    async def _preview(self, body: dict[str, Any]) -> dict[str, Any]:
        only(body, "limit")
        limit = body.get("limit", POINTS_PREVIEWED_MAX)
        if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= POINTS_PREVIEWED_MAX:
            raise wrong_argument("limit", f"a whole number from 1 to {POINTS_PREVIEWED_MAX}")
        return await self._node.preview(limit)

    async def _pay(self, body: dict[str, Any]) -> dict[str, Any]:
        only(body, "account", "amount_tiyin", "cashier", "secret", "request")
        account, cashier = AccountId(checked_name(body, "account")), checked_name(body, "cashier")
        amount_tiyin = checked_money(body.get("amount_tiyin"))
        request = checked_name(body, "request") if body.get("request") is not None else new_id("req", self._entropy)
        await self._node.people.check(cashier, checked_text(body, "secret"), PersonRole.CASHIER)
        return await self._node.pay(account, amount_tiyin, cashier, request)

    async def _stop_cuts(self, body: dict[str, Any]) -> dict[str, Any]:
        only(body, "by", "secret", "why")
        by, why = checked_name(body, "by"), checked_text(body, "why").strip()
        if not why:
            raise wrong_argument("why", "the reason, in a few words")
        await self._node.people.check(by, checked_text(body, "secret"))
        return await self._node.stop_cuts(by, why)

    async def _lift_stop(self, body: dict[str, Any]) -> dict[str, Any]:
        only(body, "by", "secret")
        by = checked_name(body, "by")
        await self._node.people.check(by, checked_text(body, "secret"), PersonRole.CHIEF)
        return await self._node.lift_stop(by)


def only(body: Mapping[str, Any], *names: str) -> None:
    """Raises VerbFault for an argument that is none of `names`."""
    unknown = sorted(body.keys() - set(names))
    if unknown:
        raise VerbFault("TQ-VB-01", f"unknown argument {unknown[0]:.40}", f"there are: {', '.join(names) or 'none'}")


def checked_name(body: Mapping[str, Any], name: str) -> str:
    """An id among the arguments; raises IdentityFault."""
    return checked_id(name, body.get(name))


def checked_text(body: Mapping[str, Any], name: str) -> str:
    """A short text among the arguments; raises VerbFault."""
    value = body.get(name)
    if not isinstance(value, str) or len(value) > TEXT_LENGTH_MAX or not _encodable(value):
        raise wrong_argument(name, f"a text of at most {TEXT_LENGTH_MAX} characters")
    return value


def _encodable(text: str) -> bool:
    """Whether a file or a database can hold it: half of a surrogate pair, which JSON can spell, cannot be held."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def wrong_argument(name: str, expected: str) -> VerbFault:
    """The fault for an argument that is missing or makes no sense."""
    return VerbFault("TQ-VB-01", f"{name} is missing or of the wrong kind", f"give {expected}")
