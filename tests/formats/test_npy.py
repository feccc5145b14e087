"""NumPy files: what numpy.load gives back."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imarium.archive import Archive
from imarium.codec.color import to_rgb
from imarium.errors import (
    CorruptFileError,
    ExportRefusedError,
    ImariumError,
    IntegrityError,
    InvalidRequestError,
    LimitExceededError,
    RefusedFileError,
    UnsupportedFileError,
)
from imarium.formats import _arrays
from imarium.formats.base import ReadContext, Refusal, file_digest
from imarium.formats.npy import HEADER, NpyWriter, NumpyReader
from imarium.model import Rendition, Series, SourceSeries
from imarium.settings import Limits


def _series(**changes: Any) -> Series:
    values: dict[str, Any] = {
        "uid": "2.25.1",
        "study_uid": "2.25.2",
        "format": "dicom",
        "frames": 6,
        "rows": 4,
        "columns": 5,
        "dtype": "int16",
    }
    return Series(**(values | changes))


def _frames(series: Series) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(1)
    return [rng.integers(0, 100, series.frame_shape).astype(series.dtype) for _ in range(series.frames)]


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "int64", "float32", "float64", "complex64"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"dimensions": (2, 3)},
        {"dimensions": (1, 6)},
        {"frames": 1},
        {"samples": 3, "photometric": "RGB"},
        {"samples": 4, "photometric": "RGB", "frames": 1},
    ],
)
def test_numpy_reads_it_back(dtype: str, changes: dict[str, Any], tmp_path: Path) -> None:
    series = _series(dtype=dtype, **changes)
    frames = _frames(series)
    path = tmp_path / "deep" / "a.npy"
    assert NpyWriter().write(Rendition(series, series, iter(frames), {}), path) == [path]
    array = np.load(path, allow_pickle=False)
    assert array.shape == series.volume_shape
    assert array.dtype == np.dtype(dtype).newbyteorder("<")
    assert np.array_equal(array, np.stack(frames).reshape(series.volume_shape))


@pytest.mark.parametrize("photometric", ["YBR_FULL", "YBR_FULL_422"])
def test_ybr_becomes_rgb(photometric: str, tmp_path: Path) -> None:
    series = _series(dtype="uint8", samples=3, photometric=photometric)
    frames = _frames(series)
    NpyWriter().write(Rendition(series, series, frames, {}), tmp_path / "a.npy")
    expected = np.stack([to_rgb(frame, series) for frame in frames])
    assert np.array_equal(np.load(tmp_path / "a.npy"), expected)
    assert not np.array_equal(expected, np.stack(frames))


def test_palette_indices_stay_indices(tmp_path: Path) -> None:
    series = _series(dtype="uint8", photometric="PALETTE COLOR", palette=((1, 2, 3),) * 256)
    frames = _frames(series)
    NpyWriter().write(Rendition(series, series, frames, {}), tmp_path / "a.npy")
    assert np.array_equal(np.load(tmp_path / "a.npy"), np.stack(frames))


def test_refusals_leave_nothing_behind(tmp_path: Path) -> None:
    series = _series()
    with pytest.raises(InvalidRequestError, match=r"\.npy"):
        NpyWriter().write(Rendition(series, series, _frames(series), {}), tmp_path / "a.npz")
    with pytest.raises(IntegrityError):
        NpyWriter().write(Rendition(series, series, _frames(series)[1:], {}), tmp_path / "a.npy")
    odd = _series(dtype="uint8", samples=3, photometric="YBR_PARTIAL_422")
    with pytest.raises(ExportRefusedError):
        NpyWriter().write(Rendition(odd, odd, _frames(odd), {}), tmp_path / "a.npy")
    assert list(tmp_path.iterdir()) == []


def test_one_frame_is_in_memory_at_a_time(tmp_path: Path) -> None:
    series = _series(frames=100, rows=256, columns=256)

    def frames() -> Iterator[np.ndarray[Any, Any]]:
        for value in range(100):
            yield np.full((256, 256), value, dtype=np.int16)

    tracemalloc.start()
    NpyWriter().write(Rendition(series, series, frames(), {}), tmp_path / "a.npy")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20
    assert np.load(tmp_path / "a.npy", mmap_mode="r")[:, 0, 0].tolist() == list(range(100))


# Reading

DTYPES = ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]
DTYPES += ["float16", "float32", "float64", "complex64", "complex128"]


@pytest.fixture
def context(tmp_path: Path) -> ReadContext:
    return ReadContext(Limits(), tmp_path / "scratch")


def _all(path: Path, context: ReadContext) -> list[SourceSeries | Refusal]:
    return list(NumpyReader().read([path], context))


def _read(path: Path, context: ReadContext) -> SourceSeries:
    (found,) = _all(path, context)
    assert isinstance(found, SourceSeries), found
    return found


def _refused(path: Path, context: ReadContext, kind: type[ImariumError], words: str) -> None:
    (found,) = _all(path, context)
    assert isinstance(found, Refusal)
    assert type(found.error) is kind, found
    assert words in str(found.error)


def _volume(source: SourceSeries) -> np.ndarray[Any, Any]:
    frames = list(source.read_frames())
    assert all(frame.dtype.isnative and frame.flags.c_contiguous for frame in frames)
    return np.stack(frames).reshape(source.series.volume_shape)


def _values(dtype: str, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Values of any bits; truth values are 0 and 1."""
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.random.default_rng(5).integers(0, 2 if dtype == "bool" else 256, count, np.uint8)
    return raw.view(dtype).reshape(shape)


