"""Series into packs, the store and the catalog. Small series wait in an open pack that they share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from threading import Lock

from imarium.access import erased_mark, pseudonym
from imarium.catalog import Catalog, NewSeries, PackRecord, SeriesRecord
from imarium.codec import decompositions_for, encode_frames, lanes_text
from imarium.codec.frames import EncodedFrame
from imarium.errors import (
    ConcurrentWriteError,
    ImariumError,
    LimitExceededError,
    RefusedFileError,
    StorageError,
)
from imarium.formats import dicom
from imarium.formats.base import Reader
from imarium.ingest.open_pack import Member
from imarium.ingest.outcome import Outcome, Status, known, refused
from imarium.ingest.run import Run
from imarium.ingest.stacks import Growth, open_stack, place
from imarium.model import Series, SourceFile, SourceSeries
from imarium.model.details import NO_DETAILS, Details
from imarium.model.series import Frame
from imarium.pack import PackWriter, WrittenPack
from imarium.settings import Settings
from imarium.store import ObjectStore

_MOST_TRIES = 20
"""How often a series is tried again because others keep adding to it."""

_COMPRESSION = 4
"""How much smaller than its pixels a series may get in the store and still be tried for a shared pack."""

_PACKED_AS_A_WHOLE = ("nifti", "nrrd", "metaimage", "npy", "hdf5")
"""Formats whose files may be compressed. Of several series in one, the last counts with all of its bytes."""


class Storing:
    """Makes series known once their packs are stored."""

    def __init__(self, settings: Settings, catalog: Catalog, store: ObjectStore, secret: bytes) -> None:
        self._settings, self._catalog, self._store, self._secret = settings, catalog, store, secret
        self._turn = Lock()
        """Held while the catalog is changed: threads that met there would have to encode anew."""

    def take(self, source: SourceSeries, reader: Reader, run: Run) -> list[Outcome]:
        """The outcomes that are certain now; none yet for a series that waits in the open pack."""
        for _ in range(_MOST_TRIES):
            try:
                return self._store_series(source, reader, run)
            except ConcurrentWriteError:
                continue  # finds what the other process stored
        return self._store_series(source, reader, run)

    def _store_series(self, source: SourceSeries, reader: Reader, run: Run) -> list[Outcome]:
        frame_bytes = source.series.pixel_bytes // source.series.frames
        if frame_bytes > self._settings.limits.frame_bytes:
            raise LimitExceededError(
                f"a frame of {frame_bytes} bytes is beyond the limit of {self._settings.limits.frame_bytes}"
            )
        self._check_welcome(source, run)
        if run.open.holds_series(source.series.uid):
            self.commit(run)
        stacks = [open_stack(record, self._store) for record in self._catalog.stacks(source.series.uid)]
        match place(source, stacks, run.collection):
            case SeriesRecord() as record:
                return self._known(source, record, run)
            case Growth() as growth:
                return self._grow(growth, source.series.uid, run)
            case Series() as series:
                return self._add(source, series, reader, run)

    def _check_welcome(self, source: SourceSeries, run: Run) -> None:
        """Raises RefusedFileError for what was erased and must not come again."""
        named = [("series", source.series.uid)]
        named += [("instance", file.instance_uid) for file in source.files if file.instance_uid]
        named += [("file", run.digests[file.path]) for file in source.files if file.path in run.digests]
        if self._catalog.erased_marks([erased_mark(self._secret, *item) for item in named]):
            raise RefusedFileError(
                "this image was erased here, and must not come again; `imarium erase --lift` allows it"
            )

    def _known(self, source: SourceSeries, record: SeriesRecord, run: Run) -> list[Outcome]:
        with self._turn:
            self._catalog.add_sources(record.series.uid, source.files)
        return [
            known(file.path, record.series.uid, record.collection, run.collection) for file in source.files
        ]

    def _add(self, source: SourceSeries, series: Series, reader: Reader, run: Run) -> list[Outcome]:
        """Write a new series: to the open pack if it is small, else to one of its own, known at once."""
        frames: Iterable[EncodedFrame] = self._encoded(source.read_frames(), source, series, run)
        if run.shares and series.pixel_bytes <= _COMPRESSION * self._settings.sharing.series_bytes:
            # Encoded to the end before any of it is written, so that a bad file harms no other series.
            frames = list(frames)
            if self._share(source, series, frames, reader, run):
                return []
        with self._written(source, series, source.series.uid, frames) as (new, stored), self._turn:
            labelled = replace(new, labels=run.order.labels)
            self._catalog.add_series(run.collection, labelled, run.order.description, stored)
        return _taken(new, new.stored_bytes)

    def _share(
        self,
        source: SourceSeries,
        series: Series,
        frames: Sequence[EncodedFrame],
        reader: Reader,
        run: Run,
    ) -> bool:
        """Put a series in the open pack, which is committed when it is full; False if it should go alone."""
        size = sum(len(part) for frame in frames for part in frame.parts)
        size += sum(map(len, source.attachments.values()))
        if size > self._settings.sharing.series_bytes:
            return False
        files = _digested(source)
        decompositions = decompositions_for(series.rows, series.columns)
        try:
            index, entry = run.open.write(series, decompositions, frames, source.attachments)
        except StorageError:
            self.commit(run)  # makes room, perhaps, for the series to go alone
            return False
        patient = pseudonym(self._secret, source.patient_id)
        lanes = lanes_text(index.lanes.tolist())
        details = details_of(series, source.attachments)
        run.open.add(
            Member(series, source.series.uid, index.levels, lanes, entry, files, patient, reader, details)
        )
        if run.open.is_full:
            self.commit(run)
        return True

    def commit(self, run: Run) -> None:
        """Store the open pack and make all of its series known at once; `run` is told of their files.

        Of series whose UID another process stored meanwhile, the files are taken again later.
        """
        members = run.open.members
        try:
            if not members:
                return
            pack = self._stored(run.open.finish())
            news = [
                NewSeries(
                    series=member.series,
                    base_uid=member.base_uid,
                    levels=member.levels,
                    lane=member.lane,
                    stored_bytes=member.stored_bytes,
                    pack=pack,
                    index_span=member.entry.index,
                    files=member.files,
                    pseudonym=member.pseudonym,
                    labels=run.order.labels,
                    details=member.details,
                )
                for member in members
            ]
            try:
                with self._turn:
                    self._catalog.add_together(run.collection, news, run.order.description)
            except ConcurrentWriteError:
                self._add_each(members, news, run)
            else:
                for new in news:
                    run.waiting.extend(_taken(new, new.stored_bytes))
        except (ImariumError, MemoryError) as error:
            for member in members:
                run.waiting.extend(refused(path, error) for path in member.paths)
        finally:
            run.open.close()

    def _add_each(self, members: Sequence[Member], news: Sequence[NewSeries], run: Run) -> None:
        """Make the series of one stored pack known one by one."""
        for member, new in zip(members, news, strict=True):
            try:
                with self._turn:
                    self._catalog.add_series(run.collection, new, run.order.description)
            except ConcurrentWriteError:
                run.again.append((member.reader, member.paths))
            except StorageError as error:
                run.waiting.extend(refused(path, error) for path in member.paths)
            else:
                run.waiting.extend(_taken(new, new.stored_bytes))

    def _grow(self, growth: Growth, base_uid: str, run: Run) -> list[Outcome]:
        """Write a stored series anew, with more instances, and have the catalog point there."""
        grown, record = growth.source, growth.stack.record
        frames = self._encoded(growth.frames(), grown, grown.series, run)
        with self._written(grown, grown.series, base_uid, frames) as (new, stored):
            stored()
            with self._turn:
                self._catalog.replace_series(replace(new, labels=run.order.labels), record.pack.key)
        return _taken(new, new.stored_bytes - record.stored_bytes)

    def _encoded(
        self, values: Iterable[Frame | EncodedFrame], source: SourceSeries, series: Series, run: Run
    ) -> Iterator[EncodedFrame]:
        decompositions = decompositions_for(series.rows, series.columns)
        size = sum(file.size for file in source.files)
        frames = encode_frames(
            values,
            series,
            decompositions,
            self._settings.threads,
            codestream=source.codestream,
            tier=run.order.tier,
            budget=_budget(source, series),
        )
        for frame in frames:
            run.watch.advanced(size / series.frames)
            yield frame

    @contextmanager
    def _written(
        self, source: SourceSeries, series: Series, base_uid: str, frames: Iterable[EncodedFrame]
    ) -> Iterator[tuple[NewSeries, Callable[[], object]]]:
        """A series in a pack of its own, on its way to the store; what is given returns when it is there."""
        decompositions = decompositions_for(series.rows, series.columns)
        with (
            PackWriter(self._settings.scratch) as writer,
            ThreadPoolExecutor(1, thread_name_prefix="store") as thread,
        ):
            index = writer.add(series, decompositions, frames, source.attachments)
            files = _digested(source)
            pack = writer.finish()
            storing = thread.submit(self._stored, pack)
            new = NewSeries(
                series=series,
                base_uid=base_uid,
                levels=index.levels,
                lane=lanes_text(index.lanes.tolist()),
                stored_bytes=pack.size,
                pack=_record_of(pack),
                index_span=writer.entries[0].index,
                files=files,
                pseudonym=pseudonym(self._secret, source.patient_id),
                details=details_of(series, source.attachments),
            )
            yield new, storing.result

    def _stored(self, pack: WrittenPack) -> PackRecord:
        record = _record_of(pack)
        self._store.put(record.key, pack.path)
        if self._store.size(record.key) != pack.size:
            raise StorageError("the store kept another number of bytes than it was given")
        return record


def details_of(series: Series, attachments: Mapping[str, bytes]) -> Details:
    """What of the headers can be searched; only those of DICOM say more than the facts."""
    return dicom.details_of(attachments) if series.format == "dicom" else NO_DETAILS


def _record_of(pack: WrittenPack) -> PackRecord:
    return PackRecord(f"packs/{pack.digest[:2]}/{pack.digest}.imp", pack.size, pack.digest)


def _budget(source: SourceSeries, series: Series) -> Callable[[int], float | None]:
    """Bytes of each frame in its source: those of its pixels, or fewer if it is known to be compressed."""
    raw = series.pixel_bytes / series.frames
    size = sum(file.size for file in source.files)
    packed = source.packed_bytes
    if packed is not None:
        return lambda number: packed(number) or raw
    if len(source.files) == 1 and size and series.format in _PACKED_AS_A_WHOLE:
        raw = min(raw, size / series.frames)
    return lambda _: raw


def _digested(source: SourceSeries) -> tuple[SourceFile, ...]:
    """The files with their digests, which come at no cost once the frames were read.

    Raises RefusedFileError for a file that can no longer be read.
    """
    return tuple(replace(file, content=file.digest) for file in source.files)


def _taken(new: NewSeries, grown: int) -> list[Outcome]:
    return [
        Outcome(
            file.path,
            Status.TAKEN,
            new.series.uid,
            source_bytes=file.size,
            stored_bytes=grown if number == 0 else 0,
        )
        for number, file in enumerate(new.files)
    ]
