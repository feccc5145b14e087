"""Files that the client writes by itself, frame by frame: .npy, .nii and .nii.gz."""

from __future__ import annotations

import gzip
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Protocol, cast

import numpy as np

from imarium.codec.color import ybr_full_to_rgb
from imarium.errors import ExportRefusedError, InvalidRequestError, StorageError
from imarium.model import Series
from imarium.model.geometry import TILTED, UNEVEN
from imarium.model.series import Frame
from imarium.version import VERSION

_GZIP_LEVEL = 4
_NIFTI_SOURCES = ("nifti", "dicom", "nrrd", "metaimage")
_INTENT_LABEL = 1002
_COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422")
_CODES = {
    ("uint8", 1): 2,
    ("int16", 1): 4,
    ("int32", 1): 8,
    ("float32", 1): 16,
    ("complex64", 1): 32,
    ("float64", 1): 64,
    ("uint8", 3): 128,
    ("int8", 1): 256,
    ("uint16", 1): 512,
    ("uint32", 1): 768,
    ("int64", 1): 1024,
    ("uint64", 1): 1280,
    ("complex128", 1): 1792,
    ("uint8", 4): 2304,
}
"""Datatype codes of nifti1.h by (NumPy name, samples a voxel)."""

SUFFIXES = {"nifti": (".nii.gz", ".nii"), "npy": (".npy",)}
"""Formats that are written here, and how their files end: as they do unless another is asked for, first."""


class Sink(Protocol):
    """A file that takes frames in their order."""

    def add(self, frame: Frame) -> None:
        """The next frame."""


class _Sink:
    """A header, and then frames as they are prepared."""

    def __init__(self, file: IO[bytes], head: bytes, prepare: Callable[[Frame, int], Frame]) -> None:
        self._file, self._prepare = file, prepare
        self._number = 0
        file.write(head)

    def add(self, frame: Frame) -> None:
        made = np.ascontiguousarray(self._prepare(frame, self._number))
        self._file.write(made.data if made.dtype.isnative else made.tobytes())
        self._number += 1


@contextmanager
def written(target: Path, format_name: str, series: Series) -> Iterator[Sink]:
    """A file that appears under its name once it is whole. Raises ExportRefusedError, InvalidRequestError for
    a name that does not fit the format, and StorageError."""
    if not target.name.lower().endswith(SUFFIXES[format_name]):
        endings = " or ".join(SUFFIXES[format_name])
        raise InvalidRequestError(f"a file of format {format_name} ends in {endings}, not {target.name!r}")
    head, prepare = _npy(series) if format_name == "npy" else _nifti(series)
    with _appearing(target) as file:
        if not target.name.lower().endswith(".gz"):
            yield _Sink(file, head, prepare)
            return
        with gzip.GzipFile("", "wb", compresslevel=_GZIP_LEVEL, fileobj=file, mtime=0) as packed:
            yield _Sink(cast(IO[bytes], packed), head, prepare)


def nifti_image(series: Series, frames: Iterator[Frame]) -> Any:
    """A nibabel image of all frames, as if it had been loaded from the file that `written` makes."""
    head, prepare = _nifti(series)
    content = io.BytesIO()
    sink = _Sink(content, head, prepare)
    for frame in frames:
        sink.add(frame)
    nibabel = _nibabel()
    kind = nibabel.Nifti1Image if head[:4] == b"\x5c\1\0\0" else nibabel.Nifti2Image
    return kind.from_bytes(content.getvalue())


@contextmanager
def _appearing(target: Path) -> Iterator[IO[bytes]]:
    partial = beside(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            yield file
        partial.replace(target)
    except OSError as error:
        raise StorageError(f"the file cannot be written: {error.strerror or 'out of room'}") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def beside(target: Path) -> Path:
    """Where something is made that then gets its name; another process makes it elsewhere."""
    return target.with_name(f".{target.name}.{os.getpid()}.part")


def _npy(series: Series) -> tuple[bytes, Callable[[Frame, int], Frame]]:
    """One array of `Series.volume_shape`, stored values, little-endian, in C order; YBR as RGB."""
    dtype = np.dtype(series.dtype).newbyteorder("<")
    head = io.BytesIO()
    facts = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": series.volume_shape,
    }
    np.lib.format.write_array_header_1_0(head, facts)
    return head.getvalue(), lambda frame, _: _as_rgb(frame, series).astype(dtype, copy=False)


