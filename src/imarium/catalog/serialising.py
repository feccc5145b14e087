"""One writer at a time, and nothing left behind: what SQLite and PostgreSQL each need for it."""

from __future__ import annotations

import time

from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.orm import Session

_AUDIT_LOCK = 0x494D5002
"""Key of PostgreSQL's advisory lock on the audit record; any number that stays the same."""
_LOG_SECONDS = 20.0
"""How long readers are waited for until SQLite's log can be emptied."""


def one_writer(session: Session) -> None:
    """Let no two transactions that begin with this run at the same time, in any process."""
    if session.get_bind().dialect.name == "sqlite":
        session.connection().exec_driver_sql("BEGIN IMMEDIATE")
    else:
        session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _AUDIT_LOCK})


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
