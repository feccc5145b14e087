"""What queries return: plain values, detached from any session."""

from __future__ import annotations

from dataclasses import dataclass

from imarium.model import Series


@dataclass(frozen=True, slots=True)
class CollectionRecord:
    """A collection with its counts."""

    name: str
    description: str
    studies: int
    series: int
    source_bytes: int
    stored_bytes: int


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
