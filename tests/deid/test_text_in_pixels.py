"""Text in pixels: what was found is reported or painted over, and all other pixels stay."""

import io

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit

from imarium.deid.dicom import DicomCleaner
from imarium.deid.keys import Substitutes, subkeys
from imarium.deid.policy import Faces, PixelRules, PixelText, Policy
from imarium.deid.text_in_pixels import TextInPixels
from imarium.errors import QuarantineError
from imarium.settings import Limits
from imarium.testing.dicom_files import make_dataset

BOX = (slice(0, 4), slice(0, 6))
LOOKED = (0, 0, 4, 6)


def find(frames, series):
    return [LOOKED for frame in frames if frame[BOX].any()]


def blank(frames, boxes, series):
    for frame in frames:
        made = frame.copy()
        for top, left, bottom, right in boxes:
            made[top:bottom, left:right] = 0
        yield made


def clean(dataset, tmp_path, text=PixelText.BLANK, syntax=ExplicitVRLittleEndian, faces=Faces.KEEP):
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    path = tmp_path / "a.dcm"
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    policy = Policy(pixels=PixelRules(text, faces))
    cleaner = DicomCleaner(policy, Substitutes(subkeys(b"k" * 32, "")), Limits(), TextInPixels(find, blank))
    result = cleaner.clean(path)
    return pydicom.dcmread(io.BytesIO(b"".join(result.pieces()))), result


@pytest.mark.parametrize(
    "pixels",
    [
        np.arange(1, 257, dtype=np.uint16).reshape(16, 16),
        np.arange(-128, 128, dtype=np.int16).reshape(16, 16),
        np.arange(1, 256, 1, dtype=np.uint8).repeat(3)[:720].reshape(15, 16, 3),
    ],
)
def test_boxes_are_blank_and_the_rest_is_as_it_was(pixels, tmp_path):
    copy, result = clean(make_dataset(pixels), tmp_path)
    expected = pixels.copy()
    expected[BOX] = 0
    assert (copy.pixel_array == expected).all()
    assert copy.BurnedInAnnotation == "NO"
    assert not result.review
    assert "113101" in [item.CodeValue for item in copy.DeidentificationMethodCodeSequence]


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGBaseline8Bit])
def test_compressed_pixels_become_native(syntax, tmp_path):
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    if syntax == JPEG2000Lossless:
        stream, decoded = imagecodecs.jpeg2k_encode(grey, codecformat="j2k", level=0), grey
    else:
        stream = imagecodecs.jpeg8_encode(grey, level=95)
        decoded = imagecodecs.jpeg8_decode(stream)
    dataset = make_dataset(grey)
    dataset.PixelData = encapsulate([stream])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    copy, _ = clean(dataset, tmp_path, syntax=syntax)
    assert copy.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    expected = decoded.copy()
    expected[BOX] = 0
    assert (copy.pixel_array == expected).all()


def test_what_is_only_looked_for_goes_to_review(tmp_path):
    pixels = np.arange(1, 257, dtype=np.uint16).reshape(16, 16)
    copy, result = clean(make_dataset(pixels), tmp_path, PixelText.FIND)
    assert result.review
    assert (copy.pixel_array == pixels).all()
    assert "BurnedInAnnotation" not in copy
    pixels[BOX] = 0
    copy, result = clean(make_dataset(pixels), tmp_path, PixelText.FIND)
    assert not result.review
    assert copy.BurnedInAnnotation == "NO"


def test_what_cannot_be_done_is_refused(tmp_path):
    pixels = np.arange(1, 257, dtype=np.uint16).reshape(16, 16)
    with pytest.raises(QuarantineError, match="whole series"):
        clean(make_dataset(pixels), tmp_path, faces=Faces.REMOVE)
    broken = make_dataset(pixels)
    broken.PixelData = broken.PixelData[:100]
    with pytest.raises(QuarantineError, match="cannot be searched"):
        clean(broken, tmp_path)
