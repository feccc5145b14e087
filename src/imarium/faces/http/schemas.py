"""Shapes of the API's answers. The page's TypeScript types are generated from these."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from imarium.access import Visibility
from imarium.catalog import CollectionRecord, StudyRecord
from imarium.codec import Tier
from imarium.model import Selection
from imarium.model.geometry import Affine


class Schema(BaseModel):
    """Answers are immutable, and every field is always there."""

    model_config = ConfigDict(frozen=True, json_schema_serialization_defaults_required=True)


class ErrorBody(Schema):
    """What went wrong, for machines and for people."""

    code: str
    message: str
    position: int | None = Field(description="Characters of a query before what is wrong in it.")


class ErrorAnswer(Schema):
    """Every error of the API looks like this."""

    error: ErrorBody


class StatusAnswer(Schema):
    """Is the server there, and which one is it."""

    version: str
    api: int = Field(description="Version of the API; clients of another one refuse to go on.")
    collections: int
    series: int


class CollectionItem(Schema):
    """A collection with its counts."""

    name: str
    description: str
    studies: int
    series: int
    source_bytes: int
    stored_bytes: int
    visibility: Visibility = Field(description="Who may read it without a role there.")

    @classmethod
    def of(cls, record: CollectionRecord) -> CollectionItem:
        """From the catalog's record."""
        return cls.model_validate(record, from_attributes=True)


class CollectionList(Schema):
    """All collections."""

    items: list[CollectionItem]
    total: int


class StudyItem(Schema):
    """A study."""

    uid: str
    collection: str
    subject: str | None = Field(description="A pseudonym; never the patient's identifier.")
    description: str | None
    date: str | None = Field(description="YYYYMMDD")
    modalities: list[str]
    series: int

    @classmethod
    def of(cls, record: StudyRecord) -> StudyItem:
        """From the catalog's record."""
        return cls.model_validate(record, from_attributes=True)


class StudyList(Schema):
    """A page of studies."""

    items: list[StudyItem]
    total: int


class SeriesItem(Schema):
    """A series in a list."""

    uid: str
    collection: str
    study_uid: str
    subject: str | None
    modality: str | None
    body_part: str | None
    description: str | None
    study_description: str | None
    study_date: str | None
    format: str = Field(description="Format of the source: dicom, nifti, png or jpeg.")
    shape: tuple[int, int, int] = Field(description="(frames, rows, columns)")
    dimensions: list[int] = Field(description="Shape of the frames, slices last; its product is frames.")
    samples: int
    dtype: str
    photometric: str
    levels: int = Field(description="Valid levels are 0 (full resolution) to levels - 1.")
    source_bytes: int
    stored_bytes: int
    notes: list[str]
    labels: dict[str, str]


class LevelItem(Schema):
    """One resolution level, and where the pack holds it for all frames."""

    level: int
    rows: int
    columns: int
    spacing: tuple[float, float, float] | None = Field(description="(slice, row, column) in mm")
    affine: Affine | None
    ranges: list[tuple[int, int]] = Field(
        description="Bytes start to stop - 1 of the pack, ascending; one range a block of frames."
    )
    bytes: int


class PackItem(Schema):
    """Where the codestreams lie."""

    key: str
    url: str
    size: int
    index: tuple[int, int] = Field(description="Bytes start to stop - 1 of the pack: the series' index.")


class SeriesDetail(SeriesItem):
    """Everything a viewer needs to know of a series."""

    affine: Affine | None = Field(description="(column, row, slice) to RAS+ mm")
    spacing: tuple[float, float, float] | None = Field(description="(slice, row, column) in mm")
    time_step: float | None = Field(description="Seconds between volumes.")
    rescale_slope: float
    rescale_intercept: float
    rescale_unit: str | None
    frame_rescale: list[tuple[float, float]] | None = Field(
        description="(slope, intercept) of each frame, where they differ (PET)"
    )
    window_center: float | None
    window_width: float | None
    palette: list[tuple[int, int, int]] | None
    label_map: bool
    bits_stored: int | None
    lane: str = Field(description="Why the pixels are stored the way they are.")
    exports: list[str]
    pack: PackItem
    level_details: list[LevelItem]


class SeriesList(Schema):
    """A page of series."""

    items: list[SeriesItem]
    total: int


class NewUpload(BaseModel):
    """Opens an upload."""

    collection: str = Field(default="default", min_length=1, max_length=200)
    tier: Tier = Field(default=Tier.FAST, description="archive: smallest, for images that are rarely read.")
    labels: dict[str, str] = Field(default={}, description="Of all series, those too that are known already.")


class UploadAnswer(Schema):
    """An open upload."""

    id: str


class OutcomeLine(Schema):
    """One line of an ingest's answer: what became of file `number` of the upload."""

    number: int
    status: str
    series: str | None
    reason: str | None
    source_bytes: int
    stored_bytes: int


class SelectionBody(BaseModel):
    """Which series are meant: those that meet all of what is given."""

    model_config = ConfigDict(extra="forbid")

    collection: str | None = None
    series: list[str] = Field(default=[], description="UIDs; none: whichever.")
    studies: list[str] = Field(default=[], description="UIDs; none: whichever.")
    modality: str | None = None
    body_part: str | None = None
    labels: dict[str, str] = {}
    query: str | None = Field(default=None, description="What a search asks, as text.")

    def selection(self) -> Selection:
        """As the services take it; raises InvalidRequestError."""
        return Selection.from_json(self.model_dump())


class LabelChange(BaseModel):
    """Labels for the series of a selection; a label that is null is removed, and others stay."""

    selection: SelectionBody
    labels: dict[str, str | None]


class LabelChanges(BaseModel):
    """Changes that are made in turn: all of them or none."""

    items: list[LabelChange] = Field(max_length=10_000)


class LabelledAnswer(Schema):
    """What labels were set on."""

    series: list[int] = Field(description="How many series each selection has.")


class LabelsAnswer(Schema):
    """The labels of a series."""

    labels: dict[str, str]


class VerifyLine(Schema):
    """One line of a verification's answer."""

    series: str
    frames: int
    ok: bool
    error: str | None
