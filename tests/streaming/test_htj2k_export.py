"""DICOM out of the pack's own codestreams: real series, every frame and every element against the source."""

import io
import zipfile

import httpx
import numpy as np
import pydicom
import pytest
from pydicom.pixels import pixel_array

from imarium.errors import InvalidRequestError
from imarium.testing.dicom_files import elements

HIGH_BIT = ("", 0x00280102)


def taken(archive, paths):
    outcomes = list(archive.ingest.run(paths, collection="c"))
    return {outcome.series for outcome in outcomes if outcome.series}


@pytest.mark.parametrize(
    ("files", "notes_expected"),
    [
        ("ct-philips-tilt/I1*0", []),
        ("mr-12bit/In/12bitSigned*", ["1 of 1 images were coded anew"]),  # tiles of mosaics
        ("mr-12bit/In/12bitUnsigned*", ["1 of 1 images were coded anew"]),
        ("us-multiframe/*implicit*", []),
        ("mr-siemens-mosaic/cor/corint36", ["2 of 2 images were coded anew"]),
        ("mr-enhanced/Philips", []),
        # JPEG-LS and a palette; which of them need it hangs on their lanes.
        ("mammo-and-oddities/[GT]*.dcm", None),
    ],
)
def test_real_series(archive, shared_data, tmp_path, files, notes_expected):
    paths = [p for root in shared_data.glob(files) for p in ([root] if root.is_file() else root.rglob("*"))]
    paths = sorted(path for path in paths if path.is_file() and path.suffix not in (".nii", ".gz"))[:80]
    sources = {}
    for path in paths:
        try:
            dataset = pydicom.dcmread(path)
            sources[dataset.SOPInstanceUID] = dataset
        except (pydicom.errors.InvalidDicomError, AttributeError):
            continue
    written_files, notes = 0, []
    for uid in taken(archive, paths):
        for written in archive.streaming.export(
            uid, "dicom", tmp_path / uid, transfer_syntax="htj2k", report=notes.append
        ):
            after = pydicom.dcmread(written)
            before = sources[after.SOPInstanceUID]
            assert after.file_meta.TransferSyntaxUID.startswith("1.2.840.10008.1.2.4.20")
            assert elements(after) | {HIGH_BIT: 0} == elements(before) | {HIGH_BIT: 0}
            expected, found = pixel_array(before, raw=True), pixel_array(after, raw=True)
            assert found.dtype == expected.dtype.newbyteorder("=")
            assert np.array_equal(found, expected)
            written_files += 1
    assert written_files
    if notes_expected is not None:
        assert [note.partition(",")[0] for note in notes] == notes_expected


def test_by_every_face(live, phantom):
    (uid,) = taken(live.archive, [phantom / "dicom"])
    with httpx.Client(base_url=live.url) as http:
        address = f"/api/v1/series/{uid}/export"
        answer = http.get(address, params={"format": "dicom", "transfer_syntax": "htj2k"})
        assert "imarium-notes" not in answer.headers
        with zipfile.ZipFile(io.BytesIO(answer.content)) as files:
            assert len(files.namelist()) == 12
            dataset = pydicom.dcmread(io.BytesIO(files.read("00001.dcm")))
            assert dataset.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.202"
        assert http.get(address, params={"format": "dicom", "transfer_syntax": "jpeg"}).status_code == 400
        refused = http.get(address, params={"format": "npy", "transfer_syntax": "htj2k"})
        assert refused.json()["error"]["code"] == "invalid-request"


def test_only_dicom_has_transfer_syntaxes(archive, phantom, tmp_path):
    (uid,) = taken(archive, [phantom / "dicom"])
    for format_name, syntax in (("npy", "htj2k"), ("dicom", "jpeg")):
        with pytest.raises(InvalidRequestError, match="transfer syntax"):
            archive.streaming.export(uid, format_name, tmp_path / "x.npy", transfer_syntax=syntax)
    levels = archive.streaming.export(uid, "dicom", tmp_path / "low", level=1, transfer_syntax="htj2k")
    low = archive.streaming.volume(uid, 1)
    by_place = sorted(levels, key=lambda path: float(pydicom.dcmread(path).ImagePositionPatient[2]))
    assert np.array_equal(np.stack([pydicom.dcmread(path).pixel_array for path in by_place]), low)
