"""What a process says about itself: structured lines on stderr, without secrets and without persons. Floor: hosting.

Standard output belongs to the command's result. Lines carry utility time, from the injected clock, so that a log of a
scaled rehearsal reads like its calendar. Identifiers of usage points and accounts may appear; names, telephone numbers,
addresses, passwords, keys and receipt codes may not, and are struck out here even when somebody passes them.
"""

import json
import logging
import sys
from collections.abc import Callable, Mapping, MutableMapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TextIO, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

STRUCK = "(struck out)"
"""Stands where a secret or a person's datum stood."""
PRIVATE_WORDS = (
    "password", "passwd", "secret", "token", "private", "credential", "authorization", "cookie", "pin",
    "block_key", "authentication_key", "receipt_code",
    "phone", "address_line", "full_name", "person_name", "passport", "email",
)  # fmt: skip
"""A field whose name contains one of these is struck out."""


class LogForm(StrEnum):
    """Who reads the lines."""

    CONSOLE = "console"
    """A person."""
    JSON = "json"
    """A collector of logs: one object a line."""


def configure_log(
    form: LogForm, now: Callable[[], int], *, level: int = logging.INFO, stream: TextIO | None = None
) -> None:
    """Set the process's log up once; `now` gives utility seconds, `stream` is stderr unless given."""

    def stamp(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        event["at"] = datetime.fromtimestamp(now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return event

    last: list[Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_line)]
        if form is LogForm.JSON
        else [structlog.dev.ConsoleRenderer(colors=False, timestamp_key="at", exception_formatter=_plain_stack)]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            stamp,
            strike_out,
            *last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(stream if stream is not None else sys.stderr),
        cache_logger_on_first_use=False,
    )


def silence_log() -> None:
    """Let nothing but the critical through: for tests and virtual time, where a campaign would write gigabytes."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def logger(room: str) -> FilteringBoundLogger:
    """The log of one room; calls are ``.info("event_in_words", field=value)``."""
    return cast("FilteringBoundLogger", structlog.get_logger(room=room))


def strike_out(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Replace what must not be written, at any depth."""
    return _struck(event)


def _struck(fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in fields.items():
        if any(word in name.lower() for word in PRIVATE_WORDS):
            fields[name] = STRUCK
        elif isinstance(value, Mapping):
            fields[name] = _struck(dict(value))
    return fields


_plain_stack = structlog.dev.plain_traceback
"""Stacks without the values of local variables, which the library would show: a secret may be among them."""


def _line(event: Any, **_: Any) -> str:
    return json.dumps(event, ensure_ascii=False, default=str)
