"""Values read the quick way are those that pydicom reads."""

from pathlib import Path

import pydicom
import pydicom.data

from imarium.errors import ImariumError
from imarium.formats.dicom import values
from imarium.formats.dicom.header import read_header

VRS = {"AE", "AS", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "SH", "SL", "SS", "TM", "UI", "UL", "US"}


def test_every_plain_value_of_every_file_that_pydicom_ships():
    compared = 0
    for path in sorted(Path(pydicom.data.__file__).parent.rglob("*")):
        if not path.is_file():
            continue
        try:
            with path.open("rb") as raw:
                header, _ = read_header(raw, path.stat().st_size, 1 << 26)
            expected = pydicom.dcmread(path, force=True, stop_before_pixels=True)
        except (ImariumError, AttributeError, pydicom.errors.InvalidDicomError):
            continue
        for element in expected:
            if element.VR in VRS and element.keyword:
                ours, theirs = values.get(header.dataset, element.keyword), element.value
                empty = theirs is None or (hasattr(theirs, "__len__") and len(theirs) == 0)
                assert str(ours) == str(None if empty else theirs), (path.name, element.keyword)
                compared += 1
    assert compared > 5000


def test_lists_of_numbers_are_those_of_pydicom():
    compared = 0
    for path in sorted(Path(pydicom.data.__file__).parent.rglob("*.dcm")):
        try:
            with path.open("rb") as raw:
                header, _ = read_header(raw, path.stat().st_size, 1 << 26)
            expected = pydicom.dcmread(path, force=True, stop_before_pixels=True)
        except (ImariumError, AttributeError, pydicom.errors.InvalidDicomError):
            continue
        for element in expected:
            if element.VR == "DS" and element.keyword and element.value is not None and not element.is_empty:
                theirs = element.value if element.VM > 1 else [element.value]
                assert values.numbers(header.dataset, element.keyword) == tuple(map(float, theirs)), path.name
                compared += 1
    assert compared > 300
