"""Everything that moves the state of sync, as data and pure functions. Floor: protocols; on the walk of link loss.

Three questions are answered here and nowhere else: what may follow what on the link (`LINK_TABLE`), how two marks of a
lane stand to each other when a node greets (`compare`), and what the hub does with a batch (`judge`). No clock, no
store, no socket: what was durable when the question was asked comes in as arguments, and the caller keeps the question
and its answer in one transaction.

    LOST       nothing is known of the other side; a wait with jitter, then a hello
    GREETING   a hello is on its way
    LIVE       both sides agree on the marks; batches flow. A lane that contradicts the hub is *forked*: it rests, the
               others flow, and another hello asks for its new epoch
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from gridmodel.identity import NodeId
from protocols.authority.signatures import SignatureRefused, Verification
from protocols.errors import Blame, Hope, ProtocolFault
from protocols.sync.batch import Batch, BatchHeader
from protocols.sync.lanes import EPOCH_MAX, ZERO_HASH, AckOutcome, Lane, LaneMark, fresh_mark
from protocols.sync.messages import Ack, Hello

FIRST_EPOCH = 1
"""The epoch of a lane before any fork."""


class SessionFault(ProtocolFault):
    """The other side broke the order of things (TQ-SY-60), or our own host did (then `blame` is local)."""

    def __init__(self, what: str, *, blame: Blame = Blame.REMOTE) -> None:
        super().__init__(
            "TQ-SY-60",
            what,
            "nothing is lost; the session starts anew, report it if it lasts",
            blame=blame,
            hope=Hope.RETRY,
        )


class LinkState(StrEnum):
    """How the link to the hub stands; see the module."""

    LOST = "lost"
    GREETING = "greeting"
    LIVE = "live"


class LinkEvent(StrEnum):
    """What can happen to the link."""

    HELLO_SENT = "hello_sent"
    AGREED = "agreed"
    """A welcome came."""
    FAILED = "failed"
    """An exchange gave no whole reply, or a wrong one."""
    HUB_CHANGED = "hub_changed"
    """A reply names another incarnation than the welcome did."""


LINK_TABLE: Mapping[LinkState, Mapping[LinkEvent, LinkState]] = {
    LinkState.LOST: {LinkEvent.HELLO_SENT: LinkState.GREETING, LinkEvent.FAILED: LinkState.LOST},
    LinkState.GREETING: {LinkEvent.AGREED: LinkState.LIVE, LinkEvent.FAILED: LinkState.LOST},
    LinkState.LIVE: {
        LinkEvent.HELLO_SENT: LinkState.GREETING,
        LinkEvent.FAILED: LinkState.LOST,
        LinkEvent.HUB_CHANGED: LinkState.LOST,
    },
}
"""A missing entry is the error."""


def step(state: LinkState, event: LinkEvent) -> LinkState:
    """The state after `event`; raises SessionFault (blame local) where the table has none."""
    try:
        return LINK_TABLE[state][event]
    except KeyError:
        raise SessionFault(f"{event.value} cannot happen while {state.value}", blame=Blame.LOCAL) from None


@dataclass(frozen=True, slots=True)
class LocalLane:
    """What a node holds durably of one lane when it reads a welcome."""

    sealed: LaneMark
    """Its last sealed batch; epoch 0 when the lane never had one."""
    acknowledged: LaneMark
    """The last mark that the hub called durable."""
    at_hub: bytes | None
    """The hash of the node's own batch with the hub's epoch and number; None when it holds none such."""


NEVER_SEALED = LocalLane(fresh_mark(0), fresh_mark(0), None)


class Standing(StrEnum):
    """How a lane of the node stands to the hub's."""

    IN_STEP = "in_step"
    """The hub holds a prefix of ours: send what follows."""
    NEW_EPOCH = "new_epoch"
    """The hub opened an epoch in which nothing was sent: start there, offering everything not acknowledged again."""
    FORKED = "forked"
    """The hub holds what we do not: ask for a new epoch."""


def compare(local: LocalLane, hub: LaneMark) -> Standing:
    """How `local` stands to the hub's mark of the same lane."""
    if hub.epoch > local.sealed.epoch:
        return Standing.NEW_EPOCH if hub.seq == 0 else Standing.FORKED
    if hub.epoch < local.sealed.epoch or hub.seq > local.sealed.seq:
        return Standing.FORKED
    if hub.seq == 0:
        return Standing.IN_STEP
    ours = local.at_hub
    if ours is None and (hub.epoch, hub.seq) == (local.acknowledged.epoch, local.acknowledged.seq):
        ours = local.acknowledged.hash
    return Standing.IN_STEP if ours == hub.hash else Standing.FORKED


