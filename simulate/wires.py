"""TCP in memory and virtual time: drivers and meters exchange their real bytes here. Floor: simulate; walk: reading.

`VirtualLoop.create_connection` leads here when a rehearsal has wires. Each way of a connection keeps the order of its
bytes and takes the delay that its place has at that moment. What goes wrong on a wire (silence, lost answers) is made
by the meters behind it; here connections are refused, or cut off when a process dies.
"""

import asyncio
from collections.abc import Callable
from typing import Any

Factory = Callable[[], asyncio.BaseProtocol]
Delay = Callable[[], float]
"""Virtual seconds that the next bytes take one way."""


class WireEnd(asyncio.Transport):
    """One end of a connection. `abort` and `close` end both."""

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: asyncio.BaseProtocol, place: tuple[str, int]) -> None:
        super().__init__({"peername": place})
        self._loop = loop
        self._protocol = protocol
        self._peer: WireEnd | None = None
        self._delay: Delay = _at_once
        self._arrives_at = 0.0
        """When the last bytes sent from here arrive: later ones never overtake them."""
        self._ended = False

    def couple(self, peer: "WireEnd", delay: Delay) -> None:
        """Where what is written here comes out."""
        self._peer, self._delay = peer, delay

    def write(self, data: Any) -> None:
        """Send; lost when the connection has ended."""
        if not self._ended and self._peer is not None:
            self._loop.call_at(self._arrival(), self._peer.take, bytes(data))

    def take(self, data: bytes) -> None:
        """Bytes arrive."""
        if self._ended:
            return
        if isinstance(self._protocol, asyncio.Protocol):
            self._protocol.data_received(data)
        elif isinstance(self._protocol, asyncio.BufferedProtocol):
            self._fill(self._protocol, data)

    def _fill(self, protocol: asyncio.BufferedProtocol, data: bytes) -> None:
        while data and not self._ended:
            buffer = memoryview(protocol.get_buffer(len(data)))
            size = min(len(buffer), len(data))
            buffer[:size] = data[:size]
            protocol.buffer_updated(size)
            data = data[size:]

    def is_closing(self) -> bool:
        """Whether nothing more can be written."""
        return self._ended

    def close(self) -> None:
        """End it; the other end hears of it behind the last bytes."""
        self.abort()

    def abort(self) -> None:
        """End it: nothing arrives here any more, and the other end hears of it behind the last bytes."""
        if not self._ended:
            self.lose()
            if self._peer is not None:
                self._loop.call_at(self._arrival(), self._peer.lose)

    def lose(self) -> None:
        """The connection is gone; its protocol is told."""
        if not self._ended:
            self._ended = True
            self._loop.call_soon(self._protocol.connection_lost, None)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Who is told."""
        return self._protocol

    def _arrival(self) -> float:
        self._arrives_at = max(self._arrives_at, self._loop.time() + self._delay())
        return self._arrives_at


class Wires:
    """All places of a rehearsal that can be connected to."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._places: dict[tuple[str, int], tuple[str, Factory, Delay]] = {}
        self._open: dict[str, list[WireEnd]] = {}
        self.connections = 0
        """Accepted since the beginning."""

    def listen(self, owner: str, place: tuple[str, int], factory: Factory, delay: Delay) -> None:
        """Accept connections at `place`; `owner` is whose process opens them, and dies with them."""
        self._places[place] = (owner, factory, delay)

    async def connect(
        self, factory: Callable[[], asyncio.BaseProtocol], host: str, port: int
    ) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
        """As `create_connection`: one way there and one back. Raises ConnectionRefusedError where nobody listens."""
        place = (host, port)
        found = self._places.get(place)
        if found is None:
            raise ConnectionRefusedError(f"nobody listens at {host}:{port}")
        owner, make_server, delay = found
        if (there_and_back_s := delay() + delay()) > 0:
            await asyncio.sleep(there_and_back_s)
        client, server = factory(), make_server()
        near, far = WireEnd(self._loop, client, place), WireEnd(self._loop, server, place)
        near.couple(far, delay)
        far.couple(near, delay)
        self.connections += 1
        ends = self._open.setdefault(owner, [])
        ends[:] = [end for end in ends if not end.is_closing()]
        ends.append(near)
        server.connection_made(far)
        client.connection_made(near)
        return near, client

    def cut(self, owner: str) -> None:
        """The process that opened them is dead: all its connections end."""
        for end in self._open.pop(owner, []):
            end.abort()


def _at_once() -> float:
    return 0.0
