"""What is known of what is stored."""

from imarium.catalog.catalog import Catalog, NewSeries
from imarium.catalog.records import CollectionRecord, PackRecord, SeriesRecord, StudyRecord

__all__ = ["Catalog", "CollectionRecord", "NewSeries", "PackRecord", "SeriesRecord", "StudyRecord"]
