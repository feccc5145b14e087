"""Decodes the strips and tiles of TIFF pages.

tifffile undoes compression, predictors and packing. It never sees the file: it is shown a page with nothing
but the tags that were checked, and gets the bytes of one strip or tile at a time.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any, BinaryIO, Literal

import numpy as np
import tifffile
from numpy.typing import NDArray

from imarium.codec import tiles
from imarium.errors import CorruptFileError, ImariumError, LimitExceededError, UnsupportedFileError
from imarium.formats.jpeg2000 import inspect_codestream
from imarium.formats.tiff import codestreams
from imarium.formats.tiff.directories import Directories
from imarium.formats.tiff.layout import COMPRESSIONS, FAX, JPEG, KEPT, LZMA, Layout, Page
from imarium.model import SourceCodestream
from imarium.model.series import Frame
from imarium.settings import Limits

_SPARE = 1 << 16
"""Bytes that a compressed strip or tile may have on top of twice its pixels."""
_EXPANSIONS = {1: 1, 5: 2731, 8: 1032, 32946: 1032, 32773: 64, JPEG: 64 * 8 * 3, 50000: 1 << 15}
"""Most bytes that a byte of a compression stands for (Zstandard: a block of 128 KiB in 4 bytes, RFC 8878
3.1.1.2); those of the others are not bounded."""

Decode = Callable[..., tuple[NDArray[Any] | None, tuple[int, ...], tuple[int, ...]]]


class PageDecoder:
    """Decodes pages of one file; decoders of layouts are made once."""

    def __init__(self, stream: BinaryIO, size: int, limits: Limits) -> None:
        self._stream, self.size, self.limits = stream, size, limits
        self.directories = Directories(stream, size, limits)
        self._made: tuple[Layout, bytes, Decode] | None = None

    def page(self, page: Page) -> Frame:
        """All values of a page: (rows, columns) or (rows, columns, samples), one strip or tile after another.

        Raises CorruptFileError, LimitExceededError and UnsupportedFileError.
        """
        layout = page.layout
        table = page.table(self.directories)
        for index, (position, size) in enumerate(table):
            self._check_segment(layout, index, position, size)
        frame: Frame | None = None
        for index, (position, size) in enumerate(table):
            content = self._segment(layout, index, position, size)
            try:
                decoded = self._decoded(layout, index, content)
                if frame is None:  # no memory for a page of which not even the first part can be decoded
                    frame = np.empty((layout.rows, layout.columns, layout.samples), layout.dtype)
                _place(frame, layout, index, decoded)
            except ImariumError:
                raise
            except (MemoryError, OverflowError) as error:
                raise LimitExceededError("a TIFF page needs more memory than there is") from error
            except Exception as error:
                name = COMPRESSIONS[layout.compression]
                raise CorruptFileError(
                    f"a strip or tile of a TIFF page cannot be decoded (compression: {name})"
                ) from error
        assert frame is not None  # a page has a strip or tile at least
        return frame[..., 0] if layout.samples == 1 else frame

    def packed_bytes(self, page: Page) -> int | None:
        """Bytes that the strips and tiles of a page take in the file; None if they are not compressed."""
        if page.layout.compression == 1:
            return None
        return sum(size for _, size in set(page.table(self.directories)))

    def codestream(self, page: Page, picture: int) -> SourceCodestream | None:
        """The strips or tiles of one picture of a page as they are, where their codec is one that is kept."""
        layout = page.layout
        if layout.pictures > 1 and not layout.planar:
            return None
        table = page.table(self.directories)
        if layout.pictures > 1:
            each = layout.segments // layout.pictures
            table = table[picture * each : (picture + 1) * each]
        # Distinct places may overlap: more bytes than pixels help nobody, and could be without end.
        if not table or sum(size for _, size in set(table)) > layout.page_bytes:
            return None
        codec = self._kept_codec(layout, table[0])
        if codec is None:
            return None
        first = picture * len(table) if layout.pictures > 1 else 0
        held: dict[tuple[int, int], bytes] = {}
        for index, place in enumerate(table, first):
            if place not in held:
                held[place] = self._segment(layout, index, *place)
        rows, columns = layout.segment
        tiling = tiles.Tiling(codec, rows, columns, layout.planar and layout.colour, layout.tables)
        return SourceCodestream("tiles", tiles.pack(tiling, [held[place] for place in table]))

    def _kept_codec(self, layout: Layout, first: tuple[int, int]) -> str | None:
        if not layout.is_jpeg2000:
            return KEPT.get(layout.compression)
        content = self._segment(layout, 0, *first)
        return "htj2k" if inspect_codestream(content, self.limits).high_throughput else "jpeg2000"

    def lossy_note(self, page: Page) -> str | None:
        """What the notes say of a page that was compressed with loss, as its first strip or tile tells."""
        if not (page.layout.says_itself or page.layout.compression == JPEG):
            return None
        (position, size), *_ = page.table(self.directories)
        return codestreams.lossy_note(page.layout, self._segment(page.layout, 0, position, size), self.limits)

    def _check_segment(self, layout: Layout, index: int, position: int, size: int) -> None:
        """Whether a strip or tile is in the file and can hold its pixels."""
        raw = layout.segment_bytes(index)
        if layout.compression == 1:
            if size < raw:
                raise CorruptFileError(
                    f"a strip or tile of a TIFF page has {size} bytes; its pixels have {raw}"
                )
            size = raw
        elif size > 2 * raw + _SPARE + self.limits.header_bytes // 64:
            raise LimitExceededError(
                f"a strip or tile of a TIFF page has {size} bytes for {raw} bytes of pixels"
            )
        if size == 0:
            raise UnsupportedFileError("a strip or tile of a TIFF page is left out of the file (sparse TIFF)")
        if position + size > self.size:
            raise CorruptFileError("the TIFF file is truncated: pixels are beyond its end")
        if layout.compression in _EXPANSIONS and size * _EXPANSIONS[layout.compression] + _SPARE < raw:
            raise CorruptFileError(
                f"{size} bytes of a strip or tile of a TIFF page cannot hold the {raw} bytes of its pixels"
            )
        # A row of a fax is a bit at least: "as the row before" of group 4 (ITU-T T.6, table 1).
        if layout.compression in FAX and size * 8 < (rows := _covered(layout, index)[2]):
            raise CorruptFileError(f"{size} bytes of fax of a TIFF page cannot hold {rows} rows")

    def _segment(self, layout: Layout, index: int, position: int, size: int) -> bytes:
        """The stored bytes of a strip or tile."""
        self._check_segment(layout, index, position, size)
        if layout.compression == 1:
            size = layout.segment_bytes(index)
        self._stream.seek(position)
        content = self._stream.read(size)
        if len(content) != size:
            raise CorruptFileError("the file changed while it was read; take it in again")
        return content

    def _decoded(self, layout: Layout, index: int, content: bytes) -> NDArray[Any]:
        """(rows, columns, samples) of a strip or tile."""
        if layout.says_itself:
            decoded = codestreams.decode(layout, content, index, self.limits)
        else:
            if layout.compression == JPEG:
                codestreams.check_jpeg(content, layout)
            elif layout.compression == LZMA:
                content = codestreams.inflate_lzma(layout, content, index)
                layout = replace(layout, compression=1)
            array, _, _ = self._decoder(layout, content)(content, index, jpegtables=layout.tables or None)
            assert array is not None
            decoded = array.reshape(array.shape[-3:])
        if decoded.dtype == np.bool_:
            decoded = decoded.view(np.uint8)
        if decoded.dtype != layout.dtype or decoded.shape[2] != layout.segment_samples:
            raise CorruptFileError(
                f"a strip or tile of a TIFF page decodes to {decoded.dtype}, not {layout.dtype}"
            )
        height, width = _covered(layout, index)[2:]
        if decoded.shape[0] < height or decoded.shape[1] < width:
            raise CorruptFileError("a strip or tile of a TIFF page decodes to fewer pixels than it covers")
        return decoded

    def _decoder(self, layout: Layout, content: bytes) -> Decode:
        # tifffile looks for JFIF in the first bytes of the first segment to tell RGB from YCbCr.
        head = content[:16] if layout.compression == JPEG else b""
        if self._made is None or self._made[0] != layout or self._made[1][6:10] != head[6:10]:
            self._made = layout, head, _made_decoder(layout, head)
        return self._made[2]


def _covered(layout: Layout, index: int) -> tuple[int, int, int, int]:
    """(top, left, rows, columns) of the pixels of a page that strip or tile `index` has."""
    rows, columns = layout.segment
    across, down = -(-layout.columns // columns), -(-layout.rows // rows)
    cell = index % (across * down)
    top, left = cell // across * rows, cell % across * columns
    return top, left, min(rows, layout.rows - top), min(columns, layout.columns - left)


def _place(frame: Frame, layout: Layout, index: int, decoded: NDArray[Any]) -> None:
    top, left, height, width = _covered(layout, index)
    plane = index // (layout.segments // layout.samples) if layout.planar else 0
    samples = slice(plane, plane + 1) if layout.planar else slice(None)
    frame[top : top + height, left : left + width, samples] = decoded[:height, :width]


def _made_decoder(layout: Layout, head: bytes) -> Decode:
    """tifffile's decoder for a page that has nothing but the given tags."""
    count = layout.segments
    filler = (len(head) or 1,) * count
    tags: list[tuple[int, int, tuple[int, ...] | bytes]] = [
        (256, 4, (layout.columns,)),
        (257, 4, (layout.rows,)),
        (258, 3, (layout.bits,) * layout.samples),
        (259, 3, (layout.compression,)),
        (262, 3, (layout.photometric,)),
        (266, 3, (layout.fill_order,)),
        (277, 3, (layout.samples,)),
        (284, 3, (2 if layout.planar else 1,)),
        (317, 3, (layout.predictor,)),
        (339, 3, (layout.sample_format,) * layout.samples),
    ]
    if layout.extra:
        # Of kinds that are not defined it would tell the log.
        tags.append((338, 3, tuple(kind if kind in (0, 1, 2) else 0 for kind in layout.extra)))
    if layout.subsampling:
        tags.append((530, 3, layout.subsampling))
    if layout.fax_options:
        tags.append((292, 4, (layout.fax_options,)))
    if layout.tile is None:
        tags += [(273, 4, (8,) * count), (278, 4, (layout.strip_rows,)), (279, 4, filler)]
    else:
        rows, columns = layout.tile
        tags += [(322, 4, (columns,)), (323, 4, (rows,)), (324, 4, (8,) * count), (325, 4, filler)]
    described = io.BytesIO(_described(layout.order, sorted(tags), head))
    with tifffile.TiffFile(described) as file:
        page = file.pages[0]
        assert isinstance(page, tifffile.TiffPage)
        decode: Decode = page.decode
    return decode


def _described(
    order: Literal["<", ">"], tags: list[tuple[int, int, tuple[int, ...] | bytes]], head: bytes
) -> bytes:
    """A TIFF file of one directory with the given tags (code, type 3 or 4, numbers) and no pixels."""
    start = 8 + len(head) + len(head) % 2
    entries, values = b"", b""
    place = start + 2 + 12 * len(tags) + 4
    for code, kind, numbers in tags:
        packed = struct.pack(f"{order}{len(numbers)}{'H' if kind == 3 else 'I'}", *numbers)
        inline = packed.ljust(4, b"\0")
        if len(packed) > 4:
            inline = struct.pack(f"{order}I", place + len(values))
            values += packed + bytes(len(packed) % 2)
        entries += struct.pack(f"{order}HHI", code, kind, len(numbers)) + inline
    mark = b"II*\0" if order == "<" else b"MM\0*"
    body = struct.pack(f"{order}H", len(tags)) + entries + bytes(4) + values
    return mark + struct.pack(f"{order}I", start) + head.ljust(start - 8, b"\0") + body
