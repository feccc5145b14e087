"""Events to the end of the chain, one writer at a time."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from imarium.audit.checkpoint import Checkpoint, CheckpointFile
from imarium.audit.objects import ObjectKeys, note_objects
from imarium.audit.record import GENESIS, Event, Record, Sealing, bounded, details_text, digest_of
from imarium.catalog import Catalog
from imarium.catalog.audit_tables import AuditRecordRow
from imarium.catalog.dialects import one_writer
from imarium.errors import IntegrityError, StorageError

log = logging.getLogger("imarium.audit")


class Appender:
    """Gives events their places. Safe to use from several processes at once."""

    def __init__(
        self, catalog: Catalog, keys: ObjectKeys, sealing: Sealing, checkpoint: CheckpointFile
    ) -> None:
        self._catalog, self._keys, self._sealing, self._checkpoint = catalog, keys, sealing, checkpoint

    def append(self, events: Sequence[Event]) -> int:
        """One transaction for all; returns the number of the last. Raises StorageError."""
        if not events:
            raise ValueError("there is nothing to append")
        with self._catalog.session() as session:
            one_writer(session)
            sequence, previous = last_of(session)
            sound = self._continues(session)
            note_objects(session, self._keys, [(event.object_kind, event.object_id) for event in events])
            rows = []
            for event in events:
                sequence += 1
                actor, origin = bounded(event)
                record = Record(
                    sequence=sequence,
                    time=event.time,
                    actor=actor,
                    origin=origin,
                    action=event.action.value,
                    object_kind=event.object_kind.value,
                    object_key=event.object_key or self._keys.of(event.object_kind, event.object_id),
                    outcome=event.outcome.value,
                    details=details_text(event.details),
                    previous=previous,
                    hash="",
                    seal="",
                )
                previous = digest_of(record)
                rows.append(
                    asdict(record) | {"hash": previous, "seal": self._sealing.of_record(sequence, previous)}
                )
            session.execute(insert(AuditRecordRow), rows)
        if sound:
            try:
                self._checkpoint.advance(Checkpoint.make(self._sealing, sequence, previous, events[-1].time))
            except StorageError as error:
                log.error("%s", error)  # the records are safe; the next ones move it
        return sequence

    def _continues(self, session: Session) -> bool:
        """Whether the chain still holds the head that was signed last: if not, that stays, as evidence."""
        try:
            known = self._checkpoint.read()
        except IntegrityError as error:
            log.error("%s; `imarium audit verify` says more", error)
            return False
        if known is not None and known.sequence:
            found = session.scalar(
                select(AuditRecordRow.hash).where(AuditRecordRow.sequence == known.sequence)
            )
            if found == known.hash:
                return True
        elif known is not None:
            return True
        log.error("the audit record does not reach its checkpoint; `imarium audit verify` says more")
        return False


def last_of(session: Session) -> tuple[int, str]:
    """Number and hash of the last record."""
    query = select(AuditRecordRow.sequence, AuditRecordRow.hash).order_by(AuditRecordRow.sequence.desc())
    found = session.execute(query.limit(1)).first()
    return (0, GENESIS) if found is None else (found.sequence, found.hash)
