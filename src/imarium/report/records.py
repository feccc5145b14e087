"""Results as JSON and as a table for other programs."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict
from typing import IO, Any

from imarium.report.costs import Link
from imarium.report.fidelity import Fidelity
from imarium.report.results import Dataset, LevelResult, SeriesResult
from imarium.report.summary import Group, LevelSummary, Summary
from imarium.report.texts import MEASURES, spread_of

_MEASURES = tuple(attribute for _, attribute, _ in MEASURES)


def series_json(result: SeriesResult, links: Sequence[Link]) -> dict[str, Any]:
    """One series."""
    return {
        "kind": "series",
        "series": result.series,
        **_dataset(result.dataset),
        "shape": [result.frames, result.rows, result.columns],
        "samples": result.samples,
        "dtype": result.dtype,
        "index_bytes": result.index_bytes,
        "sampled": result.sampled,
        "read_bytes": result.read_bytes,
        "error": result.error,
        "levels": [_level(result, level, links) for level in result.levels],
    }


def _dataset(dataset: Dataset) -> dict[str, Any]:
    return {
        "collection": dataset.collection,
        "modality": dataset.modality,
        "label_map": dataset.label_map,
    }


def _level(result: SeriesResult, level: LevelResult, links: Sequence[Link]) -> dict[str, Any]:
    full = result.levels[0].bytes
    return {
        "level": level.level,
        "rows": level.rows,
        "columns": level.columns,
        "bytes": level.bytes,
        "share": level.bytes / full if full else None,
        "requests": level.requests,
        "seconds": {
            _name(link): link.seconds(level.bytes + result.index_bytes, level.requests) for link in links
        },
        **asdict(level.fidelity or Fidelity()),
    }


def _name(link: Link) -> str:
    return f"{link.bandwidth:g}"


def summary_json(summary: Summary, links: Sequence[Link]) -> list[dict[str, Any]]:
    """Each dataset, and then all of them."""
    found = [
        {"kind": "dataset", **_dataset(dataset), **_group(group, links)}
        for dataset, group in summary.datasets()
    ]
    return [*found, {"kind": "total", **_group(summary.all, links)}]


def _group(group: Group, links: Sequence[Link]) -> dict[str, Any]:
    levels = group.levels()
    full = levels[0].bytes if levels else 0
    return {
        "count": group.series,
        "frames": group.frames,
        "index_bytes": group.index_bytes,
        "sampled": group.sampled,
        "read_bytes": group.read_bytes,
        "failed": group.failed,
        "levels": [
            {
                "level": level.level,
                "count": level.series,
                "smallest": list(level.smallest),
                "largest": list(level.largest),
                "bytes": level.bytes,
                "share": level.bytes / full if full else None,
                "requests": level.requests,
                "seconds": {_name(link): group.seconds(level, link) for link in links},
                **{name: _spread(level, name) for name in _MEASURES},
            }
            for level in levels
        ],
    }


def _spread(level: LevelSummary, name: str) -> dict[str, Any] | None:
    spread = spread_of(level, name)
    if not spread:
        return None
    return {
        "count": len(spread),
        "mean": spread.mean,
        "deviation": spread.deviation,
        "lowest": spread.lowest,
    }


class CsvTable:
    """A row a series and level."""

    def __init__(self, file: IO[str], links: Sequence[Link]) -> None:
        self._rows, self._links = csv.writer(file), links
        self._rows.writerow(
            [
                *("series", "collection", "modality", "label_map", "frames", "rows", "columns", "samples"),
                *("dtype", "index_bytes", "sampled", "level", "level_rows", "level_columns", "bytes"),
                *("share", "requests", *(f"seconds_at_{_name(link)}_mbit" for link in links)),
                *_MEASURES,
                "error",
            ]
        )

    def add(self, result: SeriesResult) -> None:
        """One more series."""
        for level in result.levels:
            facts = _level(result, level, self._links)
            self._rows.writerow(
                [
                    *(result.series, result.dataset.collection, result.dataset.modality),
                    *(int(result.dataset.label_map), result.frames, result.rows, result.columns),
                    *(result.samples, result.dtype, result.index_bytes, result.sampled),
                    *(level.level, level.rows, level.columns, level.bytes, facts["share"], level.requests),
                    *facts["seconds"].values(),
                    *(facts[name] for name in _MEASURES),
                    result.error,
                ]
            )
