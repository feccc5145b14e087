"""Erasures in the audit record: by their keys, since the identifiers are gone."""

from __future__ import annotations

from imarium.audit import Action, Audit, ObjectKind, Outcome
from imarium.audit.record import Detail
from imarium.erasure.certificate import Certificate
from imarium.erasure.service import Record


def recording(audit: Audit, actor: str, origin: str) -> Record:
    """What writes the records of an erasure: one of what was asked for, and one of each study that is gone.

    It returns once they are written; raises StorageError if they cannot be.
    """

    def record(certificate: Certificate) -> None:
        scope = certificate.facts["scope"]
        details: dict[str, Detail] = {
            "erasure": certificate.id,
            "series": len(certificate.facts["series"]),
            "studies": len(certificate.facts["studies"]),
            "complete": certificate.complete,
            "seal": certificate.seal,
        }
        objects = [(ObjectKind(scope["kind"]), scope["key"])]
        objects += [(ObjectKind.STUDY, key) for key in certificate.facts["studies"] if key != scope["key"]]
        for number, (kind, key) in enumerate(objects, 1):
            audit.record(
                Action.ERASED,
                kind,
                object_key=key,
                actor=actor,
                origin=origin,
                outcome=Outcome.SUCCESS,
                details=details,
                wait=number == len(objects),
            )

    return record
