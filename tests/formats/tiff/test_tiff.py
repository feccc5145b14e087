"""TIFF: exact against tifffile and known pixels, over what writers write; bad files are refused."""

from __future__ import annotations

import io
import json
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from imarium.archive import Archive
from imarium.errors import (
    CorruptFileError,
    ImariumError,
    LimitExceededError,
    RefusedFileError,
    UnsupportedFileError,
)
from imarium.formats.base import ReadContext, Refusal
from imarium.formats.tiff import TiffReader
from imarium.formats.tiff.reader import PROFILE, TAGS
from imarium.ingest.outcome import Status
from imarium.model import Series, SourceSeries
from imarium.settings import Limits, Settings, Sharing

RNG = np.random.default_rng(11)
Array = np.ndarray[Any, Any]


@pytest.fixture
def context(tmp_path: Path) -> ReadContext:
    return ReadContext(Limits(decoder_seconds=20), tmp_path)


def _found(content: bytes, context: ReadContext) -> list[SourceSeries | Refusal]:
    path = context.scratch / "picture"
    path.write_bytes(content)
    return list(TiffReader().read([path], context))


def _series(content: bytes, context: ReadContext) -> list[tuple[Series, Array]]:
    """Every series and its frames as one array."""
    result = []
    for found in _found(content, context):
        assert isinstance(found, SourceSeries), found
        frames = list(found.read_frames())
        for frame in frames:
            assert frame.shape == found.series.frame_shape
            assert frame.dtype.name == found.series.dtype
            assert frame.flags.c_contiguous
        result.append((found.series, np.stack(frames)))
        assert len(frames) == found.series.frames == int(np.prod(found.series.dimensions))
    return result


def _one(content: bytes, context: ReadContext) -> tuple[Series, Array]:
    (only,) = _series(content, context)
    return only


def _refused(content: bytes, context: ReadContext) -> ImariumError:
    """The reason for a file that is refused, when it is read or when its frames are."""
    for found in _found(content, context):
        if isinstance(found, Refusal):
            return found.error
        try:
            list(found.read_frames())
        except ImariumError as error:
            return error
    pytest.fail("the file was taken")


def _written(pixels: Array | None, **options: Any) -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, pixels, **({"metadata": None} | options))
    return out.getvalue()


def _pixels(dtype: str, *shape: int) -> Array:
    kind = np.dtype(dtype)
    if kind.kind == "c":
        return (RNG.normal(size=shape) + 1j * RNG.normal(size=shape)).astype(kind)
    if kind.kind == "f":
        values = RNG.normal(size=shape).astype(kind)
        values.flat[:3] = np.nan, np.inf, -0.0
        return values
    facts = np.iinfo(kind)
    values = RNG.integers(facts.min, facts.max, shape, dtype=kind, endpoint=True)
    values.flat[:2] = facts.min, facts.max
    return values


def _same(one: Array, other: Array) -> bool:
    """Equal bit for bit."""
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


DTYPES = [
    "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64",
    "float16", "float32", "float64", "complex64", "complex128",
]  # fmt: skip


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("tile", [None, (16, 32)])
@pytest.mark.parametrize("bigtiff", [False, True])
def test_every_type_in_both_byte_orders(
    byteorder: str, dtype: str, tile: Any, bigtiff: bool, context: ReadContext
) -> None:
    pixels = _pixels(dtype, 41, 37)
    content = _written(
        pixels,
        byteorder=byteorder,
        tile=tile,
        bigtiff=bigtiff,
        photometric="minisblack",
        rowsperstrip=None if tile else 9,
    )
    series, frames = _one(content, context)
    assert _same(frames[0], pixels)
    assert series.format == "tiff"
    bits = pixels.itemsize * 8 if pixels.dtype.kind in "iu" else None
    assert (series.bits_stored, series.photometric, series.label_map) == (bits, "MONOCHROME2", False)
    assert (series.affine, series.notes, series.description) == (None, (), None)


@pytest.mark.parametrize("compression", ["lzw", "zlib", "zstd", "packbits", "none"])
@pytest.mark.parametrize("predictor", [False, True])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "float32", "float64"])
def test_compressions_and_predictors(
    compression: str, predictor: bool, byteorder: str, dtype: str, context: ReadContext
) -> None:
    pixels = _pixels(dtype, 41, 37, 3)
    predicted = predictor and compression not in ("packbits", "none")
    for options in (
        {"rowsperstrip": 10},
        {"tile": (32, 16)},
        {"planarconfig": "separate", "rowsperstrip": 10},
    ):
        planar = "planarconfig" in options
        content = _written(
            np.ascontiguousarray(np.moveaxis(pixels, -1, 0)) if planar else pixels,
            compression=None if compression == "none" else compression,
            predictor=predicted or None,
            byteorder=byteorder,
            photometric="rgb",
            **options,
        )
        series, frames = _one(content, context)
        assert _same(frames[0], pixels)
        assert (series.samples, series.photometric) == (3, "RGB")


