"""`imarium saved`: selections that are kept under names."""

from __future__ import annotations

from typing import Annotated

import typer

from imarium.faces.cli.options import AsJson, Home, Server, acting_on
from imarium.faces.cli.output import console, emit, say
from imarium.model import Selection

saved = typer.Typer(
    help="Selections that you keep under names: lists of series, and queries.", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(help="Name of a kept selection.")]
Uids = Annotated[list[str], typer.Argument(help="UIDs of series.")]


@saved.command("list")
def list_saved(home: Home = None, server: Server = None, as_json: AsJson = False) -> None:
    """List them."""
    with acting_on(home, server) as backend:
        found = backend.search.saved()
    for name, selection in found.items():
        _print(name, selection, as_json)
    if not found and not as_json:
        console.print("Nothing is kept yet; `imarium saved add NAME SERIES...` begins a list.")


@saved.command()
def show(name: Name, home: Home = None, server: Server = None, as_json: AsJson = False) -> None:
    """Show one as the text that other commands take as a selection."""
    with acting_on(home, server) as backend:
        selection = backend.search.get_saved(name)
    if as_json:
        _print(name, selection, as_json)
    else:
        say(str(selection))


@saved.command("set")
def set_saved(
    name: Name,
    selection: Annotated[str, typer.Argument(help="Like \"query='modality:CT age:>60'\", in quotes.")],
    home: Home = None,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Keep a selection, in place of one that has the name."""
    chosen = Selection.parse(selection)
    with acting_on(home, server) as backend:
        _print(name, backend.search.save(name, chosen), as_json)


@saved.command()
def add(name: Name, series: Uids, home: Home = None, server: Server = None, as_json: AsJson = False) -> None:
    """Put series into a list; it is made if missing."""
    with acting_on(home, server) as backend:
        _print(name, backend.search.change_saved(name, series, ()), as_json)


@saved.command()
def remove(
    name: Name, series: Uids, home: Home = None, server: Server = None, as_json: AsJson = False
) -> None:
    """Take series out of a list."""
    with acting_on(home, server) as backend:
        _print(name, backend.search.change_saved(name, (), series), as_json)


@saved.command()
def delete(name: Name, home: Home = None, server: Server = None, as_json: AsJson = False) -> None:
    """Forget one."""
    with acting_on(home, server) as backend:
        backend.search.remove_saved(name)
    if as_json:
        emit({"deleted": name})
    else:
        say(f"forgot {name}")


def _print(name: str, selection: Selection, as_json: bool) -> None:
    if as_json:
        emit({"name": name, "selection": selection.to_json()})
        return
    facts = selection.to_json()
    series = len(facts.pop("series", []))
    rest = str(Selection.from_json(facts))
    parts = ([f"{series} series"] if series else []) + ([rest] if rest else [])
    say(f"{name}: {', '.join(parts) or 'everything'}")
