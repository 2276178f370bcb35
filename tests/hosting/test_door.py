import asyncio
import socket
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gridmodel.fault import Fault
from hosting.door import DoorFault, call_door, serve_door
from hosting.log import silence_log


async def pay(body: dict[str, Any]) -> dict[str, Any]:
    if body["amount"] <= 0:
        raise Fault("TQ-MO-01", "no such amount", "give soʻm above zero")
    return {"receipt": body["amount"] * 2}


async def broken(_: dict[str, Any]) -> dict[str, Any]:
    raise ZeroDivisionError


VERBS = {"pay": pay, "broken": broken}


def with_door(path: Path, story: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with serve_door(path, VERBS):
            await story()

    asyncio.run(whole())
    assert not path.exists()


@pytest.mark.parametrize("deep", [False, True])
def test_a_verb_goes_in_and_its_answer_or_fault_comes_out(tmp_path: Path, deep: bool) -> None:
    folder = tmp_path / ("d" * 100) if deep else tmp_path
    folder.mkdir(exist_ok=True)
    path = folder / "door.sock"

    async def story() -> None:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert await call_door(path, "pay", {"amount": 5}) == {"receipt": 10}
        with pytest.raises(DoorFault) as caught:
            await call_door(path, "pay", {"amount": 0})
        assert caught.value.as_dict() == {
            "code": "TQ-MO-01",
            "what": "no such amount",
            "hint": "give soʻm above zero",
        }
        with pytest.raises(DoorFault, match=r"TQ-DR-03.*broken, pay"):
            await call_door(path, "dance", {})
        with pytest.raises(DoorFault, match="TQ-DR-02"):
            async with serve_door(path, VERBS):
                pass
        assert await call_door(path, "pay", {"amount": 1}) == {"receipt": 2}

    with_door(path, story)


def test_a_verb_that_breaks_is_named_without_its_stack_and_the_door_stays(tmp_path: Path) -> None:
    silence_log()
    path = tmp_path / "door.sock"

    async def story() -> None:
        with pytest.raises(DoorFault, match="TQ-DR-07: broken failed inside"):
            await call_door(path, "broken", {})
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"POST /pay HTTP/1.1\r\nHost: door\r\nConnection: close\r\nContent-Length: 2\r\n\r\n[]")
        assert b"TQ-DR-06" in await reader.read()
        writer.close()
        assert await call_door(path, "pay", {"amount": 1}) == {"receipt": 2}

    with_door(path, story)


def test_nobody_at_the_door_is_named(tmp_path: Path) -> None:
    with pytest.raises(DoorFault, match=r"TQ-DR-01.*not running"):
        asyncio.run(call_door(tmp_path / "door.sock", "pay", {}))
    with pytest.raises(DoorFault, match="TQ-DR-01"):
        asyncio.run(call_door(tmp_path / ("d" * 120) / "door.sock", "pay", {}))


def test_the_socket_of_a_dead_process_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "door.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert path.exists()

    async def story() -> None:
        assert await call_door(path, "pay", {"amount": 1}) == {"receipt": 2}

    with_door(path, story)


def test_an_answer_that_does_not_come_is_named(tmp_path: Path) -> None:
    path = tmp_path / "door.sock"

    async def whole() -> None:
        go = asyncio.Event()

        async def hang(_: dict[str, Any]) -> dict[str, Any]:
            await go.wait()
            return {}

        async with serve_door(path, {"hang": hang}):
            with pytest.raises(DoorFault, match="TQ-DR-04"):
                await call_door(path, "hang", {}, answer_s_max=0.05)
            go.set()

    asyncio.run(whole())
