"""OME-Zarr as zarr-python and ome-zarr read it, against the rules of OME-NGFF 0.5 and the source's values."""

import hashlib
import json
import os
import subprocess
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr

from imarium.codec import resample
from imarium.codec.color import ybr_full_to_rgb
from imarium.errors import ExportRefusedError, IntegrityError, InvalidRequestError
from imarium.formats import EXPORTS
from imarium.formats.ome_zarr import OmeZarrWriter
from imarium.model import Rendition, Series

AFFINE = ((0.5, 0.0, 0.0, -10.0), (0.0, 0.75, 0.0, 20.0), (0.0, 0.0, 2.0, 5.0), (0.0, 0.0, 0.0, 1.0))
KINDS = [
    ((7,), 1, {}, "zyx"),
    ((1,), 1, {}, "zyx"),
    ((3, 5), 1, {"time_step": 2.5}, "tzyx"),
    ((3, 5), 1, {}, "tzyx"),
    ((2, 3, 5), 1, {"time_step": 2.5}, "tczyx"),
    ((4,), 3, {"photometric": "RGB"}, "czyx"),
    ((2, 4), 3, {"photometric": "RGB"}, "tczyx"),
    ((1,), 1, {"affine": None}, "yx"),
    ((1,), 3, {"affine": None, "photometric": "RGB"}, "cyx"),
    ((1,), 2, {"affine": None}, "cyx"),
    ((6,), 1, {"affine": None, "time_step": 0.1}, "tyx"),
    ((6,), 3, {"affine": None, "time_step": 0.1, "photometric": "RGB"}, "tcyx"),
    ((6,), 1, {"affine": None}, "zyx"),
]
"""Dimensions, samples and facts of a series, and the axes that it has then."""

