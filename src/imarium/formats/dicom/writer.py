"""Writes series that came as DICOM as DICOM again: PS3.10 files, explicit VR little endian.

Pixels are native or, with transfer syntax "htj2k", encapsulated (see `encapsulating`).

At full resolution every instance comes back with every element that it had except those that describe how
the pixel data were encoded; its UIDs stay. At another resolution the instances are derived ones (PS3.3
C.7.6.1.1.2) with UIDs of their own that are functions of the source's, so writing twice gives the same.
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from imarium.errors import ExportRefusedError, ImariumError, IntegrityError, StorageError
from imarium.formats.dicom.attachments import FrameIndex, StoredInstance, read_index
from imarium.formats.dicom.encapsulating import EncapsulatedWriting
from imarium.formats.dicom.encode import pixel_element_head
from imarium.formats.dicom.instance_header import instance_header
from imarium.formats.dicom.mosaic import Mosaic
from imarium.model import Rendition
from imarium.model.series import Frame

TransferSyntax = Literal["explicit", "htj2k"]

_LONGEST = 0xFFFFFFFE
"""Bytes that a native pixel data element can hold."""


class DicomWriter:
    """Writes a rendition whose source is DICOM; see `imarium.formats.base.Writer`."""

    name = "dicom"

    def __init__(self, syntax: TransferSyntax = "explicit") -> None:
        """`syntax`: "explicit" for native pixels, "htj2k" for HTJ2K Lossless RPCL."""
        self._syntax = syntax

    def write(self, rendition: Rendition, destination: Path) -> list[Path]:
        """Write one file, or a folder of files 00001.dcm, 00002.dcm, ...; returns them in slice order.

        One instance goes to the file `destination`, or into it if it is a folder; several go into the folder
        `destination`, which is made if need be. Names never come from identifiers.
        """
        if rendition.source.format != "dicom":
            raise ExportRefusedError(
                f"a series that came as {rendition.source.format} cannot be written as DICOM: what DICOM "
                "must say of it was never known. Choose the source's own format, or NIfTI"
            )
        index = read_index(rendition.attachments)
        if len(index.frames) != rendition.series.frames:
            raise IntegrityError("the kept frame index does not fit the series")
        targets = _targets(destination, len(index.instances))
        written: list[Path] = []
        try:
            writing = EncapsulatedWriting if self._syntax == "htj2k" else _Writing
            writing(rendition, index, targets, written).run()
        except BaseException as error:
            for path in written:
                with contextlib.suppress(OSError):
                    path.unlink()
            if isinstance(error, OSError):
                raise StorageError(f"the DICOM files could not be written: {error.strerror}") from error
            if isinstance(error, Exception) and not isinstance(error, ImariumError):
                reason = f"the kept headers cannot be written again ({type(error).__name__})"
                raise IntegrityError(reason) from error
            raise
        return targets


def _targets(destination: Path, count: int) -> list[Path]:
    if count == 1 and not destination.is_dir():
        destination.parent.mkdir(parents=True, exist_ok=True)
        return [destination]
    destination.mkdir(parents=True, exist_ok=True)
    return [destination / f"{number:05d}.dcm" for number in range(1, count + 1)]


@dataclass(slots=True)
class _Output:
    """A file that is being written."""

    stream: BinaryIO
    pixels: int
    """Where the pixel data's value starts."""
    after: bytes
    length: int
    left: int
    mosaic: Mosaic | None
    buffer: Frame | None
    """A mosaic, or the bits of frames that do not end on a byte."""


class _Writing:
    """One pass over the frames; a file is open from its first frame to its last."""

    def __init__(
        self, rendition: Rendition, index: FrameIndex, targets: list[Path], written: list[Path]
    ) -> None:
        self._rendition = rendition
        self._index = index
        self._targets = targets
        self._written = written
        self._open: dict[int, _Output] = {}

    def run(self) -> None:
        series = self._rendition.series
        count = 0
        try:
            for frame, reference in zip(self._rendition.frames, self._index.frames, strict=False):
                if frame.shape != series.frame_shape or frame.dtype != np.dtype(series.dtype):
                    raise IntegrityError(
                        f"a frame is {frame.shape} {frame.dtype}, not {series.frame_shape} {series.dtype}"
                    )
                self._put(reference.instance, reference.number, frame)
                count += 1
            if count != series.frames:
                raise IntegrityError(f"{series.frames} frames were expected, {count} came")
        finally:
            for output in self._open.values():
                output.stream.close()

    def _put(self, number: int, frame_number: int, frame: Frame) -> None:
        if number not in self._open:
            self._open[number] = self._start(number)
        output = self._open[number]
        stored = self._index.instances[number]
        if output.mosaic is not None:
            assert output.buffer is not None
            output.mosaic.paste(output.buffer, frame_number, frame)
        elif output.buffer is not None:
            output.buffer[frame_number] = frame.reshape(-1)
        else:
            data = _little_endian(frame, stored)
            output.stream.seek(output.pixels + frame_number * len(data))
            output.stream.write(data)
        output.left -= 1
        if output.left == 0:
            self._finish(number)

    def _start(self, number: int) -> _Output:
        rendition, stored = self._rendition, self._index.instances[number]
        series = rendition.series
        form = stored.form
        bits = int(form["bits_allocated"])
        mosaic = None
        if form["frames"] == 1 and stored.frames > 1:
            mosaic = Mosaic(stored.frames, math.isqrt(stored.frames - 1) + 1, None)
        grid = 1 if mosaic is None else mosaic.grid
        rows, columns = series.rows * grid, series.columns * grid
        frames = int(form["frames"])
        pixels = rows * columns * series.samples
        length = -(-pixels * frames // 8) if bits == 1 else pixels * frames * (bits // 8)
        if length > _LONGEST:
            raise ExportRefusedError(
                f"{length} bytes of pixels are more than one uncompressed DICOM file can hold; "
                "export a lower resolution, or another format"
            )
        buffer: Frame | None = None
        if mosaic is not None:
            buffer = np.zeros((rows, columns), np.dtype(series.dtype))
        elif bits == 1 and pixels % 8:
            buffer = np.zeros((frames, pixels), np.uint8)
        head, after = instance_header(rendition, stored, rows, columns)
        path = self._targets[number]
        stream = path.open("w+b")
        self._written.append(path)
        stream.write(head)
        stream.write(pixel_element_head(str(form["keyword"]), bits, length + length % 2))
        return _Output(stream, stream.tell(), after, length, stored.frames, mosaic, buffer)

    def _finish(self, number: int) -> None:
        output, stored = self._open.pop(number), self._index.instances[number]
        stream = output.stream
        try:
            if output.buffer is not None:
                stream.seek(output.pixels)
                if output.mosaic is not None:
                    stream.write(_little_endian(output.buffer, stored))
                else:
                    stream.write(np.packbits(output.buffer.reshape(-1), bitorder="little").tobytes())
            stream.seek(output.pixels + output.length)
            stream.write(bytes(output.length % 2) + output.after)
        finally:
            stream.close()


def _little_endian(frame: Frame, stored: StoredInstance) -> bytes:
    if stored.form["bits_allocated"] == 1:
        return np.packbits(frame.reshape(-1), bitorder="little").tobytes()
    return np.ascontiguousarray(frame, frame.dtype.newbyteorder("<")).tobytes()
