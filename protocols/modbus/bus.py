"""The bus: everything that is asked of one ``host:port``, one request in flight. Floor: protocols; walk: reading.

Theory of operation. A call waits for its turn, uses the one connection for all it asks of its unit, and gives the turn
back. After a timeout, a cancelled call or any broken rule the connection is closed: the late answer dies with its
socket and can never be taken for another's. Transparent serial gateways are worse, they hand a late answer to whoever
is connected *now*, and RTU has no transaction to tell it by. It has the unit: neighbours are asked at once, and a late
answer among theirs is told by its unit and thrown away. Only the late unit itself must not be asked again until the
connection has listened for as long as it had waited; the call does so without its turn.

A unit that stays silent three times is suspended and costs its neighbours nothing but one probe a minute. An address
that does not accept connections is left alone for a growing, jittered while. Relay commands go before polls and are
tried in spite of both: a late restore flies. Suspension and back-off are utility time (a rehearsal at speed must see
them end); timeouts and pauses are I/O time.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from gridmodel.absence import Absence
from gridmodel.clock import IoClock, Rng, UtilityClock
from protocols.errors import Blame, Hope
from protocols.modbus.codec import ExceptionReply, Framing, ModbusFault, local_fault, remote_fault
from protocols.modbus.connection import Connection
from protocols.resting import Resting
from protocols.turns import Priority, Turns

TIMEOUT_S_MIN = 0.3
"""Slower meters are common, and a shorter timeout breeds late replies, from which swapped values come."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How much patience a meter needs (I/O seconds)."""

    timeout_s: float = 1.0
    """From sending a request to its whole reply; above `TIMEOUT_S_MIN`."""
    connect_timeout_s: float = 3.0
    """For the TCP connection."""
    connect_delay_s: float = 0.0
    """Between an accepted connection and the first request: some gateways drop earlier ones."""
    pause_s: float = 0.0
    """Between a reply and the next request on the same bus; 25 ms cured many serial meters."""