TYPES = (
    *("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
)

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def ome_zarr_says():
    """What the packages ome-zarr and ome-zarr-models make of folders, a dictionary each."""
    own = Path(os.environ.get("IMARIUM_OME_ZARR_PYTHON", ROOT / ".venv-ome-zarr/bin/python"))
    if not own.exists():
        pytest.skip(f"NO OME-ZARR PACKAGE: {own} is missing; scripts/test makes it")

    def ask(paths):
        command = [own, Path(__file__).with_name("ome_zarr_oracle.py"), *paths]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return [json.loads(line) for line in done.stdout.splitlines()]

    return ask


def series_of(array, dimensions, **facts):
    samples = facts.pop("samples", 1)
    rows, columns = array.shape[-3:-1] if samples > 1 else array.shape[-2:]
    frames = int(np.prod(dimensions))
    made = {"uid": "2.25.1", "study_uid": "2.25.2", "format": "nifti", "affine": AFFINE}
    return Series(
        frames=frames,
        rows=rows,
        columns=columns,
        dtype=array.dtype.name,
        samples=samples,
        dimensions=dimensions,
        **made | facts,
    )


def pyramid(array, series, levels=1):
    """The rendition of a series whose frames are `array`, with every second pixel a level further down."""

    def at(level):
        step = 1 << level
        frames = (np.ascontiguousarray(frame[::step, ::step]) for frame in array)
        return Rendition(series.at_level(level), series, frames, {})

    return replace(at(0), levels=lambda: [at(level) for level in range(levels)])


def frames_of(dimensions, samples):
    shape = (int(np.prod(dimensions)), 33, 20) + ((samples,) if samples > 1 else ())
    return np.random.default_rng(0).integers(0, 200, shape).astype(np.uint8)


def values_of(dtype):
    array = (np.random.default_rng(0).normal(size=(3, 20, 17)) * 100).astype(dtype)
    if dtype.startswith(("float", "complex")):
        array[0, 0, :3] = np.nan, np.inf, -np.inf
    return array


def checked(path):
    """Open an OME-Zarr, check what the specification demands, and return (group, ome attribute)."""
    group = zarr.open_group(path, mode="r")
    assert group.metadata.zarr_format == 3
    ome = group.attrs["ome"]
    assert ome["version"] == "0.5"
    (multiscale,) = ome["multiscales"]
    axes = multiscale["axes"]
    names = [axis["name"] for axis in axes]
    assert 2 <= len(axes) <= 5
    assert len(set(names)) == len(names)
    kinds = [axis["type"] for axis in axes]
    assert 2 <= kinds.count("space") <= 3
    assert kinds.count("time") <= 1
    assert kinds.count("channel") <= 1
    assert kinds == sorted(kinds, key=["time", "channel", "space"].index)
    shapes = []
    for dataset in multiscale["datasets"]:
        array = group[dataset["path"]]
        assert array.ndim == len(axes)
        assert list(array.metadata.dimension_names) == names
        assert [codec["name"] for codec in array.metadata.to_dict()["codecs"]] == ["bytes", "zstd"]
        scale, translation = dataset["coordinateTransformations"]
        assert (scale["type"], translation["type"]) == ("scale", "translation")
        assert len(scale["scale"]) == len(translation["translation"]) == len(axes)
        assert all(value > 0 for value in scale["scale"])
        shapes.append(array.shape)
    assert shapes == sorted(shapes, reverse=True)
    if "omero" in ome:
        sizes = dict(zip(names, shapes[0], strict=True))
        assert len(ome["omero"]["channels"]) == sizes.get("c", 1)
        for channel in ome["omero"]["channels"]:
            assert len(channel["color"]) == 6
            assert set(channel["window"]) == {"min", "max", "start", "end"}
            assert channel["window"]["start"] <= channel["window"]["end"]
    return group, ome


@pytest.mark.parametrize(("dimensions", "samples", "facts", "names"), KINDS)
def test_axes_and_values(tmp_path, dimensions, samples, facts, names):
    array = frames_of(dimensions, samples)
    series = series_of(array, dimensions, samples=samples, **facts)
    (path,) = OmeZarrWriter().write(pyramid(array, series, 2), tmp_path / "x.ome.zarr")
    assert [item.name for item in tmp_path.iterdir()] == ["x.ome.zarr"]
    group, ome = checked(path)
    assert "".join(axis["name"] for axis in ome["multiscales"][0]["axes"]) == names
    for level in (0, 1):
        step = 1 << level
        stored = group[str(level)]
        assert stored.dtype == np.uint8
        expected = array[:, ::step, ::step].reshape(*dimensions, *array[0, ::step, ::step].shape)
        if samples > 1:
            expected = np.moveaxis(expected, -1, -3)
        if len(dimensions) == 3:
            expected = np.swapaxes(expected, 0, 1)  # time comes before channels
        elif samples > 1 and "z" in names:
            expected = np.moveaxis(expected, -3, -4)
        np.testing.assert_array_equal(stored[:], expected.reshape(stored.shape))
        assert expected.squeeze().shape == tuple(side for side in stored.shape if side > 1)
    units = {axis["name"]: axis.get("unit") for axis in ome["multiscales"][0]["axes"]}
    placed = series.affine is not None
    assert {units[name] for name in "yx"} == ({"millimeter"} if placed else {None})
    if "t" in units:
        assert units["t"] == ("second" if series.time_step else None)


def test_every_pixel_of_every_level_keeps_its_place(tmp_path):
    array = np.zeros((3, 33, 21), np.int16)
    series = series_of(array, (3,))
    (path,) = OmeZarrWriter().write(pyramid(array, series, 3), tmp_path / "x.ome.zarr")
    group, ome = checked(path)
    for number, dataset in enumerate(ome["multiscales"][0]["datasets"]):
        scale, translation = (list(item.values())[1] for item in dataset["coordinateTransformations"])
        at = series.at_level(number)
        level, full = np.asarray(at.affine), np.asarray(series.affine)
        for index in ([0, 0, 0], [2, 5, 3]):
            place = np.multiply(scale, index) + translation  # mm along z, y, x from the first pixel
            patient = full @ [*(place / series.spacing)[::-1], 1]
            np.testing.assert_allclose(patient, level @ [*index[::-1], 1])
        np.testing.assert_allclose(group.attrs["imarium"]["affines"][number], at.affine)


def test_a_size_lies_where_the_source_does(tmp_path):
    array = np.zeros((2, 33, 21), np.int16)
    source = series_of(array, (2,))
    series = source.at_size(11, 10)
    frames = [resample(frame, 11, 10) for frame in array]
    rendition = Rendition(series, source, frames, {})
    (path,) = OmeZarrWriter().write(rendition, tmp_path / "x.zarr")
    _, ome = checked(path)
    (dataset,) = ome["multiscales"][0]["datasets"]
    scale, translation = (list(item.values())[1] for item in dataset["coordinateTransformations"])
    np.testing.assert_allclose(scale, series.spacing)
    np.testing.assert_allclose(translation, [0, 0.75, 0.5 * (2.1 - 1) / 2])


@pytest.mark.parametrize("dtype", TYPES)
def test_types(tmp_path, dtype):
    array = values_of(dtype)
    (path,) = OmeZarrWriter().write(pyramid(array, series_of(array, (3,))), tmp_path / "x.ome.zarr")
    stored = checked(path)[0]["0"]
    assert stored.dtype == dtype
    assert stored[:].tobytes() == array.tobytes()


def test_ybr_becomes_rgb_and_other_colours_are_refused(tmp_path):
    array = np.random.default_rng(0).integers(0, 255, (2, 20, 17, 3)).astype(np.uint8)
    series = series_of(array, (2,), samples=3, photometric="YBR_FULL")
    (path,) = OmeZarrWriter().write(pyramid(array, series), tmp_path / "x.ome.zarr")
    group, ome = checked(path)
    expected = np.stack([ybr_full_to_rgb(frame) for frame in array])
    np.testing.assert_array_equal(group["0"][:], np.moveaxis(expected, -1, 0))
    assert [channel["label"] for channel in ome["omero"]["channels"]] == ["red", "green", "blue"]
    assert group.attrs["imarium"]["photometric"] == "RGB"
    with pytest.raises(ExportRefusedError, match="HSV"):
        OmeZarrWriter().write(pyramid(array, replace(series, photometric="HSV")), tmp_path / "y.zarr")


def test_the_window_is_in_stored_values(tmp_path):
    array = np.zeros((2, 20, 17), np.int16)
    facts = {"rescale_slope": 2.0, "rescale_intercept": -1000.0, "window_center": 40, "window_width": 400}
    series = series_of(array, (2,), bits_stored=12, modality="CT", **facts)
    (path,) = OmeZarrWriter().write(pyramid(array, series), tmp_path / "x.ome.zarr")
    group, ome = checked(path)
    (channel,) = ome["omero"]["channels"]
    assert channel["window"] == {"min": -2048, "max": 2047, "start": 420, "end": 620}
    assert channel["label"] == "CT"
    assert group.attrs["imarium"]["rescale_intercept"] == -1000.0
    assert ome["omero"]["rdefs"]["defaultZ"] == 1


def test_without_a_window_the_values_say_one(tmp_path):
    array = np.full((2, 20, 17), np.nan, np.float32)
    series = series_of(array, (2,))
    (path,) = OmeZarrWriter().write(pyramid(array, series), tmp_path / "nan.ome.zarr")
    assert "omero" not in checked(path)[1]
    array[1, 2, 3:5] = -3, 8
    (path,) = OmeZarrWriter().write(pyramid(array, series), tmp_path / "some.ome.zarr")
    window = checked(path)[1]["omero"]["channels"][0]["window"]
    assert window == {"min": -3, "max": 8, "start": -3, "end": 8}


def test_chunks_are_of_a_sensible_size(tmp_path):
    small = np.zeros((70, 64, 64), np.int16)
    (path,) = OmeZarrWriter().write(pyramid(small, series_of(small, (70,)), 2), tmp_path / "small.zarr")
    assert checked(path)[0]["0"].chunks == (70, 64, 64)
    large = np.zeros((2, 1500, 2100), np.uint16)
    (path,) = OmeZarrWriter().write(pyramid(large, series_of(large, (2,))), tmp_path / "large.zarr")
    assert checked(path)[0]["0"].chunks == (1, 1024, 1024)


def test_a_volume_ends_inside_a_chunk(tmp_path):
    array = np.random.default_rng(0).integers(0, 255, (15, 500, 400)).astype(np.uint8)
    series = series_of(array, (3, 5), time_step=1.0)
    (path,) = OmeZarrWriter().write(pyramid(array, series), tmp_path / "x.ome.zarr")
    stored = checked(path)[0]["0"]
    assert 1 < stored.chunks[1] < 15
    np.testing.assert_array_equal(stored[:].reshape(array.shape), array)


def test_memory_does_not_grow_with_the_series(tmp_path):
    def peak(frames):
        series = series_of(np.zeros((1, 512, 512), np.uint16), (frames,))
        made = (np.full((512, 512), number, np.uint16) for number in range(frames))
        tracemalloc.start()
        OmeZarrWriter().write(Rendition(series, series, made, {}), tmp_path / f"{frames}.zarr")
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(2)  # what is loaded once
    assert peak(96) < 16 << 20  # 48 MiB of frames


def test_refusals_leave_nothing(tmp_path):
    array = np.zeros((2, 20, 17), np.uint8)
    series = series_of(array, (2,))
    with pytest.raises(InvalidRequestError, match="ends in"):
        OmeZarrWriter().write(pyramid(array, series), tmp_path / "x")
    with pytest.raises(IntegrityError):
        OmeZarrWriter().write(pyramid(array[:1], series), tmp_path / "x.zarr")
    many = np.zeros((16, 20, 17), np.uint8)
    with pytest.raises(ExportRefusedError, match="5 dimensions"):
        OmeZarrWriter().write(pyramid(many, series_of(many, (2, 2, 2, 2))), tmp_path / "x.zarr")
    colours = np.zeros((8, 20, 17, 3), np.uint8)
    made = series_of(colours, (2, 2, 2), samples=3, photometric="RGB")
    with pytest.raises(ExportRefusedError, match="and colours"):
        OmeZarrWriter().write(pyramid(colours, made), tmp_path / "x.zarr")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "x.zarr").mkdir()
    with pytest.raises(InvalidRequestError, match="exists"):
        OmeZarrWriter().write(pyramid(array, series), tmp_path / "x.zarr")


