"""HDLC links: numbered frames, segments, windows, for the client and for the meter. Floor: protocols; walk: reading.

Theory of operation. The client is the primary station: it polls by the P bit, and only then may the meter speak, until
its own F bit gives the turn back. An APDU with its three LLC bytes is cut into segments of the agreed size; each side
sends up to a window of them, the last with P/F, and waits for RR. A frame that comes twice is not delivered twice; it
says that our acknowledgement or answer got lost, so that is sent again. `state` says what may follow what.
"""

from collections import deque
from collections.abc import Iterator

from protocols.dlms.carrier import APDU_SIZE_MAX, Incoming
from protocols.dlms.faults import DlmsFault, local_fault, remote_fault, too_large
from protocols.dlms.hdlc.frames import Address, Frame, FrameSplitter
from protocols.dlms.hdlc.parameters import LinkParameters, read_parameters
from protocols.dlms.state import CLIENT_LINK_TABLE, METER_LINK_TABLE, Event, LinkState, Table, step

POLL = 0x10
"""The P/F bit."""
SNRM, DISC, UA, DM, FRMR, UI = 0x83, 0x43, 0x63, 0x0F, 0x87, 0x03
RR, RNR, REJ = 0x01, 0x05, 0x09
IDLE_FRAMES_MAX = 64
"""Acknowledgements, repeats and notifications in a row: a meter has no more to say before the turn is ours again."""
PIECE_SIZE = 4_096
"""Bytes cut into frames at once."""
LLC_COMMAND = bytes.fromhex("E6E600")
LLC_RESPONSE = bytes.fromhex("E6E700")
RETRIES_MAX = 3
"""Times the same frames are sent again: beyond that the meter is gone, not the frame."""


class _Numbered:
    """What both ends do alike: number, cut, acknowledge, join."""

    def __init__(self, table: Table[LinkState], own: Address, peer: Address, llc_out: bytes, llc_in: bytes) -> None:
        self.state = LinkState.DISCONNECTED
        self.parameters = LinkParameters()
        self._table = table
        self._own = own
        self._peer = peer
        self._llc_out = llc_out
        self._llc_in = llc_in
        self._reset()

    def _reset(self) -> None:
        self._send_number = 0
        self._receive_number = 0
        self._waiting: deque[bytes] = deque()
        self._sent: list[tuple[int, bytes, bool]] = []
        self._joined = bytearray()

    def _step(self, event: Event) -> None:
        self.state = step(self._table, self.state, event)

    def _frame(self, control: int, information: bytes = b"", *, segmented: bool = False) -> bytes:
        return Frame(self._peer, self._own, control, information, segmented).encode()

    def _cut(self, apdu: bytes) -> None:
        if len(apdu) > APDU_SIZE_MAX:
            raise local_fault("TQ-DM-73", f"{len(apdu)} bytes are no APDU")
        whole = self._llc_out + apdu
        size = self.parameters.size_transmit
        self._waiting.extend(whole[at : at + size] for at in range(0, len(whole), size))

    def _pump(self) -> bytes:
        """Send the next window of segments."""
        while self._waiting and len(self._sent) < self.parameters.window_transmit:
            segment = self._waiting.popleft()
            self._step(Event.SEND_SEGMENT if self._waiting else Event.SEND_LAST)
            self._sent.append((self._send_number, segment, bool(self._waiting)))
            self._send_number = (self._send_number + 1) % 8
        return self._window()

    def _window(self) -> bytes:
        """The frames that are out and not acknowledged, the last with P/F."""
        out = b""
        for index, (number, segment, segmented) in enumerate(self._sent):
            poll = POLL if index == len(self._sent) - 1 else 0
            out += self._frame(self._receive_number << 5 | poll | number << 1, segment, segmented=segmented)
        return out

    def _acknowledged(self, number: int) -> None:
        """Forget what the other side has: all before `number`."""
        known = [one for one, _, _ in self._sent]
        if number in known:
            del self._sent[: known.index(number)]
        elif number == self._send_number:
            self._sent.clear()
        else:
            raise remote_fault("TQ-DM-23", f"frame {number} was acknowledged, {self._send_number} is the next to send")

    def _ready_to_receive(self) -> bytes:
        return self._frame(RR | self._receive_number << 5 | POLL)

    def _take(self, frame: Frame) -> bytes | None:
        """One numbered frame: the APDU it completes, if it does."""
        self._acknowledged(frame.control >> 5)
        self._step(Event.RECEIVE_SEGMENT if frame.segmented else Event.RECEIVE_LAST)
        self._receive_number = (self._receive_number + 1) % 8
        self._joined += frame.information
        if len(self._joined) > APDU_SIZE_MAX + len(self._llc_in):
            raise too_large(f"segments of more than {APDU_SIZE_MAX} bytes in all")
        if frame.segmented:
            return None
        whole, self._joined = bytes(self._joined), bytearray()
        return self._without_llc(whole)

    def _without_llc(self, whole: bytes) -> bytes:
        if whole[:3] != self._llc_in:
            raise remote_fault("TQ-DM-24", f"no LLC header: {whole[:8].hex(' ')}")
        return whole[3:]

    def _is_next(self, frame: Frame) -> bool:
        """Whether the frame's number is the one to come; the one before is a repeat, any other a fault."""
        number = frame.control >> 1 & 7
        if number == self._receive_number:
            return True
        if (number + 1) % 8 == self._receive_number:
            return False
        raise remote_fault("TQ-DM-23", f"frame {number} came, {self._receive_number} was to come")


