import io
import json
from collections.abc import Iterator

import pytest
import structlog

from hosting.log import STRUCK, LogForm, configure_log, logger, silence_log


@pytest.fixture(autouse=True)
def _put_back() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def test_a_line_carries_utility_time_and_no_secret() -> None:
    stream = io.StringIO()
    configure_log(LogForm.JSON, lambda: 1_763_956_800, stream=stream)
    logger("money").info("paid", account="a-1", phone="+998 90", inner={"password": "x", "desk": "d-1"})
    line = json.loads(stream.getvalue())
    assert line == {
        "event": "paid",
        "level": "info",
        "room": "money",
        "at": "2025-11-24T04:00:00Z",
        "account": "a-1",
        "phone": STRUCK,
        "inner": {"password": STRUCK, "desk": "d-1"},
    }


def test_an_error_is_one_line_with_its_stack_inside() -> None:
    stream = io.StringIO()
    configure_log(LogForm.JSON, lambda: 0, stream=stream)
    try:
        int("wrong")
    except ValueError:
        logger("x").exception("failed")
    (line,) = stream.getvalue().splitlines()
    assert "ValueError: invalid literal" in json.loads(line)["exception"]


@pytest.mark.parametrize("form", list(LogForm))
def test_the_stack_of_an_error_shows_no_local_variable(form: LogForm) -> None:
    stream = io.StringIO()
    configure_log(form, lambda: 0, stream=stream)

    def opened(sealed: bytes) -> int:
        plain = sealed[::-1].decode()
        return len(plain) // 0

    try:
        opened(b"terces-repeed")
    except ZeroDivisionError:
        logger("x").exception("verb_failed")
    assert "ZeroDivisionError" in stream.getvalue()
    assert "deeper-secret" not in stream.getvalue()


def test_the_console_form_is_plain_and_silence_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    configure_log(LogForm.CONSOLE, lambda: 0, stream=stream)
    logger("x").info("hello", node="n-1")
    assert "hello" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()
    silence_log()
    logger("x").error("nothing")
    assert "nothing" not in stream.getvalue() + capsys.readouterr().out
