"""PNG, JPEG and JPEG 2000 files."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import imagecodecs
from PIL import Image

from imarium.testing.frames import smooth_frames
from imarium.testing.samples._shared import picture, written


def png_small(folder: Path) -> Iterator[Path]:
    for samples in (1, 2, 3, 4):
        for dtype in ("uint8", "uint16"):
            content = bytes(imagecodecs.png_encode(picture(30, 26, samples, dtype), level=6))
            yield written(folder / f"{samples}-{dtype}.png", content)
    grey = Image.fromarray(picture(30, 26, 1))
    grey.convert("1").save(folder / "bits.png")
    yield folder / "bits.png"
    Image.fromarray(picture(30, 26, 3)).quantize(16).save(folder / "palette.png")
    yield folder / "palette.png"


def png_large(folder: Path) -> Path:
    content = imagecodecs.png_encode(picture(2048, 2048, 2, "uint16"), level=1)
    return written(folder / "large.png", bytes(content))


def png_liars(folder: Path) -> Iterator[Path]:
    content = bytes(imagecodecs.png_encode(picture(30, 26, 1), level=6))
    for name, columns, rows in (("sides", 16384, 16384), ("vast", 1 << 31, 1 << 31), ("one-more", 26, 31)):
        header = b"IHDR" + columns.to_bytes(4, "big") + rows.to_bytes(4, "big") + content[24:29]
        lie = content[:12] + header + zlib.crc32(header).to_bytes(4, "big") + content[33:]
        yield written(folder / f"{name}.png", lie)


def jpeg_small(folder: Path) -> Iterator[Path]:
    for name, samples, options in (
        ("grey", 1, {}),
        ("colour", 3, {}),
        ("progressive", 3, {"progressive": True}),
        ("restarts", 3, {"restart_marker_rows": 1}),
    ):
        path = folder / f"{name}.jpg"
        Image.fromarray(picture(30, 26, samples)).save(path, "JPEG", **options)
        yield path


def jpeg_large(folder: Path) -> Path:
    path = folder / "large.jpg"
    Image.fromarray(picture(2048, 2048, 3)).save(path, "JPEG")
    return path


def jpeg_liars(folder: Path) -> Iterator[Path]:
    path = next(iter(jpeg_small(folder)))
    content = path.read_bytes()
    path.unlink()
    start = content.index(b"\xff\xc0") + 5
    for name, rows, columns in (("sides", 65535, 65535), ("large", 16000, 16000)):
        lie = content[:start] + rows.to_bytes(2, "big") + columns.to_bytes(2, "big") + content[start + 4 :]
        yield written(folder / f"{name}.jpg", lie)


_PALETTE_BOX = b"pclr" + struct.pack(">HB3B", 256, 3, 7, 7, 7) + bytes(range(256)) * 3
_MAPPING_BOX = b"cmap" + b"".join(struct.pack(">HBB", 0, 1, column) for column in range(3))


def _boxed(*boxes: bytes) -> bytes:
    return b"".join(struct.pack(">I", len(box) + 4) + box for box in boxes)


def _indices(codestream: bytes, rows: int, columns: int) -> bytes:
    """A file of indices into a palette (ISO/IEC 15444-1 annex I)."""
    header = b"ihdr" + struct.pack(">IIHBBBB", rows, columns, 1, 7, 7, 0, 0)
    colours = b"colr\1\0\0" + struct.pack(">I", 16)
    inside = _boxed(header, colours, _PALETTE_BOX, _MAPPING_BOX)
    brand = b"ftypjp2 " + bytes(4) + b"jp2 "
    return _boxed(b"jP  \r\n\x87\n", brand, b"jp2h" + inside, b"jp2c" + codestream)


def jpeg2000_small(folder: Path) -> Iterator[Path]:
    """Codestreams and JP2 files, 1 to 4 components, whole and in tiles, with a palette, and of Part 15."""
    for samples in (1, 2, 3, 4):
        for dtype in ("uint8", "uint16"):
            content = imagecodecs.jpeg2k_encode(
                picture(30, 26, samples, dtype), codecformat="jp2", reversible=True, level=0
            )
            yield written(folder / f"{samples}-{dtype}.jp2", bytes(content))
    signed = smooth_frames(1, 50, 40)[0]
    content = imagecodecs.jpeg2k_encode(signed, codecformat="j2k", reversible=True, level=0)
    yield written(folder / "signed.j2k", bytes(content))
    Image.fromarray(picture(50, 40, 3)).save(folder / "tiles.j2k", "JPEG2000", tile_size=(32, 16))
    yield folder / "tiles.j2k"
    content = imagecodecs.jpeg2k_encode(picture(30, 26, 3), codecformat="j2k", level=40)
    yield written(folder / "lossy.j2k", bytes(content))
    content = imagecodecs.jpeg2k_encode(picture(30, 26, 1), codecformat="j2k", reversible=True, level=0)
    yield written(folder / "palette.jp2", _indices(bytes(content), 30, 26))
    for samples in (1, 3):
        content = imagecodecs.htj2k_encode(picture(30, 26, samples, "uint16"), reversible=True)
        yield written(folder / f"{samples}.jhc", bytes(content))


def jpeg2000_large(folder: Path) -> Path:
    """A whole picture."""
    pixels = picture(2048, 2048, 2, "uint8").astype("uint16")
    content = imagecodecs.jpeg2k_encode(pixels, codecformat="jp2", reversible=True, level=0, resolutions=5)
    return written(folder / "large.jp2", bytes(content))


def jpeg2000_liars(folder: Path) -> Iterator[Path]:
    """Other sizes than were encoded, with tiles of the size that was, and with one tile for all of it.

    In one tile that is not much too large nothing tells the blank rest from a picture that is blank there.
    """
    streams = {
        "part1": imagecodecs.jpeg2k_encode(picture(30, 26, 1), codecformat="j2k", reversible=True, level=0),
        "part15": imagecodecs.htj2k_encode(picture(30, 26, 1), reversible=True),
    }
    for part, stream in streams.items():
        content = bytes(stream)
        for name, columns, rows in (
            ("vast", (1 << 32) - 1, (1 << 32) - 1),
            ("large", 16000, 16000),
            ("tall", 26, 31 << 10),
        ):
            size = struct.pack(">II", columns, rows)
            yield written(folder / f"{name}-{part}.j2k", content[:8] + size + content[16:])
            whole = content[:8] + size + content[16:24] + size + content[32:]
            if name == "tall":
                continue
            yield written(folder / f"{name}-{part}-tile.j2k", whole)
