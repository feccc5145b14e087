"""What queries return: plain values, detached from any session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from imarium.model import Series, SourceFile
from imarium.model.details import NO_DETAILS, Details

LevelSpans: TypeAlias = Sequence[Sequence[tuple[int, int]]]
"""Byte ranges (start, stop) of the pack by level, full resolution first."""

Place: TypeAlias = tuple[int, int]
"""Which series in which pack: their numbers in the catalog."""


@dataclass(frozen=True, slots=True)
class CollectionRecord:
    """A collection with its counts."""

    name: str
    description: str
    studies: int
    series: int
    source_bytes: int
    stored_bytes: int
    visibility: str = "registered"
    """Who may read it: public, registered or restricted."""


@dataclass(frozen=True, slots=True)
class StudyRecord:
    """A study with what its series have in common."""

    uid: str
    collection: str
    subject: str | None
    description: str | None
    date: str | None
    modalities: tuple[str, ...]
    series: int


@dataclass(frozen=True, slots=True)
class PackRecord:
    """An object in the store."""

    key: str
    size: int
    digest: str
    collection: int | None = field(default=None, compare=False)
    """Number of the one collection that its series are of; None where the catalog does not know it."""


@dataclass(frozen=True, slots=True)
class SeriesRecord:
    """A series, where it lies and what it costs."""

    series: Series
    collection: str
    subject: str | None
    levels: int
    lane: str
    source_bytes: int
    stored_bytes: int
    pack: PackRecord
    index_span: tuple[int, int]
    labels: Mapping[str, str] = field(default_factory=dict)
    """By key, sorted."""
    collection_id: int = 0
    """Number of its collection."""


@dataclass(frozen=True, slots=True)
class FacetValue:
    """A value, how many of the found series have it, and the query that finds those with it."""

    value: str
    count: int
    query: str


@dataclass(frozen=True, slots=True)
class Found:
    """A page of a search."""

    records: tuple[SeriesRecord, ...]
    total: int
    """Series that meet the query, on all pages."""
    next: str | None
    """Cursor of the next page; None after the last one."""
    facets: Mapping[str, tuple[FacetValue, ...]]


@dataclass(frozen=True, slots=True)
class AttributeRecord:
    """An attribute that can be asked for."""

    name: str
    kind: str
    meaning: str
    aliases: tuple[str, ...]
    facet: bool


@dataclass(frozen=True, slots=True)
class SelectedSeries:
    """A selected series: what it is and where its bytes lie."""

    place: Place
    series: Series
    collection: str
    subject: str | None
    labels: Mapping[str, str]
    """By key, sorted."""
    pack: PackRecord
    index_span: tuple[int, int]
    spans: LevelSpans | None
    """None where the catalog does not know them yet; then they are in the index of the series."""


@dataclass(frozen=True, slots=True)
class NewSeries:
    """A stored series, ready to be made known."""

    series: Series
    base_uid: str
    """The source's Series Instance UID; differs from `series.uid` where stacks are kept apart."""
    levels: int
    lane: str
    stored_bytes: int
    pack: PackRecord
    index_span: tuple[int, int]
    files: tuple[SourceFile, ...]
    pseudonym: str | None
    labels: Mapping[str, str] = field(default_factory=dict)
    details: Details = NO_DETAILS
