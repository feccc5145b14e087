"""Tilted and unevenly spaced slices on an even grid: values where they belong."""

from dataclasses import replace

import nibabel
import numpy as np
import pytest
import SimpleITK

from imarium.errors import ExportRefusedError
from imarium.formats.dicom import evened
from imarium.formats.nifti import NiftiWriter
from imarium.formats.npy import NpyWriter
from imarium.formats.ome_zarr import OmeZarrWriter
from imarium.model import Rendition
from imarium.testing.dicom_files import make_dataset, write_file

ROWS, COLUMNS = 24, 30
SPACING = (0.5, 0.75)  # between rows, between columns


def ramp(points):
    """A value that is linear in LPS mm, which linear interpolation returns exactly."""
    return 400 + points @ np.array([3.0, -2.0, 5.0])


def positions(heights, shear=0.0):
    return [np.array([0.0, shear * height, height]) for height in heights]


def write_slices(folder, places, field=ramp, **elements):
    for number, place in enumerate(places, 1):
        rows, columns = np.mgrid[:ROWS, :COLUMNS]
        points = place + np.stack([columns * SPACING[1], rows * SPACING[0], np.zeros_like(rows)], axis=-1)
        pixels = np.rint(field(points)).astype(np.int16)
        dataset = make_dataset(pixels, number, ImagePositionPatient=[*map(float, place)])
        for keyword, value in elements.items():
            setattr(dataset, keyword, value(number) if callable(value) else value)
        write_file(folder / str(number), dataset)
    return folder


def rendition_of(source, said=None):
    said = [] if said is None else said
    return Rendition(
        source.series, source.series, source.read_frames(), source.attachments, report=said.append
    )


def resampled(source):
    made = evened(rendition_of(source), source.read_frames)
    return made.series, np.stack(list(made.frames))


def places_of(series):
    """LPS mm of every voxel: (slices, rows, columns, 3)."""
    k, j, i = np.meshgrid(*(np.arange(n) for n in series.shape), indexing="ij")
    ras = np.stack([i, j, k, np.ones_like(i)], axis=-1) @ np.asarray(series.affine).T
    return ras[..., :3] * [-1, -1, 1]


def assert_even(series):
    axes = np.asarray(series.affine)[:3, :3]
    axes = axes / np.linalg.norm(axes, axis=0)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-9)
    assert not any(note.startswith(("Gantry", "Slice spacing")) for note in series.notes)
    assert any(note.startswith("Resampled") for note in series.notes)


@pytest.mark.parametrize(
    ("heights", "shear", "slices"),
    [
        (np.arange(8) * 2.0, 0.3, 8),
        (np.arange(8) * 2.0, -0.25, 8),
        ([0, 2, 4, 6, 11, 16, 21], 0.0, None),
        ([0, 2, 4, 6, 12, 18], 0.2, None),
        ([0, 1, 2, 3, 4, 40], 0.0, 24 + 1),
    ],
)
def test_a_ramp_stays_a_ramp(tmp_path, read, heights, shear, slices):
    (source,) = read(write_slices(tmp_path / "in", positions(heights, shear)))
    series, values = resampled(source)
    assert_even(series)
    assert values.shape == series.shape
    assert values.dtype == np.int16
    assert series.spacing[1:] == pytest.approx(SPACING)
    if slices is not None:
        assert series.frames == slices
    expected = ramp(places_of(series))
    fill = min(int(frame.min()) for frame in source.read_frames())
    inside = values != fill
    # Slices hold rounded values, and rounding comes once more.
    assert np.abs(values - expected)[inside].max() <= 1
    # Whatever lies between the slices is covered: the first and the last slice whole.
    points = places_of(series)
    height, down = points[..., 2], points[..., 1]
    low, high = heights[0], heights[-1]
    reach = shear * height
    step = SPACING[0] + abs(shear) * np.max(np.diff(heights))
    well = (
        (height >= low - 1e-6) & (height <= high + 1e-6)
        & (down >= reach + step) & (down <= reach + (ROWS - 1) * SPACING[0] - step)
    )  # fmt: skip
    assert well.sum() > 1000
    assert np.abs(values - expected)[well].max() <= 1
    assert height.max() == pytest.approx(high)


def test_even_series_come_back_as_they_are(tmp_path, read):
    (source,) = read(write_slices(tmp_path / "in", positions([0, 1, 2, 3])))
    rendition = rendition_of(source)
    assert evened(rendition, source.read_frames) is rendition


def test_the_outside_is_padding_or_the_minimum(tmp_path, read):
    places = positions(np.arange(5) * 2.0, 0.4)
    (source,) = read(write_slices(tmp_path / "a", places, PixelPaddingValue=-2000))
    assert resampled(source)[1].min() == -2000
    (source,) = read(write_slices(tmp_path / "b", places))
    low = min(frame.min() for frame in source.read_frames())
    values = resampled(source)[1]
    assert values.min() == low
    assert (values == low).sum() > 100
    (source,) = read(write_slices(tmp_path / "c", places, PixelPaddingValue=-32768, Modality="MR"))
    assert resampled(source)[1].min() == -32768


def test_labels_are_never_mixed(tmp_path, read):
    def labels(points):
        return np.where(points[..., 2] > 5, 7, 2)

    (source,) = read(write_slices(tmp_path / "in", positions([0, 2, 4, 6, 11, 16], 0.3), labels))
    source = replace(source, series=replace(source.series, label_map=True))
    series, values = resampled(source)
    assert set(np.unique(values)) == {2, 7}
    assert "nearest" in series.notes[-1]
    height = places_of(series)[..., 2]
    covered = values[height > 5] == 7
    assert covered.mean() > 0.7


