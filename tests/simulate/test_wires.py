"""Connections in memory: order, delay, refusal, and ends that hear of each other."""

import asyncio
from collections.abc import Coroutine
from typing import Any, cast

import pytest

from simulate.loop import RefusedInVirtualTime, VirtualLoop, run_virtual
from simulate.wires import Wires

PLACE = ("127.1.0.1", 502)


class Party(asyncio.Protocol):
    """Keeps what it hears, and when."""

    def __init__(self) -> None:
        self.heard: list[tuple[float, bytes]] = []
        self.lost_at: float | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.heard.append((asyncio.get_running_loop().time(), data))

    def connection_lost(self, exc: Exception | None) -> None:
        assert exc is None
        self.lost_at = asyncio.get_running_loop().time()

    @property
    def line(self) -> asyncio.Transport:
        assert self.transport is not None
        return self.transport


def on_wires(story: "Any", delays: tuple[float, ...] = (0.5,)) -> None:
    """`story(meter, wires)` on a loop with one place; its delays come round and round."""
    loop = VirtualLoop()
    wires, meter = Wires(loop), Party()
    loop.connector = wires.connect
    count = iter(range(10_000))
    wires.listen("n1", PLACE, lambda: meter, lambda: delays[next(count) % len(delays)])
    work: Coroutine[Any, Any, None] = story(meter, wires)
    run_virtual(work, loop=loop)


async def connected() -> Party:
    _, client = await asyncio.get_running_loop().create_connection(Party, *PLACE)
    return client


def test_bytes_take_their_time_and_keep_their_order() -> None:
    async def story(meter: Party, _wires: Wires) -> None:
        client = await connected()
        assert asyncio.get_running_loop().time() == 4, "there and back, before anything is said"
        client.line.write(b"first")
        client.line.write(b"second")
        await asyncio.sleep(5)
        meter.line.write(b"answer")
        await asyncio.sleep(5)
        assert meter.heard == [(7, b"first"), (7, b"second")], "a quicker one never overtakes"
        assert [data for _, data in client.heard] == [b"answer"]

    on_wires(story, (1.0, 3.0, 3.0, 1.0))


def test_an_end_is_heard_at_the_other_behind_the_last_bytes() -> None:
    async def story(meter: Party, _wires: Wires) -> None:
        client = await connected()
        client.line.write(b"last words")
        client.line.close()
        assert client.line.is_closing()
        client.line.write(b"too late")
        await asyncio.sleep(2)
        assert [data for _, data in meter.heard] == [b"last words"]
        assert client.lost_at == 1.0
        assert meter.lost_at == 1.5

    on_wires(story)


def test_nothing_arrives_at_an_end_that_was_given_up() -> None:
    async def story(meter: Party, _wires: Wires) -> None:
        client = await connected()
        meter.line.write(b"late answer")
        client.line.abort()
        await asyncio.sleep(2)
        assert client.heard == []

    on_wires(story)


def test_the_connections_of_a_dead_process_end() -> None:
    async def story(meter: Party, wires: Wires) -> None:
        await connected()
        wires.cut("n2")
        await asyncio.sleep(1)
        lost = [meter.lost_at]
        wires.cut("n1")
        await asyncio.sleep(1)
        lost.append(meter.lost_at)
        assert lost == [None, 2.5]
        assert wires.connections == 1

    on_wires(story)


def test_where_nobody_listens_it_is_refused() -> None:
    async def story(_meter: Party, _wires: Wires) -> None:
        with pytest.raises(ConnectionRefusedError):
            await asyncio.get_running_loop().create_connection(Party, "127.1.0.2", 502)

    on_wires(story)


def test_without_wires_and_with_options_of_sockets_it_is_no_connection() -> None:
    async def nobody() -> None:
        with pytest.raises(RefusedInVirtualTime):
            await asyncio.get_running_loop().create_connection(Party, *PLACE)

    async def encrypted(_meter: Party, _wires: Wires) -> None:
        with pytest.raises(RefusedInVirtualTime):
            await asyncio.get_running_loop().create_connection(Party, *PLACE, ssl=True)

    run_virtual(nobody(), loop=VirtualLoop())
    on_wires(encrypted)
