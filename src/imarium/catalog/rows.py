"""Rows of series as records."""

from __future__ import annotations

from sqlalchemy import Select, select
from sqlalchemy.orm import contains_eager, selectinload

from imarium.catalog.records import PackRecord, SeriesRecord
from imarium.catalog.tables import SeriesRow, Study
from imarium.model import Series


def series_query() -> Select[SeriesRow]:
    """Series with all that a record needs."""
    return (
        select(SeriesRow)
        .join(SeriesRow.study)
        .join(Study.collection)
        .outerjoin(Study.subject)
        .join(SeriesRow.pack)
        .options(
            contains_eager(SeriesRow.study).options(
                contains_eager(Study.collection), contains_eager(Study.subject)
            ),
            contains_eager(SeriesRow.pack),
            selectinload(SeriesRow.labels),
        )
    )


def record_of(row: SeriesRow) -> SeriesRecord:
    """A series, detached from its session."""
    return SeriesRecord(
        series=Series.from_json(row.facts),
        collection=row.study.collection.name,
        subject=row.study.subject.pseudonym if row.study.subject else None,
        levels=row.levels,
        lane=row.lane,
        source_bytes=row.source_bytes,
        stored_bytes=row.stored_bytes,
        pack=PackRecord(row.pack.key, row.pack.size, row.pack.digest, row.pack.collection_id),
        index_span=(row.index_start, row.index_stop),
        labels={label.key: label.value for label in row.labels},
        collection_id=row.study.collection_id,
    )
