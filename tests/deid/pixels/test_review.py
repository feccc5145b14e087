"""Findings: decisions, JSON and pictures."""

import io
import json
from dataclasses import fields
from datetime import UTC, datetime

import numpy as np
import pytest
from PIL import Image

from imarium.deid.pixels.boxes import Box, TextBox
from imarium.deid.pixels.preview import contact_sheet, preview
from imarium.deid.pixels.review import Decision, Finding, boxes_to_blank, drawn, findings_of, is_reviewed
from imarium.errors import InvalidRequestError
from imarium.testing import series_of

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
FOUND = [
    TextBox(Box(4, 4, 14, 60, 0, 3), "read", 0.97, "SMITH^JOHN"),
    TextBox(Box(40, 10, 50, 30), "unread", 0.6),
]


def test_open_findings_are_blanked_until_somebody_dismisses_them():
    first, second = findings_of("1.2.3", FOUND)
    assert boxes_to_blank([first, second]) == [FOUND[0].box, FOUND[1].box]
    assert boxes_to_blank([first, second], only_decided=True) == []
    assert not is_reviewed([first, second])
    decided = [first.accept("Reviewer", NOON), second.dismiss("Reviewer", NOON)]
    assert boxes_to_blank(decided) == [FOUND[0].box]
    assert is_reviewed(decided)
    assert decided[0].decided_at == "2026-01-02T12:00:00+00:00"


def test_a_mended_box_is_blanked_instead():
    (finding, _) = findings_of("1.2.3", FOUND)
    mended = finding.mend(Box(0, 0, 20, 64, 0, 5), "Reviewer", NOON)
    assert boxes_to_blank([mended]) == [Box(0, 0, 20, 64, 0, 5)]
    assert mended.found == FOUND[0].box
    assert boxes_to_blank([mended.dismiss("Other", NOON)]) == []
    assert boxes_to_blank([mended.accept("Other", NOON)]) == [FOUND[0].box]


def test_what_a_reviewer_draws_is_blanked():
    finding = drawn("1.2.3", Box(1, 2, 3, 4), "Reviewer", NOON)
    assert finding.kind == "drawn"
    assert boxes_to_blank([finding], only_decided=True) == [Box(1, 2, 3, 4)]


def test_json_there_and_back_without_the_text():
    for finding in findings_of("1.2.3", FOUND):
        for one in (finding, finding.mend(Box(0, 0, 2, 2), "Reviewer", NOON), finding.dismiss("R", NOON)):
            text = json.dumps(one.to_json())
            assert "SMITH" not in text
            assert Finding.from_json(json.loads(text)) == one
    assert "SMITH" not in repr(FOUND)


def test_a_row_of_a_table_holds_a_finding():
    (finding, _) = findings_of("1.2.3", FOUND)
    mended = finding.mend(Box(0, 0, 2, 2), "Reviewer", NOON)
    for item in fields(mended):
        assert isinstance(getattr(mended, item.name), str | int | float | tuple | None), item.name


def test_the_same_box_has_the_same_name():
    assert [one.id for one in findings_of("1", FOUND)] == [one.id for one in findings_of("1", FOUND * 2)]
    assert findings_of("1", FOUND)[0].id != findings_of("2", FOUND)[0].id


@pytest.mark.parametrize(
    "change",
    [
        {"decision": "perhaps"},
        {"mended": [1, 2]},
        {"bottom": 0},
        {"top": None},
        {"mended": [5, 5, 1, 1, 0, 1]},
    ],
)
def test_damaged_findings_are_refused(change):
    data = findings_of("1", FOUND)[0].to_json() | change
    with pytest.raises(InvalidRequestError):
        Finding.from_json(data)


def test_a_decision_names_somebody():
    with pytest.raises(InvalidRequestError, match="who"):
        findings_of("1", FOUND)[0].accept(" ")


@pytest.mark.parametrize("decision", list(Decision))
def test_previews_show_the_box(decision):
    frame = np.random.default_rng(0).integers(0, 4000, (64, 80)).astype(np.uint16)
    findings = findings_of("1", FOUND)
    steps = {
        Decision.OPEN: lambda one: one,
        Decision.ACCEPTED: lambda one: one.accept("R"),
        Decision.MENDED: lambda one: one.mend(Box(0, 0, 9, 9), "R"),
        Decision.DISMISSED: lambda one: one.dismiss("R"),
    }
    findings = [steps[decision](one) for one in findings]
    picture = Image.open(io.BytesIO(preview(frame, series_of(frame), findings[0])))
    assert picture.mode == "RGB"
    colours = {colour for _, colour in picture.getcolors(1 << 24)}
    assert colours & {(255, 200, 0), (230, 40, 40), (60, 200, 60)}
    sheet = Image.open(io.BytesIO(contact_sheet(findings, series_of(frame, 3), lambda _: frame)))
    assert sheet.width > 900
    assert sheet.height > 160
