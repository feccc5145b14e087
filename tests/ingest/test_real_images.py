"""Real images, in and out again, against oracles that are not ours: pydicom, nibabel, Pillow, dcm2niix."""

import json
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pydicom.data
from blake3 import blake3

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
