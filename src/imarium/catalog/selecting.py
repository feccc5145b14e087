"""Selections to series, in the order of their packs."""

from __future__ import annotations

from collections.abc import Collection as Numbers
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice, product
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, and_, delete, insert, select, true
from sqlalchemy.orm import Session

from imarium.catalog.records import LevelSpans, PackRecord, Place, SelectedSeries
from imarium.catalog.tables import Collection, Label, LevelSpansRow, Pack, SeriesRow, Study, Subject
from imarium.errors import NotFoundError
from imarium.model import Selection, Series

BATCH = 500
"""Values in one IN list; SQLite takes 999 at the least."""


_FEW = 20_000
"""Found series that are looked up one by one; of more, all are gone through."""


def among(within: Numbers[int] | None) -> ColumnElement[bool]:
    """Condition of a query that knows `Collection`: only of these collections; None: of all."""
    return true() if within is None else Collection.id.in_(sorted(within))


def selected_ids(
    session: Session,
    selection: Selection,
    found_by_query: Sequence[int] | None = None,
    *,
    within: Numbers[int] | None = None,
) -> list[int]:
    """Numbers of the selected series, sorted by the key of their pack and where it holds them.

    `found_by_query` are those that meet the selection's query, if it has one.

    Raises NotFoundError if there is no collection of the selection's name: a name misspelt must not look
    like a collection that is empty.
    """
    if selection.collection is not None:
        named = Collection.name == selection.collection
        known = session.scalar(select(Collection.id).where(named, among(within)))
        if known is None:
            raise NotFoundError("there is no collection of that name; `imarium ls` shows them all")
    query = _narrowed(
        select(Pack.key, SeriesRow.index_start, SeriesRow.id)
        .join(SeriesRow.pack)
        .join(SeriesRow.study)
        .join(Study.collection)
        .where(among(within)),
        selection,
    )
    found: list[tuple[str, int, int]] = []
    allowed = None if found_by_query is None else set(found_by_query)
    few: Sequence[Any] = () if found_by_query is None or len(found_by_query) > _FEW else found_by_query
    if allowed is not None and not allowed:
        return []
    for series, studies, numbers in product(
        _groups(selection.series), _groups(selection.studies), _groups(few)
    ):
        narrower = query
        if numbers is not None:
            narrower = narrower.where(SeriesRow.id.in_(numbers))
        if series is not None:
            narrower = narrower.where(SeriesRow.uid.in_(series))
        if studies is not None:
            narrower = narrower.where(Study.uid.in_(studies))
        found += [
            (key, start, number)
            for key, start, number in session.execute(narrower)
            if allowed is None or number in allowed
        ]
    found.sort()
    return [number for _, _, number in found]


def _narrowed(query: Select[str, int, int], selection: Selection) -> Select[str, int, int]:
    if selection.collection is not None:
        query = query.where(Collection.name == selection.collection)
    if selection.modality is not None:
        query = query.where(SeriesRow.modality == selection.modality)
    if selection.body_part is not None:
        query = query.where(SeriesRow.facts["body_part"].as_string() == selection.body_part)
    for key, value in selection.labels.items():
        bearers = select(Label.series_id).where(Label.key == key, Label.value == value)
        query = query.where(SeriesRow.id.in_(bearers))
    return query


def _groups(values: Sequence[Any]) -> Iterator[Sequence[Any] | None]:
    """Values in lists that a statement takes; one None where none are given."""
    if not values:
        yield None
    rest = iter(values)
    while group := list(islice(rest, BATCH)):
        yield group


def load_selected(session: Session, ids: Sequence[int]) -> list[SelectedSeries]:
    """At most `BATCH` series by their numbers, in the same order; without those that are gone."""
    labels: dict[int, dict[str, str]] = {}
    bearers = select(Label.series_id, Label.key, Label.value).where(Label.series_id.in_(ids))
    for number, key, value in session.execute(bearers.order_by(Label.key)):
        labels.setdefault(number, {})[key] = value
    query = (
        select(
            SeriesRow.id,
            SeriesRow.pack_id,
            SeriesRow.facts,
            SeriesRow.index_start,
            SeriesRow.index_stop,
            Collection.name.label("collection"),
            Subject.pseudonym,
            Pack.key,
            Pack.size,
            Pack.digest,
            LevelSpansRow.spans,
        )
        .join(SeriesRow.pack)
        .join(SeriesRow.study)
        .join(Study.collection)
        .outerjoin(Study.subject)
        .outerjoin(
            LevelSpansRow,
            and_(LevelSpansRow.series_id == SeriesRow.id, LevelSpansRow.pack_id == SeriesRow.pack_id),
        )
        .where(SeriesRow.id.in_(ids))
    )
    found = {row.id: row for row in session.execute(query)}
    return [_selected(found[number], labels.get(number, {})) for number in ids if number in found]


def _selected(row: Row[Any], labels: Mapping[str, str]) -> SelectedSeries:
    return SelectedSeries(
        place=(row.id, row.pack_id),
        series=Series.from_json(row.facts),
        collection=row.collection,
        subject=row.pseudonym,
        labels=labels,
        pack=PackRecord(row.key, row.size, row.digest),
        index_span=(row.index_start, row.index_stop),
        spans=None if row.spans is None else [_pairs(flat) for flat in row.spans],
    )


def _pairs(flat: Sequence[int]) -> list[tuple[int, int]]:
    return list(zip(flat[::2], flat[1::2], strict=True))


def keep_spans(session: Session, found: Sequence[tuple[Place, LevelSpans]]) -> None:
    """Note where levels of series lie in their packs."""
    for first in range(0, len(found), BATCH):
        group = found[first : first + BATCH]
        old = delete(LevelSpansRow).where(LevelSpansRow.series_id.in_([series for (series, _), _ in group]))
        session.execute(old)
        rows = [
            {"series_id": series, "pack_id": pack, "spans": [list(chain(*level)) for level in spans]}
            for (series, pack), spans in group
        ]
        session.execute(insert(LevelSpansRow), rows)
