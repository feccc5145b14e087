"""Routes that search."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from imarium.catalog.search.paging import Order
from imarium.faces.http.callers import ArchiveDep
from imarium.faces.http.context import WithinDep
from imarium.faces.http.search_schemas import (
    AttributeItem,
    AttributeList,
    FacetsAnswer,
    SearchAnswer,
    SearchBody,
)
from imarium.model.query import MOST_CHARACTERS
from imarium.model.query_parser import parse

router = APIRouter(tags=["search"])

Asked = Annotated[
    str,
    Query(alias="q", max_length=MOST_CHARACTERS, description='Like "modality:CT age:>60"; none: everything.'),
]
Limit = Annotated[int, Query(ge=0, le=1000)]
Cursor = Annotated[str | None, Query(description="The `next` of the page before.")]
Facets = Annotated[
    list[str] | None, Query(max_length=50, description="What is counted; may come several times.")
]
Most = Annotated[int, Query(ge=1, le=1000, description="Values of one facet.")]


@router.get("/search")
def search(
    archive: ArchiveDep,
    within: WithinDep,
    q: Asked = "",
    order: Order = Order.NEWEST,
    limit: Limit = 50,
    cursor: Cursor = None,
    facets: Facets = None,
) -> SearchAnswer:
    """A page of the series that meet a query, how many there are in all, and counts of values.

    Pages do not shift while series arrive: the next one begins after the last series of this one.
    """
    found = archive.catalog.searching.search(
        parse(q), order=order, limit=limit, after=cursor, facets=facets or (), within=within
    )
    return SearchAnswer.of(found)


@router.post("/search")
def post_search(archive: ArchiveDep, within: WithinDep, body: SearchBody) -> SearchAnswer:
    """The same, with the query as a text or as a tree of typed values."""
    found = archive.catalog.searching.search(
        body.node(), order=body.order, limit=body.limit, after=body.cursor, facets=body.facets, within=within
    )
    return SearchAnswer.of(found)


@router.get("/facets")
def facets(
    archive: ArchiveDep, within: WithinDep, q: Asked = "", names: Facets = None, most: Most = 50
) -> FacetsAnswer:
    """How many series meet a query, and how many of them have which values."""
    total, counted = archive.catalog.searching.facets(parse(q), names or (), most_values=most, within=within)
    return FacetsAnswer.of(total, counted)


@router.get("/attributes")
def attributes(archive: ArchiveDep, within: WithinDep) -> AttributeList:
    """What can be asked for: short names, labels, and DICOM keywords that series have."""
    return AttributeList(
        items=[AttributeItem.of(record) for record in archive.catalog.searching.attributes(within)]
    )
