"""How the pixels of a TIFF page are stored, checked, and decoding its strips and tiles.

tifffile undoes compression, predictors and packing. It never sees the file: it is shown a page with nothing
but the tags that were checked here, and gets the bytes of one strip or tile at a time.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

import numpy as np
import tifffile
from numpy.typing import NDArray

from imarium.errors import CorruptFileError, ImariumError, LimitExceededError, UnsupportedFileError
from imarium.formats.jpeg2000 import decode_codestream, inspect_codestream
from imarium.formats.tiff.directories import Directories, Directory, Tag
from imarium.model.series import Frame
from imarium.settings import Limits

COLORMAP = 320
_SEGMENTS = 1 << 20
"""Most strips or tiles of one page."""
_JPEG_TABLES = 1 << 16
_SPARE = 1 << 16
"""Bytes that a compressed strip or tile may have on top of twice its pixels."""
_JPEG_SCANS = 256
_AREA = 4
"""Most times `limits.frame_pixels` that all tiles of a page cover together, edges included."""

_JPEG = 7
_COMPRESSIONS = {
    1: "none",
    2: "CCITT RLE",
    3: "CCITT Group 3",
    4: "CCITT Group 4",
    5: "LZW",
    7: "JPEG",
    8: "Deflate",
    32773: "PackBits",
    32946: "Deflate",
    33003: "JPEG 2000",
    33005: "JPEG 2000",
    34712: "JPEG 2000",
    50000: "Zstandard",
}
_EXPANSIONS = {1: 1, 5: 2731, 8: 1032, 32946: 1032, 32773: 64, _JPEG: 64 * 8 * 3, 50000: 1 << 15}
"""Most bytes that a byte of a compression stands for (Zstandard: a block of 128 KiB in 4 bytes, RFC 8878
3.1.1.2); those of the others are not bounded."""
_JPEG2000 = (33003, 33005, 34712)
_FAX = (2, 3, 4)
_OTHERS = {
    6: "old-style JPEG",
    34887: "LERC",
    34892: "lossy JPEG (DNG)",
    34925: "LZMA",
    34933: "PNG",
    34934: "JPEG XR",
    50001: "WebP",
    50002: "JPEG XL",
}
_PHOTOMETRICS = {
    5: "CMYK",
    8: "CIE L*a*b*",
    9: "ICC L*a*b*",
    10: "ITU L*a*b*",
    32803: "colour filter array",
    32844: "LogL",
    32845: "LogLuv",
    34892: "linear raw",
}


@dataclass(frozen=True, slots=True)
class Layout:
    """Everything that the pixels of a page need; pages of one layout are decoded by one decoder."""

    order: Literal["<", ">"]
    rows: int
    columns: int
    bits: int
    sample_format: int
    samples: int
    photometric: int
    planar: bool
    compression: int
    predictor: int
    fill_order: int
    tile: tuple[int, int] | None
    """(rows, columns) of a tile; None for strips."""
    strip_rows: int
    extra: tuple[int, ...]
    """ExtraSamples."""
    subsampling: tuple[int, ...]
    fax_options: int
    tables: bytes
    """JPEGTables."""
    colormap: tuple[int, ...]
    orientation: int

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values, native byte order."""
        if self.sample_format in (3, 6):
            return np.dtype(f"{'f' if self.sample_format == 3 else 'c'}{self.bits // 8}")
        size = next(size for size in (1, 2, 4, 8) if self.bits <= 8 * size)
        return np.dtype(f"{'i' if self.sample_format == 2 else 'u'}{size}")

    @property
    def colour(self) -> bool:
        """Whether a pixel is a colour or grey with alpha; else every sample is a picture by itself."""
        return (
            self.samples == 1
            or self.photometric in (2, 6)
            or (self.samples == 2 and self.extra[:1] in ((1,), (2,)))
        )

    @property
    def pictures(self) -> int:
        """Frames that one page holds."""
        return 1 if self.colour else self.samples

    @property
    def frame_samples(self) -> int:
        """Samples a pixel of one frame."""
        return self.samples if self.colour else 1

    @property
    def series_photometric(self) -> str:
        """DICOM's name of the colours as they are decoded."""
        if self.photometric == 3:
            return "PALETTE COLOR"
        if self.photometric == 0:
            return "MONOCHROME1"
        if self.photometric == 6:
            return "RGB" if self.compression == _JPEG else "YBR_FULL"
        return "RGB" if self.photometric == 2 else "MONOCHROME2"

    @property
    def lossy(self) -> str | None:
        """The note of a lossy compression. JPEG 2000 has to be asked itself."""
        return "JPEG: lossy before it came here" if self.compression == _JPEG else None

    @property
    def is_jpeg2000(self) -> bool:
        """Whether the segments are JPEG 2000 codestreams."""
        return self.compression in _JPEG2000

    @property
    def page_bytes(self) -> int:
        """Bytes of the decoded page."""
        return self.rows * self.columns * self.samples * self.dtype.itemsize

    @property
    def segment(self) -> tuple[int, int]:
        """(rows, columns) of a whole strip or tile."""
        return self.tile or (self.strip_rows, self.columns)

    @property
    def segments(self) -> int:
        """Number of strips or tiles."""
        rows, columns = self.segment
        planes = self.samples if self.planar else 1
        return -(-self.rows // rows) * -(-self.columns // columns) * planes

    def segment_bytes(self, index: int) -> int:
        """Uncompressed and packed bytes of strip or tile `index`."""
        rows, columns = self.segment
        if self.tile is None:
            strips = -(-self.rows // rows)
            rows = min(rows, self.rows - index % strips * rows)
        samples = 1 if self.planar else self.samples
        return -(-columns * samples * self.bits // 8) * rows


@dataclass(frozen=True, slots=True)
class Page:
    """A page: its layout and where the tables of its strips or tiles are."""

    number: int
    depth: int
    reduced: bool
    """A smaller version of another page (NewSubfileType bit 0)."""
    layout: Layout
    offsets: Tag | tuple[int, ...]
    counts: Tag | tuple[int, ...] | None

    def table(self, directories: Directories) -> list[tuple[int, int]]:
        """(position, bytes) of every strip or tile, in the file.

        Raises CorruptFileError if there are too few of them.
        """
        layout = self.layout
        starts = _numbers(self.offsets, directories)
        if self.counts is None:
            if layout.compression != 1:
                raise CorruptFileError("a TIFF page does not say how many bytes its pixels have")
            sizes = tuple(layout.segment_bytes(index) for index in range(layout.segments))
        else:
            sizes = _numbers(self.counts, directories)
        if min(len(starts), len(sizes)) < layout.segments:
            raise CorruptFileError(
                f"a TIFF page has {layout.segments} strips or tiles and gives the places of "
                f"{min(len(starts), len(sizes))}"
            )
        return list(zip(starts, sizes, strict=False))[: layout.segments]


def _numbers(values: Tag | tuple[int, ...], directories: Directories) -> tuple[int, ...]:
    return directories.integers(values, _SEGMENTS) if isinstance(values, Tag) else values


def page_of(directory: Directory, directories: Directories, limits: Limits) -> Page:
    """What a directory says of its pixels, checked.

    Raises CorruptFileError, LimitExceededError, or UnsupportedFileError for what cannot be kept exactly.
    """
    tags = directory.tags

    def numbers(code: int, default: tuple[int, ...]) -> tuple[int, ...]:
        return directories.integers(tags[code]) if code in tags and tags[code].count else default

    def number(code: int, default: int) -> int:
        return numbers(code, (default,))[0]

    columns, rows = number(256, 0), number(257, 0)
    samples = number(277, 1)
    if rows < 1 or columns < 1 or samples < 1:
        raise CorruptFileError(f"a TIFF page has {columns} x {rows} pixels of {samples} samples")
    if rows * columns > limits.frame_pixels:
        raise LimitExceededError(
            f"a TIFF page has {columns} x {rows} pixels; the limit is {limits.frame_pixels} "
            "(limits.frame_pixels)"
        )
    if number(32997, 1) != 1:
        raise UnsupportedFileError("TIFF pages that are volumes by themselves (ImageDepth) are not read")
    bits = _same(numbers(258, (1,))[:samples], "bits")
    sample_format = _same(numbers(339, (1,))[:samples], "formats")
    planar = number(284, 1) == 2 and samples > 1
    tile = None
    strip_rows = min(max(number(278, rows), 0) or rows, rows)
    if 322 in tags:
        tile = number(323, 0), number(322, 0)
        if min(tile) < 1:
            raise CorruptFileError(f"the tiles of a TIFF page have {tile[1]} x {tile[0]} pixels")
    layout = Layout(
        order=directories.order,
        rows=rows,
        columns=columns,
        bits=bits,
        sample_format=1 if sample_format == 4 else sample_format,
        samples=samples,
        photometric=number(262, 1),
        planar=planar,
        compression=number(259, 1),
        predictor=number(317, 1),
        fill_order=number(266, 1),
        tile=tile,
        strip_rows=strip_rows,
        extra=numbers(338, ())[:samples],
        subsampling=numbers(530, ())[:2],
        fax_options=number(292, 0),
        tables=directories.content(tags[347], _JPEG_TABLES) if 347 in tags else b"",
        colormap=numbers(COLORMAP, ()) if number(262, 1) == 3 else (),
        orientation=number(274, 1),
    )
    _check(layout, limits)
    offsets = tags.get(324) or tags.get(273)
    if offsets is None:
        raise CorruptFileError("a TIFF page does not say where its pixels are")
    reduced = bool(number(254, 0) & 1) or number(255, 0) == 2
    return Page(directory.number, directory.depth, reduced, layout, offsets, tags.get(325) or tags.get(279))


def _same(values: tuple[int, ...], what: str) -> int:
    if len(set(values)) != 1:
        raise UnsupportedFileError(f"TIFF pages whose samples have different {what} are not read")
    return values[0]


def _check(layout: Layout, limits: Limits) -> None:
    """Refuse what is not understood, or not kept exactly."""
    bits, kind = layout.bits, layout.sample_format
    known = {1: (*range(1, 33), 64), 2: (8, 16, 32, 64), 3: (16, 32, 64), 6: (64, 128)}
    if bits not in known.get(kind, ()):
        raise UnsupportedFileError(
            f"TIFF values of {bits} bits and sample format {kind} cannot be kept exactly"
        )
    if layout.page_bytes > limits.frame_bytes:
        raise LimitExceededError(
            f"a TIFF page has {layout.page_bytes} bytes; the limit is {limits.frame_bytes} "
            "(limits.frame_bytes)"
        )
    rows, columns = layout.segment
    if layout.segments > _SEGMENTS:
        raise LimitExceededError(
            f"a TIFF page has {layout.segments} strips or tiles; at most {_SEGMENTS} are read"
        )
    if layout.segments * rows * columns > _AREA * limits.frame_pixels * (
        layout.samples if layout.planar else 1
    ):
        raise LimitExceededError("the tiles of a TIFF page are larger than limits.frame_pixels allows")
    if rows * columns * layout.samples * layout.dtype.itemsize > limits.frame_bytes:
        raise LimitExceededError("a tile of a TIFF page is larger than limits.frame_bytes")
    _check_compression(layout)
    _check_colours(layout)


def _check_compression(layout: Layout) -> None:
    code, bits = layout.compression, layout.bits
    if code not in _COMPRESSIONS:
        name = _OTHERS.get(code, "of an unknown kind")
        raise UnsupportedFileError(f"TIFF compression {code} ({name}) is not read; convert the file")
    if layout.fill_order not in (1, 2):
        raise CorruptFileError(f"the FillOrder of a TIFF page is {layout.fill_order}; it is 1 or 2")
    if code in _FAX and (bits, layout.samples) != (1, 1):
        raise CorruptFileError(f"a TIFF page of {layout.samples} x {bits} bits cannot be compressed as a fax")
    if code == _JPEG and (bits, layout.sample_format) != (8, 1):
        raise UnsupportedFileError(f"JPEG of {bits} bits in TIFF is not read; 8 bits are")
    if code == _JPEG and layout.samples not in (1, 3):
        raise UnsupportedFileError(f"JPEG of {layout.samples} components in TIFF is not read; 1 and 3 are")
    if code in _JPEG2000 and bits not in (8, 16):
        raise UnsupportedFileError(f"JPEG 2000 of {bits} bits in TIFF is not read; 8 and 16 bits are")
    if layout.predictor not in (1, 2, 3):
        raise UnsupportedFileError(f"TIFF predictor {layout.predictor} is not read")
    if layout.predictor != 1:
        whole = bits in (8, 16, 32, 64) and layout.sample_format in (1, 2)
        if layout.predictor == 2 and not whole:
            raise UnsupportedFileError(
                f"the horizontal predictor is read with whole numbers of 8 to 64 bits, not with {bits} bits "
                f"of sample format {layout.sample_format}"
            )
        if layout.predictor == 3 and layout.sample_format != 3:
            raise CorruptFileError("the floating-point predictor is used with values that are whole numbers")
        if code in _FAX:
            raise CorruptFileError("a predictor is used with fax compression")


def _check_colours(layout: Layout) -> None:
    kind, samples, extra = layout.photometric, layout.samples, len(layout.extra)
    if kind not in (0, 1, 2, 3, 4, 6):
        name = _PHOTOMETRICS.get(kind, "unknown")
        raise UnsupportedFileError(f"TIFF colours of kind {kind} ({name}) have no defined conversion to RGB")
    if kind == 2 and not (samples in (3, 4) and samples - extra in (3, samples)):
        raise UnsupportedFileError(f"RGB of {samples} samples in TIFF is not read; RGB and RGBA are")
    if kind == 6:
        if samples != 3 or layout.bits != 8 or layout.planar:
            raise UnsupportedFileError("YCbCr in TIFF is read with three samples of 8 bits by pixel")
        if layout.compression != _JPEG and not (layout.is_jpeg2000 or layout.subsampling == (1, 1)):
            raise UnsupportedFileError("subsampled YCbCr in TIFF is read with JPEG compression only")
    if kind == 3:
        if samples != 1 or layout.sample_format != 1 or layout.bits > 16:
            raise UnsupportedFileError("TIFF palettes are read with one unsigned sample of up to 16 bits")
        if len(layout.colormap) != 3 << layout.bits:
            raise CorruptFileError(
                f"the palette of a TIFF page has {len(layout.colormap)} values, not {3 << layout.bits}"
            )


def palette_of(layout: Layout) -> tuple[tuple[int, int, int], ...] | None:
    """Colours of the indices, 8 bits a channel; ColorMap holds 16 (TIFF 6.0 section 5)."""
    if not layout.colormap:
        return None
    table: NDArray[Any] = np.array(layout.colormap, dtype=np.uint32).reshape(3, -1).T
    # Writers that take ColorMap for 8 bits exist; libtiff tells them in the same way.
    if table.max() > 255:
        table = table >> 8
    return tuple((int(red), int(green), int(blue)) for red, green, blue in table)


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
                name = _COMPRESSIONS[layout.compression]
                raise CorruptFileError(
                    f"a strip or tile of a TIFF page cannot be decoded (compression: {name})"
                ) from error
        assert frame is not None  # a page has a strip or tile at least
        return frame[..., 0] if layout.samples == 1 else frame

    def is_lossy(self, page: Page) -> bool:
        """Whether the first tile of a JPEG 2000 page was compressed irreversibly."""
        (position, size), *_ = page.table(self.directories)
        content = self._segment(page.layout, 0, position, size)
        return inspect_codestream(content, self.limits).lossy

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
        if layout.compression in _FAX and size * 8 < (rows := _covered(layout, index)[2]):
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
        if layout.is_jpeg2000:
            decoded = self._jpeg2000(layout, content)
        else:
            if layout.compression == _JPEG:
                _check_jpeg(content, layout)
            array, _, _ = self._decoder(layout, content)(content, index, jpegtables=layout.tables or None)
            assert array is not None
            decoded = array.reshape(array.shape[-3:])
        if decoded.dtype == np.bool_:
            decoded = decoded.view(np.uint8)
        if decoded.dtype != layout.dtype or decoded.shape[2] != (1 if layout.planar else layout.samples):
            raise CorruptFileError(
                f"a strip or tile of a TIFF page decodes to {decoded.dtype}, not {layout.dtype}"
            )
        height, width = _covered(layout, index)[2:]
        if decoded.shape[0] < height or decoded.shape[1] < width:
            raise CorruptFileError("a strip or tile of a TIFF page decodes to fewer pixels than it covers")
        return decoded

    def _jpeg2000(self, layout: Layout, content: bytes) -> NDArray[Any]:
        facts = inspect_codestream(content, self.limits)
        rows, columns = layout.segment
        samples = 1 if layout.planar else layout.samples
        if facts.rows > rows or facts.columns > columns or facts.components != samples:
            raise CorruptFileError(
                f"a tile of a TIFF page decodes to {facts.shape}, which is not {(rows, columns, samples)}"
            )
        return decode_codestream(content, facts, self.limits).reshape(facts.rows, facts.columns, samples)

    def _decoder(self, layout: Layout, content: bytes) -> Decode:
        # tifffile looks for JFIF in the first bytes of the first segment to tell RGB from YCbCr.
        head = content[:16] if layout.compression == _JPEG else b""
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


def _check_jpeg(content: bytes, layout: Layout) -> None:
    """Hold the frame header of a JPEG strip or tile (ISO/IEC 10918-1 B.2.2) against the page."""
    position = 2
    while True:
        if content[position : position + 1] != b"\xff" or position + 4 > len(content):
            raise CorruptFileError("a JPEG strip or tile of a TIFF page is damaged or truncated")
        marker = content[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            break
        if marker in (0xD9, 0xDA):
            raise CorruptFileError("a JPEG strip or tile of a TIFF page has no frame header")
        position += 2 + int.from_bytes(content[position + 2 : position + 4], "big")
    if marker > 0xC2:
        raise UnsupportedFileError("JPEG in TIFF is read in its baseline and progressive variants only")
    head = content[position + 4 : position + 10]
    if len(head) < 6:
        raise CorruptFileError("a JPEG strip or tile of a TIFF page is truncated")
    bits, rows, columns, components = struct.unpack(">BHHB", head)
    most = layout.segment
    samples = 1 if layout.planar else layout.samples
    if bits != 8 or components != samples or rows > most[0] or columns > most[1]:
        raise CorruptFileError(
            f"a JPEG strip or tile has {columns} x {rows} pixels of {components} x {bits} bits; the TIFF "
            f"page says {most[1]} x {most[0]} of {samples} x 8"
        )
    scans = content.count(b"\xff\xda")
    if scans > _JPEG_SCANS:
        raise LimitExceededError(f"a JPEG strip or tile has more than {_JPEG_SCANS} scans")
    if content.rfind(b"\xff\xd9") < content.rfind(b"\xff\xda"):
        raise CorruptFileError("a JPEG strip or tile of a TIFF page is truncated")


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
        tags.append((338, 3, layout.extra))
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


def is_contiguous(layout: Layout, table: list[tuple[int, int]]) -> bool:
    """Whether the pixels are uncompressed and lie one strip after the other."""
    if layout.compression != 1 or layout.tile is not None or layout.predictor != 1:
        return False
    return all(table[i][0] + layout.segment_bytes(i) == table[i + 1][0] for i in range(len(table) - 1))


def total_bytes(pages: list[Page]) -> int:
    """Bytes of all pages, decoded."""
    return sum(page.layout.page_bytes for page in pages)
