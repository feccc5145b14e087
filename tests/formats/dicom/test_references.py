"""Order and geometry agree with dcm2niix: its NIfTI files have the same voxels in the same order.

Imarium's NIfTI export turns the rows of a DICOM source upside down as dcm2niix does, so the comparison does
the same: flip the rows, transpose, adjust the affine.
"""

import nibabel
import numpy as np
import pydicom
import pytest

from imarium.formats.dicom.grouping import MOSAIC_NOTE, MULTIFRAME_NOTE, RESCALE_NOTE
from imarium.formats.nifti import NiftiWriter
from imarium.model import Rendition, Volume

CASES = {
    "12 bits unsigned": ("mr-12bit/In", "12bitUnsigned.dcm", "mr-12bit/Ref/2.nii", 39116505),
    "12 bits signed": ("mr-12bit/In", "12bitSigned_0x0F0F.dcm", "mr-12bit/Ref/4.nii", 38125324),
    "axial mosaic": (
        "mr-siemens-mosaic/ax/axasc35",
        "MR*",
        "mr-siemens-mosaic/Ref/ax_asc_35sl_6.nii",
        76096437,
    ),
    "coronal mosaic": (
        "mr-siemens-mosaic/cor/corint36",
        "MR*",
        "mr-siemens-mosaic/Ref/cor_int_36sl_15.nii",
        None,
    ),
    "GE EPI": (
        "mr-nih-ge-siemens/20180918GE/mr_0004",
        "*.dcm",
        "mr-nih-ge-siemens/Ref/DCM2NIIX_regression_test_4.nii",
        348072471,
    ),
    "Siemens EPI": (
        "mr-nih-ge-siemens/20180918Si/mr_0003",
        "*.dcm",
        "mr-nih-ge-siemens/Ref/EPI_PE=AP_3.nii",
        None,
    ),
}


def as_nifti(source):
    """(voxels, affine) as the NIfTI export has them."""
    series = source.series
    volume = np.stack(list(source.read_frames())).reshape(series.volume_shape)
    flip = np.eye(4)
    flip[1, 1], flip[1, 3] = -1, series.rows - 1
    return volume[..., ::-1, :].T, np.asarray(series.affine) @ flip


@pytest.mark.parametrize("case", CASES)
def test_equals_dcm2niix(shared_data, read, case):
    folder, pattern, reference, total = CASES[case]
    (source,) = read(*sorted((shared_data / folder).glob(pattern)))
    voxels, affine = as_nifti(source)
    expected = nibabel.load(shared_data / reference)
    values = np.asarray(expected.dataobj.get_unscaled())
    assert voxels.shape == values.shape
    assert np.array_equal(voxels, values)
    assert np.abs(affine - expected.affine).max() < 1e-3
    if total is not None:
        assert int(voxels.sum(dtype=np.int64)) == total
    assert (MOSAIC_NOTE in source.series.notes) == (case != "GE EPI")


def test_order_of_the_files_does_not_matter(shared_data, read):
    paths = sorted((shared_data / CASES["GE EPI"][0]).glob("*.dcm"))
    (one,) = read(*paths)
    (other,) = read(*np.random.default_rng(1).permutation(paths))
    assert one.series == other.series
    assert one.series.dimensions == (10, 15)
    assert one.series.time_step == 5.0
    assert all(np.array_equal(a, b) for a, b in zip(one.read_frames(), other.read_frames(), strict=True))


def test_enhanced_multiframe(shared_data, read):
    """dcm2niix writes a file for each of the two volumes.

    It also turns 3-D acquisitions to the nearest canonical axes (here: it mirrors the columns), which is a
    choice of its own on export; so both are compared in canonical orientation.
    """
    (source,) = read(*(shared_data / "mr-enhanced/Philips").iterdir())
    assert source.series.dimensions == (2, 32)
    assert MULTIFRAME_NOTE in source.series.notes
    voxels, affine = as_nifti(source)
    for volume, name in enumerate(("e1", "e2_fieldmaphz")):
        expected = nibabel.load(shared_data / f"mr-enhanced/Ref/Philips_WIP_B0_NS_801_{name}.nii")
        image = nibabel.Nifti1Image(voxels[..., volume].astype(np.int16), affine)
        found = nibabel.as_closest_canonical(image)
        assert np.array_equal(np.asarray(found.dataobj), np.asarray(expected.dataobj.get_unscaled()))
        assert np.abs(found.affine - expected.affine).max() < 1e-3


def test_enhanced_multiframe_with_slopes_of_its_own(shared_data, read, tmp_path):
    """The second volume is a field map in Hz, the first a magnitude: values as dcm2niix scales them."""
    (source,) = read(*(shared_data / "mr-enhanced/Philips").iterdir())
    series = source.series
    assert series.frame_rescale is not None
    assert len(set(series.frame_rescale[:32])) == 1
    assert series.frame_rescale[0] == (series.rescale_slope, series.rescale_intercept)
    assert series.frame_rescale[32] == pytest.approx((0.244200244200244, -500.0))
    assert RESCALE_NOTE in series.notes
    stored = np.stack(list(source.read_frames())).reshape(series.volume_shape)
    values = Volume.wrap(stored, series).rescaled()
    target = tmp_path / "a.nii.gz"
    NiftiWriter().write(Rendition(series, series, source.read_frames(), {}), target)
    image = nibabel.load(target)
    header = image.header
    assert header.get_data_dtype() == np.float32
    assert (image.dataobj.slope, image.dataobj.inter) == (1, 0)
    assert b"rescaled" in bytes(header["descrip"])
    assert np.allclose(image.get_fdata(), values[..., ::-1, :].T, rtol=1e-5, atol=1e-3)
    for volume, name in enumerate(("e1", "e2_fieldmaphz")):
        expected = nibabel.load(shared_data / f"mr-enhanced/Ref/Philips_WIP_B0_NS_801_{name}.nii")
        one = nibabel.Nifti1Image(np.asarray(image.dataobj)[..., volume], image.affine)
        found = nibabel.as_closest_canonical(one).get_fdata()
        scale = 1.0
        if volume == 0:  # dcm2niix gives Philips' precise values there, which have another slope
            scale = expected.dataobj.slope / series.rescale_slope
        # dcm2niix's slope comes from a private element and has five digits: 0.01 of 500.
        assert np.allclose(found * scale, expected.get_fdata(), rtol=1e-5, atol=0.01)
    assert (found.min(), found.max()) == pytest.approx((-495.604, 497.320), abs=0.01)


def test_gantry_tilt(shared_data, read):
    """The reference folder has only JSON files, so every slice's own position is the reference."""
    (source,) = read(*sorted((shared_data / "ct-philips-tilt").glob("I*")))
    series = source.series
    assert series.dimensions == (54,)
    assert any("tilt" in note and "18.5" in note for note in series.notes)
    assert series.rescale_unit == "HU"
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.asarray(series.affine)
    for number, file in enumerate(source.files):
        position = pydicom.dcmread(file.path, stop_before_pixels=True).ImagePositionPatient
        assert np.allclose((affine @ [0, 0, number, 1])[:3], position, atol=1e-3)
    assert affine[2, 2] > 0  # from the feet to the head, as dcm2niix stacks axial slices
