"""Real images, in and out again, against oracles that are not ours: pydicom, nibabel, Pillow, dcm2niix."""

import gzip
import json
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import nibabel
import numpy as np
import pydicom.data
import pytest
from blake3 import blake3
from PIL import Image

from imarium.ingest import Status

PYDICOM = Path(pydicom.data.__file__).parent


def take(archive, *paths):
    return list(archive.ingest.run(list(paths), collection="c"))


def oracle(paths) -> dict[Path, dict]:
    command = [sys.executable, str(Path(__file__).with_name("oracle.py")), *map(str, paths)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {Path(line["path"]): line for line in map(json.loads, said.splitlines())}


def frames_out(archive, uid, tmp_path) -> list[str]:
    """Digests of a series' frames as exported to NPY at full resolution."""
    (file,) = archive.streaming.export(uid, "npy", tmp_path / "x.npy")
    series = archive.catalog.get_series(uid).series
    values = np.load(file).reshape(series.frames, *series.frame_shape)
    return [blake3(np.ascontiguousarray(frame).tobytes()).hexdigest() for frame in values]


def check_dicom(archive, files, tmp_path) -> Counter:
    """Every decodable file is taken or known, with exactly pydicom's pixels; returns counts."""
    outcomes = {outcome.path: outcome for outcome in take(archive, *files)}
    assert outcomes.keys() == set(files)
    expected = oracle(files)
    stored = {
        uid: frames_out(archive, uid, tmp_path) for uid in {o.series for o in outcomes.values() if o.series}
    }
    held = defaultdict(Counter)
    for path, outcome in outcomes.items():
        known = expected[path]
        if "error" in known:
            contents = path.name.startswith("DICOMDIR") and outcome.series is None
            assert outcome.status is Status.REFUSED or contents, path
            continue
        assert outcome.status is not Status.REFUSED, (path, outcome.reason)
        assert not Counter(known["frames"]) - Counter(stored[outcome.series]), path
        if outcome.status is Status.TAKEN:
            held[outcome.series].update(known["frames"])
        series = archive.catalog.get_series(outcome.series).series
        assert series.dtype == known["dtype"], path
        assert series.frame_shape == tuple(known["shape"]), path
    for uid, frames in held.items():
        assert Counter(stored[uid]) == frames  # nothing more and nothing less
    assert [outcome.error for outcome in archive.streaming.verify() if outcome.error] == []
    return Counter(str(outcome.status) for outcome in outcomes.values())


def test_every_file_that_pydicom_ships(archive, tmp_path):
    files = sorted(path for path in PYDICOM.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    counts = check_dicom(archive, files, tmp_path)
    assert counts["taken"] + counts["known"] > 100


def test_the_phantoms_of_pydicom_come_back_as_dicom(archive, tmp_path):
    """DICOM out equals DICOM in, decoded by pydicom, for every file that is taken."""
    files = sorted(path for path in (PYDICOM / "test_files").rglob("*") if path.is_file())
    take(archive, *files)
    for record in archive.catalog.series()[0]:
        folder = tmp_path / record.series.uid
        folder.mkdir()
        written = archive.streaming.export(record.series.uid, "dicom", folder)
        frames = Counter(digest for line in oracle(written).values() for digest in line["frames"])
        assert frames == Counter(frames_out(archive, record.series.uid, tmp_path)), record.series.uid


@pytest.mark.parametrize(
    "name", ["mr-12bit", "mr-siemens-mosaic", "ct-philips-tilt", "nema-wg04-codecs", "mr-enhanced"]
)
def test_dicom_sets(archive, tmp_path, shared_data, name):
    files = sorted(path for path in (shared_data / name).rglob("*") if path.is_file() and is_dicom(path))
    assert files
    if name in {"mr-siemens-mosaic", "mr-12bit"}:  # stored as slices; the references below compare the voxels
        assert {outcome.status for outcome in take(archive, *files)} == {Status.TAKEN}
        return
    check_dicom(archive, files, tmp_path)


def is_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def test_lossy_twelve_bit_jpeg_is_close_to_its_original(archive, tmp_path, shared_data):
    folder = shared_data / "nema-wg04-codecs"
    lossy = sorted(folder.rglob("*_JPLY"))
    assert lossy
    for path in lossy:
        original = pydicom.dcmread(next(folder.rglob(path.name.replace("JPLY", "UNC")))).pixel_array
        (outcome,) = take(archive, path)
        ours = np.asarray(archive.streaming.volume(outcome.series)).squeeze()
        error = np.sqrt(np.mean((ours.astype(float) - original) ** 2)) / np.ptp(original)
        assert 0 < error < 0.02, path


REFERENCES = [
    ("mr-12bit/In/12bitUnsigned.dcm", "mr-12bit/Ref/2.nii"),
    ("mr-12bit/In/12bitSigned_0x0F0F.dcm", "mr-12bit/Ref/4.nii"),
    ("mr-siemens-mosaic/ax", "mr-siemens-mosaic/Ref/ax_asc_35sl_6.nii"),
    ("mr-siemens-mosaic/cor", "mr-siemens-mosaic/Ref/cor_int_36sl_15.nii"),
    ("mr-nih-ge-siemens/20180918GE", "mr-nih-ge-siemens/Ref/DCM2NIIX_regression_test_4.nii"),
    ("mr-nih-ge-siemens/20180918Si", "mr-nih-ge-siemens/Ref/EPI_PE=AP_3.nii"),
]


@pytest.mark.parametrize(("source", "reference"), REFERENCES)
def test_nifti_agrees_with_dcm2niix(archive, tmp_path, shared_data, source, reference):
    files = [path for path in sorted((shared_data / source).rglob("*")) if path.is_file() and is_dicom(path)]
    outcomes = take(archive, *(files or [shared_data / source]))
    (uid,) = {outcome.series for outcome in outcomes}
    (file,) = archive.streaming.export(uid, "nifti", tmp_path / "x.nii.gz")
    ours, theirs = nibabel.load(file), nibabel.load(shared_data / reference)
    np.testing.assert_array_equal(
        np.asanyarray(ours.dataobj.get_unscaled()).squeeze(),
        np.asanyarray(theirs.dataobj.get_unscaled()).squeeze(),
    )
    np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-3)


def test_a_four_dimensional_series_in_portions(archive, tmp_path, shared_data):
    """150 files, ten at a time: nothing is lost or refused, whatever stacks they end up in."""
    files = sorted((shared_data / "mr-nih-ge-siemens" / "20180918GE").rglob("*.dcm"))
    series = set()
    for first in range(0, len(files), 10):
        outcomes = take(archive, *files[first : first + 10])
        assert {outcome.status for outcome in outcomes} == {Status.TAKEN}
        series |= {outcome.series for outcome in outcomes}
    stored = Counter(digest for uid in series for digest in frames_out(archive, uid, tmp_path))
    assert stored == Counter(digest for line in oracle(files).values() for digest in line["frames"])
    assert {outcome.status for outcome in take(archive, *files)} == {Status.KNOWN}
    assert [outcome.error for outcome in archive.streaming.verify() if outcome.error] == []


@pytest.mark.parametrize("name", ["nifti-nibabel", "nifti-niivue", "nifti-mni152", "labelled-volumes"])
def test_nifti_sets(archive, tmp_path, shared_data, name):
    files = sorted(path for path in (shared_data / name).rglob("*.nii*") if path.is_file())
    assert files
    for path in files:
        (outcome,) = take(archive, path)
        assert outcome.status in {Status.TAKEN, Status.KNOWN}, (path, outcome.reason)
        (back,) = archive.streaming.export(outcome.series, "nifti", tmp_path / "back.nii")
        raw = path.read_bytes()
        assert back.read_bytes() == (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw), path
    assert [outcome.error for outcome in archive.streaming.verify() if outcome.error] == []


@pytest.mark.parametrize("name", ["covid-ct", "busi", "sars-cov-2-ct", "cxr-hannover"])
def test_raster_sets(archive, tmp_path, shared_data, name):
    files = sorted(
        path for path in (shared_data / name).rglob("*") if path.suffix.lower() in {".png", ".jpg", ".jpeg"}
    )
    for path in files[:: max(1, len(files) // 40)]:
        (outcome,) = take(archive, path)
        assert outcome.status in {Status.TAKEN, Status.KNOWN}, (path, outcome.reason)
        (back,) = archive.streaming.export(outcome.series, "png", tmp_path / "back.png")
        with Image.open(path) as theirs, Image.open(back) as ours:
            palette = theirs.mode in {"P", "1"}
            expected = theirs.convert(ours.mode) if palette else theirs
            np.testing.assert_array_equal(np.asarray(ours), np.asarray(expected), err_msg=str(path))
    assert [outcome.error for outcome in archive.streaming.verify() if outcome.error] == []
