"""Values read the quick way are those that pydicom reads."""

import io
import random
from pathlib import Path

import pydicom
import pydicom.data

from imarium.errors import ImariumError
from imarium.formats.dicom import values
from imarium.formats.dicom.header import HeaderMemory, read_header
from imarium.phantoms import ct_chest

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


def test_headers_read_after_others_are_those_read_alone(tmp_path):
    """What is remembered of one header never shows in the next, however alike the two are."""
    files = ct_chest(6, 32, 32).write_dicom(tmp_path)
    heads = [path.read_bytes()[:8192] for path in files]
    heads += [path.read_bytes()[:16384] for path in sorted(Path(pydicom.data.__file__).parent.rglob("*.dcm"))]
    chance = random.Random(7)
    for _ in range(600):
        head = bytearray(chance.choice(heads[:6] if chance.random() < 0.7 else heads))
        for _ in range(chance.randrange(3)):
            position = chance.randrange(132, len(head))
            if chance.random() < 0.5:
                head[position] = chance.randrange(256)
            else:  # what follows moves
                head[position:position] = bytes(2) if chance.random() < 0.5 else b"12"
        heads.append(bytes(head))
    memory = HeaderMemory()
    kept = 0
    for head in chance.choices(heads, k=1500):
        alone, after = (_parsed(head, given) for given in (None, memory))
        assert after == alone
        kept += alone is not None
    assert kept > 500


def _parsed(head, memory):
    try:
        header, _ = read_header(io.BytesIO(head), len(head), 1 << 20, None, memory)
    except ImariumError as error:
        return str(error)
    raw = {tag: header.dataset.get_item(tag) for tag in header.dataset.keys()}  # noqa: SIM118 - a Dataset
    elements = {tag: (element.VR, element.value) for tag, element in raw.items()}
    return elements, header.pixel, header.body, str(header.syntax)
