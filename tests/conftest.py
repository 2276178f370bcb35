"""What tests of several houses share: a browser, where its pictures go, and a PostgreSQL server."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from tests.postgresql import PostgresServer, server

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(autouse=True)
def log_of_its_own() -> Iterator[None]:
    """A test that set the log up (a command does) leaves none that writes into its own stderr, closed by then."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium for Playwright's `executable_path`. Missing: skipped by name, a failure with CI=true."""
    for name in BROWSERS:
        if path := shutil.which(name):
            return path
    why = f"Chromium is missing (looked for {', '.join(BROWSERS)}): apt-get install chromium"
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)


@pytest.fixture
def picture_folder(tmp_path: Path) -> Path:
    """Where screenshots go: TARMOQ_SHOTS (`make shots`), else a folder that is thrown away."""
    folder = Path(os.environ.get("TARMOQ_SHOTS") or tmp_path / "pictures")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresServer]:
    """A PostgreSQL server of these tests. Missing: skipped by name, a failure with CI=true."""
    with server() as one:
        yield one


@pytest.fixture
def fresh_database(postgresql: PostgresServer) -> Iterator[Callable[[], str]]:
    """Makes empty databases for one test and gives their addresses; they are gone after it."""
    made: list[str] = []

    def fresh() -> str:
        made.append(postgresql.fresh())
        return made[-1]

    yield fresh
    for url in made:
        postgresql.drop(url)
