"""Routes that list collections, studies and series."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from imarium.audit import ObjectKind
from imarium.faces.http.auditing import NotedDep
from imarium.faces.http.callers import ArchiveDep
from imarium.faces.http.context import LARGEST, SeriesDep, WithinDep
from imarium.faces.http.schemas import (
    CollectionItem,
    CollectionList,
    SeriesDetail,
    SeriesItem,
    SeriesList,
    StatusAnswer,
    StudyItem,
    StudyList,
)
from imarium.streaming import describe, describe_fully
from imarium.version import API_VERSION, VERSION

router = APIRouter(tags=["browse"])

Offset = Annotated[int, Query(ge=0, le=LARGEST)]
Limit = Annotated[int, Query(ge=1, le=1000)]


@router.get("/status")
def status(archive: ArchiveDep, within: WithinDep) -> StatusAnswer:
    """Version, and counts of what the caller may know of."""
    records = archive.catalog.collections(within)
    return StatusAnswer(
        version=VERSION,
        api=API_VERSION,
        collections=len(records),
        series=sum(record.series for record in records),
    )


@router.get("/collections")
def collections(archive: ArchiveDep, within: WithinDep) -> CollectionList:
    """All collections with their counts and sizes."""
    items = [CollectionItem.of(record) for record in archive.catalog.collections(within)]
    return CollectionList(items=items, total=len(items))


@router.get("/studies")
def studies(
    archive: ArchiveDep,
    within: WithinDep,
    told: NotedDep,
    collection: str | None = None,
    offset: Offset = 0,
    limit: Limit = 100,
) -> StudyList:
    """A page of studies."""
    if collection is not None:
        told.about(ObjectKind.COLLECTION, collection)
    records, total = archive.catalog.studies(collection, offset, limit, within)
    return StudyList(items=[StudyItem.of(record) for record in records], total=total)


@router.get("/series")
def series(
    archive: ArchiveDep,
    within: WithinDep,
    told: NotedDep,
    collection: str | None = None,
    study: str | None = None,
    offset: Offset = 0,
    limit: Limit = 100,
) -> SeriesList:
    """A page of series in the order in which they came."""
    if study is not None:
        told.about(ObjectKind.STUDY, study)
    elif collection is not None:
        told.about(ObjectKind.COLLECTION, collection)
    records, total = archive.catalog.series(
        collection=collection, study=study, offset=offset, limit=limit, within=within
    )
    return SeriesList(items=[SeriesItem(**describe(record)) for record in records], total=total)


@router.get("/series/{uid}")
def series_detail(archive: ArchiveDep, record: SeriesDep) -> SeriesDetail:
    """A series with its levels and where they lie."""
    levels = archive.streaming.level_details(record)
    return SeriesDetail(**describe_fully(record, levels, archive.streaming.exports(record)))
