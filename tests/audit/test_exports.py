"""Exports: JSON, CSV, and DICOM's audit messages against a grammar written from the standard."""

import base64
import csv
import io
import json
import re
from xml.etree import ElementTree

import pytest

from imarium.audit import FORMATS, Action, AuditFilter, ObjectKind, Outcome, export_lines
from imarium.audit.dicom_messages import _KINDS

TOKEN = r"\S(.*\S)?"
UID = r"[0-2](\.(0|[1-9][0-9]*))+"
BASE64 = r"[A-Za-z0-9+/]*={0,2}"
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"
ANY = r"(?s).*"


class Rule:
    """What an element may hold: attributes (`?` after the name: may be missing), children in order with how
    often each may come, and text."""

    def __init__(self, attributes=None, children=(), text=None):
        self.attributes, self.children, self.text = attributes or {}, children, text


CODE = Rule({"csd-code": TOKEN, "codeSystemName": TOKEN, "displayName?": TOKEN, "originalText": TOKEN})
PAIR = Rule({"type": TOKEN, "value": BASE64})
# PS3.15, A.5.1, read by hand from the RELAX NG grammar there; (name, rule, least, most).
MANY = 10**9
MESSAGE = Rule(
    children=(
        (
            "EventIdentification",
            Rule(
                {
                    "EventActionCode?": "[CRUDE]",
                    "EventDateTime": TIME,
                    "EventOutcomeIndicator": "0|4|8|12",
                },
                (
                    ("EventID", CODE, 1, 1),
                    ("EventTypeCode", CODE, 0, MANY),
                    ("EventOutcomeDescription", Rule(text=ANY), 0, 1),
                ),
            ),
            1,
            1,
        ),
        (
            "ActiveParticipant",
            Rule(
                {
                    "UserID": ".+",
                    "AlternativeUserID?": ANY,
                    "UserName?": ANY,
                    "UserIsRequestor": "true|false",
                    "NetworkAccessPointID?": TOKEN,
                    "NetworkAccessPointTypeCode?": "[1-5]",
                },
                (
                    ("RoleIDCode", CODE, 0, MANY),
                    ("MediaIdentifier", Rule(children=(("MediaType", CODE, 1, 1),)), 0, 1),
                ),
            ),
            1,
            MANY,
        ),
        (
            "AuditSourceIdentification",
            Rule(
                {"AuditEnterpriseSiteID?": TOKEN, "AuditSourceID": TOKEN},
                (("AuditSourceTypeCode", CODE, 0, MANY),),
            ),
            1,
            1,
        ),
        (
            "ParticipantObjectIdentification",
            Rule(
                {
                    "ParticipantObjectID": TOKEN,
                    "ParticipantObjectTypeCode?": "[1-4]",
                    "ParticipantObjectTypeCodeRole?": "[1-9]|1[0-9]|2[0-6]",
                    "ParticipantObjectDataLifeCycle?": "[1-9]|1[0-5]",
                    "ParticipantObjectSensitivity?": TOKEN,
                },
                (
                    ("ParticipantObjectIDTypeCode", CODE, 1, 1),
                    ("ParticipantObjectName|ParticipantObjectQuery", Rule(text=TOKEN), 1, 1),
                    ("ParticipantObjectDetail", PAIR, 0, MANY),
                    ("ParticipantObjectDescription", Rule(text=ANY), 0, MANY),
                ),
            ),
            0,
            MANY,
        ),
    )
)


def check(element, rule, path=""):
    """Assert that an element is as the grammar has it, and holds nothing else."""
    path = f"{path}/{element.tag}"
    known = {name.rstrip("?"): (pattern, name.endswith("?")) for name, pattern in rule.attributes.items()}
    assert element.attrib.keys() <= known.keys(), f"{path} has {element.attrib.keys() - known.keys()}"
    for name, (pattern, optional) in known.items():
        if name in element.attrib:
            assert re.fullmatch(pattern, element.attrib[name]), f"{path}@{name}: {element.attrib[name]!r}"
        else:
            assert optional, f"{path} lacks {name}"
    if rule.text is None:
        assert not (element.text or "").strip(), f"{path} has text"
    else:
        assert re.fullmatch(rule.text, element.text or ""), f"{path}: {element.text!r}"
    left = list(element)
    for names, inner, least, most in rule.children:
        count = 0
        while left and left[0].tag in names.split("|"):
            check(left.pop(0), inner, path)
            count += 1
        assert least <= count <= most, f"{path} has {count} of {names}"
    assert not left, f"{path} has {left[0].tag} where it may not be"


