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

from imarium.codec.color import check_colours, to_rgb
from imarium.errors import InvalidRequestError, StorageError
from imarium.headers.nifti import (
    check_datatype,
    check_source,
    is_flipped,
    must_rescale,
    new_header,
    nibabel_or_error,
)
from imarium.headers.npy import npy_header
from imarium.model import Series
from imarium.model.series import Frame

_GZIP_LEVEL = 4

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
    nibabel = nibabel_or_error()
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
    check_colours(series)
    dtype = np.dtype(series.dtype).newbyteorder("<")
    return npy_header(series), lambda frame, _: to_rgb(frame, series).astype(dtype, copy=False)


def _nifti(series: Series) -> tuple[bytes, Callable[[Frame, int], Frame]]:
    """As the server's export is of what did not come as NIfTI: rows of a DICOM source from bottom to top,
    slope and intercept in the header, and rescaled values in float32 where frames differ in them."""
    check_source(series)
    check_datatype(series)
    check_colours(series)
    flip, rescale = is_flipped(series), must_rescale(series)
    dtype = np.dtype("float32" if rescale else series.dtype).newbyteorder("<")

    def prepare(frame: Frame, number: int) -> Frame:
        values = to_rgb(frame, series)
        if rescale:
            slope, intercept = series.rescale_of(number)
            values = values.astype(np.float64) * slope + intercept
        return (values[::-1] if flip else values).astype(dtype, copy=False)

    return new_header(series), prepare
