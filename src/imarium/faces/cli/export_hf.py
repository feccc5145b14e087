"""`imarium export-hf`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from imarium.faces.cli.options import AsJson, Home, Server, acting_on
from imarium.faces.cli.output import emit, say
from imarium.model import Selection
from imarium.streaming import parse_window
from imarium.wording import size_text


def export_hf(
    selection: Annotated[str, typer.Argument(help='Like "chest modality=CT label.class=covid", in quotes.')],
    dest: Annotated[Path, typer.Argument(help="A new folder.")],
    level: Annotated[int | None, typer.Option(help="0 is the full resolution; k halves it k times.")] = None,
    size: Annotated[
        str | None, typer.Option(help="Shorter side in pixels, or ROWSxCOLUMNS; from the smallest level.")
    ] = None,
    window: Annotated[
        str | None,
        typer.Option(help='CENTER,WIDTH or "default": 8 bits for a screen, instead of stored values.'),
    ] = None,
    label: Annotated[str | None, typer.Option(help="Label whose values become classes.")] = None,
    split: Annotated[str | None, typer.Option(help="Label whose values name the splits.")] = None,
    home: Home = None,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Write a selection as a data set of Hugging Face's `datasets`: Parquet with PNG images and labels."""
    chosen = Selection.parse(selection)
    shown: tuple[float, float] | Literal["default"] | None = None
    if window is not None:
        shown = "default" if window == "default" else parse_window(window)
    from imarium.huggingface import export  # noqa: PLC0415 - pyarrow takes long to load

    with acting_on(home, server) as backend, backend.reading(chosen) as (manifest, client):
        made = export(client, manifest, dest, level=level, size=size, window=shown, label=label, split=split)
    if as_json:
        emit({"path": str(made.folder), "series": made.series, "images": made.images, "bytes": made.bytes})
    else:
        say(f"wrote {made.folder} ({made.images} images of {made.series} series, {size_text(made.bytes)})")
