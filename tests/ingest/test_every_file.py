"""Every file of every set of real images goes in and comes out as it was, or is refused for the right reason.

What it was is told by others: pydicom, nibabel, Pillow, tifffile, SimpleITK, raw pixels. `test_oracles.py`
holds what the sets promise beyond that.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK
import tifffile
from blake3 import blake3
from numpy.typing import NDArray
from PIL import Image

from imarium.archive import Archive
from imarium.ingest import Outcome, Status
from imarium.testing.dicom_files import elements

SETS = (
    *("annotation-formats", "busi", "covid-ct", "ct-philips-tilt", "cxr-hannover", "deid-phi", "hl7-fhir"),
    *("htj2k-codestreams", "labelled-volumes", "lgg-brain-mr", "lidc-dicom-seg", "lidc-multireader"),
    *("mammo-and-oddities", "microscopy", "mr-12bit", "mr-enhanced", "mr-nih-ge-siemens"),
    *("mr-siemens-mosaic", "nema-wg04-codecs", "nifti-mni152", "nifti-nibabel", "nifti-niivue", "rt"),
    *("sars-cov-2-ct", "seg-sm-highdicom", "seg-sr-dcmqi", "slicer", "us-multiframe"),
)

NO_FORMAT = "the content is of no format that is read here; these are: DICOM, "
NO_PIXELS = "the file holds no pixel data "

REFUSED = (
    # What goes with images: licences, descriptions, tables, annotations, reports.
    ("*/LICENSE*", NO_FORMAT),
    ("*/License.txt", NO_FORMAT),
    ("*/README*", NO_FORMAT),
    ("*.json", NO_FORMAT),
    ("*.xml", NO_FORMAT),
    ("*.csv", NO_FORMAT),
    ("*.hl7", NO_FORMAT),
    ("covid-ct/Data-split/*.txt", NO_FORMAT),
    ("lidc-multireader/lidc_contours.json.gz", NO_FORMAT),
    # Pixels without any header: nothing says how many rows there are.
    ("htj2k-codestreams/raw/*.RAW", NO_FORMAT),
    # 1001 random characters.
    ("microscopy/broken.svs", NO_FORMAT),
    # DICOM objects that are no images.
    ("rt/rtplan.dcm", f"{NO_PIXELS}(RT Plan Storage)"),
    ("rt/rtss.dcm", f"{NO_PIXELS}(RT Structure Set Storage)"),
    ("seg-sm-highdicom/sm_annotations.dcm", f"{NO_PIXELS}(Microscopy Bulk Simple Annotations Storage)"),
    ("seg-sm-highdicom/sr_document.dcm", f"{NO_PIXELS}(Comprehensive 3D SR Storage)"),
    ("seg-sr-dcmqi/sr-example/rwvm.dcm", f"{NO_PIXELS}(Real World Value Mapping Storage)"),
    ("seg-sr-dcmqi/sr-example/sr.dcm", f"{NO_PIXELS}(Comprehensive SR Storage)"),
    # Says that it is uncompressed, and holds one JPEG that is a seventh of the length.
    (
        "mammo-and-oddities/GH1376.dcm",
        "the transfer syntax says uncompressed, but the pixel data are encapsulated: expected 9287460 bytes",
    ),
)
"""Patterns of the files that are refused, and how the reason begins."""

DUPLICATES = {
    "labelled-volumes/derivatives/labels/sub-unf01/anat/sub-unf01_T2w_seg-manual.nii.gz",
    "mr-siemens-mosaic/ax/axasc35/6_ax_asc_35sl.nii",
}
"""Files of the same content as another one of their set."""


MOST_EXPORTS = 20
"""Pictures of a format and set that are exported, about; the pixels of every one are compared."""


@pytest.fixture(scope="session")
def sums(shared_data: Path) -> dict[str, str]:
    """SHA-256 of every file of the sets."""
    lines = (shared_data / "SHA256SUMS").read_text().splitlines()
    return {name: digest for digest, name in (line.split("  ", 1) for line in lines)}


def test_every_set_is_tested(sums: dict[str, str]) -> None:
    assert {name.partition("/")[0] for name in sums if "/" in name} == set(SETS)
    assert [pattern for pattern, _ in REFUSED if not any(fnmatchcase(name, pattern) for name in sums)] == []
    assert sums.keys() >= DUPLICATES


@pytest.mark.parametrize("name", SETS)
def test_every_file(
    name: str, archive: Archive, sums: dict[str, str], shared_data: Path, tmp_path: Path
) -> None:
    files = {one: shared_data / one for one in sums if one.startswith(f"{name}/")}
    for one, path in files.items():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == sums[one], one
    outcomes = _checked_outcomes(archive, shared_data / name, files)
    taken = {files[one]: found for one, found in outcomes.items() if found[0].status is not Status.REFUSED}
    by_format: dict[str, dict[Path, list[str]]] = defaultdict(dict)
    for path, found in taken.items():
        uids = [str(outcome.series) for outcome in found]
        by_format[archive.catalog.get_series(uids[0]).series.format][path] = uids
    for format_name, members in by_format.items():
        CHECKS[format_name](archive, members, tmp_path)
    assert [outcome.error for outcome in archive.streaming.verify() if outcome.error] == []


def _checked_outcomes(archive: Archive, folder: Path, files: dict[str, Path]) -> dict[str, list[Outcome]]:
    """The outcomes of a set, which are those that are expected, by file."""
    names = {path: one for one, path in files.items()}
    outcomes: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in archive.ingest.run([folder], collection="c"):
        outcomes[names[outcome.path]].append(outcome)
    assert outcomes.keys() == files.keys()
    for one, found in outcomes.items():
        reason = next((begin for pattern, begin in REFUSED if fnmatchcase(one, pattern)), None)
        for outcome in found:
            if reason is not None:
                assert outcome.status is Status.REFUSED, one
                assert outcome.reason is not None
                assert outcome.reason.startswith(reason), (one, outcome.reason)
                assert outcome.series is None
            else:
                expected = Status.KNOWN if one in DUPLICATES else Status.TAKEN
                assert outcome.status is expected, (one, outcome.reason)
    return outcomes


def _digests(frames: Iterable[NDArray[Any]]) -> list[str]:
    return [blake3(np.ascontiguousarray(frame).tobytes()).hexdigest() for frame in frames]


def _volume(archive: Archive, uid: str) -> NDArray[Any]:
    return np.asarray(archive.streaming.volume(uid))


# --- DICOM --------------------------------------------------------------------------------------------


def _pydicom(paths: Iterable[Path]) -> dict[Path, dict[str, Any]]:
    command = [sys.executable, str(Path(__file__).with_name("oracle.py")), *map(str, paths)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {Path(line["path"]): line for line in map(json.loads, said.splitlines())}


def _check_dicom(archive: Archive, members: dict[Path, list[str]], folder: Path) -> None:
    """Pixels and exports, of which every element but those of the pixels' encoding equals the source's."""
    sources: dict[str, list[Path]] = defaultdict(list)
    for path, (uid,) in members.items():
        sources[uid].append(path)
    exported: dict[Path, Path] = {}
    for uid, paths in sources.items():
        written = archive.streaming.export(uid, "dicom", folder / "dicom" / uid)
        by_instance = {_header(path).SOPInstanceUID: path for path in written}
        assert len(by_instance) == len(written) == len(paths)
        for path in paths:
            exported[path] = by_instance[_header(path).SOPInstanceUID]
    theirs = _pydicom([*exported.keys(), *exported.values()])
    for uid, paths in sources.items():
        series = archive.catalog.get_series(uid).series
        stored = _digests(_volume(archive, uid).reshape(series.frames, *series.frame_shape))
        told: Counter[str] = Counter()
        for path in paths:
            source, written_one = theirs[path], theirs[exported[path]]
            _check_elements(path, exported[path])
            assert source | {"path": ""} == written_one | {"path": ""}, path
            assert source["dtype"] == series.dtype, path
            told.update(source["stored"])
            if _is_mosaic(path):
                assert np.prod(source["shape"]) > series.rows * series.columns
            else:
                assert tuple(source["shape"]) == series.frame_shape, path
        if not any(_is_mosaic(path) for path in paths):
            assert Counter(stored) == told, uid


def _header(path: Path) -> pydicom.Dataset:
    return pydicom.dcmread(path, stop_before_pixels=True)


def _is_mosaic(path: Path) -> bool:
    return "MOSAIC" in _header(path).get("ImageType", ())


def _check_elements(source: Path, exported: Path) -> None:
    before, after = pydicom.dcmread(source), pydicom.dcmread(exported)
    assert elements(before) == elements(after), source
    assert after.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    before.file_meta.MediaStorageSOPInstanceUID = before.SOPInstanceUID  # one file of mr-12bit says otherwise
    for element in before.file_meta:
        if element.keyword not in {"TransferSyntaxUID", "FileMetaInformationGroupLength"}:
            assert after.file_meta[element.tag].value == element.value, (source, element.keyword)


# --- volumes ------------------------------------------------------------------------------------------


def _check_nifti(archive: Archive, members: dict[Path, list[str]], folder: Path) -> None:
    """nibabel's voxels, and the uncompressed file byte for byte."""
    for path, (uid,) in members.items():
        values = np.asanyarray(nibabel.load(path).dataobj.get_unscaled()).T
        if values.dtype.names:  # colours
            values = np.stack([values[name] for name in values.dtype.names], axis=-1)
        ours = _volume(archive, uid)
        assert ours.dtype == values.dtype.newbyteorder("="), path
        assert np.array_equal(ours.ravel(), values.ravel(), equal_nan=values.dtype.kind == "f"), path
        (back,) = archive.streaming.export(uid, "nifti", folder / "back.nii")
        raw = path.read_bytes()
        assert back.read_bytes() == (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw), path


