"""Shapes of searches, saved selections and what people say of studies and subjects."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from imarium.catalog import AttributeRecord, FacetValue, Found, ReportRecord, SavedRecord, SubjectValue
from imarium.catalog.search.paging import Order
from imarium.errors import QuerySyntaxError
from imarium.faces.http.schemas import Schema, SelectionBody, SeriesItem
from imarium.model import Selection
from imarium.model.details import Concept, ConceptKind, scheme_of
from imarium.model.query import Node, from_json
from imarium.model.query_parser import parse
from imarium.streaming import describe


class FacetItem(Schema):
    """A value, and how many of the found series have it."""

    value: str
    count: int
    query: str = Field(description="Finds those with this value.")


class SearchAnswer(Schema):
    """A page of found series."""

    items: list[SeriesItem]
    total: int = Field(description="Series that meet the query, on all pages.")
    next: str | None = Field(description="The `cursor` of the next page; null after the last one.")
    facets: dict[str, list[FacetItem]]

    @classmethod
    def of(cls, found: Found) -> SearchAnswer:
        """From what the catalog found."""
        items = [SeriesItem(**describe(record)) for record in found.records]
        return cls(items=items, total=found.total, next=found.next, facets=_facets(found.facets))


class FacetsAnswer(Schema):
    """How many series meet a query, and which values they have."""

    total: int
    facets: dict[str, list[FacetItem]]

    @classmethod
    def of(cls, total: int, facets: dict[str, tuple[FacetValue, ...]]) -> FacetsAnswer:
        """From what the catalog counted."""
        return cls(total=total, facets=_facets(facets))


def _facets(facets: Any) -> dict[str, list[FacetItem]]:
    return {
        name: [FacetItem(value=item.value, count=item.count, query=item.query) for item in values]
        for name, values in facets.items()
    }


class SearchBody(BaseModel):
    """A search. The query is a text, or a tree as JSON."""

    model_config = ConfigDict(extra="forbid")

    query: str | dict[str, Any] = Field(
        default="",
        description='Like "modality:CT age:>60", or {"and": [{"key": "modality", "tests": '
        '[{"op": "is", "value": "CT"}]}, {"not": {"text": "contrast"}}]}.',
    )
    order: Order = Order.NEWEST
    limit: int = Field(default=50, ge=0, le=1000)
    cursor: str | None = None
    facets: list[str] = Field(default=[], max_length=50)

    def node(self) -> Node:
        """The query as a tree; raises QuerySyntaxError."""
        return parse(self.query) if isinstance(self.query, str) else from_json(self.query)


class AttributeItem(Schema):
    """Something that can be asked for."""

    name: str
    kind: str = Field(description="text, number, date, age, code or uid")
    meaning: str
    aliases: list[str]
    facet: bool = Field(description="Whether its values can be counted.")

    @classmethod
    def of(cls, record: AttributeRecord) -> AttributeItem:
        """From the catalog's record."""
        return cls.model_validate(record, from_attributes=True)


class AttributeList(Schema):
    """All that can be asked for."""

    items: list[AttributeItem]


class SavedItem(Schema):
    """A selection that a user keeps."""

    name: str
    selection: dict[str, Any]
    created: str = Field(description="ISO 8601, UTC")
    changed: str

    @classmethod
    def of(cls, record: SavedRecord) -> SavedItem:
        """From the catalog's record."""
        return cls(
            name=record.name,
            selection=record.selection.to_json(),
            created=record.created.isoformat(timespec="seconds"),
            changed=record.changed.isoformat(timespec="seconds"),
        )


class SavedList(Schema):
    """All selections that a user keeps."""

    items: list[SavedItem]


class SavedChange(BaseModel):
    """Series to put into the list of a kept selection, and to take out, by UID."""

    model_config = ConfigDict(extra="forbid")

    add: list[str] = Field(default=[], max_length=10_000)
    remove: list[str] = Field(default=[], max_length=10_000)


class NewReport(BaseModel):
    """A free-text report."""

    text: str = Field(max_length=200_000)
    title: str = Field(default="", max_length=200)


class ReportItem(Schema):
    """A report of a study."""

    number: int
    title: str
    text: str

    @classmethod
    def of(cls, record: ReportRecord) -> ReportItem:
        """From the catalog's record."""
        return cls.model_validate(record, from_attributes=True)


class ReportList(Schema):
    """The reports of a study."""

    items: list[ReportItem]


class SubjectValueBody(BaseModel):
    """A value of an attribute of a subject."""

    model_config = ConfigDict(frozen=True)

    value: str | float
    date: str | None = Field(default=None, description="YYYYMMDD: the day of which it is true.")

    def plain(self) -> SubjectValue:
        """As the catalog takes it; raises InvalidRequestError."""
        text = self.value if isinstance(self.value, str) else format(self.value, ".9g")
        return SubjectValue(text, self.date)


class SubjectAnswer(Schema):
    """The attributes of a subject, by key."""

    attributes: dict[str, SubjectValueBody]

    @classmethod
    def of(cls, values: dict[str, SubjectValue]) -> SubjectAnswer:
        """From the catalog's values."""
        return cls(
            attributes={
                key: SubjectValueBody(value=item.value, date=item.date) for key, item in values.items()
            }
        )


class ConceptBody(BaseModel):
    """A coded concept."""

    model_config = ConfigDict(frozen=True)

    kind: ConceptKind
    scheme: str = Field(max_length=40, description="SCT, ICD10CM, MESH, ... or another name of it")
    code: str = Field(max_length=64)
    meaning: str = Field(default="", max_length=300)

    def concept(self) -> Concept:
        """As the catalog takes it; raises InvalidRequestError."""
        return Concept(self.kind, scheme_of(self.scheme) or self.scheme, self.code, self.meaning)


class ConceptChange(BaseModel):
    """Codes that all series of a selection get or lose."""

    selection: SelectionBody
    add: list[ConceptBody] = Field(default=[], max_length=1000)
    remove: list[ConceptBody] = Field(default=[], max_length=1000)


class ConceptsAnswer(Schema):
    """The codes of a series."""

    items: list[ConceptBody]

    @classmethod
    def of(cls, concepts: list[Concept]) -> ConceptsAnswer:
        """From the catalog's concepts."""
        return cls(items=[ConceptBody.model_validate(item, from_attributes=True) for item in concepts])


class CountAnswer(Schema):
    """How many series a change was made to."""

    series: int


def chosen(body: SelectionBody) -> Selection:
    """A selection that says something; raises QuerySyntaxError for one that means every series."""
    selection = body.selection()
    if selection.is_everything:
        raise QuerySyntaxError("say which series are meant")
    return selection
