"""Headers: the quick way to parse them gives what pydicom's reader gives."""

import pytest

from imarium.errors import IntegrityError
from imarium.formats.base import Refusal
from imarium.formats.dicom import header
from imarium.formats.dicom.header import parse_part10
from imarium.phantoms import ct_chest


def facts(parsed):
    return (
        {tag: parsed.dataset[tag].value for tag in parsed.dataset.keys()},  # noqa: SIM118 - a Dataset
        {tag: parsed.meta[tag].value for tag in parsed.meta.keys()},  # noqa: SIM118
        (parsed.syntax, parsed.has_preamble, parsed.body, parsed.size, parsed.pixel),
        (parsed.implicit, parsed.little_endian, parsed.deflated),
    )


def test_kept_headers_without_pixel_data(read, pydicom_files, monkeypatch):
    kept = [
        data
        for found in read(*pydicom_files)
        if not isinstance(found, Refusal)
        for name, data in found.attachments.items()
        if name.endswith(".dcm")
    ]
    quick = [header._quick_parse(data, len(data)) for data in kept]
    assert sum(one is not None for one in quick) > 20
    monkeypatch.setattr(header, "_quick_header", lambda *_: None)
    for data, parsed in zip(kept, quick, strict=True):
        if parsed is not None:
            assert facts(parsed) == facts(parse_part10(data))


@pytest.mark.parametrize("missing", [1, 5, 9, 11])
def test_kept_headers_that_are_cut_off_are_left_to_pydicom(read, tmp_path, missing):
    (found,) = read(*ct_chest(4, 32, 32).write_dicom(tmp_path)[:1])
    data = found.attachments["dicom/instances/00000.dcm"]
    assert header._quick_parse(data, len(data)) is not None
    assert header._quick_parse(data[:-missing], len(data) - missing) is None
    assert header._quick_parse(data[:-missing], len(data)) is None
    with pytest.raises(IntegrityError):
        parse_part10(data[:-missing])
