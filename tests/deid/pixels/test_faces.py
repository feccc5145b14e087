"""Removing faces: the face is gone, the brain is whole, and what cannot be done is refused."""

import io

import nibabel
import numpy as np
import pytest
from PIL import Image

from imarium.deid.pixels.faces import deface
from imarium.errors import FaceRemovalError
from imarium.formats import recognise
from imarium.formats.base import ReadContext
from imarium.settings import Limits
from imarium.testing.heads import EYE, head

HEADS = [
    pytest.param({"modality": "MR"}, id="mr"),
    pytest.param({"modality": "CT"}, id="ct"),
    pytest.param(
        {"modality": "CT", "tilt": 18.0, "spacing": (5.0, 1.8, 1.8), "shape": (44, 140, 120)}, id="ct-tilted"
    ),
    pytest.param({"modality": "MR", "pitch": 15.0}, id="mr-looking-down"),
    pytest.param({"modality": "MR", "pitch": -12.0}, id="mr-looking-up"),
    pytest.param({"modality": "CT", "flip": True}, id="ct-other-hand"),
]


@pytest.mark.parametrize("facts", HEADS)
def test_the_face_goes_and_the_brain_stays(facts):
    made = head(**facts)
    values, mask, report = deface(made.values, made.affine, made.modality)
    assert report.face == "removed"
    assert (made.face & mask).sum() >= 0.96 * made.face.sum()
    assert (mask[made.labels == EYE]).mean() > 0.98
    assert not (mask & made.brain).any()
    assert report.brain_changed == 0
    assert report.surface_removed > 0.95
    assert report.confidence >= 0.7
    assert values.dtype == made.values.dtype
    assert (values[~mask] == made.values[~mask]).all()
    assert len(np.unique(values[mask])) == 1
    assert np.median(np.abs(values[mask] - np.median(made.values[made.labels == 0]))) < 60


def test_axes_may_come_in_any_order():
    made = head("CT")
    turned = made.values.transpose(2, 1, 0)
    order = np.eye(4)[[2, 1, 0, 3]]
    _, mask, _ = deface(made.values, made.affine, "CT")
    _, other, report = deface(turned, made.affine @ order, "CT")
    assert report.brain_changed == 0
    assert (other.transpose(2, 1, 0) != mask).mean() < 0.01


def test_a_stripped_brain_is_left_as_it_is_and_said_so():
    made = head("MR", face=False)
    values, mask, report = deface(made.values, made.affine, "MR")
    assert report.face == "absent"
    assert not mask.any()
    assert (values == made.values).all()
    assert report.notes


def test_the_mni152_brain_is_not_touched(shared_data):
    image = nibabel.load(shared_data / "nifti-mni152" / "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz")
    volume = np.asanyarray(image.dataobj).T
    values, mask, report = deface(volume, image.affine, "MR")
    assert report.face == "absent"
    assert not mask.any()
    assert (values == volume).all()
    assert 1300 < report.brain_ml < 1900
    assert abs(report.pitch_degrees) < 6


def test_the_preview_shows_before_and_after():
    made = head("CT")
    _, _, report = deface(made.values, made.affine, "CT")
    picture = np.asarray(Image.open(io.BytesIO(report.preview)))
    before, after = np.split(picture, 2)
    assert (before != after).mean() > 0.02


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"affine": None}, "unknown"),
        ({"affine": np.zeros((4, 4))}, "makes no sense"),
        ({"modality": "US"}, "CT and MR alone"),
        ({"modality": None}, "CT and MR alone"),
        ({"volume": np.zeros((3, 8, 8), np.int16)}, "at least 4"),
        ({"volume": np.zeros((10, 8, 8), np.complex64)}, "real numbers"),
        ({"volume": np.zeros((20, 40, 40), np.int16)}, "no background"),
        ({"affine": np.diag([30.0, 30.0, 30.0, 1.0])}, "mm long"),
    ],
)
def test_what_cannot_be_done_is_refused(change, words):
    made = head("CT", shape=(20, 40, 40), spacing=(8.0, 6.0, 6.0))
    given = {"volume": made.values, "affine": made.affine, "modality": "CT"} | change
    with pytest.raises(FaceRemovalError, match=words):
        deface(given["volume"], given["affine"], given["modality"])


def test_another_part_of_the_body_is_no_head(phantom):
    image = nibabel.load(phantom / "phantom.nii.gz")
    with pytest.raises(FaceRemovalError):
        deface(np.asanyarray(image.dataobj).T, image.affine, "CT")


def test_noise_is_no_head():
    noise = np.random.default_rng(0).normal(400, 100, (60, 80, 80)).astype(np.float32)
    with pytest.raises(FaceRemovalError):
        deface(noise, np.diag([2.5, 2.5, 2.5, 1.0]), "MR")


def test_a_skull_of_plastic_is_refused(shared_data, tmp_path):
    """A head phantom of bone alone: there is no brain to keep, so nothing is certain."""
    files = sorted((shared_data / "ct-philips-tilt").glob("I*"))
    (source,) = recognise(files[0]).read(files, ReadContext(Limits(), tmp_path))
    volume = np.stack(list(source.read_frames())).astype(np.float32) - 1024
    with pytest.raises(FaceRemovalError, match="no brain"):
        deface(volume, np.asarray(source.series.affine), "CT")
