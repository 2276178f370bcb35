"""The local admin door: verbs of a running process over a unix socket in its data folder. Floor: hosting.

Writing commands (`pay`, `stop-cuts`, …) must reach the process that owns the database, never the file beside it. The
socket is for its owner only (0600). A fault raised by a verb travels as code, what and hint, and is raised again at the
caller. `serve_door` and `call_door` are both ends.
"""

import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from gridmodel.fault import Fault
from hosting.log import logger

BODY_SIZE_BYTES_MAX = 1024 * 1024
"""A verb's arguments: the largest is an imported list of a day's notices."""
ANSWER_S_MAX = 60.0
"""How long a caller waits (real seconds): a backup copy of a large node takes a few."""
SOCKET_PATH_BYTES_MAX = 107
"""Linux keeps a socket's path in 108 bytes, the last of them zero."""
STOP_S_MAX = 5.0
"""Verbs in progress get so long to end when the process stops."""

NOBODY_HOME = "TQ-DR-01"
"""Code of the fault for a door at which nobody answers: the process is not running."""

CALENDAR = "calendar"

Verb = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
"""Takes and gives a JSON object."""


class DoorFault(Fault):
    """The door is shut, or what a verb behind it refused: then code, what and hint are the verb's own."""


@asynccontextmanager
async def serve_door(path: Path, verbs: Mapping[str, Verb]) -> AsyncIterator[None]:
    """Answer `verbs` on the socket `path` for the length of the block.

    Raises `DoorFault` ``TQ-DR-02`` when another process answers there already; a socket left by a dead one is replaced.
    """

    async def answer(request: web.Request) -> web.Response:
        return await _answer(request, verbs)

    application = web.Application(client_max_size=BODY_SIZE_BYTES_MAX)
    application.router.add_post("/{verb}", answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=STOP_S_MAX)
    await runner.setup()
    try:
        site = web.SockSite(runner, _listen(path))  # from its start on, the runner closes the socket
        try:
            await site.start()
            yield
        finally:
            _remove(path)
    finally:
        await runner.cleanup()


def calendar_verb(calendar: str) -> Verb:
    """The verb under which a process tells its calendar (``TARMOQ_CLOCK``): who reads its files must judge by it."""

    async def tell(_: dict[str, Any]) -> dict[str, Any]:
        return {CALENDAR: calendar}

    return tell


async def calendar_behind(path: Path) -> str | None:
    """The calendar of the process at the door; None when none is running."""
    try:
        return str((await call_door(path, CALENDAR, {}))[CALENDAR])
    except DoorFault as fault:
        if fault.code != NOBODY_HOME:
            raise
        return None


async def call_door(
    path: Path, verb: str, body: Mapping[str, Any], *, answer_s_max: float = ANSWER_S_MAX
) -> dict[str, Any]:
    """Ask the running process to do `verb`; gives its JSON object.

    Raises `DoorFault`: ``TQ-DR-01`` nobody is at the door, ``TQ-DR-04`` no answer in time, or the verb's own fault.
    """
    with short_path(path) as address:
        timeout = aiohttp.ClientTimeout(total=answer_s_max)
        try:
            async with (
                aiohttp.ClientSession(connector=aiohttp.UnixConnector(address), timeout=timeout) as session,
                session.post(f"http://door/{verb}", json=dict(body)) as reply,
            ):
                answer = await reply.json()
        except aiohttp.ClientConnectorError as error:
            raise DoorFault(
                "TQ-DR-01", f"nobody answers at {path}", "the process is not running: start it, or give its --config"
            ) from error
        except TimeoutError as error:
            raise DoorFault(
                "TQ-DR-04",
                f"{verb} was not answered within {answer_s_max:.0f} s",
                "it may still be done: look before repeating",
            ) from error
        except (aiohttp.ClientError, ValueError) as error:
            raise DoorFault(
                "TQ-DR-05", f"the answer to {verb} broke off: {error}", "look before repeating it"
            ) from error
    if isinstance(answer, dict) and isinstance(result := answer.get("result"), dict):
        return result
    fault = answer.get("fault") if isinstance(answer, dict) else None
    if isinstance(fault, dict):
        raise DoorFault(str(fault.get("code")), str(fault.get("what")), str(fault.get("hint")))
    raise DoorFault(
        "TQ-DR-05", f"the answer to {verb} makes no sense", "is it the same version? look before repeating it"
    )


async def _answer(request: web.Request, verbs: Mapping[str, Verb]) -> web.Response:
    name = request.match_info["verb"]
    verb = verbs.get(name)
    if verb is None:
        return _refusal(
            404, DoorFault("TQ-DR-03", f"there is no verb {name}", f"there are: {', '.join(sorted(verbs))}")
        )
    body = _object_in(await request.read())
    if body is None:
        return _refusal(400, DoorFault("TQ-DR-06", f"the body of {name} is no JSON object", "send an object"))
    try:
        result = await verb(body)
    except Fault as fault:
        return _refusal(409, fault)
    except Exception:  # noqa: BLE001 — logged whole here; the caller gets a code, the process lives on
        logger(__name__).exception("verb_failed", verb=name)
        return _refusal(
            500, DoorFault("TQ-DR-07", f"{name} failed inside", "its log has the reason; look before repeating it")
        )
    return web.json_response({"result": result})


def _refusal(status: int, fault: Fault) -> web.Response:
    return web.json_response({"fault": fault.as_dict()}, status=status)


def _listen(path: Path) -> socket.socket:
    """A socket bound to `path` for its owner only, from its first moment on."""
    with short_path(path) as address:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            _make_way(path, address)
            mask = os.umask(0o177)
            try:
                listener.bind(address)
            finally:
                os.umask(mask)
        except OSError as error:
            listener.close()
            raise DoorFault(
                "TQ-DR-08", f"{path} cannot be opened: {error.strerror}", "check the data folder"
            ) from error
        except BaseException:
            listener.close()
            raise
    listener.setblocking(False)
    return listener


def _make_way(path: Path, address: str) -> None:
    """Remove the socket of a dead process; refuse to push a living one aside."""
    if path.exists():
        if _is_answered(address):
            raise DoorFault("TQ-DR-02", f"another process answers at {path}", "stop that one first")
        path.unlink()


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _object_in(content: bytes) -> dict[str, Any] | None:
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _is_answered(address: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(address)
        except OSError:
            return False
    return True


@contextmanager
def short_path(path: Path) -> Iterator[str]:
    """An address for `path` that fits a socket: a deep folder is named through its descriptor meanwhile."""
    if len(os.fsencode(path)) <= SOCKET_PATH_BYTES_MAX:
        yield str(path)
        return
    try:
        folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    except OSError as error:
        raise DoorFault(
            "TQ-DR-01", f"the folder of {path} is missing", "the process is not running: start it"
        ) from error
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
