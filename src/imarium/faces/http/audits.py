"""Routes about the audit record, for administrators."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response, StreamingResponse

from imarium.audit import Action, AuditFilter, ObjectKind, Outcome, export_lines
from imarium.faces.http.audit_schemas import AuditItem, AuditPage, AuditVerified
from imarium.faces.http.callers import ArchiveDep, administrator

router = APIRouter(tags=["audit"], dependencies=[Depends(administrator)])

_TYPES = {"json": "application/x-ndjson", "csv": "text/csv", "dicom": "application/xml-seq"}
_LARGEST_NUMBER = 1 << 62

Actor = Annotated[str | None, Query(max_length=100)]
Kind = Annotated[ObjectKind | None, Query(alias="object_kind")]
Object = Annotated[
    str | None, Query(alias="object", max_length=200, description="An identifier; needs object_kind.")
]
Key = Annotated[str | None, Query(alias="object_key", pattern="^[0-9a-f]{32}$")]
Moment = Annotated[str | None, Query(pattern=r"^\d{4}[-0-9T:.]{0,23}Z?$", description="UTC, or a date")]


def filtered(
    actor: Actor = None,
    action: Action | None = None,
    outcome: Outcome | None = None,
    kind: Kind = None,
    identifier: Object = None,
    key: Key = None,
    since: Moment = None,
    until: Moment = None,
) -> AuditFilter:
    """Which records are asked for. Raises InvalidRequestError."""
    return AuditFilter(actor, action, outcome, kind, identifier, key, since, until)


FilterDep = Annotated[AuditFilter, Depends(filtered)]


@router.get("/audit")
def audit(
    archive: ArchiveDep,
    wanted: FilterDep,
    before: Annotated[int | None, Query(ge=1, le=_LARGEST_NUMBER)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> AuditPage:
    """A page of records, the newest first. An object's are those of its parts too."""
    found = archive.audit.entries(wanted, limit=limit, before=before)
    return AuditPage(
        items=[AuditItem.of(entry) for entry in found],
        next=found[-1].record.sequence if len(found) == limit else None,
    )


@router.get("/audit/export", response_class=Response)
def export(
    archive: ArchiveDep,
    wanted: FilterDep,
    format_name: Annotated[Literal["json", "csv", "dicom"], Query(alias="format")],
) -> Response:
    """Records in the order of the chain: JSON lines, CSV, or DICOM audit messages, one XML a line."""
    lines = export_lines(archive.audit.all_entries(wanted), format_name)
    return StreamingResponse(lines, media_type=_TYPES[format_name])


@router.get("/audit/verify")
def verify(archive: ArchiveDep) -> AuditVerified:
    """Check every record against its hash, its seal and the one before it."""
    return AuditVerified.of(archive.audit.verify())
