"""Questions to the audit record."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session

from imarium.audit.actions import Action, ObjectKind, Outcome
from imarium.audit.objects import ObjectKeys
from imarium.audit.record import Record
from imarium.catalog.audit_tables import AuditObjectRow, AuditRecordRow
from imarium.catalog.selecting import BATCH

_GENERATIONS = 2
"""From a subject by its studies to their series."""


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which records are meant: those that meet all of what is given."""

    actor: str | None = None
    action: Action | None = None
    outcome: Outcome | None = None
    object_kind: ObjectKind | None = None
    object_id: str | None = None
    """With its kind: records of a subject are those of its studies and series too, and so on."""
    object_key: str | None = None
    """The same by the key, which is left when the identifier was erased."""
    since: str | None = None
    """Times as records have them, or beginnings of such (2026-01-31); `since` counts, `until` does not."""
    until: str | None = None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A record, and what it is about as far as that is still known."""

    record: Record
    object_id: str | None
    """None where there is no object, and where it was erased."""
    study: str | None
    subject: str | None
    study_key: str | None
    subject_key: str | None


def entries(
    session: Session,
    keys: ObjectKeys,
    wanted: AuditFilter,
    *,
    limit: int,
    before: int | None = None,
    after: int | None = None,
) -> list[AuditEntry]:
    """At most `limit` records: the newest first, or with `after` in the order of the chain.

    `before` and `after` are numbers of records, so that pages stay what they are while records are added.
    """
    query = select(*(getattr(AuditRecordRow, name) for name in Record.__dataclass_fields__))
    for condition in _conditions(keys, wanted):
        query = query.where(condition)
    if before is not None:
        query = query.where(AuditRecordRow.sequence < before)
    if after is not None:
        query = query.where(AuditRecordRow.sequence > after)
    order = AuditRecordRow.sequence.desc() if after is None else AuditRecordRow.sequence
    rows = [Record(*row) for row in session.execute(query.order_by(order).limit(limit))]
    known = _objects(session, {row.object_key for row in rows if row.object_key})
    return [_entry(row, known) for row in rows]


def all_entries(session: Session, keys: ObjectKeys, wanted: AuditFilter, size: int) -> Iterator[AuditEntry]:
    """All records that are meant, in the order of the chain."""
    after = 0
    while page := entries(session, keys, wanted, limit=size, after=after):
        yield from page
        after = page[-1].record.sequence


def _conditions(keys: ObjectKeys, wanted: AuditFilter) -> Iterator[ColumnElement[bool]]:
    if wanted.actor is not None:
        yield AuditRecordRow.actor == wanted.actor
    if wanted.action is not None:
        yield AuditRecordRow.action == wanted.action.value
    if wanted.outcome is not None:
        yield AuditRecordRow.outcome == wanted.outcome.value
    if wanted.since is not None:
        yield AuditRecordRow.time >= wanted.since
    if wanted.until is not None:
        yield AuditRecordRow.time < wanted.until
    key = wanted.object_key
    if wanted.object_id is not None:
        key = keys.of(wanted.object_kind or ObjectKind.NONE, wanted.object_id)
    elif wanted.object_kind is not None:
        yield AuditRecordRow.object_kind == wanted.object_kind.value
    if key is not None:
        yield _within(key)


def _within(key: str) -> ColumnElement[bool]:
    """That a record is of an object, or of a part of it."""
    conditions = [AuditRecordRow.object_key == key]
    parts = select(AuditObjectRow.key).where(AuditObjectRow.parent == key)
    for _ in range(_GENERATIONS):
        conditions.append(AuditRecordRow.object_key.in_(parts))
        parts = select(AuditObjectRow.key).where(AuditObjectRow.parent.in_(parts))
    return or_(*conditions)


@dataclass(frozen=True, slots=True)
class _Object:
    kind: str
    identifier: str | None
    parent: str | None


def _objects(session: Session, wanted: set[str]) -> dict[str, _Object]:
    """Objects by key, with those that they are part of."""
    known: dict[str, _Object] = {}
    for _ in range(_GENERATIONS + 1):
        missing = list(wanted - known.keys())
        if not missing:
            break
        for first in range(0, len(missing), BATCH):
            query = select(AuditObjectRow).where(AuditObjectRow.key.in_(missing[first : first + BATCH]))
            for row in session.scalars(query):
                known[row.key] = _Object(row.kind, row.identifier, row.parent)
        wanted = {item.parent for item in known.values() if item.parent}
    return known


def _entry(record: Record, known: dict[str, _Object]) -> AuditEntry:
    entry = AuditEntry(record, None, None, None, None, None)
    key: str | None = record.object_key
    while key and (found := known.get(key)) is not None:
        if key == record.object_key:
            entry = replace(entry, object_id=found.identifier)
        if found.kind == ObjectKind.STUDY.value:
            entry = replace(entry, study=found.identifier, study_key=key)
        elif found.kind == ObjectKind.SUBJECT.value:
            entry = replace(entry, subject=found.identifier, subject_key=key)
        key = found.parent
    return entry
