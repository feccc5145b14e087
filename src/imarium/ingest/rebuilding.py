"""Makes what the catalog knows of images again from the packs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from imarium.access import pseudonym
from imarium.catalog import Catalog, NewSeries, PackRecord, SeriesRecord
from imarium.codec import lanes_text
from imarium.errors import ImariumError
from imarium.formats import dicom
from imarium.ingest.stacks import SEPARATOR
from imarium.ingest.storing import details_of
from imarium.pack import SeriesIndex, Span, read_attachments, read_directory
from imarium.store import ObjectStore


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What became of a series, or of a pack that cannot be read."""

    uid: str | None
    recovered: bool
    """It was not in the catalog."""
    error: str | None = None


class _Found(NamedTuple):
    """Where a series lies that the catalog does not know."""

    frames: int
    pack: PackRecord
    span: Span


class Rebuilding:
    """Reads packs for the catalog. What people said (labels, reports, codes) is in no pack, and stays."""

    def __init__(self, catalog: Catalog, store: ObjectStore, secret: bytes) -> None:
        self._catalog, self._store, self._secret = catalog, store, secret

    def run(self, recover_into: str | None = None) -> Iterator[Rebuilt]:
        """Read the headers of all series again, so that searches find what they say.

        With `recover_into`, the name of a collection, series of packs that the catalog never knew are put
        there: packs do not tell their collection, their labels and which files they came from. Packs of
        ingests that were refused or interrupted are among them, so it is for catalogs that were lost. Of a
        series in several packs the one with most frames counts.
        """
        records, _ = self._catalog.series()
        for record in records:
            try:
                self._describe(record)
            except ImariumError as error:
                yield Rebuilt(record.series.uid, False, str(error))
            else:
                yield Rebuilt(record.series.uid, False)
        if recover_into is not None:
            yield from self._recover({record.series.uid for record in records}, recover_into)

    def _describe(self, record: SeriesRecord) -> None:
        fetch = self._store.fetch(record.pack.key)
        index = SeriesIndex.from_bytes(fetch(*record.index_span))
        attachments = read_attachments(fetch, index) if index.series.format == "dicom" else {}
        self._catalog.describe_again(record.series.uid, details_of(index.series, attachments))

    def _recover(self, known: set[str], collection: str) -> Iterator[Rebuilt]:
        found: dict[str, _Found] = {}
        packs = self._catalog.known_packs()
        for key in self._store.keys("packs/"):
            if key in packs:
                continue
            try:
                for uid, place in self._series_of(key):
                    if uid not in known and (uid not in found or found[uid].frames < place.frames):
                        found[uid] = place
            except ImariumError as error:
                yield Rebuilt(None, True, f"a pack cannot be read: {error}")
        for uid, place in found.items():
            try:
                self._catalog.add_series(collection, self._new(place))
            except ImariumError as error:
                yield Rebuilt(uid, True, str(error))
            else:
                yield Rebuilt(uid, True)

    def _series_of(self, key: str) -> Iterator[tuple[str, _Found]]:
        size, fetch = self._store.size(key), self._store.fetch(key)
        digest = key.rpartition("/")[2].partition(".")[0]
        for entry in read_directory(fetch, size):
            index = SeriesIndex.from_bytes(fetch(*entry.index))
            yield entry.uid, _Found(index.series.frames, PackRecord(key, size, digest), entry.index)

    def _new(self, place: _Found) -> NewSeries:
        fetch = self._store.fetch(place.pack.key)
        index = SeriesIndex.from_bytes(fetch(*place.span))
        series = index.series
        attachments = read_attachments(fetch, index) if series.format == "dicom" else {}
        start, stop = index.body[0], place.span[1]
        return NewSeries(
            series=series,
            base_uid=series.uid.partition(SEPARATOR)[0],
            levels=index.levels,
            lane=lanes_text(index.lanes.tolist()),
            stored_bytes=stop - start,
            pack=place.pack,
            index_span=place.span,
            files=(),
            pseudonym=pseudonym(self._secret, dicom.patient_of(attachments) if attachments else None),
            details=details_of(series, attachments),
        )
