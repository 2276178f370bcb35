"""One TCP connection with one request in flight, believed only while it keeps every rule. Floor: protocols; reading.

Replays and late answers cannot enter here: a reply is accepted only while its request waits, any byte at another time
spoils the connection, and a spoiled connection is closed and never used again. The bus decides what happens next.
Whole frames of units that the bus knows to be late are thrown away at any time.

What is asked of one unit is a run: a reply sets off the next request by itself, and only its end wakes who awaits it (a
task woken for each of them is half of a read's cost). The common reply costs one comparison: its head is known before
it comes. Whatever differs goes the long way, where it is taken apart and what is wrong with it gets a name. Bytes
arrive in a buffer of the connection's own: asyncio would make one of 256 KiB for each reply, whose pages cost more than
all the rest of a read.
"""

import asyncio
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import cast

from gridmodel.clock import IoClock
from protocols.modbus.codec import (
    FRAME_SIZE_MAX,
    ExceptionReply,
    Frame,
    Framing,
    ModbusFault,
    check_reply,
    encode_frame,
    malformed,
    remote_fault,
    sound_reply_head,
    split_rtu_reply,
    split_tcp,
)

ASKED_MAX = 8_192
"""Runs kept ready: 247 units and the reads of some thirty models."""


Asked = tuple[bytes, bytes, int, int]
"""Behind the transaction: a request's frame and the head of its sound reply; then where the reply's registers begin and
end (an end of 0: no reply can be told beforehand)."""


@lru_cache(maxsize=ASKED_MAX)
def _tcp_asked(unit: int, pdus: tuple[bytes, ...]) -> tuple[Asked, ...]:
    return tuple(_tcp_one(unit, pdu) for pdu in pdus)


def _tcp_one(unit: int, pdu: bytes) -> Asked:
    head = sound_reply_head(Framing.TCP, unit, pdu)
    begin = 2 + len(head)
    return encode_frame(Framing.TCP, 0, unit, pdu)[2:], head, begin, begin + head[-1] if head else 0


