"""Golden bytes for a profile: one poll. `python -m tests.protocols.modbus.recording FILE [ADDRESS [UNIT]]`.

What it prints goes to the end of the profile. With the address of a meter on the bench it is that meter's poll.
Without it is a poll of registers drawn from the profile itself, which proves less: compare them with the maker's sheet.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from hosting.clocks import SystemIoClock, seeded_rng
from protocols.modbus.bus import Bus
from protocols.modbus.driver import parse_address, snapshot_of
from protocols.modbus.section import Block, ModbusPlan, modbus_plan
from protocols.profile import MeterProfile, parse_profile
from simulate.image import ProfileImage
from tests.protocols.modbus.scripted import HandClock

PLACEHOLDER = (
    '\n[[golden]]\nabout = "-"\nexchanges = [{ request = "00", reply = "00" }]\nregisters = {}\nmeasurements = {}\n'
)
VALUES: dict[str, int | None] = {
    "register.import": 12_345_678,
    "register.export": 1_234,
    "register.reactive_import": 345_600,
    "register.t1": 8_000_000,
    "register.t2": 4_345_678,
    "serial": 471_103,
    "voltage_l1_mv": 230_400,
    "voltage_l2_mv": 229_100,
    "voltage_l3_mv": 231_700,
    "current_l1_ma": 5_120,
    "current_l2_ma": 4_980,
    "current_l3_ma": 5_310,
    "power_w": 1_169,
    "frequency_mhz": 50_020,
}

Ask = Callable[[Block], Awaitable[bytes]]
"""One read to the register bytes of its reply."""


def record(name: str, text: str, address: str | None = None, unit: int = 1) -> str:
    """The profile's golden table, for a text without one. Raises `ModbusFault` for a silent meter."""
    profile = parse_profile(name, text + PLACEHOLDER)
    plan = modbus_plan(profile)
    about = "composed: registers drawn from this profile" if address is None else "one poll of a meter on the bench"
    return asyncio.run(_drawn(profile, plan, unit, about) if address is None else _asked(plan, address, unit, about))


async def _drawn(profile: MeterProfile, plan: ModbusPlan, unit: int, about: str) -> str:
    image = ProfileImage(profile).draw(VALUES | ({"relay": plan.relay.closed} if plan.relay else {}))

    async def ask(block: Block) -> bytes:
        data = bytearray(2 * block.count)  # registers that nobody wants are zero
        for field in block.fields:
            words = image.read(block.function, block.address + field.offset // 2, field.size // 2)
            data[field.offset : field.offset + field.size] = words or b""
        return bytes(data)

    return await _table(plan, unit, ask, about)


async def _asked(plan: ModbusPlan, address: str, unit: int, about: str) -> str:
    host, port, framing = parse_address(address)
    bus = Bus(host, port, framing, clock=HandClock(), io_clock=SystemIoClock(), rng=seeded_rng(1))

    async def ask(block: Block) -> bytes:
        return await bus.exchange(unit, block.pdu, plan.timing)

    try:
        return await _table(plan, unit, ask, about)
    finally:
        bus.close()
        await asyncio.sleep(0)


async def _table(plan: ModbusPlan, unit: int, ask: Ask, about: str) -> str:
    values: dict[str, int | None] = {}
    exchanges = []
    for block in plan.poll:
        data = await ask(block)
        values |= {field.key: field.value(data) for field in block.fields}
        reply = " ".join(field.raw(data).hex().upper() for field in block.fields)
        if sum(field.size for field in block.fields) != len(data):
            reply = data.hex().upper()
        request = f"{unit:02X} {block.function:02X} {block.address:04X} {block.count:04X}"
        head = f"{unit:02X} {block.function:02X} {len(data):02X}"
        exchanges.append(f'    {{ request = "{request}", reply = "{head} {reply}" }},')
    seen = snapshot_of(plan, values, dict.fromkeys(values, ""))
    registers = {channel.name.lower(): value for channel, value in seen.registers.items()}
    nothing = [name for name, value in {**registers, **seen.measurements}.items() if value is None]
    lines = ["[[golden]]", f'about = "{about}"']
    if seen.serial is not None:
        lines.append(f'serial = "{seen.serial}"')
    if seen.relay is not None:
        lines.append(f'relay = "{seen.relay.state.value}"')
    lines += ["exchanges = [", *exchanges, "]", f"registers = {_inline(registers)}"]
    if nothing:
        lines.append("no_reading = [" + ", ".join(f'"{name}"' for name in nothing) + "]")
    return "\n".join([*lines, f"measurements = {_inline(dict(seen.measurements))}", ""])


def _inline(values: dict[str, int | None]) -> str:
    known = ", ".join(f"{name} = {value}" for name, value in values.items() if value is not None)
    return f"{{ {known} }}" if known else "{}"


if __name__ == "__main__":
    path, where, *number = [*sys.argv[1:], ""][:3]
    text = Path(path).read_text("utf-8").partition("[[golden]]")[0]
    unit = int(number[0]) if number and number[0] else 1
    print(record(Path(path).stem, text, where or None, unit))  # noqa: T201
