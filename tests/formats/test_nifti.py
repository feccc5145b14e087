"""NIfTI: exact against nibabel, byte for byte back out, and bad files refused with a reason."""

from __future__ import annotations

import gzip
import io
import os
import struct
import tracemalloc
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imarium.errors import (
    CorruptFileError,
    ExportRefusedError,
    ImariumError,
    IntegrityError,
    InvalidRequestError,
    LimitExceededError,
    RefusedFileError,
    StorageError,
    UnsupportedFileError,
)
from imarium.formats import _unpacking, nifti
from imarium.formats.base import ReadContext, Refusal
from imarium.formats.nifti import HEADER, TRAILER, NiftiReader, NiftiWriter
from imarium.model import Rendition, Series, SourceSeries
from imarium.settings import Limits

DATA = Path(os.environ.get("IMARIUM_TEST_DATA") or Path(__file__).parents[3] / "shared" / "data")
REAL = sorted(DATA.glob("nifti-n*/*.nii*")) + sorted(DATA.glob("mr-*/Ref/*.nii"))
DTYPES = ["uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"]
DTYPES += ["float32", "float64", "complex64", "complex128"]


@pytest.fixture
def context(tmp_path: Path) -> ReadContext:
    return ReadContext(Limits(), tmp_path / "scratch")


def _one(path: Path, context: ReadContext) -> SourceSeries | Refusal:
    (found,) = NiftiReader().read([path], context)
    return found


def _read(path: Path, context: ReadContext) -> SourceSeries:
    found = _one(path, context)
    assert isinstance(found, SourceSeries), found
    return found


def _refused(path: Path, context: ReadContext, kind: type[ImariumError], words: str) -> None:
    found = _one(path, context)
    assert isinstance(found, Refusal)
    assert type(found.error) is kind, found
    assert words in str(found.error)
    assert found.path == path


def _volume(source: SourceSeries) -> np.ndarray[Any, Any]:
    return np.stack(list(source.read_frames())).reshape(source.series.volume_shape)


def _export(source: SourceSeries, destination: Path) -> bytes:
    rendition = Rendition(source.series, source.series, source.read_frames(), source.attachments)
    assert NiftiWriter().write(rendition, destination) == [destination]
    return destination.read_bytes()


def _reference(image: Any) -> np.ndarray[Any, Any]:
    """nibabel's stored values in our order."""
    array = np.asanyarray(image.dataobj.get_unscaled())
    if array.dtype.fields:
        return np.stack([array[name].T for name in array.dtype.names], axis=-1)
    return array.T


def _make(
    dtype: str = "int16",
    shape: tuple[int, ...] = (5, 4, 3),
    *,
    order: str = "<",
    version: int = 1,
    **fields: Any,
) -> bytes:
    """A file with sform and values 0, 1, 2, ... made with nibabel's header."""
    kind = nib.Nifti1Header if version == 1 else nib.Nifti2Header
    header = kind(endianness=order)
    header.set_data_dtype(np.dtype(dtype).newbyteorder(order))
    header.set_data_shape(shape)
    header.set_sform(np.diag([0.5, 0.75, 2, 1]), code=2)
    for name, value in fields.items():
        header[name] = value
    header["magic"] = header.single_magic
    header["vox_offset"] = fields.get("vox_offset", header.single_vox_offset)
    values = np.arange(int(np.prod(shape))).astype(np.dtype(dtype).newbyteorder(order))
    return bytes(header.binaryblock) + bytes(4) + values.tobytes()


def _file(tmp_path: Path, content: bytes, name: str = "a.nii") -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


def test_real_data_are_there() -> None:
    if not REAL:
        pytest.skip(f"NO REAL DATA: set IMARIUM_TEST_DATA, nothing found in {DATA}")
    assert len(REAL) >= 18


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
def test_real_files_equal_nibabel_and_come_back_byte_for_byte(
    path: Path, context: ReadContext, tmp_path: Path
) -> None:
    raw = path.read_bytes()
    assert NiftiReader().recognises(path, raw[:4096])
    source = _read(path, context)
    image = nib.load(path)
    ours, theirs = _volume(source), _reference(image)
    assert ours.dtype.isnative
    assert ours.dtype.name == source.series.dtype == theirs.dtype.name
    assert np.array_equal(ours.reshape(theirs.shape), theirs)
    assert np.array_equal(np.asarray(source.series.affine), image.affine)
    assert source.series.label_map == (int(image.header["intent_code"]) == 1002)
    plain = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    assert _export(source, tmp_path / "out.nii") == plain
    assert gzip.decompress(_export(source, tmp_path / "out.nii.gz")) == plain


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type_and_byte_order(
    dtype: str, order: str, version: int, context: ReadContext, tmp_path: Path
) -> None:
    content = _make(dtype, order=order, version=version)
    source = _read(_file(tmp_path, content), context)
    assert source.series.dtype == dtype
    assert np.array_equal(_volume(source).ravel(), np.arange(60).astype(dtype))
    assert _export(source, tmp_path / "out.nii") == content


