"""The simulated concentrator: what the line takes and loses, its queue, its list, its rounds, and who may connect."""

import asyncio
import random
import statistics
from collections.abc import Coroutine
from typing import Any

from typer.testing import CliRunner

from protocols.dlms.apdu.parts import AttributeDescriptor
from protocols.dlms.cosem_time import read_time
from protocols.dlms.data import Data, Tag
from protocols.dlms.obis import SERIAL
from simulate.__main__ import app
from simulate.concentrator import Answered, Concentrator, ConcentratorShape, Heard, Weather
from simulate.concentrator_fleet import METER_LIST, SCHEDULE
from simulate.dlms_keys import Security
from simulate.loop import run_virtual
from tests.protocols.modbus.scripted import HandClock
from tests.simulate.concentrator_rig import EVENING, FAIR, NOW, Behind, behind
from tests.simulate.dlms_rig import client_of, reading

MANAGEMENT = 1


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 30))


def test_latency_is_as_the_weather_says() -> None:
    dice, weather = random.Random(1), Weather()
    drawn = sorted(weather.latency_s(dice) for _ in range(20_000))
    assert abs(statistics.median(drawn) - 1.5) < 0.05
    assert abs(drawn[19_000] - 8.0) < 0.5


def test_an_evening_loses_more_than_a_morning() -> None:
    dice, weather = random.Random(1), Weather(loss=0.0, evening_loss=0.15)
    by_hour = {hour: sum(weather.lost(dice, hour) for _ in range(10_000)) / 10_000 for hour in (3, 17, 18, 21, 22)}
    assert [by_hour[hour] for hour in (3, 17, 22)] == [0.0] * 3
    assert all(0.13 < by_hour[hour] < 0.17 for hour in (18, 21))


class Line:
    """A concentrator with requests whose fate is written down."""

    def __init__(self, shape: ConcentratorShape, meters: int = 4, now: int = NOW) -> None:
        self.clock = HandClock(now)
        self.one = Concentrator(range(meters), shape, self.clock, 300, random.Random(5))
        self.arrived: list[int] = []
        self.answered: list[tuple[float, int]] = []

    def ask(self, index: int, *, silent: bool = False) -> None:
        def arrives() -> Answered | None:
            self.arrived.append(index)
            return None if silent else lambda: self.answered.append((asyncio.get_running_loop().time(), index))

        self.one.carry(index, arrives)


def test_a_few_at_once_are_on_the_line_the_others_queue_and_beyond_that_nothing_is_heard() -> None:
    async def story() -> None:
        line = Line(ConcentratorShape(weather=Weather(1.0, 1.0, 0.0, 0.0), lanes=2, queue_max=3))
        for index in (0, 1, 2, 3, 0, 1, 2):
            line.ask(index)
        await asyncio.sleep(1.5)
        assert [index for _, index in line.answered] == [0, 1]
        await asyncio.sleep(10)
        assert [index for _, index in line.answered] == [0, 1, 2, 3, 0]
        times = [round(at - line.answered[0][0], 3) for at, _ in line.answered]
        assert times == [0.0, 0.0, 1.0, 1.0, 2.0]
        assert (line.one.counts["dropped"], line.one.most_waiting) == (2, 3)

    run_virtual(story())


def test_what_is_lost_may_have_been_done() -> None:
    async def story() -> None:
        line = Line(ConcentratorShape(weather=Weather(0.1, 0.2, 0.0, 0.5), lanes=100), now=EVENING)
        for _ in range(100):
            line.ask(1)
        await asyncio.sleep(60)
        lost = line.one.counts["lost"]
        assert len(line.answered) == 100 - lost
        assert 30 < lost < 70
        assert len(line.answered) < len(line.arrived) < 100, "some never came to the meter, of some the answer is lost"

    run_virtual(story())


