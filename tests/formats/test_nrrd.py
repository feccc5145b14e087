"""NRRD: exact against SimpleITK and NumPy, and bad files refused with a reason."""

from __future__ import annotations

import bz2
import gzip
import os
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
from imarium.formats import _arrays
from imarium.formats.base import ReadContext, Refusal
from imarium.formats.nifti import NiftiWriter
from imarium.formats.nrrd import HEADER, NrrdReader, key_values
from imarium.model import Rendition, SourceSeries
from imarium.model.geometry import LPS_TO_RAS
from imarium.settings import Limits
from imarium.testing.reading import Reading, affine_of, volume_of

TYPES = {
    "signed char": "int8", "uchar": "uint8", "unsigned char": "uint8", "short": "int16", "ushort": "uint16",
    "signed  int": "int32", "uint32_t": "uint32", "long long int": "int64", "unsigned long long": "uint64",
    "float": "float32", "Double": "float64",
}  # fmt: skip


@pytest.fixture
def context(tmp_path: Path) -> ReadContext:
    return ReadContext(Limits(), tmp_path / "scratch")


READING = Reading(NrrdReader())


def _header(**fields: Any) -> bytes:
    """A header with the fields of a volume of 5 x 4 x 3, others replaced; None leaves one out."""
    values = {
        "type": "short",
        "dimension": 3,
        "sizes": "5 4 3",
        "endian": "little",
        "encoding": "raw",
    }
    values |= {name.replace("_", " "): value for name, value in fields.items()}
    lines = [f"{name}: {value}" for name, value in values.items() if value is not None]
    return "\n".join(["NRRD0004", "# a comment", *lines, "", ""]).encode()


VALUES = np.arange(60, dtype="<i2").reshape(3, 4, 5) * 37 - 1000


def _file(tmp_path: Path, content: bytes, name: str = "a.nrrd") -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", ["CTChest4.nrrd", "Segmentation.seg.nrrd"])
def test_real_files_equal_simpleitk(
    name: str, shared_data: Path, context: ReadContext, tmp_path: Path
) -> None:
    path = shared_data / "slicer" / name
    if not path.exists():
        pytest.skip(f"{name} is not there")
    assert NrrdReader().recognises(path, path.read_bytes()[:4096])
    source = READING.read(path, context)
    image = SimpleITK.ReadImage(str(path))
    expected = SimpleITK.GetArrayFromImage(image)
    ours = volume_of(source)
    assert ours.dtype == expected.dtype
    assert np.array_equal(ours, expected)
    assert np.allclose(np.asarray(source.series.affine), affine_of(image), rtol=0, atol=1e-9)
    assert source.series.label_map == (name == "Segmentation.seg.nrrd")
    assert path.read_bytes().startswith(source.attachments[HEADER])
    assert source.attachments[HEADER].endswith(b"\n\n")
    if source.series.label_map:
        pairs = key_values(source.attachments[HEADER])
        assert pairs["Segment0_Name"] == "ribs"
        assert pairs["Segment5_LabelValue"] == "6"


