"""`central-sync verify --node`: what the hub holds of a node's days, held against itself and the node. Above the rooms.

Three looks, in this order: the hub's own rows against the chunks they were made of (`balance.restoring`), those chunks
against the node's (the node is asked for a comparison and tells it when it is in touch), and the gap list. With
`repair` the hub's own rows are mended before and after; chunks that either side lacks are brought back in any case.

Codes: TQ-HB-61 an argument that does not fit.
"""

from dataclasses import asdict, dataclass
from typing import Any

from central_sync.balance.gap_list import Coverage
from central_sync.balance.restoring import DayRestore
from central_sync.ingest.completeness import Comparison, Completeness
from central_sync.ingest.region_link import RegionLink
from central_sync.store.port import HubStore, HubTransaction
from gridmodel.clock import Entropy, IoClock, UtilityClock
from gridmodel.fault import Fault
from gridmodel.identity import NodeId
from gridmodel.period import days_between, parse_day

LOOK_S = 0.5
"""Real seconds between two looks whether the node has answered."""
WAIT_S_MAX = 3_600
DAYS_MAX = 400
"""Local days of one call: each is worked out anew."""
TOLD_MAX = 100


@dataclass(frozen=True, slots=True)
class Verifying:
    """Everything it takes."""

    store: HubStore
    restore: DayRestore
    completeness: Completeness
    link: RegionLink
    coverage: Coverage
    clock: UtilityClock
    io_clock: IoClock
    entropy: Entropy

    async def verify(
        self, node: NodeId, first: str, last: str, *, repair: bool, wait_s: int, points: tuple[str, str] = ("", "~")
    ) -> dict[str, Any]:
        """See the module; fields as in docs/reference/central-sync.md. `wait_s`: real seconds for the node's answer."""
        first, last = parse_day(first).isoformat(), parse_day(last).isoformat()
        if not first <= last or len(days_between(first, last)) > DAYS_MAX or not 0 <= wait_s <= WAIT_S_MAX:
            raise Fault(
                "TQ-HB-61", "the days or the waiting time do not fit", f"at most {DAYS_MAX} days, the first first"
            )
        if await self.store.read(lambda tx: tx.node(node)) is None:
            raise Fault("TQ-HB-61", f"no node {node:.64} is known here", "central-sync nodes tells them")
        differences, restored = await self._own(node, first, last, repair=repair)
        request = await self.completeness.ask(node, first, last, self.entropy)
        answer = None if request is None else await self._answer(node, request, wait_s)
        if repair and answer is not None and answer.lacking + answer.given_back == 0:
            # chunks have come by now in which hours stand that were not there at the first look
            differences, again = await self._own(node, first, last, repair=True)
            restored += again
        state = _state(answer, request)
        return {
            "node": node,
            "from": first,
            "to": last,
            "state": state,
            "request": request,
            "comparison": None if answer is None else asdict(answer),
            "differences": differences[:TOLD_MAX],
            "restored": restored[:TOLD_MAX],
            "gaps": await self.coverage.gaps(node, first, last, self.clock.now(), points),
            "ok": state == "equal" and not differences,
        }

    async def _own(self, node: NodeId, first: str, last: str, *, repair: bool) -> tuple[list[str], list[str]]:
        """(what still differs, what was mended) of the hub's own rows."""

        async def verb(tx: HubTransaction) -> set[str]:
            held = {day for one, day in await tx.place_day_keys() if one == node}
            return held | {day for day, _ in await tx.chunk_days(node)}

        differences: list[str] = []
        restored: list[str] = []
        for day in sorted(day for day in await self.store.read(verb) if first <= day <= last):
            found = await self.restore.look(node, day)
            if repair and found:
                async with self.link.node_lock(node):
                    restored += [f"{day}: {what}" for what in await self.restore.mend(node, day)]
                found = await self.restore.look(node, day)
            differences += [f"{day}: {what}" for what in found]
        return differences, restored

    async def _answer(self, node: NodeId, request: str, wait_s: int) -> Comparison | None:
        """The node's last word to this request, once it is equal or the time is over."""
        until = self.io_clock.monotonic() + wait_s
        while True:
            latest = await self.completeness.latest(node)
            answer = latest if latest is not None and latest.request == request else None
            if answer is not None and answer.done and answer.lacking + answer.given_back == 0:
                return answer
            if self.io_clock.monotonic() >= until:
                return answer
            await self.io_clock.sleep(LOOK_S)


def _state(answer: Comparison | None, request: str | None) -> str:
    """equal, healing, differs, no_answer, never_compared: equal is what the hub has seen, not what the node says."""
    if request is None:
        return "never_compared"
    if answer is None:
        return "no_answer"
    if answer.lacking + answer.given_back or not answer.done:
        return "healing"
    return "differs" if answer.aside or answer.unasked > 0 or answer.beyond > 0 else "equal"
