"""Tables of the audit record: chained records, and what identifies their objects (docs/design/audit.md)."""

from __future__ import annotations

from sqlalchemy import BigInteger, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from imarium.catalog.tables import Base


class AuditRecordRow(Base):
    """One record. Triggers refuse to change or delete it, and any number but the next."""

    __tablename__ = "audit_records"
    sequence: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False
    )
    time: Mapped[str] = mapped_column(String(27), index=True)
    """UTC, like 2026-01-02T03:04:05.678901Z: text, since it is hashed as it stands."""
    actor: Mapped[str] = mapped_column(String(100), index=True)
    origin: Mapped[str] = mapped_column(String(64))
    action: Mapped[str] = mapped_column(String(40), index=True)
    object_kind: Mapped[str] = mapped_column(String(16))
    object_key: Mapped[str] = mapped_column(String(32), index=True)
    outcome: Mapped[str] = mapped_column(String(8))
    details: Mapped[str] = mapped_column(Text)
    previous: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))
    seal: Mapped[str] = mapped_column(String(32))


class AuditObjectRow(Base):
    """What a key of an object stands for. Erasing takes the identifier away; the records stay as they are."""

    __tablename__ = "audit_objects"
    key: Mapped[str] = mapped_column(String(32), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    identifier: Mapped[str | None] = mapped_column(Text)
    parent: Mapped[str | None] = mapped_column(String(32), index=True)
    """Key of the study of a series, and of the subject of a study."""
