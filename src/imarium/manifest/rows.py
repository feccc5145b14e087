"""Rows of a manifest as plain values, to Arrow and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from imarium.errors import LevelError
from imarium.manifest.schema import SCHEMA
from imarium.model import Series, level_shape
from imarium.model.geometry import Affine

Span: TypeAlias = tuple[int, int]
"""Byte offsets (start, stop) in a pack; stop is exclusive."""


@dataclass(frozen=True, slots=True)
class ManifestLevel:
    """A level of a series: its size, and where the pack holds it for all frames."""

    level: int
    """0 is the full resolution."""
    rows: int
    columns: int
    bytes: int
    spans: tuple[Span, ...]
    """Ascending; one a block of frames."""


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """A series: what a reader must know to choose it, to fetch it and to place it."""

    series: str
    study: str
    subject: str | None
    """A pseudonym: the same for all series of one person in one collection."""
    collection: str
    modality: str | None
    body_part: str | None
    format: str
    """Format of the source."""
    frames: int
    rows: int
    columns: int
    samples: int
    dtype: str
    """NumPy name of the stored values' type."""
    photometric: str
    dimensions: tuple[int, ...]
    """Shape whose product is `frames`, slowest axis first."""
    spacing: tuple[float, float, float] | None
    """(slice, row, column) in mm."""
    affine: Affine | None
    """(column, row, slice) to RAS+ mm."""
    window_center: float | None
    window_width: float | None
    """Default window in rescaled values."""
    rescale_slope: float | None
    rescale_intercept: float | None
    """Value = stored value * slope + intercept; None where frames differ, and their index tells."""
    label_map: bool
    """Values are names, not amounts."""
    labels: Mapping[str, str]
    """By key, sorted."""
    pack: str
    """Key of the pack in its store."""
    pack_bytes: int
    pack_digest: str
    """BLAKE3 of the whole pack, hex."""
    url: str | None
    """A signed address of the pack, if one was asked for."""
    index: Span
    """Where the pack holds the series' index."""
    levels: tuple[ManifestLevel, ...]
    """Full resolution first."""

    @classmethod
    def of(
        cls,
        facts: Series,
        spans: Sequence[Sequence[Span]],
        *,
        pack: str,
        pack_bytes: int,
        pack_digest: str,
        index: Span,
        collection: str = "",
        subject: str | None = None,
        labels: Mapping[str, str] | None = None,
        url: str | None = None,
    ) -> ManifestRow:
        """The row of a series, of which `spans` are the byte ranges of each level, full resolution first."""
        levels = []
        for level, ranges in enumerate(spans):
            rows, columns = level_shape(facts.rows, facts.columns, level)
            size = sum(stop - start for start, stop in ranges)
            levels.append(ManifestLevel(level, rows, columns, size, tuple(ranges)))
        one_scale = facts.frame_rescale is None
        return cls(
            series=facts.uid,
            study=facts.study_uid,
            subject=subject,
            collection=collection,
            modality=facts.modality,
            body_part=facts.body_part,
            format=facts.format,
            frames=facts.frames,
            rows=facts.rows,
            columns=facts.columns,
            samples=facts.samples,
            dtype=facts.dtype,
            photometric=facts.photometric,
            dimensions=facts.dimensions,
            spacing=facts.spacing,
            affine=facts.affine,
            window_center=facts.window_center,
            window_width=facts.window_width,
            rescale_slope=facts.rescale_slope if one_scale else None,
            rescale_intercept=facts.rescale_intercept if one_scale else None,
            label_map=facts.label_map,
            labels=labels or {},
            pack=pack,
            pack_bytes=pack_bytes,
            pack_digest=pack_digest,
            url=url,
            index=index,
            levels=tuple(levels),
        )

    def level(self, number: int) -> ManifestLevel:
        """One level; raises LevelError."""
        if not 0 <= number < len(self.levels):
            raise LevelError(
                f"level {number} does not exist: this series has levels 0 (full) to {len(self.levels) - 1}"
            )
        return self.levels[number]


def batch_of(rows: Sequence[ManifestRow]) -> pa.RecordBatch:
    """Rows as one batch of the schema."""
    columns = [_column(field, [getattr(row, field.name) for row in rows]) for field in SCHEMA]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def _column(field: pa.Field, values: Sequence[Any]) -> pa.Array:
    match field.name:
        case "labels":
            return pa.array([sorted(labels.items()) for labels in values], field.type)
        case "affine":
            return pa.array(
                [None if affine is None else [item for line in affine for item in line] for affine in values],
                field.type,
            )
        case "index":
            return _spans(field.type, values)
        case "levels":
            return _levels(field.type, values)
    return pa.array(values, field.type)


def _spans(kind: pa.DataType, spans: Sequence[Span]) -> pa.Array:
    offsets = np.array(spans, np.int64).reshape(-1, 2)
    return pa.StructArray.from_arrays([pa.array(offsets[:, 0]), pa.array(offsets[:, 1])], fields=list(kind))


def _levels(kind: pa.DataType, members: Sequence[Sequence[ManifestLevel]]) -> pa.Array:
    flat = [level for levels in members for level in levels]
    record = kind.value_type
    spans = record.field("spans").type
    children = [
        pa.array([getattr(level, child.name) for level in flat], child.type)
        for child in record
        if child.name != "spans"
    ]
    lists = pa.ListArray.from_arrays(
        _offsets([len(level.spans) for level in flat]),
        _spans(spans.value_type, [span for level in flat for span in level.spans]),
        type=spans,
    )
    structs = pa.StructArray.from_arrays([*children, lists], fields=list(record))
    return pa.ListArray.from_arrays(_offsets([len(levels) for levels in members]), structs, type=kind)


def _offsets(lengths: Sequence[int]) -> pa.Array:
    return pa.array(np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]), pa.int32())


def rows_of(batch: pa.RecordBatch) -> Iterator[ManifestRow]:
    """The inverse of `batch_of`."""
    for item in batch.to_pylist():
        affine, spacing = item["affine"], item["spacing"]
        yield ManifestRow(
            **item
            | {
                "dimensions": tuple(item["dimensions"]),
                "spacing": None if spacing is None else tuple(spacing),
                "affine": None if affine is None else _affine(affine),
                "labels": dict(item["labels"]),
                "index": _span(item["index"]),
                "levels": tuple(
                    ManifestLevel(**level | {"spans": tuple(map(_span, level["spans"]))})
                    for level in item["levels"]
                ),
            }
        )


def _affine(items: Sequence[float]) -> Affine:
    first, second, third, last = (tuple(items[start : start + 4]) for start in range(0, 16, 4))
    return first, second, third, last  # type: ignore[return-value]


def _span(item: Mapping[str, int]) -> Span:
    return item["start"], item["stop"]
