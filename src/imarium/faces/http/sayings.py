"""Routes for reports of studies, attributes of subjects and codes of series; changes need a login."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Query, Response

from imarium.errors import InvalidRequestError
from imarium.faces.http.context import LARGEST, ArchiveDep, SeriesDep, UserDep
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
def list_reports(archive: ArchiveDep, uid: str, collection: InCollection) -> ReportList:
    """The free-text reports of a study."""
    records = archive.catalog.annotating.reports(collection, uid)
    return ReportList(items=[ReportItem.of(record) for record in records])


@router.post("/studies/{uid}/reports", status_code=201)
def add_report(
    archive: ArchiveDep,
    user: UserDep,  # noqa: ARG001
    uid: str,
    collection: InCollection,
    body: NewReport,
) -> ReportItem:
    """Add a report to a study; searches find its words."""
    return ReportItem.of(archive.catalog.annotating.add_report(collection, uid, body.text, body.title))


@router.delete("/studies/{uid}/reports/{number}", status_code=204, response_class=Response)
def remove_report(
    archive: ArchiveDep,
    user: UserDep,  # noqa: ARG001
    uid: str,
    number: int,
    collection: InCollection,
) -> Response:
    """Remove a report of a study."""
    if not 0 <= number < LARGEST:
        raise InvalidRequestError("no report has such a number")
    archive.catalog.annotating.remove_report(collection, uid, number)
    return Response(status_code=204)


@router.get("/subjects/{pseudonym}")
def subject(archive: ArchiveDep, pseudonym: str, collection: InCollection) -> SubjectAnswer:
    """The attributes of a subject."""
    return SubjectAnswer.of(archive.catalog.annotating.subject(collection, pseudonym))


@router.patch("/subjects/{pseudonym}")
def describe_subject(
    archive: ArchiveDep,
    user: UserDep,  # noqa: ARG001
    pseudonym: str,
    collection: InCollection,
    values: Annotated[dict[str, SubjectValueBody | None], Body()],
) -> SubjectAnswer:
    """Set attributes of a subject, and remove those that are null; others stay."""
    plain = {key: None if item is None else item.plain() for key, item in values.items()}
    archive.catalog.annotating.describe_subject(collection, pseudonym, plain)
    return SubjectAnswer.of(archive.catalog.annotating.subject(collection, pseudonym))


@router.get("/series/{uid}/concepts")
def concepts(archive: ArchiveDep, record: SeriesDep) -> ConceptsAnswer:
    """The codes of a series, from its header and from people."""
    return ConceptsAnswer.of(archive.catalog.annotating.concepts(record.series.uid))


@router.post("/concepts")
def change_concepts(archive: ArchiveDep, user: UserDep, body: ConceptChange) -> CountAnswer:  # noqa: ARG001
    """Give codes to all series of a selection, and take others from them that people gave."""
    selection = chosen(body.selection)
    if not body.add and not body.remove:
        raise InvalidRequestError("there are no codes to add or to remove")
    count = 0
    if body.remove:
        count = archive.catalog.annotating.remove_concepts(
            selection, [item.concept() for item in body.remove]
        )
    if body.add:
        count = archive.catalog.annotating.add_concepts(selection, [item.concept() for item in body.add])
    return CountAnswer(series=count)
