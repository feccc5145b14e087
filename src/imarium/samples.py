"""Sample data for the first start: what pydicom ships, and a phantom that the project makes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from imarium.archive import Archive
from imarium.errors import NotFoundError
from imarium.ingest import Observer, Summary
from imarium.phantoms import ct_chest

PYDICOM = "pydicom samples"
PHANTOM = "Phantom chest CT"
_DESCRIPTIONS = {
    PYDICOM: "Real CT, MR, US and other DICOM files that ship inside the pydicom package.",
    PHANTOM: "A generated chest CT of 128 slices with nodules, as DICOM and as NIfTI.",
}
_MARK = "samples-taken"
_FRAMES = 128
_SIDE = 512


def needed(archive: Archive) -> bool:
    """True on the first start: no collection but unfinished samples."""
    if (archive.settings.home / _MARK).exists():
        return False
    return all(record.name in _DESCRIPTIONS for record in archive.catalog.collections())


def take_in(
    archive: Archive,
    say: Callable[[str], None],
    observer: Observer,
    frames: int = _FRAMES,
    side: int = _SIDE,
) -> Summary:
    """Ingest the samples; what is stored already is not stored twice.

    pydicom's folder also holds files without pixels and broken ones; they are counted, not mourned.
    """
    summary = Summary()

    def ingest(paths: list[Path], collection: str) -> None:
        outcomes = archive.ingest.run(
            paths, collection=collection, description=_DESCRIPTIONS[collection], observer=observer
        )
        for outcome in outcomes:
            summary.add(outcome)

    say("taking in the DICOM files that pydicom ships")
    ingest([_pydicom_files()], PYDICOM)
    folder = Path(tempfile.mkdtemp(prefix="phantom-", dir=archive.settings.scratch))
    try:
        say(f"generating a chest CT phantom of {frames} slices of {side}x{side}")
        phantom = ct_chest(frames=frames, rows=side, columns=side)
        phantom.write_dicom(folder / "dicom")
        phantom.write_nifti(folder / "phantom.nii.gz")
        say("taking the phantom in, as DICOM and as NIfTI")
        ingest([folder / "dicom", folder / "phantom.nii.gz"], PHANTOM)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    (archive.settings.home / _MARK).touch()
    return summary


def _pydicom_files() -> Path:
    """Found without importing pydicom, which would load its decoders into this process."""
    spec = find_spec("pydicom")
    if spec is None or spec.origin is None:
        raise NotFoundError("pydicom is not installed; pip install 'imarium[server]'")
    return Path(spec.origin).parent / "data" / "test_files"
