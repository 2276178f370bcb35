"""The demo's stage: which processes run, which lines are whole, and how its people speak to them. Floor: simulate.

On all walks. Operators use the doors that `central-sync` and `edge-node` use, the cashier types `edge-node pay`; relays
are looked at through the window of the meters, never through the product.
"""

import asyncio
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gridmodel.period import rfc3339
from hosting.clocks import ScaledClock, clock_to_environment
from hosting.door import call_door
from simulate.book import Book
from simulate.demo.cast import CHANNELS, Cast, bills_csv, notices_csv, payments_csv, protections_csv, weather_csv
from simulate.demo.files import CASHIER, DemoFiles
from simulate.demo.line import Line
from simulate.demo.plan import DemoFault, DemoPlan, NodePlan
from simulate.demo.processes import Processes
from simulate.fleet_door import ask_fleet

HUB = "hub"


@dataclass(slots=True)
class Stage:
    """Everything that the story's acts touch."""

    plan: DemoPlan
    files: DemoFiles
    cast: Cast
    book: Book
    processes: Processes
    wall: Callable[[], float]
    """UTC seconds of the real calendar."""
    clock: ScaledClock = field(default_factory=ScaledClock)
    lines: dict[str, Line] = field(default_factory=dict)
    """By node."""
    reasons: list[str] = field(default_factory=list)
    """What the office said about the one who paid elsewhere."""

    async def open_lines(self) -> None:
        """Connect every office with the hub."""
        for node in self.plan.nodes:
            self.lines[node.id] = line = Line(node.line_port, self.plan.sync_port)
            await line.open()

    async def close_lines(self) -> None:
        """Give their ports back."""
        for line in self.lines.values():
            await line.close()

    async def raise_curtain(self, utility: int, in_s: float, speed: float, nodes: tuple[NodePlan, ...]) -> None:
        """Start hub, meters and offices side by side, their calendar at `utility` in `in_s` real seconds.

        Gives the floor to them when all are ready. Raises DemoFault.
        """
        origin_wall = self.wall() + in_s
        self.clock = ScaledClock(utility, origin_wall, speed)
        environ = clock_to_environment(utility, origin_wall, speed)
        await self.processes.start(HUB, "central_sync", ("run", "--config", str(self.files.hub)), environ)
        for node in nodes:
            fleet: dict[str, object] = {
                "--grid": self.files.grid(node.id),
                "--listen": f"{node.fleet.host}:{node.fleet.port}",
                "--window": self.files.window(node.id),
                "--memory": self.files.relays(node.id),
            }
            if node.dlms is not None:
                fleet["--dlms-port"] = node.dlms.port
            options = [str(part) for option in fleet.items() for part in option]
            await self.processes.start(f"meters-{node.id}", "simulate", ("meters", *options), environ)
            run = ("run", "--config", str(self.files.node(node.id)))
            await self.processes.start(f"office-{node.id}", "edge_node", run, environ)
        await self.processes.ready()

    async def hub(self, verb: str, **body: Any) -> dict[str, Any]:
        """A verb of the hub's local door. Raises DoorFault."""
        return await call_door(self.files.hub_data / "hub.door", verb, body)

    async def office(self, node: str, verb: str, **body: Any) -> dict[str, Any]:
        """A verb of an office's local door. Raises DoorFault."""
        return await call_door(self.files.node_data(node) / "node.door", verb, body)

    async def meters(self, node: str, do: str, **question: Any) -> dict[str, Any]:
        """A look through the window into an office's meters. Raises OSError or the window's DoorFault."""
        return await ask_fleet(self.files.window(node), {"do": do, **question})

    async def dark(self, node: str, meter: str) -> bool:
        """Whether the relay of that meter is open, as the meter itself knows."""
        return meter in (await self.meters(node, "relays"))["disconnected"]

    async def import_registries(self) -> None:
        """Bring every office's registry to the hub."""
        for node in self.plan.nodes:
            await self.hub("import-registry", path=str(self.files.paper(f"registry-{node.id}.json")))

    async def import_papers(self) -> None:
        """Bring debts, notices and protections, as billing does once a month."""
        await self._ledger("billing", "bills.csv", bills_csv(self.cast), complete=False)
        for channel in CHANNELS:
            paid = [one for one in self.book.all_payments() if one.channel == channel]
            await self._ledger(channel, f"{channel}-first.csv", payments_csv(paid))
        await self._records("notice", "notices.csv", notices_csv(self.cast))
        await self._records("protection", "protections.csv", protections_csv(self.cast))

    async def import_weather(self) -> None:
        """Bring a forecast of this moment."""
        at = self.clock.now()
        await self._records("weather", f"weather-{at}.csv", weather_csv(self.plan, at))

    async def import_watermarks(self) -> None:
        """Let every channel say that it has told all payments up to now."""
        for channel in CHANNELS:
            await self._ledger(channel, f"{channel}-{self.clock.now()}.csv", payments_csv(()))

    async def import_payment(self, channel: str, payment_id: str) -> None:
        """Bring one payment of the book, as its channel's feed does, and mark it as kept."""
        payment = next(one for one in self.book.all_payments() if one.id == payment_id)
        await self._ledger(channel, f"{payment_id}.csv", payments_csv((payment,)))
        payment.acknowledged_at = self.clock.now()

    async def publish_mandates(self, day: str) -> None:
        """Let the hub carry the mandates that two persons signed for that day."""
        for node in self.plan.nodes:
            document = self.files.mandate(node.id, day).read_text("utf-8")
            await self.hub("mandate-publish", document=document)

    async def pay_at_office(self, node: str, account: str, amount_som: str, request: str) -> dict[str, Any]:
        """`edge-node pay`, typed by the cashier. Raises DemoFault TQ-SM-35 with what the command said."""
        arguments = ("pay", "--config", str(self.files.node(node)), "--account", account, "--amount", amount_som)
        who = ("--cashier", CASHIER, "--secret-file", str(self.files.secret(CASHIER)), "--request", request, "--json")
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "edge_node",
            *arguments,
            *who,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=dict(os.environ),
        )
        try:
            said, told = await process.communicate()
        finally:
            if process.returncode is None:  # the demo is being stopped
                process.kill()
                await process.wait()
        if process.returncode != 0:
            what = f"edge-node pay ended with {process.returncode}: {told.decode('utf-8', 'replace'):.400}"
            raise DemoFault("TQ-SM-35", what, "look at the office's log")
        return dict(json.loads(said))

    async def _ledger(self, channel: str, name: str, text: str, *, complete: bool = True) -> None:
        path = self._written(name, text)
        until = rfc3339(self.clock.now()) if complete else ""
        report = await self.hub("import-ledger", path=path, channel=channel, complete_up_to=until)
        _whole(report, name)

    async def _records(self, kind: str, name: str, text: str) -> None:
        _whole(await self.hub("import-records", path=self._written(name, text), kind=kind), name)

    def _written(self, name: str, text: str) -> str:
        path: Path = self.files.paper(name)
        path.write_text(text, "utf-8")
        return str(path)


def _whole(report: dict[str, Any], name: str) -> None:
    """An import of the demo's own papers has no mistakes."""
    if not report["done"] or report["mistakes"]:
        raise DemoFault("TQ-SM-36", f"the hub did not take {name}: {report}", "look at the hub's log")
