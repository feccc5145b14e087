"""`imarium download`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from imarium.client.download import Form, Progress
from imarium.client.progress import shown_progress
from imarium.faces.cli.options import AsJson, Home, Server, acting_on
from imarium.faces.cli.output import emit, say, warn
from imarium.model import Selection
from imarium.wording import size_text


def download(
    selection: Annotated[str, typer.Argument(help='Like "chest modality=CT label.class=covid", in quotes.')],
    dest: Annotated[Path, typer.Argument(help="Folder; made if missing.")],
    format_name: Annotated[
        str, typer.Option("--format", help="nifti, npy, dicom, png or ome-zarr.")
    ] = "nifti",
    level: Annotated[int | None, typer.Option(help="0 is the full resolution; k halves it k times.")] = None,
    size: Annotated[
        str | None, typer.Option(help="Shorter side in pixels, or ROWSxCOLUMNS; from the smallest level.")
    ] = None,
    home: Home = None,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Write every series of a selection into a folder. Run again, it goes on where it ended.

    Exit status 1 if any series could not be written.
    """
    form = Form(format_name, level, size)
    chosen = Selection.parse(selection)
    with acting_on(home, server) as backend, _watching(as_json) as report:
        made = backend.download(chosen, dest, form, report)
    failed = [item for item in made if item.error is not None]
    if not as_json:
        for item in failed:
            warn(f"failed {item.series}: {item.error}")
        kept = sum(item.status == "kept" for item in made)
        say(
            f"{len(made) - len(failed)} series in {dest} ({size_text(sum(item.bytes for item in made))}), "
            f"{kept} of them from before; {len(failed)} failed"
        )
    if failed:
        raise typer.Exit(1)


@contextmanager
def _watching(as_json: bool) -> Iterator[Callable[[Progress], None]]:
    """A bar, or a line a series."""
    if not as_json:
        with shown_progress() as report:
            yield report
        return

    def line(progress: Progress) -> None:
        item = progress.last
        emit(
            {
                "series": item.series,
                "path": str(item.path),
                "status": item.status,
                "bytes": item.bytes,
                "reason": None if item.error is None else str(item.error),
            }
        )

    yield line
