"""Sources to the archive: read, encode, verify, store, make known."""

from imarium.ingest.outcome import Observer, Outcome, Status, Summary
from imarium.ingest.rebuilding import Rebuilding, Rebuilt
from imarium.ingest.service import Ingest

__all__ = ["Ingest", "Observer", "Outcome", "Rebuilding", "Rebuilt", "Status", "Summary"]
