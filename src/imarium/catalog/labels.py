"""Labels of series: setting and removing them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import delete, insert
from sqlalchemy.orm import Session

from imarium.catalog.tables import Label
from imarium.errors import InvalidRequestError
from imarium.model import checked_labels
from imarium.model.labels import checked_key

_BATCH = 500
"""Series, beside keys, in one IN list."""
_MOST_ROWS = 10_000
"""Labels inserted by one statement."""

Change = Mapping[str, str | None]
"""What becomes of labels by key: a new value, or None to remove the label. Other labels stay."""


def checked_change(change: Change) -> dict[str, str | None]:
    """The change; raises InvalidRequestError for keys and values that cannot be, and if there are none."""
    if not change:
        raise InvalidRequestError("there are no labels to set")
    kept = checked_labels({key: value for key, value in change.items() if value is not None})
    return kept | {checked_key(key): None for key, value in change.items() if value is None}


def change_labels(session: Session, ids: Sequence[int], change: Change) -> None:
    """Set and remove labels of series, by their numbers in the catalog."""
    if not change:
        return
    for first in range(0, len(ids), _BATCH):
        group = ids[first : first + _BATCH]
        session.execute(delete(Label).where(Label.series_id.in_(group), Label.key.in_(list(change))))
        insert_labels(session, [(number, change) for number in group])


def replace_labels(session: Session, number: int, labels: Mapping[str, str]) -> None:
    """Have a series bear these labels and no others."""
    session.execute(delete(Label).where(Label.series_id == number))
    insert_labels(session, [(number, labels)])


def insert_labels(session: Session, members: Sequence[tuple[int, Change]]) -> None:
    """Label series that bear none of these labels."""
    rows = [
        {"series_id": number, "key": key, "value": value}
        for number, labels in members
        for key, value in labels.items()
        if value is not None
    ]
    for first in range(0, len(rows), _MOST_ROWS):
        session.execute(insert(Label), rows[first : first + _MOST_ROWS])
