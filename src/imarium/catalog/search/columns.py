"""Columns of `search_rows` in memory, so that a count over a million series takes a few milliseconds.

A column is an array by the number of the series. It is read in chunks of numbers, each with a version
that the database counts: before it is used, chunks that changed are read again. Arrays that were handed out
never change.

Measured (`benchmarks/catalog.py`): GROUP BY over 1,000,000 rows takes 0.1 to 1 s a facet in both databases,
and a page with facets needs ten of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Float, Text, cast, func, select
from sqlalchemy.orm import Session

from imarium.catalog.search_tables import SearchChunk, SearchRow

CHUNK = 8192
"""Numbers of series in a chunk; the triggers of the migration know it too."""
_CHUNKS_AT_ONCE = 16

Array = NDArray[Any]
Mask = NDArray[np.bool_]

_FLOATS = frozenset(
    name for name, column in SearchRow.__table__.columns.items() if isinstance(column.type, Float)
)


@dataclass(frozen=True)
class Snapshot:
    """Columns as they were at one moment, by the number of the series."""

    version: tuple[int, int]
    """Grows with every change: of the columns, and of anything else that is searched."""
    size: int
    columns: dict[str, Array]
    """Integers with -1, float64 with NaN where there is no value."""

    @property
    def present(self) -> Mask:
        """Which numbers are series."""
        return self.columns["collection"] >= 0


class Columns:
    """Reads columns, and reads again what has changed."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._columns: dict[str, Array] = {}
        self._versions: dict[str, dict[int, int]] = {}
        """Of each column, the version of each chunk as it was read."""

    def at(self, session: Session, names: Iterable[str]) -> Snapshot:
        """These columns as the transaction of the session sees them."""
        chunks = session.execute(
            select(SearchChunk.chunk, SearchChunk.rows, SearchChunk.others).order_by(SearchChunk.chunk)
        ).all()
        versions = {chunk: rows for chunk, rows, _ in chunks}
        size = (max(versions, default=-1) + 1) * CHUNK
        total = (sum(versions.values()), sum(others for _, _, others in chunks))
        wanted = sorted({"collection", *names})
        with self._lock:
            stale = {
                chunk: [name for name in wanted if self._versions.get(name, {}).get(chunk) != version]
                for chunk, version in versions.items()
            }
            changed = {name for several in stale.values() for name in several}
            for name in wanted:
                old = self._columns.get(name)
                if old is None or len(old) < size:
                    grown = _empty(name, size)
                    if old is not None:
                        grown[: len(old)] = old
                    self._columns[name] = grown
                elif name in changed:
                    self._columns[name] = old.copy()  # someone may still count with the old one
            for run, names_of_run in _runs(stale):
                self._read(session, run, names_of_run)
            for chunk, names_of_chunk in stale.items():
                for name in names_of_chunk:
                    self._versions.setdefault(name, {})[chunk] = versions[chunk]
            return Snapshot(total, size, {name: self._columns[name][:size] for name in wanted})

    def _read(self, session: Session, chunks: range, names: Sequence[str]) -> None:
        start, stop = chunks.start * CHUNK, chunks.stop * CHUNK
        columns = [SearchRow.series_id, *(getattr(SearchRow, name) for name in names)]
        query = select(*(joined(column) for column in columns)).where(
            SearchRow.series_id >= start, SearchRow.series_id < stop
        )
        ids, *values = session.execute(query).one()
        numbers = split(ids)
        for name, text in zip(names, values, strict=True):
            array = self._columns[name]
            array[start:stop] = np.nan if name in _FLOATS else -1
            array[numbers] = split(text, floats=name in _FLOATS)


def joined(column: Any) -> Any:
    """All values of a column as one text: many times faster than rows, and in one order for all columns."""
    if isinstance(column.type, Float):
        return func.aggregate_strings(func.coalesce(cast(column, Text), "nan"), ",")
    return func.aggregate_strings(cast(func.coalesce(column, -1), Text), ",")


def split(text: str | None, *, floats: bool = False) -> Array:
    """The values of such a text."""
    kind = np.float64 if floats else np.int64
    return np.fromstring(text, dtype=kind, sep=",") if text else np.empty(0, kind)


def _empty(name: str, size: int) -> Array:
    if name in _FLOATS:
        return np.full(size, np.nan)
    return np.full(size, -1, np.int64 if name == "bytes" else np.int32)


def _runs(stale: dict[int, list[str]]) -> Iterable[tuple[range, list[str]]]:
    """Neighbouring chunks of which the same columns are to be read, some at a time."""
    run: range | None = None
    wanted: list[str] = []
    for chunk, names in stale.items():
        if run is not None and names == wanted and chunk == run.stop and len(run) < _CHUNKS_AT_ONCE:
            run = range(run.start, chunk + 1)
            continue
        if run is not None and wanted:
            yield run, wanted
        run, wanted = range(chunk, chunk + 1), names
    if run is not None and wanted:
        yield run, wanted
