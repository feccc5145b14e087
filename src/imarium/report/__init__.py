"""What a selection costs at each level, and how good it is: as values, JSON, a table and a page."""

from imarium.report.costs import Link, parse_links
from imarium.report.page import Page
from imarium.report.records import CsvTable, series_json, summary_json
from imarium.report.results import Dataset, LevelResult, SeriesResult
from imarium.report.service import costs, expected_bytes, measured, sampled
from imarium.report.summary import Group, LevelSummary, Spread, Summary
from imarium.report.texts import MEASURES, amount, sides, spread_of, spread_text

__all__ = [
    "MEASURES",
    "CsvTable",
    "Dataset",
    "Group",
    "LevelResult",
    "LevelSummary",
    "Link",
    "Page",
    "SeriesResult",
    "Spread",
    "Summary",
    "amount",
    "costs",
    "expected_bytes",
    "measured",
    "parse_links",
    "sampled",
    "series_json",
    "sides",
    "spread_of",
    "spread_text",
    "summary_json",
]