@pytest.mark.parametrize(("code", "samples"), [(128, 3), (2304, 4)])
def test_colours(code: int, samples: int, context: ReadContext, tmp_path: Path) -> None:
    content = _make("uint8", (5, 4, 3 * samples))
    header = nib.Nifti1Header(content[:348], check=False)
    header["dim"][3], header["datatype"], header["bitpix"] = 3, code, 8 * samples
    header["scl_slope"] = 7
    content = bytes(header.binaryblock) + content[348:]
    source = _read(_file(tmp_path, content), context)
    assert (source.series.samples, source.series.photometric) == (samples, "RGB")
    assert source.series.rescale_slope == 1
    assert np.array_equal(_volume(source).ravel(), np.arange(60 * samples, dtype=np.uint8))
    assert _export(source, tmp_path / "out.nii") == content


def test_gzip_and_plain_are_the_same_series(context: ReadContext, tmp_path: Path) -> None:
    content = _make()
    plain = _read(_file(tmp_path, content), context)
    packed = _read(_file(tmp_path, gzip.compress(content), "a.nii.gz"), context)
    assert plain.series == packed.series
    assert plain.files[0].digest != packed.files[0].digest
    assert plain.series.uid.startswith("2.25.")
    assert len(plain.series.uid) <= 64
    assert plain.series.uid != plain.series.study_uid
    assert list(map(bytes, plain.read_frames())) == list(map(bytes, packed.read_frames()))


def test_gzip_in_members_and_with_padding(context: ReadContext, tmp_path: Path) -> None:
    content = _make()
    packed = gzip.compress(content[:400]) + bytes(3) + gzip.compress(content[400:]) + bytes(512)
    source = _read(_file(tmp_path, packed), context)
    assert _export(source, tmp_path / "out.nii") == content
    assert source.series.notes == ()
    noisy = _read(_file(tmp_path, packed + b"garbage"), context)
    assert "left out" in noisy.series.notes[0]
    assert noisy.series.uid == source.series.uid


