"""`imarium audit`: the record of who did what, on the machine that holds it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from imarium.archive import Archive
from imarium.audit import (
    Action,
    AuditEntry,
    AuditFilter,
    Checkpoint,
    ObjectKind,
    Outcome,
    Verified,
    export_lines,
)
from imarium.audit.exporting import FORMATS, row_of
from imarium.errors import InvalidRequestError, StorageError
from imarium.faces.cli.options import AsJson, Home, settings_of
from imarium.faces.cli.output import console, emit, say, shown, warn
from imarium.faces.cli.recording import LOCAL, actor, record

audits = typer.Typer(help="The record of who did what.", no_args_is_help=True)

Who = Annotated[str | None, typer.Option("--actor", help="Name of an account, or os:NAME.")]
Did = Annotated[Action | None, typer.Option("--action", help="What was done.")]
Ended = Annotated[Outcome | None, typer.Option("--outcome", help="How it ended.")]
About = Annotated[
    str | None,
    typer.Option(
        "--object", help="KIND:ID, like series:1.2.3 or subject:S-12ab, with all that is part of it."
    ),
]
Key = Annotated[str | None, typer.Option("--object-key", help="The same by its key, after it was erased.")]
Since = Annotated[str | None, typer.Option("--since", help="UTC, like 2026-01-31 or 2026-01-31T12:00.")]
Until = Annotated[str | None, typer.Option("--until", help="UTC; this moment not among them.")]


def _filter(
    who: str | None,
    did: Action | None,
    ended: Outcome | None,
    about: str | None,
    key: str | None,
    since: str | None,
    until: str | None,
) -> AuditFilter:
    kind: ObjectKind | None = None
    identifier: str | None = None
    if about is not None:
        name, separator, identifier = about.partition(":")
        try:
            kind = ObjectKind(name)
        except ValueError as error:
            kinds = ", ".join(item.value for item in ObjectKind if item.value)
            raise InvalidRequestError(f"an object is KIND:ID, and kinds are {kinds}") from error
        if not separator or not identifier:
            raise InvalidRequestError("an object is KIND:ID, like series:1.2.3")
    return AuditFilter(who, did, ended, kind, identifier, key, since, until)


@audits.command("list")
def list_records(
    who: Who = None,
    did: Did = None,
    ended: Ended = None,
    about: About = None,
    key: Key = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="The newest so many.")] = 50,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Show records, the newest first."""
    wanted = _filter(who, did, ended, about, key, since, until)
    with Archive(settings_of(home)) as archive:
        found = archive.audit.entries(wanted, limit=limit)
        record(archive, Action.AUDIT_READ, details={"records": len(found)})
    if as_json:
        for entry in found:
            emit(dict(row_of(entry)))
        return
    table = Table("number", "time", "who", "from", "what", "object", "outcome")
    for entry in found:
        item = entry.record
        table.add_row(
            str(item.sequence),
            item.time[:19],
            _cell(item.actor or "(nobody)"),
            _cell(item.origin),
            item.action,
            _cell(_object(entry)),
            item.outcome,
        )
    console.print(table if found else "There are no such records.")


def _object(entry: AuditEntry) -> str:
    kind, key = entry.record.object_kind, entry.record.object_key
    return f"{kind} {entry.object_id or f'({key})'}" if key else ""


def _cell(text: str) -> Text:
    return Text(shown(text))


@audits.command()
def verify(
    head: Annotated[
        list[Path] | None, typer.Option("--head", help="File of `imarium audit head`, kept elsewhere.")
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Check every record and the end of the chain. Exit status 1 if anything is wrong."""
    heads = [_head(path) for path in head or []]
    with Archive(settings_of(home)) as archive:
        found = archive.audit.verify(heads)
        record(archive, Action.AUDIT_VERIFIED, details={"problems": found.count, "records": found.records})
    _tell(found, as_json)
    if not found.sound:
        raise typer.Exit(1)


def _head(path: Path) -> Checkpoint:
    try:
        return Checkpoint.from_json(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequestError("the file of a head cannot be read") from error


def _tell(found: Verified, as_json: bool) -> None:
    if as_json:
        problems = [{"sequence": item.sequence, "message": item.message} for item in found.problems]
        emit(
            {
                "sound": found.sound,
                "records": found.records,
                "last": found.last,
                "hash": found.hash,
                "count": found.count,
                "problems": problems,
            }
        )
        return
    for problem in found.problems:
        warn(problem.message)
    if found.count > len(found.problems):
        warn(f"and {found.count - len(found.problems)} further problems")
    say(f"checked {found.records} records, {found.count} problems; the last is {found.last} {found.hash}")


@audits.command()
def head(home: Home = None, as_json: AsJson = False) -> None:
    """Print the signed end of the chain. Kept elsewhere, it finds a home folder that was set back."""
    with Archive(settings_of(home)) as archive:
        found = archive.audit.head()
    if as_json:
        emit(json.loads(found.to_json()))
    else:
        sys.stdout.write(found.to_json() + "\n")


@audits.command()
def renew(
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without it, only say what is wrong.")] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Sign what is there now, after a finding that was looked into. A record says that this was done."""
    with Archive(settings_of(home)) as archive:
        found = archive.audit.renew(actor(), LOCAL) if yes else archive.audit.verify()
    _tell(found, as_json)
    if not as_json:
        say("signed as it is" if yes else "nothing was signed; add --yes to sign what is there")


@audits.command()
def export(
    format_name: Annotated[
        str, typer.Option("--format", help="json, csv or dicom (audit messages, PS3.15).")
    ],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="File; else standard output.")] = None,
    who: Who = None,
    did: Did = None,
    ended: Ended = None,
    about: About = None,
    key: Key = None,
    since: Since = None,
    until: Until = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Write records in the order of the chain; DICOM's messages as one XML document a line."""
    if format_name not in FORMATS:
        raise InvalidRequestError(f"formats are {', '.join(FORMATS)}, not {format_name!r}")
    wanted = _filter(who, did, ended, about, key, since, until)
    with Archive(settings_of(home)) as archive:
        lines = export_lines(archive.audit.all_entries(wanted), format_name)
        count = 0
        if output is None:
            for line in lines:
                sys.stdout.write(line)
        else:
            try:
                with output.open("w", encoding="utf-8", newline="") as file:
                    for count, line in enumerate(lines, 1):  # noqa: B007 - the last is told
                        file.write(line)
            except OSError as error:
                raise StorageError(f"the export cannot be written: {error.strerror}") from error
        record(archive, Action.AUDIT_READ, details={"format": format_name})
    if output is None:
        return
    if as_json:
        emit({"path": str(output), "lines": count})
    else:
        say(f"wrote {output} ({count} lines)")
