"""Siemens mosaics: the slices of a volume as tiles of one large image.

The number of slices and their normal stand in the vendor's CSA header (0029,xx10), the number also in
(0019,xx0A). Tiles run from left to right and from top to bottom, in a square grid that is just large
enough. Image Position (Patient) is that of the large image as if it were one slice centred like the others,
so the first tile's own position lies half the difference of the sizes further in.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from imarium.formats.dicom import values

Vector = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Mosaic:
    """How a mosaic is cut."""

    tiles: int
    grid: int
    """Tiles in a row, and rows of tiles."""
    normal: Vector | None
    """Direction of the next slice (LPS), from the CSA header."""

    def cut(self, image: NDArray[Any], index: int) -> NDArray[Any]:
        """Tile `index` (0 is the first slice) of a mosaic (rows, columns), contiguous."""
        rows, columns = image.shape[0] // self.grid, image.shape[1] // self.grid
        top, left = index // self.grid * rows, index % self.grid * columns
        return np.ascontiguousarray(image[top : top + rows, left : left + columns])

    def paste(self, image: NDArray[Any], index: int, tile: NDArray[Any]) -> None:
        """The inverse of `cut`."""
        rows, columns = tile.shape[:2]
        top, left = index // self.grid * rows, index % self.grid * columns
        image[top : top + rows, left : left + columns] = tile


def find_mosaic(dataset: Dataset, rows: int, columns: int) -> Mosaic | None:
    """The mosaic that a dataset holds; None if it is an ordinary image, or does not say how many tiles."""
    if "MOSAIC" not in values.texts(dataset, "ImageType"):
        return None
    csa = csa_values(dataset)
    count = _integer(csa.get("NumberOfImagesInMosaic", ())) or _private_count(dataset)
    if not count or count < 1:
        return None
    grid = math.isqrt(count - 1) + 1
    if rows % grid or columns % grid:
        return None
    normal = csa.get("SliceNormalVector", ())
    return Mosaic(count, grid, _vector(normal))


def _private_count(dataset: Dataset) -> int | None:
    try:
        value = dataset.private_block(0x0019, "SIEMENS MR HEADER")[0x0A].value
        return int(value if not isinstance(value, bytes) else struct.unpack("<H", value[:2])[0])
    except Exception:
        return None


def csa_values(dataset: Dataset) -> dict[str, tuple[str, ...]]:
    """The CSA Image Header Info's elements as text; empty if there is none or it cannot be parsed."""
    try:
        data = dataset.private_block(0x0029, "SIEMENS CSA HEADER")[0x10].value
    except Exception:
        data = values.get(dataset, (0x0029, 0x1010))
    if not isinstance(data, bytes):
        return {}
    try:
        return _parse_csa(data)
    except (struct.error, IndexError, ValueError):
        return {}


def _parse_csa(data: bytes) -> dict[str, tuple[str, ...]]:
    newer = data[:4] == b"SV10"
    position = 8 if newer else 0
    (count,) = struct.unpack_from("<I", data, position)
    if count > 1024:
        raise ValueError("too many elements for a CSA header")
    position += 8
    found: dict[str, tuple[str, ...]] = {}
    first_items: int | None = None
    for _ in range(count):
        name, _vm, _vr, _type, entries, _mark = struct.unpack_from("<64si4siii", data, position)
        position += 84
        first_items = entries if first_items is None else first_items
        kept = []
        for _ in range(entries):
            lengths = struct.unpack_from("<4i", data, position)
            position += 16
            length = lengths[1] if newer else lengths[0] - first_items
            if length < 0 or position + length > len(data):
                raise ValueError("an item of the CSA header is cut off")
            text = data[position : position + length].split(b"\0")[0].decode("latin-1").strip()
            if text:
                kept.append(text)
            position += -(-length // 4) * 4
        found[name.split(b"\0")[0].decode("latin-1")] = tuple(kept)
    return found


def _integer(found: tuple[str, ...]) -> int | None:
    try:
        return int(found[0])
    except (IndexError, ValueError):
        return None


def _vector(found: tuple[str, ...]) -> Vector | None:
    try:
        x, y, z = (float(item) for item in found)
    except ValueError:
        return None
    length = math.sqrt(x * x + y * y + z * z)
    return (x / length, y / length, z / length) if 0.5 < length < 2 else None
