"""HDF5: exact against h5py; nothing outside the file is opened; hostile files end the reading process."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from h5py import h5d, h5p, h5s, h5t
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imarium.archive import Archive
from imarium.errors import (
    CorruptFileError,
    ImariumError,
    LimitExceededError,
    RefusedFileError,
    UnsupportedFileError,
)
from imarium.formats.base import ReadContext, Refusal
from imarium.formats.hdf5 import Hdf5Reader, reader
from imarium.formats.hdf5.reader import ATTRIBUTES, HEADER, Hdf5Process
from imarium.ingest.outcome import Status
from imarium.model import SourceSeries
from imarium.settings import Limits

RNG = np.random.default_rng(3)
Array = np.ndarray[Any, Any]


@pytest.fixture
def context(tmp_path: Path) -> ReadContext:
    return ReadContext(Limits(decoder_seconds=20), tmp_path)


def _file(fill: Callable[[h5py.File], Any], **options: Any) -> bytes:
    out = io.BytesIO()
    with h5py.File(out, "w", **options) as file:
        fill(file)
    return out.getvalue()


def _found(content: bytes, context: ReadContext) -> list[SourceSeries | Refusal]:
    path = context.scratch / "source"
    path.write_bytes(content)
    assert Hdf5Reader().recognises(path, content[:4096])
    return list(Hdf5Reader().read([path], context))


def _series(content: bytes, context: ReadContext) -> dict[str, tuple[SourceSeries, Array]]:
    """Series and their values by description."""
    result = {}
    for found in _found(content, context):
        assert isinstance(found, SourceSeries), found
        frames = list(found.read_frames())
        for frame in frames:
            assert frame.shape == found.series.frame_shape
            assert frame.dtype.name == found.series.dtype
            assert frame.dtype.isnative
        assert found.series.description is not None
        result[found.series.description] = found, np.stack(frames).reshape(found.series.volume_shape)
    return result


def _refused(content: bytes, context: ReadContext) -> ImariumError:
    for found in _found(content, context):
        if isinstance(found, Refusal):
            return found.error
        try:
            list(found.read_frames())
        except ImariumError as error:
            return error
    pytest.fail("the file was taken")


def _same(one: Array, other: Array) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


def _values(dtype: str, *shape: int) -> Array:
    kind = np.dtype(dtype)
    if kind.kind in "fc":
        values = RNG.normal(size=(*shape, kind.itemsize)).astype(np.uint8)
        return np.ascontiguousarray(values).view(kind).reshape(shape)
    facts = np.iinfo(kind)
    return RNG.integers(facts.min, facts.max, shape, dtype=kind.newbyteorder("="), endpoint=True).astype(kind)


def test_fastmri(context: ReadContext) -> None:
    kspace = _values("complex64", 3, 4, 20, 12)
    rss, esc = _values("float32", 3, 10, 12), _values("float32", 3, 10, 12)
    mask = RNG.random(12) < 0.3

    def fill(file: h5py.File) -> None:
        file["kspace"], file["reconstruction_rss"], file["reconstruction_esc"] = kspace, rss, esc
        file["mask"] = mask
        file["ismrmrd_header"] = "<ismrmrdHeader>Åse</ismrmrdHeader>"
        file.attrs.update(max=1.5, norm=np.float32(2.5), acquisition="CORPD_FBK", patient_id="0a1b2c")

    found = _series(_file(fill), context)
    assert list(found) == ["/kspace", "/reconstruction_esc", "/reconstruction_rss"]
    for name, expected in (("/kspace", kspace), ("/reconstruction_esc", esc), ("/reconstruction_rss", rss)):
        source, values = found[name]
        assert _same(values, expected)
        assert (source.series.modality, source.series.format) == ("MR", "hdf5")
        assert source.series.notes == ()
        assert source.patient_id == "0a1b2c"
        assert "0a1b2c" not in str(source.series)
        assert source.attachments[HEADER].decode() == "<ismrmrdHeader>Åse</ismrmrdHeader>"
        kept = json.loads(source.attachments[ATTRIBUTES])
        said = {"max": 1.5, "norm": 2.5, "acquisition": "CORPD_FBK", "patient_id": "0a1b2c"}
        assert kept["attributes"]["/"] == said
        assert kept["values"]["/mask"]["values"] == mask.tolist()
    assert found["/kspace"][0].series.dimensions == (3, 4)


@pytest.mark.parametrize("order", ["<", ">"])
def test_every_type_in_both_byte_orders(order: str, context: ReadContext) -> None:
    names = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", "c8", "c16"]
    stored = {name: _values(order + name, 5, 7) for name in names}
    content = _file(lambda file: [file.create_dataset(name, data=data) for name, data in stored.items()])
    found = _series(content, context)
    assert len(found) == len(names)
    for name, expected in stored.items():
        source, values = found[f"/{name}"]
        assert _same(values[0], expected.astype(expected.dtype.newbyteorder("=")))
        assert source.series.bits_stored == (8 * expected.itemsize if expected.dtype.kind in "iu" else None)


def test_flags_and_colours(context: ReadContext) -> None:
    flags, colours = RNG.random((2, 9, 9)) < 0.5, _values("u1", 4, 8, 6, 3)

    def fill(file: h5py.File) -> None:
        file["flags"], file["colours"], file["others"] = flags, colours, colours
        file["colours"].attrs.update(IMAGE_SUBCLASS="IMAGE_TRUECOLOR", INTERLACE_MODE="INTERLACE_PIXEL")

    found = _series(_file(fill), context)
    source, values = found["/flags"]
    assert _same(values, flags.astype(np.uint8))
    assert (source.series.label_map, source.series.bits_stored) == (True, 1)
    source, values = found["/colours"]
    assert _same(values, colours)
    assert (source.series.photometric, source.series.samples, source.series.dimensions) == ("RGB", 3, (4,))
    source, values = found["/others"]
    assert _same(values, colours)
    assert source.series.dimensions == (4, 8)


@pytest.mark.parametrize("filters", [
    {"compression": "gzip", "shuffle": True}, {"compression": "lzf"}, {"fletcher32": True},
    {"compression": "szip"}, {"compression": "gzip", "fletcher32": True, "shuffle": True},
])  # fmt: skip
@pytest.mark.parametrize("chunks", [(1, 1, 16, 16), (3, 2, 7, 9), (4, 5, 32, 20)])
def test_filters_and_chunks(filters: dict[str, Any], chunks: tuple[int, ...], context: ReadContext) -> None:
    if filters.get("compression") == "szip" and not h5py.h5z.filter_avail(h5py.h5z.FILTER_SZIP):
        pytest.skip("this libhdf5 has no szip")
    stored = _values("int16", 4, 5, 32, 20)
    content = _file(lambda file: file.create_dataset("x", data=stored, chunks=chunks, **filters))
    assert _same(_series(content, context)["/x"][1], stored)


def test_groups_user_blocks_and_new_formats(context: ReadContext) -> None:
    deep, flat = _values("u2", 2, 3, 4, 5, 6, 7), _values("u1", 5, 6)

    def fill(file: h5py.File) -> None:
        file["a/b/c/deep"] = deep
        file["flat"] = flat
        file["a/again"] = file["flat"]
        file["a/loop"] = file["a"]

    for options in ({}, {"userblock_size": 512}, {"userblock_size": 2048}, {"libver": "latest"}):
        if "userblock_size" in options:
            path = context.scratch / "user"
            with h5py.File(path, "w", **options) as file:
                fill(file)
            content = path.read_bytes()
        else:
            content = _file(fill, **options)
        found = _series(content, context)
        assert len(found) == 2
        assert _same(found["/a/b/c/deep"][1], deep)
        assert set(found) == {"/a/b/c/deep", "/flat"}
        assert _same(found["/flat"][1][0], flat)


def test_enumerations_are_labels_with_names(context: ReadContext) -> None:
    stored = RNG.integers(0, 2, (4, 5)).astype(np.int16)
    kind = h5py.enum_dtype({"left": 0, "right": 1}, np.int16)
    content = _file(lambda file: file.create_dataset("x", data=stored, dtype=kind))
    source, values = _series(content, context)["/x"]
    assert _same(values[0], stored)
    assert source.series.label_map
    assert json.loads(source.attachments[ATTRIBUTES])["names"] == {"left": 0, "right": 1}


# What is left out


def test_links_are_not_followed(context: ReadContext, tmp_path: Path) -> None:
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["x"] = np.full((6, 6), 77, np.uint8)

    def fill(file: h5py.File) -> None:
        file["own"] = _values("u1", 6, 6)
        file["external"] = h5py.ExternalLink("secret.h5", "/x")
        file["soft"] = h5py.SoftLink("/external")
        file["dangling"] = h5py.SoftLink("/nowhere")

    found = _series(_file(fill), context)
    assert list(found) == ["/own"]
    notes = found["/own"][0].series.notes
    assert any("/external" in note and "another file" in note for note in notes)
    assert sum("not followed" in note for note in notes) == 3


def test_values_elsewhere_are_never_read(context: ReadContext, tmp_path: Path) -> None:
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["x"] = np.full((6, 6), 77, np.uint8)
    raw = tmp_path / "secret.raw"
    raw.write_bytes(bytes([77]) * 36)
    path = tmp_path / "source"
    with h5py.File(path, "w") as file:
        file.create_dataset("stored", shape=(6, 6), dtype="u1", external=[(str(raw), 0, 36)])
        layout = h5py.VirtualLayout(shape=(6, 6), dtype="u1")
        layout[:] = h5py.VirtualSource(str(secret), "x", shape=(6, 6))
        file.create_virtual_dataset("virtual", layout)
        assert file["virtual"][0, 0] == file["stored"][0, 0] == 77
    content = path.read_bytes()
    error = _refused(content, context)
    assert isinstance(error, UnsupportedFileError)
    assert "another file" in str(error)
    assert "other datasets" in str(error)
    # And if one were asked for all the same, the process could not open the files.
    with reader._process(context.limits) as process, path.open("rb") as stream:
        request = reader._request(path, __import__("os").fstat(stream.fileno()), "frame")
        for name in ("/stored", "/virtual"):
            try:
                payload = process.work(request | {"dataset": name, "index": [], "cache": 0})
            except CorruptFileError:
                continue
            assert 77 not in payload


def test_types_that_are_no_numbers(context: ReadContext) -> None:
    def fill(file: h5py.File) -> None:
        file["compound"] = np.zeros((4, 4), [("a", "u1"), ("b", "f4")])
        file["text"] = np.full((4, 4), b"abc")
        file.create_dataset("lists", (4, 4), h5py.vlen_dtype(np.int32))
        file.create_dataset("references", (4, 4), h5py.ref_dtype)
        file.create_dataset("arrays", (4, 4), np.dtype(("u1", (3,))))
        file["opaque"] = np.zeros((4, 4), "V3")
        file["long"] = np.zeros((4, 4), np.longdouble)
        file["flat"] = np.zeros(100000)
        file["empty"] = h5py.Empty("f4")
        file["nothing"] = np.zeros((0, 4))
        file["group/much"] = np.zeros((1, 1, 1, 1, 1, 1, 2))
        file["image"] = np.zeros((4, 4), np.uint8)

    found = _series(_file(fill), context)
    assert list(found) == ["/image"]
    notes = found["/image"][0].series.notes
    for name in ("compound", "text", "lists", "references", "arrays", "opaque", "long", "flat",
                 "empty", "nothing", "group/much"):  # fmt: skip
        assert sum(f"/{name} is left out" in note for note in notes) == 1, name


def test_filters_of_others_and_lossy_ones(context: ReadContext) -> None:
    def fill(file: h5py.File) -> None:
        stored = h5p.create(h5p.DATASET_CREATE)
        stored.set_chunk((4, 4))
        stored.set_scaleoffset(0, 2)
        h5d.create(file.id, b"scaled", h5t.NATIVE_FLOAT, h5s.create_simple((4, 4)), stored)
        stored = h5p.create(h5p.DATASET_CREATE)
        stored.set_chunk((4, 4))
        stored.set_filter(32015, h5py.h5z.FLAG_OPTIONAL)
        h5d.create(file.id, b"zstd", h5t.NATIVE_FLOAT, h5s.create_simple((4, 4)), stored)

    error = _refused(_file(fill), context)
    assert isinstance(error, UnsupportedFileError)
    assert "scaled" not in str(error)  # names of datasets are the file's own text
    assert "filter 6 " in str(error)
    assert "filter 32015 " in str(error)


@pytest.mark.parametrize(
    ("shape", "chunks", "words"),
    [
        ((1 << 20, 1 << 20), None, "1048576 x 1048576"),
        ((1 << 21, 4, 4), None, "2097152 frames"),
        ((1 << 19, 1 << 10, 1 << 10), (1, 16, 16), "more than such a file"),
        ((4, 1 << 13, 1 << 13), (4, 1 << 13, 1 << 13), "chunks of 2147483648 bytes"),
        ((1 << 12, 1 << 12, 8), (1 << 12, 1, 8), "more chunks than"),
    ],
)
def test_promises_beyond_the_limits(
    shape: tuple[int, ...], chunks: Any, words: str, context: ReadContext
) -> None:
    content = _file(lambda file: file.create_dataset("x", shape, np.uint64, chunks=chunks))
    error = _refused(content, ReadContext(Limits(frame_bytes=1 << 28), context.scratch))
    assert isinstance(error, UnsupportedFileError)
    assert words in str(error)


def test_many_datasets(context: ReadContext) -> None:
    content = _file(lambda file: [file.create_dataset(f"x{n:03}", data=np.zeros((2, 2))) for n in range(120)])
    found = _found(content, context)
    assert len(found) == 64
    assert isinstance(found[0], SourceSeries)
    assert any("24 more datasets" in note for note in found[0].series.notes)
    many = _file(lambda file: [file.create_group(f"x{n}") for n in range(5000)])
    assert isinstance(_refused(many, context), UnsupportedFileError)


def test_attributes_are_bounded(context: ReadContext) -> None:
    def fill(file: h5py.File) -> None:
        file["x"] = np.zeros((3, 3))
        file["x"].attrs.update(unit="ms", range=[1, 2], bad=np.inf, long="x" * 60_000)
        for number in range(300):
            file.attrs[f"a{number}"] = number
        file["x"].attrs.create("types", np.zeros(2, [("a", "i4")]))

    ((source, _),) = _series(_file(fill, libver="latest"), context).values()
    kept = json.loads(source.attachments[ATTRIBUTES])["attributes"]
    assert kept["/x"]["unit"] == "ms"
    assert (kept["/x"]["range"], kept["/x"]["bad"]) == ([1, 2], "inf")
    assert "types" not in kept["/x"]
    assert len(kept["/"]) == 256


def test_names_are_shown_without_surprises(context: ReadContext) -> None:
    content = _file(lambda file: file.create_dataset("a\x1b[2Jb" + "é" * 80, data=np.zeros((3, 3))))
    ((name, (source, _)),) = _series(content, context).items()
    assert name.isascii()
    assert name.isprintable()
    assert len(name) == 64
    assert source.series.frames == 1


# Files that are damaged or hostile


def test_every_truncation_is_refused(context: ReadContext) -> None:
    whole = _file(lambda file: file.create_dataset("x", data=_values("u2", 3, 40, 40), chunks=(1, 40, 40)))
    for size in (9, 60, 500, 2000, len(whole) // 2, len(whole) - 1):
        assert isinstance(_refused(whole[:size], context), RefusedFileError), size


def test_a_file_that_changes_is_refused(context: ReadContext) -> None:
    content = _file(lambda file: file.create_dataset("x", data=_values("u2", 3, 40, 40)))
    (found,) = _found(content, context)
    assert isinstance(found, SourceSeries)
    (context.scratch / "source").write_bytes(content + b" ")
    with pytest.raises(CorruptFileError):
        list(found.read_frames())


def test_a_process_that_ends_or_stays_silent() -> None:
    import sys  # noqa: PLC0415

    ended = Hdf5Process(Limits(), (sys.executable, "-c", "import os; os.abort()"))
    with pytest.raises(CorruptFileError, match=r"crashed \(signal 6\) on the HDF5 file"):
        ended.work({"operation": "close"})
    silent = Hdf5Process(Limits(decoder_seconds=0.2), (sys.executable, "-c", "import time; time.sleep(60)"))
    silent._fresh = False
    start = time.monotonic()
    with pytest.raises(LimitExceededError, match="reading from the HDF5 file took longer"):
        silent.work({"operation": "close"})
    assert time.monotonic() - start < 10
    assert not silent.alive


def test_processes_are_used_again_and_iterations_may_be_given_up(context: ReadContext) -> None:
    content = _file(lambda file: file.create_dataset("x", data=_values("u2", 30, 40, 40)))
    (found,) = _found(content, context)
    assert isinstance(found, SourceSeries)
    frames = found.read_frames()
    next(frames)
    frames.close()  # type: ignore[attr-defined]
    with reader._process(context.limits) as one:
        pass
    with reader._process(context.limits) as other:
        assert other is one
    assert len(list(found.read_frames())) == 30


def _seeds() -> list[bytes]:
    def plain(file: h5py.File) -> None:
        file["kspace"] = _values("complex64", 2, 2, 8, 8)
        file["ismrmrd_header"] = "<x/>"
        file.attrs["patient_id"] = "a"

    def packed(file: h5py.File) -> None:
        file.create_dataset(
            "g/x", data=_values("i2", 3, 9, 9), chunks=(2, 4, 4), compression="gzip", shuffle=True
        )
        file["g/y"] = h5py.SoftLink("/g/x")

    return [_file(plain), _file(packed), _file(plain, libver="latest"), _file(packed, libver="latest")]


SEEDS = _seeds()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, len(SEEDS) - 1),
    edits=st.lists(st.tuples(st.integers(8, 5000), st.binary(min_size=1, max_size=4)), max_size=4),
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
    path = tmp_path / "source"
    path.write_bytes(content)
    limits = Limits(
        frame_pixels=1 << 18, frame_bytes=1 << 21, decoder_memory_bytes=1 << 30, decoder_seconds=20
    )
    for found in Hdf5Reader().read([path], ReadContext(limits, tmp_path)):
        if isinstance(found, Refusal):
            assert isinstance(found.error, ImariumError)
            continue
        try:
            for frame in found.read_frames():
                assert frame.shape == found.series.frame_shape
        except ImariumError:
            continue


def test_taken_in_and_out_again(archive: Archive, tmp_path: Path) -> None:
    kspace, rss = _values("complex64", 2, 3, 20, 24), np.abs(_values("int32", 2, 20, 24)).astype(np.float32)
    source = tmp_path / "source.h5"
    with h5py.File(source, "w") as file:
        file["kspace"], file["reconstruction_rss"] = kspace, rss
        file.attrs["patient_id"] = "0a1b2c"
    outcomes = list(archive.ingest.run([source], collection="main"))
    assert [outcome.status for outcome in outcomes] == [Status.TAKEN, Status.TAKEN]
    for outcome, expected in zip(outcomes, (kspace, rss), strict=True):
        assert outcome.series is not None
        archive.streaming.export(outcome.series, "npy", tmp_path / "out.npy")
        assert _same(np.load(tmp_path / "out.npy"), expected)
        archive.streaming.export(outcome.series, "png", tmp_path / "png")
    again = list(archive.ingest.run([source], collection="main"))
    assert [(one.status, one.series) for one in again] == [
        (Status.KNOWN, outcome.series) for outcome in outcomes
    ]
    assert b"0a1b2c" not in (archive.settings.home / "catalog.sqlite").read_bytes()