def _check_nrrd(archive: Archive, members: dict[Path, list[str]], folder: Path) -> None:
    """SimpleITK's voxels and positions, in the archive and in the NIfTI export."""
    for path, (uid,) in members.items():
        image = SimpleITK.ReadImage(str(path))
        values = SimpleITK.GetArrayFromImage(image)
        ours = _volume(archive, uid)
        assert ours.dtype == values.dtype, path
        assert np.array_equal(ours, values), path
        (out,) = archive.streaming.export(uid, "nifti", folder / "out.nii")
        exported = SimpleITK.ReadImage(str(out))
        assert np.array_equal(SimpleITK.GetArrayFromImage(exported), values), path
        for what in ("Origin", "Spacing", "Direction"):
            theirs = getattr(image, f"Get{what}")()
            assert np.allclose(getattr(exported, f"Get{what}")(), theirs, atol=1e-3), (path, what)


# --- pictures -----------------------------------------------------------------------------------------


def _pillow(path: Path) -> NDArray[Any]:
    """Pillow's pixels: indices of palettes, colours where a palette has transparency, 0 and 255 for bits."""
    with Image.open(path) as image:
        if image.mode == "P" and "transparency" in image.info:
            return np.asarray(image.convert("RGBA"))
        return np.asarray(image.convert("L") if image.mode == "1" else image)