# PS3.15, A.5.3: what each event must say.
STUDY, PATIENT = ("2", "3", "110180"), ("1", "1", "2")
NEEDED = {
    "110100": ("E", [], ["110150"]),
    "110101": ("R", [("2", "13", "12")], []),
    "110102": ("E", [STUDY, PATIENT], ["110153", "110152"]),
    "110103": ("[CRUD]", [STUDY, PATIENT], []),
    "110104": ("[CRU]", [STUDY, PATIENT], ["110153", "110152"]),
    "110105": ("D", [STUDY, PATIENT], []),
    "110106": ("R", [STUDY, PATIENT], ["110154"]),
    "110107": ("C", [STUDY, PATIENT], ["110155"]),
    "110112": ("E", [("2", "3", "110181")], ["110153", "110152"]),
    "110113": ("E", [], []),
    "110114": ("E", [], []),
}


def check_message(line):
    root = ElementTree.fromstring(line)
    assert root.tag == "AuditMessage"
    check(root, MESSAGE)
    event = root.find("EventIdentification")
    code = event.find("EventID").get("csd-code")
    action, objects, roles = NEEDED[code]
    assert re.fullmatch(action, event.get("EventActionCode"))
    found = {
        (
            item.get("ParticipantObjectTypeCode"),
            item.get("ParticipantObjectTypeCodeRole"),
            item.find("ParticipantObjectIDTypeCode").get("csd-code"),
        )
        for item in root.iter("ParticipantObjectIdentification")
    }
    assert set(objects) <= found
    has = {role.get("csd-code") for role in root.iter("RoleIDCode")}
    assert set(roles) <= has
    return root


def test_every_action_has_its_message():
    assert _KINDS.keys() == set(Action)


@pytest.mark.parametrize("outcome", Outcome)
def test_messages_are_as_the_standard_says(audit, outcome):
    for action in Action:
        for kind in (ObjectKind.SERIES, ObjectKind.USER, ObjectKind.NONE):
            audit.record(
                action, kind, "1.2.3", actor='<a&"b>', origin="::1", outcome=outcome, details={"level": 2}
            )
    audit.flush()
    lines = list(export_lines(audit.all_entries(AuditFilter()), "dicom"))
    assert len(lines) == 3 * len(Action)
    for line in lines:
        assert line.count("\n") == 1
        root = check_message(line)
        assert root.find("ActiveParticipant").get("UserID") == '<a&"b>'


def test_the_checker_refuses_what_is_wrong(audit):
    audit.record(Action.VIEWED, ObjectKind.SERIES, "1.2", actor="a", wait=True)
    (line,) = export_lines(audit.all_entries(AuditFilter()), "dicom")
    check_message(line)
    for wrong in (
        line.replace(' UserIsRequestor="true"', "", 1),
        line.replace('EventOutcomeIndicator="0"', 'EventOutcomeIndicator="1"'),
        line.replace("<AuditSourceIdentification", "<Other/><AuditSourceIdentification"),
        line.replace("110180", "110181"),
        line.replace('csd-code="110103" ', ""),
    ):
        assert wrong != line
        with pytest.raises((AssertionError, KeyError)):
            check_message(wrong)


def test_a_message_leads_back_to_its_record(audit):
    audit.record(Action.EXPORTED, ObjectKind.SERIES, "1.2", details={"format": "nifti"}, wait=True)
    (entry,) = audit.entries(AuditFilter(), limit=1)
    (line,) = export_lines([entry], "dicom")
    details = {
        item.get("type"): base64.b64decode(item.get("value")).decode()
        for item in ElementTree.fromstring(line).iter("ParticipantObjectDetail")
    }
    assert details["Hash"] == entry.record.hash
    assert details["format"] == "nifti"


def test_csv_is_a_table_that_no_spreadsheet_runs(audit):
    audit.record(Action.LOGIN, actor='=HYPERLINK("x")', origin="a,b", details={"note": 'say "hi"'}, wait=True)
    audit.record(Action.LOGOUT, actor="ann", wait=True)
    content = "".join(export_lines(audit.all_entries(AuditFilter()), "csv"))
    first, second = csv.DictReader(io.StringIO(content))
    assert first["actor"] == '\'=HYPERLINK("x")'
    assert (first["origin"], json.loads(first["details"])) == ("a,b", {"note": 'say "hi"'})
    assert (second["actor"], second["sequence"], second["object"]) == ("ann", "2", "")


def test_nothing_to_export(audit):
    for name in FORMATS:
        content = "".join(export_lines(audit.all_entries(AuditFilter()), name))
        assert content == "" or name == "csv"
