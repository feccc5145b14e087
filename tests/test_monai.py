"""The reader for MONAI, in MONAI's own transforms."""

import numpy as np
import pytest

pytest.importorskip("monai", reason="MONAI is not installed: pip install monai")

import imagecodecs
import nibabel
import torch
from monai.data import DataLoader, Dataset
from monai.transforms import Compose, EnsureChannelFirst, LoadImage, Orientation

import imarium
from imarium.errors import InvalidRequestError
from imarium.monai import ImariumReader


@pytest.fixture
def uid(live, phantom):
    outcomes = list(live.archive.ingest.run([phantom / "phantom.nii.gz"], collection="c"))
    return outcomes[0].series


def test_a_series_is_what_the_file_was(live, uid, phantom):
    image = LoadImage(reader=ImariumReader(live.url), image_only=True)(uid)
    expected = nibabel.load(phantom / "phantom.nii.gz")
    np.testing.assert_array_equal(image, expected.get_fdata())
    np.testing.assert_allclose(image.affine, expected.affine, atol=1e-6)
    assert image.meta["space"] == "RAS"


def test_as_monai_reads_the_file_itself(live, uid, phantom):
    turned = Compose([EnsureChannelFirst(), Orientation("RAS", labels=(("L", "R"), ("P", "A"), ("I", "S")))])
    ours = turned(LoadImage(reader=ImariumReader(live.url), image_only=True)(uid))
    theirs = turned(LoadImage(image_only=True)(phantom / "phantom.nii.gz"))
    assert ours.shape == theirs.shape == (1, 96, 96, 12)
    torch.testing.assert_close(ours.as_tensor(), theirs.as_tensor())
    np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-5)


@pytest.mark.parametrize("asked", ["?level=1", "?size=48"])
def test_levels_and_sizes_by_address(live, uid, asked):
    host = live.url.removeprefix("http://")
    image = LoadImage(reader=ImariumReader(), image_only=True)(f"imarium://{host}/{uid}{asked}")
    assert image.shape == (48, 48, 12)
    with imarium.connect(live.url) as db:
        np.testing.assert_allclose(image.affine, db.series(uid).volume(level=1).affine)


def test_levels_of_the_reader_and_several_series_as_channels(live, uid, phantom):
    list(live.archive.ingest.run([phantom / "dicom"], collection="d"))
    with imarium.connect(live.url) as db:
        (other,) = [item["uid"] for item in db.list_series("d")]
        image = LoadImage(reader=ImariumReader(db, level=2), image_only=True)([uid, other])
    assert image.shape == (2, 24, 24, 12)
    assert image.meta["original_channel_dim"] == 0


def test_pictures_have_colours_last(live, tmp_path):
    colours = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(colours))
    (taken,) = live.archive.ingest.run([tmp_path / "a.png"], collection="c")
    image = LoadImage(reader=ImariumReader(live.url), image_only=True, ensure_channel_first=True)(
        taken.series
    )
    np.testing.assert_array_equal(image[:, :, :, 0], colours.transpose(2, 1, 0))


def test_in_workers(live, uid):
    data = Dataset([uid] * 4, LoadImage(reader=ImariumReader(live.url, level=2), image_only=True))
    for batch in DataLoader(data, batch_size=2, num_workers=2):
        assert batch.shape == (2, 24, 24, 12)


@pytest.mark.parametrize("name", ["file.nii.gz", "1.2?level=x", "1.2?frame=3", "1.2?level=1&size=3"])
def test_names_that_mean_nothing(live, name):
    with pytest.raises(InvalidRequestError):
        ImariumReader(live.url).read(name)


def test_which_server(live, uid):
    reader = ImariumReader()
    with pytest.raises(InvalidRequestError, match="which server"):
        reader.read(uid)
    assert reader.verify_suffix([uid, f"imarium://host/{uid}"])
    assert not reader.verify_suffix("a.nii.gz")
