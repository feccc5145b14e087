"""Strips and tiles kept as they are: exact, held once where equal, and bounded whatever a pack says."""

import struct

import imagecodecs
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imarium.codec import Lane, decode_frame, encode_frame
from imarium.codec.decoders import Codec, sides
from imarium.codec.source import PARAMS, at_level, decode, keep
from imarium.codec.tiles import Tiling, pack
from imarium.errors import IntegrityError
from imarium.model import SourceCodestream
from imarium.testing import series_of, smooth_frames

ENCODERS = {
    "jpeg": lambda tile: imagecodecs.jpeg8_encode(tile, level=70),
    "jpeg2000": lambda tile: imagecodecs.jpeg2k_encode(tile, codecformat="j2k", level=35),
    "htj2k": lambda tile: imagecodecs.htj2k_encode(tile, reversible=True),
    "webp": lambda tile: imagecodecs.webp_encode(tile, level=60),
}
DECODERS = {
    "jpeg": imagecodecs.jpeg8_decode,
    "jpeg2000": lambda data: imagecodecs.jpeg2k_decode(data, planar=False),
    "htj2k": lambda data: imagecodecs.htj2k_decode(data, planar=False),
    "webp": imagecodecs.webp_decode,
}


def picture(rows, columns, samples):
    """Noise on waves, which lossless codecs do not hold well."""
    planes = [smooth_frames(1, rows, columns, "uint8", seed)[0] for seed in range(samples)]
    noise = np.random.default_rng(2).integers(0, 90, (samples, rows, columns), dtype=np.uint8)
    planes = [plane // 2 + own for plane, own in zip(planes, noise, strict=True)]
    return planes[0] if samples == 1 else np.stack(planes, axis=-1)


def cut(frame, rows, columns, encode, *, whole_tiles=True):
    """Tiles of a frame, those at its edges filled up or cut off."""
    tiles = []
    for top in range(0, frame.shape[0], rows):
        for left in range(0, frame.shape[1], columns):
            tile = frame[top : top + rows, left : left + columns]
            if whole_tiles:
                spare = [(0, rows - tile.shape[0]), (0, columns - tile.shape[1]), (0, 0)][: tile.ndim]
                tile = np.pad(tile, spare, mode="edge")
            tiles.append(bytes(encode(np.ascontiguousarray(tile))))
    return tiles


def joined(tiles, shape, rows, columns, decode_one):
    frame = np.empty(shape, np.uint8)
    places = [(top, left) for top in range(0, shape[0], rows) for left in range(0, shape[1], columns)]
    for (top, left), tile in zip(places, tiles, strict=True):
        target = frame[top : top + rows, left : left + columns]
        target[...] = decode_one(tile)[: target.shape[0], : target.shape[1]]
    return frame


def case(codec="jpeg", samples=3, whole_tiles=True, size=(100, 130), tile=(32, 48)):
    original = picture(*size, samples)
    tiles = cut(original, *tile, ENCODERS[codec], whole_tiles=whole_tiles)
    frame = joined(tiles, original.shape, *tile, DECODERS[codec])
    return frame, tiles, pack(Tiling(codec, *tile), tiles)


@pytest.mark.parametrize("whole_tiles", [True, False])
@pytest.mark.parametrize("codec", ENCODERS)
@pytest.mark.parametrize("samples", [1, 3])
def test_tiles_are_kept_byte_for_byte(codec, samples, whole_tiles):
    if codec == "webp" and samples == 1:
        pytest.skip("WebP has three samples at least")
    frame, tiles, data = case(codec, samples, whole_tiles)
    params = keep(frame, SourceCodestream("tiles", data), 8)
    assert PARAMS.unpack(params)[0] == Codec.TILES
    assert np.array_equal(decode(params, data, frame.shape, frame.dtype), frame)
    assert all(tile in data for tile in tiles)


def test_a_frame_in_tiles_takes_the_source_lane_where_that_is_smaller():
    frame, _, data = case(size=(240, 280), tile=(80, 96))
    series = series_of(frame, photometric="RGB")
    found = encode_frame(frame, series, 2, SourceCodestream("tiles", data))
    assert found.lane is Lane.SOURCE
    assert found.parts == (data, b"", b"")
    for level in range(3):
        parts = found.parts[: 3 - level]
        decoded = decode_frame(found.lane, found.params, parts, series, 2, level)
        np.testing.assert_array_equal(decoded, at_level(frame, level))


def test_tables_that_tiles_share():
    """As TIFF has them: quantization and Huffman tables apart, and tiles without."""
    original = picture(64, 64, 3)
    tiles, tables = [], b""
    for tile in cut(original, 32, 32, ENCODERS["jpeg"]):
        segments, position = [], 2
        while tile[position + 1] != 0xDA:
            length = 2 + int.from_bytes(tile[position + 2 : position + 4], "big")
            segments.append(tile[position : position + length])
            position += length
        shared = b"".join(one for one in segments if one[1] in (0xDB, 0xC4))
        own = b"".join(one for one in segments if one[1] not in (0xDB, 0xC4))
        tiles.append(b"\xff\xd8" + own + tile[position:])
        tables = b"\xff\xd8" + shared + b"\xff\xd9"
    frame = joined(tiles, original.shape, 32, 32, lambda tile: imagecodecs.jpeg8_decode(tile, tables=tables))
    data = pack(Tiling("jpeg", 32, 32, tables=tables), tiles)
    assert data.count(tables[2:-2]) == 1
    params = keep(frame, SourceCodestream("tiles", data), 8)
    assert np.array_equal(decode(params, data, frame.shape, frame.dtype), frame)
    assert keep(frame, SourceCodestream("tiles", pack(Tiling("jpeg", 32, 32), tiles)), 8) is None


def test_samples_with_tiles_of_their_own():
    original = picture(70, 50, 3)
    planes = [cut(np.ascontiguousarray(original[..., s]), 32, 32, ENCODERS["jpeg"]) for s in range(3)]
    frame = np.stack([joined(plane, (70, 50), 32, 32, imagecodecs.jpeg8_decode) for plane in planes], axis=-1)
    data = pack(Tiling("jpeg", 32, 32, apart=True), [tile for plane in planes for tile in plane])
    params = keep(frame, SourceCodestream("tiles", data), 8)
    assert np.array_equal(decode(params, data, frame.shape, frame.dtype), frame)


def test_equal_tiles_are_held_once():
    tile = bytes(imagecodecs.jpeg8_encode(np.full((32, 32), 244, np.uint8)))
    data = pack(Tiling("jpeg", 32, 32), [tile] * 64)
    assert len(data) < len(tile) + 64 * 8 + 32
    frame = np.full((256, 256), 244, np.uint8)
    params = keep(frame, SourceCodestream("tiles", data), 8)
    assert np.array_equal(decode(params, data, frame.shape, frame.dtype), frame)


def test_tiles_of_other_pixels_are_not_kept():
    frame, _, data = case()
    other = frame.copy()
    other[-1, -1, 0] ^= 1
    assert keep(other, SourceCodestream("tiles", data), 8) is None
    assert keep(frame.astype(np.uint16), SourceCodestream("tiles", data), 8) is None
    assert keep(frame[..., :1].copy(), SourceCodestream("tiles", data), 8) is None


HEAD = struct.Struct("<BBHIII")


@pytest.mark.parametrize(
    "change",
    [
        {0: Codec.TILES},
        {0: Codec.ZSTD},
        {0: 99},
        {1: 2},
        {2: 1},
        {3: 0},
        {4: 0},
        {3: 1, 4: 1},
        {3: 1 << 31, 4: 1 << 31},
        {3: 31},
        {4: 47},
        {4: 1000},
        {5: 1 << 31},
    ],
    ids=str,
)
def test_headers_that_lie(change):
    frame, _, data = case()
    fields = list(HEAD.unpack_from(data))
    for place, value in change.items():
        fields[place] = value
    lie = HEAD.pack(*fields) + data[HEAD.size :]
    with pytest.raises(IntegrityError):
        decode(PARAMS.pack(Codec.TILES, 0, 0, 0), lie, frame.shape, frame.dtype)
    assert keep(frame, SourceCodestream("tiles", lie), 8) is None


def test_places_beyond_the_end_and_vast_tiles_take_no_memory():
    frame, tiles, data = case()
    params = PARAMS.pack(Codec.TILES, 0, 0, 0)
    beyond = data[: HEAD.size] + struct.pack("<II", 0xFFFFFFFF, 0xFFFFFFFF) + data[HEAD.size + 8 :]
    start = tiles[0].index(b"\xff\xc0") + 5
    vast = tiles[0][:start] + b"\xff\xff\xff\xff" + tiles[0][start + 4 :]
    for lie in (
        data[:-1],
        data[:40],
        b"",
        beyond,
        pack(Tiling("jpeg", 32, 48), [vast, *tiles[1:]]),
        pack(Tiling("jpeg", 32, 48), [tiles[0] + b"\xff\xda" * 300, *tiles[1:]]),
    ):
        with pytest.raises(IntegrityError):
            decode(params, lie, frame.shape, frame.dtype)
    with pytest.raises(IntegrityError):
        decode(PARAMS.pack(Codec.TILES, 7, 0, 0), data, frame.shape, frame.dtype)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(place=st.integers(0, 5000), value=st.integers(0, 255))
def test_damage_gives_other_pixels_or_an_integrity_error(place, value):
    frame, _, data = case(size=(64, 64), tile=(32, 32))
    damaged = bytearray(data)
    damaged[place % len(data)] ^= value
    try:
        found = decode(PARAMS.pack(Codec.TILES, 0, 0, 0), bytes(damaged), frame.shape, frame.dtype)
    except IntegrityError:
        return
    assert found.shape == frame.shape


@pytest.mark.parametrize("codec", [*ENCODERS, "webp lossless", "webp alpha", "jpegls", "png"])
def test_sides_are_told_by_headers(codec):
    pixels = picture(40, 56, 3)
    data = bytes(
        {
            "webp lossless": lambda: imagecodecs.webp_encode(pixels, lossless=True),
            "webp alpha": lambda: imagecodecs.webp_encode(picture(40, 56, 4), level=60),
            "jpegls": lambda: imagecodecs.jpegls_encode(pixels),
            "png": lambda: imagecodecs.png_encode(pixels),
        }.get(codec, lambda: ENCODERS[codec](pixels))()
    )
    kind = {"jpegls": Codec.JPEG_LS, "png": Codec.PNG, "jpeg": Codec.JPEG, "htj2k": Codec.HTJ2K}
    found = kind.get(codec, Codec.JPEG_2000 if codec == "jpeg2000" else Codec.WEBP)
    assert sides(found, data) == (40, 56)
    for end in range(24):
        if found in (Codec.JPEG_2000, Codec.HTJ2K) and end < 4:
            continue  # these may be in boxes, which only the decoder reads
        with pytest.raises(ValueError):
            sides(found, data[:end])
