"""A PostgreSQL server of one's own, for tests and benchmarks: made in a temporary folder, gone at the end."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import create_engine, text

BINARIES = Path("/usr/lib/postgresql/15/bin")
"""Where Debian 12 has PostgreSQL 15."""
MISSING = f"no PostgreSQL 15: {BINARIES} is missing; apt-get install postgresql-15"
_ACCOUNT = "postgres"
_QUICK = "-c fsync=off -c synchronous_commit=off -c full_page_writes=off"
"""What is in it need not survive the machine."""


class Postgres:
    """A running server that is reached over a socket in its folder."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._numbers = folder, count(1)

    def address(self, database: str = "postgres") -> str:
        """SQLAlchemy address of a database."""
        socket = quote(str(self._folder / ".s.PGSQL.5432"), safe="")
        return f"postgresql+pg8000://{_ACCOUNT}@/{database}?unix_sock={socket}"

    def fresh(self) -> str:
        """SQLAlchemy address of a new database with nothing in it."""
        name = f"fresh{next(self._numbers)}"
        self._run(f"CREATE DATABASE {name}")
        return self.address(name)

    def drop(self, url: str) -> None:
        """Remove a database that `fresh` made, with all connections to it."""
        name = url.partition("@/")[2].partition("?")[0]
        self._run(f"DROP DATABASE {name} WITH (FORCE)")

    def _run(self, statement: str) -> None:
        engine = create_engine(self.address(), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(statement))
        engine.dispose()


def available() -> bool:
    """Whether there are programs to start a server with."""
    return (BINARIES / "initdb").is_file()


@contextmanager
def postgres(settings: str = "") -> Iterator[Postgres]:
    """A server, from its making to its end. `settings` are further options of the program (`-c name=value`).

    The server refuses to run as root: then it runs as the account that Debian's package made.
    """
    folder = Path(tempfile.mkdtemp(prefix="imarium-postgres-"))
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, _ACCOUNT)
        data = str(folder / "data")
        _program("initdb", "-D", data, "-U", _ACCOUNT, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N")
        options = f"-c listen_addresses='' -k {folder} {_QUICK} {settings}"
        log = str(folder / "log")
        _program("pg_ctl", "-D", data, "-l", log, "-o", options, "-w", "-t", "120", "start")
        try:
            yield Postgres(folder)
        finally:
            _program("pg_ctl", "-D", data, "-m", "immediate", "-w", "-t", "120", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _program(name: str, *arguments: str) -> None:
    command: Sequence[str] = (str(BINARIES / name), *arguments)
    if os.geteuid() == 0:
        command = ("runuser", "-u", _ACCOUNT, "--", *command)
    done = subprocess.run(
        command,
        check=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        cwd="/",
    )
    if done.returncode:
        raise RuntimeError(f"{name} failed: {done.stderr.decode(errors='replace')[-500:]}")
