"""Where the pixel data of a de-identified copy come from: the source's bytes, or a pixel cleaner."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

import imarium.formats.dicom.guard  # isort: skip  # noqa: F401 - before anything that imports pydicom

from pydicom.dataset import Dataset

from imarium.deid.codestreams import HEAD_BYTES, blanked
from imarium.deid.identity import Identity, first_text
from imarium.deid.policy import Policy
from imarium.errors import CorruptFileError, UnsupportedFileError
from imarium.formats.dicom.header import Header
from imarium.formats.dicom.pixels import fragments_of
from imarium.settings import Limits

_CHUNK = 1 << 20


@dataclass(slots=True)
class PixelOutcome:
    """What a pixel cleaner did to one object."""

    pixels: bytes | None = None
    """New value of Pixel Data, native and little endian, of the same shape and type; None: as they were."""
    text_looked_for: bool = False
    text_found: int = 0
    """Places with text."""
    text_blanked: bool = False
    faces_removed: bool = False
    description: dict[str, object] = field(default_factory=dict)
    """Keywords of the Image Pixel module to what they say of new pixels."""
    review: tuple[str, ...] = ()
    """Why somebody has to look at the object before it is released; empty if nobody has to."""


class PixelCleaner(Protocol):
    """Looks for text and faces in the pixels of a file, and takes them out as `policy.pixels` says."""

    def __call__(self, path: Path, header: Header, policy: Policy, identity: Identity) -> PixelOutcome:
        """Raises ImariumError for pixels that cannot be looked at."""


def overlay_bits(dataset: Dataset) -> bool:
    """Whether an overlay lies in bits of the pixel data (retired; PS3.5 8.1.2)."""
    for group in range(0x6000, 0x6020, 2):
        tag = group << 16 | 0x0100
        if tag in dataset and first_text(dataset, tag) not in ("", "1"):
            return True
    return False


@dataclass(slots=True)
class PixelSource:
    """Where the pixel data of the copy come from."""

    path: Path
    header: Header
    stream: BinaryIO
    outcome: PixelOutcome
    overlay_bits: bool
    limits: Limits
    start: int = 0
    end: int = 0
    inflated: bytes = b""
    scrub: list[tuple[int, bytes]] = field(default_factory=list)
    """(position, bytes to put there): heads of codestreams that held comments."""
    mask: tuple[int, int] | None = None
    """(bytes of a value, mask) for bits that hold an overlay."""
    length: int | None = None
    """Bytes of the value where it is cut to what the frames need."""

    def __post_init__(self) -> None:
        pixel = self.header.pixel
        if pixel is None or self.replaced:
            return
        self.start = pixel.start
        if pixel.length is None:
            _, fragments, self.end = fragments_of(self.stream, pixel.value, self.header.size)
            for position, length in fragments:
                self.stream.seek(position)
                head = self.stream.read(min(length, HEAD_BYTES))
                clean = blanked(head)
                if clean is not None:
                    self.scrub.append((position, clean))
            if self.overlay_bits:
                raise UnsupportedFileError("an overlay lies inside compressed pixel data")
        else:
            needed = _needed(self.header.dataset)
            self.length = min(pixel.length, needed) if needed else pixel.length
            self.end = pixel.value + self.length
            if not self.header.deflated and pixel.value + pixel.length > self.header.size:
                raise CorruptFileError("the pixel data are cut off")
            if self.overlay_bits:
                self.mask = _stored_mask(self.header.dataset)
        if self.header.deflated:
            self.stream.limit = self.end + self.limits.header_bytes  # type: ignore[attr-defined]
            self.stream.seek(self.start)
            self.inflated = self.stream.read(self.end - self.start)

    @property
    def replaced(self) -> bool:
        """Whether the pixels are new."""
        return self.outcome.pixels is not None


def _needed(dataset: Dataset) -> int | None:
    """Bytes that native frames take, made even; None if the image module does not say."""
    try:
        rows, columns = int(dataset.Rows), int(dataset.Columns)
        samples, bits = int(dataset.get("SamplesPerPixel") or 1), int(dataset.BitsAllocated)
        frames = int(dataset.get("NumberOfFrames") or 1)
        photometric = str(dataset.get("PhotometricInterpretation") or "")
    except Exception:
        return None
    per_pixel = 2 if photometric in ("YBR_FULL_422", "YBR_PARTIAL_422") else samples
    if min(rows, columns, samples, bits, frames) < 1:
        return None
    size = (rows * columns * per_pixel * bits * frames + 7) // 8
    return size + size % 2


def _stored_mask(dataset: Dataset) -> tuple[int, int]:
    allocated, stored = int(dataset.BitsAllocated), int(dataset.BitsStored)
    high = int(dataset.get("HighBit") or stored - 1)
    if allocated not in (8, 16, 32) or not stored <= high + 1 <= allocated:
        raise UnsupportedFileError("an overlay lies in pixels of an unusual layout")
    return allocated // 8, ((1 << stored) - 1) << (high + 1 - stored)


def pieces(head: bytes, pixels: PixelSource) -> Iterator[bytes]:
    yield head
    pixel = pixels.header.pixel
    if pixel is None:
        return
    if pixels.outcome.pixels is not None:
        value = pixels.outcome.pixels
        yield _native_head(pixels.header.dataset, len(value) + len(value) % 2)
        yield value + b"\0" * (len(value) % 2)
        return
    if pixels.inflated:
        source: BinaryIO = io.BytesIO(pixels.inflated)
        offset = pixels.start
    else:
        source, offset = pixels.path.open("rb"), 0
    with source:
        source.seek(pixels.start - offset)
        lead = source.read(pixel.value - pixels.start)
        if pixels.length is not None and pixels.length != pixel.length:
            order = "<" if pixels.header.little_endian else ">"
            lead = lead[:-4] + struct.pack(f"{order}I", pixels.length)
        yield lead
        yield from _value(source, pixel.value, offset, pixels)


def _value(source: BinaryIO, start: int, offset: int, pixels: PixelSource) -> Iterator[bytes]:
    position = start
    scrub = iter(sorted(pixels.scrub))
    following = next(scrub, None)
    while position < pixels.end:
        source.seek(position - offset)
        stop = min(pixels.end, position + _CHUNK)
        if following is not None:
            if position == following[0]:
                yield following[1]
                position += len(following[1])
                following = next(scrub, None)
                continue
            stop = min(stop, following[0])
        piece = source.read(stop - position)
        if len(piece) != stop - position:
            raise CorruptFileError("the pixel data are cut off")
        position = stop
        yield _masked(piece, pixels) if pixels.mask else piece


def _masked(piece: bytes, pixels: PixelSource) -> bytes:
    if pixels.mask is None:
        return piece
    size, mask = pixels.mask
    order = "<" if pixels.header.little_endian else ">"
    whole = len(piece) // size * size
    values = np.frombuffer(piece[:whole], f"{order}u{size}")
    kept: bytes = (values & values.dtype.type(mask)).astype(values.dtype).tobytes()
    return kept + bytes(len(piece) - whole)


def _native_head(dataset: Dataset, length: int) -> bytes:
    bits = int(dataset.get("BitsAllocated") or 8)
    vr = b"OB" if bits <= 8 else b"OW"
    return struct.pack("<HH2sHI", 0x7FE0, 0x0010, vr, 0, length)
