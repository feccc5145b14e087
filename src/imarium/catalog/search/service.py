"""Searches: pages, totals and facets of queries, and what can be asked for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from imarium.catalog.dialects import at_one_moment
from imarium.catalog.records import AttributeRecord, FacetValue, Found
from imarium.catalog.rows import record_of, series_query
from imarium.catalog.search.columns import Array, Mask, Snapshot
from imarium.catalog.search.evaluating import TIERS, Evaluator
from imarium.catalog.search.facets import DEFAULT, Listing, columns_of_facets, count, facet_names
from imarium.catalog.search.leaves import BATCH
from imarium.catalog.search.paging import COLUMNS, Cursor, Order, page, scores
from imarium.catalog.search_tables import AttributeValue
from imarium.catalog.tables import Label, SeriesRow, Study
from imarium.errors import InvalidRequestError
from imarium.model.query import EVERYTHING, Node
from imarium.model.query_fields import FIELDS, LABEL, Kind

MOST_ITEMS = 1000
"""Series of one page."""
_MOST_LABELS = 20
"""Keys of labels that are listed."""


class Searching:
    """Finds series. Every call sees the catalog as it is at one moment."""

    def __init__(self, session: Callable[[], AbstractContextManager[Session]]) -> None:
        """`session` opens a transaction."""
        self._session, self.evaluator, self._listing = session, Evaluator(), Listing()

    def search(
        self,
        query: Node = EVERYTHING,
        *,
        order: Order = Order.NEWEST,
        limit: int = 50,
        after: str | None = None,
        facets: Sequence[str] = (),
        most_values: int = 50,
        within: Collection[int] | None = None,
    ) -> Found:
        """A page of the series that meet a query, how many there are in all, and counts of values.

        `after` is the cursor of the page before. `within` are the collections that may be read, by their
        numbers; None: all. Raises QuerySyntaxError, and InvalidRequestError for anything else that cannot be.
        """
        if not 0 <= limit <= MOST_ITEMS:
            raise InvalidRequestError(f"a page has 0 to {MOST_ITEMS} series")
        names = facet_names(facets)
        asked = f"{query}|{order}"
        cursor = None if after is None else Cursor.from_text(after, asked)
        readable = None if within is None else sorted(set(within))
        with self._session() as session:
            at_one_moment(session)
            needed = [*columns_of_facets(names), *COLUMNS.get(order, ())]
            snapshot = self.evaluator.snapshot(session, query, needed)
            mask = self.evaluator.mask(session, snapshot, query, readable)
            found = np.flatnonzero(mask)
            tiers = None
            if order is Order.RELEVANCE and len(found) and limit:
                tiers = self._tiers(session, snapshot, query, readable)
            numbers: Array = found[:0]
            token = None
            if limit and len(found):
                score = scores(snapshot, order, found, tiers)
                numbers, of_page = page(found, score, limit + 1, cursor)
                if len(numbers) > limit:
                    top = cursor.top if cursor is not None else int(found[-1])
                    last = limit - 1
                    token = Cursor(float(of_page[last]), int(numbers[last]), top).to_text(asked)
                    numbers = numbers[:limit]
            counted = {
                name: tuple(count(session, snapshot, self._listing, mask, name, most_values))
                for name in names
            }
            rows = self._rows(session, [int(number) for number in numbers])
            return Found(tuple(record_of(row) for row in rows), len(found), token, counted)

    def facets(
        self,
        query: Node = EVERYTHING,
        names: Sequence[str] = (),
        *,
        most_values: int = 50,
        within: Collection[int] | None = None,
    ) -> tuple[int, dict[str, tuple[FacetValue, ...]]]:
        """How many series meet a query, and how many of them have which values."""
        found = self.search(query, limit=0, facets=names or DEFAULT, most_values=most_values, within=within)
        return found.total, dict(found.facets)

    def mask(self, session: Session, query: Node, within: Collection[int] | None = None) -> Mask:
        """Which series meet a query, by their numbers, in a transaction that is under way."""
        snapshot = self.evaluator.snapshot(session, query)
        return self.evaluator.mask(session, snapshot, query, None if within is None else sorted(set(within)))

    def attributes(self, within: Collection[int] | None = None) -> list[AttributeRecord]:
        """What can be asked for: short names, keys of labels in collections that may be read, and keywords
        that series have."""
        listed = [
            AttributeRecord(field.name, field.kind, field.meaning, field.aliases, field.facet)
            for field in FIELDS
        ]
        with self._session() as session:
            labels = select(Label.key).distinct().order_by(Label.key).limit(_MOST_LABELS)
            if within is not None:
                labels = (
                    labels.join(SeriesRow, SeriesRow.id == Label.series_id)
                    .join(SeriesRow.study)
                    .where(Study.collection_id.in_(sorted(within)))
                )
            keys = session.scalars(labels)
            listed += [AttributeRecord(LABEL + key, Kind.TEXT, "A label", (), True) for key in keys]
            keywords = session.execute(
                select(AttributeValue.keyword, func.count(AttributeValue.number), func.count())
                .group_by(AttributeValue.keyword)
                .order_by(AttributeValue.keyword)
            )
            listed += [
                AttributeRecord(keyword, Kind.NUMBER if numbers == values else Kind.TEXT, "DICOM", (), True)
                for keyword, numbers, values in keywords
            ]
        return listed

    def _tiers(
        self, session: Session, snapshot: Snapshot, query: Node, within: Sequence[int] | None
    ) -> Array:
        total = np.zeros(snapshot.size, np.int8)
        for fields in TIERS:
            total += self.evaluator.mask(session, snapshot, query, within, fields)
        return total

    def _rows(self, session: Session, numbers: Sequence[int]) -> list[SeriesRow]:
        found: dict[int, SeriesRow] = {}
        for first in range(0, len(numbers), BATCH):
            group = numbers[first : first + BATCH]
            found |= {row.id: row for row in session.scalars(series_query().where(SeriesRow.id.in_(group)))}
        return [found[number] for number in numbers if number in found]
