"""The commands. Each opens a backend, calls it and prints; rules live in the services."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Any, NoReturn, Protocol

import typer
from rich.table import Table
from rich.text import Text

from imarium import samples as sample_data
from imarium.access.accounts import ADMINISTRATOR
from imarium.archive import Archive
from imarium.audit import Action, ObjectKind
from imarium.client import Client
from imarium.codec import Tier
from imarium.errors import ImariumError, InvalidRequestError, NotFoundError
from imarium.faces.cli.audits import audits
from imarium.faces.cli.backends import ExportRequest, save_token
from imarium.faces.cli.catalogs import catalog
from imarium.faces.cli.deid import deid
from imarium.faces.cli.downloads import download
from imarium.faces.cli.erasing import erase
from imarium.faces.cli.export_hf import export_hf
from imarium.faces.cli.labels import label
from imarium.faces.cli.manifests import manifest
from imarium.faces.cli.options import AsJson, Home, Server, acting_on, settings_of
from imarium.faces.cli.output import (
    console,
    emit,
    errors,
    ingest_progress,
    print_summary,
    say,
    shown,
    warn,
)
from imarium.faces.cli.packs import packs
from imarium.faces.cli.people import access, agreements, roles
from imarium.faces.cli.recording import record
from imarium.faces.cli.reports import report
from imarium.faces.cli.saved import saved
from imarium.faces.cli.search import search
from imarium.faces.cli.users import tokens, users
from imarium.formats import EXPORTS
from imarium.formats.delivery import size_of
from imarium.ingest import Status, Summary
from imarium.model import parse_labels
from imarium.version import VERSION
from imarium.wording import size_text

app = typer.Typer(
    name="imarium",
    help="An open medical image database: one lossless copy, any resolution, any format.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(packs, name="pack")
app.add_typer(audits, name="audit")
app.add_typer(saved, name="saved")
app.add_typer(deid, name="deid")
app.add_typer(catalog, name="catalog")
app.add_typer(users, name="user")
app.add_typer(tokens, name="token")
app.add_typer(roles, name="role")
app.add_typer(access, name="access")
app.add_typer(agreements, name="agreement")
app.command()(manifest)
app.command()(download)
app.command()(erase)
app.command("export-hf")(export_hf)
app.command()(label)
app.command()(report)
app.command()(search)


class RunnableServer(Protocol):
    """What `imarium serve` needs of the HTTP face."""

    @property
    def url(self) -> str:
        """The address."""

    @property
    def open_reading(self) -> bool:
        """Whether reading what is not restricted needs no login."""

    def run(self) -> None:
        """Answer until stopped."""


Listening = Callable[
    [Archive, str, int, tuple[str, ...], bool | None], AbstractContextManager[RunnableServer]
]

SeriesUid = Annotated[str, typer.Argument(help="UID of a series; `imarium ls` lists them.")]
_INTERRUPTED = 130
_UsageError: Any = typer.BadParameter.__mro__[1]
"""Base of all errors of usage; typer brings its own click and exports only this child."""
FORMATS = sorted({name for names in EXPORTS.values() for name in names})


@app.command()
def ingest(
    paths: Annotated[list[Path], typer.Argument(help="Files and folders, of any mix of formats.")],
    collection: Annotated[str, typer.Option(help="Where they belong; made if missing.")] = "default",
    tier: Annotated[
        Tier,
        typer.Option(help="archive: smallest (JPEG XL), for images that are rarely read; slow to take in."),
    ] = Tier.FAST,
    label: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE for all series; may be repeated.")
    ] = None,
    home: Home = None,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Take files and folders in. Exit status 1 if anything was refused."""
    summary, labels = Summary(), parse_labels(label or [])
    with acting_on(home, server) as backend, ingest_progress(as_json) as observer:
        for outcome in backend.ingest(paths, collection, observer, tier, labels):
            summary.add(outcome)
            if as_json:
                emit(
                    {
                        "path": str(outcome.path),
                        "status": outcome.status,
                        "series": outcome.series,
                        "reason": outcome.reason,
                    }
                )
            elif outcome.status is Status.REFUSED:
                warn(f"refused {outcome.path}: {outcome.reason}")
    if not as_json:
        print_summary(summary)
    if summary.files[Status.REFUSED]:
        raise typer.Exit(1)


