"""Rows of stored series, studies, packs and source files: found, or made."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from imarium.catalog.records import NewSeries
from imarium.catalog.selecting import BATCH
from imarium.catalog.tables import Collection, Pack, SeriesRow, Source, Study, Subject
from imarium.errors import IntegrityError
from imarium.model import SourceFile


def find_or_add_collection(session: Session, name: str, description: str) -> Collection:
    found = session.scalar(select(Collection).where(Collection.name == name))
    if found is None:
        found = Collection(name=name, description=description)
        session.add(found)
        session.flush()
    return found


def find_or_add_study(session: Session, owner: Collection, new: NewSeries) -> Study:
    study = session.scalar(
        select(Study).where(Study.collection_id == owner.id, Study.uid == new.series.study_uid)
    )
    if study is None:
        study = Study(
            collection=owner,
            uid=new.series.study_uid,
            description=new.series.study_description,
            date=new.series.study_date,
            subject=_find_or_add_subject(session, owner, new.pseudonym),
        )
        session.add(study)
    return study


def _find_or_add_subject(session: Session, owner: Collection, pseudonym: str | None) -> Subject | None:
    if pseudonym is None:
        return None
    found = session.scalar(
        select(Subject).where(Subject.collection_id == owner.id, Subject.pseudonym == pseudonym)
    )
    return found or Subject(collection_id=owner.id, pseudonym=pseudonym)


def find_or_add_pack(session: Session, new: NewSeries, collection: int) -> Pack:
    """The pack of a series. Whoever may read its collection may read all of the pack: raises IntegrityError
    if series of another collection live there."""
    pack = session.scalar(select(Pack).where(Pack.key == new.pack.key))
    if pack is None:
        pack = Pack(key=new.pack.key, size=new.pack.size, digest=new.pack.digest)
        session.add(pack)
    elif pack.collection_id != collection:
        others = (
            select(SeriesRow.id)
            .join(SeriesRow.study)
            .where(SeriesRow.pack_id == pack.id, Study.collection_id != collection)
        )
        if session.scalar(others.limit(1)) is not None:
            raise IntegrityError("a pack cannot hold series of several collections")
    pack.collection_id = collection
    pack.replaced = None
    return pack


def fill(row: SeriesRow, new: NewSeries, pack: Pack) -> None:
    row.pack = pack
    row.index_start, row.index_stop = new.index_span
    row.levels, row.lane = new.levels, new.lane
    row.modality, row.facts = new.series.modality, new.series.to_json()
    row.stored_bytes = new.stored_bytes


def fresh_files(session: Session, files: Sequence[SourceFile]) -> dict[str, SourceFile]:
    """Those files, by digest, whose content no series is known to hold."""
    fresh = {file.digest: file for file in files}
    digests = list(fresh)
    for first in range(0, len(digests), BATCH):
        group = digests[first : first + BATCH]
        for digest in session.scalars(select(Source.digest).where(Source.digest.in_(group))):
            del fresh[digest]
    return fresh


def insert_sources(session: Session, members: Sequence[tuple[int, SourceFile]]) -> None:
    rows = [
        {"series_id": series, "digest": file.digest, "size": file.size, "instance_uid": file.instance_uid}
        for series, file in members
    ]
    if rows:
        session.execute(insert(Source), rows)


def add_sources(
    session: Session, series_id: int, files: Sequence[SourceFile], *, count_bytes: bool = True
) -> None:
    fresh = list(fresh_files(session, files).values())
    insert_sources(session, [(series_id, file) for file in fresh])
    if fresh and count_bytes:
        session.execute(
            update(SeriesRow)
            .where(SeriesRow.id == series_id)
            .values(source_bytes=SeriesRow.source_bytes + sum(file.size for file in fresh))
        )
