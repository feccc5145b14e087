"""`imarium manifest`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from imarium.errors import InvalidRequestError
from imarium.faces.cli.backends import manifest_format
from imarium.faces.cli.options import AsJson, Home, Server, acting_on
from imarium.faces.cli.output import emit, say
from imarium.model import Selection


def manifest(
    output: Annotated[Path, typer.Option("-o", "--output", help="FILE.parquet, or FILE.arrow.")],
    selection: Annotated[
        str,
        typer.Argument(help='Like "chest modality=CT label.class=covid", in quotes; none: everything.'),
    ] = "",
    presign: Annotated[
        int | None,
        typer.Option(
            min=1, help="Seconds for which it can be read in the bucket itself, with nothing but the file."
        ),
    ] = None,
    query: Annotated[
        str | None, typer.Option(help="What `imarium search` takes: 'modality:CT age:>60'.")
    ] = None,
    saved: Annotated[str | None, typer.Option(help="A selection that is kept under this name.")] = None,
    home: Home = None,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Write what a selection holds as a table for training: geometry, labels, byte ranges of every level."""
    chosen = Selection.parse(selection)
    manifest_format(output)
    if query is not None:
        chosen = replace(chosen, query=query)
    if saved is not None and not chosen.is_everything:
        raise InvalidRequestError("name a kept selection, or say which series are meant, not both")
    with acting_on(home, server) as backend:
        if saved is not None:
            chosen = backend.search.get_saved(saved)
        written = backend.manifest(chosen, output, presign)
    if as_json:
        emit({"path": str(output), "series": written.series, "digest": written.digest})
    else:
        say(f"wrote {output} ({written.series} series, digest {written.digest})")
