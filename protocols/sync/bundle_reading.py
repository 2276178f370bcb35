"""Reading bundles: checked from end to end first, then message by message. Floor: protocols; on the walk of link loss.

Theory of operation. The signature says who sent a bundle and is checked over the whole file before anything is applied;
the seal holds every frame to that when the file is read again to be applied, for a drive may give other bytes the
second time. Nothing larger than one frame is ever held. `bundle` has the form and the codes.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import BinaryIO, TypeVar

from gridmodel.clock import Compute
from gridmodel.fault import Fault
from protocols.authority.signatures import Signature, SignatureRefused, Verification
from protocols.errors import ProtocolFault
from protocols.sync import fields as f
from protocols.sync.bundle import (
    BUNDLE_BYTES_MAX,
    FRAME_BYTES_MAX,
    HEAD_BYTES_MAX,
    MAGIC,
    PREFIX_BYTES,
    SEQUENCE,
    VERSIONS,
    Box,
    BundleHead,
    Direction,
    Ending,
    FrameKind,
    altered,
    bundle_fault,
    contradiction,
    cut_off,
    for_another,
    frame_owner,
)
from protocols.sync.messages import Hello, Push, Welcome
from protocols.sync.pull import Pull, PullReply

T = TypeVar("T")

CHECKED_AT_ONCE_BYTES = 4 * 1_048_576
"""Bytes looked at between two pauses: some ten milliseconds, without the drive."""

BoxOf = Callable[[BundleHead], Box]
"""The key of a bundle; raises Fault when it is not for whoever reads it."""
Verify = Callable[[BundleHead, bytes, Signature], Verification]
"""Whether the signature over the statement is one that counts for the head's sender."""


@dataclass(frozen=True, slots=True)
class CheckedBundle:
    """A bundle that is whole, unaltered, for us, and from whom it says."""

    head: BundleHead
    _source: BinaryIO
    _start: bytes
    _box: Box
    _compute: Compute

    async def messages(self) -> AsyncIterator[tuple[FrameKind, bytes]]:
        """Its messages in their order, from the file read again; raises BundleFault when that is another by now."""
        rest = messages(self._source, self._start, self._box)
        while (message := await self._compute.run(_next, rest)) is not None:
            yield message


async def check_bundle(source: BinaryIO, compute: Compute, box_of: BoxOf, verify: Verify) -> CheckedBundle:
    """Look at all of it; raises BundleFault, or what `box_of` raises, and OSErrors of the drive."""
    head, start = await compute.run(read_head, source)
    box = box_of(head)
    rest = checking(source, head, start, box, verify)
    while await compute.run(_next, rest) is not None:
        pass
    return CheckedBundle(head, source, start, box, compute)


def _next(rest: Iterator[T]) -> T | None:
    return next(rest, None)


def unsealed(head: BundleHead, key: str, open_box: Callable[[str, bytes], Box], *, mine: str, theirs: str) -> Box:
    """The key of a bundle that is for the bundle key `key`; raises BundleFault (TQ-BN-05) for one of another.

    `mine` is what we are, `theirs` what the sender's side is to do.
    """
    if head.for_key != key:
        what = f"the bundle was sealed for key {head.for_key}, this {mine} has {key}"
        raise for_another(what, f"{theirs}, and write it again")
    try:
        return open_box(head.bundle, head.wrapped)
    except Fault as fault:
        what = f"the bundle does not open with the key of this {mine} ({fault.code})"
        raise for_another(what, "copy it again, or write it again") from fault


def read_head(source: BinaryIO) -> tuple[BundleHead, bytes]:
    """The head and the bytes up to its end, from the file's beginning; raises BundleFault. Nothing is proven yet."""
    source.seek(0)
    start = source.read(PREFIX_BYTES)
    if not start.startswith(MAGIC):
        raise bundle_fault(1, "the file is no bundle", "name the file that bundle write made")
    if len(start) < PREFIX_BYTES:
        raise cut_off()
    if start[len(MAGIC)] not in VERSIONS:
        raise bundle_fault(
            2, f"a bundle of version {start[len(MAGIC)]} is not served here", "update the older of both sides"
        )
    length = int.from_bytes(start[-2:], "little")
    if length > HEAD_BYTES_MAX:
        raise altered("its head is too long")
    packed = _exactly(source, length)
    try:
        return BundleHead.from_bytes(packed), start + packed
    except ProtocolFault as fault:
        raise altered(f"its head cannot be read ({fault.code})") from fault


