"""A fleet of DLMS meters on a free port, and readers for it: one of ours on asyncio, and what it asks."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import cast

from hosting.clocks import SystemEntropy
from protocols.dlms.apdu.acse import Mechanism
from protocols.dlms.apdu.parts import AccessSelection, AttributeDescriptor, GetResult, MethodDescriptor
from protocols.dlms.apdu.sealed import Protection
from protocols.dlms.association import ClientAssociation
from protocols.dlms.client import DlmsClient
from protocols.dlms.counters import Counter
from protocols.dlms.data import Data
from protocols.dlms.exchanges import Acted, Got, Written
from protocols.dlms.faults import DlmsFault
from protocols.dlms.hdlc.frames import Address
from protocols.dlms.hdlc.link import HdlcCarrier
from protocols.dlms.hdlc.parameters import LinkParameters
from protocols.dlms.security import SecurityKeys
from protocols.dlms.terms import AssociationSettings, Notified, Outcome
from protocols.dlms.wrapper import WrapperCarrier
from simulate.dlms_fleet import DlmsFleet, DlmsOptions
from simulate.dlms_keys import FleetSecrets, Security
from simulate.dlms_shapes import SINGLE_PHASE
from simulate.grid import GridSpec, build_grid
from simulate.truth import GridTruth
from tests.protocols.modbus.scripted import HandClock
from tests.simulate.rigs import ORIGIN, PROFILES, ZONE, free_listen

POINTS = 12
NOW = ORIGIN + 3 * 86_400 + 10 * 3_600 + 60
TITLE = b"TMQ\x00\x00\x00\x00\x63"
SECRETS = FleetSecrets()


def dlms_fleet(units: int = 1, points: int = POINTS, **how: object) -> DlmsFleet:
    options = DlmsOptions(**({"shape": SINGLE_PHASE} | how))  # type: ignore[arg-type]
    name = options.shape.name
    spec = GridSpec("n1", ZONE, ("1718203",), points, 1, ORIGIN, interval_minutes=15, profile=name)
    truth = GridTruth(build_grid(spec), PROFILES, {name: options.shape})
    return DlmsFleet(truth, free_listen(units), HandClock(NOW), options, entropy=SystemEntropy(), count=points)


class Reader(asyncio.Protocol):
    """One of our clients on a socket."""

    def __init__(self, client: DlmsClient) -> None:
        self.client = client
        self.heard: list[Notified] = []
        self.lost = asyncio.get_running_loop().create_future()
        self._waiting: asyncio.Future[Outcome] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.lost.done():
            self.lost.set_result(None)

    def data_received(self, data: bytes) -> None:
        try:
            out, outcomes = self.client.receive(data)
        except DlmsFault as fault:
            if self._waiting is not None and not self._waiting.done():
                self._waiting.set_exception(fault)
            return
        if out:
            self.transport.write(out)
        for outcome in outcomes:
            if isinstance(outcome, Notified):
                self.heard.append(outcome)
            elif self._waiting is not None:
                self._waiting.set_result(outcome)

    async def ask(self, out: bytes) -> Outcome:
        self._waiting = asyncio.get_running_loop().create_future()
        self.transport.write(out)
        return await self._waiting

    async def get(self, attribute: AttributeDescriptor, selection: AccessSelection | None = None) -> GetResult:
        got = await self.ask(self.client.send(self.client.association.get(attribute, selection)))
        assert isinstance(got, Got)
        return got.results[0]

    async def set(self, attribute: AttributeDescriptor, value: Data) -> str:
        written = await self.ask(self.client.send(self.client.association.set(attribute, value)))
        assert isinstance(written, Written)
        return written.results[0].name

    async def act(self, method: MethodDescriptor, parameters: Data) -> str:
        acted = await self.ask(self.client.send(self.client.association.act(method, parameters)))
        assert isinstance(acted, Acted)
        return acted.outcomes[0].result.name


def client_of(
    security: Security,
    *,
    hdlc: bool,
    unit: int = 1,
    sap: int = 1,
    first_counter: int = 1,
    keys: SecurityKeys = SECRETS.keys,
) -> DlmsClient:
    settings = {
        Security.NONE: AssociationSettings(),
        Security.LOW: AssociationSettings(Mechanism.LOW, password=SECRETS.password),
        Security.GMAC: AssociationSettings(Mechanism.GMAC, Protection.GLOBAL, system_title=TITLE),
    }[security]
    carrier = (
        HdlcCarrier(sap, Address(1, unit, 4), LinkParameters(256, 256, 1, 1)) if hdlc else WrapperCarrier(sap, unit)
    )
    counter = Counter(first_counter, first_counter + 1_000)
    return DlmsClient(carrier, ClientAssociation(settings, keys=keys, counter=counter, challenge=bytes(range(16))))


@asynccontextmanager
async def reading(fleet: DlmsFleet, index: int, client: DlmsClient) -> AsyncIterator[Reader]:
    """A reader connected and associated with one meter."""
    host, port, _ = fleet.listen.place(index)
    _, reader = await asyncio.get_running_loop().create_connection(lambda: Reader(client), host, port)
    try:
        await reader.ask(client.connect())
        yield reader
    finally:
        reader.transport.abort()
        await asyncio.sleep(0)


def on_sockets(fleet: DlmsFleet, story: Callable[[], Awaitable[None]]) -> None:
    """Tell a story while the fleet listens."""

    async def main() -> None:
        await fleet.start()
        try:
            await story()
        finally:
            fleet.close()
            await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(main(), 60))
