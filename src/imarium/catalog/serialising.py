"""One writer at a time, and nothing left behind: what SQLite and PostgreSQL each need for it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, event, text
from sqlalchemy.orm import Session

_AUDIT_LOCK = 0x494D5002
"""Key of PostgreSQL's advisory lock on the audit record; any number that stays the same."""


def forget_deleted(engine: Engine) -> None:
    """Have SQLite overwrite what is deleted, so that it is not left in the file."""
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine, "connect")
        def _configure(connection: Any, _record: object) -> None:
            cursor = connection.cursor()
            cursor.execute("PRAGMA secure_delete=ON")
            cursor.close()


def one_writer(session: Session) -> None:
    """Let no two transactions that begin with this run at the same time, in any process."""
    if session.get_bind().dialect.name == "sqlite":
        session.connection().exec_driver_sql("BEGIN IMMEDIATE")
    else:
        session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _AUDIT_LOCK})
