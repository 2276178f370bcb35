"""What a fitter asks of a running node through the local door: install, exchange, move, remove, commission, list.

Above the rooms; on the reading walk. Arguments are checked here; a photo is named, never sent, and copied by the node.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from edge_node.config import PersonRole
from edge_node.console.people import People
from edge_node.metering.field_desk import FieldDesk, Recorded
from edge_node.metering.field_drafts import Draft
from edge_node.store.field_works import LISTED_MAX, FieldWorks
from edge_node.store.photos import Photos
from edge_node.store.registries import Registries
from edge_node.verbs import checked_name, checked_text, only, wrong_argument
from gridmodel.clock import Compute, Entropy
from gridmodel.field_work import SEALS_MAX, FieldWork, Photo, WorkKind
from gridmodel.identity import MeterId, PersonId, new_id
from gridmodel.network import Meter
from gridmodel.quantity import Multiplier
from gridmodel.reading import Channel
from hosting.door import Verb
from hosting.i18n import label_id
from protocols.sync.field_works import work_to_body

_SIGNED = ("by", "secret", "request")
_WHEN = ("at", "photo", "usage_point")
_NEW = ("meter", "serial", "profile", "address", "unit", "start_wh", "multiplier", "seals")
_ARGUMENTS: Mapping[WorkKind, tuple[str, ...]] = {
    WorkKind.INSTALLED: (*_SIGNED, *_WHEN, *_NEW),
    WorkKind.EXCHANGED: (*_SIGNED, *_WHEN, *_NEW, "old_meter", "final_wh"),
    WorkKind.MOVED: (*_SIGNED, *_WHEN, "to_usage_point", "old_meter", "final_wh", "multiplier", "seals"),
    WorkKind.REMOVED: (*_SIGNED, *_WHEN, "old_meter", "final_wh"),
    WorkKind.COMMISSIONED: (*_SIGNED, "meter"),
}
_KINDS = {
    "field-install": WorkKind.INSTALLED,
    "field-exchange": WorkKind.EXCHANGED,
    "field-move": WorkKind.MOVED,
    "field-remove": WorkKind.REMOVED,
}
UNIT_MAX = 65_535


class FieldVerbs:
    """The verbs by name."""

    def __init__(
        self,
        desk: FieldDesk,
        people: People,
        *,
        works: FieldWorks,
        registries: Registries,
        photos: Photos,
        entropy: Entropy,
        compute: Compute,
    ) -> None:
        self._desk = desk
        self._people = people
        self._works = works
        self._registries = registries
        self._photos = photos
        self._entropy = entropy
        self._compute = compute

    def mapping(self) -> Mapping[str, Verb]:
        """For `hosting.door.serve_door`."""
        return {name: partial(self.ask, name) for name in (*_KINDS, "field-commission", "field-list")}

    async def ask(self, verb: str, body: dict[str, Any], photo: bytes | None = None) -> dict[str, Any]:
        """One verb; a page gives the picture itself as `photo`, in place of the name of a file."""
        if verb == "field-list":
            return await self._list(body)
        if verb == "field-commission":
            return await self._commission(body)
        return await self._record(_KINDS[verb], body, photo)

    async def _record(self, kind: WorkKind, body: dict[str, Any], photo: bytes | None) -> dict[str, Any]:
        only(body, *_ARGUMENTS[kind])
        by, name = await self._signed(body)
        draft = Draft(
            id=name,
            kind=kind,
            at=_moment(body),
            by=by,
            point=checked_name(body, "usage_point"),
            to_point=checked_name(body, "to_usage_point") if kind is WorkKind.MOVED else "",
            old=None if body.get("old_meter") is None else MeterId(checked_name(body, "old_meter")),
            new=_meter(body) if kind in {WorkKind.INSTALLED, WorkKind.EXCHANGED} else None,
            final_wh=_registers(body, "final_wh"),
            start_wh=_registers(body, "start_wh"),
            multiplier=_multiplier(body),
            seals=_seals(body),
            photo=await self._photo(body) if photo is None else await self._compute.run(self._photos.keep, photo),
        )
        return self._told(await self._desk.record(draft))

    async def _commission(self, body: dict[str, Any]) -> dict[str, Any]:
        only(body, *_ARGUMENTS[WorkKind.COMMISSIONED])
        by, name = await self._signed(body)
        return self._told(await self._desk.commission(MeterId(checked_name(body, "meter")), by, name))

    async def _list(self, body: dict[str, Any]) -> dict[str, Any]:
        only(body, "limit")
        limit = body.get("limit", LISTED_MAX)
        if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= LISTED_MAX:
            raise wrong_argument("limit", f"a whole number from 1 to {LISTED_MAX}")
        works = await self._works.latest(limit)
        return {"works": [work_as_dict(work, self._registries, self._photos) for work in works]}

    async def _signed(self, body: Mapping[str, Any]) -> tuple[PersonId, str]:
        by = checked_name(body, "by")
        name = checked_name(body, "request") if body.get("request") is not None else new_id("work", self._entropy)
        await self._people.check(by, checked_text(body, "secret"), PersonRole.FITTER)
        return PersonId(by), name

    async def _photo(self, body: Mapping[str, Any]) -> Photo | None:
        if body.get("photo") is None:
            return None
        path = Path(checked_text(body, "photo"))
        if not path.is_absolute():
            raise wrong_argument("photo", "a whole path: the node works in another folder")
        return await self._compute.run(self._photos.take, path)

    def _told(self, recorded: Recorded) -> dict[str, Any]:
        return work_as_dict(recorded.work, self._registries, self._photos) | {"repeated": not recorded.new}


def work_as_dict(work: FieldWork, registries: Registries, photos: Photos) -> dict[str, Any]:
    """A work with what became of it, as plain values."""
    outcome = registries.outcomes.get(work.id)
    fault = None if outcome is None else outcome.fault
    return {
        **work_to_body(work),
        "what": {"code": work.kind.value, "label": label_id(work.kind)},
        "meter": work.meter,
        "point": work.point,
        "state": None if outcome is None else {"code": outcome.state.value, "label": label_id(outcome.state)},
        "fault": None if fault is None else fault.as_dict(),
        "photo_file": None if work.photo is None else _file_of(photos, work.photo),
    }


def _file_of(photos: Photos, photo: Photo) -> str | None:
    path = photos.path_of(photo)
    return None if path is None else str(path)


def _moment(body: Mapping[str, Any]) -> int | None:
    at = body.get("at")
    if at is not None and (not isinstance(at, int) or isinstance(at, bool) or at < 0):
        raise wrong_argument("at", "UTC seconds")
    return at


def _meter(body: Mapping[str, Any]) -> Meter:
    unit = body.get("unit", 1)
    if not isinstance(unit, int) or isinstance(unit, bool) or not 0 <= unit <= UNIT_MAX:
        raise wrong_argument("unit", f"a whole number from 0 to {UNIT_MAX}")
    return Meter(
        id=MeterId(checked_name(body, "meter")),
        serial=checked_text(body, "serial").strip(),
        profile=checked_name(body, "profile"),
        address=checked_text(body, "address").strip(),
        unit=unit,
    )


def _registers(body: Mapping[str, Any], name: str) -> dict[Channel, int]:
    told = body.get(name, {})
    if not isinstance(told, dict):
        raise wrong_argument(name, 'registers in Wh by channel: {"import": 12345000}')
    found: dict[Channel, int] = {}
    for channel, wh in told.items():
        if channel not in CHANNELS or not isinstance(wh, int) or isinstance(wh, bool) or wh < 0:
            raise wrong_argument(name, f"whole Wh by channel, of {', '.join(CHANNELS)}")
        found[CHANNELS[channel]] = wh
    return found


CHANNELS: Mapping[str, Channel] = {one.name.lower(): one for one in Channel}
"""Channels as people write them."""


def _multiplier(body: Mapping[str, Any]) -> Multiplier | None:
    told = body.get("multiplier")
    if told is None:
        return None
    if not isinstance(told, list) or len(told) != 2 or not all(type(one) is int for one in told):
        raise wrong_argument("multiplier", "[numerator, denominator], as [40, 1]")
    return Multiplier(*told)


def _seals(body: Mapping[str, Any]) -> tuple[str, ...]:
    told = body.get("seals", [])
    if not isinstance(told, list) or len(told) > SEALS_MAX or not all(isinstance(one, str) for one in told):
        raise wrong_argument("seals", f"a list of at most {SEALS_MAX} seals' numbers")
    return tuple(one.strip() for one in told)
