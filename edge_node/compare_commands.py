"""The command that has an office's days compared with the hub's now. Above the rooms; on the walk of link loss."""

from typing import Any

from edge_node.commands import through_door
from edge_node.config import NodeConfig
from gridmodel.clock import IoClock
from hosting.process import Exit

LOOK_S = 0.5
"""Real seconds between two looks whether it is done."""
EXITS = {"equal": Exit.OK, "differs": Exit.FAILED, "healing": Exit.PARTLY, "running": Exit.PARTLY}
"""By the state of the comparison; any other is that of a hub out of reach."""


async def compare(config: NodeConfig, first: str, last: str, wait_s: float, io_clock: IoClock) -> dict[str, Any]:
    """Ask the running node, and wait so many real seconds for its last word."""
    asked = await through_door(config, "compare", {"first": first, "last": last})
    until = io_clock.monotonic() + wait_s
    while True:
        found = (await through_door(config, "status", {}))["completeness"]
        mine = found if found is not None and found["request"] == asked["request"] else None
        state = "no_answer" if mine is None else mine["state"]
        if state in {"equal", "differs", "unsupported"} or io_clock.monotonic() >= until:
            return {"ok": state == "equal", "state": state, "request": asked["request"], "comparison": mine}
        await io_clock.sleep(LOOK_S)
