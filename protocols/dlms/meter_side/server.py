"""A meter on a wire, without the wire: bytes in, bytes out, over wrapper and HDLC. Floor: protocols; walk: reading.

One object serves one connection and the devices behind it: behind the wrapper by logical device, behind HDLC by logical
and physical device. Bytes that are no frame end the connection (a `DlmsFault`), as a meter would hang up.
"""

from collections.abc import Mapping

from protocols.dlms.faults import DlmsFault
from protocols.dlms.hdlc.frames import Address, FrameSplitter
from protocols.dlms.hdlc.link import LLC_RESPONSE, POLL, SNRM, HdlcMeterLink
from protocols.dlms.hdlc.parameters import LinkParameters
from protocols.dlms.meter_side.association import LogicalDevice, MeterAssociation
from protocols.dlms.state import LinkState
from protocols.dlms.wrapper import WrapperFrame, WrapperSplitter

ASSOCIATIONS_MAX = 64
"""Associations at once on one connection, so that a client that counts through addresses cannot fill the memory."""


class WrapperMeter:
    """Devices behind one TCP connection with wrapper."""

    def __init__(self, devices: Mapping[int, LogicalDevice]) -> None:
        """By logical device number (wPort); 1 is the management device."""
        self._devices = devices
        self._splitter = WrapperSplitter()
        self._associations: dict[tuple[int, int], MeterAssociation] = {}

    def receive(self, data: bytes, now: int) -> bytes:
        """What to answer. Raises DlmsFault TQ-DM-10 for a stream that is no wrapper."""
        out = b""
        for frame in self._splitter.feed(data):
            key = (frame.source, frame.destination)
            device = self._devices.get(frame.destination)
            if device is None:
                continue
            association = self._associations.get(key)
            if association is None:
                if len(self._associations) >= ASSOCIATIONS_MAX:
                    self._associations.clear()
                association = self._associations[key] = MeterAssociation(device, frame.source)
            out += WrapperFrame(frame.destination, frame.source, association.receive(frame.apdu, now)).encode()
        return out + self.notices()

    def notices(self) -> bytes:
        """What the devices want to tell by themselves, for every association that stands; it waits for the first."""
        out = b""
        for number, device in self._devices.items():
            while device.notices:
                notice = device.notices.popleft()
                told = [
                    WrapperFrame(server, client, apdu).encode()
                    for (client, server), association in self._associations.items()
                    if server == number and (apdu := association.notify(notice)) is not None
                ]
                if not told:
                    device.notices.appendleft(notice)
                    break
                out += b"".join(told)
        return out


class HdlcMeter:
    """Devices on one HDLC line, or behind one TCP connection that stands for it."""

    def __init__(self, devices: Mapping[Address, LogicalDevice], parameters: LinkParameters | None = None) -> None:
        """By address; a meter answers with the form that the client used. `parameters`: what it can do at most."""
        self._devices = {address[:2]: device for address, device in devices.items()}
        self._parameters = parameters
        self._splitter = FrameSplitter()
        self._links: dict[tuple[int, ...], tuple[HdlcMeterLink, MeterAssociation]] = {}

    def receive(self, data: bytes, now: int) -> bytes:
        """What to answer. Frames for nobody here are passed over, frames out of order go unanswered, as on a line.

        Raises:
            DlmsFault: TQ-DM-02, 21 for bytes that are no frame; one that was damaged is passed over.

        """
        out = b""
        for frame in self._splitter.feed_line(data):
            device = self._devices.get(frame.destination[:2])
            if device is None:
                continue
            key = (*frame.destination[:2], frame.source.upper)
            known = self._links.get(key)
            if known is None:
                if len(self._links) >= ASSOCIATIONS_MAX:
                    self._links.clear()
                link = HdlcMeterLink(frame.destination, frame.source, self._parameters)
                known = self._links[key] = (link, MeterAssociation(device, frame.source.upper))
            link, association = known
            if frame.control & ~POLL == SNRM:
                association.lose_link()
            try:
                incoming = link.receive(frame)
                out += incoming.reply
                for apdu in incoming.apdus:
                    out += _told(device, link, association)
                    out += link.send(association.receive(apdu, now))
            except DlmsFault:
                continue
            if link.state is LinkState.DISCONNECTED:
                association.lose_link()
        return out


def _told(device: LogicalDevice, link: HdlcMeterLink, association: MeterAssociation) -> bytes:
    """Notifications that waited, before the next answer, whose last frame gives the turn back.

    What a request itself causes waits for the one after it: the answer must have the lower counter and goes last. A
    notification too long for a frame is lost.
    """
    out = b""
    while device.notices:
        apdu = association.notify(device.notices[0])
        if apdu is None:
            break
        device.notices.popleft()
        if len(LLC_RESPONSE) + len(apdu) <= link.parameters.size_transmit:
            out += link.push(apdu)
    return out
