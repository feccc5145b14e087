"""Routes for the people in collections: visibility, roles, agreements, requests for access."""

from __future__ import annotations

from fastapi import APIRouter, Response

from imarium.access import Actor
from imarium.archive import Archive
from imarium.audit import ObjectKind
from imarium.faces.http.auditing import NotedDep
from imarium.faces.http.callers import ActorDep, ArchiveDep, CallerDep, Number, own_account
from imarium.faces.http.people_schemas import (
    AcceptanceItem,
    AcceptanceList,
    AccessAnswer,
    AccessChange,
    AgreementAnswer,
    AgreementVersion,
    Decision,
    NewAgreement,
    NewRequest,
    NewRequestAnswer,
    Refusal,
    RequestItem,
    RequestList,
    RoleGrant,
    RoleItem,
    RoleList,
)

router = APIRouter(tags=["people"])


@router.get("/collections/{name}/access")
def access(archive: ArchiveDep, actor: CallerDep, name: str) -> AccessAnswer:
    """Who may read a collection, and what whoever asks is there."""
    return _access(archive, actor, name)


@router.patch("/collections/{name}/access")
def change_access(
    archive: ArchiveDep, actor: ActorDep, told: NotedDep, name: str, change: AccessChange
) -> AccessAnswer:
    """Open or close a collection; for its owners."""
    told.about(ObjectKind.COLLECTION, name)
    told.details["visibility"] = change.visibility.value
    archive.roles.set_visibility(actor, name, change.visibility)
    return _access(archive, actor, name)


def _access(archive: Archive, actor: Actor, name: str) -> AccessAnswer:
    place = archive.roles.place(actor, name)
    return AccessAnswer(
        collection=place.name,
        visibility=place.visibility,
        role=place.role,
        agreement=place.agreement,
        accepted=place.accepted,
    )


@router.get("/collections/{name}/roles")
def roles(archive: ArchiveDep, actor: ActorDep, name: str) -> RoleList:
    """All roles in a collection; for its owners."""
    return RoleList(items=[RoleItem.of(record) for record in archive.roles.all(actor, name)])


@router.put("/collections/{name}/roles/{user}", status_code=204, response_class=Response)
def grant_role(
    archive: ArchiveDep, actor: ActorDep, told: NotedDep, name: str, user: str, wanted: RoleGrant
) -> Response:
    """Give a person a role in place of the one they have; for owners of the collection."""
    told.about(ObjectKind.COLLECTION, name)
    told.about(ObjectKind.USER, user)
    told.details["role"] = wanted.role.value
    archive.roles.grant(actor, name, user, wanted.role, wanted.ends)
    return Response(status_code=204)


@router.delete("/collections/{name}/roles/{user}", status_code=204, response_class=Response)
def revoke_role(archive: ArchiveDep, actor: ActorDep, told: NotedDep, name: str, user: str) -> Response:
    """Take a person's role away; for owners, and for whoever gives up their own."""
    told.about(ObjectKind.COLLECTION, name)
    told.about(ObjectKind.USER, user)
    told.details["role"] = ""
    archive.roles.revoke(actor, name, user)
    return Response(status_code=204)


@router.get("/collections/{name}/agreement")
def agreement(archive: ArchiveDep, actor: CallerDep, name: str) -> AgreementAnswer:
    """The agreement that must be accepted before the images of a collection are read."""
    return AgreementAnswer.of(archive.agreements.get(actor, name))


@router.put("/collections/{name}/agreement")
def put_agreement(
    archive: ArchiveDep, actor: ActorDep, told: NotedDep, name: str, wanted: NewAgreement
) -> AgreementVersion:
    """Have a new version of the agreement count, which everybody must accept anew; for owners."""
    told.about(ObjectKind.COLLECTION, name)
    return AgreementVersion(version=archive.agreements.put(actor, name, wanted.text))


@router.post("/collections/{name}/agreement/acceptances", status_code=204, response_class=Response)
def accept_agreement(
    archive: ArchiveDep, actor: ActorDep, told: NotedDep, name: str, accepted: AgreementVersion
) -> Response:
    """Accept the version of the agreement that counts."""
    own_account(actor)
    told.about(ObjectKind.COLLECTION, name)
    told.details["version"] = accepted.version
    archive.agreements.accept(actor, name, accepted.version)
    return Response(status_code=204)


@router.get("/collections/{name}/agreement/acceptances")
def acceptances(archive: ArchiveDep, actor: ActorDep, name: str) -> AcceptanceList:
    """Who accepted which version; for owners."""
    records = archive.agreements.accepted(actor, name)
    return AcceptanceList(items=[AcceptanceItem.of(record) for record in records])


@router.get("/collections/{name}/requests")
def requests(archive: ArchiveDep, actor: ActorDep, name: str) -> RequestList:
    """All requests for a collection; for its owners."""
    return RequestList(items=[RequestItem.of(record) for record in archive.requests.of(actor, name)])


@router.get("/me/requests")
def my_requests(archive: ArchiveDep, actor: ActorDep) -> RequestList:
    """One's own requests, and what became of them."""
    return RequestList(items=[RequestItem.of(record) for record in archive.requests.mine(actor)])


@router.post("/me/requests", status_code=201)
def ask(archive: ArchiveDep, actor: ActorDep, told: NotedDep, wanted: NewRequest) -> NewRequestAnswer:
    """Ask for a role in a collection. Nothing tells whether there is one of that name."""
    own_account(actor)
    told.about(ObjectKind.COLLECTION, wanted.collection)
    told.details["role"] = wanted.role.value
    return NewRequestAnswer(id=archive.requests.ask(actor, wanted.collection, wanted.role, wanted.purpose))


@router.delete("/me/requests/{number}", status_code=204, response_class=Response)
def withdraw(archive: ArchiveDep, actor: ActorDep, told: NotedDep, number: Number) -> Response:
    """Take an open request back."""
    own_account(actor)
    told.about(ObjectKind.REQUEST, str(number))
    told.details["withdrawn"] = True
    archive.requests.withdraw(actor, number)
    return Response(status_code=204)


@router.post("/requests/{number}/grant")
def grant_request(
    archive: ArchiveDep, actor: ActorDep, told: NotedDep, number: Number, decision: Decision
) -> RequestItem:
    """Give whoever asked the role; for owners of the collection."""
    told.about(ObjectKind.REQUEST, str(number))
    told.details["granted"] = True
    return RequestItem.of(archive.requests.grant(actor, number, reason=decision.reason, ends=decision.ends))


@router.post("/requests/{number}/refuse")
def refuse_request(
    archive: ArchiveDep, actor: ActorDep, told: NotedDep, number: Number, decision: Refusal
) -> RequestItem:
    """Say no, and why; for owners of the collection."""
    told.about(ObjectKind.REQUEST, str(number))
    told.details["granted"] = False
    return RequestItem.of(archive.requests.refuse(actor, number, reason=decision.reason))
