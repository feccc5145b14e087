"""Writes instances with HTJ2K pixel data: encapsulated, one fragment a frame (PS3.5 A.4, 8.2.4, 10.18).

At full resolution the codestreams of the pack are used, made to fit the header (see `codestreams`); only what
cannot be made to fit is coded anew, and reported.
"""

from __future__ import annotations

import math
import struct
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from pydicom.uid import HTJ2KLossless, HTJ2KLosslessRPCL

from imarium.errors import ExportRefusedError, IntegrityError
from imarium.formats.dicom.attachments import FrameIndex, StoredInstance
from imarium.formats.dicom.codestreams import MOST_BITS, encoded, is_rpcl, rewrapped, samples_of
from imarium.formats.dicom.instance_header import instance_header
from imarium.formats.dicom.mosaic import Mosaic
from imarium.model import Codestream, Rendition
from imarium.model.series import Frame

_ITEM, _END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0\0\0\0\0"
_PIXEL_DATA = b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff"
_OFFSETS, _LENGTHS = b"\xe0\x7f\x01\0OV\0\0", b"\xe0\x7f\x02\0OV\0\0"
_LARGEST_OFFSET = 0xFFFFFFFF
_PHOTOMETRICS = {
    1: ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"),
    3: ("RGB", "YBR_FULL", "YBR_FULL_422"),
}


