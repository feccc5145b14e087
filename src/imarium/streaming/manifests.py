"""Selections of the archive as manifests."""

from __future__ import annotations

from collections.abc import Collection as Numbers
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import groupby
from typing import TYPE_CHECKING

from imarium.catalog import Catalog, LevelSpans, SelectedSeries
from imarium.errors import IntegrityError, NotFoundError, StorageError
from imarium.model import Selection
from imarium.pack import SeriesIndex
from imarium.settings import Settings
from imarium.store import ObjectStore

if TYPE_CHECKING:
    from imarium.manifest import Draft, ManifestRow


class Manifests:
    """Makes manifests. The first that names a series reads its index; later ones find the catalog's note."""

    def __init__(self, settings: Settings, catalog: Catalog, store: ObjectStore) -> None:
        self._settings, self._catalog, self._store = settings, catalog, store

    @contextmanager
    def draft(
        self,
        selection: Selection,
        presign: int | None = None,
        *,
        within: Numbers[int] | None = None,
    ) -> Iterator[Draft]:
        """All rows of a selection as they are at this moment, ready to be written; memory is bounded.

        With `presign`, they carry addresses of packs that the store signed for so many seconds, so that bytes
        do not pass through a server. `within` are the collections that may be read; None: all.

        Raises NotFoundError if the selection's collection does not exist or may not be read, IntegrityError
        where the store lacks what the catalog knows, and InvalidRequestError where it signs nothing.
        """
        from imarium.manifest import Draft  # noqa: PLC0415 - pyarrow takes long to load, few commands need it

        with Draft(self._settings.scratch, selection) as draft:
            for rows in self.rows(selection, presign, within=within):
                draft.add(rows)
            yield draft

    def rows(
        self,
        selection: Selection,
        presign: int | None = None,
        *,
        within: Numbers[int] | None = None,
    ) -> Iterator[list[ManifestRow]]:
        """The rows of a selection in lists of bounded length. Raises like `draft`."""
        if presign is not None:
            self._store.signed([], presign)  # refused before any row, and where there are none
        for selected in self._catalog.selected(selection, within):
            found = self._looked_up([item for item in selected if item.spans is None])
            keys = sorted({item.pack.key for item in selected})
            signed = [] if presign is None else self._store.signed(keys, presign)
            urls = dict(zip(keys, signed, strict=False))
            yield [
                _row(item, item.spans or found[item.place[0]], urls.get(item.pack.key)) for item in selected
            ]

    def _looked_up(self, unknown: Sequence[SelectedSeries]) -> dict[int, LevelSpans]:
        """Where levels lie, by the number of the series; the catalog is told, so that it knows next time."""
        found = {}
        for key, members in groupby(unknown, lambda item: item.pack.key):
            several = list(members)
            try:
                contents = self._store.read_many(key, [item.index_span for item in several])
            except NotFoundError as error:
                raise IntegrityError(
                    "a pack that the catalog knows is missing in the store; `imarium verify` "
                    "finds out what else is"
                ) from error
            for item, content in zip(several, contents, strict=True):
                index = SeriesIndex.from_bytes(content)
                found[item.place] = [index.spans(level) for level in range(index.levels)]
        with suppress(StorageError):  # a full disk or a busy catalog: the next one looks again
            self._catalog.keep_spans(list(found.items()))
        return {series: spans for (series, _), spans in found.items()}


def _row(item: SelectedSeries, spans: LevelSpans, url: str | None) -> ManifestRow:
    from imarium.manifest import ManifestRow  # noqa: PLC0415 - see above

    return ManifestRow.of(
        item.series,
        spans,
        pack=item.pack.key,
        pack_bytes=item.pack.size,
        pack_digest=item.pack.digest,
        index=item.index_span,
        collection=item.collection,
        subject=item.subject,
        labels=item.labels,
        url=url,
    )
