"""Codestreams of other codecs: kept where they are smaller, made for the archive tier, always exact."""

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

from imarium.codec import Lane, Tier, decode_frame, decompositions_for, encode_frame
from imarium.codec.decoders import Codec
from imarium.codec.source import at_level, decode, keep
from imarium.errors import IntegrityError
from imarium.model import SourceCodestream
from imarium.testing import LaneConformance, series_of, smooth_frames


def grey(dtype="uint8"):
    return smooth_frames(1, 128, 96, dtype)[0]


def colour():
    return np.stack([smooth_frames(1, 128, 96, "uint8", seed)[0] for seed in range(3)], axis=-1)


def encoded(frame, codestream, **facts):
    series = series_of(frame, **facts)
    return encode_frame(frame, series, 3, codestream), series


@pytest.mark.parametrize("picture", [grey(), colour()], ids=["grey", "colour"])
def test_a_lossy_jpeg_is_kept_byte_for_byte(picture):
    data = imagecodecs.jpeg8_encode(picture, level=60)
    frame = imagecodecs.jpeg8_decode(data)
    found, series = encoded(frame, SourceCodestream("jpeg", data))
    assert found.lane is Lane.SOURCE
    assert b"".join(found.parts) == data
    assert np.array_equal(decode_frame(found.lane, found.params, found.parts, series, 3, 0), frame)


def test_samples_of_a_jpeg_as_they_are_stored():
    data = imagecodecs.jpeg8_encode(colour(), level=60)
    frame = imagecodecs.jpeg8_decode(data, colorspace="YCBCR", outcolorspace="YCBCR")
    found, series = encoded(frame, SourceCodestream("jpeg", data), photometric="YBR_FULL")
    assert found.lane is Lane.SOURCE
    assert np.array_equal(decode_frame(found.lane, found.params, found.parts, series, 3, 0), frame)


def tiles():
    """A pattern that repeats, which PNG holds well."""
    return np.tile(np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8), (8, 6))


def real():
    """A real MR slice."""
    return pydicom.dcmread(get_testdata_file("MR_small.dcm")).pixel_array.astype(np.uint16)


@pytest.mark.parametrize(
    ("codec", "data"),
    [
        ("jpegls", imagecodecs.jpegls_encode(real())),
        ("jpegls", imagecodecs.jpegls_encode(grey(), level=3)),
        ("jpeg2000", imagecodecs.jpeg2k_encode(grey(), level=30)),
        ("png", imagecodecs.png_encode(tiles(), level=9)),
    ],
    ids=["jpegls", "jpegls near", "jpeg2000 lossy", "png"],
)
def test_other_codecs(codec, data):
    data = bytes(data)
    decoders = {"jpegls": imagecodecs.jpegls_decode, "jpeg2000": imagecodecs.jpeg2k_decode}
    frame = decoders.get(codec, imagecodecs.png_decode)(data)
    found, series = encoded(frame, SourceCodestream(codec, data))
    assert found.lane is Lane.SOURCE
    assert np.array_equal(decode_frame(found.lane, found.params, found.parts, series, 3, 0), frame)


def test_signed_values_in_fewer_bits():
    """A DICOM header may say signed where the codestream does not."""
    frame = (grey("int16") // 4).astype(np.int16)
    data = bytes(imagecodecs.jpegls_encode((frame & 0x0FFF).astype(np.uint16)))
    params = keep(frame, SourceCodestream("jpegls", data), 12)
    assert np.array_equal(decode(params, data, frame.shape, frame.dtype), frame)
    assert keep(frame, SourceCodestream("jpegls", data), None) is None


def test_a_codestream_of_other_pixels_or_of_none_is_not_kept():
    frame = grey()
    data = bytes(imagecodecs.jpeg8_encode(frame, level=50))
    for codestream in (
        SourceCodestream("jpeg", data),
        SourceCodestream("jpeg", b"no"),
        SourceCodestream("x", b""),
    ):
        found, series = encoded(frame, codestream)
        assert codestream.data not in found.parts or not codestream.data
        assert np.array_equal(decode_frame(found.lane, found.params, found.parts, series, 3, 0), frame)


def test_a_small_png_becomes_jpeg_xl_where_that_is_smaller():
    frame = (
        np.random.default_rng(3).integers(0, 40, (60, 50, 4), dtype=np.uint8).cumsum(axis=1, dtype=np.uint8)
    )
    frame[..., 3] = 255
    data = bytes(imagecodecs.png_encode(frame, level=9))
    series = series_of(frame)
    found = encode_frame(frame, series, 0, SourceCodestream("png", data))
    assert (found.lane, found.params[0]) == (Lane.SOURCE, Codec.JPEG_XL)
    assert len(found.parts[0]) < len(data)
    assert np.array_equal(decode_frame(found.lane, found.params, found.parts, series, 0, 0), frame)


def test_a_larger_codestream_is_not_kept():
    frame = grey()
    data = bytes(imagecodecs.png_encode(frame, level=0))
    assert encoded(frame, SourceCodestream("png", data))[0].lane is Lane.HTJ2K


@pytest.mark.parametrize("shape", [(128, 96), (127, 95), (33, 64), (64, 33)])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16"])
def test_levels_are_those_of_the_wavelet(shape, dtype):
    frame = smooth_frames(1, *shape, dtype)[0]
    series = series_of(frame)
    depth = decompositions_for(*shape)
    wavelet = encode_frame(frame, series, depth)
    assert wavelet.lane is Lane.HTJ2K
    for level in range(depth + 1):
        parts = wavelet.parts[: depth + 1 - level]
        expected = decode_frame(wavelet.lane, wavelet.params, parts, series, depth, level)
        np.testing.assert_array_equal(at_level(frame, level), expected)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "uint16", "int32", "uint32", "int64"])
def test_the_archive_tier(dtype):
    frame = (grey("int16") // 8).clip(*((0, 120) if dtype[0] == "u" else (-120, 120))).astype(dtype)
    series = series_of(frame)
    fast, small = encode_frame(frame, series, 3), encode_frame(frame, series, 3, tier=Tier.ARCHIVE)
    assert small.lane is Lane.SOURCE
    assert sum(map(len, small.parts)) < 0.95 * sum(map(len, fast.parts))
    shifted = (frame.astype(int) - int(frame.min())).astype(np.uint8)
    best = len(imagecodecs.jpegxl_encode(shifted, lossless=True, effort=7))
    assert sum(map(len, small.parts)) <= 1.02 * best + 16
    for level in range(4):
        parts = small.parts[: 4 - level]
        expected = decode_frame(fast.lane, fast.params, fast.parts[: 4 - level], series, 3, level)
        np.testing.assert_array_equal(
            decode_frame(small.lane, small.params, parts, series, 3, level), expected
        )


def test_what_the_archive_tier_cannot_hold_takes_its_usual_lane():
    for frame in (grey("float32") * np.float32(1.37), np.arange(64 * 64).reshape(64, 64) << 20):
        series = series_of(np.ascontiguousarray(frame))
        assert encode_frame(frame, series, 2, tier=Tier.ARCHIVE).lane is not Lane.SOURCE


def test_damage_is_an_integrity_error():
    frame = grey()
    series = series_of(frame)
    found = encode_frame(frame, series, 3, tier=Tier.ARCHIVE)
    for data in (b"", found.parts[0][:40], b"\xff\xd8" + found.parts[0]):
        with pytest.raises(IntegrityError):
            decode_frame(found.lane, found.params, (data, b"", b"", b""), series, 3, 0)


class TestArchiveTier(LaneConformance):
    """Any type and any values, in the archive tier."""

    tier = Tier.ARCHIVE
