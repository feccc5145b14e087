"""Tables that make series findable. All but reports, subject attributes, saved selections and concepts that
people added can be made again from the packs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from imarium.catalog.tables import Base, now

MOST_TERM_CHARACTERS = 200


class TermRow(Base):
    """A text that many series have in common: a modality, a model of a device. Each is kept once."""

    __tablename__ = "terms"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(String(MOST_TERM_CHARACTERS), unique=True)


class SearchRow(Base):
    """What is asked of a series most often, in a few bytes: whole columns of this table are read into memory.

    Texts are numbers of terms.
    """

    __tablename__ = "search_rows"
    series_id: Mapped[int] = mapped_column(ForeignKey("series.id", ondelete="CASCADE"), primary_key=True)
    collection: Mapped[int]
    study: Mapped[int]
    subject: Mapped[int | None]
    modality: Mapped[int | None]
    bodypart: Mapped[int | None]
    manufacturer: Mapped[int | None]
    model: Mapped[int | None]
    sex: Mapped[int | None]
    format: Mapped[int | None]
    age: Mapped[float | None]
    """Years."""
    date: Mapped[int | None]
    """YYYYMMDD."""
    thickness: Mapped[float | None]
    spacing: Mapped[float | None]
    frames: Mapped[int]
    rows: Mapped[int]
    columns: Mapped[int]
    bytes: Mapped[int] = mapped_column(BigInteger)


class SearchChunk(Base):
    """How often the series of a chunk of numbers have changed: what is in memory is read again then."""

    __tablename__ = "search_chunks"
    chunk: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """Numbers of series, divided by `columns.CHUNK`."""
    rows: Mapped[int] = mapped_column(default=0)
    """Changes of `search_rows`; counted by triggers, so that no writer can forget it."""
    others: Mapped[int] = mapped_column(default=0)
    """Changes of anything else that is searched."""


class SearchText(Base):
    """Words of a series as full-text search compares them (`model.words`), by where they come from.

    The index over them is the databases' own: see the migration.
    """

    __tablename__ = "search_texts"
    series_id: Mapped[int] = mapped_column(ForeignKey("series.id", ondelete="CASCADE"), primary_key=True)
    description: Mapped[str] = mapped_column(Text, default="")
    """Of the series and its study."""
    concepts: Mapped[str] = mapped_column(Text, default="")
    """Labels, and meanings of codes."""
    report: Mapped[str] = mapped_column(Text, default="")
    """Reports of its study."""
    other: Mapped[str] = mapped_column(Text, default="")
    """Attributes that are texts."""


class AttributeValue(Base):
    """A value that an attribute has somewhere. Each is kept once."""

    __tablename__ = "attribute_values"
    __table_args__ = (
        UniqueConstraint("keyword", "text"),
        Index("ix_attribute_values_keyword_number", "keyword", "number"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    keyword: Mapped[str] = mapped_column(String(64))
    text: Mapped[str] = mapped_column(String(100))
    number: Mapped[float | None]
    """None for what is no number."""


class SeriesAttribute(Base):
    """A value of an attribute of a series."""

    __tablename__ = "series_attributes"
    __table_args__ = (Index("ix_series_attributes_value_id", "value_id", "series_id"),)
    series_id: Mapped[int] = mapped_column(ForeignKey("series.id", ondelete="CASCADE"), primary_key=True)
    value_id: Mapped[int] = mapped_column(ForeignKey("attribute_values.id"), primary_key=True)


class ConceptRow(Base):
    """A code that a series has somewhere."""

    __tablename__ = "concepts"
    __table_args__ = (UniqueConstraint("kind", "scheme", "code"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    scheme: Mapped[str] = mapped_column(String(16))
    code: Mapped[str] = mapped_column(String(64))
    meaning: Mapped[str] = mapped_column(String(300))


class SeriesConcept(Base):
    """A code of a series."""

    __tablename__ = "series_concepts"
    __table_args__ = (Index("ix_series_concepts_concept_id", "concept_id", "series_id"),)
    series_id: Mapped[int] = mapped_column(ForeignKey("series.id", ondelete="CASCADE"), primary_key=True)
    concept_id: Mapped[int] = mapped_column(ForeignKey("concepts.id"), primary_key=True)
    added: Mapped[bool] = mapped_column(default=False)
    """By people: then it is no part of the pack."""


class Report(Base):
    """A free-text report of a study."""

    __tablename__ = "reports"
    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id", ondelete="CASCADE"), index=True)
    title: Mapped[str] = mapped_column(String(200))
    text: Mapped[str] = mapped_column(Text)
    created: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=now)


class SubjectAttribute(Base):
    """What is known of a subject beside its images: a key with a value that is a text or a number."""

    __tablename__ = "subject_attributes"
    __table_args__ = (
        UniqueConstraint("subject_id", "key"),
        Index("ix_subject_attributes_key", "key", "number"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    subject_id: Mapped[int] = mapped_column(ForeignKey("subjects.id", ondelete="CASCADE"))
    key: Mapped[str] = mapped_column(String(64))
    text: Mapped[str] = mapped_column(String(500))
    number: Mapped[float | None]
    date: Mapped[str | None] = mapped_column(String(8))
    """YYYYMMDD: the day of which it is true."""


class SavedSelection(Base):
    """A selection that a user keeps under a name."""

    __tablename__ = "saved_selections"
    __table_args__ = (UniqueConstraint("username", "name"),)
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    username: Mapped[str] = mapped_column(String(100))
    name: Mapped[str] = mapped_column(String(100))
    selection: Mapped[dict[str, Any]] = mapped_column(JSON)
    created: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=now)
    changed: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=now)
