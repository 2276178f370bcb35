"""A simulated meter's Push setup (40): it makes DataNotifications (IEC 62056-6-2). Floor: protocols; walk: reading.

The body is a structure of the attributes in the push object list, in its order; one that cannot be read is null. Where
it goes (a connection of its own, or the one that is open) is for the device's host: `send` gets the notification.
"""

from collections.abc import Callable, Sequence

from protocols.dlms.apdu.action import MethodOutcome
from protocols.dlms.apdu.notices import DataNotification
from protocols.dlms.apdu.parts import AccessResult, ActionResult, AttributeDescriptor, GetResult
from protocols.dlms.data import NULL, Data, Tag, array, octets, structure
from protocols.dlms.faults import DlmsFault
from protocols.dlms.meter_side.objects import DONE, PlainObject
from protocols.dlms.obis import Obis
from protocols.dlms.selection import CaptureObject, read_capture_object

OBJECTS_MAX = 32
"""Attributes in one notification: it must fit one APDU."""
_INVOKE_MASK = 0x00FFFFFF


class PushSetupObject(PlainObject):
    """A Push setup (40), version 0."""

    def __init__(
        self,
        obis: Obis,
        objects: Sequence[CaptureObject],
        read: Callable[[AttributeDescriptor, int], GetResult],
        send: Callable[[DataNotification], None],
        destination: bytes = b"",
    ) -> None:
        """`read` gives an attribute of this meter at a moment (UTC seconds); `destination`: ``host:port`` as text."""
        super().__init__(
            40,
            obis,
            {
                2: array(one.to_data() for one in objects),
                3: structure(Data(Tag.ENUM, 0), octets(destination), Data(Tag.ENUM, 0)),
                4: array(()),
                5: Data(Tag.LONG_UNSIGNED, 0),
                6: Data(Tag.UNSIGNED, 0),
                7: Data(Tag.LONG_UNSIGNED, 0),
            },
            writable=(2, 3, 5, 6, 7),
            methods={1: self._push},
        )
        self._objects = tuple(objects)
        self._read = read
        self._send = send
        self._invoke = 0

    def set(self, attribute: int, value: Data, now: int) -> AccessResult:
        """Attribute 2, the list of what is pushed, must be one."""
        if attribute != 2:
            return super().set(attribute, value, now)
        if value.tag != Tag.ARRAY or not isinstance(value.value, tuple) or len(value.value) > OBJECTS_MAX:
            return AccessResult.TYPE_UNMATCHED
        try:
            objects = tuple(read_capture_object(one) for one in value.value)
        except DlmsFault:
            return AccessResult.TYPE_UNMATCHED
        self._objects = objects
        return super().set(attribute, value, now)

    def notification(self, now: int) -> DataNotification:
        """What would be pushed at `now` (UTC seconds)."""
        self._invoke = (self._invoke + 1) & _INVOKE_MASK
        found = (self._read(AttributeDescriptor(*one[:3]), now) for one in self._objects)
        body = structure(*(one if isinstance(one, Data) else NULL for one in found))
        return DataNotification(self._invoke, b"", body)

    def push(self, now: int) -> None:
        """Send it."""
        self._send(self.notification(now))

    def _push(self, parameters: Data | None, now: int) -> MethodOutcome:
        if parameters is None or parameters.tag != Tag.INTEGER:
            return MethodOutcome(ActionResult.TYPE_UNMATCHED)
        self.push(now)
        return DONE