@pytest.mark.parametrize("endian", ["little", "big"])
@pytest.mark.parametrize("encoding", ["raw", "gzip", "gz", "bzip2", "bz2", "hex", "ascii", "txt", "text"])
@pytest.mark.parametrize("kind", TYPES)
def test_every_type_encoding_and_byte_order(
    kind: str, encoding: str, endian: str, context: ReadContext, tmp_path: Path
) -> None:
    dtype = np.dtype(TYPES[kind])
    if dtype.kind == "f":
        values = np.random.default_rng(0).normal(size=60).astype(dtype)
        values[:4] = [np.nan, np.inf, -np.inf, -0.0]
    else:
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        values = np.random.default_rng(0).integers(low, high, 60, dtype, endpoint=True)
        values[:2] = low, high
    raw = values.astype(dtype.newbyteorder("<" if endian == "little" else ">")).tobytes()
    match encoding:
        case "gzip" | "gz":
            data = gzip.compress(raw[:100]) + gzip.compress(raw[100:])
        case "bzip2" | "bz2":
            data = bz2.compress(raw[:100]) + bz2.compress(raw[100:])
        case "hex":
            data = raw.hex("\n", 7).encode()
        case "raw":
            data = raw
        case _:
            data = ",\n ".join(repr(value.item()) for value in values).encode()
    path = _file(tmp_path, _header(type=kind, encoding=encoding, endian=endian) + data)
    source = READING.read(path, context)
    assert source.series.dtype == dtype.name
    assert volume_of(source).tobytes() == values.tobytes()
    assert source.series.notes == ("the size of voxels is not given: the volume's position is unknown",)
    assert not context.scratch.exists() or list(context.scratch.iterdir()) == []


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr"])
def test_what_simpleitk_writes(compress: bool, suffix: str, context: ReadContext, tmp_path: Path) -> None:
    values = np.random.default_rng(1).integers(-99, 99, (3, 4, 5)).astype(np.int16)
    image = SimpleITK.GetImageFromArray(values)
    image.SetSpacing((0.5, 0.75, 2))
    image.SetOrigin((1, -2, 3))
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0]
    image.SetDirection(turn.ravel())
    path = tmp_path / f"image{suffix}"
    SimpleITK.WriteImage(image, str(path), compress)
    source = READING.read(path, context)
    assert np.array_equal(volume_of(source), values)
    assert np.allclose(np.asarray(source.series.affine), affine_of(image), rtol=0, atol=1e-12)
    beside = NrrdReader().companions(path)
    assert len(beside) == (suffix == ".nhdr")
    assert [file.path for file in source.files] == [path, *beside]
    out = tmp_path / "out.nii"
    rendition = Rendition(source.series, source.series, source.read_frames(), source.attachments)
    assert NiftiWriter().write(rendition, out) == [out]
    assert np.allclose(nib.load(out).affine, affine_of(image), atol=1e-6)
    assert np.array_equal(np.asanyarray(nib.load(out).dataobj).T, values)


@pytest.mark.parametrize(
    ("fields", "to_lps"),
    [
        ({"space": "left-posterior-superior"}, np.diag([1, 1, 1])),
        ({"space": "LPS"}, np.diag([1, 1, 1])),
        ({"space": "right-anterior-superior"}, np.diag([-1, -1, 1])),
        ({"space": "RAS"}, np.diag([-1, -1, 1])),
        ({"space": "left-anterior-superior"}, np.diag([1, -1, 1])),
        ({"space": "LAS"}, np.diag([1, -1, 1])),
        ({"space_dimension": 3}, np.diag([1, 1, 1])),
    ],
)
def test_spaces(fields: dict[str, Any], to_lps: Any, context: ReadContext, tmp_path: Path) -> None:
    vectors = np.array([[0.5, 0.1, 0], [-0.1, 0.75, 0.2], [0, -0.2, 2]])
    directions = " ".join(f"({x},{y},{z})" for x, y, z in vectors)
    content = _header(**fields, space_directions=directions, space_origin="(10, -20, 30)") + VALUES.tobytes()
    source = READING.read(_file(tmp_path, content), context)
    expected = np.eye(4)
    expected[:3, :3] = to_lps @ vectors.T
    expected[:3, 3] = to_lps @ [10, -20, 30]
    assert np.array_equal(np.asarray(source.series.affine), LPS_TO_RAS @ expected)
    assumed = any("assumed" in note for note in source.series.notes)
    assert assumed == ("space" not in fields)
    microns = content.replace(b"endian:", b'space units: "um" "um" "um"\nendian:')
    small = READING.read(_file(tmp_path, microns), context)
    assert np.allclose(np.asarray(small.series.affine)[:3], (LPS_TO_RAS @ expected)[:3] / 1000)


def test_spacings_alone(context: ReadContext, tmp_path: Path) -> None:
    path = _file(tmp_path, _header(spacings="0.5 0.75 2") + VALUES.tobytes())
    source = READING.read(path, context)
    assert np.array_equal(np.asarray(source.series.affine), affine_of(SimpleITK.ReadImage(str(path))))
    assert "assumed" in source.series.notes[0]
    for spacings in ("0.5 nan 2", "0.5 0 2"):
        source = READING.read(_file(tmp_path, _header(spacings=spacings) + VALUES.tobytes()), context)
        assert source.series.affine is None
        assert "position is unknown" in source.series.notes[-1]


