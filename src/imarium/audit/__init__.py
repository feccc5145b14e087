"""Who did what to which object, when, from where and with what outcome (docs/design/audit.md)."""

from imarium.audit.actions import Action, ObjectKind, Outcome
from imarium.audit.checkpoint import Checkpoint
from imarium.audit.exporting import FORMATS, export_lines
from imarium.audit.objects import ObjectKeys
from imarium.audit.reading import AuditEntry, AuditFilter
from imarium.audit.record import Event
from imarium.audit.service import Audit
from imarium.audit.verifying import Problem, Verified

__all__ = [
    "FORMATS",
    "Action",
    "Audit",
    "AuditEntry",
    "AuditFilter",
    "Checkpoint",
    "Event",
    "ObjectKeys",
    "ObjectKind",
    "Outcome",
    "Problem",
    "Verified",
    "export_lines",
]
