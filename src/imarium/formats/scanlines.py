"""PNG's packed pixel data, checked before libpng sees them (ISO/IEC 15948 clauses 7 to 10).

libpng leaves its callers by a long jump when data are damaged, and imagecodecs (2026.3) then loses the whole
frame's memory: a few damaged files would exhaust a server. It also lets pixel data pass whose checksum does
not match. So whatever makes it fail is looked for here first: damaged or short deflate data, checksums, and
filter types that do not exist.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

import numpy as np

from imarium.errors import CorruptFileError

_CHUNK = 1 << 18
"""Unpacked bytes looked at together: they stay in the processor's cache."""
_MOST_FILTER = 4
_SPARE = 64 << 10
"""Most bytes that may follow the last line; libpng does not look at them."""

# Adam7 (8.2): first column, first row, steps across and down of each pass.
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def check_scan_lines(
    packed: Iterable[bytes | memoryview], rows: int, columns: int, pixel_bits: int, *, interlaced: bool
) -> None:
    """Unpack the contents of all IDAT chunks, piecewise, and look at what libpng would fail on.

    Raises CorruptFileError.
    """
    images = _images(rows, columns, pixel_bits, interlaced)
    expected = sum(count * size for count, size in images)
    filters = _Filters(images)
    total = 0
    try:
        for piece in _unpacked(packed):
            total += len(piece)
            if total > expected + _SPARE:
                raise CorruptFileError(
                    f"the PNG data hold more than the {expected} bytes that the header promises"
                )
            filters.look_at(piece)
    except zlib.error as error:
        raise CorruptFileError("the PNG data are damaged: they cannot be unpacked") from error
    if total < expected:
        raise CorruptFileError(
            f"the PNG data are truncated: they hold {total} of the {expected} bytes that the header promises"
        )


def _unpacked(packed: Iterable[bytes | memoryview]) -> Iterator[bytes]:
    engine = zlib.decompressobj()
    for data in packed:
        left: bytes | memoryview = data
        while left and not engine.eof:
            piece = engine.decompress(left, _CHUNK)
            left = engine.unconsumed_tail
            if piece:
                yield piece
    while not engine.eof and (piece := engine.decompress(b"", _CHUNK)):
        yield piece
    if not engine.eof:
        raise CorruptFileError("the PNG data are truncated: they end before their checksum")


def _images(rows: int, columns: int, pixel_bits: int, interlaced: bool) -> list[tuple[int, int]]:
    """(lines, bytes a line with its filter type) of the image, or of each pass that has pixels."""
    passes = _PASSES if interlaced else ((0, 0, 1, 1),)
    sizes = [(-(-(rows - top) // down), -(-(columns - left) // across)) for left, top, across, down in passes]
    return [(down, 1 + -(-across * pixel_bits // 8)) for down, across in sizes if down > 0 and across > 0]


class _Filters:
    """Follows pieces of unpacked data from line to line."""

    def __init__(self, images: list[tuple[int, int]]) -> None:
        self._images = images
        self._image = 0
        self._done = 0
        """Bytes of the image at hand that were seen."""

    def look_at(self, piece: bytes) -> None:
        """Raises CorruptFileError if a line that begins in this piece has a filter type of no meaning."""
        values = np.frombuffer(piece, np.uint8)
        while values.size and self._image < len(self._images):
            lines, size = self._images[self._image]
            here = values[: lines * size - self._done]
            types = here[-self._done % size :: size]
            if types.size and types.max() > _MOST_FILTER:
                raise CorruptFileError(
                    f"a line of the PNG data has filter type {types.max()}; PNG defines 0 to {_MOST_FILTER}"
                )
            self._done += here.size
            values = values[here.size :]
            if self._done == lines * size:
                self._image, self._done = self._image + 1, 0
