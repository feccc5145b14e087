"""Writes instances with native pixel data: explicit VR little endian (PS3.5 A.2)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from imarium.errors import ExportRefusedError
from imarium.formats._shared import checked_frames
from imarium.formats.dicom.attachments import FrameIndex, StoredInstance
from imarium.formats.dicom.encode import pixel_element_head
from imarium.formats.dicom.instance_header import instance_header
from imarium.formats.dicom.mosaic import Mosaic
from imarium.formats.dicom.sinks import Sink
from imarium.model import Rendition, Series
from imarium.model.series import Frame

_LONGEST = 0xFFFFFFFE
"""Bytes that a native pixel data element can hold."""


def in_order(index: FrameIndex) -> list[int]:
    """The instances in the order in which their frames come, if each has all of its frames together and in
    its own order (the tiles of a mosaic are one frame); else none."""
    order: list[int] = []
    expected = 0
    for frame in index.frames:
        if not order or frame.instance != order[-1]:
            order.append(frame.instance)
            expected = 0
        if frame.number != expected:
            return []
        expected += 1
    complete = sum(item.frames for item in index.instances) == len(index.frames)
    whole = all(item.form["frames"] in (1, item.frames) for item in index.instances)
    once = len(set(order)) == len(order) == len(index.instances)
    return order if complete and whole and once else []


@dataclass(slots=True)
class _Output:
    """A file that is being written."""

    stream: Sink
    origin: int
    """Where the file starts in the stream."""
    pixels: int
    """Where the pixel data's value starts."""
    after: bytes
    length: int
    left: int
    mosaic: Mosaic | None
    buffer: Frame | None
    """A mosaic, or the bits of frames that do not end on a byte."""


class NativeWriting:
    """One pass over the frames; a file is being written from its first frame to its last."""

    def __init__(self, rendition: Rendition, index: FrameIndex, opened: Callable[[int], Sink]) -> None:
        """`opened` gives the empty file of an instance, by its number; closing it is up to the caller.

        Raises ExportRefusedError for instances that are too long.
        """
        self._rendition = rendition
        self._index = index
        self._opened = opened
        self._open: dict[int, _Output] = {}
        for stored in index.instances:
            _check(rendition, stored)

    def steps(self) -> Iterator[int | None]:
        """See `Writing`. Raises IntegrityError for frames that are not what the series says."""
        for frame, reference in zip(checked_frames(self._rendition), self._index.frames, strict=True):
            yield reference.instance if self._put(reference.instance, reference.number, frame) else None

    def begin(self, number: int) -> int:
        """Write an instance up to its pixels; returns the bytes of the whole file."""
        start = self._start(number)
        self._open[number] = start
        return start.pixels - start.origin + start.length + start.length % 2 + len(start.after)

    def _put(self, number: int, frame_number: int, frame: Frame) -> bool:
        """Whether the instance is complete with the frame."""
        if number not in self._open:
            self.begin(number)
        output = self._open[number]
        stored = self._index.instances[number]
        if output.mosaic is not None:
            assert output.buffer is not None
            output.mosaic.paste(output.buffer, frame_number, frame)
        elif output.buffer is not None:
            output.buffer[frame_number] = frame.reshape(-1)
        else:
            data = _little_endian(frame, stored)
            _write_at(output.stream, output.pixels + frame_number * len(data), data)
        output.left -= 1
        if output.left == 0:
            self._finish(number)
        return output.left == 0

    def _start(self, number: int) -> _Output:
        rendition, stored = self._rendition, self._index.instances[number]
        series = rendition.series
        bits = int(stored.form["bits_allocated"])
        mosaic = Mosaic(stored.frames, _grid(stored), None) if _is_mosaic(stored) else None
        rows, columns = _size(series, stored)
        pixels = rows * columns * series.samples
        length, frames = _length(series, stored), int(stored.form["frames"])
        buffer: Frame | None = None
        if mosaic is not None:
            buffer = np.zeros((rows, columns), np.dtype(series.dtype))
        elif bits == 1 and pixels % 8:
            buffer = np.zeros((frames, pixels), np.uint8)
        head, after = instance_header(rendition, stored, rows, columns)
        stream = self._opened(number)
        origin = stream.tell()
        stream.write(head)
        stream.write(pixel_element_head(str(stored.form["keyword"]), bits, length + length % 2))
        return _Output(stream, origin, stream.tell(), after, length, stored.frames, mosaic, buffer)

    def _finish(self, number: int) -> None:
        output, stored = self._open.pop(number), self._index.instances[number]
        stream = output.stream
        if output.mosaic is not None:
            assert output.buffer is not None
            _write_at(stream, output.pixels, _little_endian(output.buffer, stored))
        elif output.buffer is not None:
            bits = np.packbits(output.buffer.reshape(-1), bitorder="little")
            _write_at(stream, output.pixels, bits.tobytes())
        _write_at(stream, output.pixels + output.length, bytes(output.length % 2) + output.after)


def _is_mosaic(stored: StoredInstance) -> bool:
    return bool(stored.form["frames"] == 1 and stored.frames > 1)


def _grid(stored: StoredInstance) -> int:
    """Tiles a side."""
    return math.isqrt(stored.frames - 1) + 1 if _is_mosaic(stored) else 1


def _size(series: Series, stored: StoredInstance) -> tuple[int, int]:
    """Rows and columns of an instance's images."""
    return series.rows * _grid(stored), series.columns * _grid(stored)


def _length(series: Series, stored: StoredInstance) -> int:
    """Bytes of an instance's pixels."""
    rows, columns = _size(series, stored)
    bits, frames = int(stored.form["bits_allocated"]), int(stored.form["frames"])
    pixels = rows * columns * series.samples * frames
    return -(-pixels // 8) if bits == 1 else pixels * (bits // 8)


def _check(rendition: Rendition, stored: StoredInstance) -> None:
    length = _length(rendition.series, stored)
    if length > _LONGEST:
        raise ExportRefusedError(
            f"{length} bytes of pixels are more than one uncompressed DICOM file can hold; "
            "export a lower resolution, or another format"
        )


def _write_at(stream: Sink, position: int, data: bytes) -> None:
    if stream.tell() != position:
        stream.seek(position)
    stream.write(data)


def _little_endian(frame: Frame, stored: StoredInstance) -> bytes:
    if stored.form["bits_allocated"] == 1:
        return np.packbits(frame.reshape(-1), bitorder="little").tobytes()
    return np.ascontiguousarray(frame, frame.dtype.newbyteorder("<")).tobytes()