def test_predictors_that_do_not_fit_the_values(context: ReadContext) -> None:
    for dtype, predictor in (("float32", 2), ("uint16", 3)):
        content = _written(_pixels(dtype, 20, 30), compression="zlib", predictor=5 - predictor)
        assert isinstance(_refused(_with(content, 317, predictor, kind=3), context), RefusedFileError)


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 7, 10, 12, 14, 20, 24, 31])
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_odd_numbers_of_bits(bits: int, tile: Any, context: ReadContext) -> None:
    dtype = "uint8" if bits <= 8 else "uint16" if bits <= 16 else "uint32"
    pixels = RNG.integers(0, 1 << bits, (19, 21)).astype(dtype)
    stored = pixels.astype(bool) if bits == 1 else pixels
    content = _written(stored, bitspersample=bits, tile=tile, photometric="minisblack")
    series, frames = _one(content, context)
    assert _same(frames[0], pixels)
    assert (series.bits_stored, series.label_map) == (bits, bits == 1)


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt", "tiff_lzw", "packbits", None])
def test_bilevel_pictures_of_pillow(compression: str | None, context: ReadContext) -> None:
    pixels = RNG.random((33, 50)) < 0.3
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "TIFF", compression=compression)
    series, frames = _one(out.getvalue(), context)
    shown = frames[0] == 0 if series.photometric == "MONOCHROME1" else frames[0] == 1
    assert np.array_equal(shown, pixels)
    assert series.label_map
    assert series.bits_stored == 1


def test_bits_filled_from_the_low_end(context: ReadContext) -> None:
    pixels = RNG.random((9, 24)) < 0.5
    content = bytearray(_written(pixels, photometric="minisblack"))
    unused = _tag(bytes(content), 305)
    content[unused : unused + 12] = struct.pack("<HHII", 266, 3, 1, 2)
    expected = tifffile.imread(io.BytesIO(bytes(content)))
    _, frames = _one(bytes(content), context)
    assert np.array_equal(frames[0], expected)
    assert not np.array_equal(frames[0], pixels)


@pytest.mark.parametrize("bits", [4, 8, 16])
def test_palettes_stay_indices(bits: int, context: ReadContext) -> None:
    dtype = "uint16" if bits == 16 else "uint8"
    pixels = RNG.integers(0, 1 << bits, (12, 18)).astype(dtype)
    colours = RNG.integers(0, 1 << 16, (3, 1 << bits)).astype(np.uint16)
    content = (
        _written(pixels, photometric="palette", colormap=colours, bitspersample=bits) if bits != 4 else None
    )
    if content is None:
        out = io.BytesIO()
        picture = Image.fromarray(pixels, "P")
        picture.putpalette((colours.T >> 8).astype(np.uint8).tobytes())
        picture.save(out, "TIFF")
        content = out.getvalue()
    series, frames = _one(content, context)
    assert np.array_equal(frames[0], pixels)
    assert (series.photometric, series.label_map, series.samples) == ("PALETTE COLOR", True, 1)
    assert series.palette is not None
    assert np.array_equal(np.asarray(series.palette[: 1 << bits]), colours.T >> 8)


def test_greys_with_white_at_zero_and_alpha(context: ReadContext) -> None:
    pixels = _pixels("uint8", 10, 12)
    series, frames = _one(_written(pixels, photometric="miniswhite"), context)
    assert _same(frames[0], pixels)
    assert series.photometric == "MONOCHROME1"
    for samples, photometric in ((2, "minisblack"), (4, "rgb")):
        pixels = _pixels("uint16", 10, 12, samples)
        content = _written(
            pixels, photometric=photometric, extrasamples=["unassalpha"], planarconfig="contig"
        )
        series, frames = _one(content, context)
        assert _same(frames[0], pixels)
        assert series.samples == samples


@pytest.mark.parametrize("planar", [False, True])
def test_many_samples_are_frames(planar: bool, context: ReadContext) -> None:
    pixels = _pixels("uint16", 3, 5, 20, 24)
    stored = pixels if planar else np.ascontiguousarray(np.moveaxis(pixels, 1, -1))
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as writer:
        for page in stored:
            writer.write(
                page, photometric="minisblack", planarconfig="separate" if planar else "contig", metadata=None
            )
    series, frames = _one(out.getvalue(), context)
    assert series.dimensions == (3, 5)
    assert np.array_equal(frames.reshape(pixels.shape), pixels)
    assert any("samples" in note for note in series.notes)


