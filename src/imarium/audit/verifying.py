"""Re-reads the chain and says which records were changed, are missing, or do not belong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.orm import Session

from imarium.audit.checkpoint import Checkpoint, CheckpointFile
from imarium.audit.record import GENESIS, Record, Sealing, digest_of
from imarium.catalog.audit_tables import AuditRecordRow
from imarium.errors import IntegrityError

_AT_ONCE = 2000
MOST_PROBLEMS = 1000
"""Found problems that are listed; the rest is only counted."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, and with which record."""

    sequence: int | None
    """None: with the checkpoint itself."""
    message: str


@dataclass(frozen=True, slots=True)
class Verified:
    """What a verification found."""

    records: int
    last: int
    """Number of the last record; 0 without records."""
    hash: str
    """Of the last record."""
    problems: tuple[Problem, ...] = ()
    count: int = field(default=0)
    """Of all problems, those too that are not listed."""

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.count


class _Found:
    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.count = 0

    def add(self, sequence: int | None, message: str) -> None:
        self.count += 1
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(Problem(sequence, message))


def verify(
    session: Session, sealing: Sealing, file: CheckpointFile, heads: list[Checkpoint] | None = None
) -> Verified:
    """Every record, in order, against its hash, its seal, the one before it, and the signed heads.

    `heads` are heads that were exported earlier and kept elsewhere; their own seals are not needed, since who
    brings them trusts them.
    """
    found = _Found()
    anchors = list(heads or [])
    signed = True
    try:
        # Read before the records: what is appended meanwhile lies behind it.
        kept = file.read()
    except IntegrityError as error:
        found.add(None, str(error))
        kept, signed = None, False
    if kept is not None:
        anchors.append(kept)
    expected = {head.sequence: head.hash for head in anchors}
    number, previous, count = 0, GENESIS, 0
    for record in records_of(session):
        if record.sequence != number + 1:
            found.add(number + 1, _missing(number + 1, record.sequence - 1))
        elif record.previous != previous:
            found.add(
                record.sequence,
                f"record {record.sequence} does not follow the record before it: one of the two was changed, "
                "or put in the place of another",
            )
        if digest_of(record) != record.hash:
            found.add(record.sequence, f"record {record.sequence} was changed: it does not match its hash")
        if sealing.of_record(record.sequence, record.hash) != record.seal:
            found.add(
                record.sequence, f"record {record.sequence} was not written, or not like this, by this site"
            )
        if expected.get(record.sequence, record.hash) != record.hash:
            found.add(
                record.sequence, f"record {record.sequence} is another than the one whose head was signed"
            )
        number, previous, count = record.sequence, record.hash, count + 1
    last = max(expected, default=0)
    if last > number:
        found.add(number + 1, f"the end is cut off: {_missing(number + 1, last)}")
    if kept is None and signed and count:
        found.add(None, "the checkpoint of the audit record is missing: nobody can tell whether its end is")
    return Verified(count, number, previous, tuple(found.problems), found.count)


def _missing(first: int, last: int) -> str:
    return f"record {first} is missing" if first == last else f"records {first} to {last} are missing"


def records_of(session: Session) -> Iterator[Record]:
    """All records in order; memory is bounded."""
    after = 0
    query = select(*(getattr(AuditRecordRow, name) for name in Record.__dataclass_fields__))
    while True:
        page = query.where(AuditRecordRow.sequence > after).order_by(AuditRecordRow.sequence).limit(_AT_ONCE)
        rows = session.execute(page).all()
        for row in rows:
            yield Record(*row)
        if len(rows) < _AT_ONCE:
            return
        after = rows[-1].sequence
