"""How the pixels of a TIFF page are stored, from its tags, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from imarium.errors import CorruptFileError, LimitExceededError, UnsupportedFileError
from imarium.formats.tiff.directories import Directories, Directory, Tag
from imarium.settings import Limits

COLORMAP = 320
_SEGMENTS = 1 << 20
"""Most strips or tiles of one page."""
_JPEG_TABLES = 1 << 16
_AREA = 4
"""Most times `limits.frame_pixels` that all tiles of a page cover together, edges included."""

JPEG, LERC, LZMA, WEBP = 7, 34887, 34925, 50001
COMPRESSIONS = {
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
    LERC: "LERC",
    LZMA: "LZMA",
    50000: "Zstandard",
    WEBP: "WebP",
}
JPEG2000 = (33003, 33005, 34712)
KEPT = {JPEG: "jpeg", WEBP: "webp"}
"""Names of the codecs whose strips and tiles may be kept as they are, besides JPEG 2000."""
FAX = (2, 3, 4)
LERC_TYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64")
"""In the order of their numbers in LERC."""
_OTHERS = {
    6: "old-style JPEG",
    34892: "lossy JPEG (DNG)",
    34933: "PNG",
    34934: "JPEG XR",
    50002: "JPEG XL",
}
_PHOTOMETRICS = {
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
    packing: int
    """What is around LERC (LercParameters): 0 nothing, 1 Deflate, 2 Zstandard."""

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
        if self.photometric in (0, 5):  # of ink, much is dark
            return "MONOCHROME1"
        if self.photometric == 6:
            return "RGB" if self.compression == JPEG else "YBR_FULL"
        return "RGB" if self.photometric == 2 else "MONOCHROME2"

    @property
    def is_jpeg2000(self) -> bool:
        """Whether the segments are JPEG 2000 codestreams."""
        return self.compression in JPEG2000

    @property
    def says_itself(self) -> bool:
        """Whether the segments are codestreams that say what they hold, and go to the decoder process."""
        return self.is_jpeg2000 or self.compression in (LERC, WEBP)

    @property
    def segment_samples(self) -> int:
        """Samples a pixel of one strip or tile."""
        return 1 if self.planar else self.samples

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
        return -(-columns * self.segment_samples * self.bits // 8) * rows


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
        packing=(*numbers(50674, ()), 0, 0)[1] if number(259, 1) == LERC else 0,
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
    if code not in COMPRESSIONS:
        name = _OTHERS.get(code, "of an unknown kind")
        raise UnsupportedFileError(f"TIFF compression {code} ({name}) is not read; convert the file")
    if layout.fill_order not in (1, 2):
        raise CorruptFileError(f"the FillOrder of a TIFF page is {layout.fill_order}; it is 1 or 2")
    if code in FAX and (bits, layout.samples) != (1, 1):
        raise CorruptFileError(f"a TIFF page of {layout.samples} x {bits} bits cannot be compressed as a fax")
    if code == JPEG and (bits, layout.sample_format) != (8, 1):
        raise UnsupportedFileError(f"JPEG of {bits} bits in TIFF is not read; 8 bits are")
    if code == JPEG and layout.samples not in (1, 3):
        raise UnsupportedFileError(f"JPEG of {layout.samples} components in TIFF is not read; 1 and 3 are")
    if code in JPEG2000 and bits not in (8, 16):
        raise UnsupportedFileError(f"JPEG 2000 of {bits} bits in TIFF is not read; 8 and 16 bits are")
    if code == LERC and (layout.dtype.name not in LERC_TYPES or layout.packing not in (0, 1, 2)):
        raise UnsupportedFileError(
            f"LERC of {layout.dtype} with a compression {layout.packing} around it is not read in TIFF"
        )
    if code == WEBP and ((bits, layout.sample_format) != (8, 1) or layout.segment_samples not in (3, 4)):
        raise UnsupportedFileError("WebP in TIFF is read with three or four samples of 8 bits by pixel")
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
        if code in (*FAX, LERC, WEBP):
            raise CorruptFileError(f"a predictor is used with {COMPRESSIONS[code]} compression")


def _check_colours(layout: Layout) -> None:
    kind, samples, extra = layout.photometric, layout.samples, len(layout.extra)
    if kind not in (0, 1, 2, 3, 4, 5, 6):
        name = _PHOTOMETRICS.get(kind, "unknown")
        raise UnsupportedFileError(f"TIFF colours of kind {kind} ({name}) have no defined conversion to RGB")
    if kind == 2 and not (samples in (3, 4) and samples - extra in (3, samples)):
        raise UnsupportedFileError(f"RGB of {samples} samples in TIFF is not read; RGB and RGBA are")
    if kind == 5 and samples < 4:
        raise UnsupportedFileError(f"inks (CMYK) of {samples} samples in TIFF are not read; 4 and more are")
    if kind == 6:
        if samples != 3 or layout.bits != 8 or layout.planar:
            raise UnsupportedFileError("YCbCr in TIFF is read with three samples of 8 bits by pixel")
        if layout.compression != JPEG and not (layout.is_jpeg2000 or layout.subsampling == (1, 1)):
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


def is_contiguous(layout: Layout, table: list[tuple[int, int]]) -> bool:
    """Whether the pixels are uncompressed and lie one strip after the other."""
    if layout.compression != 1 or layout.tile is not None or layout.predictor != 1:
        return False
    return all(table[i][0] + layout.segment_bytes(i) == table[i + 1][0] for i in range(len(table) - 1))


def total_bytes(pages: list[Page]) -> int:
    """Bytes of all pages, decoded."""
    return sum(page.layout.page_bytes for page in pages)
