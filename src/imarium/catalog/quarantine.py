"""Queries of the gate; each takes a session of the catalog."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session, joinedload

from imarium.catalog.quarantine_tables import Demand, Quarantined
from imarium.catalog.tables import Collection, SeriesRow, Study, Subject, now
from imarium.errors import NotFoundError

WAITING, RELEASED, DISCARDED = "waiting", "released", "discarded"


@dataclass(frozen=True, slots=True)
class QuarantineRecord:
    """A row of the quarantine."""

    id: int
    collection: str
    digest: str
    size: int
    code: str
    reason: str
    state: str
    came: datetime
    decided: datetime | None
    decided_by: str | None


def demand_of(session: Session, collection: str) -> Demand | None:
    """What a collection demands; None if nothing, or if there is no such collection."""
    return session.scalar(select(Demand).join(Collection).where(Collection.name == collection))


def series_of(session: Session, owner: Collection) -> int:
    """How many series a collection has."""
    counted = select(func.count(SeriesRow.id)).join(Study).where(Study.collection_id == owner.id)
    return session.scalar(counted) or 0


def subject_of_study(session: Session, collection: str, study_uid: str) -> str | None:
    """The pseudonym that the catalog has for a study's subject; None if it knows none."""
    return session.scalar(
        select(Subject.pseudonym)
        .join(Study, Study.subject_id == Subject.id)
        .join(Collection, Study.collection_id == Collection.id)
        .where(Collection.name == collection, Study.uid == study_uid)
    )


def quarantine(
    session: Session, collection: str, digest: str, size: int, code: str, reason: str
) -> Quarantined:
    """Put a file into the quarantine, or put one back that was there before."""
    owner = session.scalar(select(Collection).where(Collection.name == collection))
    if owner is None:
        raise NotFoundError(f"there is no collection {collection!r}")
    row = session.scalar(
        select(Quarantined).where(Quarantined.collection_id == owner.id, Quarantined.digest == digest)
    )
    if row is None:
        row = Quarantined(collection=owner, digest=digest, size=size)
        session.add(row)
    row.code, row.reason, row.state, row.came = code, reason, WAITING, now()
    row.decided = row.decided_by = None
    return row


def found(session: Session, number: int) -> Quarantined:
    """A row by its number. Raises NotFoundError."""
    row = session.get(Quarantined, number, options=[joinedload(Quarantined.collection)])
    if row is None:
        raise NotFoundError(f"the quarantine has no number {number}")
    return row


def decide(row: Quarantined, state: str, by: str) -> None:
    """Keep what was decided."""
    row.state, row.decided, row.decided_by = state, now(), by


def records(session: Session, collection: str | None, state: str | None = WAITING) -> list[QuarantineRecord]:
    """Rows of one collection or of all, oldest first; of one state or of all."""
    query = select(Quarantined).options(joinedload(Quarantined.collection)).order_by(Quarantined.id)
    if collection is not None:
        query = query.join(Collection).where(Collection.name == collection)
    if state is not None:
        query = query.where(Quarantined.state == state)
    return [record(row) for row in session.scalars(query)]


def record(row: Quarantined) -> QuarantineRecord:
    """A row as plain values."""
    return QuarantineRecord(
        row.id,
        row.collection.name,
        row.digest,
        row.size,
        row.code,
        row.reason,
        row.state,
        row.came,
        row.decided,
        row.decided_by,
    )


def in_use(session: Session, digest: str) -> bool:
    """Whether any row still waits for the file of a digest."""
    waiting = select(func.count(Quarantined.id)).where(
        Quarantined.digest == digest, Quarantined.state == WAITING
    )
    return bool(session.scalar(waiting))
