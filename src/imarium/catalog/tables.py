"""Tables of the catalog. Alembic migrations in `migrations/` are the truth; a test compares the two."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    ForeignKey,
    Index,
    MetaData,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

NAMING = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


def now() -> datetime:
    """The current time in UTC."""
    return datetime.now(UTC)


class Base(DeclarativeBase):
    """All tables."""

    metadata = MetaData(naming_convention=NAMING)


class Collection(Base):
    """A named set of studies."""

    __tablename__ = "collections"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    description: Mapped[str] = mapped_column(Text, default="")
    created: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=now)
    visibility: Mapped[str] = mapped_column(String(16), default="registered", server_default="registered")
    """Who may read it: `access.permissions.Visibility`."""
    agreement: Mapped[int] = mapped_column(default=0, server_default="0")
    """Version of the agreement to accept before images are read; 0: none."""


class Subject(Base):
    """A person or animal, under a pseudonym."""

    __tablename__ = "subjects"
    __table_args__ = (UniqueConstraint("collection_id", "pseudonym"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    collection_id: Mapped[int] = mapped_column(ForeignKey("collections.id"))
    pseudonym: Mapped[str] = mapped_column(String(64))


class Study(Base):
    """A DICOM study, or the one made for a single file."""

    __tablename__ = "studies"
    __table_args__ = (UniqueConstraint("collection_id", "uid"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    collection_id: Mapped[int] = mapped_column(ForeignKey("collections.id"), index=True)
    subject_id: Mapped[int | None] = mapped_column(ForeignKey("subjects.id"))
    uid: Mapped[str] = mapped_column(String(80), index=True)
    description: Mapped[str | None] = mapped_column(Text)
    date: Mapped[str | None] = mapped_column(String(8))
    subject: Mapped[Subject | None] = relationship()
    collection: Mapped[Collection] = relationship()


class Pack(Base):
    """An object in the store. `replaced` is its tombstone. All of its series are of one collection."""

    __tablename__ = "packs"
    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(200), unique=True)
    size: Mapped[int] = mapped_column(BigInteger)
    digest: Mapped[str] = mapped_column(String(64))
    created: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=now)
    replaced: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    collection_id: Mapped[int | None] = mapped_column(ForeignKey("collections.id"))
    """None where it is not known any more: then only administrators may read it."""


class SeriesRow(Base):
    """A series and where it lies."""

    __tablename__ = "series"
    id: Mapped[int] = mapped_column(primary_key=True)
    uid: Mapped[str] = mapped_column(String(80), unique=True)
    base_uid: Mapped[str] = mapped_column(String(80), index=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"), index=True)
    pack_id: Mapped[int] = mapped_column(ForeignKey("packs.id"), index=True)
    index_start: Mapped[int] = mapped_column(BigInteger)
    index_stop: Mapped[int] = mapped_column(BigInteger)
    levels: Mapped[int]
    lane: Mapped[str] = mapped_column(Text)
    modality: Mapped[str | None] = mapped_column(String(16), index=True)
    facts: Mapped[dict[str, Any]] = mapped_column(JSON)
    source_bytes: Mapped[int] = mapped_column(BigInteger)
    stored_bytes: Mapped[int] = mapped_column(BigInteger)
    created: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=now)
    study: Mapped[Study] = relationship()
    pack: Mapped[Pack] = relationship()
    labels: Mapped[list[Label]] = relationship(order_by="Label.key")


class Label(Base):
    """What people say of a series. No part of its pack."""

    __tablename__ = "labels"
    __table_args__ = (UniqueConstraint("series_id", "key"), Index("ix_labels_key_value", "key", "value"))
    id: Mapped[int] = mapped_column(primary_key=True)
    series_id: Mapped[int] = mapped_column(ForeignKey("series.id", ondelete="CASCADE"))
    key: Mapped[str] = mapped_column(String(64))
    value: Mapped[str] = mapped_column(String(500))


class LevelSpansRow(Base):
    """Where the levels of a series lie in its pack, noted by the first manifest that needed to know.

    The index in the pack is the truth. A row for a pack in which the series no longer lies says nothing.
    """

    __tablename__ = "level_spans"
    series_id: Mapped[int] = mapped_column(ForeignKey("series.id", ondelete="CASCADE"), primary_key=True)
    pack_id: Mapped[int] = mapped_column(ForeignKey("packs.id", ondelete="CASCADE"), index=True)
    spans: Mapped[list[list[int]]] = mapped_column(JSON)
    """Of each level, full resolution first: start and stop of each range, flat."""


class Source(Base):
    """A file that was taken in, by its content."""

    __tablename__ = "sources"
    __table_args__ = (UniqueConstraint("digest"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    series_id: Mapped[int] = mapped_column(ForeignKey("series.id"), index=True)
    digest: Mapped[str] = mapped_column(String(64))
    size: Mapped[int] = mapped_column(BigInteger)
    instance_uid: Mapped[str | None] = mapped_column(String(80), index=True)
