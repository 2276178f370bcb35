"""What a meter has inside, seen from its association: objects that are read, written, invoked. Floor: protocols.

On the walk of a reading this stands where the real meter's firmware does. `CosemModel` is the port; `ObjectTable` with
the objects of `objects` is its plain implementation. Time comes in as an argument.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from protocols.dlms.apdu.acse import Context, Mechanism, context_name, mechanism_name
from protocols.dlms.apdu.action import MethodOutcome
from protocols.dlms.apdu.initiate import OURS, InitiateResponse
from protocols.dlms.apdu.parts import (
    AccessResult,
    AccessSelection,
    ActionResult,
    AttributeRequest,
    GetResult,
    MethodDescriptor,
)
from protocols.dlms.data import NULL, Data, Tag, array, octets, structure
from protocols.dlms.obis import CURRENT_ASSOCIATION, SECURITY_SETUP, Obis

_NOTHING_AGREED = InitiateResponse(OURS, 0)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks."""

    client: int
    """The client's SAP; 16 is the public client."""
    authenticated: bool
    """Whether a password or proof stood behind the association."""
    context: Context = Context.LN
    """As it was asked for."""
    mechanism: Mechanism = Mechanism.NONE
    """As it was asked for."""
    agreed: InitiateResponse = _NOTHING_AGREED
    """What the two sides agreed on."""


class CosemModel(Protocol):
    """The objects of one logical device."""

    def get(self, caller: Caller, item: AttributeRequest, now: int) -> GetResult:
        """One attribute, whole or the selected part. `now`: UTC seconds of the meter's world."""
        ...

    def set(self, caller: Caller, item: AttributeRequest, value: Data, now: int) -> AccessResult:
        """Write one attribute."""
        ...

    def act(self, caller: Caller, method: MethodDescriptor, parameters: Data | None, now: int) -> MethodOutcome:
        """Invoke one method."""
        ...


class CosemObject(Protocol):
    """One object. Its logical name (attribute 1) is answered by the table."""

    class_id: int
    obis: Obis
    version: int

    def attributes(self) -> Iterable[int]:
        """The numbers of its attributes, 1 left out."""
        ...

    def writable(self, attribute: int) -> bool:
        """Whether an attribute may be written, for the list of access rights."""
        ...

    def methods(self) -> Iterable[int]:
        """The numbers of its methods."""
        ...

    def get(self, attribute: int, selection: AccessSelection | None, now: int) -> GetResult:
        """The value, or why there is none."""
        ...

    def set(self, attribute: int, value: Data, now: int) -> AccessResult:
        """Write."""
        ...

    def act(self, method: int, parameters: Data | None, now: int) -> MethodOutcome:
        """Invoke."""
        ...


PUBLIC_CLIENT = 16
"""The client that may associate without any secret, and reads only what the table shows it."""


ASSOCIATION_CLASS = 15
_ASSOCIATED = 2
"""association_status: associated."""
_TOLD = (1, 2, 3, 4, 5, 6, 8, 9)
"""Attributes of the association object that are there; 7, the secret, is not."""


