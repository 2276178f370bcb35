"""For whom a message of sync speaks: asked before it is handled, where TLS says who sent it. Floor: protocols."""

from collections.abc import Mapping

from gridmodel.identity import NodeId
from protocols.sync.attest import Attest
from protocols.sync.completeness import Compare
from protocols.sync.messages import Hello, Push
from protocols.sync.pull import Pull
from protocols.sync.recall import Recall

KINDS: Mapping[str, type[Hello | Push | Pull | Compare | Attest | Recall]] = {
    "hello": Hello,
    "push": Push,
    "pull": Pull,
    "compare": Compare,
    "attest": Attest,
    "recall": Recall,
}
"""Every exchange of the link: one that is missing here would not be held against the certificate."""


def node_of(kind: str, body: bytes) -> NodeId | None:
    """The node that the message names; None for a kind without one. Raises WireFault, MessageFault."""
    message = KINDS.get(kind)
    return None if message is None else message.from_bytes(body).node
