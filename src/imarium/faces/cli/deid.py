"""`imarium deid`: de-identify files without a server, and ask the custodian's table."""

from __future__ import annotations

import getpass
import secrets
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from imarium.archive import Archive
from imarium.audit import Action, ObjectKind
from imarium.deid.keys import KEY_BYTES, make_key, read_key, subkeys
from imarium.deid.linking import LinkingTable
from imarium.deid.pipeline import Outcome, Status, Work, run
from imarium.deid.pixels.blanking import blank_text
from imarium.deid.pixels.finding import find_text
from imarium.deid.policy_file import load, names, text_of
from imarium.deid.report import Report, check_names
from imarium.deid.text_in_pixels import TextInPixels
from imarium.errors import InvalidRequestError, NotFoundError
from imarium.faces.cli.options import AsJson, Home, settings_of
from imarium.faces.cli.output import console, emit, files_progress, say, shown, warn
from imarium.faces.cli.recording import record, recorded
from imarium.formats import Refusal
from imarium.formats._shared import replacing
from imarium.ingest.scan import scan


class _PathsFirst(TyperGroup):
    """Takes `imarium deid PATH...` for `imarium deid run PATH...`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the name of the command in front where it is missing."""
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


deid = typer.Typer(
    cls=_PathsFirst,
    help="De-identify files without a server: `imarium deid PATH... -o OUT`.",
    no_args_is_help=True,
)

Key = Annotated[
    Path | None,
    typer.Option(help="The custodian's key file (`imarium deid key FILE` makes one); keep it elsewhere."),
]
LinkTable = Annotated[
    Path | None, typer.Option("--table", help="The custodian's table; else KEY with the ending .linking.")
]
Collection = Annotated[
    str, typer.Option(help="Pseudonyms and shifts are the same within a collection, and others elsewhere.")
]


@deid.callback()
def _group() -> None:
    """De-identify files without a server: `imarium deid PATH... -o OUT`."""


