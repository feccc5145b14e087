"""What the README of the real images promises of them, after they went through the archive."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
from numpy.typing import NDArray

from imarium.archive import Archive
from imarium.ingest import Status


def _taken(archive: Archive, *paths: Path) -> str:
    """The one series that files become, in a collection of their own."""
    outcomes = list(archive.ingest.run(paths, collection=paths[0].name))
    assert {outcome.status for outcome in outcomes} == {Status.TAKEN}
    (uid,) = {str(outcome.series) for outcome in outcomes}
    return uid


def _volume(archive: Archive, *paths: Path) -> NDArray[Any]:
    return np.asarray(archive.streaming.volume(_taken(archive, *paths)))


REFERENCES = [
    ("mr-12bit/In/12bitUnsigned.dcm", "mr-12bit/Ref/2.nii", 39116505),
    ("mr-12bit/In/12bitSigned_0x0F0F.dcm", "mr-12bit/Ref/4.nii", 38125324),
    ("mr-siemens-mosaic/ax/axasc35/MR*", "mr-siemens-mosaic/Ref/ax_asc_35sl_6.nii", 76096437),
    ("mr-siemens-mosaic/cor/corint36/MR*", "mr-siemens-mosaic/Ref/cor_int_36sl_15.nii", None),
    (
        "mr-nih-ge-siemens/20180918GE/*/*.dcm",
        "mr-nih-ge-siemens/Ref/DCM2NIIX_regression_test_4.nii",
        348072471,
    ),
    ("mr-nih-ge-siemens/20180918Si/*/*.dcm", "mr-nih-ge-siemens/Ref/EPI_PE=AP_3.nii", None),
]


@pytest.mark.parametrize(("sources", "reference", "total"), REFERENCES)
def test_nifti_agrees_with_dcm2niix(
    archive: Archive, tmp_path: Path, shared_data: Path, sources: str, reference: str, total: int | None
) -> None:
    uid = _taken(archive, *sorted(shared_data.glob(sources)))
    (file,) = archive.streaming.export(uid, "nifti", tmp_path / "x.nii.gz")
    ours, theirs = nibabel.load(file), nibabel.load(shared_data / reference)
    voxels = np.asanyarray(ours.dataobj.get_unscaled())
    np.testing.assert_array_equal(voxels.squeeze(), np.asanyarray(theirs.dataobj.get_unscaled()).squeeze())
    np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-3)
    if total is not None:
        assert int(voxels.sum(dtype=np.int64)) == total


def test_enhanced_mr_agrees_with_dcm2niix(archive: Archive, tmp_path: Path, shared_data: Path) -> None:
    """dcm2niix writes a file a volume, turned to the nearest canonical axes."""
    uid = _taken(archive, *(shared_data / "mr-enhanced/Philips").iterdir())
    (file,) = archive.streaming.export(uid, "nifti", tmp_path / "x.nii.gz")
    affine = nibabel.load(file).affine  # its values are rescaled, since the volumes have other slopes
    stored = np.asarray(archive.streaming.volume(uid))[..., ::-1, :].astype(np.int16)
    for volume, name in zip(stored, ("e1", "e2_fieldmaphz"), strict=True):
        theirs = nibabel.load(shared_data / f"mr-enhanced/Ref/Philips_WIP_B0_NS_801_{name}.nii")
        ours = nibabel.as_closest_canonical(nibabel.Nifti1Image(volume.T, affine))
        np.testing.assert_array_equal(np.asarray(ours.dataobj), np.asarray(theirs.dataobj.get_unscaled()))
        np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-3)


@pytest.mark.parametrize("image", ["CT1", "MR1", "NM1", "US1"])
def test_every_encoding_of_one_image(archive: Archive, shared_data: Path, image: str) -> None:
    """Lossless ones are equal, near-lossless JPEG-LS is within 4, and lossy ones are close."""
    folder = shared_data / "nema-wg04-codecs"
    plain = _volume(archive, folder / "REF" / f"{image}_UNC")
    if image != "US1":
        codestreams = shared_data / "htj2k-codestreams"
        assert plain.tobytes() == (codestreams / "raw" / f"{image}.RAW").read_bytes()
        high_throughput = _volume(archive, codestreams / "j2c" / f"{image}.j2c")
        assert np.array_equal(high_throughput.ravel(), plain.ravel())
    seen = set()
    for path in sorted(folder.rglob(f"{image}_*")):
        kind = path.parent.name
        found = plain if kind == "REF" else _volume(archive, path)
        assert found.shape == plain.shape, path
        apart = np.abs(found.astype(np.int64) - plain)
        if kind in {"REF", "J2KR", "JLSL", "JPLL", "RLE"}:
            assert apart.max() == 0, path
        elif kind == "JLSN":
            assert 0 < apart.max() <= 4, path
        else:
            assert 0 < np.sqrt(np.mean(apart**2.0)) < 0.03 * np.ptp(plain), path
        seen.add(kind)
    assert seen >= {"REF", "J2KR", "J2KI", "RLE"}


def test_a_slide_has_its_size_and_resolution(archive: Archive, shared_data: Path) -> None:
    outcomes = archive.ingest.run([shared_data / "microscopy/cmu-1-small-region.svs"], collection="c")
    slide = archive.catalog.get_series(str(next(outcomes).series)).series
    assert (slide.columns, slide.rows) == (2220, 2967)
    assert slide.spacing is not None
    assert slide.spacing[1:] == pytest.approx((0.000499, 0.000499))  # mm


def test_a_segmentation_equals_the_labels_it_was_made_of(archive: Archive, shared_data: Path) -> None:
    """A DICOM SEG has a frame for each slice of each segment; the NRRD has the number of the segment."""
    folder = shared_data / "seg-sr-dcmqi/segmentations/23x38x3"
    labels = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(folder / "nrrd/label.nrrd")))
    uid = _taken(archive, folder / "seg/label.seg")
    assert archive.catalog.get_series(uid).series.label_map
    frames = np.asarray(archive.streaming.volume(uid))
    segments = np.unique(labels[labels > 0])
    expected = {(part == segment).tobytes() for segment in segments for part in labels}
    empty = np.zeros(labels.shape[1:], np.bool_).tobytes()
    found = {(frame > 0).tobytes() for frame in frames.reshape(-1, *labels.shape[1:])}
    assert found - {empty} == expected - {empty} != set()
    assert int((frames > 0).sum()) == int((labels > 0).sum())