def checking(
    source: BinaryIO,
    head: BundleHead,
    start: bytes,
    box: Box,
    verify: Verify,
) -> Iterator[int]:
    """Read the rest of the file to its end and check all of it; gives the bytes read, from time to time.

    `head` and `start` are from `read_head`. Raises BundleFault. Exhausted: the whole file is what its sender signed,
    every frame opens, and their order is right. `verify` says whose signature counts.
    """
    digest, belongs, order = sha256(start), sha256(start[PREFIX_BYTES:]).digest(), _Order(head)
    size = paused = len(start)
    number = 0
    while sealed := _next_sealed(source):
        digest.update(len(sealed).to_bytes(4, "little") + sealed)
        size += 4 + len(sealed)
        if size > BUNDLE_BYTES_MAX:
            raise bundle_fault(
                7, f"the bundle is larger than {BUNDLE_BYTES_MAX} bytes", "write smaller ones: --bytes-max"
            )
        order.take(*_opened(box, sealed, frame_owner(belongs, number)))
        number += 1
        if size - paused >= CHECKED_AT_ONCE_BYTES:
            paused = size
            yield size
    digest.update(bytes(4))
    order.end()
    signature = _exactly(source, f.SIGNATURE_BYTES)
    if source.read(1):
        raise altered("bytes follow after its end")
    outcome = verify(head, head.statement(digest.digest()), Signature(head.key_id, signature))
    if isinstance(outcome, SignatureRefused):
        raise bundle_fault(
            6,
            f"its signature by key {outcome.key_id} does not count: {outcome.reason.value}",
            "nothing was applied; compare the sender's public key with the configuration here, or carry it anew",
        )
    yield size


def messages(source: BinaryIO, start: bytes, box: Box) -> Iterator[tuple[FrameKind, bytes]]:
    """The messages of a bundle that `checking` found whole, from the file read again; raises BundleFault."""
    source.seek(len(start))
    belongs, number = sha256(start[PREFIX_BYTES:]).digest(), 0
    while sealed := _next_sealed(source):
        yield _opened(box, sealed, frame_owner(belongs, number))
        number += 1


_READERS: Mapping[FrameKind, Callable[[bytes], object]] = {
    FrameKind.END: Ending.from_bytes,
    FrameKind.HELLO: Hello.from_bytes,
    FrameKind.PUSH: Push.from_bytes,
    FrameKind.PULL: Pull.from_bytes,
    FrameKind.WELCOME: Welcome.from_bytes,
    FrameKind.PULL_REPLY: PullReply.from_bytes,
}


class _Order:
    """Holds the kinds of frames to SEQUENCE, and each message to its form."""

    def __init__(self, head: BundleHead) -> None:
        if head.direction is Direction.DOWN and head.hub_incarnation is None:
            raise contradiction("it names no hub that made it")
        self._head = head
        self._kinds = SEQUENCE[head.direction]
        self._offsets = dict(head.offsets)
        self._at = 0
        self._begun = False
        self._ended = False

    def take(self, kind: FrameKind, message: bytes) -> None:
        if self._ended or kind not in self._kinds[self._at :] or not (self._begun or kind is self._kinds[0]):
            raise contradiction(f"a {kind.name} stands where it cannot")
        try:
            told = _READERS[kind](message)
        except ProtocolFault as fault:
            raise contradiction(f"a {kind.name} cannot be read ({fault.code}: {fault.what})") from fault
        if isinstance(told, PullReply):
            self._follow(told)
        if isinstance(told, Hello | Push | Pull) and told.node != self._head.node:
            raise contradiction(f"a {kind.name} of {told.node} in a bundle of {self._head.node}")
        if isinstance(told, Welcome | PullReply) and told.hub_incarnation != self._head.hub_incarnation:
            raise contradiction(f"a {kind.name} of {told.hub_incarnation} in a bundle of {self._head.hub_incarnation}")
        if isinstance(told, Welcome) and told.hub_time != self._head.made_at:
            raise contradiction("its welcome is of another time")
        self._begun = True
        self._at = self._kinds.index(kind)
        self._ended = kind is FrameKind.END

    def _follow(self, reply: PullReply) -> None:
        """Every item follows the one before in its lane, the first what the head says."""
        for item in reply.items:
            if item.offset != self._offsets.get(item.lane, -1) + 1:
                raise contradiction(f"item {item.offset} of lane {item.lane.value} does not follow the one before")
            self._offsets[item.lane] = item.offset

    def end(self) -> None:
        if not self._ended:
            raise cut_off()


def _next_sealed(source: BinaryIO) -> bytes:
    """The next frame as it stands; empty at the end of frames."""
    length = int.from_bytes(_exactly(source, 4), "little")
    if length > FRAME_BYTES_MAX:
        raise altered("a frame is longer than any can be")
    return _exactly(source, length)


def _opened(box: Box, sealed: bytes, owner: bytes) -> tuple[FrameKind, bytes]:
    try:
        plain = box.open(sealed, owner)
    except Fault as fault:
        raise altered("a frame does not open") from fault
    if not plain or plain[0] not in set(FrameKind):
        raise contradiction("a frame is of no kind known here")
    return FrameKind(plain[0]), plain[1:]


def _exactly(source: BinaryIO, count: int) -> bytes:
    data = source.read(count)
    if len(data) < count:
        raise cut_off()
    return data