@dataclass(slots=True)
class _Output:
    """A file that is being written."""

    stream: BinaryIO
    table: int
    """Where the offset table's values start, which are known last."""
    long_table: bool
    """An Extended Offset Table, for files beyond 4 GiB."""
    origin: int
    """The first fragment's item; offsets count from here."""
    after: bytes
    left: int
    mosaic: Frame | None
    spool: BinaryIO | None
    """Takes frames that do not come in their order."""
    pieces: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Frame -> (position, bytes with padding) in `stream` or `spool`."""


class EncapsulatedWriting:
    """One pass over the frames; a file is open from its first frame to its last."""

    def __init__(
        self, rendition: Rendition, index: FrameIndex, opened: Callable[[int], BinaryIO], scratch: Path
    ) -> None:
        """`opened` gives the empty file of an instance, by its number; closing it is up to the caller.

        Raises ExportRefusedError for what HTJ2K in DICOM cannot hold, as far as it is known before frames
        are read.
        """
        self._rendition = rendition
        self._index = index
        self._opened = opened
        self._scratch = scratch
        self._open: dict[int, _Output] = {}
        self._anew = self._images = 0
        self._tiled = [item.form["frames"] == 1 and item.frames > 1 for item in index.instances]
        self._ordered = _in_order(index)
        for stored in index.instances:
            _check(rendition, stored)

    def steps(self) -> Iterator[int | None]:
        """See `Writing`. Raises ExportRefusedError for values that Bits Stored does not hold, and
        IntegrityError."""
        series, count = self._rendition.series, 0
        try:
            for frame, reference in zip(self._frames(), self._index.frames, strict=False):
                if not isinstance(frame, Codestream) and (
                    frame.shape != series.frame_shape or frame.dtype != np.dtype(series.dtype)
                ):
                    raise IntegrityError(
                        f"a frame is {frame.shape} {frame.dtype}, not {series.frame_shape} {series.dtype}"
                    )
                count += 1
                yield reference.instance if self._put(reference.instance, reference.number, frame) else None
            if count != series.frames:
                raise IntegrityError(f"{series.frames} frames were expected, {count} came")
        finally:
            for output in self._open.values():
                if output.spool is not None:
                    output.spool.close()
        if self._anew and self._rendition.codestreams is not None:
            self._rendition.report(
                f"{self._anew} of {self._images} images were coded anew, losslessly: they are stored in "
                "another way, or with more bits, than a DICOM codestream may have."
            )

    def _frames(self) -> Iterator[Codestream | Frame]:
        rendition = self._rendition
        if rendition.codestreams is None or any(self._tiled) or not rendition.is_full_resolution:
            return iter(rendition.frames)
        return rendition.codestreams()

    def _put(self, number: int, frame_number: int, frame: Codestream | Frame) -> bool:
        """Whether the instance is complete with the frame."""
        if number not in self._open:
            self._open[number] = self._start(number)
        output, stored = self._open[number], self._index.instances[number]
        output.left -= 1
        if output.mosaic is not None:
            assert not isinstance(frame, Codestream)
            tiles = Mosaic(stored.frames, math.isqrt(stored.frames - 1) + 1, None)
            tiles.paste(output.mosaic, frame_number, frame)
            if output.left:
                return False
            frame, frame_number = output.mosaic, 0
        self._images += 1
        data = self._encoded(frame, stored)
        data += bytes(len(data) % 2)
        stream = output.spool or output.stream
        output.pieces[frame_number] = stream.tell(), len(data)
        if output.spool is None:
            stream.write(_ITEM + len(data).to_bytes(4, "little"))
        stream.write(data)
        if output.left == 0:
            self._finish(number)
        return output.left == 0

    def _encoded(self, frame: Codestream | Frame, stored: StoredInstance) -> bytes:
        series = self._rendition.series
        bits, signed = int(stored.form["bits_stored"]), bool(stored.form["signed"])
        if isinstance(frame, Codestream):
            data = rewrapped(frame, bits, signed=signed)
            if data is not None:
                return data
            frame = samples_of(frame)
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
        if frame.min() < low or frame.max() > high:
            raise ExportRefusedError(
                f"values beyond the {bits} bits that the header states cannot be coded; "
                "export with explicit transfer syntax"
            )
        self._anew += 1
        return encoded(frame, bits, signed=signed, rgb=series.photometric == "RGB")

    def _start(self, number: int) -> _Output:
        rendition, stored = self._rendition, self._index.instances[number]
        series = rendition.series
        frames = int(stored.form["frames"])
        grid = math.isqrt(stored.frames - 1) + 1 if self._tiled[number] else 1
        rows, columns = series.rows * grid, series.columns * grid
        syntax = HTJ2KLosslessRPCL if is_rpcl(rows, columns) else HTJ2KLossless
        head, after = instance_header(rendition, stored, rows, columns, syntax)
        raw = rows * columns * series.samples * np.dtype(series.dtype).itemsize
        # Noise grows when it is coded, by far less than this.
        long_table = frames * (raw + raw // 4 + 4096) > _LARGEST_OFFSET
        spool: BinaryIO | None = None
        if not self._ordered[number]:
            spool = tempfile.TemporaryFile(dir=self._scratch)  # noqa: SIM115
        stream = self._opened(number)
        stream.write(head)
        table = stream.tell() + 12
        if long_table:
            size = (8 * frames).to_bytes(4, "little")
            stream.write(_OFFSETS + size + bytes(8 * frames) + _LENGTHS + size + bytes(8 * frames))
            stream.write(_PIXEL_DATA + _ITEM + bytes(4))
        else:
            stream.write(_PIXEL_DATA + _ITEM + (4 * frames).to_bytes(4, "little"))
            table = stream.tell()
            stream.write(bytes(4 * frames))
        mosaic = np.zeros((rows, columns), np.dtype(series.dtype)) if self._tiled[number] else None
        return _Output(stream, table, long_table, stream.tell(), after, stored.frames, mosaic, spool)

    def _finish(self, number: int) -> None:
        output = self._open.pop(number)
        try:
            self._complete(output, int(self._index.instances[number].form["frames"]))
        finally:
            if output.spool is not None:
                output.spool.close()

    def _complete(self, output: _Output, frames: int) -> None:
        stream, order = output.stream, sorted(output.pieces)
        if order != list(range(frames)):
            raise IntegrityError(f"{frames} frames of an instance were expected, {len(order)} came")
        lengths = [output.pieces[frame][1] for frame in order]
        if output.spool is not None:
            for frame in order:
                start, length = output.pieces[frame]
                stream.write(_ITEM + length.to_bytes(4, "little"))
                output.spool.seek(start)
                stream.write(output.spool.read(length))
        stream.write(_END + output.after)
        offsets, position = [], 0
        for length in lengths:
            offsets.append(position)
            position += 8 + length
        stream.seek(output.table)
        if output.long_table:
            stream.write(struct.pack(f"<{frames}Q", *offsets))
            stream.seek(12, 1)
            stream.write(struct.pack(f"<{frames}Q", *lengths))
        elif offsets[-1] > _LARGEST_OFFSET:
            raise IntegrityError("the codestreams are larger than their pixels")
        else:
            stream.write(struct.pack(f"<{frames}I", *offsets))


def _in_order(index: FrameIndex) -> list[bool]:
    """For each instance, whether its frames come in its own order."""
    last = [-1] * len(index.instances)
    ordered = [True] * len(index.instances)
    for frame in index.frames:
        ordered[frame.instance] &= frame.number > last[frame.instance]
        last[frame.instance] = frame.number
    return ordered


def _check(rendition: Rendition, stored: StoredInstance) -> None:
    """Refuse what HTJ2K in DICOM cannot hold, or what decoders in use cannot read."""
    form, series = stored.form, rendition.series
    reason = None
    if form["keyword"] != "PixelData":
        reason = "floating-point pixels have no JPEG 2000"
    elif form["bits_allocated"] == 1:
        reason = "1-bit pixels are smaller packed"
    elif form["bits_allocated"] > MOST_BITS:
        reason = f"{form['bits_allocated']}-bit pixels are beyond what decoders of JPEG 2000 take"
    elif series.photometric not in _PHOTOMETRICS.get(series.samples, ()) or (
        form["signed"] and series.photometric not in ("MONOCHROME1", "MONOCHROME2")
    ):
        kind = "signed " if form["signed"] else ""
        reason = f"{kind}{series.photometric} pixels are none of those that JPEG 2000 in DICOM may have"
    if reason is not None:
        raise ExportRefusedError(
            f"this series cannot be written as HTJ2K: {reason}; export with explicit transfer syntax"
        )
