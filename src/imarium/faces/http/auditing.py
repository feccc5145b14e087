"""What requests are recorded as. One table says it of every route; a test finds routes that it lacks."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from blake3 import blake3
from fastapi import Depends
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from imarium.archive import Archive
from imarium.audit import Action, ObjectKind, Outcome
from imarium.audit.record import Detail
from imarium.errors import ImariumError

log = logging.getLogger("imarium.audit")

_TOGETHER_SECONDS = 60.0
"""For so long, further requests of the same session for the same object are the same act of reading."""
_WITHOUT_BODY = (204, 304)
_MOST_ACTS = 50_000
"""Acts that are remembered for that."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What requests of a route are recorded as."""

    action: Action
    together: bool = False
    """Whether several within `_TOGETHER_SECONDS` are one record: routes that viewers call again and again."""
    by_route: bool = False
    """Whether the route records its success itself, before it is done."""


RECORDED: Mapping[str, Rule] = {
    "POST /login": Rule(Action.LOGIN),
    "POST /session": Rule(Action.LOGIN),
    "GET /oidc/callback": Rule(Action.LOGIN),
    "POST /logout": Rule(Action.LOGOUT),
    "POST /registrations": Rule(Action.ACCOUNT_CREATED),
    "PUT /me/password": Rule(Action.PASSWORD_RESET),
    "DELETE /me/sessions": Rule(Action.TOKEN_REVOKED),
    "POST /me/tokens": Rule(Action.TOKEN_CREATED),
    "DELETE /me/tokens/{number}": Rule(Action.TOKEN_REVOKED),
    "POST /me/requests": Rule(Action.ACCESS_REQUESTED),
    "DELETE /me/requests/{number}": Rule(Action.ACCESS_REQUESTED),
    "POST /requests/{number}/grant": Rule(Action.ACCESS_DECIDED),
    "POST /requests/{number}/refuse": Rule(Action.ACCESS_DECIDED),
    "POST /accounts": Rule(Action.ACCOUNT_CREATED),
    "PATCH /accounts/{name}": Rule(Action.ACCOUNT_CHANGED),
    "POST /accounts/{name}/password": Rule(Action.PASSWORD_RESET),
    "DELETE /accounts/{name}/sessions": Rule(Action.TOKEN_REVOKED),
    "PATCH /collections/{name}/access": Rule(Action.COLLECTION_CHANGED),
    "PUT /collections/{name}/roles/{user}": Rule(Action.ROLE_CHANGED),
    "DELETE /collections/{name}/roles/{user}": Rule(Action.ROLE_CHANGED),
    "PUT /collections/{name}/agreement": Rule(Action.AGREEMENT_CHANGED),
    "POST /collections/{name}/agreement/acceptances": Rule(Action.AGREEMENT_ACCEPTED),
    "GET /search": Rule(Action.QUERY, together=True),
    "POST /search": Rule(Action.QUERY, together=True),
    "GET /facets": Rule(Action.QUERY, together=True),
    "GET /studies": Rule(Action.QUERY, together=True),
    "GET /series": Rule(Action.QUERY, together=True),
    "GET /series/{uid}": Rule(Action.VIEWED, together=True),
    "GET /series/{uid}/concepts": Rule(Action.VIEWED, together=True),
    "GET /studies/{uid}/reports": Rule(Action.VIEWED, together=True),
    "GET /subjects/{pseudonym}": Rule(Action.VIEWED, together=True),
    "GET /series/{uid}/index": Rule(Action.VIEWED, together=True),
    "GET /series/{uid}/pixels": Rule(Action.VIEWED, together=True),
    "GET /series/{uid}/thumbnail": Rule(Action.VIEWED, together=True),
    "GET /series/{uid}/cine": Rule(Action.VIEWED, together=True),
    "GET /packs/{prefix}/{name}": Rule(Action.VIEWED, together=True),
    "GET /series/{uid}/export": Rule(Action.EXPORTED),
    "GET /manifest": Rule(Action.LISTED_FOR_DOWNLOAD),
    "POST /manifest": Rule(Action.LISTED_FOR_DOWNLOAD),
    "PUT /series/{uid}/labels": Rule(Action.LABELLED),
    "POST /labels": Rule(Action.LABELLED),
    "POST /concepts": Rule(Action.LABELLED),
    "POST /studies/{uid}/reports": Rule(Action.LABELLED),
    "DELETE /studies/{uid}/reports/{number}": Rule(Action.LABELLED),
    "PATCH /subjects/{pseudonym}": Rule(Action.LABELLED),
    "POST /uploads/{identifier}/ingest": Rule(Action.INGESTED),
    "POST /verify": Rule(Action.VERIFIED),
    "DELETE /series/{uid}": Rule(Action.ERASED, by_route=True),
    "DELETE /studies/{uid}": Rule(Action.ERASED, by_route=True),
    "DELETE /subjects/{pseudonym}": Rule(Action.ERASED, by_route=True),
    "DELETE /collections/{name}": Rule(Action.ERASED, by_route=True),
    "GET /audit": Rule(Action.AUDIT_READ, together=True),
    "GET /audit/export": Rule(Action.AUDIT_READ),
    "GET /audit/verify": Rule(Action.AUDIT_VERIFIED),
}
NOT_RECORDED: Mapping[str, str] = {
    "GET /status": "a version and two counts",
    "GET /collections": "names and counts of collections, nothing of a person",
    "GET /attributes": "names of what can be asked for",
    "GET /login": "how one can log in",
    "GET /oidc/login": "sends a browser to the provider; its way back is recorded",
    "GET /me": "tells who asks who they are",
    "GET /me/roles": "tells who asks what they may do",
    "GET /me/sessions": "tells who asks of their own logins",
    "GET /me/tokens": "tells who asks of their own tokens",
    "GET /me/requests": "tells who asks of their own requests",
    "GET /accounts": "names of accounts, no images; changes are recorded",
    "GET /collections/{name}/access": "what whoever asks may do in a collection",
    "GET /collections/{name}/roles": "who has which role; changes are recorded",
    "GET /collections/{name}/agreement": "a text for all who want to read the images",
    "GET /collections/{name}/agreement/acceptances": "who accepted; each acceptance is recorded itself",
    "GET /collections/{name}/requests": "open requests; asking and deciding are recorded",
    "GET /saved": "names of a person's own selections; what is read by them is recorded",
    "GET /saved/{name}": "a person's own selection; what is read by it is recorded",
    "PUT /saved/{name}": "a person's own selection; what is read by it is recorded",
    "POST /saved/{name}/series": "a person's own selection; what is read by it is recorded",
    "DELETE /saved/{name}": "a person's own selection; nothing else changes",
    "GET /openapi.json": "the description of the API",
    "HEAD /packs/{prefix}/{name}": "sends no bytes of images",
    "HEAD /series/{uid}/thumbnail": "sends no bytes of images",
    "POST /uploads": "an empty folder; what is taken in is recorded",
    "PUT /uploads/{identifier}/files/{number}": "a file that waits; what is taken in is recorded",
    "DELETE /uploads/{identifier}": "files that were never taken in",
    "GET /{path:path}": "the page itself",
}
"""Routes and why nothing is recorded of them."""

