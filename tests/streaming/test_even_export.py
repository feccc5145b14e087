"""Tilted series leave with a warning, or on an even grid, by every face."""

import json

import httpx
import nibabel
import numpy as np
import pytest
import zarr

from imarium.errors import ExportRefusedError, InvalidRequestError
from imarium.testing.dicom_files import make_dataset, write_file


@pytest.fixture
def tilted(live, tmp_path):
    """UID of a series whose slices are sheared by half a millimetre each."""
    for number in range(1, 9):
        pixels = np.random.default_rng(number).integers(0, 1000, (40, 48)).astype(np.int16)
        dataset = make_dataset(pixels, number, ImagePositionPatient=[0.0, number / 2, float(number)])
        write_file(tmp_path / "in" / str(number), dataset)
    (uid,) = {outcome.series for outcome in live.archive.ingest.run([tmp_path / "in"], collection="c")}
    return uid


@pytest.mark.parametrize("resolution", [{}, {"level": 1}, {"size": "30"}])
def test_every_resolution(live, tilted, tmp_path, resolution):
    streaming, said = live.archive.streaming, []
    (path,) = streaming.export(tilted, "npy", tmp_path / "x.npy", even=True, report=said.append, **resolution)
    source = streaming.rendition(tilted, **resolution)
    values = np.load(path)
    assert values.shape[0] == 8
    assert values.shape[1] > source.series.rows
    assert values.shape[2] == source.series.columns
    assert values.min() == np.min([frame.min() for frame in streaming.rendition(tilted, **resolution).frames])
    # The first slice lies on the grid as it is.
    first = next(iter(source.frames))
    np.testing.assert_array_equal(values[0][: first.shape[0]], first)
    assert said == []


def test_by_http(live, tilted, tmp_path):
    with httpx.Client(base_url=live.url) as http:
        address = f"/api/v1/series/{tilted}/export"
        answer = http.get(address, params={"format": "nifti", "compress": False})
        (note,) = json.loads(answer.headers["imarium-notes"])
        assert note.startswith("Gantry tilt")
        (tmp_path / "tilted.nii").write_bytes(answer.content)
        assert b"TILTED" in nibabel.load(tmp_path / "tilted.nii").header["descrip"].item()
        answer = http.get(address, params={"format": "nifti", "compress": False, "even": True})
        assert "imarium-notes" not in answer.headers
        (tmp_path / "even.nii").write_bytes(answer.content)
        image = nibabel.load(tmp_path / "even.nii")
        np.testing.assert_allclose(image.affine[:3, :3].T @ image.affine[:3, :3], np.diag([0.5625, 0.25, 1]))
        assert http.get(address, params={"format": "png", "even": True}).status_code == 400


def test_formats(live, tilted, archive, nifti, tmp_path):
    streaming = live.archive.streaming
    for format_name in ("dicom", "png"):
        with pytest.raises(InvalidRequestError, match="volumes"):
            streaming.export(tilted, format_name, tmp_path / "x", even=True)
    (path,) = streaming.export(tilted, "ome-zarr", tmp_path / "x.ome.zarr", even=True)
    group = zarr.open_group(path, mode="r")
    assert [item["path"] for item in group.attrs["ome"]["multiscales"][0]["datasets"]] == ["0"]
    assert group["0"].shape == (8, 47, 48)
    (outcome,) = archive.ingest.run([nifti], collection="c")
    with pytest.raises(ExportRefusedError, match="only DICOM"):
        archive.streaming.export(outcome.series, "npy", tmp_path / "y.npy", even=True)