class HdlcCarrier(_Numbered):
    """A client's carrier over HDLC; also over TCP, as gateways do it."""

    def __init__(self, client: int, server: Address, parameters: LinkParameters | None = None) -> None:
        """`client` is the client's SAP, `server` logical and physical device, `parameters` what we would like."""
        super().__init__(CLIENT_LINK_TABLE, Address(client), server, LLC_COMMAND, LLC_RESPONSE)
        self._wanted = parameters or LinkParameters()
        self._splitter = FrameSplitter()
        self._last_sent = b""
        self._retries = 0
        self._idle = 0
        self._place: object = None

    @property
    def ready(self) -> bool:
        """Whether the link is up and nothing is under way."""
        return self.state is LinkState.READY

    def connect(self) -> bytes:
        """SNRM with our parameters; the UA makes the link ready. Raises DlmsFault TQ-DM-41 out of turn."""
        self._step(Event.SEND_SNRM)
        return self._remember(self._frame(SNRM | POLL, self._wanted.encode()))

    def send(self, apdu: bytes) -> bytes:
        """The first window of segments. Raises DlmsFault TQ-DM-41 unless ready."""
        if not self.ready:
            self._step(Event.SEND_LAST)
        self._cut(apdu)
        return self._remember(self._pump())

    def disconnect(self) -> bytes:
        """DISC, whatever is under way; empty when the link is down."""
        if self.state in {LinkState.DISCONNECTED, LinkState.CONNECTING, LinkState.DISCONNECTING}:
            return b""
        self._step(Event.SEND_DISC)
        return self._remember(self._frame(DISC | POLL))

    def receive(self, data: bytes) -> Incoming:
        """Complete APDUs, and acknowledgements or segments to write.

        Raises:
            DlmsFault: TQ-DM-02, 20, 21 no sound frame; 22 somebody else's; 23 a wrong number, or frames that bring
                nothing on; 24 no LLC; 25 FRMR; 26 the meter hung up; 27 not ready; 42 out of turn.

        """
        apdus: list[bytes] = []
        reply = b""
        for frame in self._frames(data):
            if not (frame.source.same_place(self._peer) and frame.destination.same_place(self._own)):
                raise remote_fault(
                    "TQ-DM-22", f"{frame.source[:2]} wrote to {frame.destination[:2]}", "check the HDLC addresses"
                )
            reply += self._on(frame, apdus)
            self._count()
        return Incoming(tuple(apdus), self._remember(reply) if reply else b"")

    def _frames(self, data: bytes) -> Iterator[Frame]:
        """Piece by piece: what is behind a frame that breaks a rule is not even looked at."""
        for at in range(0, len(data), PIECE_SIZE):
            yield from self._splitter.feed(data[at : at + PIECE_SIZE])

    def _count(self) -> None:
        """Look whether the last frame brought anything on; after `IDLE_FRAMES_MAX` that did not it raises TQ-DM-23."""
        place = (self.state, self._send_number, len(self._sent), len(self._joined))
        self._idle = self._idle + 1 if place == self._place else 0
        self._place = place
        if self._idle > IDLE_FRAMES_MAX:
            what = f"{self._idle} frames in a row brought nothing on"
            raise remote_fault("TQ-DM-23", what, "look what else speaks on this line; restart the gateway")

    def retry(self) -> bytes:
        """The last frames again, a silence later. Raises DlmsFault TQ-DM-28 after `RETRIES_MAX`."""
        if self._retries >= RETRIES_MAX:
            raise remote_fault("TQ-DM-28", f"no answer after {RETRIES_MAX} repeats", "check the line to the meter")
        self._retries += 1
        return self._last_sent

    def _remember(self, out: bytes) -> bytes:
        self._last_sent = out
        self._retries = 0
        return out

    def _on(self, frame: Frame, apdus: list[bytes]) -> bytes:
        control = frame.control
        kind = control & ~POLL
        if not control & 1:
            if not self._is_next(frame):
                return self._ready_to_receive() if control & POLL else b""
            apdu = self._take(frame)
            if apdu is not None:
                apdus.append(apdu)
            elif control & POLL:
                return self._ready_to_receive()
            return b""
        if control & 0x0F == RR:
            out = bool(self._sent)
            self._step(Event.RECEIVE_RR)
            self._acknowledged(control >> 5)
            if out and not self._sent and not self._waiting and control & POLL:
                return self._ready_to_receive()  # all is there, and the turn is ours: ask for the answer, once
            return self._pump()
        if kind == UI:
            self._step(Event.RECEIVE_UI)
            apdus.append(self._without_llc(frame.information))
            return b""
        self._on_unnumbered(kind, frame)
        return b""

    def _on_unnumbered(self, kind: int, frame: Frame) -> None:
        if kind == UA:
            connecting = self.state is LinkState.CONNECTING
            self._step(Event.RECEIVE_UA)
            self._reset()
            if connecting:
                self.parameters = self._wanted.agreed_with(read_parameters(frame.information))
        elif kind == DM:
            disconnecting = self.state is LinkState.DISCONNECTING
            self._step(Event.RECEIVE_DM)
            if not disconnecting:
                raise remote_fault("TQ-DM-26", "the meter has hung up (DM)", "the link is opened anew")
        else:
            raise _unusable(kind)


