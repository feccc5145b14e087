"""Counts of values among the series that meet a query."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from imarium.catalog.records import FacetValue
from imarium.catalog.search.columns import Array, Mask, Snapshot, joined, split
from imarium.catalog.search.leaves import TERM_COLUMNS
from imarium.catalog.search_tables import (
    AttributeValue,
    ConceptRow,
    SeriesAttribute,
    SeriesConcept,
    TermRow,
)
from imarium.catalog.tables import Collection, Label
from imarium.errors import InvalidRequestError
from imarium.formats.dicom.details import keyword_like
from imarium.model.query import quoted
from imarium.model.query_fields import FIELDS, LABEL, find_field

MOST_VALUES = 1000
"""Of one facet."""
_MOST_LISTS = 16
_CONCEPTS = ("diagnosis", "organ", "pathology")
DEFAULT = ("modality", "bodypart", "manufacturer", "collection", "sex", "age", "date")
"""What is counted where nothing in particular is asked for, beside labels of few values."""


def facet_names(asked: Sequence[str]) -> list[str]:
    """Names of facets as they are kept; raises InvalidRequestError for what is no facet."""
    known = [field.name for field in FIELDS if field.facet]
    found = []
    for name in asked:
        field = find_field(name)
        if name.lower().startswith(LABEL):
            found.append(LABEL + name[len(LABEL) :])
        elif field is not None and field.facet:
            found.append(field.name)
        elif field is None and (keyword := keyword_like(name)):
            found.append(keyword)
        else:
            raise InvalidRequestError(
                f"facets are {', '.join(known)}, label.KEY and DICOM keywords, not {name[:40]!r}"
            )
    return list(dict.fromkeys(found))


def columns_of_facets(names: Sequence[str]) -> list[str]:
    """Columns that facets need in memory."""
    return [name for name in names if name in (*TERM_COLUMNS, "collection", "age", "date")]


def count(
    session: Session, snapshot: Snapshot, listing: Listing, mask: Mask, name: str, most: int
) -> list[FacetValue]:
    """How many of the series have each value, the most frequent first; ages and dates in their order."""
    if name == "age":
        return _spans(mask, snapshot.columns[name] // 10, _decade)
    if name == "date":
        return _spans(mask, snapshot.columns[name] // 10000, _year)[-most:]
    if name in TERM_COLUMNS or name == "collection":
        codes = snapshot.columns[name][mask]
        numbers = np.bincount(codes[codes >= 0])
        table = Collection if name == "collection" else TermRow
        column = Collection.name if name == "collection" else TermRow.text
        best = _best(numbers, most)
        texts = {
            row[0]: row[1] for row in session.execute(select(table.id, column).where(table.id.in_(best)))
        }
        return [
            FacetValue(texts[code], int(numbers[code]), f"{name}:={quoted(texts[code])}")
            for code in best
            if code in texts
        ]
    return _count_listed(listing.get(session, snapshot, name), mask, most)


def _decade(ten: int, number: int) -> FacetValue:
    return FacetValue(f"{ten * 10}..{ten * 10 + 9}", number, f"age:{ten * 10}..{ten * 10 + 9.999}")


def _year(year: int, number: int) -> FacetValue:
    return FacetValue(str(year), number, f"date:{year:04}")


def _spans(mask: Mask, values: Array, said: Callable[[int, int], FacetValue]) -> list[FacetValue]:
    chosen = values[mask]
    numbers = np.bincount(chosen[chosen >= 0].astype(np.int64))
    return [said(int(value), int(numbers[value])) for value in np.flatnonzero(numbers)]


def _best(numbers: Array, most: int) -> list[int]:
    order = np.argsort(-numbers, kind="stable")[:most]
    return [int(code) for code in order if numbers[code]]


@dataclass(frozen=True)
class Listed:
    """Which series have which value, of what lies in a table of its own: labels, concepts, attributes."""

    values: list[tuple[str, str]]
    """Texts, and queries that find them."""
    codes: Array
    """Places in `values`, and beside them the numbers of series."""
    series: Array


class Listing:
    """Reads such lists, and keeps those that were asked for last until anything changes."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._kept: OrderedDict[str, tuple[int, Listed]] = OrderedDict()

    def get(self, session: Session, snapshot: Snapshot, name: str) -> Listed:
        """The list of a facet as the transaction of the session sees it."""
        # A new series without labels and codes changes no list of these.
        told = name.startswith(LABEL) or name in _CONCEPTS
        version = snapshot.version[1] if told else sum(snapshot.version)
        with self._lock:
            read, listed = self._kept.get(name, (None, None))
        if listed is None or read != version:
            listed = _read(session, name)
            with self._lock:
                self._kept[name] = (version, listed)
                self._kept.move_to_end(name)
                if len(self._kept) > _MOST_LISTS:
                    self._kept.popitem(last=False)
        return listed


def _count_listed(listed: Listed, mask: Mask, most: int) -> list[FacetValue]:
    known = listed.series < len(mask)
    codes = listed.codes[known][mask[listed.series[known]]]
    numbers = np.bincount(codes, minlength=len(listed.values))
    found = [
        FacetValue(listed.values[code][0], int(numbers[code]), listed.values[code][1])
        for code in _best(numbers, most)
    ]
    return sorted(found, key=lambda item: (-item.count, item.value))


def _read(session: Session, name: str) -> Listed:
    if name.startswith(LABEL):
        query = select(Label.value, joined(Label.series_id)).where(Label.key == name[len(LABEL) :])
        rows = [
            (value, f"{name}:={quoted(value)}", ids)
            for value, ids in session.execute(query.group_by(Label.value))
        ]
    elif name in _CONCEPTS:
        concepts = (
            select(ConceptRow.scheme, ConceptRow.code, ConceptRow.meaning, joined(SeriesConcept.series_id))
            .join(SeriesConcept, SeriesConcept.concept_id == ConceptRow.id)
            .where(ConceptRow.kind == name)
            .group_by(ConceptRow.id, ConceptRow.scheme, ConceptRow.code, ConceptRow.meaning)
        )
        rows = [
            (meaning or code, f"{name}:={quoted(f'{scheme}:{code}')}", ids)
            for scheme, code, meaning, ids in session.execute(concepts)
        ]
    else:
        values = (
            select(AttributeValue.text, joined(SeriesAttribute.series_id))
            .join(SeriesAttribute, SeriesAttribute.value_id == AttributeValue.id)
            .where(AttributeValue.keyword == name)
            .group_by(AttributeValue.id, AttributeValue.text)
        )
        rows = [(text, f"{name}:={quoted(text)}", ids) for text, ids in session.execute(values)]
    series = [split(ids) for _, _, ids in rows]
    codes = np.repeat(np.arange(len(rows)), [len(each) for each in series])
    numbers = np.concatenate(series) if series else np.empty(0, np.int64)
    listed = [(text, said) for text, said, _ in rows]
    return Listed(listed, codes.astype(np.int32), numbers.astype(np.int32))
