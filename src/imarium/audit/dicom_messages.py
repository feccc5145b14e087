"""Records as audit messages of DICOM (PS3.15 2024, A.5): one XML document each.

The grammar is that of A.5.1, what must be in a message that of A.5.3. Codes are of DICOM's context group 400
and those after it, and of RFC 3881.
"""

from __future__ import annotations

import base64
import json
import re
import socket
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement, tostring

from imarium.audit.actions import Action, ObjectKind, Outcome
from imarium.audit.reading import AuditEntry

Code = tuple[str, str]
"""Value and meaning, in DICOM's own scheme."""

_APPLICATION_ACTIVITY = ("110100", "Application Activity")
_LOG_USED = ("110101", "Audit Log Used")
_BEGIN_TRANSFERRING = ("110102", "Begin Transferring DICOM Instances")
_ACCESSED = ("110103", "DICOM Instances Accessed")
_TRANSFERRED = ("110104", "DICOM Instances Transferred")
_STUDY_DELETED = ("110105", "DICOM Study Deleted")
_EXPORT = ("110106", "Export")
_IMPORT = ("110107", "Import")
_QUERY = ("110112", "Query")
_SECURITY_ALERT = ("110113", "Security Alert")
_USER_AUTHENTICATION = ("110114", "User Authentication")

_START, _STOP = ("110120", "Application Start"), ("110121", "Application Stop")
_LOGIN, _LOGOUT = ("110122", "Login"), ("110123", "Logout")
_SECURITY_CONFIGURATION = ("110129", "Security Configuration")
_RESTRICTED_FUNCTION = ("110132", "Use of Restricted Function")
_RECORDING_STOPPED = ("110133", "Audit Recording Stopped")
_OBJECT_SECURITY = ("110135", "Object Security Attributes Changed")
_SECURITY_ROLES = ("110136", "Security Roles Changed")
_USER_SECURITY = ("110137", "User security Attributes Changed")

_APPLICATION = ("110150", "Application")
_LAUNCHER = ("110151", "Application Launcher")
_DESTINATION = ("110152", "Destination Role ID")
_SOURCE = ("110153", "Source Role ID")
_DESTINATION_MEDIA = ("110154", "Destination Media")
_SOURCE_MEDIA = ("110155", "Source Media")
_URI_MEDIA = ("110038", "URI")

_STUDY_UID = ("110180", "Study Instance UID")
_SOP_CLASS_UID = ("110181", "SOP Class UID")
_STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
"""SOP class of a query of studies and series, the nearest to what the lists of the API answer."""
_PATIENT_NUMBER = ("2", "Patient Number", "RFC-3881")
_USER_IDENTIFIER = ("11", "User Identifier", "RFC-3881")
_URI = ("12", "URI", "RFC-3881")

_OUTCOMES = {Outcome.SUCCESS: "0", Outcome.REFUSED: "4", Outcome.FAILED: "4", Outcome.ERROR: "8"}
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class _Kind:
    """What kind of message an action is."""

    event: Code
    code: str
    """C, R, U, D or E."""
    type: Code | None = None


