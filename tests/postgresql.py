"""A real PostgreSQL for tests: their own server on a local socket, started once in a run, gone with it.

It never runs as root: as `postgres` (Debian's package makes that user) or `nobody` then. Its files are in memory where
there is such a place. Its order of texts is that of a language, not of bytes, so that whatever leans on the order of a
database is found.
"""

import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

DEBIAN = Path("/usr/lib/postgresql")
USERS = ("postgres", "nobody")
OWNER = "hub"
GUARDED = "guarded"
"""A login of the server that needs a password; all others need none."""
START_S_MAX = 60.0
MEMORY = Path("/dev/shm")  # noqa: S108 — a folder of our own is made in it
MEMORY_BYTES_MIN = 1024**3
"""Left in it: two servers of these tests take a third of that."""


def binaries() -> Path | None:
    """Where `initdb` and `postgres` are: the newest of Debian's, else those of the path."""
    found = sorted((path.parent for path in DEBIAN.glob("*/bin/initdb")), key=lambda path: int(path.parent.name))
    if found:
        return found[-1]
    initdb = shutil.which("initdb")
    return Path(initdb).resolve().parent if initdb and shutil.which("postgres") else None


def missing() -> None:
    """Skip by name; a failure with CI=true."""
    why = "PostgreSQL is missing (looked for /usr/lib/postgresql and initdb in the path): apt-get install postgresql"
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)


class PostgresServer:
    """One server. `fresh` gives the address of a new, empty database."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs = programs
        self._folder = folder
        self._numbers = count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._as = _unprivileged()
        version = _told([programs / "postgres", "--version"]).stdout
        self.major = int(re.findall(r"(\d+)[.\d]*", version)[0])

    def make(self) -> None:
        """Make the cluster."""
        order = ["--locale-provider=icu", "--icu-locale=en-US"] if self.major >= 15 else []
        self._run(
            "initdb", "--pgdata", self._data, "--username", OWNER, "--encoding=UTF8", "--locale=C", *order,
            "--auth=trust", "--no-sync", "--no-instructions",
        )  # fmt: skip
        rules = f"local all {GUARDED} scram-sha-256\nlocal all all trust\n"
        (self._data / "pg_hba.conf").write_text(rules, "utf-8")

    def start(self) -> None:
        """Start it and wait until it answers."""
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self._folder),
            "max_connections": "60",
            "shared_buffers": "32MB",
            "deadlock_timeout": "200ms",
            "autovacuum": "off",
            "fsync": "off",  # no test cuts the power; the checkup says so, and a test holds that it does
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 — our own command
                [*self._as, self._programs / "postgres", "-D", self._data, *options], stdout=log, stderr=log
            )
        until = time.monotonic() + START_S_MAX
        while self._ask("SELECT 1", check=False).returncode:
            if time.monotonic() > until or self._process.poll() is not None:
                pytest.fail(
                    f"PostgreSQL does not start: {(self._folder / 'log').read_text('utf-8', 'replace')[-2000:]}"
                )
            time.sleep(0.05)

    def stop(self) -> None:
        """End it at once, as a crash does: what was committed is there when it starts again."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(START_S_MAX)
            self._process = None

    def fresh(self, *, owner: str = OWNER) -> str:
        """The address of a new database."""
        name = f"hub{next(self._numbers)}"
        self._ask(f"CREATE DATABASE {name} OWNER {owner} TEMPLATE template0")
        return self.address(name, owner)

    def drop(self, url: str) -> None:
        """Remove a database that `fresh` made, whoever is still in it."""
        self._ask(f"DROP DATABASE IF EXISTS {url.partition('@/')[2].partition('?')[0]} WITH (FORCE)")

    def address(self, name: str, user: str = OWNER) -> str:
        """Of a database, whether it exists or not."""
        return f"postgresql://{user}@/{name}?host={self._folder}"

    def ask(self, sql: str, database: str = "postgres") -> str:
        """What the server's owner would type into `psql`; gives bare lines."""
        return self._ask(sql, database).stdout.strip()

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _ask(self, sql: str, database: str = "postgres", *, check: bool = True) -> subprocess.CompletedProcess[str]:
        place = ["-h", str(self._folder), "-U", OWNER, "-d", database]
        return _told([self._programs / "psql", "--no-psqlrc", "-qAt", *place, "-c", sql], check=check)

    def _run(self, program: str, *arguments: str | Path) -> None:
        done = _told([*self._as, self._programs / program, *arguments], check=False)
        if done.returncode:
            pytest.fail(f"{program}: {done.stderr[-2000:]}")


def _told(command: Sequence[str | Path], *, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=check, capture_output=True, text=True)  # noqa: S603 — our own commands


def _unprivileged() -> list[str]:
    """What goes before a server's command: it ends with the tests however they end, and is never root."""
    command = ["setpriv", "--pdeathsig", "QUIT"] if shutil.which("setpriv") else []
    if os.geteuid():
        return command
    if not command:
        pytest.skip("PostgreSQL does not run as root, and setpriv (util-linux) is missing to run it as another user")
    user = pwd.getpwnam(next(name for name in USERS if _exists(name)))
    return [*command, f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]


def _exists(user: str) -> bool:
    return any(one.pw_name == user for one in pwd.getpwall())


@contextmanager
def server() -> Iterator[PostgresServer]:
    """A server for the length of the block, in a folder of its own."""
    programs = binaries()
    if programs is None:
        missing()
        raise AssertionError
    memory = str(MEMORY) if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > MEMORY_BYTES_MIN else None
    folder = Path(tempfile.mkdtemp(prefix="tarmoq-pg-", dir=memory))
    try:
        if not os.geteuid():
            user = pwd.getpwnam(next(name for name in USERS if _exists(name)))
            os.chown(folder, user.pw_uid, user.pw_gid)
        one = PostgresServer(programs, folder)
        try:
            one.make()
            one.start()
            yield one
        finally:
            one.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
