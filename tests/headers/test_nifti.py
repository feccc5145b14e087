"""The server's NIfTI and the client's have one header."""

import io

import nibabel
import numpy as np
import pytest

from imarium.client.files import nifti_image
from imarium.errors import ExportRefusedError
from imarium.formats.nifti import NiftiWriter
from imarium.headers.nifti import new_header
from imarium.headers.npy import npy_header
from imarium.model import Rendition
from imarium.model.geometry import TILTED, UNEVEN
from imarium.testing import series_of

AFFINE = ((-0.7, 0.0, 0.0, 1.0), (0.0, -0.8, 0.1, 2.0), (0.0, 0.0, 2.5, 3.0), (0.0, 0.0, 0.0, 1.0))


@pytest.mark.parametrize(
    "facts",
    [
        {"rescale_slope": 2.0, "rescale_intercept": -1024.0, "affine": AFFINE},
        {"frame_rescale": ((1.0, 0.0), (2.0, 5.0), (3.0, 1.0)), "notes": (UNEVEN, TILTED)},
        {"label_map": True},
    ],
)
def test_what_the_server_and_the_client_write_is_the_same(tmp_path, facts):
    frames = np.arange(3 * 5 * 7, dtype=np.int16).reshape(3, 5, 7)
    series = series_of(frames[0], frames=3, format="dicom", **facts)
    (written,) = NiftiWriter().write(Rendition(series, series, list(frames), {}), tmp_path / "x.nii")
    ours, theirs = nibabel.load(written), nifti_image(series, iter(frames))
    assert ours.header.binaryblock == theirs.header.binaryblock
    assert written.read_bytes().startswith(new_header(series))
    np.testing.assert_array_equal(ours.get_fdata(), theirs.get_fdata())


def test_seven_dimensions_at_most():
    series = series_of(np.zeros((4, 4), np.int16), frames=1, format="dicom", dimensions=(1,) * 6)
    with pytest.raises(ExportRefusedError, match="7 dimensions"):
        new_header(series)


def test_numpy_reads_its_header():
    series = series_of(np.zeros((4, 5), ">u2"), frames=3)
    array = np.load(io.BytesIO(npy_header(series) + bytes(3 * 4 * 5 * 2)))
    assert (array.shape, array.dtype.str) == ((3, 4, 5), "<u2")
