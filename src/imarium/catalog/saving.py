"""Selections that users keep under names: a list of series, a query, or both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from threading import Lock

from sqlalchemy import Select, delete, func, select
from sqlalchemy.orm import Session

from imarium.catalog.dialects import utc
from imarium.catalog.search_tables import SavedSelection
from imarium.catalog.tables import now
from imarium.errors import InvalidRequestError, NotFoundError
from imarium.model import Selection
from imarium.model.labels import is_text

MOST_SAVED = 1000
"""Of one user."""
_MOST_NAME_CHARACTERS = 100


@dataclass(frozen=True, slots=True)
class SavedRecord:
    """A kept selection."""

    name: str
    selection: Selection
    created: datetime
    changed: datetime


class Saving:
    """Keeps selections, each user's apart. Raises NotFoundError for a name that there is not."""

    def __init__(self, session: Callable[[], AbstractContextManager[Session]]) -> None:
        """`session` opens a transaction."""
        self._session = session
        self._turn = Lock()
        """Held from looking to changing, where the database (SQLite) does not lock what was looked at."""

    def list(self, username: str) -> list[SavedRecord]:
        """All of a user's, by name."""
        query = select(SavedSelection).where(SavedSelection.username == username)
        with self._session() as session:
            return [_record(row) for row in session.scalars(query.order_by(SavedSelection.name))]

    def get(self, username: str, name: str) -> SavedRecord:
        """One of them."""
        with self._session() as session:
            return _record(_found(session, username, name))

    def save(self, username: str, name: str, selection: Selection) -> SavedRecord:
        """Keep a selection, in place of one that had the name. Raises InvalidRequestError."""
        with self._turn, self._session() as session:
            row = session.scalar(_query(username, name).with_for_update())
            return _keep(session, row, username, name, selection)

    def change(
        self, username: str, name: str, add: Sequence[str] = (), remove: Sequence[str] = ()
    ) -> SavedRecord:
        """Put series into a kept selection's list and take others out, by their UIDs; made if missing.

        Raises InvalidRequestError for one that holds a query and no list: with series it would mean less.
        """
        with self._turn, self._session() as session:
            row = session.scalar(_query(username, name).with_for_update())
            before = Selection() if row is None else Selection.from_json(row.selection)
            if row is not None and not before.series:
                raise InvalidRequestError(
                    "this selection is no list of series, and each condition narrows it: keep the series "
                    "under another name"
                )
            kept = (set(before.series) | set(add)) - set(remove)
            if not kept:
                raise InvalidRequestError(
                    "an empty list would mean every series; remove the selection instead"
                )
            return _keep(session, row, username, name, replace(before, series=tuple(kept)))

    def remove(self, username: str, name: str) -> None:
        """Forget one."""
        with self._session() as session:
            row = _found(session, username, name)
            session.execute(delete(SavedSelection).where(SavedSelection.id == row.id))


def _keep(
    session: Session, row: SavedSelection | None, username: str, name: str, selection: Selection
) -> SavedRecord:
    if row is None:
        if not 1 <= len(name) <= _MOST_NAME_CHARACTERS or not is_text(name) or "/" in name:
            raise InvalidRequestError(
                f"a name has 1 to {_MOST_NAME_CHARACTERS} characters, and no slash among them"
            )
        mine = select(func.count()).where(SavedSelection.username == username)
        if (session.scalar(mine) or 0) >= MOST_SAVED:
            raise InvalidRequestError(f"a user keeps at most {MOST_SAVED} selections; remove some")
        row = SavedSelection(username=username, name=name)
        session.add(row)
    row.selection, row.changed = selection.to_json(), now()
    session.flush()
    return _record(row)


def _query(username: str, name: str) -> Select[SavedSelection]:
    return select(SavedSelection).where(SavedSelection.username == username, SavedSelection.name == name)


def _found(session: Session, username: str, name: str) -> SavedSelection:
    row = session.scalar(_query(username, name))
    if row is None:
        raise NotFoundError("no selection is kept under that name; `imarium saved list` shows them")
    return row


def _record(row: SavedSelection) -> SavedRecord:
    return SavedRecord(row.name, Selection.from_json(row.selection), utc(row.created), utc(row.changed))