@deid.command("run")
def run_command(
    paths: Annotated[list[Path], typer.Argument(help="Files and folders, of any mix of formats.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the copies.")],
    policy: Annotated[
        str, typer.Option(help="Name of a policy (`imarium deid policies`), or a YAML file.")
    ] = "basic",
    report: Annotated[
        list[Path] | None, typer.Option(help="Write what was done here: .json, .csv or .html; repeatable.")
    ] = None,
    key: Key = None,
    table: LinkTable = None,
    collection: Collection = "",
    processes: Annotated[
        int | None, typer.Option(min=1, help="How many processes; else one a processor.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """De-identify files into a folder. Exit status 1 if anything was refused or awaits review.

    Without --key a key is drawn and forgotten: nobody can tell later who was who.
    """
    chosen = load(policy)
    check_names(report or [])
    if table is not None and key is None:
        raise InvalidRequestError("--table needs --key: without a key nothing could be looked up in it")
    secret = read_key(key) if key is not None else secrets.token_bytes(KEY_BYTES)
    links = _table(key, table, collection) if key is not None else None
    if any(_inside(output, path) for path in paths):
        raise InvalidRequestError("the output folder may not lie inside what is read")
    found, refusals = _found(paths)
    told = Report(chosen)
    for refusal in refusals:
        told.files[Status.REFUSED] += 1
        told.refused.append((0, refusal.error.code, str(refusal.error)))
        _show(as_json, path=str(refusal.path), status=Status.REFUSED, reason=str(refusal.error))
    work = Work(chosen, secret, output, collection, pixels=TextInPixels(find_text, blank_text))
    with files_progress(as_json, len(found)) as advance:
        for outcome in run(work, found, processes):
            _add(told, outcome)
            if links is not None and outcome.subject and outcome.original:
                links.add("subject", {outcome.subject: outcome.original})
                links.add("uid", outcome.uids)
            _show(
                as_json,
                path=str(outcome.path),
                status=outcome.status,
                copy=outcome.name,
                reason=_why(outcome),
            )
            advance()
    for path in report or []:
        with replacing(path) as stream:
            stream.write(told.text(path.suffix.lower()).encode())
    if not as_json:
        _print(told)
    if told.files[Status.REFUSED] or told.files[Status.REVIEW]:
        raise typer.Exit(1)


@deid.command("key")
def key_command(
    file: Annotated[Path, typer.Argument(help="A new file, on a disk apart from the data.")],
    as_json: AsJson = False,
) -> None:
    """Make a custodian's key. Whoever has it can repeat pseudonyms; without it nobody can."""
    make_key(file)
    if as_json:
        emit({"key": str(file)})
    else:
        say(f"wrote {file}; keep it apart from the data, and a copy of it in a safe")


@deid.command("reveal")
def reveal_command(
    pseudonym: Annotated[str, typer.Argument(help="A pseudonym, or the UID of a study or series.")],
    key: Annotated[Path, typer.Option(help="The custodian's key file.")],
    table: LinkTable = None,
    collection: Collection = "",
    as_json: AsJson = False,
) -> None:
    """Tell what a pseudonym stands for. Every question is recorded in the table."""
    path = _table_path(key, table)
    if not path.is_file():
        raise NotFoundError(f"there is no table {path}; --table says where it is")
    original = _table(key, table, collection).reveal(pseudonym, getpass.getuser())
    if as_json:
        emit({"pseudonym": pseudonym, "kind": original.kind, "original": original.value})
    else:
        say(original.value)


@deid.command("policies")
def policies_command(
    name: Annotated[str | None, typer.Argument(help="Print this one, as a start for your own.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the policies that come with Imarium, or print one."""
    if name is not None:
        load(name)
        if name not in names():
            raise NotFoundError(f"no policy {name!r} comes with Imarium; `imarium deid policies` lists them")
        text = text_of(name)
        if as_json:
            emit({"name": name, "text": text})
        else:
            console.print(text, markup=False, end="")
        return
    listed = Table("policy", "about")
    for known in names():
        about = " ".join(load(known).about.split())
        listed.add_row(known, about)
        if as_json:
            emit({"name": known, "about": about})
    if not as_json:
        console.print(listed)


@deid.command("demand")
def demand_command(
    collection: Annotated[
        str, typer.Argument(help="Made if missing; one that holds series already is refused.")
    ],
    policy: Annotated[str, typer.Argument(help="Name of a policy, or a YAML file.")],
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Have a collection take in nothing that did not pass a policy."""
    with (
        Archive(settings_of(home)) as archive,
        recorded(archive, Action.POLICY_CHANGED, ObjectKind.COLLECTION, collection) as details,
    ):
        digest = details["policy"] = archive.gate.demand(collection, text_of(policy), getpass.getuser())
    if as_json:
        emit({"collection": collection, "policy": load(policy).name, "digest": digest})
    else:
        say(f"{collection} demands {load(policy).name}")


@deid.command("quarantine")
def quarantine_command(
    collection: Annotated[str | None, typer.Argument(help="Only this collection.")] = None,
    decided: Annotated[bool, typer.Option("--decided", help="Those too that were decided.")] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """List what waits in the quarantine, and why."""
    listed = Table("number", "collection", "bytes", "state", "why")
    with Archive(settings_of(home)) as archive:
        for row in archive.gate.waiting(collection, None if decided else "waiting"):
            listed.add_row(str(row.id), Text(shown(row.collection)), str(row.size), row.state, row.reason)
            if as_json:
                facts = asdict(row)
                facts["came"] = row.came.isoformat()
                facts["decided"] = row.decided.isoformat() if row.decided else None
                emit(facts)
    if not as_json:
        console.print(listed if listed.row_count else "Nothing waits.")


@deid.command("release")
def release_command(
    number: Annotated[int, typer.Argument(help="Number in the quarantine, at whose file you looked.")],
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Have a file pass the gate again and take it in. Exit status 1 if it stays in the quarantine."""
    stayed = False
    with Archive(settings_of(home)) as archive, recorded(archive, Action.QUARANTINE_DECIDED) as details:
        details |= {"number": number, "decision": "release"}
        for outcome in archive.ingest.release(number, getpass.getuser()):
            stayed |= outcome.series is None
            if outcome.series is not None:
                record(archive, Action.STORED, ObjectKind.SERIES, outcome.series)
            if as_json:
                emit({"number": number, "status": outcome.status, "reason": outcome.reason})
            else:
                say(f"{number}: {outcome.status}{f', {outcome.reason}' if outcome.reason else ''}")
    if stayed:
        raise typer.Exit(1)


@deid.command("discard")
def discard_command(
    number: Annotated[int, typer.Argument(help="Number in the quarantine.")],
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Remove a file from the quarantine for good."""
    with Archive(settings_of(home)) as archive, recorded(archive, Action.QUARANTINE_DECIDED) as details:
        details |= {"number": number, "decision": "discard"}
        archive.gate.discard(number, getpass.getuser())
    if as_json:
        emit({"number": number, "status": "discarded"})
    else:
        say(f"{number}: discarded")


def _table_path(key: Path, table: Path | None) -> Path:
    return table or key.with_name(f"{key.name}.linking")


def _table(key: Path, table: Path | None, collection: str) -> LinkingTable:
    return LinkingTable(_table_path(key, table), subkeys(read_key(key), collection).table)


def _inside(output: Path, path: Path) -> bool:
    return path.is_dir() and output.resolve().is_relative_to(path.resolve())


def _found(paths: list[Path]) -> tuple[list[Path], list[Refusal]]:
    found: list[Path] = []
    refusals: list[Refusal] = []
    for item in scan(paths):
        if isinstance(item, Refusal):
            refusals.append(item)
        else:
            found.append(item)
    return found, refusals


def _add(told: Report, outcome: Outcome) -> None:
    told.files[outcome.status] += 1
    for (attribute, action), count in outcome.counts.items():
        told.elements[outcome.format, attribute, action] += count
    if outcome.subject:
        told.subjects.add(outcome.subject)
    if outcome.status is Status.REFUSED:
        told.refused.append((outcome.number, outcome.code, outcome.reason))
    if outcome.review:
        told.review.append((outcome.number, outcome.name, outcome.review))


def _why(outcome: Outcome) -> str | None:
    return outcome.reason or "; ".join(outcome.review) or None


def _show(as_json: bool, **line: object) -> None:
    if as_json:
        emit(line)
    elif line["status"] is Status.REFUSED:
        warn(f"refused {line['path']}: {line['reason']}")
    elif line["status"] is Status.REVIEW:
        warn(f"to be looked at: {line['copy']}: {line['reason']}")


def _print(told: Report) -> None:
    counts = told.files
    console.print(
        f"released {counts[Status.RELEASED]} files of {len(told.subjects)} subjects, released before "
        f"{counts[Status.KNOWN]}, to be looked at {counts[Status.REVIEW]}, refused {counts[Status.REFUSED]}"
    )