_KINDS = {
    Action.SERVER_STARTED: _Kind(_APPLICATION_ACTIVITY, "E", _START),
    Action.SERVER_STOPPED: _Kind(_APPLICATION_ACTIVITY, "E", _STOP),
    Action.LOGIN: _Kind(_USER_AUTHENTICATION, "E", _LOGIN),
    Action.LOGOUT: _Kind(_USER_AUTHENTICATION, "E", _LOGOUT),
    Action.PASSWORD_RESET: _Kind(_SECURITY_ALERT, "E", _USER_SECURITY),
    Action.ACCOUNT_CREATED: _Kind(_SECURITY_ALERT, "E", _USER_SECURITY),
    Action.ACCOUNT_CHANGED: _Kind(_SECURITY_ALERT, "E", _USER_SECURITY),
    Action.ACCOUNT_REMOVED: _Kind(_SECURITY_ALERT, "E", _USER_SECURITY),
    Action.TOKEN_CREATED: _Kind(_SECURITY_ALERT, "E", _USER_SECURITY),
    Action.TOKEN_REVOKED: _Kind(_SECURITY_ALERT, "E", _USER_SECURITY),
    Action.ROLE_CHANGED: _Kind(_SECURITY_ALERT, "E", _SECURITY_ROLES),
    Action.AGREEMENT_CHANGED: _Kind(_SECURITY_ALERT, "E", _OBJECT_SECURITY),
    Action.AGREEMENT_ACCEPTED: _Kind(_SECURITY_ALERT, "E", _OBJECT_SECURITY),
    Action.ACCESS_REQUESTED: _Kind(_SECURITY_ALERT, "E", _OBJECT_SECURITY),
    Action.ACCESS_DECIDED: _Kind(_SECURITY_ALERT, "E", _OBJECT_SECURITY),
    Action.QUERY: _Kind(_QUERY, "E"),
    Action.VIEWED: _Kind(_ACCESSED, "R"),
    Action.EXPORTED: _Kind(_EXPORT, "R"),
    Action.LISTED_FOR_DOWNLOAD: _Kind(_QUERY, "E"),
    Action.INGESTED: _Kind(_IMPORT, "C"),
    Action.STORED: _Kind(_ACCESSED, "C"),
    Action.LABELLED: _Kind(_ACCESSED, "U"),
    Action.COLLECTION_CHANGED: _Kind(_SECURITY_ALERT, "E", _OBJECT_SECURITY),
    Action.VERSION_FROZEN: _Kind(_ACCESSED, "R"),
    Action.TRANSFER_BEGUN: _Kind(_BEGIN_TRANSFERRING, "E"),
    Action.TRANSFERRED: _Kind(_TRANSFERRED, "C"),
    Action.DEIDENTIFIED: _Kind(_ACCESSED, "U"),
    Action.REIDENTIFIED: _Kind(_SECURITY_ALERT, "E", _RESTRICTED_FUNCTION),
    Action.QUARANTINE_DECIDED: _Kind(_ACCESSED, "U"),
    Action.POLICY_CHANGED: _Kind(_SECURITY_ALERT, "E", _SECURITY_CONFIGURATION),
    Action.VERIFIED: _Kind(_APPLICATION_ACTIVITY, "E", _START),
    Action.CATALOG_REBUILT: _Kind(_APPLICATION_ACTIVITY, "E", _START),
    Action.ERASURE_PLANNED: _Kind(_SECURITY_ALERT, "E", _RESTRICTED_FUNCTION),
    Action.ERASED: _Kind(_STUDY_DELETED, "D"),
    Action.ERASURE_LIFTED: _Kind(_SECURITY_ALERT, "E", _SECURITY_CONFIGURATION),
    Action.AUDIT_READ: _Kind(_LOG_USED, "R"),
    Action.AUDIT_VERIFIED: _Kind(_LOG_USED, "R"),
    Action.AUDIT_RENEWED: _Kind(_SECURITY_ALERT, "E", _SECURITY_CONFIGURATION),
    Action.AUDIT_LOST: _Kind(_SECURITY_ALERT, "E", _RECORDING_STOPPED),
}
_IMAGES = (_ACCESSED, _TRANSFERRED, _BEGIN_TRANSFERRING, _STUDY_DELETED, _EXPORT, _IMPORT)
"""Events of which the standard wants studies and a patient."""


def message(entry: AuditEntry) -> str:
    """A record as one XML document on one line."""
    record = entry.record
    kind = _KINDS[Action(record.action)]
    root = Element("AuditMessage")
    event = SubElement(
        root,
        "EventIdentification",
        EventActionCode=kind.code,
        EventDateTime=record.time,
        EventOutcomeIndicator=_OUTCOMES[Outcome(record.outcome)],
    )
    _code(event, "EventID", kind.event)
    if kind.type is not None:
        _code(event, "EventTypeCode", kind.type)
    SubElement(event, "EventOutcomeDescription").text = f"{record.action}: {record.outcome}"
    _participants(root, entry, kind)
    SubElement(root, "AuditSourceIdentification", AuditSourceID=_clean(socket.gethostname() or "imarium"))
    _objects(root, entry, kind)
    return tostring(root, encoding="unicode", short_empty_elements=True)


def _participants(root: Element, entry: AuditEntry, kind: _Kind) -> None:
    """Who asked, and the application; for transfers, exports and imports also where bytes went."""
    person_roles: tuple[Code, ...] = ()
    server_roles: tuple[Code, ...] = ()
    if kind.event == _APPLICATION_ACTIVITY:
        person_roles, server_roles = (_LAUNCHER,), (_APPLICATION,)
    elif kind.event in (_EXPORT, _QUERY, _BEGIN_TRANSFERRING, _TRANSFERRED):
        person_roles, server_roles = (_DESTINATION,), (_SOURCE,)
        if kind.event == _QUERY:
            person_roles, server_roles = (_SOURCE,), (_DESTINATION,)
    elif kind.event == _IMPORT:
        person_roles, server_roles = (_SOURCE,), (_DESTINATION,)
    person = _participant(root, entry.record.actor or "(nobody)", True, person_roles)
    if entry.record.origin:
        person.set("NetworkAccessPointID", _clean(entry.record.origin))
        person.set("NetworkAccessPointTypeCode", "1" if entry.record.origin == "local" else "2")
    _participant(root, "imarium", False, server_roles)
    if kind.event in (_EXPORT, _IMPORT):
        role = _DESTINATION_MEDIA if kind.event == _EXPORT else _SOURCE_MEDIA
        media = _participant(root, entry.record.origin or "(unknown)", False, (role,))
        _code(SubElement(media, "MediaIdentifier"), "MediaType", _URI_MEDIA)


