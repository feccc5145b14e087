"""Routes that erase for good, for administrators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Query

from imarium.audit import Action
from imarium.erasure import Kind, Scope, recording
from imarium.faces.http.audit_schemas import ErasureAnswer
from imarium.faces.http.auditing import NotedDep
from imarium.faces.http.callers import ArchiveDep, CallerDep, administrator

router = APIRouter(tags=["erasure"], dependencies=[Depends(administrator)])

Erased = Callable[[Kind, str], ErasureAnswer]


def erasing(
    archive: ArchiveDep,
    actor: CallerDep,
    told: NotedDep,
    dry_run: Annotated[bool, Query(description="Only say what would go.")] = False,
    refuse_again: Annotated[
        bool, Query(description="Refuse the same images when they come once more.")
    ] = False,
) -> Erased:
    """What erases for the administrator who asks, or says what would go."""

    def erased(kind: Kind, identifier: str) -> ErasureAnswer:
        scope = Scope(kind, identifier)
        if dry_run:
            told.action = Action.ERASURE_PLANNED
            plan = archive.erasure.plan(scope)
            told.about(scope.kind.object_kind, scope.identifier)
            return ErasureAnswer(plan=plan.summary(), certificate=None)
        record = recording(archive.audit, actor.name, told.origin)
        certificate = archive.erasure.erase(scope, actor=actor.name, record=record, refuse_again=refuse_again)
        return ErasureAnswer(plan=None, certificate=certificate.to_json())

    return erased


ErasedDep = Annotated[Erased, Depends(erasing)]


@router.delete("/series/{uid}")
def erase_series(erased: ErasedDep, uid: str) -> ErasureAnswer:
    """Erase a series; its study and subject go too if nothing else is theirs."""
    return erased(Kind.SERIES, uid)


@router.delete("/studies/{uid}")
def erase_study(erased: ErasedDep, uid: str) -> ErasureAnswer:
    """Erase a study in all collections."""
    return erased(Kind.STUDY, uid)


@router.delete("/subjects/{pseudonym}")
def erase_subject(erased: ErasedDep, pseudonym: str) -> ErasureAnswer:
    """Erase all that is of a subject, in all collections."""
    return erased(Kind.SUBJECT, pseudonym)


@router.delete("/collections/{name}")
def erase_collection(erased: ErasedDep, name: str) -> ErasureAnswer:
    """Erase a collection with everything in it."""
    return erased(Kind.COLLECTION, name)