def _unusable(kind: int) -> DlmsFault:
    if kind == FRMR:
        return remote_fault("TQ-DM-25", "the meter rejected a frame (FRMR)", "check the HDLC sizes of the profile")
    if kind & 0x0F == RNR:
        return remote_fault("TQ-DM-27", "the meter is not ready to receive (RNR)", "try again later")
    return remote_fault("TQ-DM-24", f"a frame with control {kind:02X} has no place here")


class HdlcMeterLink(_Numbered):
    """A meter's end of one link to one client; fed with frames, since several meters may share a line."""

    def __init__(self, own: Address, client: Address, parameters: LinkParameters | None = None) -> None:
        """`own` is the meter's address in the size it answers with, `parameters` what it can do at most."""
        super().__init__(METER_LINK_TABLE, own, client, LLC_RESPONSE, LLC_COMMAND)
        self._able = parameters or LinkParameters()
        self._last_sent = b""

    def receive(self, frame: Frame) -> Incoming:
        """The APDU it completes, and what to answer at once. Raises DlmsFault for what a client must not do."""
        apdus: list[bytes] = []
        reply = self._on(frame, apdus)
        if reply:
            self._last_sent = reply
        return Incoming(tuple(apdus), reply)

    def send(self, apdu: bytes) -> bytes:
        """The first window of an answer. Raises DlmsFault TQ-DM-41 when no link is up."""
        if self.state is LinkState.DISCONNECTED:
            self._step(Event.SEND_LAST)
        self._waiting.clear()
        self._cut(apdu)
        self._last_sent = self._pump()
        return self._last_sent

    def push(self, apdu: bytes) -> bytes:
        """A UI frame: a notification nobody asked for. Raises DlmsFault TQ-DM-74 when it does not fit one frame."""
        return self._frame(UI, self._llc_out + apdu)

    def _on(self, frame: Frame, apdus: list[bytes]) -> bytes:
        control = frame.control
        kind = control & ~POLL
        if kind == SNRM:
            self._step(Event.RECEIVE_SNRM)
            self._reset()
            self.parameters = self._able.agreed_with(read_parameters(frame.information))
            return self._frame(UA | POLL, self.parameters.encode())
        if kind == DISC:
            up = self.state is not LinkState.DISCONNECTED
            self._step(Event.RECEIVE_DISC)
            self._reset()
            return self._frame((UA if up else DM) | POLL)
        if self.state is LinkState.DISCONNECTED:
            return self._frame(DM | POLL)
        if not control & 1:
            number = control >> 1 & 7
            if number not in {self._receive_number, (self._receive_number - 1) % 8}:
                return self._ready_to_receive() if control & POLL else b""  # one was lost: this is the one to come
            if not self._is_next(frame):
                return self._last_sent if control & POLL else b""
            apdu = self._take(frame)
            if apdu is not None:
                apdus.append(apdu)
                return b""
            return self._ready_to_receive() if control & POLL else b""
        if control & 0x0F == RR:
            self._step(Event.RECEIVE_RR)
            self._acknowledged(control >> 5)
            return self._pump() if self._waiting or self._sent else self._ready_to_receive()
        raise _unusable(kind)