def agrees(told, path):
    """What ome-zarr says is what is in the folder."""
    group, ome = checked(path)
    (multiscale,) = ome["multiscales"]
    assert (told["version"], told["model"]) == ("0.5", "ome_zarr_models.v05.image.Image")
    assert told["axes"] == multiscale["axes"]
    datasets = multiscale["datasets"]
    assert told["coordinateTransformations"] == [one["coordinateTransformations"] for one in datasets]
    arrays = [group[one["path"]] for one in datasets]
    assert [(tuple(level["shape"]), level["dtype"]) for level in told["levels"]] == [
        (array.shape, array.dtype.name) for array in arrays
    ]
    for level, array in zip(told["levels"], arrays, strict=True):
        assert level["sha256"] == hashlib.sha256(array[:].tobytes()).hexdigest()
    channels = ome["omero"]["channels"]
    assert told["channel_names"] == [channel["label"] for channel in channels]
    assert told["visible"] == [channel["active"] for channel in channels]
    assert told["contrast_limits"] == [[one["window"]["start"], one["window"]["end"]] for one in channels]
    shown = ["".join(f"{round(255 * part):02X}" for part in colour) for colour in told["colours"]]
    assert shown == [channel["color"] for channel in channels]


def test_ome_zarr_reads_every_kind_and_type(tmp_path, ome_zarr_says):
    made = []
    for dimensions, samples, facts, _ in KINDS:
        array = frames_of(dimensions, samples)
        made.append(pyramid(array, series_of(array, dimensions, samples=samples, **facts), 2))
    made += [pyramid(array, series_of(array, (3,))) for array in map(values_of, TYPES)]
    paths = [tmp_path / f"{number}.ome.zarr" for number in range(len(made))]
    for rendition, path in zip(made, paths, strict=True):
        OmeZarrWriter().write(rendition, path)
    for told, path in zip(ome_zarr_says(paths), paths, strict=True):
        agrees(told, path)


def test_ome_zarr_reads_what_leaves_the_archive(tmp_path, archive, phantom, nifti, ome_zarr_says):
    uids = {str(one.series) for one in archive.ingest.run([phantom, nifti], collection="c")}
    paths = [tmp_path / f"{uid}.ome.zarr" for uid in uids]
    for uid, path in zip(uids, paths, strict=True):
        archive.streaming.export(uid, "ome-zarr", path)
    for uid, told, path in zip(uids, ome_zarr_says(paths), paths, strict=True):
        agrees(told, path)
        record = archive.catalog.get_series(uid)
        assert len(told["levels"]) == record.levels
        values = np.asarray(archive.streaming.volume(uid))
        assert told["levels"][0]["sha256"] == hashlib.sha256(values.tobytes()).hexdigest()
        assert [axis["unit"] for axis in told["axes"]] == ["millimeter"] * 3
        np.testing.assert_allclose(told["coordinateTransformations"][0][0]["scale"], record.series.spacing)


def test_every_source_may_become_ome_zarr():
    assert all("ome-zarr" in names for names in EXPORTS.values())