def test_interleaved_readers_of_one_scratch_file(context: ReadContext, tmp_path: Path) -> None:
    source = _read(_file(tmp_path, gzip.compress(_make()), "a.nii.gz"), context)
    for one, other in zip(source.read_frames(), source.read_frames(), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize(
    ("shape", "dimensions"),
    [
        ((5,), (1,)),
        ((5, 4), (1,)),
        ((5, 4, 3), (3,)),
        ((5, 4, 3, 1), (3,)),
        ((5, 4, 3, 2), (2, 3)),
        ((5, 4, 1, 2), (2, 1)),
        ((5, 4, 3, 1, 6), (6, 3)),
        ((5, 4, 3, 2, 6), (6, 2, 3)),
        ((5, 4, 3, 2, 1, 2, 2), (2, 2, 2, 3)),
    ],
)
def test_dimensions(
    shape: tuple[int, ...], dimensions: tuple[int, ...], context: ReadContext, tmp_path: Path
) -> None:
    content = _make(shape=shape)
    path = _file(tmp_path, content)
    source = _read(path, context)
    assert source.series.dimensions == dimensions
    assert np.array_equal(_volume(source).squeeze(), np.asanyarray(nib.load(path).dataobj).T.squeeze())
    assert _export(source, tmp_path / "out.nii") == content


def test_scaling_time_and_labels(context: ReadContext, tmp_path: Path) -> None:
    fields: dict[str, Any] = {
        "scl_slope": 0.5,
        "scl_inter": -3,
        "xyzt_units": 2 | 16,
        "pixdim": [1, 1, 1, 1, 2500, 1, 1, 1],
        "intent_code": 1002,
        "descrip": b"Doe John 1950",
    }
    series = _read(_file(tmp_path, _make(shape=(5, 4, 3, 2), **fields)), context).series
    assert (series.rescale_slope, series.rescale_intercept) == (0.5, -3)
    assert series.time_step == 2.5
    assert series.label_map
    assert "Doe" not in str(series.to_json())
    fields |= {"scl_slope": 0, "xyzt_units": 2 | 32}
    series = _read(_file(tmp_path, _make(shape=(5, 4, 3, 2), **fields)), context).series
    assert (series.rescale_slope, series.rescale_intercept) == (1, 0)
    assert series.time_step is None
    assert "unit of time" in series.notes[0]


def test_affines(context: ReadContext, tmp_path: Path) -> None:
    path = _file(tmp_path, _make(sform_code=0))
    series = _read(path, context).series
    assert "assumed" in series.notes[0]
    assert np.array_equal(np.asarray(series.affine), nib.load(path).affine)
    microns = _read(_file(tmp_path, _make(xyzt_units=3)), context).series
    assert np.allclose(np.diag(np.asarray(microns.affine)), [0.0005, 0.00075, 0.002, 1])
    broken = _read(_file(tmp_path, _make(srow_x=[np.nan, 0, 0, 0])), context).series
    assert broken.affine is None
    assert "position is unknown" in broken.notes[-1]
    vast = _read(_file(tmp_path, _make(version=2, srow_x=[1e200, 0, 0, 0])), context).series
    assert (vast.affine, vast.spacing) == (None, None)
    assert "position is unknown" in vast.notes[-1]
    flat = _read(_file(tmp_path, _make(srow_z=[0, 0, 0, 0])), context).series
    assert flat.affine is None
    quaternion = _make(sform_code=0, qform_code=1, quatern_b=3.0)
    assert _read(_file(tmp_path, quaternion), context).series.affine is None


def test_extensions_and_trailer_are_kept(context: ReadContext, tmp_path: Path) -> None:
    body = _make(vox_offset=352 + 32)
    extension = struct.pack("<ii", 32, 6) + b"a comment".ljust(24, b"\0")
    content = body[:348] + b"\1\0\0\0" + extension + body[352:] + b"tail"
    for name, stored in (("a.nii", content), ("a.nii.gz", gzip.compress(content))):
        source = _read(_file(tmp_path, stored, name), context)
        assert source.attachments[HEADER] == content[:384]
        assert source.attachments[TRAILER] == b"tail"
        assert "4 bytes follow" in source.series.notes[0]
        assert _export(source, tmp_path / "out.nii") == content


def test_reading_is_lazy(context: ReadContext, tmp_path: Path) -> None:
    path = _file(tmp_path, _make())
    source = _read(path, context)
    path.unlink()
    with pytest.raises(CorruptFileError, match="vanished"):
        next(source.read_frames())
    path.write_bytes(_make("int16", (5, 4, 3))[:-2] + b"xx")
    with pytest.raises(CorruptFileError, match="changed"):
        next(source.read_frames())


@pytest.mark.parametrize("packed", [False, True])
def test_few_frames_are_in_memory_at_a_time(packed: bool, context: ReadContext, tmp_path: Path) -> None:
    content = _make("uint8", (512, 512, 1), dim=[3, 512, 512, 128, 1, 1, 1, 1]) + bytes(127 * 512 * 512)
    path = _file(tmp_path, gzip.compress(content, 1) if packed else content)
    del content
    tracemalloc.start()
    source = _read(path, context)
    assert sum(1 for _ in source.read_frames()) == 128
    rendition = Rendition(source.series, source.series, source.read_frames(), source.attachments)
    NiftiWriter().write(rendition, tmp_path / ("out.nii.gz" if packed else "out.nii"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 << 20


def test_scratch_is_empty_afterwards(context: ReadContext, tmp_path: Path) -> None:
    source = _read(_file(tmp_path, gzip.compress(_make()), "a.nii.gz"), context)
    list(source.read_frames())
    assert list(context.scratch.iterdir()) == []


def _bad_files() -> Iterator[tuple[str, bytes, type[ImariumError], str]]:
    good = _make()
    yield "empty", b"", CorruptFileError, "empty"
    yield "truncated", good[:-1], CorruptFileError, "promises 472 bytes uncompressed, it has 471"
    yield "truncated header", good[:347], CorruptFileError, "shorter than 348"
    yield "truncated gzip", gzip.compress(good)[:-12], CorruptFileError, "gzip"
    yield "gzip of too little", gzip.compress(good[:-1]), CorruptFileError, "truncated"
    damaged = bytearray(gzip.compress(good, mtime=0))
    damaged[-6] ^= 1
    yield "gzip checksum", bytes(damaged), CorruptFileError, "damaged"
    yield "too long", good + bytes(nifti.TRAILER_BYTES + 1), CorruptFileError, "more than"
    yield "too long gzip", gzip.compress(good + bytes(1 << 20)), CorruptFileError, "more than"
    yield "negative dim", _make(dim=[3, 5, -4, 3, 1, 1, 1, 1]), CorruptFileError, "at least 1"
    yield "zero dim", _make(dim=[3, 5, 0, 3, 1, 1, 1, 1]), CorruptFileError, "at least 1"
    yield "dim 0 is 0", _make(dim=[0, 5, 4, 3, 1, 1, 1, 1]), CorruptFileError, "1 to 7"
    yield "dim 0 is 99", _make(dim=[99, 5, 4, 3, 1, 1, 1, 1]), CorruptFileError, "1 to 7"
    yield "promises more", _make(dim=[3, 500, 400, 3, 1, 1, 1, 1]), CorruptFileError, "truncated"
    huge = _make(dim=[3, 32767, 32767, 3, 1, 1, 1, 1])
    yield "too many pixels", huge, LimitExceededError, "frame_pixels"
    many = _make(dim=[5, 5, 4, 32767, 32767, 32767, 1, 1])
    yield "too many slices", many, LimitExceededError, "limits.frames"
    overflow = _make(version=2, dim=[4, 2**62, 2**62, 2**62, 2**62, 1, 1, 1])
    yield "overflow", overflow, LimitExceededError, "limit"
    large = _make(version=2, dim=[3, 2**14, 2**14, 2**18, 1, 1, 1, 1])
    yield "beyond file bytes", large, LimitExceededError, "limits.file_bytes"
    bomb = gzip.compress(_make(dim=[3, 16000, 16000, 100, 1, 1, 1, 1]) + bytes(1 << 22))
    yield "gzip bomb", bomb, CorruptFileError, "cannot hold"
    yield "offset in header", _make(vox_offset=0), CorruptFileError, "vox_offset"
    yield "offset not a number", _make(vox_offset=np.nan), CorruptFileError, "vox_offset"
    yield "offset negative", _make(vox_offset=-352), CorruptFileError, "vox_offset"
    yield "offset beyond the end", _make(vox_offset=100000), CorruptFileError, "truncated"
    yield "offset beyond limits", _make(vox_offset=1e9), LimitExceededError, "header_bytes"
    yield "sizeof_hdr", b"\0\0\0\0" + good[4:], CorruptFileError, "348"
    yield "float128", _make(datatype=1536), UnsupportedFileError, "float128"
    yield "binary", _make(datatype=1), UnsupportedFileError, "binary"
    yield "no such type", _make(datatype=77), UnsupportedFileError, "77"
    yield "detached under another name", good[:344] + b"ni1\0" + good[348:], UnsupportedFileError, "detached"
    yield "not NIfTI", bytes(1000), CorruptFileError, "missing"


BAD = {name: rest for name, *rest in _bad_files()}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused(name: str, context: ReadContext, tmp_path: Path) -> None:
    content, kind, words = BAD[name]
    _refused(_file(tmp_path, content), context, kind, words)
    assert not context.scratch.exists() or list(context.scratch.iterdir()) == []


def test_files_that_cannot_be_opened(context: ReadContext, tmp_path: Path) -> None:
    _refused(tmp_path / "nothing.nii", context, RefusedFileError, "No such file")
    _refused(tmp_path, context, RefusedFileError, "directory")
    limited = ReadContext(Limits(file_bytes=100), tmp_path)
    _refused(_file(tmp_path, _make()), limited, LimitExceededError, "file_bytes")


def test_a_full_disk_is_seen_before_unpacking(
    context: ReadContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = _unpacking.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(_unpacking.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    _refused(_file(tmp_path, gzip.compress(_make())), context, StorageError, "scratch")


def test_reasons_quote_no_library(context: ReadContext, tmp_path: Path) -> None:
    content = bytearray(gzip.compress(_make(), mtime=0))
    content[12:40] = b"\xff" * 28
    found = _one(_file(tmp_path, bytes(content)), context)
    assert isinstance(found, Refusal)
    assert str(found.error) == "the gzip data are damaged: they cannot be unpacked"


def test_recognition_looks_at_content() -> None:
    reader, path = NiftiReader(), Path("x")
    assert reader.recognises(path, _make())
    assert reader.recognises(path, _make(version=2, order=">"))
    assert reader.recognises(path, gzip.compress(_make())[:200])
    for other in (b"", b"\x1f\x8b", b"\x1f\x8b" + bytes(100), gzip.compress(bytes(5000)), bytes(4096)):
        assert not reader.recognises(path, other)


# Pairs


def _pair(tmp_path: Path, version: int = 1, order: str = "<", dtype: str = "int16") -> tuple[Path, Any]:
    """A pair that nibabel wrote."""
    kind = nib.Nifti1Pair if version == 1 else nib.Nifti2Pair
    header = kind.header_class(endianness=order)
    header.set_data_dtype(np.dtype(dtype).newbyteorder(order))
    image = kind(np.arange(60).reshape(5, 4, 3).astype(dtype), np.diag([0.5, 0.75, 2, 1]), header)
    nib.save(image, tmp_path / "pair.hdr")
    return tmp_path / "pair.hdr", nib.load(tmp_path / "pair.hdr")


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float64"])
def test_pairs_equal_nibabel_and_become_one_file(
    version: int, order: str, dtype: str, context: ReadContext, tmp_path: Path
) -> None:
    path, image = _pair(tmp_path, version, order, dtype)
    assert NiftiReader().recognises(path, path.read_bytes()[:4096])
    assert NiftiReader().companions(path) == (tmp_path / "pair.img",)
    source = _read(path, context)
    assert [file.path for file in source.files] == [path, tmp_path / "pair.img"]
    assert source.series.dtype == dtype
    assert np.array_equal(_volume(source), _reference(image))
    assert np.array_equal(np.asarray(source.series.affine), image.affine)
    assert source.attachments[HEADER] == path.read_bytes()
    _export(source, tmp_path / "out.nii")
    single = nib.load(tmp_path / "out.nii")
    assert type(single) is (nib.Nifti1Image if version == 1 else nib.Nifti2Image)
    assert single.header.endianness == order
    assert np.array_equal(_reference(single), _reference(image))
    assert np.array_equal(single.affine, image.affine)
    half = source.series.at_level(1)
    frames = [frame[::2, ::2] for frame in source.read_frames()]
    NiftiWriter().write(Rendition(half, source.series, frames, source.attachments), tmp_path / "half.nii")
    assert np.array_equal(_reference(nib.load(tmp_path / "half.nii")), np.stack(frames))


def test_pairs_keep_extensions_and_what_surrounds_voxels(context: ReadContext, tmp_path: Path) -> None:
    path, image = _pair(tmp_path)
    expected = _reference(image).copy()
    header = image.header.copy()
    header["vox_offset"] = 16
    extension = b"\1\0\0\0" + struct.pack("<ii", 32, 6) + b"a comment".ljust(24, b"\0")
    path.write_bytes(bytes(header.binaryblock) + extension)
    voxels = (tmp_path / "pair.img").read_bytes()
    (tmp_path / "pair.img").write_bytes(b"0123456789abcdef" + voxels + b"tail")
    source = _read(path, context)
    assert np.array_equal(_volume(source), expected)
    assert source.attachments[nifti.PREFIX] == b"0123456789abcdef"
    assert source.attachments[TRAILER] == b"tail"
    content = _export(source, tmp_path / "out.nii")
    assert content.endswith(voxels + b"tail")
    single = nib.load(tmp_path / "out.nii")
    assert single.header.extensions[0].get_content() == b"a comment"
    assert np.array_equal(_reference(single), expected)


def test_gzipped_pairs_are_the_same_series(context: ReadContext, tmp_path: Path) -> None:
    path, image = _pair(tmp_path)
    expected = _reference(image).copy()
    plain = _read(path, context)
    voxels = tmp_path / "pair.img"
    (tmp_path / "pair.img.gz").write_bytes(gzip.compress(voxels.read_bytes()))
    voxels.unlink()
    half = _read(path, context)
    assert half.series == plain.series
    assert half.files[1].path == tmp_path / "pair.img.gz"
    packed = _file(tmp_path, gzip.compress(path.read_bytes()), "pair.hdr.gz")
    both = _read(packed, context)
    assert both.series == plain.series
    assert NiftiReader().companions(packed) == (tmp_path / "pair.img.gz",)
    assert np.array_equal(_volume(both), expected)
    assert NiftiReader().companions(_file(tmp_path, _make())) == ()
    other = _file(tmp_path, path.read_bytes(), "other.hdr")
    _file(tmp_path, expected[::-1].tobytes(), "other.img")
    assert _read(other, context).series.uid != plain.series.uid


def test_bad_pairs_are_refused(context: ReadContext, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    path, _ = _pair(folder)
    voxels = folder / "pair.img"
    content = voxels.read_bytes()
    voxels.write_bytes(content[:-1])
    _refused(path, context, CorruptFileError, "truncated")
    voxels.write_bytes(content + bytes(nifti.TRAILER_BYTES + 1))
    _refused(path, context, CorruptFileError, "more than")
    voxels.write_bytes(gzip.compress(content)[:-9])
    _refused(path, context, CorruptFileError, "truncated")
    voxels.unlink()
    _refused(path, context, CorruptFileError, "missing")
    with pytest.raises(CorruptFileError, match="missing"):
        NiftiReader().companions(path)
    (tmp_path / "elsewhere").write_bytes(content)
    voxels.symlink_to(tmp_path / "elsewhere")
    _refused(path, context, UnsupportedFileError, "out of the folder")
    voxels.unlink()
    voxels.symlink_to(path)
    _refused(path, context, CorruptFileError, "header itself")
    voxels.unlink()
    os.mkfifo(voxels)
    _refused(path, context, CorruptFileError, "no file")
    voxels.unlink()
    voxels.write_bytes(content)
    path.write_bytes(path.read_bytes() + bytes(2000))
    limited = ReadContext(Limits(header_bytes=1000), tmp_path)
    _refused(path, limited, LimitExceededError, "header_bytes")


# Analyze 7.5


def _analyze(
    tmp_path: Path, order: str = "<", dtype: str = "int16", kind: Any = nib.AnalyzeImage, **fields: Any
) -> tuple[Path, Any]:
    """A pair that nibabel wrote, and what it reads of it."""
    header = kind.header_class(endianness=order)
    header.set_data_dtype(np.dtype(dtype).newbyteorder(order))
    header.set_data_shape((5, 4, 3))
    header.set_zooms((0.5, 0.75, 2.0))
    image = kind(np.arange(60).reshape(5, 4, 3).astype(dtype), None, header)
    path = tmp_path / "old.hdr"
    image.to_filename(path)
    for matrix in tmp_path.glob("*.mat"):  # where SPM puts an affine; no part of the format
        matrix.unlink()
    header = kind.from_filename(path).header.copy()
    for name, value in fields.items():
        header[name] = value
    path.write_bytes(header.binaryblock)
    return path, kind.from_filename(path)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32", "float64", "complex64"])
def test_analyze_equals_nibabel_and_comes_back_byte_for_byte(
    order: str, dtype: str, context: ReadContext, tmp_path: Path
) -> None:
    path, image = _analyze(tmp_path, order, dtype)
    assert image.header.endianness == order
    assert NiftiReader().recognises(path, path.read_bytes())
    assert NiftiReader().companions(path) == (tmp_path / "old.img",)
    source = _read(path, context)
    series = source.series
    assert (series.format, series.dtype, series.spacing) == ("nifti", dtype, (2.0, 0.75, 0.5))
    assert np.array_equal(_volume(source), _reference(image))
    assert np.array_equal(np.asarray(series.affine), image.affine)
    assert any("orientation" in note for note in series.notes)
    reported: list[str] = []
    rendition = Rendition(
        series, series, source.read_frames(), source.attachments, report=lambda note: reported.append(note)
    )
    (single,) = NiftiWriter().write(rendition, tmp_path / "out.nii")
    assert any("orientation" in note for note in reported)
    written = nib.load(single)
    assert type(written) is nib.Nifti1Image
    assert np.array_equal(_reference(written), _reference(image))
    assert np.array_equal(written.affine, image.affine)
    back = NiftiWriter().write(replace(rendition, frames=source.read_frames()), tmp_path / "back.hdr")
    assert back == [tmp_path / "back.hdr", tmp_path / "back.img"]
    assert back[0].read_bytes() == path.read_bytes()
    assert back[1].read_bytes() == (tmp_path / "old.img").read_bytes()
    half = series.at_level(1)
    frames = [np.ascontiguousarray(frame[::2, ::2]) for frame in source.read_frames()]
    lower = Rendition(half, series, frames, source.attachments)
    NiftiWriter().write(lower, tmp_path / "half.nii")
    assert np.array_equal(_reference(nib.load(tmp_path / "half.nii")), np.stack(frames))
    assert np.allclose(nib.load(tmp_path / "half.nii").affine, half.affine)
    with pytest.raises(ExportRefusedError, match="full resolution"):
        NiftiWriter().write(lower, tmp_path / "half.hdr")


@pytest.mark.parametrize("origin", [(2, 1, 3), (0, 0, 0)])
@pytest.mark.parametrize("scale", [0.0, 1.0, 0.25])
def test_analyze_of_spm(
    origin: tuple[int, int, int], scale: float, context: ReadContext, tmp_path: Path
) -> None:
    fields = {"origin": (*origin, 0, 0), "scl_slope": scale}
    path, image = _analyze(tmp_path, kind=nib.Spm99AnalyzeImage, **fields)
    series = _read(path, context).series
    assert np.array_equal(np.asarray(series.affine), image.affine)
    assert (series.rescale_slope, series.rescale_intercept) == (scale or 1.0, 0.0)
    assert any("scale factor" in note for note in series.notes) == (scale == 0.25)


def test_analyze_in_gzip_and_of_four_axes(context: ReadContext, tmp_path: Path) -> None:
    path, _ = _analyze(tmp_path, dim=[4, 5, 4, 3, 1, 0, 0, 0])
    plain = _read(path, context)
    packed = _file(tmp_path, gzip.compress(path.read_bytes()), "old.hdr.gz")
    path.unlink()
    assert NiftiReader().recognises(packed, packed.read_bytes())
    assert _read(packed, context).series == plain.series


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (70, struct.pack("<2h", 128, 24), "samples of colours"),
        (70, struct.pack("<2h", 1, 1), "binary"),
        (108, struct.pack("<f", float("nan")), "vox_offset"),
        (44, struct.pack("<h", 0), "dim holds 0"),
        (44, struct.pack("<h", 300), "truncated"),
    ],
)
def test_bad_analyze_is_refused(
    place: int, value: bytes, words: str, context: ReadContext, tmp_path: Path
) -> None:
    path, _ = _analyze(tmp_path)
    content = bytearray(path.read_bytes())
    content[place : place + len(value)] = value
    path.write_bytes(content)
    found = _one(path, context)
    assert isinstance(found, Refusal)
    assert isinstance(found.error, CorruptFileError | UnsupportedFileError)
    assert words in str(found.error)


def test_unusable_sizes_of_analyze_are_noted(context: ReadContext, tmp_path: Path) -> None:
    path, _ = _analyze(tmp_path)
    content = bytearray(path.read_bytes())
    content[80:92] = struct.pack("<3f", float("nan"), 1e38, 0)
    path.write_bytes(content)
    series = _read(path, context).series
    assert series.affine is None
    assert any("position is unknown" in note for note in series.notes)


def test_what_is_no_analyze() -> None:
    header = bytes(nib.AnalyzeHeader().binaryblock)
    reader, path = NiftiReader(), Path("a.hdr")
    assert not reader.recognises(path, header)  # without dimensions
    made = nib.AnalyzeHeader()
    made.set_data_shape((5, 4, 3))
    whole = bytes(made.binaryblock)
    assert reader.recognises(path, whole)
    assert not reader.recognises(path, whole + b"x")
    assert not reader.recognises(path, whole[:-1])
    for place, other in ((0, b"\x5d"), (40, b"\x08"), (70, b"\x03"), (72, b"\x07")):
        assert not reader.recognises(path, whole[:place] + other + whole[place + 1 :])


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("order", ["<", ">"])
def test_pairs_come_back_byte_for_byte(
    version: int, order: str, context: ReadContext, tmp_path: Path
) -> None:
    path, image = _pair(tmp_path, version, order)
    header = image.header.copy()
    header["vox_offset"] = 16
    path.write_bytes(bytes(header.binaryblock) + b"\1\0\0\0" + struct.pack(f"{order}ii", 16, 6) + b"8 bytes.")
    voxels = tmp_path / "pair.img"
    voxels.write_bytes(b"0123456789abcdef" + voxels.read_bytes() + b"tail")
    source = _read(path, context)
    rendition = Rendition(source.series, source.series, source.read_frames(), source.attachments)
    written = NiftiWriter().write(rendition, tmp_path / "BACK.HDR")
    assert [file.name for file in written] == ["BACK.HDR", "BACK.IMG"]
    assert [file.read_bytes() for file in written] == [path.read_bytes(), voxels.read_bytes()]


def test_only_pairs_leave_as_pairs(context: ReadContext, tmp_path: Path) -> None:
    source = _read(_file(tmp_path, _make()), context)
    rendition = Rendition(source.series, source.series, source.read_frames(), source.attachments)
    with pytest.raises(ExportRefusedError, match="came as a pair"):
        NiftiWriter().write(rendition, tmp_path / "out.hdr")
    assert not (tmp_path / "out.hdr").exists()


SEEDS = [_make(), _make("float32", order=">", version=2), gzip.compress(_make("uint8"), mtime=0)]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, len(SEEDS) - 1),
    edits=st.lists(st.tuples(st.integers(0, 700), st.binary(min_size=1, max_size=8)), max_size=4),
    cut=st.integers(0, 900),
)
def test_mutated_bytes_never_escape(
    seed: int, edits: list[tuple[int, bytes]], cut: int, tmp_path: Path
) -> None:
    content = bytearray(SEEDS[seed])
    for position, piece in edits:
        at = position % len(content)
        content[at : at + len(piece)] = piece
    if cut < 300:
        content = content[: len(content) - cut]
    limits = Limits(frame_pixels=1 << 20, frames=1 << 10, file_bytes=1 << 26, header_bytes=1 << 16)
    path = _file(tmp_path, bytes(content))
    NiftiReader().recognises(path, bytes(content[:4096]))
    (found,) = NiftiReader().read([path], ReadContext(limits, tmp_path / "scratch"))
    if isinstance(found, SourceSeries):
        assert sum(frame.nbytes for frame in found.read_frames()) == found.series.pixel_bytes
        if found.series.affine is not None:
            assert np.isfinite(np.asarray(found.series.affine)).all()
    else:
        assert isinstance(found.error, ImariumError)


@settings(max_examples=60, deadline=None)
@given(
    pieces=st.lists(st.binary(max_size=300), max_size=5), chunk=st.integers(1, 64), level=st.integers(0, 9)
)
def test_inflating_equals_gzip(pieces: list[bytes], chunk: int, level: int) -> None:
    packed = b"".join(gzip.compress(piece, level) for piece in pieces) or gzip.compress(b"")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_unpacking, "CHUNK", chunk)
        patch.setattr(_unpacking, "_AT_ONCE", chunk)
        found = b"".join(_unpacking.inflate(io.BytesIO(packed).read, []))
    assert found == b"".join(pieces)


# Writing


def _series(**changes: Any) -> Series:
    values: dict[str, Any] = {
        "uid": "2.25.1",
        "study_uid": "2.25.2",
        "format": "dicom",
        "frames": 6,
        "rows": 4,
        "columns": 5,
        "dtype": "int16",
        "dimensions": (2, 3),
        "affine": (
            (-0.5, 0.0, 0.0, 10.0),
            (0.0, -0.75, 0.0, 20.0),
            (0.0, 0.0, 2.0, 30.0),
            (0.0, 0.0, 0.0, 1.0),
        ),
        "time_step": 1.5,
        "rescale_slope": 2.0,
        "rescale_intercept": -1024.0,
    }
    return Series(**(values | changes))


def _frames(series: Series) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(1)
    return [rng.integers(0, 200, series.frame_shape).astype(series.dtype) for _ in range(series.frames)]


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "A.NII.GZ"])
def test_dicom_sources_lie_where_they_lay(name: str, tmp_path: Path) -> None:
    series = _series()
    frames = _frames(series)
    NiftiWriter().write(Rendition(series, series, iter(frames), {}), tmp_path / name)
    image = nib.load(tmp_path / name)
    header = image.header
    assert image.shape == (5, 4, 3, 2)
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 1)
    assert header.get_xyzt_units() == ("mm", "sec")
    assert header.get_zooms() == (0.5, 0.75, 2.0, 1.5)
    assert np.allclose(header.get_qform(), header.get_sform())
    assert bytes(header["descrip"]).startswith(b"Imarium ")
    values = image.get_fdata()
    affine = np.asarray(series.affine)
    for t, k, row, column in [(0, 0, 0, 0), (1, 2, 3, 4), (1, 0, 2, 1)]:
        place = affine @ [column, row, k, 1]
        i, j, slice_, _ = np.rint(np.linalg.inv(image.affine) @ place).astype(int)
        assert np.allclose(image.affine @ [i, j, slice_, 1], place)
        assert values[i, j, slice_, t] == frames[t * 3 + k][row, column] * 2 - 1024