@app.command("ls")
def list_series(
    collection: Annotated[str | None, typer.Option(help="Only this collection.")] = None,
    home: Home = None,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """List all series."""
    listed = 0
    table = Table("series", "collection", "modality", "shape", "type", "levels", "format", "before", "after")
    with acting_on(home, server) as backend:
        for item in backend.list_series(collection):
            listed += 1
            if as_json:
                emit(_listed(item))
                continue
            table.add_row(
                item["uid"],
                _cell(item["collection"]),
                _cell(item["modality"] or ""),
                "x".join(str(side) for side in item["shape"]),
                item["dtype"],
                str(item["levels"]),
                item["format"],
                size_text(item["source_bytes"]),
                size_text(item["stored_bytes"]),
            )
        if not listed and collection is not None and collection not in backend.collections():
            raise NotFoundError(f"there is no collection {collection!r}; `imarium ls` shows them all")
    if not as_json:
        table.columns[0].no_wrap = True
        empty = "Nothing is stored yet; `imarium ingest PATH...` takes images in."
        console.print(table if table.row_count else empty)


def _cell(text: str) -> Text:
    return Text(shown(text))


def _listed(item: dict[str, Any]) -> dict[str, Any]:
    return {
        "series": item["uid"],
        "collection": item["collection"],
        "study": item["study_uid"],
        "modality": item["modality"],
        "description": item["description"],
        "shape": item["shape"],
        "dtype": item["dtype"],
        "levels": item["levels"],
        "source_format": item["format"],
        "source_bytes": item["source_bytes"],
        "stored_bytes": item["stored_bytes"],
        "labels": item["labels"],
    }


@app.command()
def show(series: SeriesUid, home: Home = None, server: Server = None, as_json: AsJson = False) -> None:
    """Show one series: geometry, levels and what each costs."""
    with acting_on(home, server) as backend:
        item = backend.show(series)
    if as_json:
        emit({"series": item.pop("uid"), **item})
        return
    for name in ("collection", "modality", "description", "format", "dtype", "photometric", "lane"):
        if item[name] is not None:
            say(f"{name:12} {item[name]}")
    console.print(f"{'shape':12} {'x'.join(str(side) for side in item['shape'])} (frames, rows, columns)")
    if item["spacing"]:
        spacing = " x ".join(f"{value:.4g}" for value in item["spacing"])
        console.print(f"{'spacing':12} {spacing} mm (slice, row, column)")
    console.print(f"{'exports':12} {', '.join(item['exports'])}")
    for key, value in item["labels"].items():
        say(f"{'label':12} {key}={value}")
    for note in item["notes"]:
        say(f"{'note':12} {note}")
    whole = item["level_details"][0]["bytes"]
    table = Table("level", "rows x columns", "bytes", "of the whole")
    for level in item["level_details"]:
        table.add_row(
            str(level["level"]),
            f"{level['rows']}x{level['columns']}",
            size_text(level["bytes"]),
            f"{100 * level['bytes'] / whole:.1f} %",
        )
    console.print(table)


@app.command()
def get(
    series: SeriesUid,
    output: Annotated[
        str | None, typer.Option("-o", "--output", help="File; a folder where several files come.")
    ] = None,
    format_name: Annotated[
        str, typer.Option("--format", help="dicom, nifti, png, npy or ome-zarr.")
    ] = "nifti",
    level: Annotated[int | None, typer.Option(help="0 is the full resolution; k halves it k times.")] = None,
    size: Annotated[
        str | None, typer.Option(help="Shorter side in pixels, or ROWSxCOLUMNS; from the smallest level.")
    ] = None,
    window: Annotated[str | None, typer.Option(help="CENTER,WIDTH for PNG, in HU for CT.")] = None,
    full_range: Annotated[bool, typer.Option(help="PNG: 16-bit stored values, no window.")] = False,
    transfer_syntax: Annotated[
        str | None, typer.Option(help="DICOM: explicit (uncompressed, the default) or htj2k.")
    ] = None,
    even: Annotated[
        bool, typer.Option(help="NIfTI, NPY, OME-Zarr: resample tilted or uneven slices to an even grid.")
    ] = False,
    home: Home = None,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Write a series in a format, at a level or a size."""
    if format_name not in FORMATS:
        raise InvalidRequestError(f"formats are {', '.join(FORMATS)}, not {format_name!r}")
    request = ExportRequest(series, format_name, level, size, window, full_range, transfer_syntax, even)
    notes: list[str] = []
    with acting_on(home, server) as backend:
        files = backend.export(request, output, notes.append)
    for note in notes:
        warn(f"note: {note}")
    if as_json:
        for file in files:
            emit({"series": series, "path": str(file), "bytes": size_of(file)})
    else:
        total = size_text(sum(size_of(file) for file in files))
        what = str(files[0]) if len(files) == 1 else f"{len(files)} files in {files[0].parent}"
        say(f"wrote {what} ({total})")


@app.command()
def verify(home: Home = None, server: Server = None, as_json: AsJson = False) -> None:
    """Re-read every pack and check every digest. Exit status 1 if anything is damaged."""
    checked = damaged = 0
    with acting_on(home, server) as backend:
        for outcome in backend.verify():
            checked += 1
            damaged += outcome.error is not None
            if as_json:
                emit(
                    {
                        "series": outcome.series,
                        "frames": outcome.frames,
                        "ok": outcome.error is None,
                        "error": outcome.error,
                    }
                )
            elif outcome.error:
                warn(f"damaged {outcome.series}: {outcome.error}")
    if not as_json:
        console.print(f"checked {checked} series, {damaged} damaged")
    if damaged:
        raise typer.Exit(1)


@app.command()
def samples(home: Home = None, as_json: AsJson = False) -> None:
    """Take in the sample data, unless the home folder holds collections already."""
    with Archive(settings_of(home)) as archive:
        if not sample_data.needed(archive):
            if not as_json:
                console.print("sample data: nothing to do")
            return
        with ingest_progress(as_json) as observer:
            summary = sample_data.take_in(archive, (lambda _: None) if as_json else console.print, observer)
        record(archive, Action.INGESTED, details={"taken": summary.files[Status.TAKEN]})
    if as_json:
        emit({"taken": summary.files[Status.TAKEN], "known": summary.files[Status.KNOWN]})
    else:
        console.print(
            f"sample data: {len(summary.series)} series, {size_text(summary.source_bytes)} before, "
            f"{size_text(summary.stored_bytes)} after; {summary.files[Status.REFUSED]} files without "
            "pixels or broken on purpose were left out"
        )


@app.command()
def serve(
    context: typer.Context,
    host: Annotated[str, typer.Option(help="Address to listen on; the default is this machine alone.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    name: Annotated[
        list[str] | None,
        typer.Option(help="A further host name to answer to; may be repeated."),
    ] = None,
    open_reading: Annotated[
        bool | None,
        typer.Option(
            help="Whether what is not restricted is read without a login; unless said, only where nobody but "
            "this machine can ask."
        ),
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Serve the page and the API until stopped."""
    listening: Listening = context.obj
    archive = Archive(settings_of(home))
    with listening(archive, host, port, tuple(name or ()), open_reading) as server:
        password = archive.accounts.ensure_administrator()
        if as_json:
            emit(
                {
                    "url": server.url,
                    "username": ADMINISTRATOR,
                    "password": password,
                    "open_reading": server.open_reading,
                }
            )
        else:
            console.print(f"Imarium serves {server.url} (stop with Ctrl+C)", markup=False)
            if not server.open_reading:
                console.print("Reading needs a login too, but for what is public.")
            if password is not None:
                console.print(f"user name {ADMINISTRATOR}, password {password}", markup=False)
                console.print("This password is shown once; `imarium reset-password` makes a new one.")
        server.run()


@app.command()
def login(
    server: Annotated[str, typer.Option("--server", envvar="IMARIUM_SERVER")] = "http://127.0.0.1:8000",
    username: Annotated[str, typer.Option(prompt=True)] = "admin",
    password: Annotated[str, typer.Option(prompt=True, hide_input=True, envvar="IMARIUM_PASSWORD")] = "",
    as_json: AsJson = False,
) -> None:
    """Log in to a server; later commands with --server use the login."""
    with Client(server) as client:
        path = save_token(server, client.login(username, password))
    if as_json:
        emit({"server": server, "username": username, "kept_in": str(path)})
    else:
        say(f"logged in as {username}; the token is kept in {path}")


@app.command("reset-password")
def reset_password(
    username: Annotated[str, typer.Argument()] = "admin", home: Home = None, as_json: AsJson = False
) -> None:
    """Give a user a new generated password and end all of their logins."""
    with Archive(settings_of(home)) as archive:
        password = archive.accounts.reset_password(username)
        record(archive, Action.PASSWORD_RESET, ObjectKind.USER, username)
    if as_json:
        emit({"username": username, "password": password})
    else:
        console.print(f"new password of {username}: {password}", markup=False)


@app.command()
def version(as_json: AsJson = False) -> None:
    """Print the version."""
    if as_json:
        emit({"version": VERSION})
    else:
        console.print(VERSION)


def fail(code: str, message: str) -> NoReturn:
    """Print an error as the command asked for it and leave with status 2."""
    if "--json" in sys.argv:
        emit({"error": {"code": code, "message": message}})
    else:
        errors.print(Text.assemble(("error:", "bold red"), " ", shown(message)), soft_wrap=True)
    raise SystemExit(2)


def run(listening: Listening) -> None:
    """Run the command line; errors of Imarium leave as one line and exit status 2.

    `listening` binds the HTTP face, which this face does not import.
    """
    try:
        status = app(obj=listening, standalone_mode=False)
    except ImariumError as error:
        fail(error.code, str(error))
    except _UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            raise SystemExit(2) from None  # the help was printed
        fail(InvalidRequestError.code, error.format_message())
    except typer.Abort:
        fail(InvalidRequestError.code, "an answer is needed; there was none")
    except KeyboardInterrupt:
        status = _INTERRUPTED
    if status == _INTERRUPTED:
        warn("stopped; what was acknowledged is stored")
    raise SystemExit(status)
