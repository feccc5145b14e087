"""The chest phantom: the same every time, in the same place in DICOM and NIfTI, nodules where it says."""

from __future__ import annotations

import hashlib
from pathlib import Path

import imagecodecs
import nibabel as nib
import numpy as np
import pydicom
import pytest

from imarium.phantoms import NODULES, ct_chest

SMALL = (16, 96, 80)


def _digests(paths: list[Path]) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


def test_dicom_and_nifti_hold_the_same_voxels_in_the_same_place(tmp_path: Path) -> None:
    phantom = ct_chest(*SMALL)
    paths = phantom.write_dicom(tmp_path / "dicom")
    image = nib.load(phantom.write_nifti(tmp_path / "chest.nii.gz"))
    values = np.asanyarray(image.dataobj)
    assert values.dtype == np.int16
    assert values.shape == SMALL[::-1]
    assert len(paths) == 16
    for index in (0, 7, 15):
        ds = pydicom.dcmread(paths[index])
        hu = ds.pixel_array.astype(int) * int(ds.RescaleSlope) + int(ds.RescaleIntercept)
        assert np.array_equal(hu[::-1].T, values[:, :, index])
        x, y, z = map(float, ds.ImagePositionPatient)
        # The DICOM file's first voxel is the last of the first column in NIfTI, whose rows run backwards.
        assert np.allclose(image.affine @ [0, SMALL[1] - 1, index, 1], [-x, -y, z, 1], atol=1e-3)
        assert np.allclose(np.array(ds.PixelSpacing, float), phantom.spacing[1:])
        assert (ds.PatientName, ds.BitsStored, ds.InstanceNumber) == ("Phantom^Chest", 12, index + 1)
        assert ds.SOPInstanceUID == ds.file_meta.MediaStorageSOPInstanceUID
        assert all(len(uid) <= 64 for uid in (ds.SOPInstanceUID, ds.SeriesInstanceUID, ds.StudyInstanceUID))
    uids = {pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID for path in paths}
    assert len(uids) == 16


def test_bytes_are_the_same_every_time(tmp_path: Path) -> None:
    first = [
        *ct_chest(*SMALL).write_dicom(tmp_path / "a"),
        ct_chest(*SMALL).write_nifti(tmp_path / "a.nii.gz"),
    ]
    again = [
        *ct_chest(*SMALL).write_dicom(tmp_path / "b"),
        ct_chest(*SMALL).write_nifti(tmp_path / "b.nii.gz"),
    ]
    other = ct_chest(*SMALL, seed=1).write_nifti(tmp_path / "c.nii.gz")
    assert _digests(first) == _digests(again)
    assert _digests([other]) != _digests(first[-1:])


def test_nodules_are_where_they_are_said_to_be() -> None:
    phantom = ct_chest(128, 256, 256)
    volume = np.stack(list(phantom.hounsfield()))
    back = np.linalg.inv(np.asarray(phantom.affine))
    step_z, step_y, step_x = phantom.spacing
    for nodule in NODULES:
        column, row, slice_, _ = back @ [*nodule.center_mm, 1]
        k, j, i = np.ogrid[:128, :256, :256]
        distance = np.sqrt(
            ((k - slice_) * step_z) ** 2 + ((j - row) * step_y) ** 2 + ((i - column) * step_x) ** 2
        )
        inside = volume[distance < max(nodule.radius_mm - 1.5, 1.7)]
        shell = volume[(distance > nodule.radius_mm * 2 + 2) & (distance < nodule.radius_mm * 2 + 4)]
        assert inside.mean() == pytest.approx(nodule.hu, abs=20 + 0.2 * (nodule.hu + 860))
        assert np.median(shell) < -700


def test_it_looks_like_a_chest_and_compresses_like_one() -> None:
    phantom = ct_chest(16, 512, 512)
    volume = np.stack(list(phantom.hounsfield()))
    assert volume.dtype == np.int16
    assert (volume.min(), volume.max()) >= (-1024, 300)
    assert volume.max() <= 3071
    lung = ((volume > -960) & (volume < -700)).mean()
    soft = ((volume > -150) & (volume < 150)).mean()
    assert 0.04 < lung < 0.3
    assert 0.2 < soft < 0.6
    stored = (volume.astype(np.int32) + 1024).astype(np.uint16)
    packed = sum(len(imagecodecs.htj2k_encode(frame, reversible=True)) for frame in stored)
    assert 2.5 < stored.nbytes / packed < 3.8


def test_sizes_that_make_no_chest() -> None:
    for sizes in ((3, 64, 64), (64, 0, 64), (64, 64, 40000)):
        with pytest.raises(ValueError):
            ct_chest(*sizes)
