"""One connection fed with mutated streams: its own answer, or a named fault and a closed socket; nothing else, ever."""

import asyncio
import random

import pytest

from hosting.clocks import SystemIoClock
from protocols.errors import Blame, Hope
from protocols.modbus.codec import FRAME_SIZE_MAX, Framing, ModbusFault, encode_frame, read_pdu
from protocols.modbus.connection import Connection
from tests.protocols.modbus.scripted import registers, run

REQUEST = read_pdu(3, 0, 10)
ANSWER = registers(*range(1000, 1010))
STREAMS = 10_000
END = ModbusFault("TQ-MB-08", "the test is over", "nothing to do", blame=Blame.LOCAL, hope=Hope.RETRY)


class DeafTransport(asyncio.Transport):
    """Takes writes and remembers whether it was aborted."""

    def __init__(self) -> None:
        super().__init__()
        self.aborted = False
        self.writes = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Nobody is there."""
        self.writes += 1

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True


def arrive(connection: Connection, data: bytes) -> None:
    """As the event loop does it: as much at once as the connection has room for."""
    while data and connection.spoiled is None:
        buffer = connection.get_buffer(-1)
        size = min(len(buffer), len(data))
        buffer[:size] = data[:size]
        connection.buffer_updated(size)
        data = data[size:]


def mutated(dice: random.Random, frame: bytes) -> list[bytes]:
    """The answer, spoiled in some way or none, in one or several pieces."""
    stream = bytearray(frame)
    match dice.randrange(7):
        case 0:
            stream[dice.randrange(len(stream))] ^= 1 << dice.randrange(8)
        case 1:
            del stream[dice.randrange(len(stream)) :]
        case 2:
            stream += dice.randbytes(dice.randrange(1, 500))
        case 3:
            stream[:0] = dice.randbytes(dice.randrange(1, 20))
        case 4:
            stream = bytearray(dice.randbytes(dice.randrange(1, 600)))
        case 5:
            stream += frame
        case _:
            pass
    cuts = sorted(dice.randrange(len(stream) + 1) for _ in range(dice.randrange(4)))
    return [bytes(stream[a:b]) for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True) if b > a]


def test_ten_thousand_mutated_streams() -> None:
    async def main() -> None:
        dice = random.Random(42)
        accepted = faulted = waiting = 0
        for number in range(STREAMS):
            framing = list(Framing)[number % 2]
            connection, transport = Connection(framing, SystemIoClock()), DeafTransport()
            connection.connection_made(transport)
            length = dice.randrange(1, 4)
            reply = connection.send(1, (REQUEST,) * length, 60.0)
            for transaction in range(1, length):
                arrive(connection, encode_frame(framing, transaction, 1, ANSWER))
            assert transport.writes == length
            for piece in mutated(dice, encode_frame(framing, length, 1, ANSWER)):
                arrive(connection, piece)
            if not reply.done():
                waiting += 1
                assert len(connection._buffer) <= FRAME_SIZE_MAX
                connection.abandon(END)
            fault = reply.exception()
            if fault is None:
                accepted += 1
                assert framing is Framing.TCP or reply.result() == [ANSWER[2:]] * length
            else:
                faulted += 1
                assert isinstance(fault, ModbusFault)
                assert transport.aborted
                assert connection.spoiled is not None
            connection.abandon(END)
        assert accepted > 1_000
        assert faulted - waiting > 1_000
        assert waiting > 100

    run(main())


@pytest.mark.parametrize("framing", Framing)
def test_what_comes_in_the_pause_of_a_run_is_nobodys_reply(framing: Framing) -> None:
    async def main() -> None:
        for early in (b"\x00", encode_frame(framing, 1, 1, ANSWER), encode_frame(framing, 2, 1, ANSWER)):
            connection, transport = Connection(framing, SystemIoClock()), DeafTransport()
            connection.connection_made(transport)
            reply = connection.send(1, (REQUEST,) * 2, 60.0, 60.0)
            arrive(connection, encode_frame(framing, 1, 1, ANSWER))
            assert not reply.done()
            arrive(connection, early)
            fault = reply.exception()
            assert isinstance(fault, ModbusFault)
            assert (fault.code, transport.writes, transport.aborted) == ("TQ-MB-09", 1, True)

    run(main())


@pytest.mark.parametrize("pause_s", [0.0, 0.001])
def test_a_run_that_was_given_up_asks_nothing_more(pause_s: float) -> None:
    async def main() -> None:
        connection, transport = Connection(Framing.TCP, SystemIoClock()), DeafTransport()
        connection.connection_made(transport)
        reply = connection.send(1, (REQUEST,) * 3, 60.0, pause_s)
        if pause_s:  # given up while it pauses
            arrive(connection, encode_frame(Framing.TCP, 1, 1, ANSWER))
            reply.cancel()
            over = asyncio.Event()
            asyncio.get_running_loop().call_later(2 * pause_s, over.set)
            await over.wait()
        else:
            reply.cancel()
            arrive(connection, encode_frame(Framing.TCP, 1, 1, ANSWER))
        assert transport.writes == 1
        assert connection.spoiled is None
        connection.abandon(END)

    run(main())


def test_each_request_of_a_run_has_its_own_patience() -> None:
    async def main() -> None:
        connection = Connection(Framing.TCP, SystemIoClock())
        connection.connection_made(DeafTransport())
        reply = connection.send(1, (REQUEST,) * 2, 0.05, 0.08)  # a pause longer than the patience
        arrive(connection, encode_frame(Framing.TCP, 1, 1, ANSWER))
        began = asyncio.get_running_loop().time()
        with pytest.raises(TimeoutError):
            await reply
        assert asyncio.get_running_loop().time() - began > 0.12
        connection.abandon(END)

    run(main())