Named = tuple[ObjectKind, str]


@dataclass(slots=True)
class Noted:
    """What a route tells of its request while it works."""

    actor: str = ""
    origin: str = ""
    objects: list[Named] = field(default_factory=list)
    details: dict[str, Detail] = field(default_factory=dict)
    further: list[tuple[Action, Named]] = field(default_factory=list)
    """Acts of their own, beside that of the route."""
    action: Action | None = None
    """Another than the route's, where a request turns out to be something else."""

    def about(self, kind: ObjectKind, identifier: str) -> None:
        """Name an object that was asked for and is there."""
        self.objects.append((kind, identifier))


async def noted(request: Request) -> Noted:
    """Where a route tells what it does; a dependency, asynchronous since anything else takes a thread."""
    found: Noted = request.scope["state"]["audit"]
    return found


NotedDep = Annotated[Noted, Depends(noted)]


class Auditing:
    """ASGI middleware that records requests as the table says.

    Acts of reading are recorded in memory before their answer ends, and written soon after; all others are
    written before it ends.
    """

    def __init__(self, app: ASGIApp, archive: Archive | None) -> None:
        self._app, self._archive = app, archive
        self._acts: OrderedDict[tuple[object, ...], float] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._archive is None:
            await self._app(scope, receive, send)
            return
        client = scope.get("client")
        told = Noted(origin=client[0] if client else "")
        scope.setdefault("state", {})["audit"] = told
        status, ended, recorded = 0, False, False

        async def watched(message: Message) -> None:
            nonlocal status, ended, recorded
            starts = message["type"] == "http.response.start"
            if starts:
                status = message["status"]
            # An answer that has no body ends with its start.
            ends = status in _WITHOUT_BODY if starts else not message.get("more_body", False)
            if ends and not recorded:
                ended = True
                rule = _rule_of(scope)
                if rule is not None:
                    recorded = True
                    await self._record(scope, rule, told, status, ended)
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            rule = _rule_of(scope)
            if rule is not None and not recorded:
                await self._record(scope, rule, told, status, ended)

    async def _record(self, scope: Scope, rule: Rule, told: Noted, status: int, ended: bool) -> None:
        outcome = _outcome(status)
        if rule.by_route and outcome is Outcome.SUCCESS and told.action is None:
            return
        assert self._archive is not None
        token = Headers(scope=scope).get("authorization", "")
        session = told.actor or (blake3(token.encode()).digest() if token else b"")
        action = told.action or rule.action
        objects = told.objects or [(ObjectKind.NONE, "")]
        acts = [(action, item) for item in objects]
        if rule.together:
            acts = [act for act in acts if self._is_new((session, told.origin, *act, outcome))]
        if not acts:
            return
        details = told.details if ended else {**told.details, "broken_off": True}
        try:
            # On a thread: the record goes into the catalog.
            await run_in_threadpool(
                self._write, acts, told, outcome, details, wait=not rule.together and ended
            )
        except ImariumError as error:
            log.error("a request waited in vain for its record (%s); it is tried again", error)

    def _write(
        self,
        acts: list[tuple[Action, Named]],
        told: Noted,
        outcome: Outcome,
        details: Mapping[str, Detail],
        *,
        wait: bool,
    ) -> None:
        assert self._archive is not None
        audit = self._archive.audit
        for action, (kind, identifier) in told.further:
            audit.record(action, kind, identifier, actor=told.actor, origin=told.origin, outcome=outcome)
        for number, (action, (kind, identifier)) in enumerate(acts, 1):
            audit.record(
                action,
                kind,
                identifier,
                actor=told.actor,
                origin=told.origin,
                outcome=outcome,
                details=details,
                wait=wait and number == len(acts),
            )

    def _is_new(self, act: tuple[object, ...]) -> bool:
        """Whether an act is not part of one that was recorded a moment ago."""
        now = time.monotonic()
        while self._acts:
            first = next(iter(self._acts))
            if len(self._acts) <= _MOST_ACTS and now - self._acts[first] < _TOGETHER_SECONDS:
                break
            del self._acts[first]
        if act in self._acts:
            return False
        self._acts[act] = now
        return True


def _rule_of(scope: Scope) -> Rule | None:
    return RECORDED.get(f"{scope['method']} {getattr(scope.get('route'), 'path', '')}")


def _outcome(status: int) -> Outcome:
    if status in (401, 403, 429):
        return Outcome.REFUSED
    if 200 <= status < 400:
        return Outcome.SUCCESS
    return Outcome.FAILED if 400 <= status < 500 else Outcome.ERROR
