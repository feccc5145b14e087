"""Where SQLite and PostgreSQL differ, and nowhere else (but for the texts that are searched: `texts`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.orm import Session

from imarium.catalog.tables import Base
from imarium.errors import StorageError

_SCHEMA_LOCK = 0x494D5001
"""Key of PostgreSQL's advisory lock that is held while tables are made; any number that stays the same."""


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
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _SCHEMA_LOCK})


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
