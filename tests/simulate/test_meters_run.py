"""The fleet as a process runs it: plain or from a grid, on free addresses, and what it refuses to start with."""

import asyncio
import resource
from pathlib import Path

import pytest

from protocols.profile import ProfileFault
from simulate.dlms_keys import read_secrets
from simulate.fleet_door import ask_fleet
from simulate.grid_registry import GridFault
from simulate.meters_run import AnyFleet, FleetOptions, parse_listen, plain_spec, read_grid, serve_fleet
from tests.protocols.modbus.scripted import HandClock, run
from tests.simulate.rigs import free_listen, spec

CLOCK = HandClock()


def test_a_plain_fleet_serves_exactly_what_was_asked(tmp_path: Path) -> None:
    async def main() -> None:
        stop = asyncio.Event()
        started: asyncio.Future[AnyFleet] = asyncio.get_running_loop().create_future()
        options = FleetOptions(free_listen(), door=tmp_path / "fleet.sock")
        serving = asyncio.create_task(
            serve_fleet(
                plain_spec(5, "sdm630", 3, CLOCK), options, clock=CLOCK, stop=stop, ready=started.set_result, count=5
            )
        )
        fleet = await started
        assert {fleet.grid_truth.grid.profile_of(n) for n in range(5)} == {"sdm630"}
        assert (await ask_fleet(tmp_path / "fleet.sock", {"do": "summary"}))["meters"] == 5
        host, port, _ = fleet.listen.place(4)
        _, writer = await asyncio.open_connection(host, port)
        writer.close()
        host, port, _ = fleet.listen.place(5)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(host, port)
        stop.set()
        await serving

    run(main())


def test_an_address_that_is_taken_is_named() -> None:
    async def main() -> None:
        options = FleetOptions(free_listen())
        host, port, _ = options.listen.place(3)
        taken = await asyncio.start_server(lambda r, w: None, host, port)
        with pytest.raises(GridFault, match="TQ-SM-14"):
            await serve_fleet(spec(10), options, clock=CLOCK, stop=asyncio.Event(), ready=lambda fleet: None)
        taken.close()
        await asyncio.sleep(0)

    run(main())


def test_too_few_files_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (100, 100))
    with pytest.raises(GridFault, match="TQ-SM-12"):
        run(_serve())


async def _serve() -> None:
    await serve_fleet(
        spec(10), FleetOptions(free_listen()), clock=CLOCK, stop=asyncio.Event(), ready=lambda fleet: None
    )


@pytest.mark.parametrize(
    "text",
    ["", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:40000", "localhost:502", "127.0.0.1:x", "127.0.0.1:" + "9" * 5_000],
)
def test_a_place_that_is_none_is_named(text: str) -> None:
    with pytest.raises(GridFault, match="TQ-SM-10"):
        parse_listen(text)


@pytest.mark.parametrize("text", ["[" * 100_000, "null", "[]", "9" * 5_000, "{" + " " * 2**20 + "}"])
def test_a_grid_file_that_breaks_the_reader_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "grid.json"
    path.write_text(text, "utf-8")
    with pytest.raises(GridFault, match="TQ-SM-11"):
        read_grid(path)
    with pytest.raises(GridFault, match="TQ-SM-16"):
        read_secrets(path)


def test_a_fleet_of_nothing_is_refused() -> None:
    with pytest.raises(GridFault, match="TQ-SM-13"):
        plain_spec(0, "sdm630", 1, CLOCK)
    with pytest.raises(GridFault, match="TQ-SM-13"):
        plain_spec(99_999_999_999, "sdm630", 1, CLOCK)
    with pytest.raises(ProfileFault, match="TQ-MP-03"):
        plain_spec(3, "none_such", 1, CLOCK)
