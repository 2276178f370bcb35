"""A field work as a record of lane control: what an office did to a meter, on its way to the hub. Floor: protocols.

On the reading walk. `work_to_body` gives the plain values that travel and that the office's store keeps; what comes
back is checked whole (`MessageFault`), as everything else up. The record's id is the work's own.
"""

from collections.abc import Mapping
from typing import Any

from gridmodel.field_work import FieldWork, FieldWorkFault, Fitted, Photo, Proof, Taken, WorkKind
from gridmodel.identity import MeterId, PersonId
from gridmodel.network import Meter
from gridmodel.quantity import REGISTER_WH_MAX, Multiplier, QuantityFault
from gridmodel.reading import Channel
from protocols.sync import fields as f
from protocols.sync.fields import Fields, fault

FIELD_WORK = "field_work"
"""The record's kind."""
TEXT_MAX = 200
_UNIT_MAX = 65_535
_CHANNELS = {int(one): one for one in Channel}


def work_to_body(work: FieldWork) -> dict[str, Any]:
    """{id, kind, at, by, recorded_at, taken, fitted, proof, photo}: a part that the kind has not is nil."""
    taken, fitted, proof, photo = work.taken, work.fitted, work.proof, work.photo
    return {
        "id": work.id,
        "kind": work.kind.value,
        "at": work.at,
        "by": work.by,
        "recorded_at": work.recorded_at,
        "taken": None
        if taken is None
        else {"meter": taken.meter, "point": taken.point, "final_registers_wh": list(taken.final_registers_wh)},
        "fitted": None if fitted is None else _fitted_to_body(fitted),
        "proof": None if proof is None else {"meter": proof.meter, "serial": proof.serial, "read_at": proof.read_at},
        "photo": None if photo is None else {"sha256": photo.sha256, "size_bytes": photo.size_bytes},
    }


def work_from_body(body: Mapping[str, Any]) -> FieldWork:
    """Back from `work_to_body`; raises MessageFault, also for a work that contradicts itself."""
    read = Fields("field work", dict(body), FieldWork.__dataclass_fields__)
    try:
        return FieldWork(
            id=read.identity("id"),
            kind=read.choice("kind", WorkKind),
            at=read.time("at"),
            by=PersonId(read.identity("by")),
            recorded_at=read.time("recorded_at"),
            taken=_taken(read.mapping("taken", 3)) if read.given("taken") else None,
            fitted=_fitted(read.mapping("fitted", 10)) if read.given("fitted") else None,
            proof=_proof(read.mapping("proof", 3)) if read.given("proof") else None,
            photo=_photo(read.mapping("photo", 2)) if read.given("photo") else None,
        )
    except (FieldWorkFault, QuantityFault) as error:
        raise fault(22, error.what) from error


def _fitted_to_body(fitted: Fitted) -> dict[str, Any]:
    meter = fitted.meter
    return {
        "meter": meter.id,
        "serial": meter.serial,
        "profile": meter.profile,
        "address": meter.address,
        "unit": meter.unit,
        "point": fitted.point,
        "channels": [int(one) for one in fitted.channels],
        "multiplier": [fitted.multiplier.numerator, fitted.multiplier.denominator],
        "start_registers_wh": list(fitted.start_registers_wh),
        "seals": list(fitted.seals),
    }


_FITTED = (
    *("meter", "serial", "profile", "address", "unit"),
    *("point", "channels", "multiplier", "start_registers_wh", "seals"),
)


def _fitted(body: dict[str, Any]) -> Fitted:
    read = Fields("fitted meter", body, _FITTED)
    multiplier = [f.integer("multiplier", one, 1, f.COUNT_MAX) for one in read.listed("multiplier", 2)]
    if len(multiplier) != 2:
        raise fault(20, "a multiplier is [numerator, denominator]")
    channels = [f.integer("channel", one, 0, 255) for one in read.listed("channels", len(Channel))]
    if not _CHANNELS.keys() >= set(channels):
        raise fault(22, "a fitted meter counts an unknown channel")
    return Fitted(
        meter=Meter(
            id=MeterId(read.identity("meter")),
            serial=read.text("serial", TEXT_MAX),
            profile=read.identity("profile"),
            address=read.text("address", TEXT_MAX),
            unit=read.integer("unit", 0, _UNIT_MAX),
        ),
        point=read.identity("point"),
        channels=tuple(_CHANNELS[one] for one in channels),
        multiplier=Multiplier(*multiplier),
        start_registers_wh=_registers(read, "start_registers_wh"),
        seals=tuple(f.text("seal", one, TEXT_MAX) for one in read.listed("seals", 64)),
    )


def _taken(body: dict[str, Any]) -> Taken:
    read = Fields("taken meter", body, Taken.__dataclass_fields__)
    return Taken(MeterId(read.identity("meter")), read.identity("point"), _registers(read, "final_registers_wh"))


def _proof(body: dict[str, Any]) -> Proof:
    read = Fields("proof", body, Proof.__dataclass_fields__)
    return Proof(MeterId(read.identity("meter")), read.text("serial", TEXT_MAX), read.time("read_at"))


def _photo(body: dict[str, Any]) -> Photo:
    read = Fields("photo", body, Photo.__dataclass_fields__)
    return Photo(read.text("sha256", TEXT_MAX), read.integer("size_bytes", 0, f.COUNT_MAX))


def _registers(read: Fields, name: str) -> tuple[int, ...]:
    return tuple(f.integer(name, one, 0, REGISTER_WH_MAX) for one in read.listed(name, len(Channel)))
