"""Writes PNG: pictures as they are, other series rendered for display or in full depth."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from imarium.errors import ExportRefusedError, InvalidRequestError
from imarium.formats._shared import checked_frames, replacing
from imarium.formats.outgoing import OutFile, Outgoing
from imarium.formats.raster.png import MAGIC, make_chunk
from imarium.formats.rendering import default_window, render_8bit
from imarium.model import Rendition, Series
from imarium.model.series import Frame
from imarium.model.windows import Window, own_window


class PngWriter:
    """Writes PNG: one file for one frame, else a folder of 00001.png, 00002.png and so on.

    Pictures (PNG, with their palette if they have one, and JPEG sources, and TIFF and JPEG 2000 of 8 bits
    that are grey or RGB) are written as they are, 8 or 16 bits. All other sources are rendered to 8 bits for
    display, or, with `full`, written as 16-bit grey that holds the stored values: less their minimum if they
    are signed, which the text chunk `imarium:offset` gives back (stored value = pixel + offset).
    """

    name = "png"

    def __init__(self, window: Window | None = None, full: bool = False) -> None:
        """`window`: center and width in rescaled values (HU for CT); the series' default if None, and
        percentiles 0.5 to 99.5 of the middle frames if it has none."""
        if window is not None and full:
            raise InvalidRequestError("a window and full depth exclude each other: give one of the two")
        self._window = window
        self._full = full

    def write(self, rendition: Rendition, destination: Path) -> list[Path]:
        """Write the frames one at a time; returns the files, in the order of the frames.

        A folder at `destination` may exist; files in it with the names of frames are replaced.

        Raises ExportRefusedError where PNG cannot hold the values, and StorageError if files cannot be
        written.
        """
        series = rendition.series
        targets = [destination] if series.frames == 1 else [destination / name for name in _names(series)]
        for target, encoded in zip(targets, self._encoded(rendition), strict=True):
            with replacing(target) as file:
                file.write(encoded)
        return targets

    def outgoing(self, rendition: Rendition, name: str, scratch: Path) -> Outgoing:  # noqa: ARG002
        """The same files; see `imarium.formats.base.Writer`."""
        series, encoded = rendition.series, self._encoded(rendition)
        if series.frames == 1:
            (content,) = encoded
            return Outgoing(None, iter([OutFile(name, len(content), [content])]))
        files = (
            OutFile(name, len(content), [content])
            for name, content in zip(_names(series), encoded, strict=True)
        )
        return Outgoing("series.zip", files)

    def _encoded(self, rendition: Rendition) -> Iterator[bytes]:
        series = rendition.series
        frames = checked_frames(rendition)
        if _is_picture(series):
            if series.dtype not in ("uint8", "uint16") or not 1 <= series.samples <= 4:
                raise ExportRefusedError(
                    f"PNG cannot hold {series.samples} samples of {series.dtype} a pixel"
                )
            for frame in frames:
                yield encode_png(frame) if series.palette is None else _encode_indices(frame, series)
        elif self._full:
            yield from self._full_depth(rendition, frames)
        else:
            window = self._window
            if window is None and series.samples < 3 and not series.palette:
                window = own_window(series)
                if window is None:
                    middle = _middle(series)
                    window = default_window(rendition.again(middle.start, middle.stop), series, middle)
            for index, frame in enumerate(frames):
                yield encode_png(render_8bit(frame, series, window, index))

    def _full_depth(self, rendition: Rendition, frames: Iterator[Frame]) -> Iterator[bytes]:
        series = rendition.series
        dtype = np.dtype(series.dtype)
        if dtype.kind not in "iu" or series.samples != 1:
            kind = series.dtype if series.samples == 1 else f"{series.samples} x {series.dtype}"
            raise ExportRefusedError(f"16-bit grey PNG cannot hold {kind} values exactly; ask for npy")
        if dtype.kind == "u" and dtype.itemsize <= 2:
            for frame in frames:
                yield encode_png(frame.astype(np.uint16))
            return
        low, high = np.iinfo(dtype).max, np.iinfo(dtype).min
        for frame in rendition.again(0, series.frames):
            low, high = min(low, int(frame.min())), max(high, int(frame.max()))
        if dtype.kind == "u" and high <= 65535:
            low = 0
        if high - low > 65535:
            raise ExportRefusedError(
                f"the stored values reach from {low} to {high}; 16-bit PNG holds 65536 of them; ask for npy"
            )
        wide = np.uint64 if dtype.kind == "u" else np.int64
        for frame in frames:
            shifted = (frame.astype(wide) - wide(low)).astype(np.uint16)
            yield encode_png(shifted, {"imarium:offset": str(low)})


def _names(series: Series) -> list[str]:
    """The files of several frames."""
    digits = max(5, len(str(series.frames)))
    return [f"{number:0{digits}}.png" for number in range(1, series.frames + 1)]


def _middle(series: Series) -> range:
    return range(max(0, series.frames // 2 - 2), min(series.frames, series.frames // 2 + 3))


def _encode_indices(frame: Frame, series: Series) -> bytes:
    """A PNG file of palette indices, (rows, columns) of uint8, as deep as the source's was."""
    palette = series.palette or ()
    depth = series.bits_stored if series.bits_stored in (1, 2, 4, 8) else 8
    if frame.dtype != np.uint8 or not 1 <= len(palette) <= 1 << depth:
        raise ExportRefusedError(f"PNG has palettes of up to 256 colours, not {len(palette)}")
    packed: NDArray[np.uint8] = frame
    if depth < 8:
        bits = np.unpackbits(frame[..., None], axis=-1)[..., 8 - depth :]
        packed = np.packbits(bits.reshape(frame.shape[0], -1), axis=1)
    lines = np.zeros((packed.shape[0], packed.shape[1] + 1), np.uint8)  # each line starts with filter 0
    lines[:, 1:] = packed
    header = struct.pack(">IIBBBBB", frame.shape[1], frame.shape[0], depth, 3, 0, 0, 0)
    chunks = (
        (b"IHDR", header),
        (b"PLTE", bytes(value for colour in palette for value in colour)),
        (b"IDAT", zlib.compress(lines.tobytes(), 6)),
        (b"IEND", b""),
    )
    return MAGIC + b"".join(make_chunk(kind, body) for kind, body in chunks)


def _is_picture(series: Series) -> bool:
    """Whether the stored values are what a screen shows: nothing is to be windowed, inverted or looked up."""
    if series.format in ("png", "jpeg"):
        return True
    plain = series.photometric in ("MONOCHROME2", "RGB") and not series.label_map and series.palette is None
    return (
        series.format in ("tiff", "jpeg2000") and plain and (series.dtype, series.bits_stored) == ("uint8", 8)
    )


def encode_png(frame: Frame, text: dict[str, str] | None = None) -> bytes:
    """A PNG file of (rows, columns) or (rows, columns, samples), uint8 or uint16, 1 to 4 samples.

    `text` goes into tEXt chunks (ISO/IEC 15948 11.3.4.3), in Latin-1.
    """
    encoded = bytes(imagecodecs.png_encode(np.ascontiguousarray(frame), level=6))
    chunks = b"".join(
        make_chunk(b"tEXt", key.encode("latin-1") + b"\0" + value.encode("latin-1"))
        for key, value in (text or {}).items()
    )
    return encoded[:33] + chunks + encoded[33:]
