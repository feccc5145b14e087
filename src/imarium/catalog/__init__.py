"""What is known of what is stored."""

from imarium.catalog.annotating import ReportRecord, SubjectValue
from imarium.catalog.catalog import Catalog
from imarium.catalog.records import (
    AttributeRecord,
    CollectionRecord,
    FacetValue,
    Found,
    LevelSpans,
    NewSeries,
    PackRecord,
    Place,
    SelectedSeries,
    SeriesRecord,
    StudyRecord,
)
from imarium.catalog.saving import SavedRecord

__all__ = [
    "AttributeRecord",
    "Catalog",
    "CollectionRecord",
    "FacetValue",
    "Found",
    "LevelSpans",
    "NewSeries",
    "PackRecord",
    "Place",
    "ReportRecord",
    "SavedRecord",
    "SelectedSeries",
    "SeriesRecord",
    "StudyRecord",
    "SubjectValue",
]
