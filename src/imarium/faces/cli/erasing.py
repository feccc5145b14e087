"""`imarium erase`: the right to erasure, on the machine that holds the images."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from imarium.archive import Archive
from imarium.audit import Action
from imarium.erasure import Certificate, Kind, Scope, recording
from imarium.erasure.service import QUIET
from imarium.errors import InvalidRequestError
from imarium.faces.cli.options import AsJson, Home, settings_of
from imarium.faces.cli.output import emit, say, warn
from imarium.faces.cli.recording import LOCAL, actor, record
from imarium.wording import size_text


def erase(
    subject: Annotated[
        str | None, typer.Option(help="Pseudonym of a subject, as lists show it; in all collections.")
    ] = None,
    study: Annotated[str | None, typer.Option(help="UID of a study, in all collections.")] = None,
    series: Annotated[str | None, typer.Option(help="UID of a series.")] = None,
    collection: Annotated[str | None, typer.Option(help="Name of a collection, with all in it.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without it, only say what would go.")] = False,
    refuse_again: Annotated[
        bool, typer.Option("--refuse-again", help="Refuse the same images when they come once more.")
    ] = False,
    alone: Annotated[
        bool, typer.Option("--alone", help="Nothing else uses the home folder now: empty its scratch folder.")
    ] = False,
    finish: Annotated[
        bool, typer.Option("--finish", help="Only finish erasures that were broken off or left something.")
    ] = False,
    check: Annotated[
        Path | None, typer.Option("--check", help="A certificate: look again for what it says is gone.")
    ] = None,
    lift: Annotated[
        str | None, typer.Option("--lift", help="ID of an erasure: what it refuses may come again.")
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Erase images for good, and print a certificate; without --yes, say what would go.

    Exit status 1 if something is left for later, or if a certificate does not hold.
    """
    named = {Kind.SUBJECT: subject, Kind.STUDY: study, Kind.SERIES: series, Kind.COLLECTION: collection}
    scopes = [Scope(kind, value) for kind, value in named.items() if value is not None]
    if len(scopes) + finish + (check is not None) + (lift is not None) != 1:
        raise InvalidRequestError(
            "name one of --subject, --study, --series and --collection; or --finish, --check or --lift"
        )
    quiet = timedelta(0) if alone else QUIET
    with Archive(settings_of(home)) as archive:
        if check is not None:
            _check(archive, check, as_json)
        elif lift is not None:
            _lift(archive, lift, as_json)
        elif finish:
            _finish(archive, quiet, as_json)
        elif yes:
            told = recording(archive.audit, actor(), LOCAL)
            certificate = archive.erasure.erase(
                scopes[0], actor=actor(), record=told, refuse_again=refuse_again, quiet=quiet
            )
            _tell(certificate, archive, as_json)
        else:
            _plan(archive, scopes[0], quiet, as_json)


def _plan(archive: Archive, scope: Scope, quiet: timedelta, as_json: bool) -> None:
    plan = archive.erasure.plan(scope, quiet).summary()
    record(archive, Action.ERASURE_PLANNED, scope.kind.object_kind, scope.identifier)
    if as_json:
        emit({"plan": plan})
        return
    for name, value in plan.items():
        text = size_text(int(value)) if name.endswith("_bytes") else str(value)
        say(f"{name.replace('_', ' '):20} {text}")
    say("Nothing was erased. Add --yes to erase this for good.")


def _tell(certificate: Certificate, archive: Archive, as_json: bool) -> None:
    kept = archive.settings.home / "erasures" / f"{certificate.id}.json"
    facts = certificate.facts
    if as_json:
        emit({"certificate": certificate.to_json(), "kept_in": str(kept)})
    else:
        say(
            f"erased {len(facts['series'])} series of {len(facts['studies'])} studies "
            f"({size_text(facts['stored_bytes'])}); {len(facts['objects_deleted'])} objects are gone, "
            f"{len(facts['rewritten'])} were written anew"
        )
        for text in facts["unfinished"]:
            warn(f"left: {text}")
        if facts["unfinished"]:
            warn(
                "`imarium erase --finish` goes on later; with --alone when nothing else uses the home folder"
            )
        say(f"the certificate is {kept}; `imarium erase --check` looks again")
        say("beyond reach of this program: " + "; ".join(facts["beyond_reach"]))
    if not certificate.complete:
        raise typer.Exit(1)


def _finish(archive: Archive, quiet: timedelta, as_json: bool) -> None:
    told = recording(archive.audit, actor(), LOCAL)
    found = list(archive.erasure.finish(told, quiet))
    if not found and not as_json:
        say("nothing was left to finish")
    for number, certificate in enumerate(found, 1):
        try:
            _tell(certificate, archive, as_json)
        except typer.Exit:
            if number == len(found):
                raise


def _check(archive: Archive, path: Path, as_json: bool) -> None:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequestError("the certificate cannot be read") from error
    certificate = Certificate.from_json(text)
    findings = archive.erasure.check(certificate)
    if as_json:
        emit({"erasure": certificate.id, "holds": not findings, "findings": findings})
    else:
        for finding in findings:
            warn(finding)
        say(
            "the certificate holds: nothing of it is here"
            if not findings
            else "the certificate does not hold"
        )
    if findings:
        raise typer.Exit(1)


def _lift(archive: Archive, identifier: str, as_json: bool) -> None:
    count = archive.erasure.lift(identifier)
    record(archive, Action.ERASURE_LIFTED, details={"marks": count})
    if as_json:
        emit({"erasure": identifier, "lifted": count})
    else:
        say(f"lifted {count} marks; what that erasure removed may come again")
