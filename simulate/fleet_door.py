"""A window into a running fleet: JSON lines over a local socket. Floor: simulate; for the demo's report and for tests.

One request object a line, one reply object a line. `do` is one of: ``summary``; ``truth`` with `at` (UTC seconds):
every meter's registers as served; ``relays``: who is disconnected; ``moves``: every move of a relay since the fleet
began; ``silence`` with `meter` and `silent`; ``trouble`` with `meter`, `lost_replies` (share) and `slow_s` (wall
seconds). Of DLMS meters also, each with `meter`: ``keys`` with `wrong`, ``tamper`` with `code`, ``press``, ``clock``
with `error_s` and `drift_ppm`, ``meter`` to look at it, ``concentrator`` to look at the one before it.
"""

import asyncio
import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gridmodel.fault import Fault
from hosting.door import short_path
from simulate.face import kind_of
from simulate.fleet import NO_TROUBLE, SLOW_S_MAX, MeterFleet, Trouble

LINE_SIZE_MAX = 64_000
"""Requests are short; replies of a thousand meters come in one line to a reader without this limit."""


class DoorFault(Fault):
    """A question that the window does not know; code TQ-SM-20."""


class FleetDoor:
    """Serves one fleet's window on a unix socket."""

    def __init__(self, fleet: MeterFleet) -> None:
        self._fleet = fleet
        self._server: asyncio.Server | None = None
        self._path: Path | None = None

    async def start(self, path: Path) -> None:
        """Listen at `path`; OSError when that is not possible."""
        with short_path(path) as address:
            self._server = await asyncio.start_unix_server(self._serve, address, limit=LINE_SIZE_MAX)
        self._path = path

    def close(self) -> None:
        """Stop listening and take the socket away."""
        if self._server is not None and self._path is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)

    def reply(self, question: object) -> dict[str, Any]:
        """The answer to one request object; faults become ``{"error": {code, what, hint}}``."""
        try:
            return self._answer(question)
        except Fault as fault:
            return {"error": fault.as_dict()}

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                try:
                    question = json.loads(line)
                except ValueError:
                    question = None
                writer.write(json.dumps(self.reply(question)).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError):
            return
        finally:
            writer.close()

    def _answer(self, question: object) -> dict[str, Any]:
        if not isinstance(question, Mapping):
            raise DoorFault("TQ-SM-20", "the request is no JSON object", "send one object a line")
        match question.get("do"):
            case "summary":
                return self._summary()
            case "truth":
                return self._truth(question.get("at"))
            case "relays":
                truth = self._fleet.grid_truth
                is_open = [n for n in range(self._fleet.count) if not truth.connected(n)]
                return {"disconnected": [truth.grid.meters[n] for n in is_open]}
            case "moves":
                return {"moves": [asdict(move) for move in self._fleet.memory.moves]}
            case "silence":
                index = self._fleet.grid_truth.index(str(question.get("meter")))
                (self._fleet.silent.add if question.get("silent", True) else self._fleet.silent.discard)(index)
                return {"silent": [self._fleet.grid_truth.grid.meters[n] for n in sorted(self._fleet.silent)]}
            case "trouble":
                return self._trouble(question)
            case "keys" | "tamper" | "press" | "clock" | "meter" | "concentrator" as what:
                return self._fleet.meddle(self._index(question), what, dict(question))
            case other:
                raise DoorFault(
                    "TQ-SM-20",
                    f"{other!r:.40} is unknown here",
                    "ask for summary, truth, relays, moves, silence, trouble, keys, tamper, press, clock, meter, "
                    "concentrator",
                )

    def _index(self, question: Mapping[str, Any]) -> int:
        """The meter that is meant, if this fleet serves it."""
        index = self._fleet.grid_truth.index(str(question.get("meter")))
        if index >= self._fleet.count:
            raise DoorFault("TQ-SM-20", f"{question.get('meter')!r:.40} is not served here", "ask for its own fleet")
        return index

    def _trouble(self, question: Mapping[str, Any]) -> dict[str, Any]:
        fleet, index = self._fleet, self._index(question)
        lost, slow_s = question.get("lost_replies", 0.0), question.get("slow_s", 0.0)
        if not all(isinstance(one, int | float) and math.isfinite(one) for one in (lost, slow_s)):
            raise DoorFault("TQ-SM-20", "lost_replies and slow_s are numbers", "give a share and wall seconds")
        if not 0 <= lost <= 1 or not 0 <= slow_s <= SLOW_S_MAX:
            raise DoorFault("TQ-SM-20", f"a trouble of {lost} and {slow_s} s", f"0 to 1, and up to {SLOW_S_MAX:.0f} s")
        trouble = Trouble(float(lost), float(slow_s))
        if trouble == NO_TROUBLE:
            fleet.troubles.pop(index, None)
        else:
            fleet.troubles[index] = trouble
        return {"troubles": {fleet.grid_truth.grid.meters[n]: asdict(one) for n, one in sorted(fleet.troubles.items())}}

    def _summary(self) -> dict[str, Any]:
        fleet = self._fleet
        return {
            "meters": fleet.count,
            "served": fleet.served,
            "refused_writes": fleet.refused_writes,
            "silent": len(fleet.silent),
            "troubled": len(fleet.troubles),
            "now": fleet.clock.now(),
        }

    def _truth(self, at: object) -> dict[str, Any]:
        if not isinstance(at, int) or isinstance(at, bool) or at > self._fleet.clock.now():
            raise DoorFault("TQ-SM-20", f"{at!r:.40} is no past moment", "give `at` in UTC seconds, not in the future")
        truth = self._fleet.grid_truth
        grid = truth.grid
        meters = []
        for index in range(self._fleet.count):
            shown = truth.registers_at(index, at)
            meters.append(
                {
                    "meter": grid.meters[index],
                    "kind": kind_of(grid, index),
                    "multiplier": truth.multiplier(index),
                    "import_wh": shown.import_wh,
                    "export_wh": shown.export_wh,
                }
            )
        return {"at": at, "meters": meters}


async def ask_fleet(path: Path, question: Mapping[str, Any]) -> dict[str, Any]:
    """Ask a running fleet one question through its socket. Raises OSError, or DoorFault for its refusal."""
    with short_path(path) as address:
        reader, writer = await asyncio.open_unix_connection(address)
    try:
        writer.write(json.dumps(question).encode() + b"\n")
        await writer.drain()
        answer = json.loads(await _line(reader))
    finally:
        writer.close()
    if "error" in answer:
        raise DoorFault(**answer["error"])
    return dict(answer)


async def _line(reader: asyncio.StreamReader) -> bytes:
    """A line of any length."""
    parts = []
    while part := await reader.read(1 << 16):
        parts.append(part)
        if part.endswith(b"\n"):
            break
    return b"".join(parts)
