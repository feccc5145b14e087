"""The catalog: one class over SQLAlchemy; every method is one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Collection as Numbers
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import (
    Connection,
    CursorResult,
    func,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError as UniqueViolation
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, contains_eager, sessionmaker

from imarium.catalog.annotating import Annotating
from imarium.catalog.dialects import at_one_moment, lock_schema, open_engine, rewrite_files
from imarium.catalog.erasure_tables import ErasedMark
from imarium.catalog.indexing import index_series, refresh_texts, reindex_series
from imarium.catalog.labels import Change, change_labels, checked_change, insert_labels, replace_labels
from imarium.catalog.records import (
    CollectionRecord,
    LevelSpans,
    NewSeries,
    PackRecord,
    Place,
    SelectedSeries,
    SeriesRecord,
    StudyRecord,
)
from imarium.catalog.rows import record_of, series_query
from imarium.catalog.saving import Saving
from imarium.catalog.search.service import Searching
from imarium.catalog.selecting import BATCH, among, keep_spans, load_selected, selected_ids
from imarium.catalog.tables import Collection, Pack, SeriesRow, Source, Study, now
from imarium.catalog.writing import (
    add_sources,
    fill,
    find_or_add_collection,
    find_or_add_pack,
    find_or_add_study,
    fresh_files,
    insert_sources,
)
from imarium.errors import ConcurrentWriteError, NotFoundError, PermissionDeniedError, StorageError
from imarium.model import Selection, Series, SourceFile, checked_labels
from imarium.model.details import Details
from imarium.model.query_parser import parse

_MIGRATIONS = Path(__file__).parent / "migrations"


class Catalog:
    """Opens, migrates and queries the catalog. Raises StorageError if the database cannot be used."""

    def __init__(self, url: str) -> None:
        self._engine = open_engine(url)
        self._sessions = sessionmaker(self._engine, expire_on_commit=False)
        self._migrate()
        self.searching = Searching(self.session)
        self.annotating = Annotating(self.session, self._changed_ids)
        self.saving = Saving(self.session)

    def close(self) -> None:
        """Release all connections."""
        self._engine.dispose()

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A transaction: committed at the end, rolled back on an error."""
        try:
            with self._sessions.begin() as session:
                yield session
        except UniqueViolation:
            raise
        except SQLAlchemyError as error:
            cause = getattr(error, "orig", None) or error
            raise StorageError(f"the catalog could not be used: {cause}") from error

    def rewrite_files(self) -> bool:
        """Leave nothing of deleted rows in the database's files; False if readers kept it from that."""
        try:
            return rewrite_files(self._engine)
        except SQLAlchemyError as error:
            cause = getattr(error, "orig", None) or error
            raise StorageError(f"the catalog's files could not be written anew: {cause}") from error

    def erased_marks(self, marks: Sequence[str]) -> set[str]:
        """Which of these stand for something that was erased and must not come again."""
        with self.session() as session:
            if session.scalar(select(ErasedMark.mark).limit(1)) is None:
                return set()
            return {
                mark
                for first in range(0, len(marks), BATCH)
                for mark in session.scalars(
                    select(ErasedMark.mark).where(ErasedMark.mark.in_(marks[first : first + BATCH]))
                )
            }

    def _migrate(self) -> None:
        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS))
        head = ScriptDirectory.from_config(config).get_current_head()
        try:
            with self._engine.connect() as connection:
                if _revision(connection) == head:
                    return
            with self._engine.begin() as connection:
                lock_schema(connection)
                if _revision(connection) != head:
                    config.attributes["connection"] = connection
                    command.upgrade(config, "head")
        except SQLAlchemyError as error:
            cause = getattr(error, "orig", None) or type(error).__name__
            raise StorageError(f"the catalog could not be opened: {cause}") from error

    # --- reading ------------------------------------------------------------------------------------

    # `within` are the numbers of the collections that may be read; None: all.

    def collections(self, within: Numbers[int] | None = None) -> list[CollectionRecord]:
        """All collections by name, with counts and sizes."""
        query = (
            select(
                Collection.name,
                Collection.description,
                func.count(func.distinct(Study.id)),
                func.count(SeriesRow.id),
                func.coalesce(func.sum(SeriesRow.source_bytes), 0),
                func.coalesce(func.sum(SeriesRow.stored_bytes), 0),
                Collection.visibility,
            )
            .where(among(within))
            .outerjoin(Study, Study.collection_id == Collection.id)
            .outerjoin(SeriesRow, SeriesRow.study_id == Study.id)
            .group_by(Collection.id)
            .order_by(Collection.name)
        )
        with self.session() as session:
            return [CollectionRecord(*row) for row in session.execute(query)]

    def studies(
        self, collection: str | None, offset: int, limit: int, within: Numbers[int] | None = None
    ) -> tuple[list[StudyRecord], int]:
        """A page of studies, and how many there are in all."""
        query = select(Study).join(Study.collection).outerjoin(Study.subject).where(among(within))
        if collection is not None:
            query = query.where(Collection.name == collection)
        with self.session() as session:
            total = session.scalar(select(func.count()).select_from(query.subquery())) or 0
            page = query.options(contains_eager(Study.collection), contains_eager(Study.subject))
            rows = session.scalars(page.order_by(Study.id).offset(offset).limit(limit)).all()
            held: dict[int, list[str | None]] = {row.id: [] for row in rows}
            members = select(SeriesRow.study_id, SeriesRow.modality).where(SeriesRow.study_id.in_(held))
            for study_id, modality in session.execute(members):
                held[study_id].append(modality)
            records = [
                StudyRecord(
                    uid=row.uid,
                    collection=row.collection.name,
                    subject=row.subject.pseudonym if row.subject else None,
                    description=row.description,
                    date=row.date,
                    modalities=tuple(sorted({item for item in held[row.id] if item})),
                    series=len(held[row.id]),
                )
                for row in rows
            ]
        return records, total

    def series(
        self,
        *,
        collection: str | None = None,
        study: str | None = None,
        offset: int = 0,
        limit: int | None = None,
        within: Numbers[int] | None = None,
    ) -> tuple[list[SeriesRecord], int]:
        """A page of series in the order in which they came, and how many there are in all."""
        query = series_query().where(among(within))
        if collection is not None:
            query = query.where(Collection.name == collection)
        if study is not None:
            query = query.where(Study.uid == study)
        with self.session() as session:
            total = session.scalar(select(func.count()).select_from(query.subquery())) or 0
            page = query.order_by(SeriesRow.id).offset(offset).limit(limit)
            return [record_of(row) for row in session.scalars(page)], total

    def get_series(self, uid: str, within: Numbers[int] | None = None) -> SeriesRecord:
        """One series; raises NotFoundError, for one that may not be read too."""
        with self.session() as session:
            row = session.scalar(series_query().where(SeriesRow.uid == uid, among(within)))
            if row is None:
                raise NotFoundError("no series has that UID; `imarium ls` lists them")
            return record_of(row)

    def stacks(self, base_uid: str) -> list[SeriesRecord]:
        """All series kept under one Series Instance UID, in the order in which they came."""
        with self.session() as session:
            if session.scalar(select(SeriesRow.id).where(SeriesRow.base_uid == base_uid).limit(1)) is None:
                return []  # as for most series that come: the short way
            rows = session.scalars(
                series_query().where(SeriesRow.base_uid == base_uid).order_by(SeriesRow.id)
            )
            return [record_of(row) for row in rows]

    def known_sources(self, digests: Sequence[str]) -> dict[str, tuple[str, str]]:
        """Which of these file digests were taken in, and as part of which (series, collection)."""
        known: dict[str, tuple[str, str]] = {}
        with self.session() as session:
            for first in range(0, len(digests), BATCH):
                query = (
                    select(Source.digest, SeriesRow.uid, Collection.name)
                    .join(SeriesRow, SeriesRow.id == Source.series_id)
                    .join(Study, Study.id == SeriesRow.study_id)
                    .join(Collection, Collection.id == Study.collection_id)
                    .where(Source.digest.in_(digests[first : first + BATCH]))
                )
                known.update({digest: (uid, name) for digest, uid, name in session.execute(query)})
        return known

    def known_instances(self, uids: Sequence[str]) -> set[tuple[str, int]]:
        """SOP Instance UID and size of the DICOM files taken in under these UIDs."""
        known: set[tuple[str, int]] = set()
        with self.session() as session:
            for first in range(0, len(uids), BATCH):
                group = uids[first : first + BATCH]
                query = select(Source.instance_uid, Source.size).where(Source.instance_uid.in_(group))
                known.update((uid, size) for uid, size in session.execute(query) if uid is not None)
        return known

    def get_pack(self, key: str) -> PackRecord:
        """A pack by key; raises NotFoundError."""
        with self.session() as session:
            row = session.scalar(select(Pack).where(Pack.key == key))
            if row is None:
                raise NotFoundError("no such pack")
            return PackRecord(row.key, row.size, row.digest, row.collection_id)

    def packs(self) -> list[PackRecord]:
        """All packs in use."""
        with self.session() as session:
            rows = session.scalars(select(Pack).where(Pack.replaced.is_(None)).order_by(Pack.id))
            return [PackRecord(row.key, row.size, row.digest, row.collection_id) for row in rows]

    # --- writing ------------------------------------------------------------------------------------

    def ensure_collection(self, name: str, description: str = "") -> None:
        """Make a collection if there is none of that name."""
        try:
            with self.session() as session:
                find_or_add_collection(session, name, description)
        except UniqueViolation:
            pass  # another process was quicker

    def add_series(
        self,
        collection: str,
        new: NewSeries,
        description: str = "",
        stored: Callable[[], object] = lambda: None,
    ) -> None:
        """Make a stored series known; its collection is made if missing.

        `stored` returns once the pack is in the store: meanwhile the catalog looks up what it needs to. If it
        raises, nothing becomes known. Raises ConcurrentWriteError if the UID is known.
        """
        self.add_together(collection, [new], description, stored)

    def add_together(
        self,
        collection: str,
        news: Sequence[NewSeries],
        description: str = "",
        stored: Callable[[], object] = lambda: None,
    ) -> None:
        """Make stored series known, all or none; their collection is made if missing.

        Like `add_series`. Raises ConcurrentWriteError if the UID of one of them is known.
        """
        with self._unique(), self.session() as session:
            owner = find_or_add_collection(session, collection, description)
            studies: dict[str, Study] = {}
            packs: dict[str, Pack] = {}
            fresh = fresh_files(session, [file for new in news for file in new.files])
            rows = []
            for new in news:
                study = new.series.study_uid
                studies[study] = studies.get(study) or find_or_add_study(session, owner, new)
                packs[new.pack.key] = packs.get(new.pack.key) or find_or_add_pack(session, new, owner.id)
                row = SeriesRow(uid=new.series.uid, base_uid=new.base_uid, study=studies[study])
                fill(row, new, packs[new.pack.key])
                # A file that two of them hold counts for the first.
                own = [found for file in new.files if (found := fresh.pop(file.digest, None))]
                row.source_bytes = sum(file.size for file in own)
                session.add(row)
                rows.append((row, own))
            stored()
            session.flush()
            insert_sources(session, [(row.id, file) for row, own in rows for file in own])
            insert_labels(session, [(row.id, new.labels) for (row, _), new in zip(rows, news, strict=True)])
            index_series(
                session, [(row, new.series, new.details) for (row, _), new in zip(rows, news, strict=True)]
            )

    def replace_series(self, new: NewSeries, grown_from: str) -> None:
        """Point a series to a new pack that holds more frames.

        The old pack gets its tombstone unless another series lives there.

        `grown_from` is the key of the pack whose frames the new one repeats. Raises ConcurrentWriteError
        if the series has another pack by now, whose frames would be lost.
        """
        with self._unique(), self.session() as session:
            row = session.scalar(select(SeriesRow).where(SeriesRow.uid == new.series.uid))
            old = session.scalar(select(Pack.id).where(Pack.key == grown_from))
            if row is None or old is None:
                raise ConcurrentWriteError("the series that should grow was erased at the same time")
            pack = find_or_add_pack(session, new, row.study.collection_id)
            session.flush()
            # One statement, so that of two writers only one finds the pack that it grew from.
            won = session.execute(
                update(SeriesRow)
                .where(SeriesRow.id == row.id, SeriesRow.pack_id == old)
                .values(pack_id=pack.id)
            )
            if cast("CursorResult[Any]", won).rowcount != 1:
                raise ConcurrentWriteError("another process added to the series at the same time")
            session.refresh(row)
            fill(row, new, pack)
            session.flush()
            in_use = select(SeriesRow.id).where(SeriesRow.pack_id == old).exists()
            session.execute(update(Pack).where(Pack.id == old, ~in_use).values(replaced=now()))
            add_sources(session, row.id, new.files)
            change_labels(session, [row.id], new.labels)
            reindex_series(session, row, new.series, new.details)

    def describe_again(self, uid: str, details: Details) -> None:
        """Make a series findable anew, by its facts and what its header says. Raises NotFoundError."""
        with self._unique(), self.session() as session:
            row = session.scalar(series_query().where(SeriesRow.uid == uid))
            if row is None:
                raise NotFoundError("no series has that UID; `imarium ls` lists them")
            reindex_series(session, row, Series.from_json(row.facts), details)

    def known_packs(self) -> set[str]:
        """Keys of all packs that were ever made known, replaced ones too."""
        with self.session() as session:
            return set(session.scalars(select(Pack.key)))

    def add_sources(self, uid: str, files: Sequence[SourceFile]) -> None:
        """Remember further files whose content a stored series already holds."""
        with self._unique(), self.session() as session:
            add_sources(session, _series_id(session, uid), files, count_bytes=False)

    # --- labels and selections ----------------------------------------------------------------------

    def label(
        self,
        changes: Sequence[tuple[Selection, Change]],
        within: Numbers[int] | None = None,
        labelled: Numbers[int] | None = None,
    ) -> list[int]:
        """Set and remove labels of all series of each selection, in turn: everything or nothing.

        Selections find what lies `within` the collections that may be read; `labelled` are those whose series
        may get labels. Returns how many series each selection has. Raises InvalidRequestError for labels that
        cannot be, NotFoundError for a selection's collection that does not exist, and PermissionDeniedError
        if a selection has series that may be read and not labelled.
        """
        checked = [(selection, checked_change(change)) for selection, change in changes]
        counts = []
        with self._unique(), self.session() as session:
            for selection, change in checked:
                ids = self._changed_ids(session, selection, within, labelled)
                change_labels(session, ids, change)
                refresh_texts(session, ids)
                counts.append(len(ids))
        return counts

    def replace_labels(self, uid: str, labels: Mapping[str, str]) -> None:
        """Have a series bear these labels and no others. Raises NotFoundError and InvalidRequestError."""
        checked = checked_labels(labels)
        with self._unique(), self.session() as session:
            number = _series_id(session, uid)
            replace_labels(session, number, checked)
            refresh_texts(session, [number])

    def selected(
        self, selection: Selection, within: Numbers[int] | None = None
    ) -> Iterator[list[SelectedSeries]]:
        """The series of a selection in lists of bounded length, sorted by pack and by their place in it.

        All are as they were at one moment. Raises NotFoundError if the selection's collection does not exist.
        """
        with self.session() as session:
            at_one_moment(session)
            ids = self._selected_ids(session, selection, within)
            for first in range(0, len(ids), BATCH):
                yield load_selected(session, ids[first : first + BATCH])

    def keep_spans(self, found: Sequence[tuple[Place, LevelSpans]]) -> None:
        """Note where the levels of series lie in their packs, so that no index is read for it again."""
        with self._unique(), self.session() as session:
            keep_spans(session, found)

    def _selected_ids(self, session: Session, selection: Selection, within: Numbers[int] | None) -> list[int]:
        if selection.query is None:
            return selected_ids(session, selection, within=within)
        mask = self.searching.mask(session, parse(selection.query), within)
        return selected_ids(session, selection, np.flatnonzero(mask).tolist(), within=within)

    def _changed_ids(
        self,
        session: Session,
        selection: Selection,
        within: Numbers[int] | None,
        changeable: Numbers[int] | None,
    ) -> list[int]:
        """The same, if all of them are in collections in which series may be labelled."""
        ids = self._selected_ids(session, selection, within)
        if changeable is not None and len(ids) > len(self._selected_ids(session, selection, changeable)):
            raise PermissionDeniedError("only annotators of a collection may label its series")
        return ids

    @contextmanager
    def _unique(self) -> Iterator[None]:
        try:
            yield
        except UniqueViolation as error:
            raise ConcurrentWriteError("another process stored the same content at the same time") from error


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _series_id(session: Session, uid: str) -> int:
    found = session.scalar(select(SeriesRow.id).where(SeriesRow.uid == uid))
    if found is None:
        raise NotFoundError("no series has that UID; `imarium ls` lists them")
    return found
