"""How many CT files a second one processor de-identifies, without looking at pixels.

The files are 512x512 slices with about 200 attributes, names in descriptions and private blocks. With --peer
PYTHON, the Python of an environment in which dicom-anonymizer is installed (it is no dependency), the same
files go through its anonymize() as well: the tool that users would pick.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

from common import Row, report
from imarium.deid.pipeline import Status, Work, run
from imarium.deid.policy_file import load
from imarium.testing.dicom_files import make_dataset

_KEY = b"k" * 32
_PEER = """
import sys, time
from pathlib import Path
from dicomanonymizer import anonymize
source, out = sys.argv[1:]
files = sorted(Path(source).iterdir())
anonymize(str(files[0]), out + "/warm.dcm", {}, True)
started = time.perf_counter()
for file in files:
    anonymize(str(file), out + "/" + file.name, {}, True)
print(len(files) / (time.perf_counter() - started))
"""


def slice_of(number: int) -> Dataset:
    """A CT slice as a scanner writes it."""
    random = np.random.default_rng(number)
    dataset = make_dataset(random.integers(0, 4000, (512, 512), np.uint16), number)
    dataset.PatientName, dataset.PatientID = "Varnholm^Quirina^^Dr", "MRN8471123"
    dataset.ReferringPhysicianName, dataset.OperatorsName = "Someone^Else", ["One^A", "Two^B"]
    dataset.InstitutionName, dataset.StationName = "Nowhere Hospital", "CT01"
    dataset.AccessionNumber, dataset.StudyID = "A20190301", "4711"
    dataset.StudyDescription = "CT chest of Varnholm"
    dataset.SeriesDescription, dataset.ProtocolName = "Lung 1.0 B70f", "Thorax routine"
    dataset.ImageComments = "Pt Varnholm, seen 2019-03-01, call 555-123-4567. No contrast given."
    dataset.AdditionalPatientHistory = "Cough since February; asthma."
    dataset.ManufacturerModelName, dataset.SoftwareVersions = "Ring 3000", "VA44A"
    for keyword in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"):
        setattr(dataset, keyword, "20190301")
    for keyword in ("StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime"):
        setattr(dataset, keyword, "101530.123000")
    for tag in range(0x00189301, 0x00189360):
        if pydicom.datadict.dictionary_has_tag(tag) and pydicom.datadict.dictionary_VR(tag) == "FD":
            dataset.add_new(tag, "FD", 1.5)
    dataset.ReferencedImageSequence = Sequence([_reference(number + 1), _reference(number + 2)])
    dataset.RequestAttributesSequence = Sequence([_request()])
    for group in (0x0009, 0x0019, 0x0021, 0x0029):
        block = dataset.private_block(group, f"ACME {group:04X}", create=True)
        for element in range(25):
            block.add_new(element, "LO" if element % 3 else "DS", f"{element}.5")
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def _reference(number: int) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", f"1.2.3.{number}"
    return item


def _request() -> Dataset:
    item = Dataset()
    item.RequestedProcedureID, item.ScheduledProcedureStepID = "R4711", "S4711"
    item.RequestedProcedureDescription = "CT chest, Varnholm"
    return item


def ours(files: list[Path], policy: str, folder: Path, processes: int) -> float:
    """Files a second."""
    work = Work(load(policy), _KEY, folder)
    started = time.perf_counter()
    statuses = [outcome.status for outcome in run(work, files, processes)]
    seconds = time.perf_counter() - started
    if statuses != [Status.RELEASED] * len(files):
        raise SystemExit("a file was refused")
    return len(files) / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--smoke", action="store_true", help="small and short; targets are shown, not enforced"
    )
    parser.add_argument("--peer", metavar="PYTHON", help="an environment with dicom-anonymizer")
    chosen = parser.parse_args()
    count = 20 if chosen.smoke else 300
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "source"
        source.mkdir()
        files = []
        for number in range(1, count + 1):
            path = source / f"{number:04}.dcm"
            pydicom.dcmwrite(path, slice_of(number), enforce_file_format=True)
            files.append(path)
        ours(files[:2], "basic", folder / "warm", 1)
        for policy in ("basic", "research-longitudinal", "research-full-dates"):
            speed = ours(files, policy, folder / policy, 1)
            rows.append(Row(f"{policy}, one process", speed, "files/s", 50.0))
        rows.append(
            Row("basic, two processes, with their start", ours(files, "basic", folder / "two", 2), "files/s")
        )
        if chosen.peer:
            (folder / "peer").mkdir()
            command = [chosen.peer, "-c", _PEER, str(source), str(folder / "peer")]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            rows.append(Row("dicom-anonymizer, one process", float(done.stdout.split()[-1]), "files/s"))
    report("deid", rows, smoke=chosen.smoke)


if __name__ == "__main__":
    main()
