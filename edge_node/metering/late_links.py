"""Changes of the network that came late: hours that were closed as if it were otherwise are closed again.

Room: metering; reading walk. A registry may tell today that a point has hung on another transformer since Monday, or
that a meter went in the morning. Energy belongs to the parents of its own hour, and nobody is missing where nothing
hangs: every hour since the change is touched, and hour close and day close do the rest. Level-triggered: a mark names
the registry whose hours these are, and that one is read again after a restart.
"""

from collections.abc import Iterable

from edge_node.metering.late_exchanges import LOOK_S, REACH_S
from edge_node.store.readings import Readings
from edge_node.store.registries import Registries
from edge_node.store.state import Mark, NodeState
from edge_node.wakeups import Wakeups
from gridmodel.clock import ClockTrust, UtilityClock
from gridmodel.network import Installation, TransformerLink
from gridmodel.period import HOUR_S, hour_end
from gridmodel.registry import Registry


class LateLinks:
    """Has hours closed again. `run` for ever, or `tick` when a test says so."""

    def __init__(
        self, *, readings: Readings, registries: Registries, state: NodeState, clock: UtilityClock, wakeups: Wakeups
    ) -> None:
        self._readings = readings
        self._registries = registries
        self._state = state
        self._clock = clock
        self._wakeups = wakeups
        self._known: Registry | None = None

    async def run(self) -> None:
        """Follow the registry, for ever."""
        while True:
            await self.tick(self._clock.now())
            await self._clock.sleep(LOOK_S)

    async def tick(self, now: int) -> int:
        """Compare the newest registry with the one before; gives how many hours are to be closed again."""
        registry = self._registries.newest
        if registry is None or registry is self._known or self._clock.trust() is ClockTrust.DOUBTFUL:
            return 0
        before = self._known or await self._earlier(registry)
        at = (
            None
            if before is None or before is registry
            else await self._readings.compute.run(changed_at, before, registry)
        )
        hours: range = range(0)
        if at is not None and at < now:
            hours = range(hour_end(max(at, now - REACH_S) + 1), hour_end(now) + 1, HOUR_S)
            await self._readings.touch(hours)
            self._wakeups.hour.set()
        await self._state.put(Mark.LINKS_TOLD, f"{registry.version} {registry.works}")
        self._known = registry
        return len(hours)

    async def _earlier(self, newest: Registry) -> Registry | None:
        """The registry of the mark, `newest` as a rule; None at a first start, and when it is no longer kept."""
        mark = await self._state.get(Mark.LINKS_TOLD)
        if mark is None:
            return None
        version, works = (int(part) for part in mark.split())
        if (version, works) == (newest.version, newest.works):
            return newest
        return await self._registries.earlier(version, works)


def changed_at(before: Registry, after: Registry) -> int | None:
    """Since when the two differ in what hangs where; None when they do not. Heavy: a task for `compute`.

    One meter in place of another changes nothing here, nor does what is written of it.
    """
    earlier, later = _spans(before), _spans(after)
    differing = {key for key in earlier.keys() | later.keys() if earlier.get(key) != later.get(key)}
    moments = (set(earlier.get(key, ())) ^ set(later.get(key, ())) for key in differing)
    return min((min(found) for found in moments if found), default=None)


def _spans(registry: Registry) -> dict[tuple[str, str], tuple[int, ...]]:
    """When meters stood at each point, and each point hung on each transformer: beginnings and ends, joined."""
    found: dict[tuple[str, str], list[tuple[int, int]]] = {}
    links: Iterable[tuple[tuple[str, str], Installation | TransformerLink]] = (
        *(((one.point, ""), one) for one in registry.installations),
        *(((one.usage_point, one.transformer), one) for one in registry.transformer_links),
    )
    for key, one in links:
        found.setdefault(key, []).append((one.valid_from, one.valid_to))
    return {key: _joined(spans) for key, spans in found.items()}


def _joined(spans: list[tuple[int, int]]) -> tuple[int, ...]:
    edges: list[int] = []
    for begun, ended in sorted(spans):
        if edges and edges[-1] == begun:
            edges[-1] = ended
        else:
            edges += [begun, ended]
    return tuple(edges)
