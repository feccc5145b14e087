"""What people say of studies, subjects and series beside labels: reports, attributes of subjects, codes.

All of it is found by searches. None of it is part of a pack.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from imarium.catalog.indexing import add_concepts, number_of, refresh_texts, touch
from imarium.catalog.search.coding import completed
from imarium.catalog.search_tables import ConceptRow, Report, SeriesConcept, SubjectAttribute
from imarium.catalog.tables import Collection as CollectionRow
from imarium.catalog.tables import SeriesRow, Study, Subject
from imarium.errors import InvalidRequestError, NotFoundError
from imarium.model import Selection
from imarium.model.details import Concept, ConceptKind
from imarium.model.labels import checked_key, is_text

MOST_REPORT_CHARACTERS = 200_000
_MOST_TITLE_CHARACTERS = 200
_MOST_VALUE_CHARACTERS = 500
_MOST_CONCEPTS = 1000
_DATE = re.compile(r"\d{4}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")

Open = Callable[[], AbstractContextManager[Session]]
Within = Collection[int] | None
"""Numbers of collections; None: all of them."""
Select = Callable[[Session, Selection, Within, Within], list[int]]


@dataclass(frozen=True, slots=True)
class ReportRecord:
    """A report of a study."""

    number: int
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class SubjectValue:
    """A value of an attribute of a subject: a text or a number, and the day of which it is true."""

    value: str
    date: str | None = None
    """YYYYMMDD."""

    def __post_init__(self) -> None:
        if not 1 <= len(self.value) <= _MOST_VALUE_CHARACTERS or not is_text(self.value):
            raise InvalidRequestError(f"a value is a text of 1 to {_MOST_VALUE_CHARACTERS} characters")
        if self.date is not None and _DATE.fullmatch(self.date) is None:
            raise InvalidRequestError("a date is YYYYMMDD")


class Annotating:
    """Keeps what people say. Collections go by name; raises NotFoundError for what is not there."""

    def __init__(self, session: Open, selected: Select) -> None:
        """`session` opens a transaction, `selected` gives the numbers of a selection's series: of collections
        that may be read, and all of them in collections that may be annotated."""
        self._session, self._selected = session, selected

    def add_report(self, collection: str, study: str, text: str, title: str = "") -> ReportRecord:
        """Add a free-text report to a study. Raises InvalidRequestError if it is empty or too long."""
        text = text.replace("\0", "")
        if not text.strip() or len(text) > MOST_REPORT_CHARACTERS:
            raise InvalidRequestError(f"a report is a text of up to {MOST_REPORT_CHARACTERS} characters")
        if len(title) > _MOST_TITLE_CHARACTERS or not is_text(title):
            raise InvalidRequestError(f"a title is a text of up to {_MOST_TITLE_CHARACTERS} characters")
        with self._session() as session:
            number = _study(session, collection, study)
            report = Report(study_id=number, title=title, text=text)
            session.add(report)
            session.flush()
            _refresh(session, number)
            return ReportRecord(report.id, title, text)

    def reports(self, collection: str, study: str) -> list[ReportRecord]:
        """The reports of a study, in the order in which they came."""
        with self._session() as session:
            number = _study(session, collection, study)
            rows = session.scalars(select(Report).where(Report.study_id == number).order_by(Report.id))
            return [ReportRecord(row.id, row.title, row.text) for row in rows]

    def remove_report(self, collection: str, study: str, report: int) -> None:
        """Remove a report of a study."""
        with self._session() as session:
            number = _study(session, collection, study)
            found = session.scalar(select(Report).where(Report.study_id == number, Report.id == report))
            if found is None:
                raise NotFoundError("the study has no such report")
            session.delete(found)
            session.flush()
            _refresh(session, number)

    def subject(self, collection: str, pseudonym: str) -> dict[str, SubjectValue]:
        """The attributes of a subject, by key."""
        with self._session() as session:
            number = _subject(session, collection, pseudonym)
            rows = session.scalars(
                select(SubjectAttribute)
                .where(SubjectAttribute.subject_id == number)
                .order_by(SubjectAttribute.key)
            )
            return {row.key: SubjectValue(row.text, row.date) for row in rows}

    def describe_subject(
        self, collection: str, pseudonym: str, values: Mapping[str, SubjectValue | None]
    ) -> None:
        """Set attributes of a subject, and remove those that are None; others stay.

        Keys are like those of labels. Raises InvalidRequestError.
        """
        for key in values:
            checked_key(key)
        with self._session() as session:
            number = _subject(session, collection, pseudonym)
            session.execute(
                delete(SubjectAttribute).where(
                    SubjectAttribute.subject_id == number, SubjectAttribute.key.in_(list(values))
                )
            )
            rows = [
                {
                    "subject_id": number,
                    "key": key,
                    "text": item.value,
                    "number": number_of(item.value),
                    "date": item.date,
                }
                for key, item in values.items()
                if item is not None
            ]
            if rows:
                session.execute(insert(SubjectAttribute), rows)
            members = select(SeriesRow.id).join(SeriesRow.study).where(Study.subject_id == number)
            touch(session, session.scalars(members).all())

    def add_concepts(
        self,
        selection: Selection,
        concepts: Collection[Concept],
        *,
        within: Within = None,
        annotated: Within = None,
    ) -> int:
        """Give codes to all series of a selection; returns how many series it has.

        `within` are collections that may be read, `annotated` those whose series may be given codes. Codes of
        ICD-10-CM are checked, and get the meaning that it has for them. Raises InvalidRequestError, and
        PermissionDeniedError.
        """
        if not 1 <= len(concepts) <= _MOST_CONCEPTS:
            raise InvalidRequestError(f"give 1 to {_MOST_CONCEPTS} codes")
        whole = [completed(concept) for concept in concepts]
        with self._session() as session:
            ids = self._selected(session, selection, within, annotated)
            add_concepts(session, dict.fromkeys(ids, whole), added=True)
            refresh_texts(session, ids)
            return len(ids)

    def remove_concepts(
        self,
        selection: Selection,
        concepts: Collection[Concept],
        *,
        within: Within = None,
        annotated: Within = None,
    ) -> int:
        """Take codes from all series of a selection that people added; returns how many series it has.

        What a header says stays. `within` and `annotated` as for `add_concepts`.
        """
        with self._session() as session:
            ids = self._selected(session, selection, within, annotated)
            for concept in map(completed, concepts):
                number = session.scalar(
                    select(ConceptRow.id).where(
                        ConceptRow.kind == concept.kind.value,
                        ConceptRow.scheme == concept.scheme,
                        ConceptRow.code == concept.code,
                    )
                )
                for first in range(0, len(ids), 500):
                    session.execute(
                        delete(SeriesConcept).where(
                            SeriesConcept.concept_id == number,
                            SeriesConcept.added,
                            SeriesConcept.series_id.in_(ids[first : first + 500]),
                        )
                    )
            refresh_texts(session, ids)
            return len(ids)

    def concepts(self, uid: str) -> list[Concept]:
        """The codes of a series."""
        query = (
            select(ConceptRow)
            .join(SeriesConcept, SeriesConcept.concept_id == ConceptRow.id)
            .join(SeriesRow, SeriesRow.id == SeriesConcept.series_id)
            .where(SeriesRow.uid == uid)
            .order_by(ConceptRow.kind, ConceptRow.scheme, ConceptRow.code)
        )
        with self._session() as session:
            return [_concept(row) for row in session.scalars(query)]


def _concept(row: ConceptRow) -> Concept:
    return Concept(ConceptKind(row.kind), row.scheme, row.code, row.meaning)


def _study(session: Session, collection: str, uid: str) -> int:
    query = select(Study.id).join(Study.collection).where(CollectionRow.name == collection, Study.uid == uid)
    found = session.scalar(query)
    if found is None:
        raise NotFoundError("the collection has no study with that UID")
    return found


def _subject(session: Session, collection: str, pseudonym: str) -> int:
    query = (
        select(Subject.id)
        .join(CollectionRow, CollectionRow.id == Subject.collection_id)
        .where(CollectionRow.name == collection, Subject.pseudonym == pseudonym)
    )
    found = session.scalar(query)
    if found is None:
        raise NotFoundError("the collection has no subject of that pseudonym")
    return found


def _refresh(session: Session, study: int) -> None:
    members: Sequence[int] = session.scalars(select(SeriesRow.id).where(SeriesRow.study_id == study)).all()
    refresh_texts(session, members)
