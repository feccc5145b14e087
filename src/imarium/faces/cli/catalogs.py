"""`imarium catalog`: the catalog of a home folder."""

from __future__ import annotations

from typing import Annotated

import typer

from imarium.archive import Archive
from imarium.audit import Action, ObjectKind
from imarium.faces.cli.options import AsJson, Home, settings_of
from imarium.faces.cli.output import emit, say, warn
from imarium.faces.cli.recording import record

catalog = typer.Typer(help="Look after the catalog of a home folder.", no_args_is_help=True)


@catalog.callback()
def _group() -> None:
    """Look after the catalog of a home folder."""


@catalog.command()
def rebuild(
    recover: Annotated[
        str | None,
        typer.Option(
            metavar="COLLECTION",
            help="Also put series of packs that the catalog never knew into this collection; for a catalog "
            "that was lost. Packs tell neither collections nor labels.",
        ),
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Read the headers of all series again, so that searches find what they say. Exit status 1 if one cannot
    be read."""
    counts = {"read": 0, "recovered": 0, "failed": 0}
    with Archive(settings_of(home)) as archive:
        try:
            for outcome in archive.rebuilding.run(recover):
                kind = "failed" if outcome.error else "recovered" if outcome.recovered else "read"
                counts[kind] += 1
                if outcome.error and not as_json:
                    warn(f"failed {outcome.uid or 'a pack'}: {outcome.error}")
                elif outcome.error:
                    emit({"series": outcome.uid, "error": outcome.error})
                if outcome.recovered and outcome.uid and not outcome.error:
                    record(archive, Action.STORED, ObjectKind.SERIES, outcome.uid)
        finally:
            record(archive, Action.CATALOG_REBUILT, details=counts)
    if as_json:
        emit(counts)
    else:
        say(f"read {counts['read']} series, recovered {counts['recovered']}, failed {counts['failed']}")
    if counts["failed"]:
        raise typer.Exit(1)
