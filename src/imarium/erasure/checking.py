"""Looks again for what a certificate says is gone."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import select
from sqlalchemy.orm import Session

from imarium.audit import ObjectKeys, ObjectKind
from imarium.catalog import Catalog
from imarium.catalog.audit_tables import AuditObjectRow
from imarium.catalog.tables import Collection, Pack, SeriesRow, Study, Subject
from imarium.erasure.certificate import Certificate
from imarium.erasure.searching import directory_of
from imarium.store import ObjectStore

_LISTS = (
    ("series", ObjectKind.SERIES, SeriesRow.uid),
    ("studies", ObjectKind.STUDY, Study.uid),
    ("subjects", ObjectKind.SUBJECT, Subject.pseudonym),
    ("collections", ObjectKind.COLLECTION, Collection.name),
)


def check(catalog: Catalog, store: ObjectStore, keys: ObjectKeys, certificate: Certificate) -> list[str]:
    """Findings, one sentence each."""
    findings = [f"when it was made: {text}" for text in certificate.facts["unfinished"]]
    with catalog.session() as session:
        findings += _in_catalog(session, keys, certificate)
    findings += _in_store(store, keys, certificate)
    return findings


def _in_catalog(session: Session, keys: ObjectKeys, certificate: Certificate) -> Iterator[str]:
    for name, kind, column in _LISTS:
        gone = set(certificate.facts[name])
        if not gone:
            continue
        present = {keys.of(kind, value) for value in session.scalars(select(column)) if value}
        if again := len(gone & present):
            yield f"{again} of {len(gone)} {name} are in the catalog: they came again"
    known = set(session.scalars(select(Pack.key)))
    if again := len(known.intersection(certificate.facts["objects_deleted"])):
        yield f"{again} packs are in the catalog again"
    gone = {key for name, _, _ in _LISTS for key in certificate.facts[name]}
    named = select(AuditObjectRow.key).where(AuditObjectRow.identifier.is_not(None))
    if again := len(gone.intersection(session.scalars(named))):
        yield f"the audit record knows {again} of the identifiers"


def _in_store(store: ObjectStore, keys: ObjectKeys, certificate: Certificate) -> Iterator[str]:
    objects, gone = set(certificate.facts["objects_deleted"]), set(certificate.facts["series"])
    present = inside = unreadable = 0
    for key, _ in store.changed():
        present += key in objects
        entries = directory_of(store, key)
        unreadable += entries is None
        inside += any(keys.of(ObjectKind.SERIES, entry.uid) in gone for entry in entries or ())
    if present:
        yield f"{present} of {len(objects)} deleted objects are in the store"
    if inside:
        yield f"{inside} objects in the store hold series that were erased"
    if unreadable:
        yield f"{unreadable} objects are damaged, so that nobody can tell what they hold"
