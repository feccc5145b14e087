"""Shapes of the answers about the audit record and about erasures."""

from __future__ import annotations

import json
from typing import Any

from pydantic import Field

from imarium.audit import AuditEntry, Verified
from imarium.faces.http.schemas import Schema


class AuditItem(Schema):
    """A record of the audit."""

    sequence: int
    time: str = Field(description="UTC")
    actor: str = Field(description="Name of an account, or os:NAME on the command line; empty: nobody.")
    origin: str = Field(description="Address, or `local` for the command line.")
    action: str
    outcome: str = Field(description="success, refused, failed or error.")
    object_kind: str
    object_key: str = Field(description="A keyed hash, which stays when the object is erased.")
    object: str | None = Field(description="The identifier; null where there is none or it was erased.")
    study: str | None
    subject: str | None
    details: dict[str, Any]
    hash: str

    @classmethod
    def of(cls, entry: AuditEntry) -> AuditItem:
        """From a record."""
        record = entry.record
        return cls(
            sequence=record.sequence,
            time=record.time,
            actor=record.actor,
            origin=record.origin,
            action=record.action,
            outcome=record.outcome,
            object_kind=record.object_kind,
            object_key=record.object_key,
            object=entry.object_id,
            study=entry.study,
            subject=entry.subject,
            details=json.loads(record.details),
            hash=record.hash,
        )


class AuditPage(Schema):
    """Records, the newest first."""

    items: list[AuditItem]
    next: int | None = Field(description="`before` of the next page; null at the end.")


class AuditProblem(Schema):
    """Something that is wrong with the chain."""

    sequence: int | None = Field(description="Number of the record; null: the checkpoint.")
    message: str


class AuditVerified(Schema):
    """What a check of the whole chain found."""

    sound: bool
    records: int
    last: int
    hash: str
    problems: list[AuditProblem]
    count: int = Field(description="Of all problems; at most 1000 are listed.")

    @classmethod
    def of(cls, found: Verified) -> AuditVerified:
        """From the finding."""
        return cls(
            sound=found.sound,
            records=found.records,
            last=found.last,
            hash=found.hash,
            problems=[AuditProblem(sequence=item.sequence, message=item.message) for item in found.problems],
            count=found.count,
        )


class ErasureAnswer(Schema):
    """What an erasure would remove, or the certificate of what it removed."""

    plan: dict[str, int | str] | None = Field(description="With dry_run: counts.")
    certificate: dict[str, Any] | None = Field(description="Keep it: `imarium erase --check` looks again.")