def test_the_list_tells_who_was_heard_last_and_when() -> None:
    async def story() -> None:
        line = Line(ConcentratorShape(weather=Weather(0.1, 0.2, 0.0, 0.0)))
        line.ask(0)
        line.ask(1, silent=True)
        await asyncio.sleep(5)
        assert [line.one.listed[n].state for n in range(3)] == [Heard.YES, Heard.LOST, Heard.NEVER]
        assert [line.one.listed[n].at for n in range(3)] == [line.clock.at, 0, 0]

    run_virtual(story())


async def meter_list(made: Behind) -> list[tuple[Data, ...]]:
    client = client_of(Security.GMAC, hdlc=False, unit=MANAGEMENT, first_counter=made.clock.at % 1_000_000)
    async with reading(made.fleet, 0, client) as reader:
        schedule = await reader.get(AttributeDescriptor(22, SCHEDULE, 4))
        assert isinstance(schedule, Data)
        assert schedule.tag == Tag.ARRAY
        got = await reader.get(AttributeDescriptor(7, METER_LIST, 2))
        assert isinstance(got, Data)
        assert isinstance(got.value, tuple)
        return [row.value for row in got.value if isinstance(row, Data) and isinstance(row.value, tuple)]


def test_the_management_device_shows_its_meters_and_the_schedule() -> None:
    async def story() -> None:
        async with behind(6, 6) as made:
            await made.driver.read(made.targets[2])
            rows = await meter_list(made)
            assert [row[0].value for row in rows] == list(range(256, 262))
            assert [row[1].value for row in rows] == [target.serial.encode() for target in made.targets]
            assert [row[2].value for row in rows] == [Heard.NEVER, Heard.NEVER, Heard.YES, *[Heard.NEVER] * 3]
            heard = rows[2][3].value
            assert isinstance(heard, bytes)
            time = read_time(heard)
            assert time is not None
            assert time.utc(300) == made.clock.at

    run(story())


def test_meters_are_reached_by_their_own_port_alone() -> None:
    async def story() -> None:
        async with behind(6, 6) as made:
            client = client_of(Security.GMAC, hdlc=False, unit=259)
            async with reading(made.fleet, 0, client) as reader:
                got = await reader.get(AttributeDescriptor(1, SERIAL, 2))
                assert isinstance(got, Data)
                assert got.value == made.targets[3].serial.encode()

    run(story())


def test_it_goes_round_by_itself_and_whoever_asks_goes_first() -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        line = Line(ConcentratorShape(weather=Weather(0.1, 0.2, 0.0, 0.0), round_s=400))

        async def sleep(seconds: float) -> None:
            await asyncio.sleep(seconds)
            line.clock.at += int(seconds)

        line.clock.sleep = sleep  # type: ignore[method-assign]
        rounds = loop.create_task(line.one.go_round(lambda index: index == 3))
        await asyncio.sleep(405)
        rounds.cancel()
        assert [line.one.listed[n].state for n in range(4)] == [Heard.YES] * 3 + [Heard.LOST]
        assert line.one.counts["carried"] == 3

    run_virtual(story())


def test_one_connection_too_many_is_sent_away() -> None:
    async def story() -> None:
        shape = ConcentratorShape(weather=FAIR, connections_max=2, round_s=0)
        async with behind(6, 6, shape=shape) as made:
            host, port, _ = made.fleet.listen.place(0)
            streams = [await asyncio.open_connection(host, port) for _ in range(3)]
            assert await streams[2][0].read() == b""
            assert made.fleet.totals()["refused_connections"] == 1
            assert made.fleet.meddle(0, "concentrator", {})["refused_connections"] == 1
            for _, writer in streams:
                writer.close()

    run(story())


def test_the_command_line_refuses_concentrators_before_other_meters() -> None:
    for arguments in (["--protocol", "modbus"], ["--protocol", "dlms", "--link", "hdlc"]):
        given = ["meters", "--count", "3", "--listen", "127.1.0.1:15999", "--behind", "concentrator", *arguments]
        result = CliRunner().invoke(app, given)
        assert result.exit_code == 2
        assert "TQ-SM-13" in result.output
