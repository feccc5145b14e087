"""Reads series out of the store: levels, sizes, exports, thumbnails, verification."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ParamSpec

import numpy as np
from blake3 import blake3

from imarium.catalog import Catalog, PackRecord, SeriesRecord
from imarium.codec import resample
from imarium.errors import ImariumError, IntegrityError, InvalidRequestError, LevelError, StorageError
from imarium.formats import EVEN, EXPORTS, evened, writer_for
from imarium.formats.raster import encode_png
from imarium.formats.rendering import render_8bit
from imarium.model import Rendition, Series, Volume, radiological_turn
from imarium.model.series import Frame, unheard
from imarium.model.sizes import parse_size
from imarium.pack import LevelReader, SeriesIndex, Span, read_attachments, read_directory, verify_series
from imarium.settings import Settings
from imarium.store import ObjectStore
from imarium.streaming.levels import LevelDetail

_INDEXES_HELD = 256
_DIRECTORIES_HELD = 8
_VERIFIED_AT_ONCE = 8 << 20
_LARGEST_THUMBNAIL = 1024

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

    # --- looking up ---------------------------------------------------------------------------------

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

    def read_pack(self, key: str, start: int, stop: int) -> bytes:
        """Bytes of a pack as they are."""
        return self._store.read(key, start, stop)

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

        def resampled() -> Iterator[Frame]:
            for frame in reader.frames():
                yield resample(frame, rows, columns, nearest=series.label_map)

        return Rendition(series, index.series, resampled(), attachments, report=report)

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
        level: int | None = None,
        size: str | None = None,
        window: tuple[float, float] | None = None,
        full_range: bool = False,
        transfer_syntax: str | None = None,
        even: bool = False,
        report: Callable[[str], None] = unheard,
    ) -> list[Path]:
        """Write a series in a format at `destination`, a file or a folder; returns the files written,
        or the one folder of an OME-Zarr.

        `even` resamples slices that are tilted or unevenly spaced onto an even grid with right angles.
        `report` takes what the receiver must know of them, one sentence a call.

        Raises ExportRefusedError where the hierarchy forbids it and LevelError for a missing level.
        """
        record = self._catalog.get_series(uid)
        writer = writer_for(
            format_name, record.series, window=window, full=full_range, transfer_syntax=transfer_syntax
        )
        if even and format_name not in EVEN:
            raise InvalidRequestError(f"an even grid is for volumes: {', '.join(EVEN)}, not {format_name}")
        rendition = self.rendition(uid, level=level, size=size, report=report)
        if even:
            rendition = evened(rendition, lambda: self.rendition(uid, level=level, size=size).frames)
        try:
            return writer.write(rendition, destination)
        except OSError as error:
            raise StorageError(f"the export cannot be written: {error.strerror}") from error

    def thumbnail(self, uid: str, size: int) -> bytes:
        """PNG of the middle frame, its longer side at most `size` pixels, square pixels on the screen."""
        if not 1 <= size <= _LARGEST_THUMBNAIL:
            raise InvalidRequestError(f"a thumbnail has 1 to {_LARGEST_THUMBNAIL} pixels a side")
        record = self._catalog.get_series(uid)
        full = self.index(record).series
        height, width = _physical_shape(full)
        scale = min(1.0, size / max(height, width))
        rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
        try:
            level = self.index(record).level_for_size(min(rows, full.rows), min(columns, full.columns))
        except LevelError:
            level = 0
        reader = self.reader(record, level)
        middle = full.frames // 2 if len(full.dimensions) == 1 else full.dimensions[-1] // 2
        picture = render_8bit(reader.frame(middle), reader.series, None, middle)
        return encode_png(_turned(resample(picture, rows, columns, nearest=full.label_map), full))

    # --- checking -----------------------------------------------------------------------------------

    def verify(self) -> Iterator[VerifyOutcome]:
        """Re-read every pack in use, whole, and decode every frame: every checksum and digest is checked."""
        records, _ = self._catalog.series()
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


def _turned(picture: Frame, series: Series) -> Frame:
    """DICOM slices are stored as they are to be seen; others are turned as radiologists look at them."""
    if series.format == "dicom" or series.affine is None:
        return picture
    transpose, flip_columns, flip_rows = radiological_turn(series.affine)
    if transpose:
        picture = picture.swapaxes(0, 1)
    turned: Frame = picture[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]
    return np.ascontiguousarray(turned)


def _physical_shape(series: Series) -> tuple[float, float]:
    """Rows and columns of the picture with square pixels, of about the same number."""
    if series.spacing is None:
        return series.rows, series.columns
    _, row, column = series.spacing
    if not (0 < row < 1e6 and 0 < column < 1e6):
        return series.rows, series.columns
    unit = min(row, column)
    return series.rows * row / unit, series.columns * column / unit