CASES = [
    # kinds, sizes (fastest first), dimensions, samples, the file's axes from the model's fastest to slowest
    ("domain domain", (5, 4), (1,), 1, (0, 1)),
    ("domain domain time", (5, 4, 6), (6, 1), 1, (0, 1, 2)),
    ("domain domain domain list", (5, 4, 3, 2), (2, 3), 1, (0, 1, 2, 3)),
    ("vector domain domain domain", (6, 5, 4, 3), (6, 3), 1, (1, 2, 3, 0)),
    ("3-color domain domain domain", (3, 5, 4, 3), (3,), 3, (0, 1, 2, 3)),
    ("RGBA-color domain domain", (4, 5, 4), (1,), 4, (0, 1, 2)),
    ("3-color domain domain", (4, 5, 4), (4, 1), 1, (1, 2, 0)),
    ("domain domain RGB-color", (5, 4, 3), (3, 1), 1, (0, 1, 2)),
    ("domain list domain domain time", (5, 7, 4, 3, 2), (2, 7, 3), 1, (0, 2, 3, 1, 4)),
    ("domain domain domain domain", (5, 4, 3, 2), (2, 3), 1, (0, 1, 2, 3)),
    ("list vector", (5, 4), (1,), 1, (0, 1)),
    (None, (5, 4, 3, 1, 2), (2, 3), 1, (0, 1, 2, 3, 4)),
]


@pytest.mark.parametrize("chunk", [1, 64, 1 << 20])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("kinds", "sizes", "dimensions", "samples", "order"), CASES)
def test_axes(
    kinds: str | None,
    sizes: tuple[int, ...],
    dimensions: tuple[int, ...],
    samples: int,
    order: tuple[int, ...],
    packed: bool,
    chunk: int,
    context: ReadContext,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_arrays, "_TURNED_AT_ONCE", chunk)
    dtype = "uint8" if samples > 1 else "uint16"
    values = np.arange(np.prod(sizes)).astype(dtype).reshape(sizes[::-1])
    fields = {"kinds": kinds, "type": dtype, "dimension": len(sizes), "sizes": " ".join(map(str, sizes))}
    data = gzip.compress(values.tobytes()) if packed else values.tobytes()
    path = _file(tmp_path, _header(**fields, encoding="gzip" if packed else "raw") + data)
    source = READING.read(path, context)
    series = source.series
    assert (series.dimensions, series.samples) == (dimensions, samples)
    assert series.photometric == ("RGB" if samples > 1 else "MONOCHROME2")
    expected = values.T.transpose(order).T.reshape(series.volume_shape)
    assert np.array_equal(volume_of(source), expected)


def test_vectors_of_slicer_equal_simpleitk(context: ReadContext, tmp_path: Path) -> None:
    values = np.random.default_rng(3).normal(size=(3, 4, 5, 6)).astype(np.float32)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(values, isVector=True), str(tmp_path / "a.nrrd"), True)
    source = READING.read(tmp_path / "a.nrrd", context)
    assert source.series.dimensions == (6, 3)
    assert np.array_equal(volume_of(source), np.moveaxis(values, -1, 0))
    assert np.array_equal(np.asarray(source.series.affine), LPS_TO_RAS)
    for one, other in zip(source.read_frames(), source.read_frames(), strict=True):
        assert np.array_equal(one, other)


def test_time(context: ReadContext, tmp_path: Path) -> None:
    values = np.zeros((2, 3, 4, 5), "<i2")
    fields = {"dimension": 4, "sizes": "5 4 3 2", "kinds": "domain domain domain time"}
    fields |= {"spacings": "1 1 1 250", "units": '"mm" "mm" "mm" "ms"'}
    series = READING.read(_file(tmp_path, _header(**fields) + values.tobytes()), context).series
    assert series.time_step == 0.25
    fields |= {"units": None}
    series = READING.read(_file(tmp_path, _header(**fields) + values.tobytes()), context).series
    assert series.time_step is None
    assert any("unit of time" in note for note in series.notes)


def test_segmentations(context: ReadContext, tmp_path: Path) -> None:
    def labels(*pairs: str, kind: str = "uchar") -> bool:
        lines = "\n".join(["NRRD0004", *pairs, f"type: {kind}", "dimension: 2", "sizes: 2 2"])
        content = f"{lines}\nendian: little\nencoding: raw\n\n".encode() + bytes(16)
        return READING.read(_file(tmp_path, content, "b.seg.nrrd"), context).series.label_map

    assert labels("Segment0_ID:=Segment_1")
    assert not labels("Segment0_ID:=Segment_1", kind="float")
    assert not labels("Segment0_ID:=a", "Segmentation_MasterRepresentation:=Fractional labelmap")
    assert not labels("Segment_ID:=a")


