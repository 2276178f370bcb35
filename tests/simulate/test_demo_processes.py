"""The demo's children: started side by side, a death is named, all are ended; and the line that can be cut."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from simulate.demo.line import Line
from simulate.demo.plan import DemoFault
from simulate.demo.processes import Processes
from tests.simulate.rigs import free_listen

Story = Callable[[Processes], Awaitable[None]]


def fleet() -> tuple[str, ...]:
    listen = free_listen()
    return ("meters", "--count", "2", "--listen", f"{listen.host}:{23_000 + os.getpid() % 5_000}")


def with_processes(folder: Path, story: Story) -> Processes:
    async def main() -> Processes:
        processes = Processes(lambda name: folder / f"{name}.log")
        try:
            await story(processes)
        finally:
            await processes.stop()
        return processes

    return asyncio.run(main())


def test_a_child_is_ready_and_ends_in_order(tmp_path: Path) -> None:
    async def story(processes: Processes) -> None:
        await processes.start("meters", "simulate", fleet(), {})
        assert (await processes.ready())["meters"]["meters"] == 2

    assert with_processes(tmp_path, story).unclean == []


def test_a_child_that_is_killed_is_named_with_its_last_words(tmp_path: Path) -> None:
    async def story(processes: Processes) -> None:
        await processes.start("meters", "simulate", fleet(), {})
        await processes.ready()
        os.kill(processes.pids()["meters"], signal.SIGKILL)
        with pytest.raises(DemoFault, match="meters ended by itself with exit code -9") as caught:
            await processes.unless_dead(asyncio.ensure_future(asyncio.Event().wait()))
        assert caught.value.code == "TQ-SM-34"

    with_processes(tmp_path, story)


def test_a_child_that_cannot_start_is_named(tmp_path: Path) -> None:
    async def story(processes: Processes) -> None:
        await processes.start("meters", "simulate", ("meters", "--listen", "nowhere"), {})
        with pytest.raises(DemoFault, match="TQ-SM-34") as caught:
            await processes.ready()
        assert "TQ-SM-10" in caught.value.what

    with_processes(tmp_path, story)


def test_a_line_passes_bytes_until_it_is_cut_and_again_when_it_is_whole() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(100):
                writer.write(data.upper())
                await writer.drain()
        writer.close()

    async def asked(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"hello")
        answer = await reader.read(100)
        writer.close()
        return answer

    async def main() -> None:
        hub = await asyncio.start_server(echo, "127.0.0.1", 0)
        line = Line(24_000 + os.getpid() % 5_000, hub.sockets[0].getsockname()[1])
        await line.open()
        assert await asked(line.port) == b"HELLO"
        reader, writer = await asyncio.open_connection("127.0.0.1", line.port)
        writer.write(b"hello")
        assert await reader.read(100) == b"HELLO"
        await line.cut(1_000)
        with suppress(ConnectionError):
            assert await reader.read(100) == b"", "what was under way is dropped"
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asked(line.port)
        assert (line.whole, line.dark(1_500), line.dark(999)) == (False, True, False)
        await line.heal(2_000)
        assert await asked(line.port) == b"HELLO"
        assert (line.whole, line.dark(1_500), line.dark(2_000)) == (True, True, False)
        await line.close()
        hub.close()
        await asyncio.sleep(0)

    asyncio.run(main())
