"""Telling pages that something changed, without saying what: they ask again. Room: situation; on no walk."""

import asyncio


class Changes:
    """A number that rises with every commit a page would show, and a way to wait for it."""

    def __init__(self) -> None:
        self.number = 0
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Something was committed."""
        self.number += 1
        rung, self._rung = self._rung, asyncio.Event()
        rung.set()

    async def after(self, number: int) -> int:
        """Wait until the number is above `number`; gives the present one. Many commits may have become one."""
        while self.number <= number:
            await self._rung.wait()
        return self.number
