"""One pass over many sources. Nothing is acknowledged before the catalog has committed it.

Small series wait in an open pack that they share; its commit makes all of them known at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from imarium.access import pseudonym
from imarium.catalog import Catalog, NewSeries, PackRecord, SeriesRecord
from imarium.codec import Tier, decompositions_for, encode_frames, lanes_text, pixel_digest
from imarium.codec.frames import EncodedFrame
from imarium.errors import (
    ConcurrentWriteError,
    ImariumError,
    IntegrityError,
    InvalidRequestError,
    LimitExceededError,
    RefusedFileError,
    StorageError,
    UnrecognisedFileError,
    UnsupportedFileError,
)
from imarium.formats import dicom, recognise
from imarium.formats.base import ReadContext, Reader, Refusal, file_digest
from imarium.ingest.contents import follow
from imarium.ingest.open_pack import Member, OpenPack
from imarium.ingest.outcome import Observer, Outcome, Silent, Status
from imarium.ingest.scan import scan, unreadable
from imarium.model import Selection, Series, SourceFile, SourceSeries, checked_labels
from imarium.pack import LevelReader, PackWriter, SeriesIndex, WrittenPack, read_attachments
from imarium.settings import Settings
from imarium.store import ObjectStore

_MOST_TRIES = 20
"""How often a series is tried again because others keep adding to it."""

_COMPRESSION = 4
"""How much smaller than its pixels a series may get in the store and still be tried for a shared pack."""

_PACKED_AS_A_WHOLE = ("nifti", "nrrd", "metaimage")
"""Formats whose files hold one series, perhaps compressed: an archive must not grow them."""

_SEPARATOR = "-"
"""Between a Series Instance UID and the number of a stack that is kept apart from the first."""


@dataclass(frozen=True, slots=True)
class _Stack:
    """A stored series and what is needed to compare it with an incoming one."""

    record: SeriesRecord
    index: SeriesIndex
    attachments: dict[str, bytes]
    instances: dict[str, list[int]]

    def digests(self, instance: str) -> list[bytes]:
        return [self.index.digests[frame].tobytes() for frame in self.instances[instance]]


@dataclass(frozen=True, slots=True)
class _Order:
    """What the caller of `Ingest.run` wants."""

    collection: str
    description: str
    tier: Tier
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Run:
    """What belongs to one call of `Ingest.run`."""

    order: _Order
    watch: Observer
    context: ReadContext
    digests: dict[Path, str]
    """Of the files that were hashed already."""
    sizes: dict[Path, int]
    open: OpenPack
    shares: bool = True
    """Whether small series go to the open pack."""
    named: set[Path] = field(default_factory=set)
    """Files that a table of contents led to."""
    waiting: deque[Outcome] = field(default_factory=deque)
    again: deque[tuple[Reader, list[Path]]] = field(default_factory=deque)
    """Files of series that lost a race in the commit of the open pack."""

    @property
    def collection(self) -> str:
        """Where the series belong."""
        return self.order.collection

    def tell(self, outcome: Outcome) -> None:
        """Keep an outcome that was found while a reader was drawing files."""
        self.watch.advanced(self.sizes.get(outcome.path, 0))
        self.waiting.append(outcome)

    def told(self) -> Iterator[Outcome]:
        """The outcomes kept since the last call."""
        while self.waiting:
            yield self.waiting.popleft()


class Ingest:
    """Takes files in. Safe to use from several threads and processes at once."""

    def __init__(self, settings: Settings, catalog: Catalog, store: ObjectStore, secret: bytes) -> None:
        self._settings, self._catalog, self._store, self._secret = settings, catalog, store, secret

    def run(
        self,
        paths: Iterable[Path],
        *,
        collection: str,
        description: str = "",
        observer: Observer | None = None,
        tier: Tier = Tier.FAST,
        labels: Mapping[str, str] | None = None,
    ) -> Iterator[Outcome]:
        """Take in files and folders; yields one outcome a file, as soon as it is certain.

        A file that holds several series has an outcome for each. Files of small series wait for the commit
        of the pack that their series share (`Sharing`). Files that no reader recognises are refused last,
        unless they belong to a header that lies beside them. All series get the `labels`, those too that were
        known before.
        Raises StorageError only if the archive itself cannot be used, and InvalidRequestError for labels that
        cannot be; a bad file never raises.
        """
        order = _Order(collection, description, tier, checked_labels(labels or {}))
        labelled: set[str] = set()
        unrecognised: dict[Path, UnrecognisedFileError] = {}
        for outcome in self._outcomes(paths, order, observer or Silent(), unrecognised):
            unrecognised.pop(outcome.path, None)
            if outcome.status is Status.KNOWN and outcome.series and outcome.series not in labelled:
                self._label(outcome.series, order.labels)
                labelled.add(outcome.series)
            yield outcome
        for path, error in unrecognised.items():
            yield _refused(path, error)

    def _label(self, series: str, labels: Mapping[str, str]) -> None:
        """Label a series that was known before."""
        if labels:
            self._catalog.label([(Selection(series=(series,)), labels)])

    def _outcomes(
        self,
        paths: Iterable[Path],
        order: _Order,
        watch: Observer,
        unrecognised: dict[Path, UnrecognisedFileError],
    ) -> Iterator[Outcome]:
        by_reader: dict[str, tuple[Reader, list[Path]]] = {}
        sizes: dict[Path, int] = {}
        for found in scan(paths):
            if isinstance(found, Refusal):
                yield _refused(found.path, found.error)
                continue
            try:
                reader = recognise(found)
                sizes[found] = found.stat().st_size
            except UnrecognisedFileError as error:
                unrecognised[found] = error
            except RefusedFileError as error:
                yield _refused(found, error)
            except OSError as error:
                yield _refused(found, unreadable(error))
            else:
                by_reader.setdefault(reader.name, (reader, []))[1].append(found)
        watch.found(len(sizes), sum(sizes.values()))
        with closing(OpenPack(self._settings.scratch, self._settings.sharing)) as open_pack:
            run = self._run(order, watch, sizes, open_pack)
            for reader, members in by_reader.values():
                if reader.batch:
                    yield from self._read(members, reader, run)
                else:
                    for path in self._fresh(members, run, reader):
                        yield from self._read([path], reader, run)
                yield from run.told()
            self._commit(run)
            yield from run.told()
            alone = replace(run, shares=False)
            while run.again:
                reader, members = run.again.popleft()
                yield from self._read(members, reader, alone)
                yield from run.told()

    def _run(self, order: _Order, watch: Observer, sizes: dict[Path, int], open_pack: OpenPack) -> _Run:
        digests: dict[Path, str] = {}
        context = ReadContext(
            limits=self._settings.limits,
            scratch=self._settings.scratch,
            digests=digests,
            settled=lambda files: self._settled(files, run),
        )
        run = _Run(order, watch, context, digests, sizes, open_pack)
        return run

    def _settled(self, files: Sequence[SourceFile], run: _Run) -> set[Path]:
        """DICOM files whose content is stored already, or that cannot be read; `run` is told of them.

        Only files whose SOP Instance UID and size are stored are read for that; all others are new.
        """
        if any(run.open.holds_instance(file.instance_uid) for file in files):
            self._commit(run)
        sizes = self._catalog.known_instances([file.instance_uid for file in files if file.instance_uid])
        likely = [file.path for file in files if (file.instance_uid, file.size) in sizes]
        return set(likely).difference(self._fresh(likely, run)) if likely else set()

    def _fresh(self, paths: Sequence[Path], run: _Run, reader: Reader | None = None) -> Iterator[Path]:
        """Those files whose content is new, or may be; `run` is told of the others.

        The next file is hashed while the caller is busy with one.
        """
        with ThreadPoolExecutor(self._settings.threads, thread_name_prefix="digest") as pool:
            waiting: deque[tuple[Path, Future[str]]] = deque()
            ahead = iter(paths)

            def submit() -> None:
                for path in islice(ahead, 1 + self._settings.threads - len(waiting)):
                    waiting.append((path, pool.submit(file_digest, path, self._settings.limits)))

            submit()
            while waiting:
                path, future = waiting.popleft()
                try:
                    digest = future.result()
                except RefusedFileError as error:
                    run.tell(_refused(path, error))
                    continue
                except OSError as error:
                    run.tell(_refused(path, unreadable(error)))
                    continue
                finally:
                    submit()
                if run.open.holds_file(digest):
                    self._commit(run)
                known = self._known_file(path, digest, run, reader)
                if known:
                    for outcome in known:
                        run.tell(outcome)
                else:
                    run.digests[path] = digest
                    yield path

    def _known_file(self, path: Path, digest: str, run: _Run, reader: Reader | None) -> list[Outcome]:
        """The outcomes of a file, and of the files with its data, if all of it is stored; else none.

        Nothing is said of a file that may hold several series, since only some of them may be stored; nor of
        a header whose data cannot be read.
        """
        digests = {path: digest}
        if reader is not None:
            if reader.several:
                return []
            try:
                companions = reader.companions(path)
                digests |= {one: file_digest(one, self._settings.limits) for one in companions}
            except (ImariumError, OSError):
                return []
        known = self._catalog.known_sources(list(digests.values()))
        if any(one not in known for one in digests.values()):
            return []
        if len({known[one][0] for one in digests.values()}) > 1:
            return []  # header and data of different series
        return [
            Outcome(one, Status.KNOWN, known[found][0], _known_reason(known[found][1], run.collection))
            for one, found in digests.items()
        ]

    def _read(self, paths: Iterable[Path], reader: Reader, run: _Run) -> Iterator[Outcome]:
        for found in reader.read(paths, run.context):
            if run.open.is_old:
                self._commit(run)
            yield from run.told()
            if isinstance(found, Refusal):
                yield from self._without_series(found, reader, run)
                continue
            try:
                outcomes = self._take(found, reader, run)
                yield from run.told()  # of what was committed meanwhile, which came first
                yield from outcomes
            except RefusedFileError as error:
                yield from self._without(found, error, reader, run)
            except (IntegrityError, StorageError, MemoryError) as error:
                for file in found.files:
                    yield _refused(file.path, error)
            yield from run.told()

    def _without_series(self, found: Refusal, reader: Reader, run: _Run) -> Iterator[Outcome]:
        """Refuse a file; a table of contents leads to the files that it names instead."""
        if not isinstance(found.error, dicom.TableOfContentsError):
            yield _refused(found.path, found.error)
            return
        outcome, named = follow(found.path, found.error, run.sizes)
        yield outcome
        if found.path in run.named:
            return  # tables that lead to tables could go on without end
        run.named.update(named)
        members = []
        for path in named:
            try:
                run.sizes[path] = path.stat().st_size
                if recognise(path) is reader:
                    members.append(path)
                else:
                    yield _refused(path, UnsupportedFileError("a DICOMDIR names it, but it is no DICOM file"))
            except RefusedFileError as error:
                yield _refused(path, error)
            except OSError as error:
                yield _refused(path, unreadable(error))
        if members:
            run.watch.found(len(run.sizes), sum(run.sizes.values()))
            yield from self._read(members, reader, run)

    def _without(
        self, source: SourceSeries, error: RefusedFileError, reader: Reader, run: _Run
    ) -> Iterator[Outcome]:
        """Refuse the file that is to blame and read the others of its series again."""
        if error.path is None or len(source.files) == 1:
            for file in source.files:
                yield _refused(file.path, error)
            return
        yield _refused(error.path, error)
        others = [file.path for file in source.files if file.path != error.path]
        yield from self._read(others, reader, run)

    # --- one series ---------------------------------------------------------------------------------

    def _take(self, source: SourceSeries, reader: Reader, run: _Run) -> list[Outcome]:
        """The outcomes that are certain now; none yet for a series that waits in the open pack."""
        for _ in range(_MOST_TRIES):
            try:
                return self._store_series(source, reader, run)
            except ConcurrentWriteError:
                continue  # finds what the other process stored
        return self._store_series(source, reader, run)

    def _store_series(self, source: SourceSeries, reader: Reader, run: _Run) -> list[Outcome]:
        frame_bytes = source.series.pixel_bytes // source.series.frames
        if frame_bytes > self._settings.limits.frame_bytes:
            raise LimitExceededError(
                f"a frame of {frame_bytes} bytes is beyond the limit of {self._settings.limits.frame_bytes}"
            )
        if run.open.holds_series(source.series.uid):
            self._commit(run)
        stacks = [self._open_stack(record) for record in self._catalog.stacks(source.series.uid)]
        if source.series.format != "dicom":
            if stacks:
                return self._known(source, stacks[0].record, run)
            return self._add(source, source.series, reader, run)
        incoming = dicom.instance_frames(source.attachments)
        digests: list[bytes] = []
        if any(incoming.keys() & stack.instances.keys() for stack in stacks):
            digests = [pixel_digest(frame) for frame in source.read_frames()]
        targets: list[tuple[_Stack, set[str]]] = []
        conflict = False
        for stack in stacks:
            overlap = incoming.keys() & stack.instances.keys()
            same = {
                uid for uid in overlap if [digests[frame] for frame in incoming[uid]] == stack.digests(uid)
            }
            if same == incoming.keys():
                return self._known(source, stack.record, run)
            conflict = conflict or same != overlap
            here = stack.record.collection == run.collection
            if here and same == overlap and dicom.compatible(stack.record.series, source.series):
                targets.append((stack, same))
        for stack, same in targets:
            try:
                merged = self._merged(stack, same, source)
            except InvalidRequestError:
                continue  # together they are no stack: a part of a further volume, for example
            return self._grow(stack, merged, source, run)
        series = source.series
        if stacks:
            series = replace(series, uid=f"{series.uid}{_SEPARATOR}{len(stacks) + 1}")
        if conflict:
            note = "Other pixels came under the same SOP Instance UID; both are kept, for a curator to judge."
            series = replace(series, notes=(*series.notes, note))
        return self._add(source, series, reader, run)

    def _open_stack(self, record: SeriesRecord) -> _Stack:
        fetch = self._store.fetch(record.pack.key)
        index = SeriesIndex.from_bytes(fetch(*record.index_span))
        if record.series.format != "dicom":
            return _Stack(record, index, {}, {})
        attachments = read_attachments(fetch, index)
        return _Stack(record, index, attachments, dicom.instance_frames(attachments))

    def _known(self, source: SourceSeries, record: SeriesRecord, run: _Run) -> list[Outcome]:
        self._catalog.add_sources(record.series.uid, source.files)
        reason = _known_reason(record.collection, run.collection)
        return [Outcome(file.path, Status.KNOWN, record.series.uid, reason) for file in source.files]

    def _add(self, source: SourceSeries, series: Series, reader: Reader, run: _Run) -> list[Outcome]:
        """Write a new series: to the open pack if it is small, else to one of its own, known at once."""
        frames: Iterable[EncodedFrame] = self._encoded(source, series, run)
        if run.shares and series.pixel_bytes <= _COMPRESSION * self._settings.sharing.series_bytes:
            # Encoded to the end before any of it is written, so that a bad file harms no other series.
            frames = list(frames)
            if self._share(source, series, frames, reader, run):
                return []
        with self._written(source, series, source.series.uid, frames) as (new, stored):
            labelled = replace(new, labels=run.order.labels)
            self._catalog.add_series(run.collection, labelled, run.order.description, stored)
        return _taken(new, new.stored_bytes)

    def _share(
        self,
        source: SourceSeries,
        series: Series,
        frames: Sequence[EncodedFrame],
        reader: Reader,
        run: _Run,
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
            self._commit(run)  # makes room, perhaps, for the series to go alone
            return False
        patient = pseudonym(self._secret, source.patient_id)
        lanes = lanes_text(index.lanes.tolist())
        run.open.add(Member(series, source.series.uid, index.levels, lanes, entry, files, patient, reader))
        if run.open.is_full:
            self._commit(run)
        return True

    def _commit(self, run: _Run) -> None:
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
                )
                for member in members
            ]
            try:
                self._catalog.add_together(run.collection, news, run.order.description)
            except ConcurrentWriteError:
                self._add_each(members, news, run)
            else:
                for new in news:
                    run.waiting.extend(_taken(new, new.stored_bytes))
        except (ImariumError, MemoryError) as error:
            for member in members:
                run.waiting.extend(_refused(path, error) for path in member.paths)
        finally:
            run.open.close()

    def _add_each(self, members: Sequence[Member], news: Sequence[NewSeries], run: _Run) -> None:
        """Make the series of one stored pack known one by one."""
        for member, new in zip(members, news, strict=True):
            try:
                self._catalog.add_series(run.collection, new, run.order.description)
            except ConcurrentWriteError:
                run.again.append((member.reader, member.paths))
            except StorageError as error:
                run.waiting.extend(_refused(path, error) for path in member.paths)
            else:
                run.waiting.extend(_taken(new, new.stored_bytes))

    def _merged(self, stack: _Stack, same: set[str], source: SourceSeries) -> SourceSeries:
        """Stored and new instances as one series, without the new ones that are stored already."""
        stored = stack.record.series
        reader = LevelReader(stack.index, self._store.fetch(stack.record.pack.key), level=0)
        merged = dicom.merge(stored, stack.attachments, reader.frame, source, same)
        return replace(merged, files=source.files, series=replace(merged.series, uid=stored.uid))

    def _grow(self, stack: _Stack, merged: SourceSeries, source: SourceSeries, run: _Run) -> list[Outcome]:
        """Write a stored series anew, with more instances, and have the catalog point there."""
        frames = self._encoded(merged, merged.series, run)
        with self._written(merged, merged.series, source.series.uid, frames) as (new, stored):
            stored()
            self._catalog.replace_series(replace(new, labels=run.order.labels), stack.record.pack.key)
        return _taken(new, new.stored_bytes - stack.record.stored_bytes)

    def _encoded(self, source: SourceSeries, series: Series, run: _Run) -> Iterator[EncodedFrame]:
        decompositions = decompositions_for(series.rows, series.columns)
        size = sum(file.size for file in source.files)
        frames = encode_frames(
            source.read_frames(),
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
            )
            yield new, storing.result

    def _stored(self, pack: WrittenPack) -> PackRecord:
        record = _record_of(pack)
        self._store.put(record.key, pack.path)
        if self._store.size(record.key) != pack.size:
            raise StorageError("the store kept another number of bytes than it was given")
        return record


def _record_of(pack: WrittenPack) -> PackRecord:
    return PackRecord(f"packs/{pack.digest[:2]}/{pack.digest}.imp", pack.size, pack.digest)


def _budget(source: SourceSeries, series: Series) -> float | None:
    """Bytes of a frame in its source, if that is compressed as a whole; None where nothing can be said."""
    size = sum(file.size for file in source.files)
    compressed = len(source.files) == 1 and 0 < size < series.pixel_bytes
    return size / series.frames if compressed and series.format in _PACKED_AS_A_WHOLE else None


def _digested(source: SourceSeries) -> tuple[SourceFile, ...]:
    """The files with their digests, which come at no cost once the frames were read.

    Raises RefusedFileError for a file that can no longer be read.
    """
    return tuple(replace(file, content=file.digest) for file in source.files)


def _known_reason(place: str, collection: str) -> str:
    if place == collection:
        return "the same content was taken in before"
    return f"the same content was taken in before, in collection {place!r}"


def _refused(path: Path, error: ImariumError | MemoryError) -> Outcome:
    if isinstance(error, MemoryError):
        error = LimitExceededError("the image needs more memory than there is")
    return Outcome(path, Status.REFUSED, reason=str(error))


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
