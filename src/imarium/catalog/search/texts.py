"""Full-text search: FTS5 of SQLite, tsvector of PostgreSQL. The same words give the same series in both.

Both index words that were folded and parted before (`model.words`), so that neither's own rules matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, String, column, literal, literal_column, select, table
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import Session
from sqlalchemy.types import UserDefinedType

from imarium.catalog.search.columns import joined
from imarium.catalog.search_tables import SearchText
from imarium.model.words import words

FIELDS = {"description": "A", "concepts": "B", "report": "C", "other": "D"}
"""Columns of `search_texts`, and their weights in PostgreSQL's index."""

_INDEX = table("search_index", column("rowid", SearchText.series_id.type))


class _TsQuery(UserDefinedType[str]):
    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "tsquery"


def with_words(session: Session, text: str, *, prefix: bool, fields: Sequence[str] = ()) -> Select[Any]:
    """Numbers, joined, of the series with these words in a row in one of these fields; none: any of them."""
    found = words(text)
    if session.get_bind().dialect.name == "sqlite":
        phrase = f'"{" ".join(found)}"' + (" *" if prefix else "")
        wanted = f"{{{' '.join(fields)}}} : {phrase}" if fields else phrase
        condition = literal_column("search_index").op("MATCH")(literal(wanted, String))
        return select(joined(_INDEX.c.rowid)).select_from(_INDEX).where(condition)
    vector = literal_column("search_texts.vector", TSVECTOR)
    condition = vector.op("@@")(literal(_tsquery(found, prefix, fields), String).cast(_TsQuery()))
    return select(joined(SearchText.series_id)).where(condition)


def _tsquery(found: Sequence[str], prefix: bool, fields: Sequence[str]) -> str:
    """Words are letters and digits, so nothing in them needs care.

    A phrase lies in one field: of several words each field is asked by itself.
    """
    weights = [FIELDS[name] for name in fields]
    if len(found) > 1 and not weights:
        weights = list(FIELDS.values())
    if len(found) == 1:
        marks = ("*" if prefix else "") + "".join(weights)
        return f"'{found[0]}'" + (f":{marks}" if marks else "")
    *before, last = found
    return " | ".join(
        " <-> ".join(
            [*(f"'{word}':{weight}" for word in before), f"'{last}':{'*' if prefix else ''}{weight}"]
        )
        for weight in weights
    )