class ObjectTable:
    """Objects by class and name. Whoever is not authenticated reads the `public` objects and changes nothing."""

    def __init__(
        self, objects: Iterable[CosemObject], public: Iterable[Obis] = (), *, open_to_all: bool = False
    ) -> None:
        """`open_to_all`: a meter without any security, where everybody may do everything."""
        self._objects = {(one.class_id, one.obis): one for one in objects}
        self._names = {one.obis for one in self._objects.values()}
        self._public = {CURRENT_ASSOCIATION, *public}
        self._open = open_to_all

    def _missing(self, obis: Obis) -> AccessResult:
        return AccessResult.OBJECT_CLASS_INCONSISTENT if obis in self._names else AccessResult.OBJECT_UNDEFINED

    def get(self, caller: Caller, item: AttributeRequest, now: int) -> GetResult:
        """See `CosemModel`."""
        class_id, obis, attribute = item.attribute
        if not (caller.authenticated or self._open or obis in self._public):
            return AccessResult.READ_WRITE_DENIED
        if obis == CURRENT_ASSOCIATION and class_id == ASSOCIATION_CLASS:
            return self._association(caller, attribute)
        found = self._objects.get((class_id, obis))
        if found is None:
            return self._missing(obis)
        return octets(obis.pack()) if attribute == 1 else found.get(attribute, item.selection, now)

    def set(self, caller: Caller, item: AttributeRequest, value: Data, now: int) -> AccessResult:
        """See `CosemModel`."""
        class_id, obis, attribute = item.attribute
        if not (caller.authenticated or self._open) or attribute == 1:
            return AccessResult.READ_WRITE_DENIED
        found = self._objects.get((class_id, obis))
        return self._missing(obis) if found is None else found.set(attribute, value, now)

    def act(self, caller: Caller, method: MethodDescriptor, parameters: Data | None, now: int) -> MethodOutcome:
        """See `CosemModel`."""
        class_id, obis, number = method
        if not (caller.authenticated or self._open):
            return MethodOutcome(ActionResult.READ_WRITE_DENIED)
        found = self._objects.get((class_id, obis))
        if found is None:
            return MethodOutcome(ActionResult(self._missing(obis)))
        return found.act(number, parameters, now)

    def _association(self, caller: Caller, attribute: int) -> GetResult:
        """The association object of whoever asks: name, object list, partners, status."""
        if attribute == 1:
            return octets(CURRENT_ASSOCIATION.pack())
        if attribute == 2:
            return self.object_list()
        told = {
            3: structure(Data(Tag.INTEGER, min(caller.client, 127)), Data(Tag.LONG_UNSIGNED, 1)),
            4: octets(context_name(caller.context)),
            5: _agreed_on(caller.agreed),
            6: octets(mechanism_name(caller.mechanism)),
            8: Data(Tag.ENUM, _ASSOCIATED),
            9: octets(SECURITY_SETUP.pack() if (64, SECURITY_SETUP) in self._objects else b""),
        }
        return told.get(attribute, AccessResult.OBJECT_UNDEFINED)

    def object_list(self) -> Data:
        """object_list of the association: class, version, name, and access rights of each object."""
        listed = [_listed(ASSOCIATION_CLASS, 1, CURRENT_ASSOCIATION, dict.fromkeys(_TOLD, False), (1,))]
        for one in self._objects.values():
            rights = {1: False} | {number: one.writable(number) for number in one.attributes()}
            listed.append(_listed(one.class_id, one.version, one.obis, rights, one.methods()))
        return array(listed)


def _agreed_on(agreed: InitiateResponse) -> Data:
    """xDLMS_context_info: services, longest APDUs both ways, version, quality of service, ciphering info."""
    return structure(
        Data(Tag.BIT_STRING, f"{int(agreed.conformance):024b}"),
        Data(Tag.LONG_UNSIGNED, agreed.max_pdu_size),
        Data(Tag.LONG_UNSIGNED, agreed.max_pdu_size),
        Data(Tag.UNSIGNED, agreed.version),
        Data(Tag.INTEGER, agreed.quality_of_service or 0),
        octets(b""),
    )


def _listed(class_id: int, version: int, obis: Obis, rights: dict[int, bool], methods: Iterable[int]) -> Data:
    """One entry of an object list: attributes read-only (1) or read and write (3), methods that may be invoked (1)."""
    attributes = array(
        structure(Data(Tag.INTEGER, number), Data(Tag.ENUM, 3 if writable else 1), NULL)
        for number, writable in sorted(rights.items())
    )
    verbs = array(structure(Data(Tag.INTEGER, number), Data(Tag.ENUM, 1)) for number in methods)
    head = (Data(Tag.LONG_UNSIGNED, class_id), Data(Tag.UNSIGNED, version), octets(obis.pack()))
    return structure(*head, structure(attributes, verbs))
