"""A series: what is known of a stack of frames of one shape and type, and where its pixels come from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imarium.errors import InvalidRequestError
from imarium.model.geometry import TILTED, UNEVEN, Affine, level_shape, rescale_affine, spacing_of

Frame = NDArray[Any]
"""One frame: (rows, columns) or (rows, columns, samples), C-contiguous, native byte order."""


@dataclass(frozen=True, slots=True)
class Series:
    """The facts of a series that every layer shares. Holds nothing that names a person."""

    uid: str
    """Series Instance UID of a DICOM source; `2.25.` plus a digest of the content otherwise."""
    study_uid: str
    format: str
    """Format of the source: dicom, nifti, nrrd, png, jpeg, tiff, ... (`imarium.formats.EXPORTS`)."""
    frames: int
    rows: int
    columns: int
    dtype: str
    """NumPy name of the stored values' type: uint8, int16, float32, ..."""
    samples: int = 1
    """Values a pixel: 1, 2 (grey and alpha), 3 (RGB, YBR) or 4 (RGBA)."""
    photometric: str = "MONOCHROME2"
    """DICOM Photometric Interpretation (PS3.3 C.7.6.3.1.2) of the stored values."""
    dimensions: tuple[int, ...] = ()
    """Shape whose product is `frames`, slowest axis first: (10, 15) is 10 volumes of 15 slices."""
    modality: str | None = None
    """DICOM Modality (CT, MR, US, ...)."""
    body_part: str | None = None
    description: str | None = None
    study_description: str | None = None
    study_date: str | None = None
    """YYYYMMDD."""
    affine: Affine | None = None
    """(column, row, slice) to RAS+ mm; None where the source does not say where it lies."""
    time_step: float | None = None
    """Seconds between volumes of a series with a time axis."""
    rescale_slope: float = 1.0
    rescale_intercept: float = 0.0
    """Value = stored value * slope + intercept, in `rescale_unit` (HU for CT). The first frame's, where
    frames differ."""
    frame_rescale: tuple[tuple[float, float], ...] | None = None
    """(slope, intercept) of each frame, in the order of the frames; None where all have the same (PET slices
    and enhanced MR may differ). `rescale_of` gives the right one."""
    rescale_unit: str | None = None
    window_center: float | None = None
    window_width: float | None = None
    """Default VOI window in rescaled values (PS3.3 C.11.2)."""
    label_map: bool = False
    """Values are names, not amounts (palette indices, segments): never averaged."""
    palette: tuple[tuple[int, int, int], ...] | None = None
    """RGB of each index, 8 bits a channel, for display of PALETTE COLOR."""
    bits_stored: int | None = None
    notes: tuple[str, ...] = ()
    """What a careful reader must know: uneven slice spacing, gantry tilt, a lossy source."""

    def __post_init__(self) -> None:
        if not self.dimensions:
            object.__setattr__(self, "dimensions", (self.frames,))

    def rescale_of(self, frame: int) -> tuple[float, float]:
        """(slope, intercept) of one frame, counted from 0 over all `dimensions`."""
        if self.frame_rescale is None:
            return self.rescale_slope, self.rescale_intercept
        return self.frame_rescale[frame]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(frames, rows, columns)."""
        return self.frames, self.rows, self.columns

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """Shape of one frame's array."""
        return (self.rows, self.columns) if self.samples == 1 else (self.rows, self.columns, self.samples)

    @property
    def volume_shape(self) -> tuple[int, ...]:
        """Shape of the array that holds all frames: dimensions + frame_shape."""
        return (*self.dimensions, *self.frame_shape)

    @property
    def spacing(self) -> tuple[float, float, float] | None:
        """Voxel spacing in mm, (slice, row, column)."""
        return None if self.affine is None else spacing_of(self.affine)

    @property
    def pixel_bytes(self) -> int:
        """Bytes of all stored values, uncompressed."""
        return self.frames * self.rows * self.columns * self.samples * np.dtype(self.dtype).itemsize

    def at_level(self, level: int) -> Series:
        """The same series at a level: rows, columns and affine rescaled. Does not check that it exists."""
        if level == 0:
            return self
        rows, columns = level_shape(self.rows, self.columns, level)
        factor = float(1 << level)
        affine = None if self.affine is None else rescale_affine(self.affine, factor, factor)
        return replace(self, rows=rows, columns=columns, affine=affine)

    def at_size(self, rows: int, columns: int) -> Series:
        """The same series resampled so that its outer edges stay where they are."""
        if (rows, columns) == (self.rows, self.columns):
            return self
        affine = self.affine
        if affine is not None:
            affine = rescale_affine(affine, self.rows / rows, self.columns / columns)
        return replace(self, rows=rows, columns=columns, affine=affine)

    @property
    def is_uneven(self) -> bool:
        """Whether distances between slices differ, so that the affine holds their mean."""
        return any(note.startswith(UNEVEN) for note in self.notes)

    @property
    def is_tilted(self) -> bool:
        """Whether slices are sheared against their normal, so that the affine has no right angles."""
        return any(note.startswith(TILTED) for note in self.notes)

    def at_slices(self, slices: int) -> Series:
        """The same series resampled along its slices (the last of `dimensions`), outer edges kept.

        Raises InvalidRequestError where slices cannot be mixed: they are uneven, or differ in their rescale.
        """
        *slower, before = self.dimensions
        if slices == before:
            return self
        if self.frame_rescale is not None:
            raise InvalidRequestError(
                "slices differ in their rescale slope, so that stored values do not mix"
            )
        if self.is_uneven:
            raise InvalidRequestError(
                "slices are unevenly spaced; keep them (None for the slices' spacing), or have them evened "
                "by an export"
            )
        dimensions = (*slower, slices)
        affine = self.affine
        if affine is not None:
            affine = rescale_affine(affine, 1.0, 1.0, before / slices)
        return replace(self, frames=math.prod(dimensions), dimensions=dimensions, affine=affine)

    def to_json(self) -> dict[str, Any]:
        """JSON-able facts, with None and defaults left out where they say nothing."""
        return {key: value for key, value in asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Series:
        """The inverse of `to_json`; unknown keys of newer versions are ignored."""
        values = {key: value for key, value in data.items() if key in _SERIES_FIELDS}
        for key, value in values.items():
            if isinstance(value, list):
                values[key] = _tupled(value)
        return cls(**values)


_SERIES_FIELDS = frozenset(item.name for item in fields(Series))


def _tupled(values: list[Any]) -> tuple[Any, ...]:
    return tuple([_tupled(item) if isinstance(item, list) else item for item in values])


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file that a series was read from."""

    path: Path
    size: int
    """Bytes on disk."""
    content: str | Callable[[], str]
    """BLAKE3 of the file's bytes, hex; or what finds it, at no cost once the frames were read."""
    instance_uid: str | None = None
    """SOP Instance UID of a DICOM file."""

    @property
    def digest(self) -> str:
        """BLAKE3 of the file's bytes, hex. May read the file: raises RefusedFileError."""
        return self.content if isinstance(self.content, str) else self.content()


@dataclass(frozen=True, slots=True)
class SourceCodestream:
    """A frame as its source has it compressed."""

    codec: str
    """jpeg, jpeg2000, htj2k, jpegls or png; or tiles: several of one of them (`imarium.codec.tiles`)."""
    data: bytes


@dataclass(frozen=True, slots=True)
class SourceSeries:
    """A series that a format reader found, ready to be taken in."""

    series: Series
    files: tuple[SourceFile, ...]
    read_frames: Callable[[], Iterator[Frame]]
    """Yields every frame once, in the order of `series.dimensions`; holds few in memory at a time.

    Raises CorruptFileError, LimitExceededError or UnsupportedFileError with the reason.
    """
    attachments: Mapping[str, bytes] = field(default_factory=dict)
    """What the writers of the source's format need beyond pixels (headers), kept in the pack."""
    patient_id: str | None = None
    """Identifies the subject inside the archive; never leaves it in clear."""
    codestream: Callable[[int], SourceCodestream | None] | None = None
    """The compressed frame that the source has for a frame, by its number; None where it has none. May be
    called from several threads. Raises like `read_frames`."""
    packed_bytes: Callable[[int], float | None] | None = None
    """Bytes that a frame takes in its source, by its number; None where it is not compressed, or nothing can
    be said. May be called from several threads. Raises like `read_frames`."""


@dataclass(frozen=True, slots=True)
class Codestream:
    """A frame as it is stored in the htj2k lane (docs/design/pack-format.md)."""

    data: bytes
    """A whole JPEG 2000 codestream of signed samples."""
    low: int
    high: int
    """Smallest and largest value."""


def unheard(_: str) -> None:
    """Where nobody listens."""


@dataclass(frozen=True, slots=True)
class Rendition:
    """A series at one resolution, on its way out."""

    series: Series
    """Facts at this resolution: rows, columns and affine are those of the frames delivered."""
    source: Series
    """Facts at full resolution."""
    frames: Iterable[Frame]
    attachments: Mapping[str, bytes]
    codestreams: Callable[[], Iterator[Codestream | Frame]] | None = None
    """Full resolution only: every frame as it is stored, or its values where that is no codestream."""
    levels: Callable[[], Sequence[Rendition]] | None = None
    """This rendition and all smaller levels that are stored; None where it is no stored level."""
    report: Callable[[str], None] = unheard
    """Takes what the receiver of the files must know of them: one sentence a call."""
    reread: Callable[[int, int], Iterable[Frame]] | None = None
    """Frames start to stop - 1 once more; None where `frames` may be iterated again, as a list may."""

    def again(self, start: int, stop: int) -> Iterator[Frame]:
        """Frames start to stop - 1, beside `frames`."""
        if self.reread is not None:
            return iter(self.reread(start, stop))
        return islice(self.frames, start, stop)

    @property
    def is_full_resolution(self) -> bool:
        """True if the pixels are the source's own."""
        return (self.series.rows, self.series.columns) == (self.source.rows, self.source.columns)
