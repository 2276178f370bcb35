"""`probe` over real sockets: what it decodes, and what it says when a meter is silent, absent or unknown."""

import asyncio
import json
import math
import struct
from typing import Any

import pytest

from edge_node.metering.probe import probe
from edge_node.reports import probe_lines
from hosting.clocks import SystemIoClock, seeded_rng
from protocols.modbus.codec import Framing
from protocols.modbus.driver import ModbusDriver
from simulate.meters import Fleet
from tests.protocols.modbus.scripted import HandClock, Line, gateway
from tests.simulate.rigs import ORIGIN, PROFILES, faces_of, free_listen, spec

CLOCK = HandClock(ORIGIN + 3 * 3600)


def driver() -> ModbusDriver:
    return ModbusDriver(PROFILES, clock=CLOCK, io_clock=SystemIoClock(), rng=seeded_rng(1))


def probed(framing: Framing, profile: str | None = None, *, silent: bool = False, port: int | None = None) -> Any:
    async def main() -> Any:
        fleet = Fleet(faces_of(spec(10)), free_listen(), CLOCK, framing=framing)
        index = next(n for n in range(10) if fleet.faces.relay_of(n))
        fleet.silent = {index} if silent else set()
        await fleet.start()
        try:
            host, real_port, unit = fleet.listen.place(index)
            address = f"{framing.value}://{host}:{real_port if port is None else port}"
            made = profile or fleet.faces.truth.grid.profile_of(index)
            result = await probe(made, address, unit, make_driver=driver, clock=CLOCK)
            truth = fleet.faces.truth.registers_at(index, CLOCK.now())
            return json.loads(json.dumps(result)), truth
        finally:
            fleet.close()
            await asyncio.sleep(0)

    return asyncio.run(main())


def test_a_meter_is_read_once() -> None:
    result, truth = probed(Framing.RTU)
    assert result["ok"] is True
    assert (result["link"], result["unit"], result["security"]) == ("rtu", 1, "none")
    assert result["read_at"] == CLOCK.now()
    assert result["relay"]["state"] == "closed"
    assert result["errors"] == []
    rows = {row["channel"]: row for row in result["readings"]}
    assert rows["import"] == {
        "channel": "import",
        "register": "3:000A",
        "value": truth.import_wh,
        "unit": "Wh",
        "quality": "actual",
        "raw_hex": f"{truth.import_wh // 10:08x}",
        "resolution_wh": 10,
        "mark": "coarse",
    }
    assert (rows["power_w"]["resolution_wh"], rows["power_w"]["mark"]) == (None, None)
    assert {name: row["unit"] for name, row in rows.items()} == {
        "import": "Wh",
        "export": "Wh",
        "voltage_l1_mv": "mV",
        "current_l1_ma": "mA",
        "power_w": "W",
        "frequency_mhz": "mHz",
    }


@pytest.mark.parametrize(
    ("import_kwh", "resolution_wh", "mark"),
    [(12_345.678, 1, None), (100_000.0, 8, "coarse"), (131_072.0, 16, "coarse"), (math.nan, None, None)],
)
def test_a_float_register_tells_how_coarse_it_has_become(
    import_kwh: float, resolution_wh: int | None, mark: str | None
) -> None:
    async def counting(line: Line) -> None:
        image = bytearray(0x400)
        struct.pack_into(">f", image, 2 * 0x48, import_kwh)
        while True:
            function, address, count = struct.unpack(">BHH", await line.request())
            data = image[2 * address : 2 * (address + count)]
            await line.send(line.frame(bytes((function, len(data))) + data))

    async def main() -> Any:
        async with gateway(counting) as made:
            return await probe("sdm630", f"127.0.0.1:{made.port}", 1, make_driver=driver, clock=CLOCK)

    result = asyncio.run(main())
    rows = {row["channel"]: row for row in result["readings"]}
    assert (rows["import"]["resolution_wh"], rows["import"]["mark"]) == (resolution_wh, mark), result
    assert (rows["export"]["resolution_wh"], rows["export"]["mark"]) == (1, None)
    lines = [line for line in probe_lines(result) if line.startswith("import")]
    assert len(lines) == 1
    assert ("coarse" in lines[0].split()) == (mark is not None)


def test_silence_absence_and_ignorance_are_results() -> None:
    for (result, _), code, blame in (
        (probed(Framing.TCP, silent=True), "TQ-MB-02", "remote"),
        (probed(Framing.TCP, port=1), "TQ-MB-01", "remote"),
        (probed(Framing.TCP, port=99_999), "TQ-MB-47", "local"),
        (probed(Framing.TCP, "none_such"), "TQ-MB-50", "local"),
        (probed(Framing.TCP, "sdm630"), "TQ-MB-22", "remote"),
    ):
        assert result["ok"] is False
        assert result["readings"] == []
        assert result["errors"][0]["code"] == code
        assert result["errors"][0]["blame"] == blame
        assert result["errors"][0]["hint"]
