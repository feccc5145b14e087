"""Objects in records: by a keyed hash, beside which their identifiers can be erased."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from blake3 import blake3
from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from imarium.audit.actions import ObjectKind
from imarium.catalog.audit_tables import AuditObjectRow
from imarium.catalog.people import User
from imarium.catalog.selecting import BATCH
from imarium.catalog.tables import Collection as CollectionRow
from imarium.catalog.tables import SeriesRow, Study, Subject

Named = tuple[ObjectKind, str]
"""An object by its kind and identifier."""

_CATALOGED = (ObjectKind.SERIES, ObjectKind.STUDY, ObjectKind.SUBJECT, ObjectKind.COLLECTION, ObjectKind.USER)
"""Kinds whose identifiers are kept only while the catalog knows them: anyone may ask for any name."""


class ObjectKeys:
    """Keys of objects: BLAKE3 of kind and identifier under a key that hangs on the installation's secret."""

    def __init__(self, secret: bytes) -> None:
        self._key = blake3(secret, derive_key_context="imarium audit object keys, version 1").digest()

    def of(self, kind: ObjectKind, identifier: str) -> str:
        """16 bytes in hex; empty where there is no object."""
        if not identifier:
            return ""
        content = f"{kind.value}\0{identifier}".encode("utf-8", "surrogatepass")
        return blake3(content, key=self._key).hexdigest(length=16)


def note_objects(session: Session, keys: ObjectKeys, objects: Iterable[Named]) -> None:
    """Keep what the keys of these objects stand for, and of series and studies what they are part of."""
    wanted = {item for item in objects if item[1]}
    if not wanted:
        return
    found: dict[str, tuple[ObjectKind, str, str | None]] = {}

    def add(kind: ObjectKind, identifier: str, parent: str | None = None) -> None:
        found[keys.of(kind, identifier)] = (kind, identifier, parent)

    def of_kind(kind: ObjectKind) -> list[str]:
        return [identifier for known, identifier in wanted if known is kind]

    missing = _unknown(session, keys, wanted)
    wanted = {item for item in wanted if keys.of(*item) in missing}
    series = (
        select(SeriesRow.uid, Study.uid, Subject.pseudonym).join(SeriesRow.study).outerjoin(Study.subject)
    )
    for group in _groups(of_kind(ObjectKind.SERIES)):
        for uid, study, subject in session.execute(series.where(SeriesRow.uid.in_(group))):
            add(ObjectKind.SERIES, uid, keys.of(ObjectKind.STUDY, study))
            add(ObjectKind.STUDY, study, keys.of(ObjectKind.SUBJECT, subject or "") or None)
            if subject:
                add(ObjectKind.SUBJECT, subject)
    studies = select(Study.uid, Subject.pseudonym).outerjoin(Study.subject)
    for group in _groups(of_kind(ObjectKind.STUDY)):
        for study, subject in session.execute(studies.where(Study.uid.in_(group))):
            add(ObjectKind.STUDY, study, keys.of(ObjectKind.SUBJECT, subject or "") or None)
            if subject:
                add(ObjectKind.SUBJECT, subject)
    for kind, column in (
        (ObjectKind.SUBJECT, Subject.pseudonym),
        (ObjectKind.COLLECTION, CollectionRow.name),
        (ObjectKind.USER, User.name),
    ):
        for group in _groups(of_kind(kind)):
            for identifier in session.scalars(select(column).where(column.in_(group)).distinct()):
                add(kind, identifier)
    for kind, identifier in wanted:
        if kind not in _CATALOGED:
            add(kind, identifier)
    _keep(session, found)


def _unknown(session: Session, keys: ObjectKeys, objects: Collection[Named]) -> set[str]:
    """Keys of those that are not noted, or whose identifier was erased."""
    missing = {keys.of(*item) for item in objects}
    for group in _groups(list(missing)):
        known = select(AuditObjectRow.key).where(
            AuditObjectRow.key.in_(group), AuditObjectRow.identifier.is_not(None)
        )
        missing.difference_update(session.scalars(known))
    return missing


def _keep(session: Session, found: dict[str, tuple[ObjectKind, str, str | None]]) -> None:
    present: set[str] = set()
    for group in _groups(list(found)):
        present.update(session.scalars(select(AuditObjectRow.key).where(AuditObjectRow.key.in_(group))))
    rows = [
        {"key": key, "kind": kind.value, "identifier": identifier, "parent": parent}
        for key, (kind, identifier, parent) in found.items()
    ]
    fresh = [row for row in rows if row["key"] not in present]
    if fresh:
        session.execute(insert(AuditObjectRow), fresh)
    again = [row for row in rows if row["key"] in present]
    if again:
        session.execute(update(AuditObjectRow), again)


def forget_identifiers(session: Session, keys: Collection[str]) -> int:
    """Take the identifiers of objects away; their keys stay. Returns how many there were."""
    gone = 0
    for group in _groups(list(keys)):
        rows = session.scalars(
            select(AuditObjectRow.key).where(
                AuditObjectRow.key.in_(group), AuditObjectRow.identifier.is_not(None)
            )
        ).all()
        if rows:
            session.execute(update(AuditObjectRow), [{"key": key, "identifier": None} for key in rows])
        gone += len(rows)
    return gone


def _groups(items: list[str]) -> Iterable[list[str]]:
    return (items[first : first + BATCH] for first in range(0, len(items), BATCH))
