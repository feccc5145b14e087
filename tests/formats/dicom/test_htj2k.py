"""DICOM in HTJ2K: the stored codestreams, made to fit the header, hold the source's pixels."""

from dataclasses import replace

import imagecodecs
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.encaps import generate_fragments, get_frame, parse_basic_offsets
from pydicom.pixels import pixel_array

from imarium.codec import htj2k
from imarium.codec.frames import decompositions_for
from imarium.errors import ExportRefusedError, IntegrityError
from imarium.formats import base
from imarium.formats.dicom import DicomWriter, codestreams, encapsulating
from imarium.formats.dicom.attachments import read_index
from imarium.model import Codestream, Rendition
from imarium.testing.dicom_files import make_dataset, write_file

RPCL, LOSSLESS = "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.201"
ENCODING = {0x00280004, 0x00280006, 0x00280102, 0x7FE00001, 0x7FE00002, 0x7FE00010}
"""Photometric Interpretation, Planar Configuration, High Bit, offset tables and Pixel Data."""


def stored_as(source, color=None):
    """The rendition that a pack of this source gives."""
    series = source.series
    depth = decompositions_for(series.rows, series.columns)
    rgb = series.photometric == "RGB" if color is None else color

    def streams():
        for frame in source.read_frames():
            low, high = int(frame.min()), int(frame.max())
            parts = htj2k.encode(frame, depth, low=low, high=high, color_transform=rgb)
            yield Codestream(b"".join(parts), low, high)

    said = []
    rendition = Rendition(
        series,
        series,
        source.read_frames(),
        source.attachments,
        codestreams=streams,
        report=said.append,
    )
    return rendition, said


def elements(dataset):
    return {
        int(tag): dataset[tag].value
        for tag in dataset.keys()  # noqa: SIM118
        if tag.element and int(tag) not in ENCODING
    }


def openjpeg(codestream):
    return imagecodecs.jpeg2k_decode(codestream)


def check(source_path, written, syntax=RPCL):
    before, after = pydicom.dcmread(source_path, force=True), pydicom.dcmread(written)
    assert after.file_meta.TransferSyntaxUID == syntax
    assert elements(before) == elements(after)
    assert after.HighBit == after.BitsStored - 1
    expected = pixel_array(before, raw=True)
    found = pixel_array(after, raw=True)
    assert found.dtype == expected.dtype
    assert np.array_equal(found, expected)
    frames = int(after.get("NumberOfFrames", 1))
    for number in range(frames):
        data = get_frame(after.PixelData, number, number_of_frames=frames)
        alone = expected if frames == 1 else expected[number]
        # SIZ: sign and precision of the first component are the header's (ISO/IEC 15444-1 A.5.1).
        assert data[42] == (after.PixelRepresentation << 7 | after.BitsStored - 1)
        assert np.array_equal(openjpeg(data), alone)
        assert np.array_equal(imagecodecs.htj2k_decode(data, planar=False), alone)
    return after