def _save(tmp_path: Path, values: np.ndarray[Any, Any], name: str = "a.npy") -> Path:
    np.save(tmp_path / name, values, allow_pickle=False)
    return tmp_path / name


@pytest.mark.parametrize("fortran", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type_and_order(
    dtype: str, order: str, fortran: bool, context: ReadContext, tmp_path: Path
) -> None:
    values = _values(dtype, (3, 4, 5))
    stored = values.astype(values.dtype.newbyteorder(order))
    path = _save(tmp_path, np.asfortranarray(stored) if fortran else stored)
    assert NumpyReader().recognises(path, path.read_bytes()[:4096])
    source = _read(path, context)
    assert (source.series.dtype, source.series.dimensions) == (dtype, (3,))
    assert source.series.label_map == (dtype == "bool")
    assert _volume(source).tobytes() == values.tobytes()
    assert path.read_bytes().startswith(source.attachments[HEADER])
    out = tmp_path / "out.npy"
    NpyWriter().write(Rendition(source.series, source.series, source.read_frames(), {}), out)
    assert np.load(out).dtype == values.dtype
    assert np.load(out).tobytes() == values.tobytes()


@pytest.mark.parametrize("fortran", [False, True])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize(
    ("shape", "volume", "samples"),
    [
        ((4, 5), (1, 4, 5), 1),
        ((6, 4, 5), (6, 4, 5), 1),
        ((5, 6, 3), (1, 5, 6, 3), 3),
        ((5, 6, 4), (1, 5, 6, 4), 4),
        ((5, 3, 3), (5, 3, 3), 1),
        ((3, 6, 3), (3, 6, 3), 1),
        ((2, 5, 6, 3), (2, 5, 6, 3), 3),
        ((1, 2, 5, 6), (1, 2, 5, 6), 1),
        ((2, 1, 2, 3, 5, 6), (2, 1, 2, 3, 5, 6), 1),
        ((1, 1), (1, 1, 1), 1),
    ],
)
def test_shapes(
    shape: tuple[int, ...],
    volume: tuple[int, ...],
    samples: int,
    dtype: str,
    fortran: bool,
    context: ReadContext,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_arrays, "_TURNED_AT_ONCE", 32)
    values = _values(dtype, shape)
    source = _read(_save(tmp_path, np.asfortranarray(values) if fortran else values), context)
    if dtype == "uint8" or samples == 1:
        assert (source.series.volume_shape, source.series.samples) == (volume, samples)
    assert source.series.photometric == ("RGB" if source.series.samples > 1 else "MONOCHROME2")
    assert np.array_equal(_volume(source).reshape(shape), values)


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_archives_of_arrays(write: Any, context: ReadContext, tmp_path: Path) -> None:
    arrays = {
        "image": _values("float32", (3, 4, 5)),
        "label": np.asfortranarray(_values("uint8", (3, 4, 5))),
        "spacing": np.ones(3),
        "objects": np.array([[None]]),
    }
    path = tmp_path / "a.npz"
    write(path, **arrays)
    assert NumpyReader().recognises(path, path.read_bytes()[:4096])
    image, label, spacing, objects = _all(path, context)
    for found, name in ((image, "image"), (label, "label")):
        assert isinstance(found, SourceSeries)
        assert _volume(found).tobytes() == arrays[name].tobytes()
    # The last array that is kept carries the digest by which the file is known again.
    digest = file_digest(path, Limits())
    assert [file.digest == digest for found in (image, label) for file in found.files] == [False, True]
    assert [file.size for found in (image, label) for file in found.files] == [0, path.stat().st_size]
    assert image.series.description == "array 1 of 4"
    assert image.series.uid == _read(_save(tmp_path, arrays["image"]), context).series.uid
    for found, words in ((spacing, "array 3 of 4: the array has 1 axes"), (objects, "array 4 of 4")):
        assert isinstance(found, Refusal)
        assert type(found.error) is UnsupportedFileError
        assert words in str(found.error)
    del image, label, found
    assert not context.scratch.exists() or list(context.scratch.iterdir()) == []


def _npy(header: str, data: bytes = bytes(24), version: int = 1) -> bytes:
    length = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + length + header.encode() + data


def test_headers_of_every_version(context: ReadContext, tmp_path: Path) -> None:
    header = '{"shape": (3L, 4L), "descr": "<i2", "fortran_order": False}\n'
    for version in (1, 2, 3):
        path = tmp_path / f"{version}.npy"
        path.write_bytes(_npy(header, bytes(range(24)), version))
        assert _volume(_read(path, context)).tobytes() == bytes(range(24))


def _zip(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return out.getvalue()


GOOD = "{'descr': '<i2', 'fortran_order': False, 'shape': (3, 4)}"


def _bad_files() -> Iterator[tuple[str, bytes, type[ImariumError], str]]:
    def changed(old: str, new: str) -> bytes:
        assert old in GOOD
        return _npy(GOOD.replace(old, new))

    good = _npy(GOOD)
    yield "empty", b"", CorruptFileError, "empty"
    yield "magic", b"\x93NUMPX" + good[6:], CorruptFileError, "missing"
    yield "cut in header", good[:40], CorruptFileError, "ends inside"
    yield "cut", good[:-1], CorruptFileError, "truncated"
    yield "longer", good + good, UnsupportedFileError, "follow the array"
    yield "version", _npy(GOOD, version=4), UnsupportedFileError, "version 4"
    yield "long header", _npy(GOOD + " " * 10_000), LimitExceededError, "10000"
    yield "huge header", _npy(GOOD, version=2)[:8] + b"\xff" * 4, LimitExceededError, "limit"
    yield "no literal", changed("'<i2'", "open('x')"), CorruptFileError, "literal"
    yield "nested", _npy("(" * 9000), CorruptFileError, "literal"
    yield "minus", _npy("-" * 9000 + "1"), CorruptFileError, "literal"
    yield "list", _npy("[]"), CorruptFileError, "descr"
    yield "unhashable", _npy("{[]: 1}"), CorruptFileError, "literal"
    yield "other keys", changed("'descr'", "'type'"), CorruptFileError, "descr"
    yield "objects", changed("<i2", "|O"), UnsupportedFileError, "objects"
    yield "text", changed("<i2", "<U3"), UnsupportedFileError, "text"
    yield "dates", changed("<i2", "<M8[s]"), UnsupportedFileError, "dates"
    yield "records", changed("'<i2'", "[('a', '<i2')]"), UnsupportedFileError, "records"
    yield "long double", changed("<i2", "<f16"), UnsupportedFileError, "unusual"
    yield "no order", changed("<i2", "i2"), CorruptFileError, "byte order"
    yield "one axis", changed("(3, 4)", "(12,)"), UnsupportedFileError, "1 axes"
    yield "no axis", changed("(3, 4)", "()"), UnsupportedFileError, "0 axes"
    yield "seven axes", changed("(3, 4)", "(1, 1, 1, 1, 1, 3, 4)"), UnsupportedFileError, "7 axes"
    yield "no values", changed("(3, 4)", "(0, 4)"), UnsupportedFileError, "no values"
    yield "negative", changed("(3, 4)", "(-3, -4)"), CorruptFileError, "shape"
    yield "truth", changed("(3, 4)", "(True, 4)"), CorruptFileError, "shape"
    yield "shape", changed("(3, 4)", "12"), CorruptFileError, "shape"
    yield "fortran", changed("False", "2"), CorruptFileError, "fortran_order"
    yield "pixels", changed("(3, 4)", "(99999, 99999)"), LimitExceededError, "frame_pixels"
    yield "slices", changed("(3, 4)", "(9999999, 3, 4)"), LimitExceededError, "limits.frames"
    yield "digits", changed("(3, 4)", f"({'9' * 4000}, 3, 4)"), LimitExceededError, "limits.frames"
    large = changed("(3, 4)", "(999999, 16384, 16384)")
    yield "beyond file bytes", large, LimitExceededError, "limits.file_bytes"
    packed = _zip(("a.npy", good))
    yield "zip cut", packed[:-30], CorruptFileError, "damaged"
    yield "zip garbage", packed[:4] + bytes(400), CorruptFileError, "damaged"
    checksum = packed.replace(struct.pack("<I", zipfile.crc32(good)), b"abcd")
    yield "zip checksum", checksum, CorruptFileError, "damaged"
    stored = _zip(("a.npy", good), method=zipfile.ZIP_STORED)
    yield "stored checksum", stored.replace(good, good[:-1] + b"x"), CorruptFileError, "damaged"
    yield "zip of less", _zip(("a.npy", good[:-1])), CorruptFileError, "truncated"
    yield "zip of more", _zip(("a.npy", good + b"x")), UnsupportedFileError, "follow"
    yield "no array", _zip(("a.txt", good)), UnsupportedFileError, "no NumPy array"
    yield "lzma", _zip(("a.npy", good), method=zipfile.ZIP_LZMA), UnsupportedFileError, "another method"
    size = struct.pack("<I", len(good))
    lying = packed.replace(size, struct.pack("<I", 1 << 30))
    yield "lying size", lying, CorruptFileError, "cannot hold"
    names = _zip(*[(f"{number:0200}.npy", b"") for number in range(5000)])
    yield "large directory", names, LimitExceededError, "directory"
    yield "many members", _zip(*[(f"{number}", b"") for number in range(5000)]), LimitExceededError, "members"


BAD = {name: rest for name, *rest in _bad_files()}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused(name: str, context: ReadContext, tmp_path: Path) -> None:
    content, kind, words = BAD[name]
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    _refused(path, context, kind, words)
    assert not context.scratch.exists() or list(context.scratch.iterdir()) == []


def test_members_that_overlap_are_refused(context: ReadContext, tmp_path: Path) -> None:
    packed = bytearray(_zip(("a.npy", _npy(GOOD)), ("b.npy", _npy(GOOD))))
    second = packed.rindex(b"PK\1\2")
    packed[second + 20 : second + 24] = struct.pack("<I", len(packed))
    path = tmp_path / "a.npz"
    path.write_bytes(bytes(packed))
    _refused(path, context, CorruptFileError, "together larger")


def test_members_outside_the_zip_are_damage(context: ReadContext, tmp_path: Path) -> None:
    """Not a file that cannot be read: places before its first byte are of the zip's own making."""
    whole = _zip(("a.npy", _npy(GOOD)), ("b.npy", _npy(GOOD)))
    end = whole.rindex(b"PK\5\6")
    (start,) = struct.unpack("<I", whole[end + 16 : end + 20])
    path = tmp_path / "a.npz"
    path.write_bytes(whole[: end + 16] + struct.pack("<I", start + 1000) + whole[end + 20 :])
    for found in _all(path, context):
        assert isinstance(found, Refusal)
        assert isinstance(found.error, CorruptFileError), found.error


def test_truth_values_are_0_and_1(context: ReadContext, tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(_npy(GOOD.replace("<i2", "|b1"), bytes([1] * 11 + [2])))
    source = _read(path, context)
    with pytest.raises(CorruptFileError, match="neither 0 nor 1"):
        list(source.read_frames())


def test_files_that_cannot_be_opened_or_change(context: ReadContext, tmp_path: Path) -> None:
    _refused(tmp_path / "nothing.npy", context, RefusedFileError, "No such file")
    path = _save(tmp_path, _values("int16", (3, 4, 5)))
    source = _read(path, context)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CorruptFileError, match="changed"):
        list(source.read_frames())


def test_recognition_looks_at_content() -> None:
    reader, path = NumpyReader(), Path("x")
    for other in (b"", b"\x93NUMP", b"PK\3\4", _zip(("a.txt", b"x")), bytes(4096)):
        assert not reader.recognises(path, other)


@pytest.mark.parametrize("dtype", ["bool", "float16", "complex64", "uint64", "int8"])
def test_unusual_types_through_an_archive(dtype: str, archive: Archive, tmp_path: Path) -> None:
    values = _values(dtype, (2, 40, 50))
    if dtype == "float16":
        values = np.nan_to_num(values)
    path = _save(tmp_path, np.asfortranarray(values))
    (outcome,) = archive.ingest.run([path], collection="c")
    assert outcome.series, outcome
    (out,) = archive.streaming.export(outcome.series, "npy", tmp_path / "out.npy")
    assert np.load(out).dtype == values.dtype
    assert np.load(out).tobytes() == values.tobytes()
    assert archive.streaming.export(outcome.series, "png", tmp_path / "pictures")


SEEDS = [
    _npy(GOOD),
    _npy(GOOD.replace("False", "True"), version=2),
    _zip(("a.npy", _npy(GOOD)), ("b.npy", _npy(GOOD, bytes(range(24))))),
    _zip(("a.npy", _npy(GOOD)), method=zipfile.ZIP_STORED),
]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, len(SEEDS) - 1),
    edits=st.lists(st.tuples(st.integers(0, 500), st.binary(min_size=1, max_size=6)), max_size=4),
    cut=st.integers(0, 400),
)
def test_mutated_bytes_never_escape(
    seed: int, edits: list[tuple[int, bytes]], cut: int, tmp_path: Path
) -> None:
    content = bytearray(SEEDS[seed])
    for position, piece in edits:
        at = position % len(content)
        content[at : at + len(piece)] = piece
    if cut < 100:
        content = content[: len(content) - cut]
    limits = Limits(frame_pixels=1 << 20, frames=1 << 10, file_bytes=1 << 26, header_bytes=1 << 16)
    path = tmp_path / "a.npy"
    path.write_bytes(bytes(content))
    NumpyReader().recognises(path, bytes(content[:4096]))
    for found in NumpyReader().read([path], ReadContext(limits, tmp_path / "scratch")):
        if isinstance(found, SourceSeries):
            with suppress(CorruptFileError):  # truth values that are none
                frames = list(found.read_frames())
                assert sum(frame.nbytes for frame in frames) == found.series.pixel_bytes
        else:
            assert isinstance(found.error, ImariumError)
