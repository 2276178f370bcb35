"""Concentrators on real sockets before simulated DLMS meters, hundreds in one process. Floor: simulate; reading.

One TCP address for each concentrator; a meter is a wrapper port behind it, from `METERS_FROM` on. Port 1 is the
concentrator's own management device: it answers at once and shows the meter list and the schedule. Each connection
carries one client's association with one meter, as most models have it, and a further one than `connections_max` is
closed as soon as it is accepted.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from gridmodel.clock import Entropy, UtilityClock
from hosting.clocks import seeded_rng
from protocols.dlms.concentrators import MANAGEMENT, METERS_FROM
from protocols.dlms.connection import open_circle
from protocols.dlms.cosem_time import encode_time
from protocols.dlms.counters import COUNTER_MAX, Counter
from protocols.dlms.data import NULL, Data, Tag, array, octets, structure
from protocols.dlms.faults import DlmsFault
from protocols.dlms.meter_side.association import ClientAccess, LogicalDevice
from protocols.dlms.meter_side.model import PUBLIC_CLIENT, ObjectTable
from protocols.dlms.meter_side.objects import PlainObject, ProfileObject, Row
from protocols.dlms.meter_side.server import WrapperMeter
from protocols.dlms.obis import LOGICAL_DEVICE_NAME, SERIAL, Obis, invocation_counter_of
from protocols.dlms.selection import CaptureObject
from protocols.dlms.wrapper import WrapperFrame, WrapperSplitter
from simulate.concentrator import Answered, Concentrator, ConcentratorShape
from simulate.dlms_fleet import DlmsFleet, DlmsOptions
from simulate.dlms_keys import access_to
from simulate.fleet import MeterPort
from simulate.grid_registry import Listen
from simulate.relay_memory import RelayMemory
from simulate.truth import GridTruth

METER_LIST = Obis(0, 0, 128, 0, 1)
"""Profile generic of the management device: who stands behind it (group C 128 to 199 is the maker's own)."""
METER_PORT, METER_STATE, METER_HEARD = Obis(0, 0, 128, 0, 2), Obis(0, 0, 128, 0, 3), Obis(0, 0, 128, 0, 4)
LIST_COLUMNS = (
    CaptureObject(1, METER_PORT, 2),
    CaptureObject(1, SERIAL, 2),
    CaptureObject(1, METER_STATE, 2),
    CaptureObject(1, METER_HEARD, 2),
)
"""Wrapper port, serial number, state (`simulate.concentrator.Heard`), when heard last (octets; null: never)."""
SCHEDULE = Obis(0, 0, 15, 0, 3)
"""Single action schedule (class 22): when a round of its own begins."""


class ConcentratorFleet(DlmsFleet):
    """The DLMS meters of one grid behind concentrators; `listen.units` of them behind each."""

    def __init__(
        self,
        truth: GridTruth,
        listen: Listen,
        clock: UtilityClock,
        options: DlmsOptions,
        *,
        entropy: Entropy,
        count: int | None = None,
        memory: RelayMemory | None = None,
        shape: ConcentratorShape | None = None,
    ) -> None:
        """As `DlmsFleet`; chance comes from the grid's seed."""
        super().__init__(truth, listen, clock, options, entropy=entropy, count=count, memory=memory)
        self._entropy = entropy
        each, made = listen.units, shape or ConcentratorShape()
        served = self.count or len(truth.grid.meters)
        self.concentrators = [
            Concentrator(
                range(first, min(first + each, served)),
                made,
                clock,
                options.offset_min,
                seeded_rng(f"{truth.grid.spec.seed}/concentrator/{first}"),
            )
            for first in range(0, served, each)
        ]
        self._devices: dict[int, LogicalDevice] = {}
        self._rounds: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Listen, and let every concentrator begin its rounds."""
        await super().start()
        for one in self.concentrators:
            self._rounds.append(asyncio.create_task(one.go_round(lambda index: index in self.silent)))

    def close(self) -> None:
        """See `MeterFleet.close`."""
        for task in self._rounds:
            task.cancel()
        for one in self.concentrators:
            one.close()
        super().close()

    def port(self, units: dict[int, int]) -> "MeterPort":
        """A connection to one concentrator."""
        number = min(units.values()) // self.listen.units
        return ConcentratorPort(self, units, number)

    def management(self, number: int) -> LogicalDevice:
        """The concentrator's own device; made when it is first asked for."""
        found = self._devices.get(number)
        if found is None:
            found = self._devices[number] = self._manage(number)
        return found

    def totals(self) -> dict[str, int]:
        """What all concentrators did, summed."""
        return {name: sum(one.counts[name] for one in self.concentrators) for name in self.concentrators[0].counts}

    def meddle(self, index: int, what: str, given: dict[str, Any]) -> dict[str, Any]:
        """Also ``concentrator``: what the one before that meter did."""
        if what == "concentrator":
            one = self.concentrators[index // self.listen.units]
            return {"meters": len(one.meters), "most_waiting": one.most_waiting, **one.counts}
        return super().meddle(index, what, given)

    def _manage(self, number: int) -> LogicalDevice:
        name = f"TMQDC{number:011}".encode()
        midnight = structure(octets(bytes(4)), octets(b"\xff\xff\xff\xff\xff"))
        objects = (
            PlainObject(1, LOGICAL_DEVICE_NAME, {2: octets(name)}),
            PlainObject(1, SERIAL, {2: octets(name)}),
            ProfileObject(METER_LIST, LIST_COLUMNS, lambda _: self._list(number), period_s=0, by_range=False),
            PlainObject(22, SCHEDULE, {2: octets(bytes(6)), 3: Data(Tag.ENUM, 1), 4: array((midnight,))}),
        )
        table = ObjectTable(objects, (LOGICAL_DEVICE_NAME, invocation_counter_of(0)))
        return LogicalDevice(
            table,
            {PUBLIC_CLIENT: ClientAccess()},
            self._entropy,
            title=b"TMD" + number.to_bytes(5, "big"),
            counter=Counter(1, COUNTER_MAX + 1),
            anyone=access_to(self.options.security, self.options.secrets),
        )

    def _list(self, number: int) -> Sequence[Row]:
        one = self.concentrators[number]
        return [
            (
                Data(Tag.LONG_UNSIGNED, METERS_FROM + index - one.meters.start),
                octets(self.grid_truth.serial_of(index).encode()),
                Data(Tag.ENUM, int(line.state)),
                octets(encode_time(line.at, self.options.offset_min)) if line.at else NULL,
            )
            for index, line in one.listed.items()
        ]


class ConcentratorPort(MeterPort):
    """One accepted connection to one concentrator."""

    def __init__(self, fleet: ConcentratorFleet, units: dict[int, int], number: int) -> None:
        super().__init__(fleet, units)
        self._fleet = fleet
        self._number = number
        self._concentrator = fleet.concentrators[number]
        self._splitter = WrapperSplitter()
        self._servers: dict[int, WrapperMeter] = {}
        self.refused = False
        """One connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Someone connected; beyond the limit they are sent away."""
        super().connection_made(transport)
        if self._concentrator.connected >= self._concentrator.shape.connections_max:
            self._concentrator.counts["refused_connections"] += 1
            self.refused = True
            self.drop()
            return
        one = self._concentrator
        one.connected += 1
        one.most_connected = max(one.most_connected, one.connected)

    def connection_lost(self, exc: Exception | None) -> None:
        """They left; answers that are under way to them are for nobody."""
        if not self.refused:
            self._concentrator.connected -= 1
        if self._transport is not None:
            open_circle(self._transport)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See `MeterPort.data_received`."""
        try:
            for frame in self._splitter.feed(data):
                self._route(frame)
        except DlmsFault:
            self.drop()

    def _route(self, frame: WrapperFrame) -> None:
        destination = frame.destination
        if destination == MANAGEMENT:
            device = self._fleet.management(self._number)
            server = self._servers.setdefault(destination, WrapperMeter({destination: device}))
            self.write(server.receive(frame.encode(), self._fleet.clock.now()))
            return
        index = self.units.get(destination - METERS_FROM + 1)
        if index is not None:
            self._concentrator.carry(index, lambda: self._arrives(index, frame))

    def _arrives(self, index: int, frame: WrapperFrame) -> Answered | None:
        """The request comes to its meter, which does what it is told."""
        fleet = self._fleet
        if index in fleet.silent:
            return None
        now = fleet.clock.now()
        fleet.grid_truth.advance(now)
        meter, port = fleet.meter(index), frame.destination
        server = self._servers.get(port)
        if server is None:
            server = self._servers[port] = WrapperMeter({port: meter.device})
        answer = server.receive(frame.encode(), now)
        meter.settle(now)
        return lambda: self.reply(index, answer)
