"""TIFF files."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from imarium.testing.frames import smooth_frames
from imarium.testing.samples._shared import picture, written

_WIDTH, _LENGTH, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_OFFSETS, _STRIP_ROWS, _COUNTS = 273, 278, 279


def _tiff(pixels: NDArray[Any], **options: Any) -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, pixels, **({"metadata": None} | options))
    return out.getvalue()


def small(folder: Path) -> Iterator[Path]:
    """Strips and tiles of every compression and kind of number; stacks as tifffile, ImageJ and OME have
    them; and files of several series."""
    values = smooth_frames(3, 40, 48)
    grey: dict[str, Any] = {"photometric": "minisblack"}
    yield written(folder / "plain.tif", _tiff(values, **grey))
    files = {
        "big-endian": _tiff(
            (values / 7).astype(np.float32), byteorder=">", compression="zlib", predictor=3, **grey
        ),
        "bigtiff": _tiff(values.astype(np.float64), bigtiff=True, rowsperstrip=7, **grey),
        "lzw": _tiff(values, compression="lzw", predictor=2, **grey),
        "packbits": _tiff(picture(40, 48, 4, "uint16"), compression="packbits", photometric="rgb"),
        "zstd": _tiff(values.astype(np.uint16), tile=(16, 32), compression="zstd", **grey),
        "planar": _tiff(np.moveaxis(picture(40, 48, 3), -1, 0), photometric="rgb", planarconfig="separate"),
        "jpeg": _tiff(picture(40, 48, 3), photometric="rgb", tile=(32, 32), compression="jpeg"),
        "jpeg2000": _tiff(picture(40, 48, 3), photometric="rgb", tile=(32, 32), compression="jpeg2000"),
        "webp": _tiff(picture(40, 48, 3), photometric="rgb", tile=(32, 32), compression="webp"),
        "lerc": _tiff(values.astype(np.float32), compression="lerc", **grey),
        "lerc-packed": _tiff(
            values, tile=(16, 32), compression="lerc", compressionargs={"compression": "zstd"}, **grey
        ),
        "lzma": _tiff(values, compression="lzma", predictor=2, **grey),
        "inks": _tiff(picture(40, 48, 4), photometric="separated", compression="zlib"),
        "imagej": _tiff(values, imagej=True, metadata={"axes": "ZYX", "spacing": 2.0, "unit": "um"}),
        "imagej-one": _tiff(values, imagej=True, truncate=True, metadata={"axes": "TYX"}),
        "shaped": _tiff(values, metadata={}, **grey),
        "shaped-one": _tiff(values, metadata={}, truncate=True, **grey),
        "ome": _tiff(values, ome=True, metadata={"axes": "CYX"}, **grey),
    }
    for name, content in files.items():
        yield written(folder / f"{name}.tif", content)
    yield written(folder / "several.tif", _several(values))
    one = Image.fromarray(picture(40, 48, 1))
    for name, image, options in (
        ("fax", one.convert("1"), {"compression": "group4"}),
        ("palette", one.convert("RGB").quantize(16), {}),
        ("alpha", one.convert("LA"), {"compression": "tiff_deflate"}),
    ):
        path = folder / f"{name}.tif"
        image.save(path, "TIFF", **options)
        yield path


def _several(values: NDArray[Any]) -> bytes:
    """A stack with a smaller version inside its first page, and a picture in colour."""
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as file:
        common: dict[str, Any] = {"metadata": None, "photometric": "minisblack"}
        file.write(values[0], subifds=1, **common)
        file.write(values[0, ::2, ::2], subfiletype=1, **common)
        for page in values[1:]:
            file.write(page, **common)
        file.write(picture(20, 24, 3), photometric="rgb", metadata=None, compression="zlib")
    return out.getvalue()


def _fax(pixels: NDArray[Any]) -> bytes:
    """The only strip of a page in fax group 4."""
    out = io.BytesIO()
    Image.fromarray(pixels).convert("1").save(out, "TIFF", compression="group4")
    content = out.getvalue()
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        page = file.series[0].keyframe
        (offset,), (count,) = page.dataoffsets, page.databytecounts
    return content[offset : offset + count]


def large(folder: Path) -> Path:
    """Pages of strips."""
    values = np.tile(smooth_frames(4, 512, 512), (8, 1, 1))
    content = _tiff(values, compression="zlib", photometric="minisblack", compressionargs={"level": 1})
    return written(folder / "large.tif", content)


def _page(columns: int, rows: int, data: bytes, compression: int, bits: int = 8, strips: int = 1) -> bytes:
    """One page of grey whose strips are all the same bytes."""
    start = 8 + len(data) + len(data) % 2
    counted = 8 if strips > 1 else 0
    tables = start + 2 + 12 * 8 + 4
    entries = [
        (_WIDTH, columns),
        (_LENGTH, rows),
        (_BITS, bits),
        (_COMPRESSION, compression),
        (_PHOTOMETRIC, 1),
        (_OFFSETS, tables if counted else 8),
        (_STRIP_ROWS, -(-rows // strips)),
        (_COUNTS, tables + 4 * strips if counted else len(data)),
    ]
    packed = b"".join(
        struct.pack("<HHII", code, 4, strips if code in (_OFFSETS, _COUNTS) else 1, value)
        for code, value in entries
    )
    body = data.ljust(start - 8, b"\0") + struct.pack("<H", len(entries)) + packed + bytes(4)
    if counted:
        body += struct.pack(f"<{strips}I", *[8] * strips) + struct.pack(f"<{strips}I", *[len(data)] * strips)
    return b"II*\0" + struct.pack("<I", start) + body


def liars(folder: Path) -> Iterator[Path]:
    """Sides beyond the pixels, in every compression, and many strips that are all the same one."""
    pixels = picture(40, 48, 1)
    streams: dict[int, tuple[bytes, int]] = {
        1: (pixels.tobytes(), 8),
        4: (_fax(pixels), 1),
        5: (bytes(imagecodecs.lzw_encode(pixels.tobytes())), 8),
        7: (bytes(imagecodecs.jpeg8_encode(pixels)), 8),
        8: (bytes(imagecodecs.zlib_encode(pixels.tobytes())), 8),
        32773: (bytes(imagecodecs.packbits_encode(pixels.tobytes())), 8),
        33005: (bytes(imagecodecs.jpeg2k_encode(pixels, codecformat="j2k", reversible=True, level=0)), 8),
        34887: (bytes(imagecodecs.lerc_encode(pixels)), 8),
        34925: (bytes(imagecodecs.lzma_encode(pixels.tobytes())), 8),
        50000: (bytes(imagecodecs.zstd_encode(pixels.tobytes())), 8),
    }
    for compression, (data, bits) in streams.items():
        for name, columns, rows, strips in (
            ("vast", 1 << 31, 1 << 31, 1),
            ("large", 16000, 16000, 1),
            ("strips", 16000, 16000, 4000),
            ("tall", 48, 41 << 10, 1),
        ):
            if compression == 4 and name == "strips":
                continue  # a few rows of fax can be any number of bits
            content = _page(columns, rows, data, compression, bits, strips)
            yield written(folder / f"{name}-{compression}.tif", content)
    yield written(folder / "more.tif", _page(48, 41, pixels.tobytes(), 1))
