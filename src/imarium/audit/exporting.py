"""Records for other programs: JSON lines that can be verified, CSV for tables, DICOM's audit messages."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict

from imarium.audit.dicom_messages import message
from imarium.audit.reading import AuditEntry

_COLUMNS = (
    "sequence",
    "time",
    "actor",
    "origin",
    "action",
    "outcome",
    "object_kind",
    "object_key",
    "object",
    "study",
    "subject",
    "details",
    "previous",
    "hash",
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def row_of(entry: AuditEntry) -> dict[str, str | int | None]:
    """A record with all that its hash is made of, and what its object is where that is known."""
    return {
        **asdict(entry.record),
        "object": entry.object_id,
        "study": entry.study,
        "subject": entry.subject,
    }


def _json(entries: Iterable[AuditEntry]) -> Iterator[str]:
    for entry in entries:
        yield json.dumps(row_of(entry), separators=(",", ":"), ensure_ascii=False) + "\n"


def _csv(entries: Iterable[AuditEntry]) -> Iterator[str]:
    line = io.StringIO()
    table = csv.writer(line, quoting=csv.QUOTE_ALL)
    table.writerow(_COLUMNS)
    for entry in entries:
        row = row_of(entry)
        table.writerow(_cell(row[column]) for column in _COLUMNS)
        yield line.getvalue()
        line.seek(0)
        line.truncate()
    yield line.getvalue()


def _cell(value: str | int | None) -> str | int:
    """An apostrophe before what a spreadsheet would run as a formula."""
    if isinstance(value, str) and value.startswith(_FORMULA):
        return "'" + value
    return "" if value is None else value


def _dicom(entries: Iterable[AuditEntry]) -> Iterator[str]:
    for entry in entries:
        yield message(entry) + "\n"


_WRITERS: dict[str, Callable[[Iterable[AuditEntry]], Iterator[str]]] = {
    "json": _json,
    "csv": _csv,
    "dicom": _dicom,
}
FORMATS = tuple(_WRITERS)
"""json, csv and dicom."""


def export_lines(entries: Iterable[AuditEntry], format_name: str) -> Iterator[str]:
    """The text of an export, piece by piece; `format_name` is one of `FORMATS`.

    DICOM messages come as one XML document a line.
    """
    return _WRITERS[format_name](entries)
