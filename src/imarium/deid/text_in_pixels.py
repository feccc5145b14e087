"""A pixel cleaner for text, made of a function that finds it and one that paints it over.

It reads the frames of one DICOM file, asks for boxes, and hands back what the copy holds instead. Which
functions they are is for the caller to say: `imarium.deid.pixels` has them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imarium.deid.identity import Identity
from imarium.deid.pixel_source import PixelOutcome
from imarium.deid.policy import Faces, PixelText, Policy
from imarium.errors import QuarantineError
from imarium.formats.base import ReadContext, Refusal
from imarium.formats.dicom.header import Header
from imarium.formats.dicom.reader import DicomReader
from imarium.model import Series, SourceSeries
from imarium.model.series import Frame
from imarium.settings import Limits

Find = Callable[[Iterable[Frame], Series], Sequence[Any]]
"""Frames of stored values, one at a time, and what they are, to boxes with text."""

Blank = Callable[[Iterable[Frame], Sequence[Any], Series], Iterable[Frame]]
"""The same frames and those boxes to frames in which the boxes are blank."""

_UNREAD = "text was found in the pixels; look at it, then blank it or let it pass"


@dataclass(frozen=True, slots=True)
class TextInPixels:
    """A `PixelCleaner`. Both functions have to be importable by name, since they go to other processes."""

    find: Find
    blank: Blank
    limits: Limits = Limits()  # noqa: RUF009 - frozen

    def __call__(self, path: Path, header: Header, policy: Policy, identity: Identity) -> PixelOutcome:  # noqa: ARG002
        """Find text, and paint it over if the policy says so.

        Raises QuarantineError for pixels that cannot be looked at or written again, and for a policy that
        asks for faces to be removed, which takes a whole series.
        """
        if policy.pixels.faces is not Faces.KEEP:
            raise QuarantineError("faces are removed from whole series, not from single files")
        if policy.pixels.text is PixelText.OFF:
            return PixelOutcome()
        with tempfile.TemporaryDirectory() as scratch:
            source = self._source(path, Path(scratch))
            boxes = self.find(source.read_frames(), source.series)
            if not boxes:
                return PixelOutcome(text_looked_for=True)
            if policy.pixels.text is PixelText.FIND:
                return PixelOutcome(text_looked_for=True, text_found=len(boxes), review=(_UNREAD,))
            _check(header, source.series)
            frames = self.blank(source.read_frames(), boxes, source.series)
            value = b"".join(_bytes(frames, source.series))
        return PixelOutcome(value, True, len(boxes), True, description=_description(source.series))

    def _source(self, path: Path, scratch: Path) -> SourceSeries:
        sources = list(DicomReader().read([path], ReadContext(self.limits, scratch)))
        if len(sources) != 1 or isinstance(sources[0], Refusal):
            reason = (
                str(sources[0].error) if sources and isinstance(sources[0], Refusal) else "several series"
            )
            raise QuarantineError(f"the pixels cannot be searched: {reason}")
        return sources[0]


def _check(header: Header, series: Series) -> None:
    """Whether frames as they are read can be written as the pixel data of the file."""
    dataset = header.dataset
    size = np.dtype(series.dtype).itemsize * 8
    same = (
        header.pixel is not None
        and header.pixel.keyword == "PixelData"
        and header.little_endian
        and int(dataset.get("BitsAllocated") or 0) == size
        and int(dataset.get("NumberOfFrames") or 1) == series.frames
        and (int(dataset.Rows), int(dataset.Columns)) == (series.rows, series.columns)
    )
    if not same:
        raise QuarantineError("text was found in pixels of a layout that cannot be written again")


def _bytes(frames: Iterable[Frame], series: Series) -> Iterator[bytes]:
    dtype = np.dtype(series.dtype).newbyteorder("<")
    for frame in frames:
        yield np.ascontiguousarray(frame, dtype).tobytes()


def _description(series: Series) -> dict[str, object]:
    """What the Image Pixel module says of decoded frames (PS3.3 C.7.6.3)."""
    photometric = "YBR_FULL" if series.photometric == "YBR_FULL_422" else series.photometric
    said: dict[str, object] = {"PhotometricInterpretation": photometric}
    if series.samples > 1:
        said |= {"SamplesPerPixel": series.samples, "PlanarConfiguration": 0}
    return said
