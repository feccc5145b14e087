"""Reads series out of the store: levels, sizes, exports, verification."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Collection as Numbers
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, ParamSpec, Unpack

from blake3 import blake3

from imarium.catalog import Catalog, PackRecord, SeriesRecord
from imarium.codec import resample
from imarium.errors import (
    GoneError,
    ImariumError,
    IntegrityError,
    InvalidRequestError,
    NotFoundError,
    StorageError,
)
from imarium.formats import EVEN, EXPORTS, Writer, evened, writer_for
from imarium.formats.delivery import download_name
from imarium.model import Rendition, Volume
from imarium.model.series import Frame, unheard
from imarium.model.sizes import parse_size
from imarium.pack import LevelReader, SeriesIndex, Span, read_attachments, read_directory, verify_series
from imarium.settings import Settings
from imarium.store import ObjectStore
from imarium.streaming.downloads import Download, ExportOptions, start_download
from imarium.streaming.levels import LevelDetail

_INDEXES_HELD = 256
_DIRECTORIES_HELD = 8
_PACKS_HELD = 4096
_ENDS_HELD = 512
_VERIFIED_AT_ONCE = 8 << 20

P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class VerifyOutcome:
    """One series re-read and compared with its digests."""

    series: str
    frames: int
    error: str | None


class Streaming:
    """Everything that leaves the archive passes here."""

    def __init__(self, settings: Settings, catalog: Catalog, store: ObjectStore) -> None:
        self._settings, self._catalog, self._store = settings, catalog, store
        self._index = lru_cache(_INDEXES_HELD)(self._read_index)
        self._pack = lru_cache(_PACKS_HELD)(catalog.get_pack)
        self._directories = lru_cache(_ENDS_HELD)(self._ends)

    # --- looking up ---------------------------------------------------------------------------------

    def forget(self) -> None:
        """Drop what is held in memory, after something was erased."""
        self._index.cache_clear()
        self._pack.cache_clear()
        self._directories.cache_clear()

    def index_bytes(self, record: SeriesRecord) -> bytes:
        """The index of a series exactly as it lies in its pack."""
        return self._store.read(record.pack.key, *record.index_span)

    def index(self, record: SeriesRecord) -> SeriesIndex:
        """The parsed index; the most recently used stay in memory."""
        return self._index(record.pack.key, record.index_span)

    def _read_index(self, key: str, span: tuple[int, int]) -> SeriesIndex:
        return SeriesIndex.from_bytes(self._store.read(key, *span))

    def level_details(self, record: SeriesRecord) -> list[LevelDetail]:
        """All levels, full resolution first."""
        index = self.index(record)
        return [
            LevelDetail(level, index.series.at_level(level), index.spans(level), index.level_bytes(level))
            for level in range(index.levels)
        ]

    def pack(self, key: str) -> PackRecord:
        """A pack by key, from memory if it was asked for lately: packs never change. Raises NotFoundError."""
        return self._pack(key)

    def read_pack(self, key: str, start: int, stop: int) -> bytes:
        """Bytes of a pack as they are. Raises GoneError if it was erased, NotFoundError if it is lost."""
        try:
            return self._store.read(key, start, stop)
        except NotFoundError:
            self.check_known(key)
            raise

    def check_known(self, key: str) -> None:
        """Raises GoneError if the catalog no longer knows a pack, which another process may have erased."""
        try:
            self._catalog.get_pack(key)
        except NotFoundError as error:
            self.forget()
            raise GoneError("what was asked for was erased, or moved; ask for the series again") from error

    def series_in(self, pack: PackRecord, spans: Sequence[Span] | None) -> list[str]:
        """UIDs of the series that these ranges of a pack touch; None: of all. Nothing for what is damaged."""
        try:
            ends, uids = self._directories(pack)
        except ImariumError:
            return []
        if spans is None:
            return list(uids)
        touched: dict[str, None] = {}
        for start, stop in spans:
            first, last = bisect_right(ends, start), bisect_left(ends, stop)
            touched |= dict.fromkeys(uids[first : last + 1])
        return list(touched)

    def _ends(self, pack: PackRecord) -> tuple[list[int], list[str]]:
        """Where series end in a pack, and their UIDs: one begins where the one before it ends."""
        entries = sorted(read_directory(self._store.fetch(pack.key), pack.size), key=lambda item: item.index)
        return [entry.index[1] for entry in entries], [entry.uid for entry in entries]

    def open_pack(self, key: str) -> BinaryIO | None:
        """The file of a pack; None where the store keeps no files. Raises as `read_pack`."""
        try:
            return self._store.open(key)
        except NotFoundError:
            self.check_known(key)
            raise

    # --- pixels -------------------------------------------------------------------------------------

    def reader(self, record: SeriesRecord, level: int) -> LevelReader:
        """Decodes a level. Raises LevelError."""
        key = record.pack.key
        return LevelReader(
            self.index(record),
            self._store.fetch(key),
            level,
            self._settings.threads,
            lambda spans: self._store.read_many(key, spans),
            near=self._store.near,
        )

    def volume(self, uid: str, level: int = 0) -> Volume:
        """All frames of a level in one array of `volume_shape`, stored values."""
        return self.reader(self._catalog.get_series(uid), level).volume()

    def rendition(
        self,
        uid: str,
        *,
        level: int | None = None,
        size: str | None = None,
        report: Callable[[str], None] = unheard,
    ) -> Rendition:
        """A series at a stored level, or resampled to a size from the smallest level not smaller.

        `size` is the shorter side in pixels ("224", the aspect ratio stays) or "ROWSxCOLUMNS"; `report` takes
        what must be known of what comes.
        Raises LevelError for what the series does not have.
        """
        record = self._catalog.get_series(uid)
        index = self.index(record)
        fetch = self._store.fetch(record.pack.key)
        attachments = read_attachments(fetch, index)
        if size is None:
            return self._at_level(record, level or 0, attachments, report)
        if level is not None:
            raise InvalidRequestError("ask for a level or for a size, not for both")
        rows, columns = parse_size(size, index.series)
        reader = self.reader(record, index.level_for_size(rows, columns))
        series = index.series.at_size(rows, columns)

        def resampled(start: int = 0, stop: int | None = None) -> Iterator[Frame]:
            for frame in reader.frames(start, stop):
                yield resample(frame, rows, columns, nearest=series.label_map)

        return Rendition(series, index.series, resampled(), attachments, report=report, reread=resampled)

    def _at_level(
        self,
        record: SeriesRecord,
        level: int,
        attachments: Mapping[str, bytes],
        report: Callable[[str], None],
    ) -> Rendition:
        reader, index = self.reader(record, level), self.index(record)

        def levels() -> list[Rendition]:
            return [
                self._at_level(record, smaller, attachments, report) for smaller in range(level, index.levels)
            ]

        return Rendition(
            reader.series,
            index.series,
            reader.frames(),
            attachments,
            codestreams=None if level else reader.codestreams,
            levels=levels,
            report=report,
            reread=reader.frames,
        )

    # --- leaving ------------------------------------------------------------------------------------

    def exports(self, record: SeriesRecord) -> tuple[str, ...]:
        """Formats that the format hierarchy allows."""
        return EXPORTS[record.series.format]

    def export(
        self,
        uid: str,
        format_name: str,
        destination: Path,
        *,
        report: Callable[[str], None] = unheard,
        **options: Unpack[ExportOptions],
    ) -> list[Path]:
        """Write a series in a format at `destination`, a file or a folder; returns the files written,
        or the one folder of an OME-Zarr.

        `report` takes what the receiver must know of them, one sentence a call.

        Raises ExportRefusedError where the hierarchy forbids it and LevelError for a missing level.
        """
        writer, rendition = self._export(uid, format_name, options, report)
        try:
            return writer.write(rendition, destination)
        except OSError as error:
            raise StorageError(f"the export cannot be written: {error.strerror}") from error

    def download(
        self, uid: str, format_name: str, *, compress: bool = True, **options: Unpack[ExportOptions]
    ) -> Download:
        """The same as one file on its way out, made while it is taken: several files, and a folder, are one
        zip. `compress`: whether NIfTI is gzipped.

        Raises as `export` for what shows before the first bytes are made, which they are here.
        """
        notes: list[str] = []
        writer, rendition = self._export(uid, format_name, options, notes.append)
        name = download_name(format_name, compress=compress)
        return start_download(writer.outgoing(rendition, name, self._settings.scratch), notes)

    def _export(
        self, uid: str, format_name: str, options: ExportOptions, report: Callable[[str], None]
    ) -> tuple[Writer, Rendition]:
        record = self._catalog.get_series(uid)
        writer = writer_for(
            format_name,
            record.series,
            window=options.get("window"),
            full=options.get("full_range", False),
            transfer_syntax=options.get("transfer_syntax"),
        )
        even = options.get("even", False)
        if even and format_name not in EVEN:
            raise InvalidRequestError(f"an even grid is for volumes: {', '.join(EVEN)}, not {format_name}")
        level, size = options.get("level"), options.get("size")
        rendition = self.rendition(uid, level=level, size=size, report=report)
        if even:
            rendition = evened(rendition, lambda: rendition.again(0, rendition.series.frames))
        return writer, rendition

    # --- checking -----------------------------------------------------------------------------------

    def verify(self, within: Numbers[int] | None = None) -> Iterator[VerifyOutcome]:
        """Re-read every pack in use, whole, and decode every frame: every checksum and digest is checked.

        `within` are the collections whose series are checked; None: all.
        """
        records, _ = self._catalog.series(within=within)
        damaged: dict[str, str | None] = {}
        directory = lru_cache(_DIRECTORIES_HELD)(self._directory)
        for record in records:
            key = record.pack.key
            if key not in damaged:  # small series share packs; each is read whole once
                damaged[key] = _failure(self._verify_object, record.pack)
            error = _failure(self._verify, record, directory)
            if error is None and damaged[key] is not None:
                error = f"its own bytes are whole, but not all of its pack: {damaged[key]}"
            yield VerifyOutcome(record.series.uid, record.series.frames, error)

    def _verify_object(self, pack: PackRecord) -> None:
        size, digest = self._store.size(pack.key), blake3()
        if size != pack.size:
            raise IntegrityError(f"the pack has {size} bytes where {pack.size} were stored")
        for start in range(0, size, _VERIFIED_AT_ONCE):
            digest.update(self._store.read(pack.key, start, min(size, start + _VERIFIED_AT_ONCE)))
        if digest.hexdigest() != pack.digest:
            raise IntegrityError("the pack's bytes do not match its digest")

    def _directory(self, pack: PackRecord) -> dict[str, Span]:
        """Where the index of each series of a pack lies."""
        return {entry.uid: entry.index for entry in read_directory(self._store.fetch(pack.key), pack.size)}

    def _verify(self, record: SeriesRecord, directory: Callable[[PackRecord], dict[str, Span]]) -> None:
        fetch = self._store.fetch(record.pack.key)
        if directory(record.pack).get(record.series.uid) != record.index_span:
            raise IntegrityError("the pack's directory does not hold the series where the catalog says")
        index = SeriesIndex.from_bytes(fetch(*record.index_span))
        if index.series != record.series:
            raise IntegrityError("the catalog and the pack tell different facts of the series")
        verify_series(index, fetch, self._settings.threads)


def _failure(check: Callable[P, None], *arguments: P.args, **options: P.kwargs) -> str | None:
    """What a check says is wrong."""
    try:
        check(*arguments, **options)
    except ImariumError as error:
        return str(error)
    return None