def _check_pictures(archive: Archive, members: dict[Path, list[str]], folder: Path) -> None:
    """Pillow's pixels of each, and of some the PNG export."""
    step = max(1, len(members) // MOST_EXPORTS)
    for number, (path, (uid,)) in enumerate(members.items()):
        expected = _pillow(path)
        (ours,) = _volume(archive, uid)
        assert ours.dtype == expected.dtype, path
        assert np.array_equal(ours, expected), path
        if number % step == 0:
            (out,) = archive.streaming.export(uid, "png", folder / "out.png")
            with Image.open(path) as before, Image.open(out) as after:
                assert np.array_equal(np.asarray(after), np.asarray(before.convert(after.mode))), path


def _check_tiff(archive: Archive, members: dict[Path, list[str]], folder: Path) -> None:
    """tifffile's pixels of every picture of a file, in its order."""
    for path, uids in members.items():
        with tifffile.TiffFile(path) as file:
            pictures = [series.asarray() for series in file.series]
        assert len(pictures) == len(uids), path
        for uid, expected in zip(uids, pictures, strict=True):
            ours = _volume(archive, uid)
            assert ours.dtype == expected.dtype, path
            assert np.array_equal(ours.reshape(expected.shape), expected), path
            (out,) = archive.streaming.export(uid, "npy", folder / "out.npy")
            assert np.array_equal(np.load(out).reshape(expected.shape), expected), path


def _check_codestreams(archive: Archive, members: dict[Path, list[str]], folder: Path) -> None:
    """The raw pixels beside the codestreams."""
    for path, (uid,) in members.items():
        raw = (path.parents[1] / "raw" / path.name).with_suffix(".RAW").read_bytes()
        assert _volume(archive, uid).tobytes() == raw, path
        (out,) = archive.streaming.export(uid, "npy", folder / "out.npy")
        assert np.load(out).tobytes() == raw, path


CHECKS: dict[str, Callable[[Archive, dict[Path, list[str]], Path], None]] = {
    "dicom": _check_dicom,
    "nifti": _check_nifti,
    "nrrd": _check_nrrd,
    "png": _check_pictures,
    "jpeg": _check_pictures,
    "tiff": _check_tiff,
    "jpeg2000": _check_codestreams,
}
