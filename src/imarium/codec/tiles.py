"""Strips or tiles of a frame, each a codestream of its own: how the source lane holds them (Codec.TILES).

A page of a TIFF or slide may be thousands of small JPEGs with tables in common. They are kept byte for byte,
in one run of bytes with a table of their places. docs/design/pack-format.md defines it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imarium.codec import decoders
from imarium.codec.decoders import NAMES, Codec

_HEAD = struct.Struct("<BBHIII")
"""Codec of the tiles, 1 if every sample has tiles of its own, zeros, rows and columns of a tile, bytes of the
tables that all tiles share."""
_PLACE = np.dtype("<u4")
MOST_TILES = 1 << 20
_SPARE_PIXELS = 1 << 24
"""Pixels that all tiles may cover together on top of four times the frame's: they go beyond its edges."""

Where = tuple[slice, slice, slice]
"""Rows, columns and samples of a frame."""


@dataclass(frozen=True, slots=True)
class Tiling:
    """How a frame is cut into tiles. A strip is a tile as wide as the frame."""

    codec: str
    """Of each tile: jpeg, jpeg2000, htj2k or webp."""
    rows: int
    columns: int
    """Of a tile; the last ones may be smaller or reach beyond the frame."""
    apart: bool = False
    """Whether every sample has tiles of its own, all those of the first before those of the second."""
    tables: bytes = b""
    """Tables that JPEGs have in common."""


def pack(tiling: Tiling, tiles: Sequence[bytes]) -> bytes:
    """The tiles (left to right, then top to bottom) as one codestream; equal ones are held once."""
    places: dict[bytes, int] = {}
    size = 0
    for tile in tiles:
        if tile not in places:
            places[tile] = size
            size += len(tile)
    if size >= 1 << 32:
        raise ValueError("the tiles of a frame have more than 4 GiB")
    table = np.array([(places[tile], len(tile)) for tile in tiles], _PLACE)
    codec = NAMES[tiling.codec]
    head = _HEAD.pack(codec, tiling.apart, 0, tiling.rows, tiling.columns, len(tiling.tables))
    return b"".join([head, tiling.tables, table.tobytes(), *places])


@dataclass(frozen=True, slots=True)
class _Tiles:
    """What a packed frame holds, held against the frame's shape."""

    codec: Codec
    apart: bool
    sides: tuple[int, int]
    tables: bytes
    places: NDArray[np.uint32]
    content: memoryview
    shape: tuple[int, int, int]

    def decoded(self, variant: int) -> Iterator[tuple[Where, NDArray[Any]]]:
        """Every tile: which part of the frame it is, and its (rows, columns, samples)."""
        rows, columns, samples = self.shape
        height, width = self.sides
        across, down = -(-columns // width), -(-rows // height)
        for number, (start, size) in enumerate(self.places.tolist()):
            plane, cell = divmod(number, across * down)
            top, left = cell // across * height, cell % across * width
            bottom, right = min(rows, top + height), min(columns, left + width)
            data = bytes(self.content[start : start + size])
            least = bottom - top, right - left
            decoded = decoders.decode(self.codec, variant, data, least, self.sides, self.tables)
            each = slice(plane, plane + 1) if self.apart else slice(None)
            values = decoded.reshape(*decoded.shape[:2], -1)[: least[0], : least[1]]
            if values.shape[2] != (1 if self.apart else samples):
                raise ValueError(f"a tile decodes to {values.shape[2]} samples a pixel")
            yield (slice(top, bottom), slice(left, right), each), values


def _unpacked(data: bytes, shape: tuple[int, ...]) -> _Tiles:
    """Raises ValueError for tiles that do not fit the frame, or are beyond the bounds."""
    rows, columns, samples = (*shape, 1)[:3]
    if len(data) < _HEAD.size:
        raise ValueError("the tiles of a frame have no header")
    number, apart, zeros, height, width, table_bytes = _HEAD.unpack_from(data)
    codec = Codec(number)
    if codec is Codec.TILES or apart > 1 or zeros:
        raise ValueError("the header of the tiles of a frame is damaged")
    if not height or not width:
        raise ValueError("the tiles of a frame have no size")
    count = -(-rows // height) * -(-columns // width) * (samples if apart else 1)
    if count > MOST_TILES or count * height * width > 4 * rows * columns * samples + _SPARE_PIXELS:
        raise ValueError(f"{count} tiles of {height} x {width} are too many or too large for their frame")
    start = _HEAD.size + table_bytes
    stop = start + 2 * count * _PLACE.itemsize
    if stop > len(data):
        raise ValueError("the tiles of a frame end within their table")
    places = np.frombuffer(data, _PLACE, 2 * count, start).reshape(count, 2)
    if int(places.sum(axis=1, dtype=np.uint64).max()) > len(data) - stop:
        raise ValueError("tiles of a frame lie beyond its end")
    tables = data[_HEAD.size : start]
    return _Tiles(
        codec, bool(apart), (height, width), tables, places, memoryview(data)[stop:], (rows, columns, samples)
    )


def variant_of(data: bytes, frame: NDArray[Any]) -> int | None:
    """The variant in which the tiles decode to exactly this frame; None if in none. Stops at a difference."""
    try:
        tiles = _unpacked(data, frame.shape)
    except decoders.FAILURES:
        return None
    values = frame.reshape(tiles.shape)
    for variant in decoders.variants(tiles.codec):
        try:
            if all(_equal(values[where], tile) for where, tile in tiles.decoded(variant)):
                return variant
        except decoders.FAILURES:
            continue
    return None


def _equal(one: NDArray[Any], other: NDArray[Any]) -> bool:
    return one.dtype == other.dtype and np.array_equal(one, other)


def decode(variant: int, data: bytes, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The frame. Raises one of `decoders.FAILURES` for anything that does not fit it."""
    tiles = _unpacked(data, shape)
    frame: NDArray[Any] | None = None
    for where, tile in tiles.decoded(variant):
        if tile.dtype != dtype:
            raise ValueError(f"a tile decodes to {tile.dtype} where {dtype} was expected")
        if frame is None:  # no memory for a frame of which not even the first tile can be decoded
            frame = np.empty(tiles.shape, dtype)
        frame[where] = tile
    assert frame is not None  # a frame has a tile at least
    return frame.reshape(shape)
