"""Tables of the gate: which collections demand de-identification, and what did not pass it."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, DateTime, ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from imarium.catalog.tables import Base, Collection, now


class Demand(Base):
    """A collection's de-identification policy."""

    __tablename__ = "deid_demands"
    collection_id: Mapped[int] = mapped_column(
        ForeignKey("collections.id", ondelete="CASCADE"), primary_key=True
    )
    scope: Mapped[str] = mapped_column(String(200))
    """What pseudonyms are derived for: the collection's name when the demand was first made."""
    policy: Mapped[str] = mapped_column(Text)
    """The policy's own text (YAML)."""
    digest: Mapped[str] = mapped_column(String(64))
    """BLAKE3 of the text, hex."""
    changed: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=now)
    changed_by: Mapped[str] = mapped_column(String(200))
    collection: Mapped[Collection] = relationship()


class Quarantined(Base):
    """A file that did not pass. Its name is not kept, since it may identify."""

    __tablename__ = "quarantine"
    __table_args__ = (UniqueConstraint("collection_id", "digest"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    collection_id: Mapped[int] = mapped_column(ForeignKey("collections.id", ondelete="CASCADE"), index=True)
    digest: Mapped[str] = mapped_column(String(64))
    """BLAKE3 of the file, hex; its name in the folder `quarantine`."""
    size: Mapped[int] = mapped_column(BigInteger)
    code: Mapped[str] = mapped_column(String(40))
    """`review` where somebody has to look, else the code of the error."""
    reason: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(String(16), default="waiting", index=True)
    """waiting, released or discarded."""
    came: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=now)
    decided: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    decided_by: Mapped[str | None] = mapped_column(String(200))
    collection: Mapped[Collection] = relationship()
