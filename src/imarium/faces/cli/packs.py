"""`imarium pack`: commands for pack files, which need no archive."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from imarium.faces.cli.output import console, emit, say, warn
from imarium.pack import PackReport, SeriesReport, open_pack_file
from imarium.wording import size_text

packs = typer.Typer(help="Look into pack files.", no_args_is_help=True)


@packs.callback()
def _group() -> None:
    """Look into pack files."""


@packs.command("inspect")
def inspect(
    file: Annotated[Path, typer.Argument(help="A pack (.imp), in an archive or anywhere else.")],
    verify: Annotated[
        bool, typer.Option("--verify", help="Decode every frame and check every digest.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, for machines.")] = False,
) -> None:
    """Tell what a pack file holds. Exit status 1 if anything is damaged."""
    with open_pack_file(file) as pack:
        report = pack.report()
        damaged = report.digest_matches is False
        if as_json:
            emit(_pack_json(file, report))
        else:
            _print_pack(report)
        for entry in report.entries:
            series = pack.series(entry, verify=verify, threads=os.cpu_count() or 1)
            damaged |= series.error is not None
            if as_json:
                emit(_series_json(series))
            else:
                _print_series(series, verified=verify)
    if damaged:
        raise typer.Exit(1)


def _pack_json(file: Path, report: PackReport) -> dict[str, object]:
    return {
        "pack": str(file),
        "version": ".".join(map(str, report.version)),
        "bytes": report.size,
        "digest": report.digest,
        "digest_ok": report.digest_matches,
        "count": len(report.entries),
    }


def _series_json(report: SeriesReport) -> dict[str, object]:
    facts = report.series
    return {
        "series": report.uid,
        "format": facts and facts.format,
        "modality": facts and facts.modality,
        "shape": facts and list(facts.shape),
        "dtype": facts and facts.dtype,
        "samples": facts and facts.samples,
        "block_frames": report.block_frames,
        "lanes": [asdict(lane) for lane in report.lanes],
        "levels": [asdict(level) for level in report.levels],
        "body_bytes": report.body_bytes,
        "attachment_bytes": report.attachment_bytes,
        "index_bytes": report.index_bytes,
        "error": report.error,
    }


def _print_pack(report: PackReport) -> None:
    verdict = {True: "as its name says", False: "NOT the one in its name", None: "its name says none"}
    say(f"{'version':12} {'.'.join(map(str, report.version))}")
    say(f"{'size':12} {size_text(report.size)}")
    say(f"{'digest':12} {report.digest} ({verdict[report.digest_matches]})")
    say(f"{'series':12} {len(report.entries)}")


def _print_series(report: SeriesReport, *, verified: bool) -> None:
    say("")
    say(f"{'series':12} {report.uid}")
    facts = report.series
    if facts is not None:
        shape = "x".join(map(str, facts.shape))
        samples = f", {facts.samples} samples a pixel" if facts.samples > 1 else ""
        say(f"{'source':12} {facts.format}{f', {facts.modality}' if facts.modality else ''}")
        say(f"{'shape':12} {shape} (frames, rows, columns), {facts.dtype}{samples}")
        say(f"{'blocks':12} of {report.block_frames} frames")
    for lane in report.lanes:
        say(f"{'lane':12} {lane.name}, {lane.frames} frames: {lane.reason}")
    say(f"{'attachments':12} {size_text(report.attachment_bytes)}")
    share = (
        f" ({100 * report.index_bytes / report.body_bytes:.3f} % of the body)" if report.body_bytes else ""
    )
    say(f"{'index':12} {size_text(report.index_bytes)}{share}")
    if report.levels:
        table = Table("level", "rows x columns", "bytes", "of the whole", "ranges")
        for level in report.levels:
            table.add_row(
                str(level.level),
                f"{level.rows}x{level.columns}",
                size_text(level.bytes),
                f"{100 * level.share:.1f} %",
                str(level.ranges),
            )
        console.print(table)
    if report.error is not None:
        warn(f"damaged {report.uid}: {report.error}")
    elif verified:
        say("verified     every frame decodes to its digest")
