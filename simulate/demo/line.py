"""A line between an office and the hub that the demo can cut and heal, without any right on the machine.

Floor: simulate; on the walk of a link loss. Bytes pass through a port of its own; a cut line drops what is under way
and refuses what comes.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

CHUNK_BYTES = 65_536


@dataclass(slots=True)
class Cut:
    """A time without the line, in UTC seconds of utility time."""

    since: int
    until: int | None = None
    """None while it lasts."""


class Line:
    """Forwards connections to `target_port` while it is whole."""

    def __init__(self, port: int, target_port: int) -> None:
        self.port = port
        self.cuts: list[Cut] = []
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._under_way: set[asyncio.Task[None]] = set()

    @property
    def whole(self) -> bool:
        """Whether bytes pass."""
        return self._server is not None

    async def open(self) -> None:
        """Let bytes pass; OSError when the port is taken."""
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def cut(self, at: int) -> None:
        """Drop everything at once and refuse from now on; `at` is written down."""
        self.cuts.append(Cut(at))
        await self.close()

    async def heal(self, at: int) -> None:
        """Let bytes pass again."""
        await self.open()
        if self.cuts and self.cuts[-1].until is None:
            self.cuts[-1].until = at

    async def close(self) -> None:
        """Give the port back."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def dark(self, at: int) -> bool:
        """Whether the line was cut at that moment."""
        return any(one.since <= at and (one.until is None or at < one.until) for one in self.cuts)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._under_way.add(task)
        onward: asyncio.StreamWriter | None = None
        try:
            back, onward = await asyncio.open_connection("127.0.0.1", self._target_port)
            async with asyncio.TaskGroup() as both:
                both.create_task(_pump(reader, onward))
                both.create_task(_pump(back, writer))
        except OSError:
            return  # the hub is not there: the office sees a connection that ends
        except ExceptionGroup as group:
            _, others = group.split((ConnectionError, OSError))
            if others is not None:
                raise others from None
        except asyncio.CancelledError:
            return  # the line was cut
        finally:
            for one in (writer, onward):
                if one is not None:
                    one.transport.abort()
            if task is not None:
                self._under_way.discard(task)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Bytes from one side to the other, until the first one ends."""
    while data := await reader.read(CHUNK_BYTES):
        writer.write(data)
        await writer.drain()
    with suppress(OSError):
        writer.write_eof()
