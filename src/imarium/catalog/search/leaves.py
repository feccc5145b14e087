"""Which series meet one term of a query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Select, and_, or_, select
from sqlalchemy.orm import Session

from imarium.catalog.search.coding import Code, code_meets
from imarium.catalog.search.columns import Array, Mask, Snapshot, joined, split
from imarium.catalog.search.texts import with_words
from imarium.catalog.search_tables import (
    AttributeValue,
    ConceptRow,
    Report,
    SeriesAttribute,
    SeriesConcept,
    SubjectAttribute,
    TermRow,
)
from imarium.catalog.tables import Collection, Label, SeriesRow, Study, Subject
from imarium.errors import QuerySyntaxError
from imarium.formats.dicom.details import keyword_like, keywords
from imarium.model.query import Between, Compare, Is, Present, Term, Test, Text
from imarium.model.query_fields import LABEL, SUBJECT, Field, Kind, find_field, nearest
from imarium.model.query_values import intervals, meets
from imarium.model.words import words

BATCH = 500
"""Values in one IN list."""

TERM_COLUMNS = ("modality", "bodypart", "manufacturer", "model", "sex", "format")
"""Columns of `search_rows` that hold numbers of terms."""
_NUMBER_COLUMNS = ("age", "date", "thickness", "spacing", "frames", "rows", "columns", "bytes")
_WORDS = {"description": ("description",), "report": ("report",)}
_CODES = {
    "code": None,
    "diagnosis": "diagnosis",
    "organ": "organ",
    "pathology": "pathology",
    "anatomy": "anatomy",
}
_UIDS = {"series": SeriesRow.uid, "study": Study.uid, "subject": Subject.pseudonym}


def columns_of(term: Term | Text) -> set[str]:
    """Columns that a term needs in memory."""
    if isinstance(term, Text):
        return set()
    if term.key.lower().startswith(SUBJECT):
        return {"subject"}
    field = find_field(term.key)
    if field is None:
        return set()
    if field.name == "report":
        return {"study"}
    if field.name == "has":
        return {"study"} | {
            name for test in term.tests if (name := _column_of(find_field(_asked(test, term))))
        }
    return {name} if (name := _column_of(field)) else set()


def _column_of(field: Field | None) -> str | None:
    return field.name if field and field.name in (*TERM_COLUMNS, *_NUMBER_COLUMNS, "collection") else None


def term_mask(session: Session, snapshot: Snapshot, term: Term) -> Mask:
    """Which series meet a term. Raises QuerySyntaxError for an attribute that there is not, and for values
    that it cannot have."""
    for prefix, found in ((LABEL, _labels), (SUBJECT, _subjects)):
        if term.key.lower().startswith(prefix):
            return found(session, snapshot, term)
    field = find_field(term.key)
    if field is None:
        return _attributes(session, snapshot, term)
    name = field.name
    if name in TERM_COLUMNS:
        return _known(session, snapshot, name, select(TermRow.id, TermRow.text), term.tests)
    if name == "collection":
        known = select(Collection.id, Collection.name)
        return _known(session, snapshot, name, known, term.tests, whole=True)
    if name in _NUMBER_COLUMNS:
        return _numbers(snapshot, name, term, field.kind)
    if name in _WORDS:
        return _texts(session, snapshot, term, _WORDS[name])
    if name in _CODES:
        return _concepts(session, snapshot, term, _CODES[name])
    if name in _UIDS:
        return _uids(session, snapshot, term, _UIDS[name])
    return _has(session, snapshot, term)


def text_mask(session: Session, snapshot: Snapshot, text: Text, fields: Sequence[str]) -> Mask:
    """Which series have words in one of these texts; none: in any."""
    return _of(session, snapshot, [with_words(session, text.value, prefix=text.prefix, fields=fields)])


def _known(
    session: Session,
    snapshot: Snapshot,
    name: str,
    texts: Select[int, str],
    tests: Sequence[Test],
    *,
    whole: bool = False,
) -> Mask:
    """By a column of numbers that stand for texts."""
    found = [number for number, text in session.execute(texts) if meets(text, tests, whole=whole)]
    return among(snapshot.columns[name], found)


def among(codes: Array, numbers: Sequence[int] | Array) -> Mask:
    """Where a column has one of these numbers, none of which is negative."""
    chosen = np.asarray(numbers, np.int64)
    table = np.zeros(max(int(codes.max(initial=-1)), int(chosen.max(initial=-1))) + 2, bool)
    table[chosen] = True
    return table[codes]  # -1 is the last one, which no number sets


def _numbers(snapshot: Snapshot, name: str, term: Term, kind: Kind) -> Mask:
    values = snapshot.columns[name]
    found = np.zeros(snapshot.size, bool)
    for low, high in intervals(term, kind):
        found |= (values >= low) & (values <= high)
    return found if values.dtype.kind == "f" else found & (values >= 0)


def _texts(session: Session, snapshot: Snapshot, term: Term, fields: Sequence[str]) -> Mask:
    found = np.zeros(snapshot.size, bool)
    for test in term.tests:
        if isinstance(test, Present) and fields == ("report",):
            found |= _with_reports(session, snapshot)
        elif isinstance(test, Is):
            if not words(test.value):
                raise QuerySyntaxError("there is no letter and no digit to look for", term.position)
            found |= text_mask(session, snapshot, Text(test.value, test.prefix), fields)
        else:
            raise QuerySyntaxError(
                f"{term.key} is a text: give words of it, or a phrase in quotes", term.position
            )
    return found


def _concepts(session: Session, snapshot: Snapshot, term: Term, kind: str | None) -> Mask:
    query = select(ConceptRow.id, ConceptRow.kind, ConceptRow.scheme, ConceptRow.code, ConceptRow.meaning)
    if kind is not None:
        query = query.where(ConceptRow.kind == kind)
    found = [row.id for row in session.execute(query) if code_meets(Code(*row), term.tests)]
    return _of(
        session,
        snapshot,
        [
            select(joined(SeriesConcept.series_id)).where(SeriesConcept.concept_id.in_(group))
            for group in _groups(found)
        ],
    )


def _labels(session: Session, snapshot: Snapshot, term: Term) -> Mask:
    key = term.key[len(LABEL) :]
    query = select(joined(Label.series_id)).where(Label.key == key)
    if any(isinstance(test, Present) for test in term.tests):
        return _of(session, snapshot, [query])
    values = session.scalars(select(Label.value).where(Label.key == key).distinct())
    found = [value for value in values if meets(value, term.tests)]
    return _of(session, snapshot, [query.where(Label.value.in_(group)) for group in _groups(found)])


def _subjects(session: Session, snapshot: Snapshot, term: Term) -> Mask:
    query = select(SubjectAttribute.subject_id, SubjectAttribute.text).where(
        SubjectAttribute.key == term.key[len(SUBJECT) :]
    )
    return _known(session, snapshot, "subject", query, term.tests)


def _uids(session: Session, snapshot: Snapshot, term: Term, column: Any) -> Mask:
    conditions: list[ColumnElement[bool]] = []
    for test in term.tests:
        if isinstance(test, Present):
            conditions.append(column.is_not(None))
        elif isinstance(test, Is) and test.prefix:
            conditions.append(column.startswith(test.value, autoescape=True))
        elif isinstance(test, Is):
            conditions.append(column == test.value)
        else:
            raise QuerySyntaxError(
                f"{term.key} is compared as a whole, or by its beginning with *", term.position
            )
    query = (
        select(joined(SeriesRow.id)).join(SeriesRow.study).outerjoin(Study.subject).where(or_(*conditions))
    )
    return _of(session, snapshot, [query])


def _attributes(session: Session, snapshot: Snapshot, term: Term) -> Mask:
    keyword = keyword_like(term.key)
    if keyword is None:
        close = nearest(term.key, keywords())
        hint = f"; is {close} meant?" if close else "; `imarium search --attributes` lists them"
        raise QuerySyntaxError(
            f"there is no attribute {term.key[:40]!r}{hint} (words with a colon go in quotes)", term.position
        )
    value = AttributeValue
    conditions: list[Any] = []
    texts: list[Test] = []
    for test in term.tests:
        if isinstance(test, Present):
            conditions.append(value.id.is_not(None))
        elif isinstance(test, Compare | Between):
            ((low, high),) = intervals(Term(term.key, (test,), term.position), Kind.NUMBER)
            bounds = [
                bound
                for bound, finite in ((value.number >= low, low), (value.number <= high, high))
                if abs(finite) < np.inf
            ]
            conditions.append(and_(value.number.is_not(None), *bounds))
        else:
            texts.append(test)
            number = _number(test)
            if number is not None:
                conditions.append(value.number == number)
    known = select(value.id, value.text).where(value.keyword == keyword)
    found = [] if not texts else [row.id for row in session.execute(known) if meets(row.text, texts)]
    queries = []
    if conditions:
        inner = select(value.id).where(value.keyword == keyword, or_(*conditions))
        queries.append(select(joined(SeriesAttribute.series_id)).where(SeriesAttribute.value_id.in_(inner)))
    for group in _groups(found):
        queries.append(select(joined(SeriesAttribute.series_id)).where(SeriesAttribute.value_id.in_(group)))
    return _of(session, snapshot, queries)


def _number(test: Test) -> float | None:
    if isinstance(test, Is) and not test.prefix:
        try:
            ((low, high),) = intervals(Term("value", (test,)), Kind.NUMBER)
        except QuerySyntaxError:
            return None
        return low if low == high else None
    return None


def _has(session: Session, snapshot: Snapshot, term: Term) -> Mask:
    found = np.zeros(snapshot.size, bool)
    for test in term.tests:
        asked = _asked(test, term)
        if asked == "report":
            found |= _with_reports(session, snapshot)
        elif asked == "label":
            found |= _of(session, snapshot, [select(joined(Label.series_id))])
        elif asked in ("has", "description"):
            raise QuerySyntaxError(f"has:{asked} makes no sense", term.position)
        else:
            found |= term_mask(session, snapshot, Term(asked, (Present(),), term.position))
    return found


def _asked(test: Test, term: Term) -> str:
    if not isinstance(test, Is) or test.prefix:
        raise QuerySyntaxError(f"{term.key} takes names: has:report, has:label, has:age, ...", term.position)
    return test.value.lower() if test.value.lower() in ("report", "label") else test.value


def _with_reports(session: Session, snapshot: Snapshot) -> Mask:
    studies = split(session.scalar(select(joined(Report.study_id))))
    return among(snapshot.columns["study"], studies)


def _of(session: Session, snapshot: Snapshot, queries: Sequence[Select[Any]]) -> Mask:
    """The series that one of several queries finds; each gives their numbers, joined."""
    found = np.zeros(snapshot.size, bool)
    for query in queries:
        numbers = split(session.scalar(query))
        found[numbers[(numbers >= 0) & (numbers < snapshot.size)]] = True
    return found


def _groups(numbers: Sequence[Any]) -> list[Sequence[Any]]:
    return [numbers[first : first + BATCH] for first in range(0, len(numbers), BATCH)]
