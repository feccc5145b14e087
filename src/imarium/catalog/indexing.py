"""Makes stored series findable: what of them goes to which table of search."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import delete, insert, select, tuple_, update
from sqlalchemy.orm import Session

from imarium.catalog.dialects import insert_new
from imarium.catalog.search.columns import CHUNK
from imarium.catalog.search_tables import (
    MOST_TERM_CHARACTERS,
    AttributeValue,
    ConceptRow,
    Report,
    SearchChunk,
    SearchRow,
    SearchText,
    SeriesAttribute,
    SeriesConcept,
    TermRow,
)
from imarium.catalog.tables import Label, SeriesRow, Study
from imarium.model import Series
from imarium.model.details import Concept, Details, age_in_years
from imarium.model.words import words

_BATCH = 400
"""Values in one IN list, or pairs of them."""
_MOST_WORDS_CHARACTERS = {"description": 4_000, "concepts": 40_000, "report": 200_000, "other": 8_000}
"""Of what is searched of one series; PostgreSQL takes 1 MB of words."""
_MOST_INTEGER = (1 << 31) - 1


def index_series(session: Session, members: Sequence[tuple[SeriesRow, Series, Details]]) -> None:
    """Make series findable that are not yet; they have their numbers, and their labels are written."""
    texts = [_texts(series, details) for _, series, details in members]
    terms = _ids(
        session, TermRow.id, (TermRow.text,), {(text,) for each in texts for text in each.values() if text}
    )
    rows = [
        _row(row, series, details, {name: terms[(text,)] for name, text in each.items() if text})
        for (row, series, details), each in zip(members, texts, strict=True)
    ]
    if rows:
        session.execute(insert(SearchRow), rows)
    _insert_attributes(session, [(row.id, details) for row, _, details in members])
    concepts = {row.id: details.concepts for row, _, details in members if details.concepts}
    if concepts:
        add_concepts(session, concepts, added=False)
    found = [
        {
            "series_id": row.id,
            "description": _words("description", (series.description, row.study.description)),
            "concepts": "",
            "report": "",
            "other": _words("other", (*each.values(), *_said(details))),
        }
        for (row, series, details), each in zip(members, texts, strict=True)
    ]
    if found:
        session.execute(insert(SearchText), found)
    refresh_texts(session, _told_of(session, [row.id for row, _, _ in members]))


def _told_of(session: Session, ids: Sequence[int]) -> list[int]:
    """The series of which people said anything, or a report does, or that have codes."""
    found: set[int] = set()
    for first in range(0, len(ids), _BATCH):
        group = ids[first : first + _BATCH]
        for query in (
            select(Label.series_id).where(Label.series_id.in_(group)),
            select(SeriesConcept.series_id).where(SeriesConcept.series_id.in_(group)),
            select(SeriesRow.id)
            .join(Report, Report.study_id == SeriesRow.study_id)
            .where(SeriesRow.id.in_(group)),
        ):
            found.update(session.scalars(query))
    return sorted(found)


def reindex_series(session: Session, row: SeriesRow, series: Series, details: Details) -> None:
    """Make a series findable anew, by what it is now; what people said of it stays."""
    for table in (SearchRow, SearchText, SeriesAttribute):
        session.execute(delete(table).where(table.series_id == row.id))
    session.execute(
        delete(SeriesConcept).where(SeriesConcept.series_id == row.id, SeriesConcept.added.is_(False))
    )
    index_series(session, [(row, series, details)])


def refresh_texts(session: Session, ids: Sequence[int]) -> None:
    """Look again at labels, codes and reports of series, which people change."""
    for first in range(0, len(ids), _BATCH):
        group = ids[first : first + _BATCH]
        said: dict[int, list[str]] = {number: [] for number in group}
        labels = select(Label.series_id, Label.key, Label.value).where(Label.series_id.in_(group))
        for number, key, value in session.execute(labels.order_by(Label.key)):
            said[number] += [key, value]
        concepts = (
            select(SeriesConcept.series_id, ConceptRow.code, ConceptRow.meaning)
            .join(ConceptRow, ConceptRow.id == SeriesConcept.concept_id)
            .where(SeriesConcept.series_id.in_(group))
        )
        for number, code, meaning in session.execute(concepts.order_by(ConceptRow.id)):
            said[number] += [code, meaning]
        reports: dict[int, list[str]] = {}
        written = (
            select(SeriesRow.id, Report.title, Report.text)
            .join(Report, Report.study_id == SeriesRow.study_id)
            .where(SeriesRow.id.in_(group))
        )
        for number, title, text in session.execute(written.order_by(Report.id)):
            reports.setdefault(number, []).extend((title, text))
        known = select(SearchText.series_id, SearchText.concepts, SearchText.report)
        for number, old_concepts, old_report in session.execute(
            known.where(SearchText.series_id.in_(group))
        ).all():
            new = (_words("concepts", said[number]), _words("report", reports.get(number, ())))
            if new != (old_concepts, old_report):
                session.execute(
                    update(SearchText)
                    .where(SearchText.series_id == number)
                    .values(concepts=new[0], report=new[1])
                )
    touch(session, ids)


def touch(session: Session, ids: Iterable[int]) -> None:
    """Note that something of these series has changed, beside their rows of `search_rows`."""
    chunks = sorted({number // CHUNK for number in ids})
    insert_new(session, SearchChunk, [{"chunk": chunk, "rows": 0, "others": 0} for chunk in chunks])
    for chunk in chunks:  # in order, so that two writers do not wait for each other
        session.execute(
            update(SearchChunk).where(SearchChunk.chunk == chunk).values(others=SearchChunk.others + 1)
        )


def add_concepts(session: Session, concepts: Mapping[int, Collection[Concept]], *, added: bool) -> None:
    """Give series codes, by the numbers of the series; those that they have stay as they are."""
    several = {(item.kind.value, item.scheme, item.code): item for each in concepts.values() for item in each}
    names = ("kind", "scheme", "code")
    columns = (ConceptRow.kind, ConceptRow.scheme, ConceptRow.code)
    rows = [
        dict(zip(names, key, strict=True)) | {"meaning": _plain(item.meaning)}
        for key, item in several.items()
    ]
    ids = _ids(session, ConceptRow.id, columns, set(several), rows)
    insert_new(
        session,
        SeriesConcept,
        [
            {"series_id": number, "concept_id": ids[item.kind.value, item.scheme, item.code], "added": added}
            for number, each in concepts.items()
            for item in each
        ],
    )


def number_of(value: str) -> float | None:
    """The number that a text is, if it is one."""
    try:
        number = float(value)
    except ValueError:
        return None
    return number if -1e300 < number < 1e300 else None


def _insert_attributes(session: Session, members: Sequence[tuple[int, Details]]) -> None:
    owned: list[tuple[int, tuple[str, str]]] = []
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for number, details in members:
        for keyword, several in details.attributes.items():
            for value in several:
                text = _plain(value) if isinstance(value, str) else format(value, ".9g")
                key = (keyword, text[:100])
                owned.append((number, key))
                found = number_of(value) if isinstance(value, str) else float(value)
                rows[key] = {"keyword": keyword, "text": key[1], "number": found}
    columns = (AttributeValue.keyword, AttributeValue.text)
    ids = _ids(session, AttributeValue.id, columns, set(rows), list(rows.values()))
    insert_new(
        session,
        SeriesAttribute,
        [{"series_id": number, "value_id": ids[key]} for number, key in dict.fromkeys(owned)],
    )


def _ids(
    session: Session,
    number: Any,
    columns: tuple[Any, ...],
    keys: Collection[tuple[str, ...]],
    rows: Sequence[Mapping[str, Any]] | None = None,
) -> dict[tuple[str, ...], int]:
    """Numbers of rows that are kept once, by the columns that tell them apart; missing ones are made."""
    if rows is None:
        rows = [{columns[0].key: key[0]} for key in sorted(keys)]
    found = _known_ids(session, number, columns, keys)
    missing = [row for row in rows if tuple(row[column.key] for column in columns) not in found]
    if missing:
        # Sorted, so that two writers do not wait for each other.
        missing.sort(key=lambda row: tuple(row[column.key] for column in columns))
        insert_new(session, number.class_, missing)
        found |= _known_ids(session, number, columns, set(keys) - found.keys())
    return found


def _known_ids(
    session: Session, number: Any, columns: tuple[Any, ...], keys: Collection[tuple[str, ...]]
) -> dict[tuple[str, ...], int]:
    wanted = sorted(keys)
    found: dict[tuple[str, ...], int] = {}
    for first in range(0, len(wanted), _BATCH):
        group = wanted[first : first + _BATCH]
        condition = (
            columns[0].in_([key[0] for key in group]) if len(columns) == 1 else tuple_(*columns).in_(group)
        )
        for row_id, *key in session.execute(select(number, *columns).where(condition)):
            found[tuple(key)] = row_id
    return found


def _texts(series: Series, details: Details) -> dict[str, str | None]:
    """What goes to `search_rows` by the numbers of terms."""

    def said(keyword: str) -> str | None:
        value = next(iter(details.attributes.get(keyword, ())), None)
        return value if isinstance(value, str) else None

    found = {
        "modality": series.modality,
        "bodypart": series.body_part,
        "manufacturer": said("Manufacturer"),
        "model": said("ManufacturerModelName"),
        "sex": said("PatientSex"),
        "format": series.format,
    }
    return {name: _plain(text or "")[:MOST_TERM_CHARACTERS].strip() or None for name, text in found.items()}


def _row(row: SeriesRow, series: Series, details: Details, terms: Mapping[str, int]) -> dict[str, Any]:
    def number(*keywords: str) -> float | None:
        for keyword in keywords:
            values = [value for value in details.attributes.get(keyword, ()) if isinstance(value, float)]
            if values and min(values) > 0:
                return min(values)
        return None

    study: Study = row.study
    age = next(iter(details.attributes.get("PatientAge", ())), "")
    spacing = series.spacing
    date = series.study_date or ""
    return {
        "series_id": row.id,
        "collection": study.collection_id,
        "study": study.id,
        "subject": study.subject_id,
        **dict.fromkeys(("modality", "bodypart", "manufacturer", "model", "sex", "format")),
        **terms,
        "age": age_in_years(age) if isinstance(age, str) else None,
        "date": int(date) if len(date) == 8 and date.isascii() and date.isdigit() else None,
        "thickness": number("SliceThickness"),
        "spacing": min(spacing[1:]) if spacing else number("PixelSpacing", "ImagerPixelSpacing"),
        "frames": min(series.frames, _MOST_INTEGER),
        "rows": min(series.rows, _MOST_INTEGER),
        "columns": min(series.columns, _MOST_INTEGER),
        "bytes": row.stored_bytes,
    }


def _said(details: Details) -> Iterable[str]:
    return (value for several in details.attributes.values() for value in several if isinstance(value, str))


def _words(field: str, texts: Iterable[str | None]) -> str:
    found = " ".join(dict.fromkeys(text for text in texts if text))
    most = _MOST_WORDS_CHARACTERS[field]
    return " ".join(words(found[:most]))[:most]


def _plain(text: str) -> str:
    """PostgreSQL takes no NUL in texts."""
    return text.replace("\0", "")
