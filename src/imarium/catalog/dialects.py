"""Where SQLite and PostgreSQL differ, and nowhere else (but for the texts that are searched: `texts`)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.orm import Session

from imarium.catalog.tables import Base
from imarium.errors import StorageError

_SCHEMA_LOCK, _AUDIT_LOCK = 0x494D5001, 0x494D5002
"""Keys of PostgreSQL's advisory locks that are held while tables are made, and while the audit record grows;
any numbers that stay the same."""
_LOG_SECONDS = 20.0
"""How long readers are waited for until SQLite's log can be emptied."""


def open_engine(url: str) -> Engine:
    """Connections to a catalog. Raises StorageError for what is no address of SQLite or PostgreSQL."""
    try:
        # Without it PostgreSQL's pool hands out connections that a restart of the server has ended.
        engine = create_engine(url, pool_pre_ping=not url.startswith("sqlite"))
    except (ArgumentError, NoSuchModuleError, ImportError, ValueError) as error:
        raise StorageError(
            "the address of the catalog's database is like sqlite:///FILE or postgresql+pg8000://USER@HOST/NAME"
        ) from error
    if engine.dialect.name not in ("sqlite", "postgresql"):
        raise StorageError(f"the catalog lives in SQLite or PostgreSQL, not in {engine.dialect.name}")
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine, "connect")
        def _configure(connection: Any, _record: object) -> None:
            cursor = connection.cursor()
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute("PRAGMA synchronous=FULL")
            cursor.execute("PRAGMA foreign_keys=ON")
            cursor.execute("PRAGMA busy_timeout=30000")
            # What is deleted is overwritten, so that it is not left in the file.
            cursor.execute("PRAGMA secure_delete=ON")
            cursor.close()

    return engine


def lock_schema(connection: Connection) -> None:
    """Of two processes that make the tables at once, let the second wait here and find them made."""
    _lock(connection, _SCHEMA_LOCK)


def one_writer(session: Session) -> None:
    """Let no two transactions that begin with this run at the same time, in any process."""
    _lock(session.connection(), _AUDIT_LOCK)


def _lock(connection: Connection, key: int) -> None:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})


def at_one_moment(session: Session) -> None:
    """Have every statement of a transaction see the catalog as it was at the first one."""
    if session.get_bind().dialect.name == "sqlite":
        session.connection().exec_driver_sql("BEGIN")
    else:
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})


def insert_new(session: Session, table: type[Base], rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows; those that a unique constraint forbids are left out, whoever inserted their like."""
    if not rows:
        return
    statement = (
        sqlite.insert(table) if session.get_bind().dialect.name == "sqlite" else postgresql.insert(table)
    )
    session.execute(statement.on_conflict_do_nothing(), rows)


def utc(moment: datetime) -> datetime:
    """SQLite forgets the time zone; all times in the catalog are UTC."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def rewrite_files(engine: Engine) -> bool:
    """Have the database's files hold nothing but what is in its tables; False if readers kept it from that.

    SQLite: indexes of full-text search drop deleted words, the file is written anew, and the log of writes is
    emptied. PostgreSQL: every table is written anew (`VACUUM FULL`); its own log and its backups are beyond
    our reach.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if engine.dialect.name != "sqlite":
            connection.connection.rollback()  # the pool's look at whether it still works began one
            for name in inspect(connection).get_table_names():
                connection.exec_driver_sql(f'VACUUM (FULL) "{name}"')
            return True
        for name in _full_text_tables(connection):
            connection.exec_driver_sql(f'INSERT INTO "{name}"("{name}") VALUES(\'optimize\')')
        connection.exec_driver_sql("VACUUM")
        deadline = time.monotonic() + _LOG_SECONDS
        while connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0]:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True


def _full_text_tables(connection: Connection) -> list[str]:
    query = "SELECT name FROM sqlite_master WHERE type = 'table' AND sql LIKE 'CREATE VIRTUAL TABLE%fts5%'"
    return [row[0] for row in connection.exec_driver_sql(query)]