class Bus:
    """All calls to one ``host:port``. Errors are `ModbusFault`s; see `exchange`."""

    def __init__(
        self, host: str, port: int, framing: Framing, *, clock: UtilityClock, io_clock: IoClock, rng: Rng
    ) -> None:
        self.host = host
        self.port = port
        self.framing = framing
        self._io_clock = io_clock
        self._resting = Resting[int](clock, rng)
        self._turns = Turns[int](_queue_full)
        self._connection: Connection | None = None
        self._closed = False
        self._opened_at = 0.0
        self._late: dict[int, float] = {}
        """RTU units whose answer may still come, and how long it is listened for (seconds from `_opened_at`)."""
        self._last_reply_at = 0.0

    @property
    def connected(self) -> bool:
        """Whether a sound connection is open."""
        return self._connection is not None and self._connection.spoiled is None

    def suspended(self, unit: int) -> bool:
        """Whether the unit is left alone at this moment."""
        return self._resting.suspended(unit)

    async def exchange(self, unit: int, pdu: bytes, timing: Timing, priority: Priority = Priority.POLL) -> bytes:
        """Send one request and give the register bytes of its reply (none for a write). Raises as `exchanges`."""
        return (await self.exchanges(unit, (pdu,), timing, priority))[0]

    async def exchanges(
        self, unit: int, pdus: Sequence[bytes], timing: Timing, priority: Priority = Priority.POLL
    ) -> list[bytes]:
        """Send some requests (at least one) to one unit, one after the other in one turn.

        Raises:
            ExceptionReply: the device refused; TQ-MB-20…31.
            ModbusFault: 01 no connection, 02 silence, 03 not Modbus, 04 unit, 05 function, 06 transaction, 07 length or
                echo, 08 closed, 09 unasked bytes, 40 queue full, 41 unit suspended, 42 address in back-off, 48 closed.

        """
        if not self._turns.take_free(unit, priority):
            await self._turns.take(unit, priority)
        while self._late and (left_s := await self._late_left_s(unit, timing, priority)) > 0:
            await self._io_clock.sleep(left_s)
            await self._turns.take(unit, priority)
        try:
            if not self._resting.idle and not priority.urgent:
                self._refuse_if_resting(unit)
            data = await self._run(unit, pdus, timing)
        except ExceptionReply as refusal:
            if refusal.absence is Absence.SILENT:  # the gateway says so in the unit's place
                self._resting.silent(unit)
            else:
                self._resting.answered(unit)
            raise
        finally:
            self._turns.give(unit)
        if not self._resting.idle:
            self._resting.answered(unit)
        return data

    async def _late_left_s(self, unit: int, timing: Timing, priority: Priority) -> float:
        """How long the unit's late answer is to be listened for yet. Unless 0, the turn is given back; also by a fault.

        The first connection after a silence listens: what a gateway had kept for nobody comes out of it.
        """
        if unit not in self._late or (not priority.urgent and self._resting.rests(unit)):
            return 0.0
        heard_out = False
        try:
            connection = await self._connected(timing)
            left_s = max(self._opened_at + self._late[unit] - self._io_clock.monotonic(), 0.0)
            if left_s == 0.0 and connection.midway:
                self._drop(remote_fault("TQ-MB-09", "half of a late answer came", "check the gateway's line"))
                left_s = self._late[unit]
            heard_out = left_s == 0.0
        finally:
            if not heard_out:
                self._turns.give(unit)
        if heard_out:
            del self._late[unit]
        return left_s

    async def _run(self, unit: int, pdus: Sequence[bytes], timing: Timing) -> list[bytes]:
        """Send, wait; only answers to believe leave the connection open."""
        connection = self._connection
        if connection is None or connection.spoiled is not None:
            connection = await self._connected(timing)
        elif timing.pause_s:
            await self._pause(timing.pause_s)
        try:
            return await connection.send(unit, pdus, timing.timeout_s, timing.pause_s)
        except ExceptionReply:
            raise
        except ModbusFault as fault:
            self._unanswered(unit, timing, fault)
            self._resting.silent(unit)
            raise
        except TimeoutError as error:
            silence = remote_fault(
                "TQ-MB-02",
                f"unit {unit} at {self.host}:{self.port} did not answer within {timing.timeout_s} s",
                "check the meter's supply, wiring and unit number",
            )
            self._unanswered(unit, timing, silence)
            self._resting.silent(unit)
            raise silence from error
        except asyncio.CancelledError:
            self._unanswered(unit, timing, _given_up())
            raise
        finally:
            if timing.pause_s:
                self._last_reply_at = self._io_clock.monotonic()

    async def _connected(self, timing: Timing) -> Connection:
        if self._closed:
            raise _driver_closed()
        connection = self._connection
        if connection is None or connection.spoiled is not None:
            connection = await self._connect(timing)
        return connection

    def release(self) -> None:
        """Close an idle connection to save sockets; the next call opens a new one. One that listens is not idle."""
        if self._connection is not None and not self._turns.waiting and not self._listening():
            self._drop(remote_fault("TQ-MB-08", "the idle connection was closed", "the next call opens a new one"))

    def _listening(self) -> bool:
        heard_s = self._io_clock.monotonic() - self._opened_at
        return any(late_s > heard_s for late_s in self._late.values())

    def close(self) -> None:
        """Close for good; waiting calls end with TQ-MB-48."""
        self._closed = True
        self._drop(_driver_closed())

    def _refuse_if_resting(self, unit: int) -> None:
        if (left_s := self._resting.address_left_s()) > 0:
            raise remote_fault(
                "TQ-MB-42",
                f"{self.host}:{self.port} did not accept a connection and is left alone for {left_s} s more",
                "check the gateway's supply and network",
            )
        if (left_s := self._resting.probe_left_s(unit)) > 0:
            raise remote_fault(
                "TQ-MB-41",
                f"unit {unit} at {self.host}:{self.port} stayed silent and is left alone for {left_s} s more",
                "check the meter's supply, wiring and unit number; it is probed once a minute",
            )

    async def _connect(self, timing: Timing) -> Connection:
        self._connection = None
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timing.connect_timeout_s):
                _, connection = await loop.create_connection(
                    lambda: Connection(self.framing, self._io_clock, self._late), self.host, self.port
                )
        except (OSError, TimeoutError, ValueError) as error:  # the last of a name that none can be
            self._resting.refused()
            raise remote_fault(
                "TQ-MB-01",
                f"{self.host}:{self.port} does not accept a connection ({type(error).__name__})",
                "check the address, the gateway's supply and the network",
            ) from error
        self._resting.accepted()
        self._connection = connection
        if self._closed:
            self._drop(_driver_closed())
            raise _driver_closed()
        self._opened_at = self._io_clock.monotonic()
        if timing.connect_delay_s:
            await self._settle(connection, timing.connect_delay_s)
        return connection

    async def _settle(self, connection: Connection, delay_s: float) -> None:
        """Let the gateway become ready; one that speaks meanwhile spoils the connection, and the call ends there."""
        try:
            await self._io_clock.sleep(delay_s)
        except BaseException:
            self._drop(_given_up())
            raise
        if connection.spoiled is not None:
            raise connection.spoiled

    async def _pause(self, pause_s: float) -> None:
        left_s = self._last_reply_at + pause_s - self._io_clock.monotonic()
        if left_s > 0:
            await self._io_clock.sleep(left_s)

    def _unanswered(self, unit: int, timing: Timing, fault: ModbusFault) -> None:
        """Book a request without an answer to believe: it may still come. Close the connection."""
        if self.framing is Framing.RTU:
            self._late[unit] = timing.timeout_s
        self._drop(fault)

    def _drop(self, fault: ModbusFault) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abandon(fault)


def _driver_closed() -> ModbusFault:
    return local_fault("TQ-MB-48", "the Modbus driver is closed", "the node is stopping; start it again")


def _queue_full(waiting: int) -> ModbusFault:
    return ModbusFault(
        "TQ-MB-40",
        f"{waiting} calls wait for this bus already",
        "poll these meters less often or spread them over more gateways",
        blame=Blame.LOCAL,
        hope=Hope.RETRY,
    )


def _given_up() -> ModbusFault:
    return ModbusFault(
        "TQ-MB-49", "the call was given up", "nothing to do: the caller went away", blame=Blame.LOCAL, hope=Hope.RETRY
    )