def _participant(root: Element, name: str, requestor: bool, roles: tuple[Code, ...]) -> Element:
    made = SubElement(
        root,
        "ActiveParticipant",
        UserID=_clean(name),
        UserIsRequestor="true" if requestor else "false",
    )
    for role in roles:
        _code(made, "RoleIDCode", role)
    return made


def _objects(root: Element, entry: AuditEntry, kind: _Kind) -> None:
    record = entry.record
    details = json.loads(record.details)
    if kind.event in _IMAGES:
        # The key stands for what was erased, or for what a whole collection holds.
        study = _object(root, entry.study or entry.study_key or record.object_key or "(several)", "2", "3")
        _code(study, "ParticipantObjectIDTypeCode", _STUDY_UID)
        _named(study, "study")
        _details(study, entry, details)
        if record.object_kind == ObjectKind.SERIES.value and entry.object_id:
            _detail(study, "SeriesInstanceUID", entry.object_id)
        if kind.event == _STUDY_DELETED:
            study.set("ParticipantObjectDataLifeCycle", "14")  # permanent erasure
        patient = _object(root, entry.subject or entry.subject_key or "(unknown)", "1", "1")
        _code(patient, "ParticipantObjectIDTypeCode", _PATIENT_NUMBER)
        _named(patient, "pseudonym")
        return
    if kind.event == _QUERY:
        query = _object(root, _STUDY_ROOT_FIND, "2", "3")
        _code(query, "ParticipantObjectIDTypeCode", _SOP_CLASS_UID)
        content = base64.b64encode(record.details.encode()).decode()
        SubElement(query, "ParticipantObjectQuery").text = content
        _details(query, entry, {})
        return
    if kind.event == _LOG_USED:
        used = _object(root, "audit_records", "2", "13")
        _code(used, "ParticipantObjectIDTypeCode", _URI)
        _named(used, "Security Audit Log")
    elif kind.event == _SECURITY_ALERT:
        subject = entry.object_id or record.object_key or "imarium"
        used = _object(root, subject, "2", "13")
        user = record.object_kind == ObjectKind.USER.value
        _code(used, "ParticipantObjectIDTypeCode", _USER_IDENTIFIER if user else _URI)
        _named(used, record.object_kind or "archive")
    else:
        return
    _details(used, entry, details)


def _object(root: Element, identifier: str, type_code: str, role: str) -> Element:
    return SubElement(
        root,
        "ParticipantObjectIdentification",
        ParticipantObjectID=_clean(identifier),
        ParticipantObjectTypeCode=type_code,
        ParticipantObjectTypeCodeRole=role,
    )


def _named(parent: Element, name: str) -> None:
    SubElement(parent, "ParticipantObjectName").text = name


def _details(parent: Element, entry: AuditEntry, details: dict[str, object]) -> None:
    """The number and hash lead back to the record that the message was made of."""
    record = entry.record
    _detail(parent, "Sequence", str(record.sequence))
    _detail(parent, "Hash", record.hash)
    if kind := record.object_kind:
        _detail(parent, "ObjectKind", kind)
        _detail(parent, "ObjectKey", record.object_key)
    if record.action == Action.AUDIT_LOST.value or record.object_kind == "":
        _detail(parent, "Alert Description", Action(record.action).description)
    for name, value in details.items():
        _detail(parent, name, value if isinstance(value, str) else json.dumps(value))


def _detail(parent: Element, name: str, value: str) -> None:
    encoded = base64.b64encode(value.encode("utf-8", "replace")).decode()
    SubElement(parent, "ParticipantObjectDetail", type=name, value=encoded)


def _code(parent: Element, tag: str, code: Code | tuple[str, str, str]) -> None:
    value, meaning, *scheme = code
    SubElement(
        parent,
        tag,
        {"csd-code": value, "codeSystemName": scheme[0] if scheme else "DCM", "originalText": meaning},
    )


def _clean(text: str) -> str:
    """Without characters that XML does not have; never empty."""
    return _NOT_XML.sub("?", text).strip() or "?"