def test_line_and_byte_skip(context: ReadContext, tmp_path: Path) -> None:
    data = VALUES.tobytes()
    for content, fields in (
        (b"one\ntwo\n123" + data, {"line_skip": 2, "byte_skip": 3}),
        (b"anything\n" + data, {"byte_skip": -1}),
        (b"line\n" + gzip.compress(b"12" + data), {"line_skip": 1, "byte_skip": 2, "encoding": "gzip"}),
    ):
        attached = READING.read(_file(tmp_path, _header(**fields) + content), context)
        assert np.array_equal(volume_of(attached), VALUES)
        assert not any("left out" in note for note in attached.series.notes)
        (tmp_path / "data").write_bytes(content)
        header = _header(**fields, data_file="data")
        detached = READING.read(_file(tmp_path, header, "a.nhdr"), context)
        assert np.array_equal(volume_of(detached), VALUES)
        assert detached.series.uid != attached.series.uid
    tail = READING.read(_file(tmp_path, _header() + data + b"tail"), context)
    assert np.array_equal(volume_of(tail), VALUES)
    assert "4 bytes after the last value are left out" in tail.series.notes


@pytest.mark.parametrize("encoding", ["raw", "gzip"])
@pytest.mark.parametrize(
    ("data_file", "names", "trailing"),
    [
        ("LIST", ["s 1.raw", "s0.raw", "x.raw"], True),
        ("LIST 2", ["s1", "s0", "x"], True),
        ("LIST 1", [f"row{n}" for n in range(12)], True),
        ("LIST 3", ["all"], True),
        ("s%03d.raw 1 3 1", ["s001.raw", "s002.raw", "s003.raw"], False),
        ("s%d.raw 6 2 -2 2", ["s6.raw", "s4.raw", "s2.raw"], False),
        ("sub/one.raw", ["sub/one.raw"], False),
        ("./one file.raw", ["one file.raw"], False),
    ],
)
def test_several_data_files(
    data_file: str, names: list[str], trailing: bool, encoding: str, context: ReadContext, tmp_path: Path
) -> None:
    (tmp_path / "sub").mkdir()
    share = len(VALUES.tobytes()) // len(names)
    for number, name in enumerate(names):
        data = VALUES.tobytes()[number * share : (number + 1) * share]
        (tmp_path / name).write_bytes(gzip.compress(data) if encoding == "gzip" else data)
    content = _header(encoding=encoding, data_file=data_file)[:-1]
    content += "".join(f"{name}\n" for name in names).encode() if trailing else b""
    path = _file(tmp_path, content, "a.nhdr")
    source = READING.read(path, context)
    assert np.array_equal(volume_of(source), VALUES)
    assert NrrdReader().companions(path) == tuple(tmp_path / name for name in names)
    assert [file.path for file in source.files] == [path, *(tmp_path / name for name in names)]
    assert source.attachments[HEADER] == content
    if encoding == "raw":
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
        ("folder/secret", UnsupportedFileError, "by a link"),
        ("nothing", CorruptFileError, "not in its folder"),
        ("a.nhdr", CorruptFileError, "header itself"),
        (".", CorruptFileError, "no file"),
        ("pipe", CorruptFileError, "no file"),
        ("n\0ul", UnsupportedFileError, "folder"),
        ("LIST\nx\nx\nx", CorruptFileError, "named twice"),
        ("LIST\nx\ny", CorruptFileError, "make up"),
        ("LIST 9\nx", CorruptFileError, "dimensions"),
        ("%d%d 1 3 1", CorruptFileError, "one %d"),
        ("%s 1 3 1", CorruptFileError, "one %d"),
        ("%d 1 3 0", CorruptFileError, "are none"),
        ("%d 3 1 1", CorruptFileError, "are none"),
        ("%d 1 999999999 1", LimitExceededError, "data files"),
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
    (folder / "folder").symlink_to(tmp_path)
    (folder / "x").write_bytes(b"x")
    (folder / "y").write_bytes(b"y")
    os.mkfifo(folder / "pipe")
    path = _file(folder, _header(data_file=data_file), "a.nhdr")
    READING.refused(path, context, kind, words)
    found = READING.one(path, context)
    assert isinstance(found, Refusal)
    assert "secret" not in str(found.error)
    if words != "truncated":
        with pytest.raises(kind):
            NrrdReader().companions(path)


