"""Routes that erase for good, for administrators."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from imarium.archive import Archive
from imarium.audit import Action
from imarium.erasure import Kind, Scope, recording
from imarium.faces.http.audit_schemas import ErasureAnswer
from imarium.faces.http.auditing import Noted, NotedDep
from imarium.faces.http.callers import ArchiveDep, CallerDep, administrator

router = APIRouter(tags=["erasure"], dependencies=[Depends(administrator)])

DryRun = Annotated[bool, Query(description="Only say what would go.")]
RefuseAgain = Annotated[bool, Query(description="Refuse the same images when they come once more.")]


@router.delete("/series/{uid}")
def erase_series(
    archive: ArchiveDep,
    actor: CallerDep,
    told: NotedDep,
    uid: str,
    dry_run: DryRun = False,
    refuse_again: RefuseAgain = False,
) -> ErasureAnswer:
    """Erase a series; its study and subject go too if nothing else is theirs."""
    return _erased(archive, actor.name, told, Scope(Kind.SERIES, uid), dry_run, refuse_again)


@router.delete("/studies/{uid}")
def erase_study(
    archive: ArchiveDep,
    actor: CallerDep,
    told: NotedDep,
    uid: str,
    dry_run: DryRun = False,
    refuse_again: RefuseAgain = False,
) -> ErasureAnswer:
    """Erase a study in all collections."""
    return _erased(archive, actor.name, told, Scope(Kind.STUDY, uid), dry_run, refuse_again)


@router.delete("/subjects/{pseudonym}")
def erase_subject(
    archive: ArchiveDep,
    actor: CallerDep,
    told: NotedDep,
    pseudonym: str,
    dry_run: DryRun = False,
    refuse_again: RefuseAgain = False,
) -> ErasureAnswer:
    """Erase all that is of a subject, in all collections."""
    return _erased(archive, actor.name, told, Scope(Kind.SUBJECT, pseudonym), dry_run, refuse_again)


@router.delete("/collections/{name}")
def erase_collection(
    archive: ArchiveDep,
    actor: CallerDep,
    told: NotedDep,
    name: str,
    dry_run: DryRun = False,
    refuse_again: RefuseAgain = False,
) -> ErasureAnswer:
    """Erase a collection with everything in it."""
    return _erased(archive, actor.name, told, Scope(Kind.COLLECTION, name), dry_run, refuse_again)


def _erased(
    archive: Archive, user: str, told: Noted, scope: Scope, dry_run: bool, refuse_again: bool
) -> ErasureAnswer:
    if dry_run:
        told.action = Action.ERASURE_PLANNED
        plan = archive.erasure.plan(scope)
        told.about(scope.kind.object_kind, scope.identifier)
        return ErasureAnswer(plan=plan.summary(), certificate=None)
    record = recording(archive.audit, user, told.origin)
    certificate = archive.erasure.erase(scope, actor=user, record=record, refuse_again=refuse_again)
    return ErasureAnswer(plan=None, certificate=certificate.to_json())
