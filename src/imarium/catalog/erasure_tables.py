"""Tables of erasures: what is to be removed, certificates, and marks of what must not come again."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from imarium.catalog.tables import Base


class ErasureRow(Base):
    """An erasure. It is made in the transaction that forgets the images; nothing here identifies anybody."""

    __tablename__ = "erasures"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    begun: Mapped[str] = mapped_column(String(27))
    finished: Mapped[str | None] = mapped_column(String(27))
    keys: Mapped[list[str]] = mapped_column(JSON)
    """Of objects in the store that are to be gone."""
    facts: Mapped[dict[str, Any]] = mapped_column(JSON)
    """The certificate, as far as it is known."""


class ErasedMark(Base):
    """A keyed hash of something that was erased and must not come again."""

    __tablename__ = "erased_marks"
    mark: Mapped[str] = mapped_column(String(32), primary_key=True)
    erasure_id: Mapped[str] = mapped_column(ForeignKey("erasures.id"), index=True)
