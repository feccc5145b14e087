"""`imarium user` and `imarium token`: accounts, and what programs log in with."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.table import Table

from imarium.access import Scope
from imarium.errors import InvalidRequestError
from imarium.faces.cli.options import AsJson, Home, Server
from imarium.faces.cli.output import console, emit, say, shown
from imarium.faces.cli.people_backends import Facts, LocalPeople, people_on

users = typer.Typer(help="Accounts.", no_args_is_help=True)
tokens = typer.Typer(help="Tokens for programs, and logins.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="User name.")]
As = Annotated[
    str | None, typer.Option("--user", help="On a home folder: whose; the administrator's unless said.")
]


@users.command("list")
def list_users(home: Home = None, server: Server = None, as_json: AsJson = False) -> None:
    """List all accounts."""
    with people_on(home, server) as people:
        found = people.accounts()
    show_table(found, ("name", "standing", "is_administrator", "email", "created"), as_json)


@users.command("add")
def add_user(
    name: Name,
    email: Annotated[str | None, typer.Option(help="Not needed.")] = None,
    administrator: Annotated[bool, typer.Option("--administrator", help="May do everything.")] = False,
    password_stdin: Annotated[
        bool,
        typer.Option("--password-stdin", help="Read the password from standard input; else one is made."),
    ] = False,
    home: Home = None,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Make an account that can be used at once. A password that was made up is shown this once."""
    given = sys.stdin.readline().rstrip("\n") if password_stdin else None
    with people_on(home, server) as people:
        made = people.add_account(name, password=given, email=email, is_administrator=administrator)
    if as_json:
        emit({"username": name, "password": made})
    else:
        say(f"made the account {name}" + ("" if made is None else f", password {made} (shown once)"))


@users.command("approve")
def approve_user(name: Name, home: Home = None, server: Server = None, as_json: AsJson = False) -> None:
    """Let an account be used that waited or was disabled."""
    with people_on(home, server) as people:
        facts = people.change_account(name, standing="approved")
    done(facts, f"approved {name}", as_json)


@users.command("disable")
def disable_user(name: Name, home: Home = None, server: Server = None, as_json: AsJson = False) -> None:
    """End all logins and tokens of an account, and take no more."""
    with people_on(home, server) as people:
        facts = people.change_account(name, standing="disabled")
    done(facts, f"disabled {name}", as_json)


@users.command("change")
def change_user(
    name: Name,
    administrator: Annotated[bool | None, typer.Option(help="Whether they may do everything.")] = None,
    email: Annotated[str | None, typer.Option(help="An empty one is forgotten.")] = None,
    home: Home = None,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Change an account."""
    with people_on(home, server) as people:
        facts = people.change_account(name, is_administrator=administrator, email=email)
    done(facts, f"changed {name}", as_json)


@users.command("password")
def user_password(
    name: Annotated[str | None, typer.Argument(help="Whose; one's own on a server unless said.")] = None,
    home: Home = None,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Make a new password for an account, which ends its logins and tokens; or change one's own."""
    with people_on(home, server) as people:
        if name is not None:
            made = people.reset_password(name)
            done({"username": name, "password": made}, f"new password of {name}: {made}", as_json)
            return
        if isinstance(people, LocalPeople):
            raise InvalidRequestError("on a home folder there is nobody's own password; say whose")
        current = typer.prompt("current password", hide_input=True, err=True)
        password = typer.prompt("new password", hide_input=True, confirmation_prompt=True, err=True)
        people.change_password(current, password)
    done({"changed": True}, "changed the password; other logins have ended", as_json)


@tokens.command("create")
def create_token(
    name: Annotated[str, typer.Argument(help="What it is for.")],
    scope: Annotated[list[Scope], typer.Option(help="What it may do; may be repeated.")],
    days: Annotated[int, typer.Option(min=1, max=366, help="How long it lives.")] = 90,
    user: As = None,
    home: Home = None,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Make a token for a program, with no more than it needs. It is shown this once."""
    with people_on(home, server, user) as people:
        made = people.create_token(name, scope, days)
    if as_json:
        emit(made)
    else:
        say(made["token"])
        say(f"It is shown this once, and lives until {made['expires'][:10]}; IMARIUM_TOKEN takes it.")


@tokens.command("list")
def list_tokens(
    logins: Annotated[bool, typer.Option("--logins", help="Logins instead.")] = False,
    user: As = None,
    home: Home = None,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """List one's own tokens, or logins, that have not ended."""
    with people_on(home, server, user) as people:
        found = people.tokens(logins=logins)
    show_table(found, ("id", "name", "scopes", "created", "last_used", "expires", "current"), as_json)


@tokens.command("revoke")
def revoke_token(
    number: Annotated[int | None, typer.Argument(help="Of a token or login; `imarium token list`.")] = None,
    other_logins: Annotated[
        bool, typer.Option("--other-logins", help="All logins but the one that asks.")
    ] = False,
    user: As = None,
    home: Home = None,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """End a token or login, or all other logins."""
    if (number is None) == (not other_logins):
        raise InvalidRequestError("give a number, or --other-logins")
    with people_on(home, server, user) as people:
        if number is not None:
            people.revoke_token(number)
        else:
            people.end_other_logins()
    done({"revoked": number}, "revoked", as_json)


def done(facts: Facts, text: str, as_json: bool) -> None:
    """Say what was done, to whom it is of use."""
    if as_json:
        emit(facts)
    else:
        say(text)


def show_table(items: list[Facts], names: tuple[str, ...], as_json: bool) -> None:
    """Rows for people, lines for machines."""
    if as_json:
        for item in items:
            emit(item)
        return
    table = Table(*(name.replace("_", " ").removeprefix("is ") for name in names))
    for item in items:
        table.add_row(*(_cell(item[name]) for name in names))
    console.print(table if items else "None.")


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, list):
        return ", ".join(map(str, value))
    text = str(value)
    # Moments to the minute.
    return shown(text[:16].replace("T", " ") if text[10:11] == "T" and text[4:5] == "-" else text)