def test_a_linked_header_reads_beside_its_link(context: ReadContext, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "data").write_bytes(VALUES.tobytes())
    _file(tmp_path / "real", _header(data_file="data"), "a.nhdr")
    assert np.array_equal(volume_of(READING.read(tmp_path / "linked" / "a.nhdr", context)), VALUES)


@pytest.mark.parametrize("size", ["1e300", "1e160", "1e-200", "1e12"])
def test_sizes_beyond_reason_are_not_used(size: str, context: ReadContext, tmp_path: Path) -> None:
    """Lengths whose squares overflow or vanish would make facts that are no numbers."""
    directions = f"({size},0,0) (0,{size},0) (0,0,{size})"
    for fields in ({"space": "LPS", "space_directions": directions}, {"spacings": f"{size} 1 {size}"}):
        series = READING.read(_file(tmp_path, _header(**fields) + VALUES.tobytes()), context).series
        assert series.affine is None
        assert any("plausible" in note for note in series.notes)


def _bad_files() -> Iterator[tuple[str, bytes, type[ImariumError], str]]:
    data = VALUES.tobytes()
    good = _header() + data
    yield "empty", b"", CorruptFileError, "empty"
    yield "truncated", good[:-1], CorruptFileError, "truncated"
    yield "header cut", _header()[:-1], CorruptFileError, "ends inside"
    yield "version", good.replace(b"NRRD0004", b"NRRD0009"), UnsupportedFileError, "version"
    yield "no magic", b"NRRE0004\n", CorruptFileError, "magic"
    yield "no sizes", _header(sizes=None) + data, CorruptFileError, "'sizes'"
    yield "few sizes", _header(sizes="5 4") + data, CorruptFileError, "3 numbers"
    yield "negative", _header(sizes="5 -4 3") + data, CorruptFileError, "3 numbers"
    yield "zero", _header(sizes="5 0 3") + data, CorruptFileError, "0"
    yield "17 axes", _header(dimension=17, sizes="1 " * 17) + data, CorruptFileError, "dimensions"
    yield "no dimension", _header(dimension=None) + data, CorruptFileError, "none"
    yield "one axis", _header(dimension=1, sizes="60") + data, UnsupportedFileError, "no image"
    yield "no type", _header(type="char") + data, CorruptFileError, "type"
    yield "block", _header(type="block", block_size=2) + data, UnsupportedFileError, "blocks"
    yield "zrl", _header(encoding="zrl") + data, UnsupportedFileError, "encoding"
    yield "no endian", _header(endian=None) + data, CorruptFileError, "endian"
    yield "twice", _header(type="short\ntype: float") + data, CorruptFileError, "two fields"
    yield "no field", _header(type="short\nhello") + data, CorruptFileError, "neither"
    yield "kinds", _header(kinds="domain domain") + data, CorruptFileError, "kinds"
    yield "directions", _header(space_directions="(1,0,0)") + data, CorruptFileError, "directions"
    yield "vector", _header(space_directions="(1,0,x) none none") + data, CorruptFileError, "no number"
    yield "vectors", _header(space_directions="1,0,0 none none") + data, CorruptFileError, "else than vectors"
    short = _header(space="RAS", space_directions="(1,0) (0,1) none") + data
    yield "short vectors", short, CorruptFileError, "another number"
    yield "pixels", _header(sizes="99999 99999 3") + data, LimitExceededError, "frame_pixels"
    yield "slices", _header(sizes="5 4 9999999") + data, LimitExceededError, "limits.frames"
    yield "overflow", _header(sizes="5 4 " + "9" * 18) + data, LimitExceededError, "limits.frames"
    large = _header(sizes="16384 16384 999999") + data
    yield "beyond file bytes", large, LimitExceededError, "limits.file_bytes"
    yield "byte skip", _header(byte_skip=5) + data, CorruptFileError, "truncated"
    yield "byte skip -2", _header(byte_skip=-2) + data, CorruptFileError, "negative"
    yield "line skip", _header(line_skip=500) + data, CorruptFileError, "500 lines"
    zipped = _header(encoding="gzip")
    yield "gzip cut", zipped + gzip.compress(data)[:-9], CorruptFileError, "truncated"
    yield "gzip garbage", zipped + data, CorruptFileError, "damaged"
    yield "gzip short", zipped + gzip.compress(data[:-1]), CorruptFileError, "truncated"
    yield "gzip long", zipped + gzip.compress(data + bytes(1 << 20)), CorruptFileError, "follow"
    bomb = _header(encoding="gzip", sizes="9999 9999 99") + gzip.compress(bytes(1 << 22))
    yield "gzip bomb", bomb, CorruptFileError, "cannot hold"
    yield "gzip -1", _header(encoding="gzip", byte_skip=-1) + gzip.compress(data), CorruptFileError, "raw"
    packed = _header(encoding="bzip2")
    yield "bzip2 cut", packed + bz2.compress(data)[:-3], CorruptFileError, "truncated"
    yield "bzip2 garbage", packed + data, CorruptFileError, "damaged"
    yield "bzip2 bomb", packed + bz2.compress(bytes(1 << 24)), CorruptFileError, "follow"
    yield "hex short", _header(encoding="hex") + data.hex().encode()[:-2], CorruptFileError, "cannot hold"
    yield "hex garbage", _header(encoding="hex") + b"xy" * 120, CorruptFileError, "digits"
    text = _header(encoding="ascii")
    yield "text short", text + b"1 2 3", CorruptFileError, "cannot hold"
    yield "few numbers", text + b"1000 " * 59, CorruptFileError, "truncated"
    yield "text garbage", text + b"1 " * 59 + b"x ", CorruptFileError, "else than numbers"
    yield "text range", text + b"1 " * 59 + b"40000", CorruptFileError, "int16"
    yield "text float", text + b"1 " * 59 + b"1.5", CorruptFileError, "int16"
    yield "text underscore", text + b"1 " * 59 + b"1_0", CorruptFileError, "else than numbers"
    yield "text endless", text + b"1" * 1_000_000, CorruptFileError, "else than numbers"


