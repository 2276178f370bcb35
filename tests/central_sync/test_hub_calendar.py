"""Commands beside a running hub judge its files by its calendar, not by the shell's."""

import asyncio
from pathlib import Path

import pytest

from central_sync.command_line import clock_of
from hosting.clocks import CLOCK_VARIABLE, ScaledClock
from hosting.door import CALENDAR, calendar_verb, serve_door
from tests.central_sync.hub_rig import hub_config


def test_the_calendar_of_the_hub_that_runs_in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CLOCK_VARIABLE, raising=False)
    config = hub_config(tmp_path)
    config.data_dir.mkdir(parents=True, exist_ok=True)
    scaled = ScaledClock(1_776_000_000.0, 1_790_000_000.5, 600.0)

    async def story() -> None:
        assert (await clock_of(config)).calendar == ScaledClock().calendar
        async with serve_door(config.door, {CALENDAR: calendar_verb(scaled.calendar)}):
            assert (await clock_of(config)).calendar == scaled.calendar
            monkeypatch.setenv(CLOCK_VARIABLE, "5,6,1")
            assert (await clock_of(config)).calendar == "5.0,6.0,1.0"

    asyncio.run(story())
