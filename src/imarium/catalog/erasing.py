"""Rows of what is erased: found, counted, and removed with everything that hangs on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Column, Table, delete, exists, func, select, update
from sqlalchemy.orm import Session

from imarium.catalog.records import PackRecord
from imarium.catalog.search_tables import AttributeValue, ConceptRow, SeriesAttribute, SeriesConcept
from imarium.catalog.selecting import BATCH
from imarium.catalog.tables import Base, Collection, Pack, SeriesRow, Source, Study, Subject
from imarium.errors import ConcurrentWriteError


@dataclass(frozen=True, slots=True)
class TargetSeries:
    """A series that is to go."""

    id: int
    uid: str
    base_uid: str
    study_id: int
    pack_key: str
    frames: int
    source_bytes: int
    stored_bytes: int


@dataclass(frozen=True, slots=True)
class Target:
    """All rows that an erasure is about: series, and what will be empty without them."""

    series: tuple[TargetSeries, ...]
    studies: tuple[tuple[int, str], ...]
    """(number, UID) of those that lose all of their series."""
    subjects: tuple[tuple[int, str], ...]
    """(number, pseudonym) of those that lose all of their studies."""
    collections: tuple[tuple[int, str], ...]

    @property
    def is_nothing(self) -> bool:
        """Whether the catalog knows nothing of it."""
        return not (self.series or self.studies or self.subjects or self.collections)


@dataclass(frozen=True, slots=True)
class Repointed:
    """A series that stays, and its place in the pack that was written anew."""

    id: int
    index_span: tuple[int, int]


def find_target(
    session: Session,
    *,
    series: str | None = None,
    study: str | None = None,
    subject: str | None = None,
    collection: str | None = None,
) -> Target:
    """What belongs to a series, a study or a subject (in all collections), or a collection."""
    wanted = (
        select(SeriesRow, Study.subject_id, Pack.key)
        .join(SeriesRow.study)
        .join(Study.collection)
        .join(SeriesRow.pack)
        .outerjoin(Study.subject)
    )
    studies = select(Study.id).join(Study.collection).outerjoin(Study.subject)
    subjects = select(Subject.id)
    if series is not None:
        condition = SeriesRow.uid == series
        studies = studies.where(False)  # type: ignore[arg-type]
        subjects = subjects.where(False)  # type: ignore[arg-type]
    elif study is not None:
        condition = Study.uid == study
        studies = studies.where(condition)
        subjects = subjects.where(False)  # type: ignore[arg-type]
    elif subject is not None:
        condition = Subject.pseudonym == subject
        studies, subjects = studies.where(condition), subjects.where(condition)
    else:
        condition = Collection.name == collection
        studies = studies.where(condition)
        subjects = subjects.join(Collection, Collection.id == Subject.collection_id).where(condition)
    rows = session.execute(wanted.where(condition).order_by(SeriesRow.id)).all()
    found = tuple(
        TargetSeries(
            id=row.SeriesRow.id,
            uid=row.SeriesRow.uid,
            base_uid=row.SeriesRow.base_uid,
            study_id=row.SeriesRow.study_id,
            pack_key=row.key,
            frames=int(row.SeriesRow.facts.get("frames", 0)),
            source_bytes=row.SeriesRow.source_bytes,
            stored_bytes=row.SeriesRow.stored_bytes,
        )
        for row in rows
    )
    study_ids = {*session.scalars(studies), *(item.study_id for item in found)}
    going = {item.id for item in found}
    empty = [
        number for number in study_ids if _all_in(session, SeriesRow.study_id, SeriesRow.id, number, going)
    ]
    emptied = _named(session, Study.id, Study.uid, empty)
    owners = {row.subject_id for row in rows if row.subject_id is not None}
    owners |= {*session.scalars(subjects)}
    without = [
        number for number in owners if _all_in(session, Study.subject_id, Study.id, number, set(empty))
    ]
    whole = session.execute(select(Collection.id, Collection.name).where(Collection.name == collection)).all()
    return Target(
        found,
        emptied,
        _named(session, Subject.id, Subject.pseudonym, without),
        tuple((row.id, row.name) for row in whole) if collection is not None else (),
    )


def _all_in(session: Session, owner: object, number: object, value: int, going: set[int]) -> bool:
    """Whether all rows that a row owns are among those that go."""
    return set(session.scalars(select(number).where(owner == value))) <= going  # type: ignore[call-overload]


def _named(session: Session, number: object, name: object, ids: Sequence[int]) -> tuple[tuple[int, str], ...]:
    found: list[tuple[int, str]] = []
    for group in _groups(sorted(ids)):
        query = select(number, name).where(number.in_(group)).order_by(number)  # type: ignore[call-overload, attr-defined]
        found += [(row[0], row[1]) for row in session.execute(query)]
    return tuple(found)


def members(session: Session, keys: Iterable[str]) -> dict[str, dict[str, int]]:
    """UIDs and numbers of the series that live in each of these packs."""
    wanted = list(keys)
    found: dict[str, dict[str, int]] = {key: {} for key in wanted}
    for group in _groups(wanted):
        query = select(Pack.key, SeriesRow.uid, SeriesRow.id).join(SeriesRow.pack).where(Pack.key.in_(group))
        for key, uid, number in session.execute(query):
            found[key][uid] = number
    return found


def known_packs(session: Session) -> dict[str, int]:
    """Key of every pack that the catalog knows, replaced ones too, and how many series live there."""
    query = (
        select(Pack.key, func.count(SeriesRow.id))
        .outerjoin(SeriesRow, SeriesRow.pack_id == Pack.id)
        .group_by(Pack.key)
    )
    return {row[0]: row[1] for row in session.execute(query)}


def still_named(session: Session, target: Target) -> set[str]:
    """Names of studies and subjects of a target that another collection has too, after its rows went."""
    studies = [uid for _, uid in target.studies]
    subjects = [name for _, name in target.subjects]
    found: set[str] = set()
    for group in _groups(studies):
        found |= set(session.scalars(select(Study.uid).where(Study.uid.in_(group))))
    for group in _groups(subjects):
        found |= set(session.scalars(select(Subject.pseudonym).where(Subject.pseudonym.in_(group))))
    return found


def files_of(session: Session, series: Sequence[int]) -> list[tuple[str, str | None]]:
    """Digest and SOP Instance UID of the files of series."""
    found: list[tuple[str, str | None]] = []
    for group in _groups(list(series)):
        query = select(Source.digest, Source.instance_uid).where(Source.series_id.in_(group))
        found += [(row[0], row[1]) for row in session.execute(query)]
    return found


def repoint(session: Session, old: str, new: PackRecord, moved: Sequence[Repointed]) -> None:
    """Have series that stay live in a pack that was written anew.

    Raises ConcurrentWriteError if one of them lives elsewhere by now.
    """
    pack = session.scalar(select(Pack).where(Pack.key == new.key))
    before, owner = session.execute(select(Pack.id, Pack.collection_id).where(Pack.key == old)).one()
    if pack is None:
        pack = Pack(key=new.key, size=new.size, digest=new.digest, collection_id=owner)
        session.add(pack)
    pack.replaced = None
    session.flush()
    for item in moved:
        done = session.execute(
            update(SeriesRow)
            .where(SeriesRow.id == item.id, SeriesRow.pack_id == before)
            .values(pack_id=pack.id, index_start=item.index_span[0], index_stop=item.index_span[1])
        )
        if done.rowcount != 1:  # type: ignore[attr-defined]
            raise ConcurrentWriteError("a series moved while others were erased from its pack")


def remove_target(session: Session, target: Target, packs: Sequence[str]) -> Counter[str]:
    """Remove all rows of a target, and those of packs; returns how many of each table."""
    gone: Counter[str] = Counter()
    for row, ids in (
        (SeriesRow, [item.id for item in target.series]),
        (Study, [number for number, _ in target.studies]),
        (Subject, [number for number, _ in target.subjects]),
        (Collection, [number for number, _ in target.collections]),
    ):
        _remove(session, row.__table__, ids, gone)  # type: ignore[arg-type]
    numbers: list[int] = []
    for group in _groups(list(packs)):
        numbers += session.scalars(select(Pack.id).where(Pack.key.in_(group)))
    _remove(session, Pack.__table__, numbers, gone, keep=(SeriesRow.__table__,))  # type: ignore[arg-type]
    # Values are kept once for all series; those that no other series has would stay.
    for value, used in ((AttributeValue, SeriesAttribute.value_id), (ConceptRow, SeriesConcept.concept_id)):
        unused = delete(value).where(~exists().where(used == value.id))
        gone[value.__tablename__] += session.execute(unused).rowcount  # type: ignore[attr-defined]
    return gone


def _remove(
    session: Session, table: Table, ids: Sequence[int], gone: Counter[str], keep: Sequence[Table] = ()
) -> None:
    """Delete rows, and first whatever refers to them; a reference that may be empty is emptied instead.

    Tables are found by their foreign keys, so that those which are added later are not forgotten. `keep` are
    tables whose rows must not hang on these any more; the database refuses if they do.
    """
    if not ids:
        return
    (key,) = table.primary_key.columns
    for child, column, cascades in _references(table):
        if child in keep:
            continue
        for group in _groups(list(ids)):
            if column.nullable and not cascades:
                session.execute(update(child).where(column.in_(group)).values({column: None}))
                continue
            own = list(child.primary_key.columns)
            if len(own) == 1 and own[0] is not column and any(True for _ in _references(child)):
                _remove(session, child, list(session.scalars(select(own[0]).where(column.in_(group)))), gone)
            else:
                gone[child.name] += session.execute(delete(child).where(column.in_(group))).rowcount  # type: ignore[attr-defined]
    for group in _groups(list(ids)):
        gone[table.name] += session.execute(delete(table).where(key.in_(group))).rowcount  # type: ignore[attr-defined]


def _references(table: Table) -> Iterator[tuple[Table, Column[int], bool]]:
    """Tables and columns that refer to a table's rows, and whether they go with them."""
    for child in Base.metadata.tables.values():
        for foreign in child.foreign_keys:
            if foreign.column.table is table:
                yield child, foreign.parent, foreign.ondelete == "CASCADE"


def _groups(items: list[int] | list[str]) -> Iterator[list[int] | list[str]]:
    return (items[first : first + BATCH] for first in range(0, len(items), BATCH))
