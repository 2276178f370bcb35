"""What the demo says to the person in front of it: on stderr, compact, with an address to open. Floor: simulate.

On all walks. Without a terminal the same lines come out plain.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from gridmodel.period import local_time, parse_rfc3339
from gridmodel.quantity import rounded
from simulate.demo.cast import Cast, Part
from simulate.demo.plan import STORY_DAY, ZONE, DemoPlan
from simulate.demo.story import Step


class Narrator:
    """Speaks to a console."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def opening(self, plan: DemoPlan, root: str) -> None:
        """What is about to be built, and where it will be seen."""
        table = Table.grid(padding=(0, 2))
        table.add_row("hub", f"[bold cyan]{plan.hub}/[/]", "balances, nodes, consumers of the country")
        for node in plan.nodes:
            table.add_row("office", f"[bold cyan]{node.console}/[/]", escape(node.name))
        table.add_row("files", escape(root), "they stay")
        asked = plan.options
        title = f"A small country: offices {asked.nodes}, homes {asked.meters}, {asked.speed:g} x real time"
        self._console.print(Panel(table, title=title, expand=False))
        if not plan.hub.endswith(f":{asked.port}"):
            self.say(f"Port {asked.port} is taken by another program: the addresses above are free ones.")

    def say(self, text: str) -> None:
        """A line of its own."""
        self._line("", escape(text), "dim")

    def step(self, step: Step, at: int, words: Mapping[str, object]) -> None:
        """A step begins."""
        self._line(f"{local_time(at, ZONE):%H:%M}", escape(step.now.format_map(words)), "bold")
        self._line("", f"[cyan]watch[/] {escape(step.watch.format_map(words))}")

    def came(self, step: Step, at: int) -> None:
        """What a step waited for was seen."""
        if step.then:
            self._line(f"{local_time(at, ZONE):%H:%M}", escape(step.then), "green")

    def missed(self, step: Step, at: int) -> None:
        """What a step waited for did not come in time."""
        self._line(f"{local_time(at, ZONE):%H:%M}", f"{step.name} did not come about", "bold red")

    def report(self, report: Mapping[str, Any]) -> None:
        """The report for people."""
        energy, loss = report["energy_wh"], report["feeder_loss"]
        if report["steps_missing"]:
            self.say("The story was not told to its end, for which it needs 90 seconds at --speed 600. Until here:")
        equal = energy["meters"] == energy["edges"] == energy["hub"]
        table = Table.grid(padding=(0, 2))
        until = local_time(parse_rfc3339(energy["until"]), ZONE)
        table.add_row(
            "energy until", f"{until:%d %b %H:%M}", "equal to the watt-hour" if equal else "[red]NOT EQUAL[/]"
        )
        for place in ("meters", "edges", "hub"):
            table.add_row(f"  {place}", f"{energy[place]:,} Wh".replace(",", " "), "")
        table.add_row("lost, doubled", f"{report['lost']}, {report['doubled']}", "payments, batches, readings by id")
        dark = f"{report['cut_while_offline']}, {report['restored_while_offline']}"
        table.add_row("cut, restored offline", dark, "as the meters tell")
        elsewhere = report["paid_elsewhere"]
        third = "cut" if elsewhere["cut"] else "not cut"
        table.add_row("paid elsewhere", third, f"exposed: {report['exposed']}; {elsewhere['reason'] or ''}")
        table.add_row("days closed", str(report["days_closed"]), "")
        found = "not known yet" if loss["found_pct"] is None else f"{rounded(loss['found_pct'], 2)} %"
        table.add_row("loss of " + loss["feeder"], found, f"planted {loss['planted_pct']} %")
        if report["payments_of_visitors"]:
            visitors = str(report["payments_of_visitors"])
            table.add_row("payments of visitors", visitors, "taken at a desk beside the story")
        table.add_row("steps missing", ", ".join(report["steps_missing"]) or "none", "")
        table.add_row("violations", str(len(report["violations"])) if report["violations"] else "none", "")
        self._console.print(Panel(table, title="Report", expand=False))
        for one in (*report["lost_what"], *report["doubled_what"]):
            self._console.print(f"[red]{escape(one)}[/]")
        for one in report["violations"]:
            self._console.print(f"[red]{one['checker']} {one['node']}: {escape(one['what'])}[/]")
        programs = Path(sys.executable).parent
        asked = f"balance --config {escape(report['hub_config'])} --at {STORY_DAY}"
        self._line("", f"{programs / 'central-sync'} {asked}", "dim")
        self._line("", f"All of it stays in {escape(report['dir'])} until you remove that folder.", "dim")

    def _line(self, clock: str, text: str, style: str = "") -> None:
        """A time and what is said, in two columns on a screen and in one line elsewhere."""
        if not self._console.is_terminal:
            self._console.print(f"{clock:5}  {text}", soft_wrap=True)
            return
        grid = Table.grid(padding=(0, 2))
        grid.add_column(width=5)
        grid.add_column()
        grid.add_row(clock, text, style=style)
        self._console.print(grid)


def words_of(plan: DemoPlan, cast: Cast) -> dict[str, object]:
    """What stands in the braces of the story's sentences."""
    first, second = plan.nodes[0], plan.nodes[1 if len(plan.nodes) > 1 else 0]
    points = {one.part.value: str(one.point.id) for one in reversed(cast.consumers) if one.part is not Part.EVERYBODY}
    return {
        "meters": plan.options.meters,
        "hub": plan.hub,
        "office": first.console,
        "other": second.console,
        "first": first.name,
        "second": second.name,
        "day": STORY_DAY,
        Part.NEIGHBOUR.value: "",
    } | points
