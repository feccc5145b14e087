"""`imarium search`."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from imarium.catalog.search.paging import Order
from imarium.errors import QuerySyntaxError
from imarium.faces.cli.options import AsJson, Home, Server, acting_on
from imarium.faces.cli.output import console, emit, say, shown, warn
from imarium.faces.cli.search_backends import SearchBackend


def search(
    query: Annotated[
        str, typer.Argument(help="Like 'modality:CT age:>60 \"ground glass\" -contrast'; none: everything.")
    ] = "",
    facets: Annotated[bool, typer.Option("--facets", help="Count values instead of listing series.")] = False,
    by: Annotated[
        list[str] | None,
        typer.Option(
            help="What --facets counts: modality, age, label.KEY, a DICOM keyword; may be repeated."
        ),
    ] = None,
    order: Annotated[Order, typer.Option(help="How the series are sorted.")] = Order.NEWEST,
    limit: Annotated[int, typer.Option(min=0, help="Series, or values of a facet; 0: all series.")] = 50,
    attributes: Annotated[
        bool, typer.Option("--attributes", help="List what can be asked for instead.")
    ] = False,
    home: Home = None,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Find series by what people ask; docs/guide/search.md has the language."""
    with acting_on(home, server) as backend:
        try:
            if attributes:
                _print_attributes(backend.search, as_json)
            elif facets or by:
                _print_facets(backend.search.facets(query, by or [], limit or 1000), as_json)
            else:
                _print_series(backend.search, query, order, limit, as_json)
        except QuerySyntaxError as error:
            if not as_json and (marked := error.marked(query)):
                for line in marked.split("\n"):
                    warn(f"  {line}")
            raise


def _print_series(backend: SearchBackend, query: str, order: Order, limit: int, as_json: bool) -> None:
    table = Table("series", "collection", "modality", "body part", "date", "frames", "description")
    for item in backend.find(query, order, limit or None):
        if as_json:
            emit({"series": item.pop("uid"), **item})
            continue
        cells = (item["collection"], item["modality"], item["body_part"], item["study_date"])
        frames = str(item["shape"][0])
        texts = [Text(shown(text or "")) for text in (*cells, frames, item["description"])]
        table.add_row(item["uid"], *texts)
    if as_json:
        return
    total = backend.facets(query, ["modality"], 1)["total"]
    table.columns[0].no_wrap = True
    if table.row_count:
        console.print(table)
    more = "" if table.row_count == total else f", {table.row_count} shown; --limit shows more"
    say(f"{total} series{more}")


def _print_facets(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        emit(found)
        return
    say(f"{found['total']} series")
    for name, values in found["facets"].items():
        if not values:
            continue
        say(f"{name}:")
        for item in values:
            say(f"  {item['count']:>9}  {item['value']}")


def _print_attributes(backend: SearchBackend, as_json: bool) -> None:
    table = Table("name", "type", "meaning", "also")
    for item in backend.attributes():
        if as_json:
            emit(item)
        else:
            table.add_row(
                *(Text(shown(text)) for text in (item["name"], item["kind"], item["meaning"])),
                ", ".join(item["aliases"]),
            )
    if not as_json:
        console.print(table)
