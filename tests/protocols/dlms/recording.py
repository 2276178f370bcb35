"""Golden bytes for a profile: one poll of a meter made from it. `python -m tests.protocols.dlms.recording FILE…`.

What it prints goes to the end of the profile. Bytes of a real meter are better: record them and say so in `about`.
"""

import asyncio
import sys
from pathlib import Path

from gridmodel.identity import MeterId
from hosting.clocks import SystemIoClock, seeded_rng
from protocols.dlms.driver import DlmsDriver
from protocols.dlms.keys import MeterSecrets
from protocols.dlms.section import DlmsPlan, dlms_plan
from protocols.driver import MeterTarget
from protocols.profile import MeterProfile, parse_profile
from tests.protocols.dlms.served import METER_TITLE, ServedMeter, secrets_of, served
from tests.protocols.modbus.scripted import NOON, HandClock

PLACEHOLDER = (
    '\n[[golden]]\nabout = "-"\nexchanges = [{ request = "00", reply = "00" }]\nregisters = {}\nmeasurements = {}\n'
)
SERIAL = "TQ00471103"
VALUES = {
    "import": 12_345_678,
    "export": 1_234,
    "reactive_import": 345_600,
    "t1": 8_000_000,
    "t2": 4_345_678,
    "voltage_l1_mv": 230_400,
    "voltage_l2_mv": 229_100,
    "voltage_l3_mv": 231_700,
    "current_l1_ma": 5_120,
    "current_l2_ma": 4_980,
    "current_l3_ma": 5_310,
    "power_w": 1_169,
    "frequency_mhz": 50_020,
}


class RecordedEntropy:
    """The entropy of a recording, in the order the driver takes it: dedicated key, challenge."""

    def __init__(self, plan: DlmsPlan) -> None:
        made = plan.recorded_with
        self._tokens = [bytes.fromhex(one) for one in (made.dedicated_key, made.challenge) if one]

    def token(self, size_bytes: int) -> bytes:
        token = self._tokens.pop(0)
        assert len(token) == size_bytes
        return token


class MemoryCounters:
    """Marks that live as long as the test."""

    def __init__(self, first: int = 1) -> None:
        self.first = first
        self.marks: dict[str, int] = {}

    async def mark(self, key: str) -> int:
        return self.marks.get(key, self.first)

    async def move(self, key: str, mark: int) -> None:
        self.marks[key] = max(mark, self.marks.get(key, self.first))


class GivenKeys:
    """The same secrets for every meter, and one title."""

    def __init__(self, secrets: MeterSecrets, title: bytes) -> None:
        self.secrets = secrets
        self.title = title

    def client_title(self) -> bytes:
        return self.title

    def secrets_of(self, meter: MeterId) -> MeterSecrets:
        return self.secrets


def recorded_driver(profile: MeterProfile) -> DlmsDriver:
    """A driver that sends the bytes of the recording once more."""
    plan = dlms_plan(profile)
    return DlmsDriver(
        {profile.name: profile},
        keys=GivenKeys(secrets_of(plan), bytes.fromhex(plan.recorded_with.client_title) or bytes(8)),
        counters=MemoryCounters(plan.recorded_with.counter),
        entropy=RecordedEntropy(plan),
        clock=HandClock(),
        io_clock=SystemIoClock(),
        rng=seeded_rng(1),
    )


def record(name: str, text: str) -> str:
    """The profile's golden table, for a text without one."""
    profile = parse_profile(name, text + PLACEHOLDER)
    plan = dlms_plan(profile)

    async def main() -> str:
        meter = ServedMeter(plan, SERIAL, lambda key, _: VALUES[key], title=METER_TITLE)
        driver = recorded_driver(profile)
        async with served(meter, lambda: NOON) as wire:
            seen = await driver.read(MeterTarget(MeterId("m-1"), SERIAL, name, wire.address, 1))
            await driver.close()
        lines = [
            "[[golden]]",
            'about = "composed: one poll of a meter made from this profile, served by our own meter side"',
            f'serial = "{seen.serial}"',
        ]
        if seen.relay is not None:
            lines.append(f'relay = "{seen.relay.state.value}"')
        registers = ", ".join(f"{channel.name.lower()} = {value}" for channel, value in seen.registers.items())
        measured = ", ".join(f"{key} = {value}" for key, value in seen.measurements.items())
        lines += [f"registers = {{ {registers} }}", f"measurements = {{ {measured} }}", "exchanges = ["]
        for came, went in wire.seen:
            if went:
                lines.append(f'    {{ request = "{came.hex().upper()}", reply = "{went.hex().upper()}" }},')
        return "\n".join([*lines, "]", ""])

    return asyncio.run(main())


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        path = Path(argument)
        print(record(path.stem, path.read_text("utf-8").partition("[[golden]]")[0]))  # noqa: T201