BAD = {name: rest for name, *rest in _bad_files()}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused(name: str, context: ReadContext, tmp_path: Path) -> None:
    content, kind, words = BAD[name]
    READING.refused(_file(tmp_path, content), context, kind, words)
    assert not context.scratch.exists() or list(context.scratch.iterdir()) == []


def test_long_headers_and_missing_files(context: ReadContext, tmp_path: Path) -> None:
    content = _header().replace(b"# a comment", b"a:=b\n" * 1_000_000)
    READING.refused(_file(tmp_path, content), context, LimitExceededError, "header")
    READING.refused(tmp_path / "nothing", context, RefusedFileError, "No such file")
    with pytest.raises(RefusedFileError, match="No such file"):
        NrrdReader().companions(tmp_path / "nothing")


def test_recognition_looks_at_content() -> None:
    reader, path = NrrdReader(), Path("x")
    assert reader.recognises(path, b"NRRD0001\r\ntype: int")
    assert reader.recognises(path, b"NRRD0005\n")
    for other in (b"", b"NRRD", b"NRRDxxxx\n", b"NRRD0004 and so on\n", bytes(4096)):
        assert not reader.recognises(path, other)


SEEDS = [
    _header(space="LPS", space_directions="(1,0,0) (0,1,0) (0,0,1)", space_origin="(0,0,0)")
    + VALUES.tobytes(),
    _header(kinds="vector domain domain", encoding="gzip") + gzip.compress(VALUES.tobytes(), mtime=0),
    _header(encoding="bz2", spacings="1 2 3") + bz2.compress(VALUES.tobytes()),
    _header(encoding="ascii") + " ".join(map(str, VALUES.ravel().tolist())).encode(),
    _header(encoding="hex", kinds="domain domain time") + VALUES.tobytes().hex().encode(),
    _header(data_file="LIST", line_skip=1)[:-1] + b"x\ny\nz\n",
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
    NrrdReader().recognises(path, bytes(content[:4096]))
    (found,) = NrrdReader().read([path], ReadContext(limits, tmp_path / "scratch"))
    if isinstance(found, SourceSeries):
        assert sum(frame.nbytes for frame in found.read_frames()) == found.series.pixel_bytes
        assert found.series.frames == np.prod(found.series.dimensions)
        if found.series.affine is not None:
            assert np.isfinite(np.asarray(found.series.affine)).all()
    else:
        assert isinstance(found.error, ImariumError)
