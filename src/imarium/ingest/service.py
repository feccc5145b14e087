"""One pass over many sources. Nothing is acknowledged before the catalog has committed it.

Small series wait in an open pack that they share; its commit makes all of them known at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection as Numbers
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path

from imarium.catalog import Catalog
from imarium.codec import Tier
from imarium.deid.gate import Gate
from imarium.errors import (
    ImariumError,
    IntegrityError,
    NotFoundError,
    RefusedFileError,
    StorageError,
    UnrecognisedFileError,
    UnsupportedFileError,
)
from imarium.formats import dicom, recognise
from imarium.formats.base import ReadContext, Reader, Refusal, file_digest
from imarium.ingest.contents import follow
from imarium.ingest.gated import through
from imarium.ingest.open_pack import OpenPack
from imarium.ingest.outcome import ELSEWHERE, Observer, Outcome, Silent, Status, known, refused
from imarium.ingest.run import Order, Run
from imarium.ingest.scan import scan, unreadable
from imarium.ingest.storing import Storing
from imarium.model import Selection, SourceFile, SourceSeries, checked_labels
from imarium.settings import Settings
from imarium.store import ObjectStore


class Ingest:
    """Takes files in. Safe to use from several threads and processes at once."""

    def __init__(
        self,
        settings: Settings,
        catalog: Catalog,
        store: ObjectStore,
        secret: bytes,
        gate: Gate | None = None,
    ) -> None:
        self._settings, self._catalog, self._gate = settings, catalog, gate
        self._storing = Storing(settings, catalog, store, secret)

    def run(
        self,
        paths: Iterable[Path],
        *,
        collection: str,
        description: str = "",
        observer: Observer | None = None,
        tier: Tier = Tier.FAST,
        labels: Mapping[str, str] | None = None,
        within: Numbers[int] | None = None,
    ) -> Iterator[Outcome]:
        """Take in files and folders; yields one outcome a file, as soon as it is certain.

        A file that holds several series has an outcome for each. Files of small series wait for the commit
        of the pack that their series share (`Sharing`). Files that no reader recognises are refused last,
        unless they belong to a header that lies beside them. All series get the `labels`, those too that were
        known before. `within` are the collections of which whoever sends the files may be told, and whose
        series they may label; None: all.
        Raises StorageError only if the archive itself cannot be used, and InvalidRequestError for labels that
        cannot be; a bad file never raises.
        """
        order = Order(collection, description, tier, checked_labels(labels or {}), within)
        watch = observer or Silent()
        if self._gate is not None and self._gate.policy(collection) is not None:
            yield from through(self._gate, paths, order, watch, self._taken)
        else:
            yield from self._taken(paths, order, watch)

    def release(self, number: int, by: str) -> Iterator[Outcome]:
        """Take in a file of the quarantine at which `by` looked; it passes the gate again.

        The policy is the one that the collection demands now. Raises NotFoundError if it does not wait there.
        """
        if self._gate is None:
            raise NotFoundError("this archive has no quarantine")
        row, path = self._gate.waiting_file(number)
        order = Order(row.collection, "", Tier.FAST, {})
        for outcome in through(self._gate, [path], order, Silent(), self._taken, {row.digest}):
            if outcome.status is not Status.REFUSED:
                self._gate.released(number, by)
            yield outcome

    def _taken(self, paths: Iterable[Path], order: Order, watch: Observer) -> Iterator[Outcome]:
        mine: dict[str, bool] = {}
        unrecognised: dict[Path, UnrecognisedFileError] = {}
        for outcome in self._outcomes(paths, order, watch, unrecognised):
            unrecognised.pop(outcome.path, None)
            if outcome.status is Status.KNOWN and outcome.series:
                if outcome.series not in mine:
                    mine[outcome.series] = self._is_within(outcome.series, order.within)
                    if mine[outcome.series]:
                        self._label(outcome.series, order.labels)
                if not mine[outcome.series]:
                    outcome = replace(outcome, series=None, reason=ELSEWHERE)
            yield outcome
        for path, error in unrecognised.items():
            yield refused(path, error)

    def _is_within(self, series: str, within: Numbers[int] | None) -> bool:
        if within is None:
            return True
        try:
            self._catalog.get_series(series, within)
        except NotFoundError:
            return False
        return True

    def _label(self, series: str, labels: Mapping[str, str]) -> None:
        """Label a series that was known before."""
        if labels:
            self._catalog.label([(Selection(series=(series,)), labels)])

    def _outcomes(
        self,
        paths: Iterable[Path],
        order: Order,
        watch: Observer,
        unrecognised: dict[Path, UnrecognisedFileError],
    ) -> Iterator[Outcome]:
        by_reader: dict[str, tuple[Reader, list[Path]]] = {}
        sizes: dict[Path, int] = {}
        for found in scan(paths):
            if isinstance(found, Refusal):
                yield refused(found.path, found.error)
                continue
            try:
                reader = recognise(found)
                sizes[found] = found.stat().st_size
            except UnrecognisedFileError as error:
                unrecognised[found] = error
            except RefusedFileError as error:
                yield refused(found, error)
            except OSError as error:
                yield refused(found, unreadable(error))
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
            self._storing.commit(run)
            yield from run.told()
            alone = replace(run, shares=False)
            while run.again:
                reader, members = run.again.popleft()
                yield from self._read(members, reader, alone)
                yield from run.told()

    def _run(self, order: Order, watch: Observer, sizes: dict[Path, int], open_pack: OpenPack) -> Run:
        digests: dict[Path, str] = {}
        context = ReadContext(
            limits=self._settings.limits,
            scratch=self._settings.scratch,
            digests=digests,
            settled=lambda files: self._settled(files, run),
        )
        run = Run(order, watch, context, digests, sizes, open_pack)
        return run

    def _settled(self, files: Sequence[SourceFile], run: Run) -> set[Path]:
        """DICOM files whose content is stored already, or that cannot be read; `run` is told of them.

        Only files whose SOP Instance UID and size are stored are read for that; all others are new.
        """
        if any(run.open.holds_instance(file.instance_uid) for file in files):
            self._storing.commit(run)
        sizes = self._catalog.known_instances([file.instance_uid for file in files if file.instance_uid])
        likely = [file.path for file in files if (file.instance_uid, file.size) in sizes]
        return set(likely).difference(self._fresh(likely, run)) if likely else set()

    def _fresh(self, paths: Sequence[Path], run: Run, reader: Reader | None = None) -> Iterator[Path]:
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
                    run.tell(refused(path, error))
                    continue
                except OSError as error:
                    run.tell(refused(path, unreadable(error)))
                    continue
                finally:
                    submit()
                if run.open.holds_file(digest):
                    self._storing.commit(run)
                outcomes = self._known_file(path, digest, run, reader)
                if outcomes:
                    for outcome in outcomes:
                        run.tell(outcome)
                else:
                    run.digests[path] = digest
                    yield path

    def _known_file(self, path: Path, digest: str, run: Run, reader: Reader | None) -> list[Outcome]:
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
        stored = self._catalog.known_sources(list(digests.values()))
        if any(one not in stored for one in digests.values()):
            return []
        if len({stored[one][0] for one in digests.values()}) > 1:
            return []  # header and data of different series
        return [known(one, *stored[found], run.collection) for one, found in digests.items()]

    def _read(self, paths: Iterable[Path], reader: Reader, run: Run) -> Iterator[Outcome]:
        for found in reader.read(paths, run.context):
            if run.open.is_old:
                self._storing.commit(run)
            yield from run.told()
            if isinstance(found, Refusal):
                yield from self._without_series(found, reader, run)
                continue
            try:
                outcomes = self._storing.take(found, reader, run)
                yield from run.told()  # of what was committed meanwhile, which came first
                yield from outcomes
            except RefusedFileError as error:
                yield from self._without(found, error, reader, run)
            except (IntegrityError, StorageError, MemoryError) as error:
                for file in found.files:
                    yield refused(file.path, error)
            yield from run.told()

    def _without_series(self, found: Refusal, reader: Reader, run: Run) -> Iterator[Outcome]:
        """Refuse a file; a table of contents leads to the files that it names instead."""
        if not isinstance(found.error, dicom.TableOfContentsError):
            yield refused(found.path, found.error)
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
                    yield refused(path, UnsupportedFileError("a DICOMDIR names it, but it is no DICOM file"))
            except RefusedFileError as error:
                yield refused(path, error)
            except OSError as error:
                yield refused(path, unreadable(error))
        if members:
            run.watch.found(len(run.sizes), sum(run.sizes.values()))
            yield from self._read(members, reader, run)

    def _without(
        self, source: SourceSeries, error: RefusedFileError, reader: Reader, run: Run
    ) -> Iterator[Outcome]:
        """Refuse the file that is to blame and read the others of its series again."""
        if error.path is None or len(source.files) == 1:
            for file in source.files:
                yield refused(file.path, error)
            return
        yield refused(error.path, error)
        others = [file.path for file in source.files if file.path != error.path]
        yield from self._read(others, reader, run)
