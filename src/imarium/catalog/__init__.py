"""What is known of what is stored."""

from imarium.catalog.catalog import Catalog
from imarium.catalog.records import (
    CollectionRecord,
    LevelSpans,
    NewSeries,
    PackRecord,
    Place,
    SelectedSeries,
    SeriesRecord,
    StudyRecord,
)

__all__ = [
    "Catalog",
    "CollectionRecord",
    "LevelSpans",
    "NewSeries",
    "PackRecord",
    "Place",
    "SelectedSeries",
    "SeriesRecord",
    "StudyRecord",
]
