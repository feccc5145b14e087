"""`imarium label`: labels from the command line, or from a table."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Annotated

import typer

from imarium.errors import InvalidRequestError
from imarium.faces.cli.options import AsJson, Home, Server, acting_on
from imarium.faces.cli.output import emit, say, warn
from imarium.model import Selection, checked_labels

_ROWS_AT_ONCE = 1000
_LONG = {"series", "key", "value"}

Change = tuple[Selection, dict[str, str | None]]


def label(
    selection: Annotated[
        str | None, typer.Argument(help='Like "chest modality=CT" or series=UID, in quotes.')
    ] = None,
    labels: Annotated[list[str] | None, typer.Argument(help="KEY=VALUE; KEY= removes the label.")] = None,
    table: Annotated[
        Path | None,
        typer.Option(
            "--csv", help="Columns series, key and value; or series and one column a key. UTF-8, with commas."
        ),
    ] = None,
    home: Home = None,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Set labels of series. Exit status 1 if the table names series that are not there."""
    labelled: set[str] = set()
    unknown: dict[str, None] = {}
    with acting_on(home, server) as backend:
        if table is None:
            (count,) = backend.label([_change(selection, labels)])
        elif selection is not None:
            raise InvalidRequestError("name series and labels, or a table of them with --csv, not both")
        else:
            for changes in _batches(table):
                for (chosen, _), found in zip(changes, backend.label(changes), strict=True):
                    (uid,) = chosen.series
                    if found:
                        labelled.add(uid)
                    else:
                        unknown[uid] = None
            count = len(labelled)
    if as_json:
        emit({"labelled": count, "unknown": list(unknown)})
    else:
        for uid in unknown:
            warn(f"unknown series {uid}")
        say(f"labelled {count} series")
    if unknown:
        raise typer.Exit(1)


def _change(selection: str | None, labels: list[str] | None) -> Change:
    chosen = Selection.parse(selection or "")
    if chosen.is_everything:
        raise InvalidRequestError("name what to label: series=UID, or collection=NAME and more")
    change: dict[str, str | None] = {}
    for item in labels or []:
        key, separator, value = item.partition("=")
        if not separator or key in change:
            raise InvalidRequestError(
                "a label is KEY=VALUE like class=covid, or KEY= to remove it, each key once"
            )
        change[key] = value or None
    return chosen, change


def _batches(path: Path) -> Iterator[list[Change]]:
    """The rows of a table, some at a time. Raises InvalidRequestError, naming the row."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = _rows(file)
            while group := list(islice(rows, _ROWS_AT_ONCE)):
                yield group
    except OSError as error:
        raise InvalidRequestError(f"the table cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidRequestError("the table is not what was expected: CSV in UTF-8, with commas") from error


def _rows(file: IO[str]) -> Iterator[Change]:
    table = csv.DictReader(file)
    names = table.fieldnames or []
    if "series" not in names or len(names) < 2 or len(set(names)) < len(names):
        raise InvalidRequestError(
            "the table begins with a row of names, once each: series, and keys of labels"
        )
    for number, row in enumerate(table, 2):
        if None in row or None in row.values():
            raise InvalidRequestError(f"row {number} of the table has more or fewer cells than the first")
        uid = row.pop("series").strip()
        cells = {row["key"]: row["value"]} if set(names) == _LONG else row
        labels = {key.strip(): value.strip() for key, value in cells.items() if value.strip()}
        if not labels:
            continue
        try:
            yield Selection(series=(uid,)), {**checked_labels(labels)}
        except InvalidRequestError as error:
            raise InvalidRequestError(f"row {number} of the table: {error}") from error
