"""Which copy of a node goes on, and how far this hub has ever got. Floor: central_sync/ingest; walk: link loss.

Answers `protocols.sync.attest`: judges the node's ticket, tells the counters that never sink, and holds what the node
took down against the log. A copy that waits can tell nobody, so the hub raises the alarm itself, and ends it when one
copy alone is heard.
"""

from central_sync.ingest.refilling import note_went_back
from central_sync.store.port import HubStore, HubTransaction
from central_sync.store.rows import HUB, AlarmRow
from gridmodel.clock import Entropy, UtilityClock
from gridmodel.event import AlarmKind
from gridmodel.identity import NodeId
from hosting.log import logger
from protocols.sync.attest import TICKET_BYTES, Attest, AttestReply, Copy, Held, Judged, judge_copy, lower_heads
from protocols.sync.lanes import DownLane


class Attesting:
    """Answers attestations; the caller holds the node's turn."""

    def __init__(self, *, store: HubStore, clock: UtilityClock, entropy: Entropy) -> None:
        self._store = store
        self._clock = clock
        self._entropy = entropy
        self._log = logger("ingest")

    def read(self, body: bytes) -> Attest:
        """The message; raises WireFault or MessageFault."""
        return Attest.from_bytes(body)

    async def answer(self, attest: Attest, incarnation: str) -> AttestReply:
        """Judge it, remember the answer, then give it."""
        now, fresh = self._clock.now(), self._entropy.token(TICKET_BYTES)

        async def verb(tx: HubTransaction) -> AttestReply:
            held = await tx.ticket(attest.node)
            judged = judge_copy(attest, held, now, fresh)
            await tx.put_ticket(attest.node, judged.held)
            await _tell(tx, attest.node, held, judged, now)
            heads = await tx.standing_heads(attest.node)
            if sunk := lower_heads(heads, attest.heads):
                await note_went_back(tx, incarnation, attest.node, sorted(sunk), now)
            return AttestReply(
                hub_incarnation=incarnation,
                hub_time=now,
                copy=judged.copy,
                wait_s=judged.wait_s,
                challenge=judged.held.challenge if judged.copy is Copy.ANOTHER else b"",
                heads=heads,
                refetch=await _other_tails(tx, attest),
            )

        reply = await self._store.write_for(attest.node, verb)
        if reply.copy is not Copy.GOES_ON:
            self._log.warning("copy_of_a_node", node=attest.node, copy=reply.copy.value, wait_s=reply.wait_s)
        return reply


async def _other_tails(tx: HubTransaction, attest: Attest) -> tuple[DownLane, ...]:
    """Lanes of which the node took another last item than this hub has under its number."""
    found = []
    for lane, (offset, digest) in sorted(attest.tails.items()):
        if await tx.down_tail(attest.node, lane, offset) != (offset, digest):
            found.append(lane)
    return tuple(found)


async def _tell(tx: HubTransaction, node: NodeId, before: Held | None, judged: Judged, now: int) -> None:
    """Raise the alarm at the first word of a second copy, clear it when that one is gone or has taken over."""
    challenge, standing = judged.held.challenge, b"" if before is None else before.challenge
    if challenge == standing:
        return
    if standing:
        await tx.put_alarms([_alarm(node, standing, now, now)])
    if challenge:
        await tx.put_alarms([_alarm(node, challenge, now, None)])


def _alarm(node: NodeId, challenge: bytes, at: int, cleared_at: int | None) -> AlarmRow:
    detail = "two stores speak as this node: one waits and cuts nobody; switch off the one that is not to go on"
    return AlarmRow(HUB, f"copy-{challenge.hex()}", AlarmKind.NODE_COPIED.value, node, at, detail, cleared_at)
