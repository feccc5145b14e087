"""Routes for reports of studies, attributes of subjects and codes of series; changes need a login."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Query, Response

from imarium.access import Action
from imarium.audit import ObjectKind
from imarium.errors import InvalidRequestError
from imarium.faces.http.auditing import NotedDep
from imarium.faces.http.callers import ActorDep, ArchiveDep, CallerDep
from imarium.faces.http.context import LARGEST, SeriesDep
from imarium.faces.http.search_schemas import (
    ConceptChange,
    ConceptsAnswer,
    CountAnswer,
    NewReport,
    ReportItem,
    ReportList,
    SubjectAnswer,
    SubjectValueBody,
    chosen,
)

router = APIRouter(tags=["reports, subjects and codes"])

InCollection = Annotated[str, Query(max_length=200, description="Where the study or subject is.")]


@router.get("/studies/{uid}/reports")
def list_reports(
    archive: ArchiveDep, actor: CallerDep, told: NotedDep, uid: str, collection: InCollection
) -> ReportList:
    """The free-text reports of a study."""
    told.about(ObjectKind.STUDY, uid)
    archive.permissions.check(actor, Action.READ, collection)
    records = archive.catalog.annotating.reports(collection, uid)
    return ReportList(items=[ReportItem.of(record) for record in records])


@router.post("/studies/{uid}/reports", status_code=201)
def add_report(
    archive: ArchiveDep,
    actor: ActorDep,
    told: NotedDep,
    uid: str,
    collection: InCollection,
    body: NewReport,
) -> ReportItem:
    """Add a report to a study; searches find its words."""
    told.about(ObjectKind.STUDY, uid)
    archive.permissions.check(actor, Action.WRITE, collection)
    return ReportItem.of(archive.catalog.annotating.add_report(collection, uid, body.text, body.title))


@router.delete("/studies/{uid}/reports/{number}", status_code=204, response_class=Response)
def remove_report(
    archive: ArchiveDep,
    actor: ActorDep,
    told: NotedDep,
    uid: str,
    number: int,
    collection: InCollection,
) -> Response:
    """Remove a report of a study."""
    told.about(ObjectKind.STUDY, uid)
    archive.permissions.check(actor, Action.WRITE, collection)
    if not 0 <= number < LARGEST:
        raise InvalidRequestError("no report has such a number")
    archive.catalog.annotating.remove_report(collection, uid, number)
    return Response(status_code=204)


@router.get("/subjects/{pseudonym}")
def subject(
    archive: ArchiveDep, actor: CallerDep, told: NotedDep, pseudonym: str, collection: InCollection
) -> SubjectAnswer:
    """The attributes of a subject."""
    told.about(ObjectKind.SUBJECT, pseudonym)
    archive.permissions.check(actor, Action.FIND, collection)
    return SubjectAnswer.of(archive.catalog.annotating.subject(collection, pseudonym))


@router.patch("/subjects/{pseudonym}")
def describe_subject(
    archive: ArchiveDep,
    actor: ActorDep,
    told: NotedDep,
    pseudonym: str,
    collection: InCollection,
    values: Annotated[dict[str, SubjectValueBody | None], Body()],
) -> SubjectAnswer:
    """Set attributes of a subject, and remove those that are null; others stay."""
    told.about(ObjectKind.SUBJECT, pseudonym)
    archive.permissions.check(actor, Action.WRITE, collection)
    plain = {key: None if item is None else item.plain() for key, item in values.items()}
    archive.catalog.annotating.describe_subject(collection, pseudonym, plain)
    return SubjectAnswer.of(archive.catalog.annotating.subject(collection, pseudonym))


@router.get("/series/{uid}/concepts")
def concepts(archive: ArchiveDep, record: SeriesDep) -> ConceptsAnswer:
    """The codes of a series, from its header and from people."""
    return ConceptsAnswer.of(archive.catalog.annotating.concepts(record.series.uid))


@router.post("/concepts")
def change_concepts(archive: ArchiveDep, actor: ActorDep, told: NotedDep, body: ConceptChange) -> CountAnswer:
    """Give codes to all series of a selection, and take others from them that people gave."""
    selection = chosen(body.selection)
    if not body.add and not body.remove:
        raise InvalidRequestError("there are no codes to add or to remove")
    within = archive.permissions.within(actor)
    annotated = archive.permissions.within(actor, Action.ANNOTATE)
    count = 0
    if body.remove:
        removed = [item.concept() for item in body.remove]
        count = archive.catalog.annotating.remove_concepts(
            selection, removed, within=within, annotated=annotated
        )
    if body.add:
        added = [item.concept() for item in body.add]
        count = archive.catalog.annotating.add_concepts(selection, added, within=within, annotated=annotated)
    told.details["series"] = count
    return CountAnswer(series=count)
