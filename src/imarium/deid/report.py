"""What a de-identification did, for whoever has to answer for it: attributes, actions and counts, no values.

Files are called by their number in the order in which they were found, since their names may identify.
"""

from __future__ import annotations

import csv
import html
import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from imarium.deid.policy import Policy
from imarium.deid.standard import EDITION, METHOD_CODES
from imarium.errors import InvalidRequestError
from imarium.version import VERSION

FORMATS = (".json", ".csv", ".html")


@dataclass(slots=True)
class Report:
    """Grows with every file; written at the end."""

    policy: Policy
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    files: Counter[str] = field(default_factory=Counter)
    """Status (released, known, refused, review) to files."""
    elements: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """(format, attribute, what was done) to how often."""
    refused: list[tuple[int, str, str]] = field(default_factory=list)
    """(number of the file, code of the error, reason)."""
    review: list[tuple[int, str, tuple[str, ...]]] = field(default_factory=list)
    """(number of the file, name of the copy, reasons)."""
    subjects: set[str] = field(default_factory=set)

    def facts(self) -> dict[str, object]:
        """Everything, ready for JSON."""
        return {
            "policy": self.policy.name,
            "imarium": VERSION,
            "standard": f"DICOM PS3.15 {EDITION}",
            "started": self.started,
            "methods": [
                {"code": METHOD_CODES[name][0], "meaning": METHOD_CODES[name][1]}
                for name in self.policy.methods()
            ],
            "files": {name: self.files[name] for name in ("released", "known", "review", "refused")},
            "subjects": len(self.subjects),
            "elements": [
                {"format": kind, "attribute": attribute, "action": action, "count": count}
                for (kind, attribute, action), count in sorted(self.elements.items())
            ],
            "refused": [
                {"file": number, "code": code, "reason": reason} for number, code, reason in self.refused
            ],
            "review": [
                {"file": number, "copy": name, "reasons": list(reasons)}
                for number, name, reasons in self.review
            ],
        }

    def text(self, suffix: str) -> str:
        """The report as `.json`, `.csv` (of elements) or `.html`."""
        writers = {".json": self._json, ".csv": self._csv, ".html": self._html}
        return writers[suffix]()

    def _json(self) -> str:
        return json.dumps(self.facts(), indent=1) + "\n"

    def _csv(self) -> str:
        buffer = io.StringIO(newline="")
        writer = csv.writer(buffer)
        writer.writerow(("format", "attribute", "action", "count"))
        for (kind, attribute, action), count in sorted(self.elements.items()):
            writer.writerow((kind, attribute, action, count))
        return buffer.getvalue()

    def _html(self) -> str:
        facts = self.facts()
        counts: Mapping[str, int] = facts["files"]  # type: ignore[assignment]
        reasons = Counter(reason for _, _, reason in self.refused)
        numbers: dict[str, list[int]] = {}
        for number, _, reason in self.refused:
            numbers.setdefault(reason, []).append(number)
        parts = [
            "<!doctype html><html lang=en><meta charset=utf-8><title>De-identification</title>",
            "<style>body{font:16px/1.5 system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem}"
            "table{border-collapse:collapse}td,th{border-bottom:1px solid #8884;padding:.2rem .8rem;"
            "text-align:left}</style>",
            f"<h1>De-identification with the policy {html.escape(self.policy.name)}</h1>",
            f"<p>Imarium {html.escape(VERSION)}, {facts['standard']}, started {self.started}. "
            f"{counts['released']} files released, {counts['known']} released before, "
            f"{counts['review']} await review, {counts['refused']} refused; {len(self.subjects)} subjects."
            "<h2>Methods</h2><ul>",
            *(
                f"<li>{code} {html.escape(meaning)}"
                for code, meaning in (METHOD_CODES[name] for name in self.policy.methods())
            ),
            "</ul><h2>What was done</h2>",
            _table(
                ("format", "attribute", "action", "count"),
                [(*key, str(count)) for key, count in sorted(self.elements.items())],
            ),
        ]
        if self.refused:
            rows = [
                (reason, str(count), ", ".join(map(str, numbers[reason][:20])))
                for reason, count in reasons.most_common()
            ]
            parts += ["<h2>Refused</h2>", _table(("reason", "files", "numbers of the first"), rows)]
        if self.review:
            looks = [(name, "; ".join(reasons)) for _, name, reasons in self.review]
            parts += ["<h2>To be looked at</h2>", _table(("copy", "why"), looks)]
        return "\n".join(parts) + "\n"


def check_names(paths: list[Path]) -> None:
    """Raise InvalidRequestError for a report whose name tells no format."""
    for path in paths:
        if path.suffix.lower() not in FORMATS:
            raise InvalidRequestError(f"a report is named .json, .csv or .html, not {path.name!r}")


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    cells = ["<table><tr>", *(f"<th>{html.escape(head)}" for head in heads)]
    for row in rows:
        cells.append("<tr>")
        cells.extend(f"<td>{html.escape(cell)}" for cell in row)
    cells.append("</table>")
    return "".join(cells)