def test_slopes_that_differ_between_frames(tmp_path: Path) -> None:
    pairs = tuple((float(index + 1), float(-index)) for index in range(6))
    series = _series(frame_rescale=pairs, rescale_slope=1.0, rescale_intercept=0.0)
    frames = _frames(series)
    NiftiWriter().write(Rendition(series, series, iter(frames), {}), tmp_path / "a.nii")
    image = nib.load(tmp_path / "a.nii")
    assert image.get_data_dtype() == np.float32
    assert (float(image.dataobj.slope), float(image.dataobj.inter)) == (1, 0)
    assert b"; rescaled frame by frame" in bytes(image.header["descrip"])
    values = [frame[::-1] * slope + inter for frame, (slope, inter) in zip(frames, pairs, strict=True)]
    assert np.array_equal(image.get_fdata().T, np.stack(values).reshape(series.volume_shape))


def test_sheared_and_unknown_positions(tmp_path: Path) -> None:
    sheared = np.asarray(_series().affine)
    sheared[1, 2] = 0.8
    series = _series(affine=tuple(map(tuple, sheared.tolist())))
    path = tmp_path / "a.nii"
    NiftiWriter().write(Rendition(series, series, _frames(series), {}), path)
    header = nib.load(path).header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 0)
    series = _series(affine=None)
    NiftiWriter().write(Rendition(series, series, _frames(series), {}), path)
    header = nib.load(path).header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (0, 0)
    assert b"unknown" in bytes(header["descrip"])


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"dtype": "uint16"}, 512),
        ({"dtype": "float64"}, 64),
        ({"dtype": "uint8", "samples": 3, "photometric": "RGB"}, 128),
        ({"dtype": "uint8", "samples": 4, "photometric": "RGB"}, 2304),
        ({"dtype": "uint8", "samples": 3, "photometric": "YBR_FULL"}, 128),
    ],
)
def test_types_that_nifti_holds(changes: dict[str, Any], code: int, tmp_path: Path) -> None:
    series = _series(**changes)
    NiftiWriter().write(Rendition(series, series, _frames(series), {}), tmp_path / "a.nii")
    assert int(nib.load(tmp_path / "a.nii").header["datatype"]) == code


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": "png"}, "png source"),
        ({"format": "jpeg"}, "jpeg source"),
        ({"dtype": "uint16", "samples": 3, "photometric": "RGB"}, "3 x uint16"),
        ({"dtype": "float16"}, "float16"),
        ({"dtype": "uint8", "samples": 2}, "2 x uint8"),
        ({"dtype": "uint8", "samples": 3, "photometric": "YBR_PARTIAL_420"}, "YBR_PARTIAL_420"),
        ({"dtype": "uint8", "samples": 3, "photometric": "HSV"}, "HSV"),
    ],
)
def test_exports_that_are_refused(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    series = _series(**changes)
    with pytest.raises(ExportRefusedError, match=words):
        NiftiWriter().write(Rendition(series, series, _frames(series), {}), tmp_path / "a.nii")
    assert list(tmp_path.iterdir()) == []


def test_other_refusals_of_the_writer(tmp_path: Path) -> None:
    series = _series()
    with pytest.raises(InvalidRequestError, match=r"\.nii"):
        NiftiWriter().write(Rendition(series, series, _frames(series), {}), tmp_path / "a.hdr")
    with pytest.raises(InvalidRequestError):
        NiftiWriter(compression=0)
    for frames in (
        _frames(series)[:-1],
        [*_frames(series), _frames(series)[0]],
        _frames(_series(dtype="uint8")),
    ):
        with pytest.raises(IntegrityError):
            NiftiWriter().write(Rendition(series, series, frames, {}), tmp_path / "a.nii")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError):
        NiftiWriter().write(Rendition(series, series, _frames(series), {}), tmp_path / "file" / "a.nii")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_output_is_the_same_every_time(tmp_path: Path) -> None:
    series = _series()
    contents = []
    for name in ("a.nii.gz", "b.nii.gz"):
        NiftiWriter().write(Rendition(series, series, _frames(series), {}), tmp_path / name)
        contents.append((tmp_path / name).read_bytes())
    assert contents[0] == contents[1]
    assert zlib.decompressobj(31).decompress(contents[0])[:4] == b"\x5c\1\0\0"


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("version", [1, 2])
def test_lower_levels_cover_the_same_place(
    order: str, version: int, context: ReadContext, tmp_path: Path
) -> None:
    made = nib.Nifti1Header()
    made.set_qform(np.diag([-0.5, 0.75, 2, 1]) + np.array([[0, 0, 0, 7]] * 3 + [[0] * 4]), code=1)
    placed = {name: made[name] for name in ("qoffset_x", "qoffset_y", "qoffset_z", "quatern_b", "quatern_c")}
    placed |= {"quatern_d": made["quatern_d"], "pixdim": made["pixdim"], "qform_code": 1}
    placed |= {"srow_x": made.get_qform()[0], "srow_y": made.get_qform()[1], "srow_z": made.get_qform()[2]}
    content = _make("int16", (9, 7, 3), order=order, version=version, scl_slope=3.0, **placed)
    source = _read(_file(tmp_path, content), context)
    full = source.series
    half = full.at_level(1)
    frames = [frame[::2, ::2] for frame in source.read_frames()]
    NiftiWriter().write(Rendition(half, full, frames, source.attachments), tmp_path / "half.nii")
    image = nib.load(tmp_path / "half.nii")
    assert image.header.endianness == order
    assert image.shape == (5, 4, 3)
    assert np.allclose(image.affine, np.asarray(half.affine))
    assert np.allclose(image.header.get_qform(), image.header.get_sform())
    assert np.allclose(image.header.get_zooms(), (1.0, 1.5, 2.0))
    assert image.dataobj.slope == 3.0
    assert np.array_equal(np.asanyarray(image.dataobj.get_unscaled()).T, np.stack(frames))
