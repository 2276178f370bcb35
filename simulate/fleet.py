"""What fleets on sockets have alike, whatever they speak: addresses, connections, troubles. Floor: simulate; reading.

One loopback address per meter on one fixed port, or several meters behind each. A request is answered in
`data_received`: no task, no future, no stream. `simulate/meters.py` speaks Modbus, `simulate/dlms_fleet.py` DLMS;
`simulate/fleet_door.py` lets tests and reports look in and switch troubles on.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

from gridmodel.clock import UtilityClock
from gridmodel.fault import Fault
from hosting.clocks import seeded_rng
from simulate.grid_registry import Listen
from simulate.relay_memory import RelayMemory, RelayMove
from simulate.truth import GridTruth

BACKLOG = 16
"""Waiting connections per meter: a real one takes one to four."""
SLOW_S_MAX = 600.0
"""Beyond ten minutes a slow answer is a silent meter."""


class FleetFault(Fault):
    """Something that this fleet's meters cannot do; code TQ-SM-23."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong with the way from one meter to whoever asks."""

    lost_replies: float = 0.0
    """The share of answers that get lost, 0 to 1. What was asked is done all the same."""
    slow_s: float = 0.0
    """Wall seconds until each answer."""


NO_TROUBLE = Trouble()


@dataclass(slots=True)
class FleetCounts:
    """What a fleet has done."""

    served: int = 0
    refused_writes: int = 0


class MeterFleet(ABC):
    """The meters of one grid, reachable. `silent`, `troubles` and the counts may be read and changed at any time."""

    def __init__(
        self, truth: GridTruth, listen: Listen, clock: UtilityClock, *, count: int | None, memory: RelayMemory | None
    ) -> None:
        """Serves the first `count` meters of the grid, or all; `memory` has been replayed into their truth."""
        self.grid_truth = truth
        self.listen = listen
        self.clock = clock
        self.count = len(truth.grid.meters) if count is None else count
        self.memory = RelayMemory() if memory is None else memory
        self.silent: set[int] = set()
        """Indices of meters that do not answer."""
        self.troubles: dict[int, Trouble] = {}
        """By index of the meter."""
        self.tongue_tied: set[int] = set()
        """Meters that obey, and whose answers are lost from the moment their contact moves."""
        self.counts = FleetCounts()
        self.dice = seeded_rng(truth.grid.spec.seed)
        """For replies that get lost."""
        self._servers: list[asyncio.Server] = []
        self.ports: set[MeterPort] = set()
        """The connections that are open."""

    @property
    def served(self) -> int:
        """Answered requests."""
        return self.counts.served

    @property
    def refused_writes(self) -> int:
        """Writes to anything but a relay."""
        return self.counts.refused_writes

    def share(self, whole: "MeterFleet") -> None:
        """Be a part of another fleet: what befalls its meters, its counts, dice and connections are this one's too."""
        self.silent, self.troubles, self.tongue_tied = whole.silent, whole.troubles, whole.tongue_tied
        self.counts, self.dice, self.ports = whole.counts, whole.dice, whole.ports

    @abstractmethod
    def port(self, units: dict[int, int]) -> "MeterPort":
        """A protocol for one accepted connection to these units (unit to index of the meter)."""
        ...

    def places(self, indices: Iterable[int]) -> dict[tuple[str, int], dict[int, int]]:
        """Where these meters are reached: host and port to unit to index."""
        places: dict[tuple[str, int], dict[int, int]] = {}
        for index in indices:
            host, port, unit = self.listen.place(index)
            places.setdefault((host, port), {})[unit] = index
        return places

    async def start(self) -> None:
        """Listen on every address; OSError when one is taken."""
        loop = asyncio.get_running_loop()
        for (host, port), units in self.places(range(self.count)).items():
            self._servers.append(
                await loop.create_server(lambda units=units: self.port(units), host, port, backlog=BACKLOG)  # type: ignore[misc]
            )

    def close(self) -> None:
        """Stop listening and drop every connection."""
        for server in self._servers:
            server.close()
        for port in tuple(self.ports):
            port.drop()
        self._servers.clear()

    def truth(self, meter: str, at: int) -> int:
        """The meter's import register as served at the latest interval end up to `at`, meter-side Wh."""
        return self.grid_truth.register_wh(meter, at)

    def contact(self, index: int, *, closed: bool, now: int) -> None:
        """The meter's contact is where `closed` says: the truth moves with it, and the memory keeps it."""
        if self.grid_truth.connected(index) != closed:
            if index in self.tongue_tied:
                self.silent.add(index)
            meter = self.grid_truth.meter_at(index)
            self.grid_truth.move_relay(meter, closed=closed, at=now)
            self.memory.remember(RelayMove(meter, closed, now))

    def renewed(self, index: int) -> None:  # noqa: B027 — most keep nothing of a meter
        """Another meter stands there now: forget what was kept of the one before."""

    def opened(self, port: "MeterPort") -> None:
        """A connection was accepted."""
        self.ports.add(port)

    def closed(self, port: "MeterPort") -> None:
        """A connection is gone."""
        self.ports.discard(port)

    def ports_of(self, index: int) -> "list[MeterPort]":
        """The connections that are open to a meter."""
        return [port for port in self.ports if index in port.units.values()]

    def meddle(self, index: int, what: str, given: dict[str, Any]) -> dict[str, Any]:
        """Do something to one meter by hand; what there is, the protocol's own fleet says. Raises FleetFault."""
        del index, given
        raise FleetFault("TQ-SM-23", f"these meters know nothing of {what:.40}", "serve a fleet of another protocol")


class MeterPort(asyncio.Protocol, ABC):
    """One accepted connection to one address of a fleet."""

    def __init__(self, fleet: MeterFleet, units: dict[int, int]) -> None:
        self.units = units
        self._of = fleet
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Someone connected."""
        self._transport = cast("asyncio.Transport", transport)
        self._of.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """They left."""
        del exc
        self._of.closed(self)

    @abstractmethod
    def data_received(self, data: bytes) -> None:
        """Answer every whole request in order; a stream that makes no sense is dropped, as real meters do."""
        ...

    def drop(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def reply(self, index: int, data: bytes) -> None:
        """Answer for one meter, as far as its troubles let the answer through."""
        fleet = self._of
        if index in fleet.silent:
            return  # since it was asked
        fleet.counts.served += 1
        trouble = fleet.troubles.get(index)
        if trouble is None:
            self.write(data)
        elif trouble.lost_replies <= 0 or fleet.dice.random() >= trouble.lost_replies:
            asyncio.get_running_loop().call_later(trouble.slow_s, self.write, data)

    def write(self, data: bytes) -> None:
        """To the wire, if it is still there."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)
