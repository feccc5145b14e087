"""`imarium report`."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated

import typer
from rich.table import Table
from rich.text import Text

from imarium.errors import NotFoundError
from imarium.faces.cli.options import AsJson, Home, Server, acting_on
from imarium.faces.cli.output import console, emit, say, series_progress, shown, warn
from imarium.formats._shared import replacing
from imarium.model import Selection
from imarium.report import (
    MEASURES,
    CsvTable,
    Group,
    Link,
    Page,
    Summary,
    amount,
    costs,
    expected_bytes,
    measured,
    parse_links,
    series_json,
    sides,
    spread_of,
    spread_text,
    summary_json,
)
from imarium.wording import duration_text, share_text, size_text


def report(
    selection: Annotated[
        str,
        typer.Argument(help='Like "chest modality=CT label.class=covid", in quotes; none: everything.'),
    ] = "",
    bandwidth: Annotated[str, typer.Option(help="Mbit/s of the links that times are for.")] = "10,100,1000",
    latency: Annotated[float, typer.Option(help="Milliseconds of a round trip.")] = 20.0,
    frames: Annotated[
        int, typer.Option(min=1, help="At most so many frames of a series are compared, spread evenly.")
    ] = 8,
    quality: Annotated[
        bool, typer.Option("--quality/--no-quality", help="Whether pixels are read and compared at all.")
    ] = True,
    table: Annotated[
        Path | None, typer.Option("--csv", help="Write a table of every series and level to this file.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option("--html", help="Write a page with plots and tables to this file.")
    ] = None,
    home: Home = None,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Tell what a selection costs at each level, and how good it is. Exit status 1 if anything is damaged."""
    chosen, links, summary = Selection.parse(selection), parse_links(bandwidth, latency), Summary()
    compared = frames if quality else 0
    with (
        acting_on(home, server) as backend,
        backend.reading(chosen) as (manifest, client),
        _written(table) as table_file,
        _written(page) as page_file,
    ):
        if not len(manifest):
            raise NotFoundError("no series is in the selection; `imarium ls` shows what there is")
        if quality:
            size = size_text(expected_bytes(manifest.rows(), frames))
            warn(f"comparing reads about {size} at full resolution; --no-quality reads none")
        rows = CsvTable(table_file, links) if table_file else None
        drawn = Page(chosen, links, compared)
        results = measured(client, manifest.rows(), frames) if quality else costs(manifest.rows())
        with series_progress(as_json, len(manifest)) as advance:
            for result in results:
                summary.add(result)
                drawn.add(result)
                if rows is not None:
                    rows.add(result)
                if as_json:
                    emit(series_json(result, links))
                elif result.error is not None:
                    warn(f"damaged {result.series}: {result.error}")
                advance()
        if page_file is not None:
            page_file.write(drawn.html(summary))
    if as_json:
        for line in summary_json(summary, links):
            emit(line)
    else:
        _print(summary, links)
        for path in (table, page):
            if path is not None:
                say(f"wrote {path}")
    if summary.all.failed:
        raise typer.Exit(1)


@contextmanager
def _written(path: Path | None) -> Iterator[IO[str] | None]:
    """A text file that appears whole or not at all, if one is asked for."""
    if path is None:
        yield None
        return
    with replacing(path) as stream:
        text = io.TextIOWrapper(stream, "utf-8", newline="")
        yield text
        text.flush()
        text.detach()


def _print(summary: Summary, links: Sequence[Link]) -> None:
    datasets = summary.datasets()
    for dataset, group in datasets:
        _print_group(dataset.name, group, links)
    if len(datasets) > 1:
        _print_group("all", summary.all, links)
    if summary.all.sampled:
        say(
            f"compared {summary.all.sampled} frames, for which {size_text(summary.all.read_bytes)} were "
            "read; SSIM and PSNR against bilinear downsampling of the full resolution, mean ± standard "
            "deviation over series"
        )


def _print_group(name: str, group: Group, links: Sequence[Link]) -> None:
    levels = group.levels()
    table = Table(title=Text(shown(f"{name}: {amount(group)}")))
    table.title_justify = "left"
    for head in ("level", "rows x columns", "series", "bytes", "of the whole", "requests"):
        table.add_column(head, justify="left" if head == "rows x columns" else "right")
    for link in links:
        table.add_column(f"at {link.bandwidth:g} Mbit/s", justify="right")
    measures = [
        (head, attribute, digits)
        for head, attribute, digits in MEASURES
        if attribute != "ssim_same_centres" and any(spread_of(level, attribute) for level in levels)
    ]
    for head, _, _ in measures:
        table.add_column(head, justify="right")
    for level in levels:
        table.add_row(
            str(level.level),
            sides(level),
            str(level.series),
            size_text(level.bytes),
            share_text(level.bytes / levels[0].bytes) if levels[0].bytes else "",
            str(level.requests),
            *(duration_text(group.seconds(level, link)) for link in links),
            *(
                "exact" if level.level == 0 else spread_text(spread_of(level, attribute), digits)
                for _, attribute, digits in measures
            ),
        )
    console.print(table)