def test_slopes_that_differ_give_floats(tmp_path, read):
    """What is interpolated is what the values stand for."""
    heights = [0, 2, 4, 6, 11, 16]

    def slope(number):
        return str(number / 2)

    def flat(points):
        return np.full(points.shape[:2], 100)

    source = write_slices(tmp_path / "in", positions(heights), flat, RescaleSlope=slope, RescaleIntercept="5")
    (source,) = read(source)
    assert source.series.frame_rescale is not None
    series, values = resampled(source)
    assert (series.dtype, series.rescale_slope, series.frame_rescale) == ("float32", 1.0, None)
    expected = np.interp(places_of(series)[:, 0, 0, 2], heights, [100 * n / 2 + 5 for n in range(1, 7)])
    np.testing.assert_allclose(values[:, 3, 4], expected, rtol=1e-6)


def test_volumes_in_time(tmp_path, read):
    heights = [0, 2, 4, 6, 11, 16]
    for time in (1, 2):
        for number, place in enumerate(positions(heights), 1):
            pixels = np.full((ROWS, COLUMNS), 100 * time + number, np.int16)
            dataset = make_dataset(pixels, 10 * time + number, ImagePositionPatient=[*map(float, place)])
            dataset.AcquisitionTime = f"12000{time}"
            write_file(tmp_path / "in" / f"{time}-{number}", dataset)
    (source,) = read(tmp_path / "in")
    assert source.series.dimensions == (2, 6)
    series, values = resampled(source)
    assert series.dimensions[0] == 2
    volumes = values.reshape(series.volume_shape)
    np.testing.assert_array_equal(volumes[1] - volumes[0], 100)
    assert volumes[0, 0].max() == 101
    assert volumes[1, -1].min() == 206


def test_refusals(tmp_path, read):
    (source,) = read(write_slices(tmp_path / "in", positions([0, 2, 4, 6, 11])))
    for series, reason in (
        (replace(source.series, format="nifti"), "only DICOM"),
        (replace(source.series, affine=None), "only DICOM"),
        (replace(source.series, samples=3), "3 x int16"),
        (replace(source.series, dtype="int64"), "int64"),
    ):
        with pytest.raises(ExportRefusedError, match=reason):
            evened(Rendition(series, series, [], source.attachments), lambda: [])


def test_a_wide_shear_is_bounded(tmp_path, read):
    (source,) = read(write_slices(tmp_path / "in", positions(np.arange(6) * 1.0, 20.0)))
    with pytest.raises(ExportRefusedError, match="pixels a slice"):
        evened(rendition_of(source), source.read_frames)


@pytest.mark.parametrize(
    ("heights", "shear", "words", "description"),
    [
        ([0, 2, 4, 6, 11], 0.0, "uneven", "UNEVEN"),
        ([0, 2, 4, 6, 8], 0.3, "tilt", "TILTED"),
        ([0, 2, 4, 6, 8], 0.0, "", ""),
    ],
)
def test_nifti_never_looks_even(tmp_path, read, heights, shear, words, description):
    (source,) = read(write_slices(tmp_path / "in", positions(heights, shear)))
    for writer, name in ((NiftiWriter(), "x.nii"), (OmeZarrWriter(), "x.zarr"), (NpyWriter(), "x.npy")):
        said = []
        writer.write(rendition_of(source, said), tmp_path / name)
        if name == "x.npy":
            assert said == []  # which states no geometry
            continue
        assert len(said) == bool(words)
        assert all(words in text and "--even" in text for text in said)
    header = nibabel.load(tmp_path / "x.nii").header
    text = header["descrip"].item().decode()
    assert description in text
    assert (header["qform_code"] == 0) == (description == "TILTED")
    said = []
    made = evened(rendition_of(source, said), source.read_frames)
    NiftiWriter().write(made, tmp_path / "even.nii")
    header = nibabel.load(tmp_path / "even.nii").header
    assert "UNEVEN" not in header["descrip"].item().decode()
    assert "TILTED" not in header["descrip"].item().decode()
    assert header["qform_code"] == 1
    assert said == []


def test_a_real_tilted_series(shared_data, read, tmp_path):
    """The same places hold the same values, by ITK's own interpolation through the sheared volume."""
    files = sorted((shared_data / "ct-philips-tilt").glob("I*"), key=lambda path: int(path.name[1:]))
    (source,) = read(*files[:20])
    series, values = resampled(source)
    assert_even(series)
    original = np.stack(list(source.read_frames())).astype(np.float32)
    to_source = np.linalg.inv(np.asarray(source.series.affine)) @ np.asarray(series.affine)
    image = SimpleITK.GetImageFromArray(original)
    transform = SimpleITK.AffineTransform(to_source[:3, :3].ravel().tolist(), to_source[:3, 3].tolist())
    size = values.shape[::-1]
    expected = SimpleITK.GetArrayFromImage(
        SimpleITK.Resample(
            image, size, transform, SimpleITK.sitkLinear, (0.0,) * 3, (1.0,) * 3, np.eye(3).ravel(), -1
        )
    )
    inside = (expected >= 0) & (values != values.min())
    assert inside.mean() > 0.5
    # On the planes of the source both are the same but for rounding; no slice lies between here.
    assert np.abs(expected - values)[inside].max() <= 1
