"""`imarium role`, `imarium access` and `imarium agreement`: the people in collections."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imarium.access import Role, Visibility
from imarium.errors import InvalidRequestError
from imarium.faces.cli.options import AsJson, Home, Server
from imarium.faces.cli.output import emit, say
from imarium.faces.cli.people_backends import moment_text, people_on
from imarium.faces.cli.users import As, done, show_table

roles = typer.Typer(help="What people are in a collection.", no_args_is_help=True)
access = typer.Typer(help="Who may read a collection, and requests for access.", no_args_is_help=True)
agreements = typer.Typer(help="Agreements to accept before images are read.", no_args_is_help=True)

Collection = Annotated[str, typer.Argument(help="Name of a collection.")]
User = Annotated[str, typer.Argument(help="User name.")]
Number = Annotated[int, typer.Argument(help="Of a request; `imarium access list COLLECTION`.")]
Ends = Annotated[str | None, typer.Option(help="Last moment of the role, like 2027-01-31; UTC unless said.")]
_REQUEST = ("id", "collection", "user", "role", "status", "purpose", "created", "reason", "ends")


@roles.command("list")
def list_roles(
    collection: Collection, home: Home = None, server: Server = None, as_json: AsJson = False
) -> None:
    """List who is what in a collection."""
    with people_on(home, server) as people:
        found = people.roles(collection)
    show_table(found, ("user", "role", "granted", "granted_by", "ends"), as_json)


@roles.command("grant")
def grant_role(
    collection: Collection,
    user: User,
    role: Annotated[Role, typer.Argument(help="Each may do what those before it may.")],
    ends: Ends = None,
    home: Home = None,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Give a person a role in place of the one they have."""
    until = moment_text(ends)
    with people_on(home, server) as people:
        people.grant_role(collection, user, role, until)
    facts = {"collection": collection, "user": user, "role": role, "ends": until}
    done(facts, f"{user} is {role} of {collection}", as_json)


@roles.command("revoke")
def revoke_role(
    collection: Collection, user: User, home: Home = None, server: Server = None, as_json: AsJson = False
) -> None:
    """Take a person's role away."""
    with people_on(home, server) as people:
        people.revoke_role(collection, user)
    done({"collection": collection, "user": user}, f"{user} has no role in {collection} any more", as_json)


@access.command("show")
def show_access(
    collection: Collection, home: Home = None, server: Server = None, as_json: AsJson = False
) -> None:
    """Show who may read a collection, and what one is there."""
    with people_on(home, server) as people:
        facts = people.access(collection)
    if as_json:
        emit(facts)
        return
    say(f"{'visibility':12} {facts['visibility']}")
    say(f"{'role':12} {facts['role'] or 'none'}")
    accepted = ", accepted" if facts["accepted"] else ""
    agreement = f"version {facts['agreement']}{accepted}" if facts["agreement"] else "none"
    say(f"{'agreement':12} {agreement}")


@access.command("set")
def set_access(
    collection: Collection,
    visibility: Annotated[
        Visibility, typer.Argument(help="public: everybody; registered: accounts; restricted: roles alone.")
    ],
    home: Home = None,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Open or close a collection."""
    with people_on(home, server) as people:
        facts = people.set_visibility(collection, visibility)
    done(facts, f"{collection} is {visibility}", as_json)


@access.command("request")
def request_access(
    collection: Collection,
    purpose: Annotated[str, typer.Option(help="What for; the owners read it.")],
    role: Annotated[Role, typer.Option(help="What one wants to be.")] = Role.READER,
    user: As = None,
    home: Home = None,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Ask for access to a collection, by its exact name."""
    with people_on(home, server, user) as people:
        number = people.ask(collection, purpose, role)
    done({"id": number}, f"asked; the request has the number {number}", as_json)


@access.command("list")
def list_requests(
    collection: Annotated[str | None, typer.Argument(help="One that one owns; else one's own.")] = None,
    user: As = None,
    home: Home = None,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """List requests for a collection, or one's own."""
    with people_on(home, server, user) as people:
        found = people.requests(collection)
    show_table(found, _REQUEST, as_json)


@access.command("grant")
def grant_access(
    number: Number,
    reason: Annotated[str, typer.Option(help="Read by who asked.")] = "",
    ends: Ends = None,
    home: Home = None,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Give whoever asked the role."""
    with people_on(home, server) as people:
        facts = people.grant(number, reason, moment_text(ends))
    done(facts, f"{facts['user']} is {facts['role']} of {facts['collection']}", as_json)


@access.command("refuse")
def refuse_access(
    number: Number,
    reason: Annotated[str, typer.Option(help="Read by who asked.")],
    home: Home = None,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Say no, and why."""
    with people_on(home, server) as people:
        facts = people.refuse(number, reason)
    done(facts, f"refused request {number}", as_json)


@access.command("withdraw")
def withdraw_request(
    number: Number, user: As = None, home: Home = None, server: Server = None, as_json: AsJson = False
) -> None:
    """Take one's own open request back."""
    with people_on(home, server, user) as people:
        people.withdraw(number)
    done({"withdrawn": number}, f"withdrew request {number}", as_json)


@agreements.command("set")
def set_agreement(
    collection: Collection,
    file: Annotated[Path | None, typer.Argument(help="Its text, UTF-8.")] = None,
    none: Annotated[bool, typer.Option("--none", help="Ask for none any more.")] = False,
    home: Home = None,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Have a new version of the agreement count, which everybody must accept anew."""
    if (file is None) == (not none):
        raise InvalidRequestError("give a file with the text, or --none")
    try:
        text = None if file is None else file.read_text("utf-8")
    except OSError as error:
        raise InvalidRequestError(f"the text cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidRequestError("the text is not UTF-8") from error
    with people_on(home, server) as people:
        version = people.set_agreement(collection, text)
    what = f"version {version} of the agreement counts" if version else "no agreement is asked for"
    done({"collection": collection, "version": version}, what, as_json)


@agreements.command("show")
def show_agreement(
    collection: Collection,
    accepted: Annotated[bool, typer.Option("--accepted", help="Who accepted which version.")] = False,
    home: Home = None,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Show the agreement that counts."""
    with people_on(home, server) as people:
        if accepted:
            show_table(people.acceptances(collection), ("user", "version", "accepted"), as_json)
            return
        facts = people.agreement(collection)
    if as_json:
        emit(facts)
        return
    for line in facts["text"].splitlines():
        say(line)
    taken = f"you accepted it on {facts['accepted'][:10]}" if facts["accepted"] else "not accepted yet"
    say(f"(version {facts['version']}, {taken})")


@agreements.command("accept")
def accept_agreement(
    collection: Collection,
    version: Annotated[int, typer.Option(help="The one that was read; `imarium agreement show`.")],
    user: As = None,
    home: Home = None,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Accept the version of the agreement that counts."""
    with people_on(home, server, user) as people:
        people.accept_agreement(collection, version)
    done({"collection": collection, "version": version}, f"accepted version {version}", as_json)
