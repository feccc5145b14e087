"""The tables of PS3.15 Annex E."""

from collections import Counter

import pytest

from imarium.deid.standard import (
    METHOD_CODES,
    attributes,
    beyond,
    content_items,
    iod_type,
    safe_private,
)

FULL, MODIFIED = "retain_longitudinal_full_dates", "retain_longitudinal_modified_dates"


def test_every_row_of_table_e_1_1_of_2026d():
    """Counts as two other copies of the table have them."""
    assert len(attributes()) == 657
    assert Counter(row.basic for row in attributes().values()) == {
        "X": 417,
        "D": 93,
        "U": 55,
        "Z": 42,
        "X/D": 23,
        "X/Z": 11,
        "X/Z/D": 8,
        "Z/D": 6,
        "X/Z/U*": 2,
    }


@pytest.mark.parametrize(
    ("tag", "name", "basic", "options"),
    [
        ("00100010", "Patient's Name", "Z", {}),
        ("00100020", "Patient ID", "Z/D", {}),
        ("00100030", "Patient's Birth Date", "Z", {}),
        ("00100040", "Patient's Sex", "Z", {"retain_patient_characteristics": "K"}),
        ("00080050", "Accession Number", "Z", {}),
        ("00080080", "Institution Name", "X/Z/D", {"retain_institution_identity": "K"}),
        ("0020000D", "Study Instance UID", "U", {"retain_uids": "K"}),
        ("00080020", "Study Date", "Z", {FULL: "K", MODIFIED: "C"}),
        ("00081030", "Study Description", "X", {"clean_descriptors": "C"}),
        ("0040A730", "Content Sequence", "D", {"clean_structured_content": "C"}),
        ("50xxxxxx", "Curve Data", "X", {"clean_graphics": "C"}),
        ("60xx3000", "Overlay Data", "X", {"clean_graphics": "C"}),
        ("60xx4000", "Overlay Comments", "X", {"clean_graphics": "C"}),
        ("private", "Private Attributes", "X", {"retain_safe_private": "C"}),
        ("FFFAFFFA", "Digital Signatures Sequence", "X", {}),
        ("FFFCFFFC", "Data Set Trailing Padding", "X", {}),
        ("300A00B2", "Treatment Machine Name", "X/Z", {"retain_device_identity": "K"}),
    ],
)
def test_rows(tag, name, basic, options):
    row = attributes()[tag]
    assert (row.name, row.basic, dict(row.options)) == (name, basic, options)


def test_content_items_and_safe_private_attributes():
    assert sum(map(len, content_items().values())) == 214
    (accession,) = content_items()["DCM", "121022"]
    assert (accession.meaning, accession.basic) == ("Accession Number", "X")
    assert len(safe_private()) == 130
    assert safe_private()[0x7053, "Philips PET Private Group", 0x00].vr == "DS"
    assert safe_private()[0x00E1, "ELSCINT1", 0x21].meaning == "DLP"


def test_types_of_attributes():
    ct, sr = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.88.33"
    assert iod_type(ct, 0x00080023) == 2  # Content Date, of General Image, conditional
    assert iod_type(sr, 0x00080023) == 1
    assert iod_type(ct, 0x00080080) == 3
    assert iod_type("1.2.3", 0x00080023) is None
    assert iod_type(ct, 0x00280010) is None, "no choice depends on it, so it is not kept"


def test_lists_of_our_own():
    assert all(action in ("X", "Z") for action in beyond().values())
    assert not {f"{tag:08X}" for tag in beyond()} & set(attributes())
    assert [code for code, _ in METHOD_CODES.values()] == [str(code) for code in range(113100, 113113)]