def fell_behind(local: LocalLane, hub: LaneMark) -> bool:
    """Whether the hub lacks what it once acknowledged: it was restored from a backup."""
    return (hub.epoch, hub.seq) < (local.acknowledged.epoch, local.acknowledged.seq)


def minted_epoch(node_epoch: int, hello: Hello) -> int:
    """The epoch a hub mints for `hello.fork_lane`: above all it remembers and all the node has ever seen.

    Raises SessionFault when epochs have run out, which only a hostile node can bring about.
    """
    epoch = max([node_epoch, *(mark.epoch for mark in hello.lanes.values())]) + 1
    if epoch > EPOCH_MAX:
        raise SessionFault("the node claims an epoch that no hub can have minted")
    return epoch


class VerdictKind(StrEnum):
    """What the hub is to do with a batch."""

    APPLY = "apply"
    """Store it, apply or quarantine its content, move the mark, commit; then acknowledge."""
    DUPLICATE = "duplicate"
    GAP = "gap"
    FORK = "fork"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the hub is to do with a batch, why, and its mark of the lane once that is done."""

    kind: VerdictKind
    reason: str
    have: LaneMark

    def ack(self, header: BatchHeader, *, quarantined: str = "") -> Ack:
        """The acknowledgement, to be sent after the commit; `quarantined` is the reason its content was set aside."""
        outcome = AckOutcome(self.kind.value) if self.kind is not VerdictKind.APPLY else AckOutcome.APPLIED
        if self.kind is VerdictKind.APPLY and quarantined:
            outcome = AckOutcome.QUARANTINED
        return Ack(
            lane=header.lane,
            epoch=header.epoch,
            seq=header.seq,
            outcome=outcome,
            reason=(quarantined or self.reason)[:400],
            have=self.have,
        )


def judge(
    batch: Batch,
    *,
    node: NodeId,
    have: LaneMark | None,
    held_digest: bytes | None,
    signature: Verification,
) -> Verdict:
    """What the hub does with `batch` from the connection of `node`.

    `have` is the hub's mark of the lane (None: it never had one, FIRST_EPOCH begins), `held_digest` the digest of the
    batch the hub holds under the same epoch and number, if any; both read in the transaction that acts on the verdict.
    `signature` is the answer of `seal.check_signature`. When it was made is no matter here: a stamp from a broken clock
    must not hold up what lies behind it (its content is set aside). Pure; never raises.
    """
    header = batch.header
    mark = have if have is not None else fresh_mark(FIRST_EPOCH)
    refused = _refusal(batch, node, signature)
    if refused:
        return Verdict(VerdictKind.REFUSED, refused, mark)
    if held_digest is not None:
        if held_digest == header.digest:
            return Verdict(VerdictKind.DUPLICATE, "", mark)
        return Verdict(VerdictKind.FORK, f"number {header.seq} is held with other content", mark)
    if header.epoch != mark.epoch:
        return Verdict(VerdictKind.FORK, f"epoch {mark.epoch} is open here, not {header.epoch}", mark)
    if header.seq > mark.seq + 1:
        return Verdict(VerdictKind.GAP, f"the batches from {mark.seq + 1} on are missing", mark)
    if header.seq <= mark.seq:
        return Verdict(VerdictKind.FORK, f"number {header.seq} is behind {mark.seq} and not held", mark)
    if header.previous != mark.hash:
        return Verdict(VerdictKind.FORK, f"its predecessor is not number {mark.seq} as held here", mark)
    return Verdict(VerdictKind.APPLY, "", header.mark())


def _refusal(batch: Batch, node: NodeId, signature: Verification) -> str:
    header = batch.header
    if header.node != node:
        return f"a batch of {header.node} on the connection of {node}"
    if isinstance(signature, SignatureRefused):
        return f"signature of key {signature.key_id}: {signature.reason.value}"
    if not batch.digest_matches():
        return "the payload is not the one that was signed"
    if (header.seq == 1) != (header.previous == ZERO_HASH):
        return "only the first batch of an epoch has a previous hash of zeros"
    return ""


LANES_BY_PRIORITY: tuple[Lane, ...] = tuple(Lane)
"""Control, ledger, summary, interval."""
