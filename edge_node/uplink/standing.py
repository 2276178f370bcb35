"""Whether this store goes on as its node, and whether the hub went back: told by attestations. Room: uplink; link loss.

One exchange after every greeting and every `PERIOD_S` while the link is up (`protocols.sync.attest`). Until the first
answer after a greeting, and while another copy of this node is the one that goes on, nothing is sent up: two copies
would fork each other's lanes for ever. The mark FENCED stands in the store meanwhile, so that nothing is cut, whatever
becomes of the link. What comes down is still taken in: payments restore.
"""

import json
from collections.abc import Awaitable, Callable, Mapping

from edge_node.store.alarms import clear_alarm, raise_alarm
from edge_node.store.downlink import Downlink
from edge_node.store.state import Mark, forget_mark, read_mark, read_marks, write_mark
from edge_node.uplink.reconciliation import Reconciliation
from gridmodel.clock import Entropy, UtilityClock
from gridmodel.event import AlarmKind
from gridmodel.identity import NodeId
from hosting.database import Connection, Database
from hosting.log import logger
from protocols.authority.signatures import Signer
from protocols.sync.attest import TICKET_BYTES, Attest, AttestReply, Copy, lower_heads
from protocols.sync.lanes import NONCE_BYTES
from protocols.sync.link import LinkLost
from protocols.sync.seal import sign_attest

PERIOD_S = 300
"""Utility seconds between two attestations of a copy that goes on: a third of what another one waits for."""
WAITING_S = 60
"""The same of a copy that waits."""
UNSUPPORTED_S = 24 * 3_600
"""After a hub that knows no attestations."""

Exchange = Callable[[str, bytes], Awaitable[bytes]]


class StandingRoom:
    """Tickets, the hub's counters, and the mark FENCED of one store."""

    def __init__(
        self,
        *,
        node: NodeId,
        control: Database,
        downlink: Downlink,
        reconciliation: Reconciliation,
        clock: UtilityClock,
        entropy: Entropy,
        signer: Signer,
    ) -> None:
        self._node = node
        self._control = control
        self._downlink = downlink
        self._reconciliation = reconciliation
        self._clock = clock
        self._entropy = entropy
        self._signer = signer
        self._due_at = 0
        self._goes_on = False
        self._log = logger("uplink")

    @property
    def holds_back(self) -> bool:
        """Whether nothing may be sent up: not yet asked since the greeting, or another copy goes on."""
        return not self._goes_on

    @property
    def due_at(self) -> int:
        """When the next attestation is due, UTC seconds."""
        return self._due_at

    def greeted(self) -> None:
        """The hub was greeted: attest before anything goes up."""
        self._due_at = 0
        self._goes_on = False

    def due(self, now: int) -> bool:
        """Whether to attest now; also after a clock was set back."""
        return not now < self._due_at <= now + UNSUPPORTED_S

    async def step(self, exchange: Exchange) -> AttestReply | None:
        """Attest once and make the answer durable; None from a hub that knows no attestations."""
        now = self._clock.now()
        attest, fenced = await self._attest(now)
        try:
            data = await exchange("attest", sign_attest(attest, self._signer).to_bytes())
        except LinkLost as fault:
            if not fault.unknown_kind:
                raise
            self._goes_on, self._due_at = True, now + UNSUPPORTED_S
            return None
        reply = AttestReply.from_bytes(data)
        now = self._clock.now()
        if reply.copy is Copy.ANOTHER:
            await self._control.write(lambda conn: self._fence(conn, reply, now))
            self._goes_on, self._due_at = False, now + max(1, min(reply.wait_s, WAITING_S))
            self._log.warning("another_copy_goes_on", wait_s=reply.wait_s)
        else:
            await self._control.write(lambda conn: self._confirm(conn, attest.next_ticket, now, fenced=fenced))
            self._goes_on, self._due_at = True, now + PERIOD_S
        await self._judge_heads(reply, attest.heads, now)
        if reply.copy is Copy.TOOK_OVER and await self._control.read(_not_rolled_back):
            await self._reconciliation.moved("this store goes on in the place of another copy of the node", now)
            await self._reconciliation.went_back("another copy spoke since", now)
        return reply

    async def _attest(self, now: int) -> tuple[Attest, bool]:
        """The message, its ticket drawn and durable, and whether another copy went on before."""
        drawn = self._entropy.token(TICKET_BYTES).hex()

        async def verb(conn: Connection) -> dict[Mark, str]:
            marks = await read_marks(conn, (Mark.TICKET, Mark.NEXT_TICKET, Mark.FENCED, Mark.HUB_HEADS))
            if Mark.NEXT_TICKET not in marks:
                await write_mark(conn, Mark.NEXT_TICKET, drawn)
            return {Mark.NEXT_TICKET: drawn} | marks

        marks = await self._control.write(verb)
        fenced = marks.get(Mark.FENCED)
        return Attest(
            node=self._node,
            ticket=bytes.fromhex(marks.get(Mark.TICKET, "")),
            next_ticket=bytes.fromhex(marks[Mark.NEXT_TICKET]),
            challenge=b"" if fenced is None else bytes.fromhex(json.loads(fenced)["challenge"]),
            tails=await self._downlink.tails(),
            heads=json.loads(marks.get(Mark.HUB_HEADS, "{}")),
            signed_at=now,
            nonce=self._entropy.token(NONCE_BYTES),
            key_id=self._signer.key_id,
        ), fenced is not None

    async def _confirm(self, conn: Connection, ticket: bytes, now: int, *, fenced: bool) -> None:
        await write_mark(conn, Mark.TICKET, ticket.hex())
        await forget_mark(conn, Mark.NEXT_TICKET)
        if fenced:  # the alarm was raised with the mark
            await forget_mark(conn, Mark.FENCED)
            await clear_alarm(conn, AlarmKind.NODE_COPIED, self._node, now)

    async def _fence(self, conn: Connection, reply: AttestReply, now: int) -> None:
        before = await read_mark(conn, Mark.FENCED)
        since = now if before is None else json.loads(before)["since"]
        told = {"since": since, "wait_s": reply.wait_s, "challenge": reply.challenge.hex()}
        await write_mark(conn, Mark.FENCED, json.dumps(told, sort_keys=True))
        detail = "another copy of this node speaks with the hub: this one waits, sends nothing, cuts nobody"
        await raise_alarm(conn, AlarmKind.NODE_COPIED, self._node, detail, now)

    async def _judge_heads(self, reply: AttestReply, highest: Mapping[str, int], now: int) -> None:
        """Keep the highest of each counter; a lower one, or another item under a number, is a hub that went back."""
        sunk = lower_heads(reply.heads, highest)
        if reply.refetch or sunk:
            parts = [f"{name} {told}, {before} before" for name, (told, before) in sorted(sunk.items())]
            parts += [f"another item in lane {lane.value}" for lane in reply.refetch]
            await self._reconciliation.rolled_back(f"the hub went back: {'; '.join(parts)}", now)
        risen = {name: max(at, highest.get(name, 0)) for name, at in reply.heads.items()}
        if risen != highest:
            text = json.dumps(risen, sort_keys=True)
            await self._control.write(lambda conn: write_mark(conn, Mark.HUB_HEADS, text))


async def _not_rolled_back(conn: Connection) -> bool:
    return await read_mark(conn, Mark.HUB_ROLLED_BACK) is None