class Connection(asyncio.BufferedProtocol):
    """The client's end of one connection; `spoiled` says why it must not be used any more."""

    def __init__(self, framing: Framing, io_clock: IoClock, late: Collection[int] = ()) -> None:
        """`late` are RTU units whose frames are thrown away: the bus keeps it, and asks no unit while it is in it."""
        self.spoiled: ModbusFault | None = None
        """None while the stream is sound."""
        self._framing = framing
        self._split = split_tcp if framing is Framing.TCP else split_rtu_reply
        self._transport: asyncio.Transport | None = None
        self._arriving = bytearray(FRAME_SIZE_MAX)
        """What came last; bytes are taken out of it at once."""
        self._seen = memoryview(self._arriving)
        self._buffer = b""
        """The beginning of a frame whose end has not come."""
        self._transaction = 0
        self._unit = 0
        self._sound_head = b""
        """What the reply begins with if all is well."""
        self._sound_begin = 0
        """Where its registers begin then."""
        self._sound_size = 0
        """How long it is then; 0 where that cannot be said: nothing is in flight, or a part of it has come."""
        self._in_flight = False
        """Whether a request is without its reply. A run that pauses has none."""
        self._waiting: asyncio.Future[list[bytes]] | None = None
        """The run's; done by others when its caller went away."""
        self._run: Sequence[bytes] = ()
        self._asked: Sequence[Asked] = ()
        """The run's over TCP."""
        self._data: list[bytes] = []
        self._timeout_s = 0.0
        self._pause_s = 0.0
        self._loop = asyncio.get_running_loop()
        self._now = io_clock.monotonic
        self._late = late
        self._deadline = 0.0
        self._rings_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The event loop hands over the open transport."""
        self._transport = cast("asyncio.Transport", transport)
        self._write = self._transport.write

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side is gone: whoever waits is told."""
        why = f": {exc}" if exc else ""
        half = f" after {len(self._buffer)} bytes of a reply" if self._buffer else ""
        self._spoil(
            remote_fault("TQ-MB-08", f"the connection was closed{half}{why}", "check the meter and its network")
        )

    @property
    def midway(self) -> bool:
        """Whether the beginning of a frame came and its end did not."""
        return bool(self._buffer)

    def get_buffer(self, sizehint: int) -> bytearray:
        """Where the event loop puts the next bytes."""
        del sizehint
        return self._arriving

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes came; anything but the one expected reply, or a late unit's, spoils the connection."""
        if nbytes == self._sound_size and self._arriving.startswith(self._sound_head):
            self._replied(self._seen[self._sound_begin : nbytes].tobytes())
            return
        try:
            self._take(self._buffer + self._arriving[:nbytes])
        except ModbusFault as fault:
            self._spoil(fault)

    def _take(self, stream: bytes) -> None:
        """The long way. Raises the fault that spoils the connection."""
        stream = self._without_late(stream)
        frame = None
        if self._in_flight:
            frame = self._split(stream)
        elif stream and stream[0] not in self._late:
            raise _unasked(stream)
        if frame is None:
            if len(stream) > FRAME_SIZE_MAX:
                raise malformed(f"{len(stream)} bytes without an end", stream)
            self._buffer, self._sound_size = stream, 0
            return
        self._check(frame, stream)
        self._buffer = b""
        try:
            data = check_reply(self._run[len(self._data)], frame.pdu)
        except ExceptionReply as refusal:
            self._in_flight, self._sound_size = False, 0
            waiting, self._waiting = self._waiting, None
            if waiting is not None and not waiting.done():
                waiting.set_exception(refusal)
            return
        self._replied(data)

    def _replied(self, data: bytes) -> None:
        """The reply to the request in flight: the next one of the run goes out, or the run is over."""
        replies, waiting = self._data, self._waiting
        replies.append(data)
        if waiting is not None and not waiting.done() and len(replies) < len(self._run) and not self._pause_s:
            self._deadline = self._now() + self._timeout_s  # the timer runs: the one before was in flight until now
            self._send_next()
            return
        self._in_flight, self._sound_size = False, 0
        if waiting is None or waiting.done():
            self._waiting = None
        elif len(replies) == len(self._run):
            self._waiting = None
            waiting.set_result(replies)
        else:
            self._loop.call_later(self._pause_s, self._ask)

    def _without_late(self, stream: bytes) -> bytes:
        """What is left behind whole frames of late units."""
        while stream and stream[0] in self._late and (frame := split_rtu_reply(stream)) is not None:
            stream = stream[frame.used :]
        return stream

    def send(
        self, unit: int, pdus: Sequence[bytes], timeout_s: float, pause_s: float = 0.0
    ) -> asyncio.Future[list[bytes]]:
        """Send a run of requests (at least one), each after the reply to the one before and a pause (I/O seconds).

        The future gives the register bytes of each reply (none for a write). It raises TimeoutError when a reply is not
        whole after `timeout_s` (I/O seconds), ExceptionReply, or what spoiled the connection; the rest is not sent.
        """
        replies: asyncio.Future[list[bytes]] = self._loop.create_future()
        if self.spoiled is not None or self._transport is None:
            replies.set_exception(self.spoiled or remote_fault("TQ-MB-08", "there is no connection yet", "try again"))
            return replies
        self._unit = unit
        self._run = pdus
        if self._framing is Framing.TCP:
            self._asked = _tcp_asked(unit, tuple(pdus))
        self._data = []
        self._timeout_s = timeout_s
        self._pause_s = pause_s
        self._waiting = replies
        self._ask()
        return replies

    def _ask(self) -> None:
        """Send the next request of the run, unless nobody waits for it any more."""
        if self._waiting is None or self._waiting.done():
            return
        self._in_flight = True
        self._deadline = self._now() + self._timeout_s
        if self._timer is None or self._rings_at > self._deadline:
            self._watch(self._timeout_s)
        self._send_next()

    def _send_next(self) -> None:
        self._transaction = transaction = (self._transaction + 1) & 0xFFFF
        asked = len(self._data)
        if self._asked:
            number = transaction.to_bytes(2, "big")
            behind, head, self._sound_begin, self._sound_size = self._asked[asked]
            self._sound_head = number + head
            self._write(number + behind)
        else:
            self._write(encode_frame(self._framing, transaction, self._unit, self._run[asked]))

    def _watch(self, left_s: float) -> None:
        """Keep one timer for all requests: made anew when it rings, not at each request, which would cost as much."""
        if self._timer is not None:
            self._timer.cancel()
        self._rings_at = self._deadline
        self._timer = self._loop.call_later(left_s, self._ring)

    def _ring(self) -> None:
        self._timer = None
        waiting = self._waiting
        if waiting is None or waiting.done() or not self._in_flight:
            return
        left_s = self._deadline - self._now()
        if left_s > 0:
            self._watch(left_s)
        else:
            waiting.set_exception(TimeoutError())

    def abandon(self, fault: ModbusFault) -> None:
        """Spoil the connection for a reason of the caller's (a timeout, a cancelled call) and close it at once."""
        self._spoil(fault)

    def _check(self, frame: Frame, stream: bytes) -> None:
        if frame.unit != self._unit:
            raise remote_fault(
                "TQ-MB-04",
                f"unit {frame.unit} answered for unit {self._unit}",
                "check the unit numbers behind this gateway: two meters may share one",
            )
        if frame.transaction is not None and frame.transaction != self._transaction:
            raise remote_fault(
                "TQ-MB-06",
                f"transaction {frame.transaction} answered for {self._transaction}",
                "the gateway mixes up answers: restart it, and check that no other master uses it",
            )
        if frame.used != len(stream):
            raise _unasked(stream[frame.used :])

    def _spoil(self, fault: ModbusFault) -> None:
        if self.spoiled is None:
            self.spoiled = fault
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._in_flight, self._sound_size = False, 0
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.done():
            waiting.set_exception(fault)
        self._buffer = b""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.abort()


def _unasked(data: bytes) -> ModbusFault:
    return remote_fault(
        "TQ-MB-09",
        f"{len(data)} bytes came that nobody asked for: {data[:16].hex(' ')}",
        "check that no other master uses this gateway; the connection was closed to be safe",
    )
