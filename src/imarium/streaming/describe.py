"""Series as plain values for JSON, the same for every face."""

from __future__ import annotations

from typing import Any

from imarium.catalog import SeriesRecord
from imarium.streaming.levels import LevelDetail


def describe(record: SeriesRecord) -> dict[str, Any]:
    """What a list shows of a series. Holds no identifiers of a patient."""
    facts = record.series
    return {
        "uid": facts.uid,
        "collection": record.collection,
        "study_uid": facts.study_uid,
        "subject": record.subject,
        "modality": facts.modality,
        "body_part": facts.body_part,
        "description": facts.description,
        "study_description": facts.study_description,
        "study_date": facts.study_date,
        "format": facts.format,
        "shape": list(facts.shape),
        "dimensions": list(facts.dimensions),
        "samples": facts.samples,
        "dtype": facts.dtype,
        "photometric": facts.photometric,
        "levels": record.levels,
        "source_bytes": record.source_bytes,
        "stored_bytes": record.stored_bytes,
        "notes": list(facts.notes),
        "labels": dict(record.labels),
    }


def describe_fully(
    record: SeriesRecord, levels: list[LevelDetail], exports: tuple[str, ...]
) -> dict[str, Any]:
    """Everything a viewer needs: geometry, display, the pack and the byte range of every level."""
    facts = record.series
    return describe(record) | {
        "affine": facts.affine,
        "spacing": facts.spacing,
        "time_step": facts.time_step,
        "rescale_slope": facts.rescale_slope,
        "rescale_intercept": facts.rescale_intercept,
        "rescale_unit": facts.rescale_unit,
        "frame_rescale": facts.frame_rescale,
        "window_center": facts.window_center,
        "window_width": facts.window_width,
        "palette": facts.palette,
        "label_map": facts.label_map,
        "bits_stored": facts.bits_stored,
        "lane": record.lane,
        "exports": list(exports),
        "pack": {
            "key": record.pack.key,
            "url": f"/api/v1/{record.pack.key}",
            "size": record.pack.size,
            "index": record.index_span,
        },
        "level_details": [
            {
                "level": detail.level,
                "rows": detail.series.rows,
                "columns": detail.series.columns,
                "spacing": detail.series.spacing,
                "affine": detail.series.affine,
                "ranges": detail.spans,
                "bytes": detail.bytes,
            }
            for detail in levels
        ],
    }