@pytest.mark.parametrize("photometric", ["rgb", "minisblack"])
@pytest.mark.parametrize("options", [{"rowsperstrip": 16}, {"tile": (32, 48)}, {}])
def test_jpeg_equals_tifffile(photometric: str, options: dict[str, Any], context: ReadContext) -> None:
    colour = photometric == "rgb"
    pixels = np.kron(RNG.integers(0, 256, (13, 9, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    content = _written(
        pixels if colour else np.ascontiguousarray(pixels[..., 0]),
        compression="jpeg",
        photometric=photometric,
        **options,
    )
    series, frames = _one(content, context)
    assert _same(frames[0], tifffile.imread(io.BytesIO(content)))
    assert series.photometric == ("RGB" if colour else "MONOCHROME2")
    assert series.notes == ("JPEG: lossy before it came here",)


def test_jpeg_of_pillow(context: ReadContext) -> None:
    pixels = np.kron(RNG.integers(0, 256, (9, 9, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "TIFF", compression="jpeg")
    _, frames = _one(out.getvalue(), context)
    assert np.array_equal(frames[0], np.asarray(Image.open(io.BytesIO(out.getvalue()))))


@pytest.mark.parametrize("level", [0, 30])
def test_jpeg_2000_tiles(level: int, context: ReadContext) -> None:
    pixels = _pixels("uint16", 70, 50)
    content = _written(
        pixels, compression="jpeg2000", tile=(32, 32), photometric="minisblack",
        compressionargs={"level": level, "reversible": level == 0, "codecformat": "j2k"},
    )  # fmt: skip
    series, frames = _one(content, context)
    assert _same(frames[0], tifffile.imread(io.BytesIO(content)))
    assert _same(frames[0], pixels) == (level == 0)
    assert series.notes == (() if level == 0 else ("JPEG 2000: lossy before it came here",))


def test_real_slices(context: ReadContext, shared_data: Path) -> None:
    paths = sorted((shared_data / "lgg-brain-mr").glob("*.tif"))
    assert len(paths) == 3
    for path in paths:
        series, frames = _one(path.read_bytes(), context)
        assert _same(frames[0], tifffile.imread(path))
        assert (series.photometric, series.notes) == ("RGB", ())


def test_a_real_slide(context: ReadContext, shared_data: Path) -> None:
    path = shared_data / "microscopy" / "cmu-1-small-region.svs"
    found = _series(path.read_bytes(), context)
    with tifffile.TiffFile(path) as file:
        assert len(file.pages) == len(found) == 4
        for (_, frames), page in zip(found, file.pages, strict=True):
            assert _same(frames[0], page.asarray())
    slide, thumbnail, label, macro = (series for series, _ in found)
    assert (slide.rows, slide.columns) == (2967, 2220)
    assert slide.spacing == pytest.approx((1.0, 0.000499, 0.000499))
    assert thumbnail.affine is None
    assert [series.description for series in (slide, label, macro)] == [
        "page 1",
        "page 3, label",
        "page 4, macro",
    ]
    assert any("names" in note for note in label.notes)
    assert not any("lossy" in note for note in label.notes)
    assert len({series.uid for series, _ in found}) == 4
    assert len({series.study_uid for series, _ in found}) == 1


def test_the_broken_slide(context: ReadContext, shared_data: Path) -> None:
    content = (shared_data / "microscopy" / "broken.svs").read_bytes()
    assert not TiffReader().recognises(Path("x"), content)
    assert isinstance(_refused(content, context), CorruptFileError)


def test_pages_of_other_kinds_are_series_of_their_own(context: ReadContext) -> None:
    stack = _pixels("uint16", 4, 20, 24)
    small = _pixels("uint8", 8, 8)
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as writer:
        for number, page in enumerate(stack):
            writer.write(page, subifds=int(number < 2), metadata=None)
            if number < 2:
                writer.write(page[::2, ::2], subfiletype=1, metadata=None)
            writer.write(small, subfiletype=1, metadata=None)
    found = _series(out.getvalue(), context)
    assert [frames.shape for _, frames in found] == [(4, 20, 24), (2, 10, 12), (4, 8, 8)]
    assert np.array_equal(found[0][1], stack)
    assert np.array_equal(found[1][1], stack[:2, ::2, ::2])
    assert [series.description for series, _ in found] == ["page 1", "page 2, reduced", "page 3, reduced"]


def test_a_preview_that_cannot_be_kept_is_noted(context: ReadContext) -> None:
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as writer:
        writer.write(_pixels("uint8", 9, 9), metadata=None)
        writer.write(_pixels("uint8", 9, 9, 3), photometric="cielab", subfiletype=1, metadata=None)
    series, frames = _one(out.getvalue(), context)
    assert frames.shape == (1, 9, 9)
    assert any("page 2, a preview, is left out" in note and "L*a*b*" in note for note in series.notes)


# What descriptions say


@pytest.mark.parametrize("axes", ["TZCYX", "CZYX", "ZYX", "TYX", "CTZYX"])
def test_ome_axes_and_sizes(axes: str, context: ReadContext) -> None:
    sizes = {"T": 3, "C": 2, "Z": 4, "Y": 16, "X": 20}
    pixels = _pixels("uint16", *(sizes[axis] for axis in axes))
    out = io.BytesIO()
    metadata = {
        "axes": axes, "PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": 2.0, "PhysicalSizeYUnit": "mm",
        "PhysicalSizeZ": 3000, "PhysicalSizeZUnit": "nm", "TimeIncrement": 250, "TimeIncrementUnit": "ms",
    }  # fmt: skip
    tifffile.imwrite(out, pixels, ome=True, photometric="minisblack", metadata=metadata)
    series, frames = _one(out.getvalue(), context)
    outer = [axis for axis in "TCZ" if axis in axes]
    assert series.dimensions == tuple(sizes[axis] for axis in outer)
    order = [axes.index(axis) for axis in (*outer, "Y", "X")]
    assert np.array_equal(frames.reshape(*series.dimensions, 16, 20), pixels.transpose(order))
    assert series.spacing == pytest.approx((0.003 if "Z" in axes else 1.0, 2.0, 0.0005))
    assert series.time_step == (0.25 if "T" in axes else None)


def test_ome_with_several_images_and_pyramids(context: ReadContext) -> None:
    first, second = _pixels("uint8", 5, 32, 32), _pixels("uint8", 2, 32, 32)
    out = io.BytesIO()
    with tifffile.TiffWriter(out, ome=True) as writer:
        writer.write(first, photometric="minisblack", metadata={"axes": "ZYX"}, subifds=1)
        writer.write(first[:, ::2, ::2], photometric="minisblack", subfiletype=1)
        writer.write(second, photometric="minisblack", metadata={"axes": "TYX"})
    found = _series(out.getvalue(), context)
    assert [frames.shape for _, frames in found] == [(5, 32, 32), (2, 32, 32), (5, 16, 16)]
    for (_, frames), expected in zip(found, (first, second, first[:, ::2, ::2]), strict=True):
        assert np.array_equal(frames, expected)


def test_ome_colour(context: ReadContext) -> None:
    pixels = _pixels("uint8", 4, 16, 16, 3)
    out = io.BytesIO()
    tifffile.imwrite(out, pixels, ome=True, photometric="rgb", metadata={"axes": "ZYXS"})
    series, frames = _one(out.getvalue(), context)
    assert (series.dimensions, series.samples) == ((4,), 3)
    assert np.array_equal(frames, pixels)


def _ome(pages: Array, body: str) -> bytes:
    head = '<?xml version="1.0"?>'
    xml = f'{head}<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">{body}</OME>'
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as writer:
        for number, page in enumerate(pages):
            writer.write(page, description=xml if number == 0 else None, metadata=None)
    return out.getvalue()


def _pixels_element(sizes: str, data: str) -> str:
    return f'<Image ID="1"><Pixels DimensionOrder="XYCZT" SizeX="8" SizeY="8" {sizes}>{data}</Pixels></Image>'


def test_ome_planes_in_any_order(context: ReadContext) -> None:
    pages = _pixels("uint8", 6, 8, 8)
    places = [(1, 0), (0, 2), (0, 0), (1, 2), (0, 1), (1, 1)]
    data = "".join(
        f'<TiffData IFD="{ifd}" FirstC="{channel}" FirstZ="{z}" PlaneCount="1"/>'
        for ifd, (channel, z) in enumerate(places)
    )
    series, frames = _one(_ome(pages, _pixels_element('SizeC="2" SizeZ="3" SizeT="1"', data)), context)
    assert series.dimensions == (2, 3)
    for ifd, (channel, z) in enumerate(places):
        assert np.array_equal(frames[3 * channel + z], pages[ifd])


@pytest.mark.parametrize(
    "body",
    [
        _pixels_element('SizeC="2" SizeZ="3" SizeT="9"', "<TiffData/>"),
        _pixels_element('SizeC="2" SizeZ="3" SizeT="1"', '<TiffData IFD="0" PlaneCount="999999999"/>'),
        _pixels_element('SizeC="2" SizeZ="3" SizeT="1"', '<TiffData IFD="0"/><TiffData IFD="0"/>'),
        _pixels_element('SizeC="2" SizeZ="3" SizeT="-1"', ""),
        _pixels_element('SizeC="2" SizeZ="3" SizeT="1"', "")[:-9],
        _pixels_element(
            'SizeC="2" SizeZ="3" SizeT="1"',
            '<TiffData IFD="0"><UUID FileName="a.tif">urn:uuid:1</UUID></TiffData>'
            '<TiffData IFD="0"><UUID FileName="/etc/passwd">urn:uuid:2</UUID></TiffData>',
        ),
    ],
)
def test_ome_that_does_not_fit_is_noted(body: str, context: ReadContext) -> None:
    pages = _pixels("uint8", 6, 8, 8)
    series, frames = _one(_ome(pages, body), context)
    assert series.dimensions == (6,)
    assert np.array_equal(frames, pages)
    assert any("OME" in note for note in series.notes)


def test_entities_in_ome_are_not_expanded(context: ReadContext) -> None:
    xml = (
        '<?xml version="1.0"?><!DOCTYPE OME [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]>'
        '<OME><Image><Pixels DimensionOrder="XYCZT" SizeC="1" SizeZ="1" SizeT="1"/>&b;</Image></OME>'
    )
    series, _ = _one(_written(_pixels("uint8", 8, 8), description=xml), context)
    assert any("cannot be read" in note for note in series.notes)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "no-such-encoding"])
def test_ome_is_utf_8_whatever_it_says(encoding: str, context: ReadContext) -> None:
    pixels = _pixels("uint8", 2, 8, 8)
    body = _pixels_element('SizeC="1" SizeZ="2" SizeT="1"', "<TiffData/>")
    xml = f'<?xml version="1.0" encoding="{encoding}"?><OME><Image>{body}</Image></OME>'
    series, frames = _one(_written(pixels, description=xml, photometric="minisblack"), context)
    assert series.dimensions == (2,)
    assert np.array_equal(frames, pixels)
    assert not any("OME" in note for note in series.notes)


def test_companions_are_never_opened(context: ReadContext, tmp_path: Path) -> None:
    pixels = _pixels("uint8", 2, 8, 8)
    (tmp_path / "other.tif").write_bytes(_written(pixels[1]))
    body = _pixels_element(
        'SizeC="1" SizeZ="2" SizeT="1"',
        '<TiffData IFD="0" FirstZ="0"><UUID FileName="picture">urn:uuid:1</UUID></TiffData>'
        '<TiffData IFD="0" FirstZ="1"><UUID FileName="other.tif">urn:uuid:2</UUID></TiffData>',
    )
    series, frames = _one(_ome(pixels[:1], body), context)
    assert frames.shape == (1, 8, 8)
    assert any("several files" in note for note in series.notes)


@pytest.mark.parametrize("axes", ["TZCYX", "ZYX", "TCYX"])
def test_imagej_hyperstacks(axes: str, context: ReadContext) -> None:
    sizes = {"T": 3, "C": 2, "Z": 4, "Y": 16, "X": 20}
    pixels = _pixels("uint16", *(sizes[axis] for axis in axes))
    for truncate in (False, True):
        content = _written(
            pixels, imagej=True, resolution=(4.0, 2.0), truncate=truncate,
            metadata={"axes": axes, "unit": "um", "spacing": 0.75, "finterval": 1.5},
        )  # fmt: skip
        series, frames = _one(content, context)
        outer = [axis for axis in "TCZ" if axis in axes]
        assert series.dimensions == tuple(sizes[axis] for axis in outer)
        order = [axes.index(axis) for axis in (*outer, "Y", "X")]
        assert np.array_equal(frames.reshape(*series.dimensions, 16, 20), pixels.transpose(order))
        assert series.spacing == pytest.approx((0.00075 if "Z" in axes else 1.0, 0.0005, 0.00025))
        assert series.time_step == (1.5 if "T" in axes else None)


def test_imagej_that_promises_more_is_noted(context: ReadContext) -> None:
    content = _written(_pixels("uint8", 8, 8), description="ImageJ=1.54\nimages=7\nslices=7\n")
    series, frames = _one(content, context)
    assert frames.shape == (1, 8, 8)
    assert any("says 7 images" in note for note in series.notes)


@pytest.mark.parametrize("truncate", [False, True])
def test_shapes_of_tifffile(truncate: bool, context: ReadContext) -> None:
    pixels = _pixels("int16", 3, 4, 16, 20)
    content = _written(pixels, metadata={}, truncate=truncate, photometric="minisblack")
    series, frames = _one(content, context)
    assert series.dimensions == (3, 4)
    assert np.array_equal(frames.reshape(pixels.shape), pixels)


@pytest.mark.parametrize(
    "options", [{"imagej": True, "metadata": {"axes": "ZYX"}}, {"metadata": {}, "photometric": "minisblack"}]
)
def test_cut_stacks_without_directories_are_refused(options: dict[str, Any], context: ReadContext) -> None:
    """Only where nothing at all follows the first plane may its description be another file's."""
    pixels = _pixels("int16", 4, 16, 20)
    content = _written(pixels, truncate=True, **options)
    size = pixels[0].nbytes
    start = content.index(pixels[0].tobytes())
    for cut in (start + size + 1, start + 2 * size, start + 4 * size - 1):
        reason = _refused(content[:cut], context)
        assert isinstance(reason, CorruptFileError)
        assert "promises 4 images" in str(reason)
    series, frames = _one(content[: start + size], context)
    assert np.array_equal(frames, pixels[:1])
    assert any("says 4 images" in note for note in series.notes)


def test_tags_and_profiles_are_kept(context: ReadContext) -> None:
    content = _written(
        _pixels("uint8", 8, 8), description="a heart", resolution=(300, 200), resolutionunit="inch",
        software="scanner 2", iccprofile=b"profile", extratags=[(65000, 12, 2, (1.5, float("inf")), True)],
    )  # fmt: skip
    (found,) = _found(content, context)
    assert isinstance(found, SourceSeries)
    (page,) = json.loads(found.attachments[TAGS])
    assert page["page"] == 0
    tags = page["tags"]
    assert (tags["270"], tags["305"], tags["282"], tags["296"]) == ("a heart", "scanner 2", [300, 1], 2)
    assert tags["65000"] == [1.5, "inf"]
    assert found.attachments[PROFILE] == b"profile"
    assert any("profile" in note for note in found.series.notes)
    assert "heart" not in str(found.series)
    assert found.series.affine is None


def test_kept_tags_are_bounded(context: ReadContext) -> None:
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as writer:
        for _ in range(40):
            writer.write(_pixels("uint8", 8, 8), description="x" * 300_000, metadata=None)
    (found,) = _found(out.getvalue(), context)
    assert isinstance(found, SourceSeries)
    assert found.series.frames == 40
    assert len(found.attachments[TAGS]) < 5 << 20


def test_samples_of_kinds_that_are_not_defined_are_kept(
    context: ReadContext, caplog: pytest.LogCaptureFixture
) -> None:
    pixels = _pixels("uint8", 8, 8, 4)
    content = _written(pixels, photometric="rgb", extrasamples=["unassalpha"], compression="zlib")
    series, frames = _one(_with(content, 338, 38399, kind=3), context)
    assert series.samples == 4
    assert np.array_equal(frames[0], pixels)
    assert not caplog.records


def test_orientation_is_noted(context: ReadContext) -> None:
    series, _ = _one(_written(_pixels("uint8", 8, 9), extratags=[(274, 3, 1, 6, True)]), context)
    assert "TIFF orientation 6 is not applied" in series.notes


# Files that lie


def _tag(content: bytes, code: int) -> int:
    """Position of a tag's entry in the first directory of a classic little-endian file."""
    (start,) = struct.unpack("<I", content[4:8])
    (count,) = struct.unpack("<H", content[start : start + 2])
    for number in range(count):
        position = start + 2 + 12 * number
        if struct.unpack("<H", content[position : position + 2]) == (code,):
            return position
    raise KeyError(code)


def _with(content: bytes, code: int, value: int, count: int = 1, kind: int = 4) -> bytes:
    position = _tag(content, code)
    entry = struct.pack("<HHII", code, kind, count, value)
    return content[:position] + entry + content[position + 12 :]


PLAIN = _written(np.zeros((64, 64), np.uint16), rowsperstrip=16)
PACKED = _written(np.zeros((8, 8), np.uint8), compression="zlib")
TILED = _written(np.zeros((64, 64), np.uint16), tile=(32, 32), compression="zlib")


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (_with(PLAIN, 256, 1 << 20), CorruptFileError),
        (_with(_with(PLAIN, 256, 1 << 20), 257, 1 << 20), LimitExceededError),
        (_with(PLAIN, 256, 0), CorruptFileError),
        (_with(PLAIN, 257, 100000), CorruptFileError),
        (_with(PLAIN, 277, 60000), CorruptFileError),
        (_with(PLAIN, 278, 1), CorruptFileError),
        (_with(PLAIN, 273, 8, 1 << 30), LimitExceededError),
        (_with(PLAIN, 273, 0xFFFFFFF0, 4), CorruptFileError),
        (_with(PACKED, 279, 0xFFFFFFFB, kind=9), CorruptFileError),
        (_with(PLAIN, 258, 9000), UnsupportedFileError),
        (_with(PLAIN, 258, 24, kind=11), CorruptFileError),
        (_with(PLAIN, 259, 34933), UnsupportedFileError),
        (_with(PLAIN, 259, 9999), UnsupportedFileError),
        (_with(PLAIN, 259, 4), CorruptFileError),
        (_with(PLAIN, 262, 5), UnsupportedFileError),
        (_with(PLAIN, 262, 3), CorruptFileError),
        (_with(PLAIN, 262, 777), UnsupportedFileError),
        (_with(TILED, 322, 1 << 30), LimitExceededError),
        (_with(TILED, 322, 0), CorruptFileError),
        (_with(TILED, 322, 1), CorruptFileError),
        (_with(TILED, 324, 0, 1), CorruptFileError),
        (_with(TILED, 325, 0xFFFFFFF, 1), CorruptFileError),
    ],
)  # fmt: skip
def test_lying_tags_are_refused_without_memory(
    content: bytes, error: type[ImariumError], context: ReadContext
) -> None:
    tracemalloc.start()
    reason = _refused(content, context)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(reason, error), repr(reason)
    assert peak < 30 << 20


@pytest.mark.parametrize("compression", ["lzw", "zlib", "packbits", "zstd", "jpeg", "jpeg2000"])
def test_no_memory_for_pages_of_which_nothing_can_be_decoded(compression: str, context: ReadContext) -> None:
    """Ten thousand strips that are all one, which is none: the page would have 100 MB."""
    content = _written(np.ones((8, 8), np.uint8), compression=compression)
    (position,) = struct.unpack("<I", content[_tag(content, 273) + 8 :][:4])
    (size,) = struct.unpack("<I", content[_tag(content, 279) + 8 :][:4])
    count, side = 10_000, 10_000
    end = len(content)
    for code, value in ((256, side), (257, side), (278, 1)):
        content = _with(content, code, value)
    content = _with(_with(content, 273, end, count), 279, end + 4 * count, count)
    content += struct.pack(f"<{count}I", *[position] * count) + struct.pack(f"<{count}I", *[size] * count)
    tracemalloc.start()
    reason = _refused(content, context)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(reason, CorruptFileError), repr(reason)
    assert peak < 30 << 20


def test_faxes_and_zstandard_have_their_bounds_too(context: ReadContext) -> None:
    out = io.BytesIO()
    Image.new("1", (64, 400)).save(out, "TIFF", compression="group4")
    assert _one(out.getvalue(), context)[1].shape == (1, 400, 64)  # a blank one is as small as it can be
    lie = _with(_with(out.getvalue(), 257, 10_000), 278, 10_000)
    assert "cannot hold 10000 rows" in str(_refused(lie, context))
    content = _written(np.zeros((4000, 4000), np.uint8), compression="zstd", rowsperstrip=4000)
    assert not _one(content, context)[1].any()
    lie = _with(_with(_with(content, 256, 16000), 257, 16000), 278, 16000)
    lie = _with(lie, 279, 100)
    assert "cannot hold the 256000000 bytes" in str(_refused(lie, context))


def test_sizes_beyond_reason_are_not_used(context: ReadContext) -> None:
    for size, unit in (("1e308", "m"), ("1e-300", "nm")):
        said = f'PhysicalSizeX="{size}" PhysicalSizeXUnit="{unit}" PhysicalSizeY="{size}"'
        said += f' PhysicalSizeYUnit="{unit}" TimeIncrement="{size}" TimeIncrementUnit="h"'
        body = _pixels_element(f'SizeC="1" SizeZ="1" SizeT="2" {said}', "<TiffData/>")
        series, _ = _one(_ome(_pixels("uint8", 2, 8, 8), body), context)
        assert series.affine is None
        assert series.time_step is None or np.isfinite(series.time_step)
        json.dumps(series.to_json(), allow_nan=False)


def test_a_loop_of_directories(context: ReadContext) -> None:
    content = bytearray(PLAIN)
    (start,) = struct.unpack("<I", content[4:8])
    (count,) = struct.unpack("<H", content[start : start + 2])
    content[start + 2 + 12 * count : start + 6 + 12 * count] = struct.pack("<I", start)
    assert "circle" in str(_refused(bytes(content), context))


def test_directories_are_bounded(tmp_path: Path) -> None:
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as writer:
        for _ in range(30):
            writer.write(np.zeros((4, 4), np.uint8), metadata=None)
    reason = _refused(out.getvalue(), ReadContext(Limits(frames=20), tmp_path))
    assert isinstance(reason, LimitExceededError)
    reason = _refused(out.getvalue(), ReadContext(Limits(header_bytes=1200), tmp_path))
    assert isinstance(reason, LimitExceededError)


def test_many_kinds_of_pages(context: ReadContext) -> None:
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as writer:
        for rows in range(1, 70):
            writer.write(np.zeros((rows, 4), np.uint8), metadata=None)
    assert isinstance(_refused(out.getvalue(), context), LimitExceededError)


def test_promises_beyond_reason(context: ReadContext) -> None:
    """Pages by the hundred that share one strip of zeros."""
    page = _written(np.zeros((4096, 4096), np.uint8), compression="zlib", rowsperstrip=4096)
    content = bytearray(page)
    (start,) = struct.unpack("<I", page[4:8])
    (count,) = struct.unpack("<H", page[start : start + 2])
    directory = page[start : start + 2 + 12 * count]
    link = start + 2 + 12 * count
    for _ in range(6000):
        content[link : link + 4] = struct.pack("<I", len(content))
        link = len(content) + len(directory)
        content += directory + bytes(4)
    reason = _refused(bytes(content), context)
    assert isinstance(reason, LimitExceededError)
    assert "promise" in str(reason)


@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "packbits", "zstd", "jpeg"])
def test_every_truncation_is_refused(compression: str | None, context: ReadContext) -> None:
    pixels = RNG.integers(0, 256, (40, 40)).astype(np.uint8)
    whole = _written(pixels, compression=compression, rowsperstrip=16)
    (start,) = struct.unpack("<I", whole[4:8])
    assert start < 1000  # tifffile writes pixels last
    for size in [*range(4, start + 60, 9), len(whole) // 2, len(whole) - 1]:
        assert isinstance(_refused(whole[:size], context), RefusedFileError), size


def test_damaged_strips(context: ReadContext) -> None:
    for compression in ("zlib", "zstd", "jpeg", "jpeg2000"):
        content = _written(_pixels("uint8", 40, 40), compression=compression, rowsperstrip=40)
        (position,) = struct.unpack("<I", content[_tag(content, 273) + 8 :][:4])
        damaged = content[: position + 4] + bytes(60) + content[position + 64 :]
        assert isinstance(_refused(damaged, context), RefusedFileError)


def test_a_tile_larger_than_the_page_says(context: ReadContext) -> None:
    big = bytes(imagecodecs.jpeg8_encode(np.zeros((2000, 2000), np.uint8)))
    content = _written(np.zeros((40, 40), np.uint8), compression="jpeg", rowsperstrip=40)
    swapped = _with(_with(content + big, 273, len(content)), 279, len(big))
    assert "2000 x 2000" in str(_refused(swapped, context))
    big = bytes(imagecodecs.jpeg2k_encode(np.zeros((2000, 2000), np.uint8), codecformat="j2k", level=0))
    content = _written(np.zeros((40, 40), np.uint8), compression="jpeg2000", rowsperstrip=40)
    swapped = _with(_with(content + big, 273, len(content)), 279, len(big))
    assert "2000" in str(_refused(swapped, context))


def test_metamorph_stacks_are_refused(context: ReadContext) -> None:
    content = _written(_pixels("uint8", 8, 8), extratags=[(33629, 4, 1, 5, True)])
    assert isinstance(_refused(content, context), UnsupportedFileError)


def _seeds() -> list[bytes]:
    colour = np.kron(RNG.integers(0, 256, (3, 3, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    return [
        _written(_pixels("uint16", 3, 20, 24), photometric="minisblack", compression="lzw", predictor=True),
        _written(_pixels("int16", 40, 40), tile=(16, 16), compression="zlib", byteorder=">"),
        _written(_pixels("float32", 20, 20), bigtiff=True, compression="zstd", predictor=True),
        _written(colour, photometric="rgb", compression="jpeg"),
        _written(RNG.random((20, 20)) < 0.5, compression="packbits"),
        _written(_pixels("uint8", 20, 20), compression="jpeg2000"),
        _written(_pixels("uint8", 2, 3, 8, 8), imagej=True, metadata={"axes": "TCYX"}),
        _ome(_pixels("uint8", 2, 8, 8), _pixels_element('SizeC="1" SizeZ="2" SizeT="1"', "<TiffData/>")),
    ]


SEEDS = _seeds()


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, len(SEEDS) - 1),
    edits=st.lists(st.tuples(st.integers(0, 700), st.binary(min_size=1, max_size=4)), max_size=4),
    cut=st.integers(0, 4000),
)
def test_mutated_bytes_never_escape(
    seed: int, edits: list[tuple[int, bytes]], cut: int, tmp_path: Path
) -> None:
    content = bytearray(SEEDS[seed])
    for position, piece in edits:
        at = position % len(content)
        content[at : at + len(piece)] = piece
    if cut < 500:
        del content[len(content) - cut :]
    path = tmp_path / "picture"
    path.write_bytes(content)
    limits = Limits(frame_pixels=1 << 18, frame_bytes=1 << 21, decoder_seconds=20)
    for found in TiffReader().read([path], ReadContext(limits, tmp_path)):
        if isinstance(found, Refusal):
            assert isinstance(found.error, ImariumError)
            continue
        try:
            for frame in found.read_frames():
                assert frame.shape == found.series.frame_shape
                assert frame.dtype.name == found.series.dtype
        except ImariumError:
            continue


# Through the archive


def test_taken_in_and_out_again(archive: Archive, tmp_path: Path) -> None:
    stack, small = _pixels("uint8", 3, 40, 44), _pixels("float16", 18, 18)
    source = tmp_path / "picture.tif"
    with tifffile.TiffWriter(source) as writer:
        for page in stack:
            writer.write(page, metadata=None)
        writer.write(small, metadata=None)
    outcomes = list(archive.ingest.run([source], collection="main"))
    assert [outcome.status for outcome in outcomes] == [Status.TAKEN, Status.TAKEN]
    assert sum(outcome.source_bytes for outcome in outcomes) == source.stat().st_size
    for outcome, expected in zip(outcomes, (stack, small[None]), strict=True):
        assert outcome.series is not None
        archive.streaming.export(outcome.series, "npy", tmp_path / "out.npy")
        assert _same(np.load(tmp_path / "out.npy"), expected)
    assert outcomes[0].series is not None
    pages = archive.streaming.export(outcomes[0].series, "png", tmp_path / "png")
    for path, page in zip(pages, stack, strict=True):
        assert np.array_equal(np.asarray(Image.open(path)), page)
    again = list(archive.ingest.run([source], collection="main"))
    assert [(one.status, one.series) for one in again] == [
        (Status.KNOWN, outcome.series) for outcome in outcomes
    ]
    assert [found.error for found in archive.streaming.verify()] == [None] * len(
        list(archive.streaming.verify())
    )


def test_an_interrupted_file_is_taken_in_again(tmp_path: Path) -> None:
    """After the first of two series the process ends: the second must not be lost."""
    archive = Archive(Settings(home=tmp_path / "home", threads=1, sharing=Sharing(series_bytes=0)))
    source = tmp_path / "picture.tif"
    with tifffile.TiffWriter(source) as writer:
        writer.write(_pixels("uint8", 20, 20), metadata=None)
        writer.write(_pixels("uint8", 30, 30), metadata=None)
    run = archive.ingest.run([source], collection="main")
    first = next(run)
    run.close()
    outcomes = list(archive.ingest.run([source], collection="main"))
    assert [outcome.status for outcome in outcomes] == [Status.KNOWN, Status.TAKEN]
    assert outcomes[0].series == first.series
    archive.close()
