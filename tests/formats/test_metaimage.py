"""MetaImage: exact against SimpleITK and NumPy, and bad files refused with a reason."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imarium.errors import (
    CorruptFileError,
    ImariumError,
    LimitExceededError,
    RefusedFileError,
    UnsupportedFileError,
)
from imarium.formats.base import ReadContext
from imarium.formats.metaimage import HEADER, MetaImageReader
from imarium.formats.nifti import NiftiWriter
from imarium.model import Rendition, SourceSeries
from imarium.model.geometry import LPS_TO_RAS
from imarium.settings import Limits
from imarium.testing.reading import Reading, affine_of, volume_of

TYPES = {
    "MET_CHAR": "int8", "MET_UCHAR": "uint8", "MET_SHORT": "int16", "MET_USHORT": "uint16",
    "MET_INT": "int32", "MET_UINT": "uint32", "MET_LONG": "int32", "MET_ULONG": "uint32",
    "MET_LONG_LONG": "int64", "MET_ULONG_LONG": "uint64", "MET_FLOAT": "float32", "MET_DOUBLE": "float64",
}  # fmt: skip
VALUES = np.arange(60, dtype="<i2").reshape(3, 4, 5) * 37 - 1000


@pytest.fixture
def context(tmp_path: Path) -> ReadContext:
    return ReadContext(Limits(), tmp_path / "scratch")


READING = Reading(MetaImageReader())


def _header(**fields: Any) -> bytes:
    """A header with the fields of a volume of 5 x 4 x 3, others replaced; None leaves one out."""
    values = {
        "ObjectType": "Image",
        "NDims": 3,
        "DimSize": "5 4 3",
        "ElementType": "MET_SHORT",
        "ElementSpacing": "1 1 1",
        "ElementDataFile": "LOCAL",
    }
    last = fields.pop("ElementDataFile", values.pop("ElementDataFile"))
    values |= fields
    values["ElementDataFile"] = last
    return "".join(f"{key} = {value}\n" for key, value in values.items() if value is not None).encode()


def _file(tmp_path: Path, content: bytes, name: str = "a.mha") -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("encoding", ["raw", "zlib", "gzip", "text"])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("kind", TYPES)
def test_every_type_encoding_and_byte_order(
    kind: str, big: bool, encoding: str, context: ReadContext, tmp_path: Path
) -> None:
    dtype = np.dtype(TYPES[kind])
    if dtype.kind == "f":
        values = np.random.default_rng(0).normal(size=60).astype(dtype)
    else:
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        values = np.random.default_rng(0).integers(low, high, 60, dtype, endpoint=True)
        values[:2] = low, high
    raw = values.astype(dtype.newbyteorder(">" if big else "<")).tobytes()
    fields = {"ElementType": kind, "BinaryDataByteOrderMSB" if big else "ElementByteOrderMSB": big}
    match encoding:
        case "zlib" | "gzip":
            data = zlib.compress(raw) if encoding == "zlib" else gzip.compress(raw)
            fields |= {"CompressedData": True, "CompressedDataSize": len(data)}
        case "text":
            data = " ".join(repr(value.item()) for value in values).encode()
            fields |= {"BinaryData": False}
        case _:
            data = raw
    path = _file(tmp_path, _header(**fields) + data)
    source = READING.read(path, context)
    assert source.series.dtype == dtype.name
    ours = volume_of(source)
    assert ours.tobytes() == values.tobytes()
    if encoding in ("raw", "zlib"):
        theirs = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
        assert theirs.dtype == ours.dtype
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("suffix", [".mha", ".mhd"])
def test_what_simpleitk_writes(compress: bool, suffix: str, context: ReadContext, tmp_path: Path) -> None:
    values = np.random.default_rng(1).integers(-99, 99, (3, 4, 5)).astype(np.int16)
    image = SimpleITK.GetImageFromArray(values)
    image.SetSpacing((0.5, 0.75, 2))
    image.SetOrigin((1, -2, 3))
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0]
    image.SetDirection(turn.ravel())
    path = tmp_path / f"image{suffix}"
    SimpleITK.WriteImage(image, str(path), compress)
    assert MetaImageReader().recognises(path, path.read_bytes()[:4096])
    source = READING.read(path, context)
    assert np.array_equal(volume_of(source), values)
    assert np.allclose(np.asarray(source.series.affine), affine_of(image), rtol=0, atol=1e-12)
    assert source.series.notes == ()
    beside = MetaImageReader().companions(path)
    assert len(beside) == (suffix == ".mhd")
    assert [file.path for file in source.files] == [path, *beside]
    header = source.attachments[HEADER]
    assert path.read_bytes().startswith(header)
    assert header.split(b"\n")[-2].startswith(b"ElementDataFile")
    out = tmp_path / "out.nii"
    rendition = Rendition(source.series, source.series, source.read_frames(), source.attachments)
    assert NiftiWriter().write(rendition, out) == [out]
    assert np.allclose(nib.load(out).affine, affine_of(image), atol=1e-6)
    assert np.array_equal(np.asanyarray(nib.load(out).dataobj).T, values)


def test_real_voxels_through_simpleitk(shared_data: Path, context: ReadContext, tmp_path: Path) -> None:
    origin = shared_data / "slicer" / "CTChest4.nrrd"
    if not origin.exists():
        pytest.skip("CTChest4.nrrd is not there")
    image = SimpleITK.ReadImage(str(origin))
    path = tmp_path / "chest.mha"
    SimpleITK.WriteImage(image, str(path), True)
    source = READING.read(path, context)
    assert np.array_equal(volume_of(source), SimpleITK.GetArrayFromImage(image))
    assert np.allclose(np.asarray(source.series.affine), affine_of(image), rtol=0, atol=1e-9)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
@pytest.mark.parametrize("channels", [2, 3, 4, 6])
def test_channels(channels: int, dtype: str, context: ReadContext, tmp_path: Path) -> None:
    values = np.random.default_rng(3).integers(0, 99, (3, 4, 5, channels)).astype(dtype)
    path = tmp_path / "a.mha"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(values, isVector=True), str(path), channels == 6)
    source = READING.read(path, context)
    if dtype == "uint8" and channels in (3, 4):
        assert (source.series.samples, source.series.photometric) == (channels, "RGB")
        assert np.array_equal(volume_of(source), values)
    else:
        assert source.series.samples == 1
        assert source.series.dimensions == (channels, 3)
        assert np.array_equal(volume_of(source), np.moveaxis(values, -1, 0))


@pytest.mark.parametrize(
    ("shape", "dimensions"), [((4, 5), (1,)), ((2, 3, 4, 5), (2, 3)), ((2, 1, 3, 4, 5), (2, 3))]
)
def test_dimensions(
    shape: tuple[int, ...], dimensions: tuple[int, ...], context: ReadContext, tmp_path: Path
) -> None:
    values = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    path = tmp_path / "a.mha"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(values, isVector=False), str(path))
    source = READING.read(path, context)
    assert source.series.dimensions == dimensions
    assert np.array_equal(volume_of(source), values.reshape(source.series.volume_shape))
    assert np.array_equal(np.asarray(source.series.affine), LPS_TO_RAS)


def test_geometry_and_facts(context: ReadContext, tmp_path: Path) -> None:
    data = VALUES.tobytes()
    fields: dict[str, Any] = {"Rotation": "0 1 0 0 0 1 1 0 0", "Position": "1 2 3"}
    fields |= {"ElementSpacing": None, "ElementSize": "0.5 0.75 2", "Modality": "MET_MOD_CT"}
    fields |= {"ElementToIntensityFunctionSlope": 2, "ElementToIntensityFunctionOffset": -1024}
    series = READING.read(_file(tmp_path, _header(**fields) + data), context).series
    expected = LPS_TO_RAS @ [[0, 0, 2, 1], [0.5, 0, 0, 2], [0, 0.75, 0, 3], [0, 0, 0, 1]]
    assert np.array_equal(np.asarray(series.affine), expected)
    assert (series.modality, series.rescale_slope, series.rescale_intercept) == ("CT", 2, -1024)
    series = READING.read(_file(tmp_path, _header(**fields, DistanceUnits="cm") + data), context).series
    assert np.allclose(np.asarray(series.affine)[:3], expected[:3] * 10)
    series = READING.read(_file(tmp_path, _header(ElementSpacing=None) + data), context).series
    assert series.affine is None
    series = READING.read(_file(tmp_path, _header(TransformMatrix="0 " * 9) + data), context).series
    assert series.affine is None
    assert "position is unknown" in series.notes[-1]


def test_header_size(context: ReadContext, tmp_path: Path) -> None:
    data = VALUES.tobytes()
    (tmp_path / "data").write_bytes(b"12345" + data)
    for size in (5, -1):
        path = _file(tmp_path, _header(HeaderSize=size, ElementDataFile="data"), "a.mhd")
        assert np.array_equal(volume_of(READING.read(path, context)), VALUES)
        assert np.array_equal(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))), VALUES)
    path = _file(tmp_path, _header(HeaderSize=-1) + b"between" + data)
    assert np.array_equal(volume_of(READING.read(path, context)), VALUES)
    path = _file(tmp_path, _header(HeaderSize=500).ljust(500, b" ") + data)
    assert np.array_equal(volume_of(READING.read(path, context)), VALUES)
    READING.refused(_file(tmp_path, _header(HeaderSize=5) + data), context, CorruptFileError, "HeaderSize")


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(
    ("data_file", "names", "listed"),
    [
        ("LIST", ["s 1.raw", "s0.raw", "x.raw"], True),
        ("LIST 2D", ["s1", "s0", "x"], True),
        ("LIST 3", ["all"], True),
        ("s%03d.raw 1 3 1", ["s001.raw", "s002.raw", "s003.raw"], False),
        ("s%d.raw 6", ["s6.raw", "s7.raw", "s8.raw"], False),
        ("s%d.raw 2 6 2", ["s2.raw", "s4.raw", "s6.raw"], False),
        ("sub/one.raw", ["sub/one.raw"], False),
        ("one file.raw", ["one file.raw"], False),
    ],
)
def test_several_data_files(
    data_file: str, names: list[str], listed: bool, compressed: bool, context: ReadContext, tmp_path: Path
) -> None:
    (tmp_path / "sub").mkdir()
    share = len(VALUES.tobytes()) // len(names)
    for number, name in enumerate(names):
        data = VALUES.tobytes()[number * share : (number + 1) * share]
        (tmp_path / name).write_bytes(zlib.compress(data) if compressed else data)
    content = _header(CompressedData=compressed, ElementDataFile=data_file)
    content += "".join(f"{name}\n" for name in names).encode() if listed else b""
    path = _file(tmp_path, content, "a.mhd")
    source = READING.read(path, context)
    assert np.array_equal(volume_of(source), VALUES)
    assert MetaImageReader().companions(path) == tuple(tmp_path / name for name in names)
    assert [file.path for file in source.files] == [path, *(tmp_path / name for name in names)]
    assert source.attachments[HEADER] == content
    if not compressed:
        last = tmp_path / names[-1]
        last.write_bytes(last.read_bytes()[::-1])
        with pytest.raises(CorruptFileError, match="changed"):
            list(source.read_frames())
        assert READING.read(path, context).series.uid != source.series.uid


@pytest.mark.parametrize(
    ("data_file", "kind", "words"),
    [
        ("../secret", UnsupportedFileError, "folder"),
        ("/etc/passwd", UnsupportedFileError, "folder"),
        ("link", UnsupportedFileError, "by a link"),
        ("nothing", CorruptFileError, "not in its folder"),
        ("a.mhd", CorruptFileError, "header itself"),
        ("pipe", CorruptFileError, "no file"),
        ("LIST\nx\nx\nx", CorruptFileError, "named twice"),
        ("LIST\nx\ny", CorruptFileError, "make up"),
        ("%d%d 1 3 1", CorruptFileError, "one %d"),
        ("%d 3 1 1", CorruptFileError, "are none"),
        ("%d 1 999999999 1", LimitExceededError, "data files"),
        ("%" + " " * 4000 + "x", CorruptFileError, "one %d"),
        ("x" * 5000, CorruptFileError, "characters"),
        ("x", CorruptFileError, "truncated"),
    ],
)
def test_data_files_that_are_refused(
    data_file: str, kind: type[ImariumError], words: str, context: ReadContext, tmp_path: Path
) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(VALUES.tobytes())
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "x").write_bytes(b"x")
    (folder / "y").write_bytes(b"y")
    os.mkfifo(folder / "pipe")
    path = _file(folder, _header(ElementDataFile=data_file), "a.mhd")
    READING.refused(path, context, kind, words)
    if words != "truncated":
        with pytest.raises(kind):
            MetaImageReader().companions(path)


@pytest.mark.parametrize("size", ["1e300", "1e160", "1e-200", "1e12"])
def test_sizes_beyond_reason_are_not_used(size: str, context: ReadContext, tmp_path: Path) -> None:
    """Lengths whose squares overflow or vanish would make facts that are no numbers."""
    header = _header(ElementSpacing=f"{size} 1 {size}")
    series = READING.read(_file(tmp_path, header + VALUES.tobytes()), context).series
    assert series.affine is None
    assert any("plausible" in note for note in series.notes)


def _bad_files() -> Iterator[tuple[str, bytes, type[ImariumError], str]]:
    data = VALUES.tobytes()
    yield "empty", b"", CorruptFileError, "empty"
    yield "truncated", _header() + data[:-1], CorruptFileError, "truncated"
    yield "header cut", _header()[:-24], CorruptFileError, "ElementDataFile is missing"
    yield "mesh", _header(ObjectType="Mesh") + data, UnsupportedFileError, "no image"
    yield "no line", b"hello\n" + _header() + data, CorruptFileError, "Key = Value"
    yield "no sizes", _header(DimSize=None) + data, CorruptFileError, "DimSize"
    yield "few sizes", _header(DimSize="5 4") + data, CorruptFileError, "DimSize"
    yield "zero", _header(DimSize="5 0 3") + data, CorruptFileError, "0"
    yield "11 axes", _header(NDims=11, DimSize="1 " * 11) + data, CorruptFileError, "NDims"
    yield "one axis", _header(NDims=1, DimSize="60") + data, UnsupportedFileError, "no image"
    yield "no type", _header(ElementType="MET_STRING") + data, UnsupportedFileError, "ElementType"
    yield "order", _header(BinaryDataByteOrderMSB="maybe") + data, CorruptFileError, "neither True"
    yield "channels", _header(ElementNumberOfChannels=0) + data, CorruptFileError, "Channels"
    yield "channels cut", _header(ElementNumberOfChannels=2) + data, CorruptFileError, "truncated"
    yield "spacing", _header(ElementSpacing="1 2") + data, CorruptFileError, "3 were expected"
    yield "spacing text", _header(ElementSpacing="1 2 x") + data, CorruptFileError, "else than numbers"
    yield "matrix", _header(TransformMatrix="1 2 3") + data, CorruptFileError, "9 were expected"
    yield "pixels", _header(DimSize="99999 99999 3") + data, LimitExceededError, "frame_pixels"
    yield "slices", _header(DimSize="5 4 9999999") + data, LimitExceededError, "limits.frames"
    many = _header(ElementNumberOfChannels=9999999) + data
    yield "many channels", many, LimitExceededError, "limits.frames"
    large = _header(DimSize="16384 16384 999999") + data
    yield "beyond file bytes", large, LimitExceededError, "limits.file_bytes"
    zipped = _header(CompressedData=True)
    yield "zlib cut", zipped + zlib.compress(data)[:-4], CorruptFileError, "truncated"
    size = len(zlib.compress(data)) - 4
    sized = _header(CompressedData=True, CompressedDataSize=size) + zlib.compress(data)
    yield "zlib size", sized, CorruptFileError, "truncated"
    yield "zlib garbage", zipped + data, CorruptFileError, "damaged"
    yield "zlib short", zipped + zlib.compress(data[:-1]), CorruptFileError, "truncated"
    yield "zlib long", zipped + zlib.compress(data + bytes(1 << 20)), CorruptFileError, "follow"
    bomb = _header(CompressedData=True, DimSize="9999 9999 99") + zlib.compress(bytes(1 << 22))
    yield "zlib bomb", bomb, CorruptFileError, "cannot hold"
    both = _header(CompressedData=True, BinaryData=False) + data
    yield "compressed text", both, UnsupportedFileError, "text"
    yield "text", _header(BinaryData=False) + b"1 " * 59 + b"x ", CorruptFileError, "else than numbers"


BAD = {name: rest for name, *rest in _bad_files()}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused(name: str, context: ReadContext, tmp_path: Path) -> None:
    content, kind, words = BAD[name]
    READING.refused(_file(tmp_path, content), context, kind, words)
    assert not context.scratch.exists() or list(context.scratch.iterdir()) == []


def test_long_headers_and_missing_files(context: ReadContext, tmp_path: Path) -> None:
    READING.refused(_file(tmp_path, b"a = b\n" * 1_000_000), context, LimitExceededError, "header")
    READING.refused(tmp_path / "nothing", context, RefusedFileError, "No such file")
    with pytest.raises(RefusedFileError, match="No such file"):
        MetaImageReader().companions(tmp_path / "nothing")


def test_recognition_looks_at_content() -> None:
    reader, path = MetaImageReader(), Path("x")
    assert reader.recognises(path, _header())
    assert reader.recognises(path, b"Comment = none\r\nNDims = 3\r\nDimSize = 5 4 3\r\n")
    for other in (
        b"",
        b"NDims",
        b"\0\1NDims = 3\nDimSize = 1\n",
        b"NDims = 3\n",
        b"DimSize = 3\n",
        bytes(4096),
    ):
        assert not reader.recognises(path, other)


SEEDS = [
    _header(TransformMatrix="1 0 0 0 1 0 0 0 1", Offset="1 2 3") + VALUES.tobytes(),
    _header(CompressedData=True, DimSize="5 4 1", ElementNumberOfChannels=3)
    + zlib.compress(VALUES.tobytes()),
    _header(BinaryData=False) + " ".join(map(str, VALUES.ravel().tolist())).encode(),
    _header(HeaderSize=1, ElementDataFile="LIST") + b"x\ny\nz\n",
]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, len(SEEDS) - 1),
    edits=st.lists(st.tuples(st.integers(0, 500), st.binary(min_size=1, max_size=6)), max_size=4),
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
    for name in "xyz":
        (tmp_path / name).write_bytes(b"\n" + VALUES.tobytes()[:40])
    path = _file(tmp_path, bytes(content))
    MetaImageReader().recognises(path, bytes(content[:4096]))
    (found,) = MetaImageReader().read([path], ReadContext(limits, tmp_path / "scratch"))
    if isinstance(found, SourceSeries):
        assert sum(frame.nbytes for frame in found.read_frames()) == found.series.pixel_bytes
        assert found.series.frames == np.prod(found.series.dimensions)
        if found.series.affine is not None:
            assert np.isfinite(np.asarray(found.series.affine)).all()
    else:
        assert isinstance(found.error, ImariumError)