def scene(shape, low, high, dtype, seed=0):
    """A smooth picture with noise that takes up the range from `low` to `high`."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    values = (np.sin(x / 9) * np.cos(y / 7) / 2 + 0.5) * (high - low) + low
    if len(shape) == 3:
        values = np.stack([values, values[::-1], values[:, ::-1]], axis=-1)
    noise = np.random.default_rng(seed).normal(0, (high - low) / 50, shape)
    values = np.clip(np.rint(values + noise), low, high)
    values.flat[0], values.flat[-1] = low, high
    return values.astype(dtype)


@pytest.mark.parametrize(
    ("shape", "low", "high", "dtype", "bits"),
    [
        ((128, 160), 0, 4095, np.uint16, 12),
        ((65, 33), 0, 4095, np.uint16, 12),
        ((64, 64), 0, 255, np.uint8, 8),
        ((70, 50), 0, 11100, np.uint16, 14),
        ((128, 100), -1024, 3071, np.int16, 13),
        ((128, 100), -2048, 2047, np.int16, 12),
        ((64, 64), -11100, 11100, np.int16, 16),
        ((64, 64), -100, 100, np.int8, 8),
        ((90, 80, 3), 0, 255, np.uint8, 8),
    ],
)
def test_stored_codestreams_are_used(tmp_path, read, shape, low, high, dtype, bits):
    pixels = scene(shape, low, high, dtype)
    dataset = make_dataset(pixels, BitsStored=bits, HighBit=bits - 1)
    path = write_file(tmp_path / "a", dataset)
    (source,) = read(path)
    rendition, said = stored_as(source)
    (written,) = DicomWriter("htj2k").write(rendition, tmp_path / "b.dcm")
    assert said == []
    after = check(path, written)
    assert after.PhotometricInterpretation == ("YBR_RCT" if len(shape) == 3 else "MONOCHROME2")
    # All but the smallest resolution is what the pack has, byte for byte.
    (stream,) = rendition.codestreams()
    parts = htj2k.split(stream.data, decompositions_for(*shape[:2]) + 1)
    assert get_frame(after.PixelData, 0, number_of_frames=1).rstrip(b"\0").endswith(b"".join(parts[1:]))
    (again,) = read(written)
    assert again.series == source.series
    assert all(np.array_equal(*pair) for pair in zip(again.read_frames(), source.read_frames(), strict=True))


@pytest.mark.parametrize(
    ("shape", "low", "high", "dtype", "bits"),
    [
        ((64, 70), 0, 16383, np.uint16, 14),
        ((64, 70), 0, 65535, np.uint16, 16),
        ((64, 70), -32768, 32767, np.int16, 16),
        ((64, 70, 3), 0, 65535, np.uint16, 16),
    ],
)
def test_what_is_stored_with_more_bits_is_coded_anew_and_said(tmp_path, read, shape, low, high, dtype, bits):
    path = write_file(
        tmp_path / "a",
        make_dataset(scene(shape, low, high, dtype), BitsStored=bits, HighBit=bits - 1),
    )
    (source,) = read(path)
    rendition, said = stored_as(source)
    (written,) = DicomWriter("htj2k").write(rendition, tmp_path / "b.dcm")
    check(path, written)
    assert len(said) == 1
    assert said[0].startswith("1 of 1 images were coded anew")


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (2, 3), (17, 5), (3, 3, 3)])
def test_small_images(tmp_path, read, shape):
    """They are stored in another lane; frames come as values."""
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    path = write_file(tmp_path / "a", make_dataset(pixels))
    (source,) = read(path)
    rendition = Rendition(source.series, source.series, source.read_frames(), source.attachments)
    (written,) = DicomWriter("htj2k").write(rendition, tmp_path / "b.dcm")
    check(path, written)


@pytest.mark.parametrize("order", [[1, 2, 3, 4], [3, 1, 4, 2]])
@pytest.mark.parametrize("long_table", [False, True])
def test_multi_frame(tmp_path, read, monkeypatch, order, long_table):
    """Frames lie in their own order, whatever order the pack has; offsets and lengths lead to them."""
    if long_table:
        monkeypatch.setattr(encapsulating, "_LARGEST_OFFSET", 100)
    frames = np.stack([scene((40, 50), 0, 1000 * number, np.uint16, number) for number in (1, 2, 3, 4)])
    dataset = make_dataset(frames, NumberOfFrames=4, BitsStored=12, HighBit=11)
    dataset.GridFrameOffsetVector = [0.0, 1.0, 2.0, 3.0]
    path = write_file(tmp_path / "a", dataset)
    (source,) = read(path)
    rendition, _ = stored_as(source)
    index = rendition.attachments["dicom/frames.json"]
    given = b"[[0,0],[0,1],[0,2],[0,3]]"
    assert given in index
    wanted = str([[0, number - 1] for number in order]).replace(" ", "").encode()
    streams = list(rendition.codestreams())
    rendition = replace(
        rendition,
        attachments={**rendition.attachments, "dicom/frames.json": index.replace(given, wanted)},
        codestreams=lambda: iter([streams[number - 1] for number in order]),
    )
    (written,) = DicomWriter("htj2k").write(rendition, tmp_path / "out" / "b.dcm")
    assert [item.name for item in written.parent.iterdir()] == ["b.dcm"]
    after = check(path, written)
    fragments = list(generate_fragments(after.PixelData))[1:]  # the first is the offset table
    assert len(fragments) == 4
    assert all(len(fragment) % 2 == 0 for fragment in fragments)
    offsets = [sum(8 + len(fragment) for fragment in fragments[:number]) for number in range(4)]
    if long_table:
        assert np.frombuffer(after.ExtendedOffsetTable, "<u8").tolist() == offsets
        lengths = np.frombuffer(after.ExtendedOffsetTableLengths, "<u8").tolist()
        assert lengths == [len(fragment) for fragment in fragments]
        assert parse_basic_offsets(after.PixelData) == []
    else:
        assert parse_basic_offsets(after.PixelData) == offsets
    (again,) = read(written)
    assert all(np.array_equal(*pair) for pair in zip(again.read_frames(), frames, strict=True))


def test_large_images_do_not_call_themselves_rpcl(tmp_path, read):
    """With a smallest resolution of more than 64 pixels they may not (PS3.5 10.18)."""
    assert codestreams.is_rpcl(2048, 9000)
    path = write_file(tmp_path / "a", make_dataset(np.zeros((2049, 2100), np.uint8)))
    (source,) = read(path)
    rendition, _ = stored_as(source)
    (written,) = DicomWriter("htj2k").write(rendition, tmp_path / "b.dcm")
    check(path, written, LOSSLESS)


@pytest.mark.parametrize(
    ("pixels", "elements", "reason"),
    [
        (np.zeros((20, 20), np.uint32), {}, "32-bit"),
        (np.zeros((8, 8), np.uint8), {"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}, "1-bit"),
        (np.zeros((8, 8, 3), np.uint8), {"PhotometricInterpretation": "HSV"}, "HSV"),
        (np.zeros((8, 8, 3), np.int8), {}, "signed RGB"),
    ],
)
def test_refusals(tmp_path, read, pixels, elements, reason):
    (source,) = read(write_file(tmp_path / "a", make_dataset(pixels, **elements)))
    rendition = Rendition(source.series, source.series, source.read_frames(), source.attachments)
    with pytest.raises(ExportRefusedError, match=f"{reason}.*explicit"):
        DicomWriter("htj2k").write(rendition, tmp_path / "b.dcm")
    assert not (tmp_path / "b.dcm").exists()


def test_values_beyond_bits_stored_are_refused(tmp_path, read):
    (source,) = read(write_file(tmp_path / "a", make_dataset(np.zeros((40, 40), np.uint16), BitsStored=12)))
    frame = np.full((40, 40), 4096, np.uint16)
    rendition = Rendition(source.series, source.series, [frame], source.attachments)
    with pytest.raises(ExportRefusedError, match="12 bits"):
        DicomWriter("htj2k").write(rendition, tmp_path / "b.dcm")
    assert list(tmp_path.glob("b*")) == []


def test_missing_frames_leave_no_files(tmp_path, read):
    (source,) = read(write_file(tmp_path / "a", make_dataset(np.zeros((40, 40), np.uint16))))
    rendition, _ = stored_as(source)
    with pytest.raises(IntegrityError):
        DicomWriter("htj2k").write(replace(rendition, codestreams=lambda: iter(())), tmp_path / "b.dcm")
    assert not (tmp_path / "b.dcm").exists()


def test_lower_resolutions_are_derived_images(tmp_path, read):
    pixels = scene((64, 64), 0, 4095, np.uint16)
    (source,) = read(write_file(tmp_path / "a", make_dataset(pixels, BitsStored=12, HighBit=11)))
    low = np.ascontiguousarray(pixels[::2, ::2])
    rendition = Rendition(source.series.at_level(1), source.series, [low], source.attachments)
    (written,) = DicomWriter("htj2k").write(rendition, tmp_path / "b.dcm")
    dataset = pydicom.dcmread(written)
    assert dataset.file_meta.TransferSyntaxUID == RPCL
    assert dataset.ImageType[0] == "DERIVED"
    assert np.array_equal(dataset.pixel_array, low)


def test_every_file_that_pydicom_ships(pydicom_files, read, tmp_path):
    written_count = refused = 0
    for path in pydicom_files:
        if path.suffix not in (".dcm", "") or "README" in path.name:
            continue
        (source,) = read(path)
        if isinstance(source, base.Refusal):
            continue
        rendition = Rendition(source.series, source.series, source.read_frames(), source.attachments)
        try:
            (written,) = DicomWriter("htj2k").write(rendition, tmp_path / "out.dcm")
        except ExportRefusedError:
            refused += 1
            continue
        found = pixel_array(pydicom.dcmread(written), raw=True)
        expected = np.stack(list(source.read_frames()))
        order = np.argsort([frame.number for frame in read_index(source.attachments).frames])
        assert np.array_equal(found.reshape(expected.shape), expected[order]), path.name
        written_count += 1
    assert (written_count, refused) >= (50, 5)


@settings(max_examples=150, deadline=None)
@given(
    rows=st.integers(32, 150),
    columns=st.integers(32, 150),
    bits=st.integers(8, 16),
    signed=st.booleans(),
    rgb=st.booleans(),
    seed=st.integers(0, 1000),
    noise=st.booleans(),
)
def test_any_shape_and_depth(rows, columns, bits, signed, rgb, seed, noise):
    """Whatever comes back is right in two decoders; what fits 15 bits and ±11100 always comes back."""
    signed &= not rgb
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    low, high = max(low, -11100), min(high, 11100)
    shape = (rows, columns, 3) if rgb else (rows, columns)
    dtype = np.int16 if signed else np.uint16
    rng = np.random.default_rng(seed)
    pixels = (
        rng.integers(low, high + 1, shape).astype(dtype) if noise else scene(shape, low, high, dtype, seed)
    )
    parts = htj2k.encode(pixels, decompositions_for(rows, columns), low=low, high=high, color_transform=rgb)
    made = codestreams.rewrapped(Codestream(b"".join(parts), low, high), bits, signed=signed)
    if made is None:
        assert bits == 16
        assert not signed
        made = codestreams.encoded(pixels, bits, signed=signed, rgb=rgb)
    assert np.array_equal(openjpeg(made), pixels)
    assert np.array_equal(imagecodecs.htj2k_decode(made, planar=False), pixels)
    assert htj2k.split(made, len(parts))[1:] == parts[1:] or bits == 16
    assert made[42] == (signed << 7 | bits - 1)


def test_streams_of_another_make_are_not_taken_for_ours():
    pixels = scene((64, 64), 0, 200, np.int16)
    for options in ({"reversible": False}, {"tlm": False}, {"tile": (32, 32)}):
        data = imagecodecs.htj2k_encode(
            pixels, **{"resolutions": 2, "reversible": True, "tlm": True, "tilepart": 1} | options
        )
        made = codestreams.rewrapped(Codestream(bytes(data), 0, 200), 8, signed=False)
        assert made is None or np.array_equal(openjpeg(made), pixels), options
    for junk in (b"", b"\xff\x4f", b"\xff\x4f\xff\x51\0\x02", bytes(100)):
        assert codestreams.rewrapped(Codestream(junk, 0, 200), 8, signed=False) is None
