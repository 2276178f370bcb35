"""Where a meter is: link, host and port, and the DLMS numbers of both ends. Floor: protocols; walk: reading.

The profile of a model says how its meters are numbered; an address may say otherwise, since the same model stands
behind gateways as well: ``hdlc://10.1.2.3:4059?client=1&server=1&physical=17``. Behind a concentrator the address names
its model, too: ``wrapper://10.1.2.3:4059?server=273&via=plc_wrapper``.
"""

from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import parse_qsl, urlsplit

from protocols.dlms.carrier import Carrier
from protocols.dlms.faults import local_fault
from protocols.dlms.hdlc.frames import Address
from protocols.dlms.hdlc.link import HdlcCarrier
from protocols.dlms.hdlc.parameters import LinkParameters
from protocols.dlms.wrapper import WrapperCarrier

NUMBER_MAX = {"client": 0x7F, "server": 0x3FFF, "physical": 0x3FFF}
"""What HDLC can say: one byte for a client, two for each half of a server's address."""
PORT_MAX = 0xFFFF
"""Two bytes of the wrapper's header."""
SHORT_MAX = 0x7F
"""What fits one byte of an HDLC address."""


class LinkKind(StrEnum):
    """What carries APDUs over TCP."""

    WRAPPER = "wrapper"
    """IEC 62056-47."""
    HDLC = "hdlc"
    """HDLC frames through TCP, as gateways to serial lines do it."""


@dataclass(frozen=True, slots=True)
class WrittenPlace:
    """What an address says; None: the profile decides."""

    host: str
    port: int
    link: LinkKind | None
    client: int | None
    server: int | None
    physical: int | None
    via: str | None
    """The model of the concentrator that stands there; None: there is none."""


@dataclass(frozen=True, slots=True)
class Place:
    """One meter as a client reaches it."""

    host: str
    port: int
    link: LinkKind
    client: int
    """The client's SAP."""
    server: int
    """Logical device (wPort, or upper HDLC address)."""
    physical: int
    """Physical device (lower HDLC address); 0: none, and always 0 with the wrapper."""
    address_size: int
    """Bytes of the server's HDLC address: 1, 2 or 4; 0: the shortest that fits."""
    parameters: LinkParameters
    """What we would like of an HDLC link."""
    via: str | None = None
    """The model of the concentrator before it; None: there is none."""

    @property
    def device(self) -> tuple[int, int]:
        """Tells the meters behind one ``host:port`` apart."""
        return (self.server, self.physical)

    def carrier(self, client: int | None = None) -> Carrier:
        """A fresh carrier, for another client's SAP if one is given. Raises DlmsFault TQ-DM-74: too large a number."""
        sap = self.client if client is None else client
        if self.link is LinkKind.WRAPPER:
            if self.server > PORT_MAX:
                raise local_fault(
                    "TQ-DM-74",
                    f"{self.server} is no wrapper port",
                    f"where the profile takes the unit for it, that is at most {PORT_MAX}: mend the registry",
                )
            return WrapperCarrier(sap, self.server)
        address = Address(self.server, self.physical, self.address_size or self._shortest())
        address.encode()
        return HdlcCarrier(sap, address, self.parameters)

    def _shortest(self) -> int:
        if self.physical == 0 and self.server <= SHORT_MAX:
            return 1
        return 2 if max(self.server, self.physical) <= SHORT_MAX else 4


def parse_address(address: str) -> WrittenPlace:
    """``[wrapper://|hdlc://]host:port[?client=N&server=N&physical=N&via=MODEL]``. Raises DlmsFault TQ-DM-93."""
    scheme, separator, rest = address.rpartition("://")
    try:
        link = LinkKind(scheme) if separator else None
        parts = urlsplit(f"//{rest}")
        host, port = parts.hostname, parts.port
        strict, most = bool(parts.query), len(NUMBER_MAX) + 1
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=strict, max_num_fields=most)
        numbers = {name: int(value) for name, value in pairs if name != "via"}
        via = dict(pairs).get("via")
    except ValueError:
        raise _no_address(address) from None
    sound = all(0 <= number <= NUMBER_MAX.get(name, -1) for name, number in numbers.items())
    sound = sound and via != "" and len(dict(pairs)) == len(pairs) and not (parts.path or parts.fragment or "@" in rest)
    if not host or not port or not sound:
        raise _no_address(address)
    return WrittenPlace(host, port, link, numbers.get("client"), numbers.get("server"), numbers.get("physical"), via)


def _no_address(address: str) -> Exception:
    return local_fault(
        "TQ-DM-93",
        f"{address!r:.80} is no DLMS address",
        "write host:port, such as 10.1.2.3:4059, or hdlc://10.1.2.3:4059?client=1&server=1&physical=17",
    )
