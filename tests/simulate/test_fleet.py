"""A fleet on real sockets: many meters in one process, the writes it refuses, its window, and rubbish on the line."""

import asyncio
import contextlib
import random
from pathlib import Path

import pytest

from protocols.modbus.codec import Framing, encode_frame, read_pdu, split_tcp, write_pdu
from simulate.fleet_door import DoorFault, FleetDoor, ask_fleet
from simulate.meters import Fleet
from tests.protocols.modbus.scripted import HandClock, run
from tests.simulate.rigs import ORIGIN, faces_of, free_listen, spec

NOW = ORIGIN + 5 * 3600


def fleet_of(points: int = 20, units: int = 1, framing: Framing = Framing.TCP) -> Fleet:
    return Fleet(faces_of(spec(points)), free_listen(units), HandClock(NOW), framing=framing)


async def exchange(fleet: Fleet, index: int, pdu: bytes) -> bytes:
    host, port, unit = fleet.listen.place(index)
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(encode_frame(Framing.TCP, 1, unit, pdu))
        head = await reader.readexactly(7)
        return await reader.readexactly(head[5] - 1)
    finally:
        writer.close()


def test_a_thousand_meters_in_one_process() -> None:
    async def main() -> None:
        fleet = fleet_of(1000)
        await fleet.start()
        try:
            for index in (0, 1, 500, 999, len(fleet.faces.truth.grid.meters) - 1):
                function = 3 if fleet.faces.relay_of(index) else 4
                address = 0x0A if function == 3 else 0x48
                assert (await exchange(fleet, index, read_pdu(function, address, 2)))[0] == function
        finally:
            fleet.close()

    run(main())


@pytest.mark.parametrize(
    ("pdu", "reply"),
    [
        (b"\x06\x00\x1a\x00\x00", "8601"),
        (b"\x05\x00\x1a\x00\x00", "8501"),
        (write_pdu(0x0000, (0, 0)), "9002"),
        (write_pdu(0x0015, (0x0201,)), "9002"),
        (write_pdu(0x001A, (0, 0)), "9002"),
        (write_pdu(0x001A, (2,)), "9003"),
        (b"\x10\x00\x1a\x00\x01\x02\x00", "9003"),
        (b"\x03\x00\x00\x00\x7e", "8303"),
        (b"\x03\x00\x00", "8303"),
        (read_pdu(3, 0x100, 1), "8302"),
        (read_pdu(4, 0, 1), "8402"),
    ],
)
def test_what_the_relay_meter_refuses(pdu: bytes, reply: str) -> None:
    fleet = fleet_of()
    index = next(n for n in range(20) if fleet.faces.relay_of(n))
    before = fleet.truth(fleet.faces.truth.grid.meters[index], NOW)
    assert fleet.answer(index, pdu).hex() == reply
    assert fleet.faces.truth.connected(index)
    assert fleet.truth(fleet.faces.truth.grid.meters[index], NOW) == before


def test_pipelined_requests_are_answered_in_order() -> None:
    async def main() -> None:
        fleet = fleet_of(units=247)
        await fleet.start()
        host, port, _ = fleet.listen.place(0)
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"".join(encode_frame(Framing.TCP, n, n, read_pdu(3, 8, 2)) for n in range(1, 9)))
        stream = b""
        seen: list[tuple[int | None, int]] = []
        while len(seen) < 8:
            stream += await reader.read(1000)
            while frame := split_tcp(stream):
                stream = stream[frame.used :]
                seen.append((frame.transaction, frame.unit))
        assert seen == [(n, n) for n in range(1, 9)]
        writer.close()
        fleet.close()
        await asyncio.sleep(0)

    run(main())


@pytest.mark.parametrize("framing", list(Framing))
def test_rubbish_closes_one_connection_and_nothing_else(framing: Framing) -> None:
    async def main() -> None:
        fleet = fleet_of(units=247, framing=framing)
        await fleet.start()
        host, port, _ = fleet.listen.place(0)
        dice = random.Random(7)
        for _ in range(200):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(dice.randbytes(dice.randrange(1, 300)))
            writer.write_eof()
            with contextlib.suppress(ConnectionError):
                await reader.read()
            writer.close()
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(encode_frame(framing, 5, 1, read_pdu(3, 8, 2)))
        assert len(await reader.read(100)) > 4
        writer.close()
        fleet.close()
        await asyncio.sleep(0)

    run(main())


def test_the_window_tells_truth_relays_and_takes_silence(tmp_path: Path) -> None:
    async def main() -> None:
        fleet = fleet_of()
        door = FleetDoor(fleet)
        path = tmp_path / "fleet.sock"
        await door.start(path)
        grid = fleet.faces.truth.grid
        told = await ask_fleet(path, {"do": "truth", "at": NOW})
        assert [one["meter"] for one in told["meters"]] == list(grid.meters)
        assert told["meters"][3]["import_wh"] == fleet.truth(grid.meters[3], NOW)
        fleet.faces.truth.move_relay(grid.meters[2], closed=False, at=NOW)
        assert (await ask_fleet(path, {"do": "relays"}))["disconnected"] == [grid.meters[2]]
        assert (await ask_fleet(path, {"do": "silence", "meter": grid.meters[1]}))["silent"] == [grid.meters[1]]
        assert fleet.silent == {1}
        assert (await ask_fleet(path, {"do": "silence", "meter": grid.meters[1], "silent": False}))["silent"] == []
        assert (await ask_fleet(path, {"do": "summary"}))["meters"] == len(grid.meters)
        for wrong in ({"do": "dance"}, {"do": "truth", "at": NOW + 3600}, {"do": "truth"}):
            with pytest.raises(DoorFault, match="TQ-SM-20"):
                await ask_fleet(path, wrong)
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"no json\n[]\n")
        assert b"TQ-SM-20" in await reader.readline()
        assert b"TQ-SM-20" in await reader.readline()
        writer.close()
        door.close()
        await asyncio.sleep(0)

    run(main())