def _nifti(series: Series) -> tuple[bytes, Callable[[Frame, int], Frame]]:
    """As the server's export is: rows of a DICOM source from bottom to top, slope and intercept in the
    header, and rescaled values in float32 where frames differ in them."""
    if series.format not in _NIFTI_SOURCES:
        raise ExportRefusedError(
            f"a {series.format} source cannot become NIfTI: it does not say how large or where its "
            "pixels are; ask for png or npy"
        )
    rescale = series.frame_rescale is not None and series.format != "nifti" and series.samples == 1
    dtype = np.dtype("float32" if rescale else series.dtype).newbyteorder("<")
    if (dtype.name, series.samples) not in _CODES:
        raise ExportRefusedError(
            f"NIfTI has no data type for {series.samples} x {series.dtype} pixels; ask for npy"
        )
    flip = series.format == "dicom"

    def prepare(frame: Frame, number: int) -> Frame:
        values = _as_rgb(frame, series)
        if rescale:
            slope, intercept = series.rescale_of(number)
            values = values.astype(np.float64) * slope + intercept
        return (values[::-1] if flip else values).astype(dtype, copy=False)

    return _nifti_head(series, dtype, rescale=rescale, flip=flip), prepare


def _nifti_head(series: Series, dtype: np.dtype[Any], *, rescale: bool, flip: bool) -> bytes:
    nibabel = _nibabel()
    *slower, slices = series.dimensions
    sides = [series.columns, series.rows, slices, *reversed(slower)]
    if len(sides) > 7:
        raise ExportRefusedError(f"NIfTI has at most 7 dimensions, the series has {len(sides)}")
    header = (nibabel.Nifti1Header if max(sides) <= 32767 else nibabel.Nifti2Header)()
    header["dim"] = [len(sides), *sides, *[1] * (7 - len(sides))]
    header["datatype"] = _CODES[dtype.name, series.samples]
    header["bitpix"] = dtype.itemsize * 8 * series.samples
    header["pixdim"] = 1
    slope, intercept = (1.0, 0.0) if rescale else (series.rescale_slope, series.rescale_intercept)
    header["scl_slope"], header["scl_inter"] = slope, intercept
    description = f"Imarium {VERSION}"
    for beginning, word in ((UNEVEN, "UNEVEN slices (mean step)"), (TILTED, "TILTED (see sform)")):
        if any(note.startswith(beginning) for note in series.notes):
            description += f"; {word}"
    if series.affine is None:
        description += "; position and size unknown"
        header["srow_x"], header["srow_y"], header["srow_z"] = np.eye(4)[:3]
    else:
        affine = np.asarray(series.affine, dtype=np.float64)
        if flip:
            turn = np.diag([1.0, -1.0, 1.0, 1.0])
            turn[1, 3] = series.rows - 1
            affine = affine @ turn
        sizes = np.linalg.norm(affine[:3, :3], axis=0)
        header["pixdim"][1:4] = sizes
        header["srow_x"], header["srow_y"], header["srow_z"] = affine[:3]
        header["sform_code"] = 1
        axes = affine[:3, :3] / np.where(sizes == 0, 1, sizes)
        if np.abs(axes.T @ axes - np.eye(3)).max() < 1e-4:  # a quaternion holds no shear
            header.set_qform(affine, code=1, strip_shears=True)
    header["pixdim"][4] = (series.time_step or 0.0) if slower else 1.0
    header["xyzt_units"] = 2 | 8  # millimetres, seconds
    if series.label_map and series.samples == 1:
        header["intent_code"] = _INTENT_LABEL
    header["descrip"] = description.encode("ascii")[:79]
    header["magic"] = header.single_magic
    header["vox_offset"] = header.single_vox_offset
    return bytes(header.binaryblock) + bytes(4)


def _as_rgb(frame: Frame, series: Series) -> Frame:
    """YBR_FULL and YBR_FULL_422 as RGB; every other frame as it is."""
    if series.samples < 3:
        return frame
    if series.photometric not in _COLOURS:
        raise ExportRefusedError(
            f"{series.photometric} of {series.samples} x {series.dtype} has no conversion to RGB here"
        )
    if series.photometric == "RGB":
        return frame
    if frame.dtype != np.uint8 or series.samples != 3:
        raise ExportRefusedError(f"{series.photometric} of {series.dtype} has no conversion to RGB here")
    return ybr_full_to_rgb(frame)


def _nibabel() -> Any:
    try:
        import nibabel  # noqa: PLC0415 - the bare package does without
    except ImportError as error:
        raise InvalidRequestError(
            "NIfTI needs one more library: pip install 'imarium[nifti]'; npy needs none"
        ) from error
    return nibabel
