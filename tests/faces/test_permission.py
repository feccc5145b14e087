"""Who may do what: every route of the API, asked by everybody."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi.routing import iter_route_contexts
from sqlalchemy import delete, select

from imarium.access import HOME, Actor, Role, Scope, Visibility
from imarium.archive import Archive
from imarium.catalog.people import Attempts
from imarium.catalog.tables import Study, Subject
from imarium.faces.http import create_app
from imarium.faces.http.callers import OPEN, PREFIX, READING
from imarium.faces.http.incoming import Incoming
from imarium.faces.http.schemas import NewUpload
from imarium.model import Selection
from imarium.settings import Settings

WHO = ("nobody", "stranger", "reader", "annotator", "curator", "owner", "administrator")
SECRET = "the hidden collection"
PLEDGED = "the pledged collection"
PASSWORD = "four plain words here"


@dataclass
class World:
    """An archive with two restricted collections, one of which asks for an agreement, and people in them."""

    archive: Archive
    tokens: dict[str, str] = field(default_factory=dict)
    series: str = ""
    study: str = ""
    pack: str = ""
    app: Any = None

    def ask(self, method: str, path: str, who: str = "nobody", *, app: Any = None, **options: Any):
        """One request of somebody."""
        self.app = self.app or create_app(self.archive, ("testserver",), open_reading=False)
        app = app or self.app
        headers = dict(options.pop("headers", {}))
        if who != "nobody" and "authorization" not in headers:
            headers["authorization"] = f"Bearer {self.tokens[who]}"
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)

        async def answer() -> httpx.Response:
            async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
                return await client.request(method, path, headers=headers, **options)

        return asyncio.run(answer())

    def actor(self, who: str) -> Actor:
        """Somebody with all that they have."""
        return self.archive.accounts.actor(who)

    def request(self, _who: str) -> dict[str, Any]:
        """A fresh request for access by somebody who may do nothing."""
        asker = self.actor("asker")
        for record in self.archive.requests.mine(asker):
            if record.status == "open":
                self.archive.requests.withdraw(asker, record.number)
        return {"number": self.archive.requests.ask(asker, SECRET, Role.READER, "science")}


@pytest.fixture(scope="module")
def world(tmp_path_factory, phantom):
    archive = Archive(Settings(home=tmp_path_factory.mktemp("people") / "home", threads=2))
    world = World(archive)
    for name in (SECRET, PLEDGED):
        archive.catalog.ensure_collection(name)
        archive.roles.set_visibility(HOME, name, Visibility.RESTRICTED)
    for who in (*WHO[1:], "asker"):
        archive.accounts.add(who, password=PASSWORD, is_administrator=who == "administrator")
        if who in set(Role):
            for name in (SECRET, PLEDGED):
                archive.roles.grant(HOME, name, who, Role(who))
        world.tokens[who] = archive.accounts.sessions.create_token(
            world.actor(who), "walk", list(Scope)
        ).token
    (outcome,) = archive.ingest.run([phantom / "phantom.nii.gz"], collection=SECRET)
    archive.agreements.put(HOME, PLEDGED, "You shall not identify anybody.")
    world.series = outcome.series
    with archive.catalog.session() as session:
        found = session.scalars(select(Study)).one()
        world.study = found.uid
        session.add(Subject(collection_id=found.collection_id, pseudonym="S-1"))
    world.pack = archive.catalog.get_series(world.series).pack.key.removeprefix("packs/")
    yield world
    archive.close()


# --- the table ----------------------------------------------------------------------------------------


def everybody(status: int) -> tuple[int, ...]:
    return (status,) * 7


def known(status: int) -> tuple[int, ...]:
    return (401, *(status,) * 6)


def finds(status: int = 200) -> tuple[int, ...]:
    """Those with a role; others are not told that there is something."""
    return (401, 404, *(status,) * 5)


def curates(status: int) -> tuple[int, ...]:
    return (401, 404, 403, 403, status, status, status)


def manages(status: int) -> tuple[int, ...]:
    return (401, 404, 403, 403, 403, status, status)


def administers(status: int) -> tuple[int, ...]:
    return (401, 403, 403, 403, 403, 403, status)


def upload_of(world: World, who: str) -> dict[str, Any]:
    root = world.archive.settings.scratch / "uploads"
    return {"identifier": Incoming.create(root, who, NewUpload(collection=SECRET)), "number": 0}


def series(world: World, who: str) -> dict[str, Any]:
    return {"uid": world.series}


def study(world: World, who: str) -> dict[str, Any]:
    return {"uid": world.archive.catalog.get_series(world.series).series.study_uid}


def no_subject(world: World, who: str) -> dict[str, Any]:
    return {"pseudonym": "S-none"}


def pack(world: World, who: str) -> dict[str, Any]:
    prefix, name = world.pack.split("/")
    return {"prefix": prefix, "name": name}


def hidden(world: World, who: str) -> dict[str, Any]:
    return {"name": SECRET}


def pledged(world: World, who: str) -> dict[str, Any]:
    return {"name": PLEDGED}


def role_of_asker(world: World, who: str) -> dict[str, Any]:
    world.archive.roles.grant(HOME, PLEDGED, "asker", Role.READER)
    return {"name": PLEDGED, "user": "asker"}


def request(world: World, who: str) -> dict[str, Any]:
    return world.request(who)


def own_request(world: World, who: str) -> dict[str, Any]:
    if who == "nobody":
        return {"number": 0}
    return {"number": world.archive.requests.ask(world.actor(who), "wanted", Role.READER, "science")}


def own_token(world: World, who: str) -> dict[str, Any]:
    if who == "nobody":
        return {"number": 0}
    sessions = world.archive.accounts.sessions
    sessions.create_token(world.actor(who), "to be revoked", [Scope.READ])
    return {"number": sessions.tokens(world.actor(who))[-1].number}


def login_to_end(world: World, who: str) -> dict[str, Any]:
    if who == "nobody":
        return {}
    made = world.archive.accounts.sessions.create_token(world.actor(who), "to be ended", [Scope.READ])
    return {"headers": {"authorization": f"Bearer {made.token}"}}


def fresh_account(world: World, who: str) -> dict[str, Any]:
    name = f"fresh-{who}-{len(world.archive.accounts.all())}"
    world.archive.accounts.add(name, password=PASSWORD)
    return {"name": name}


def without_waits(world: World, who: str) -> dict[str, Any]:
    with world.archive.catalog.session() as session:
        session.execute(delete(Attempts))
    return {}


def version(world: World, who: str) -> dict[str, Any]:
    return {"name": PLEDGED, "json": {"version": world.archive.roles.place(HOME, PLEDGED).agreement}}


def study(world: World, who: str) -> dict[str, Any]:
    return {"uid": world.study}


def report(world: World, who: str) -> dict[str, Any]:
    made = world.archive.catalog.annotating.add_report(SECRET, world.study, "ground glass")
    return {"uid": world.study, "number": made.number}


def kept(world: World, who: str) -> dict[str, Any]:
    if who != "nobody":
        world.archive.catalog.saving.save(who, "kept", Selection(series=("1.2.3",)))
    return {"name": "kept"}


CODE = {"kind": "diagnosis", "scheme": "SCT", "code": "233604007", "meaning": "Pneumonia"}


def coded(world: World, who: str) -> dict[str, Any]:
    return {"json": {"selection": {"series": [world.series]}, "add": [CODE]}}


OF_SECRET = {"params": {"collection": SECRET}}
PAGE = {"Imarium-Request": "1"}
CREDENTIALS = {"username": "asker", "password": PASSWORD}
TABLE: dict[str, tuple[tuple[int, ...], Any, dict[str, Any]]] = {
    # route: expected of nobody, stranger, reader, annotator, curator, owner, administrator; what goes with it
    "GET /status": (everybody(200), None, {}),
    "GET /login": (everybody(200), None, {}),
    "POST /login": (everybody(200), without_waits, {"json": CREDENTIALS}),
    "POST /session": (
        everybody(204),
        without_waits,
        {"json": CREDENTIALS, "headers": {"Imarium-Request": "1"}},
    ),
    "GET /oidc/login": (everybody(404), None, {}),  # no provider is set
    "GET /oidc/callback": (everybody(404), None, {}),
    "POST /registrations": (everybody(202), without_waits, {"json": CREDENTIALS}),
    "POST /logout": (known(204), login_to_end, {}),
    "GET /me": (known(200), None, {}),
    "GET /me/roles": (known(200), None, {}),
    "PUT /me/password": (
        known(204),
        without_waits,
        {"json": {"current": PASSWORD, "password": PASSWORD}},
    ),
    "GET /me/sessions": (known(200), None, {}),
    "DELETE /me/sessions": (known(204), None, {}),
    "GET /me/tokens": (known(200), None, {}),
    "POST /me/tokens": (known(201), None, {"json": {"name": "another", "scopes": ["read"]}}),
    "DELETE /me/tokens/{number}": (known(204), own_token, {}),
    "GET /me/requests": (known(200), None, {}),
    "POST /me/requests": (known(201), None, {"json": {"collection": "any", "purpose": "science"}}),
    "DELETE /me/requests/{number}": (known(204), own_request, {}),
    "GET /accounts": (administers(200), None, {}),
    "POST /accounts": (administers(201), None, {"json": {"name": "made-in-the-walk"}}),
    "PATCH /accounts/{name}": (administers(200), fresh_account, {"json": {"standing": "disabled"}}),
    "POST /accounts/{name}/password": (administers(200), fresh_account, {}),
    "DELETE /accounts/{name}/sessions": (administers(204), fresh_account, {}),
    "GET /openapi.json": (known(200), None, {}),
    "GET /collections": (known(200), None, {}),
    "GET /collections/{name}/access": (finds(), hidden, {}),
    "PATCH /collections/{name}/access": (manages(200), hidden, {"json": {"visibility": "restricted"}}),
    "GET /collections/{name}/roles": (manages(200), hidden, {}),
    "PUT /collections/{name}/roles/{user}": (manages(204), role_of_asker, {"json": {"role": "reader"}}),
    "DELETE /collections/{name}/roles/{user}": (manages(204), role_of_asker, {}),
    "GET /collections/{name}/agreement": (finds(), pledged, {}),
    "PUT /collections/{name}/agreement": (manages(200), pledged, {"json": {"text": "Be kind."}}),
    "POST /collections/{name}/agreement/acceptances": (finds(204), version, {}),
    "GET /collections/{name}/agreement/acceptances": (manages(200), pledged, {}),
    "GET /collections/{name}/requests": (manages(200), hidden, {}),
    "POST /requests/{number}/grant": (manages(200), request, {"json": {}}),
    "POST /requests/{number}/refuse": (manages(200), request, {"json": {"reason": "no"}}),
    "GET /studies": (known(200), None, {"params": {"collection": SECRET}}),
    "GET /series": (known(200), None, {}),
    "GET /series/{uid}": (finds(), series, {}),
    "GET /series/{uid}/index": (finds(), series, {}),
    "GET /series/{uid}/pixels": (finds(), series, {}),
    "GET /series/{uid}/export": (finds(), series, {"params": {"format": "npy", "level": 1}}),
    "GET /series/{uid}/thumbnail": (finds(), series, {}),
    "HEAD /series/{uid}/thumbnail": (finds(), series, {}),
    "GET /series/{uid}/cine": (finds(), series, {"params": {"frames": 2}}),
    "PUT /series/{uid}/labels": ((401, 404, 403, 200, 200, 200, 200), series, {"json": {"a": "b"}}),
    "POST /labels": (
        (401, 200, 403, 200, 200, 200, 200),  # a stranger's selection has no series
        None,
        {"json": {"items": [{"selection": {"modality": None}, "labels": {"a": "b"}}]}},
    ),
    "GET /search": (known(200), None, {"params": {"facets": "collection"}}),
    "POST /search": (known(200), None, {"json": {"facets": ["collection"]}}),
    "GET /facets": (known(200), None, {"params": {"names": "collection"}}),
    "GET /attributes": (known(200), None, {}),
    "GET /series/{uid}/concepts": (finds(), series, {}),
    "POST /concepts": ((401, 200, 403, 200, 200, 200, 200), coded, {}),
    "GET /studies/{uid}/reports": (finds(), study, OF_SECRET),
    "POST /studies/{uid}/reports": (curates(201), study, {**OF_SECRET, "json": {"text": "lungs clear"}}),
    "DELETE /studies/{uid}/reports/{number}": (curates(204), report, OF_SECRET),
    "GET /subjects/{pseudonym}": (finds(), lambda *_: {"pseudonym": "S-1"}, OF_SECRET),
    "PATCH /subjects/{pseudonym}": (
        curates(200),
        lambda *_: {"pseudonym": "S-1"},
        {**OF_SECRET, "json": {"age": {"value": 61}}},
    ),
    "GET /saved": (known(200), None, {}),
    "GET /saved/{name}": (known(200), kept, {}),
    "PUT /saved/{name}": (known(200), kept, {"json": {"modality": "CT"}}),
    "POST /saved/{name}/series": (known(200), kept, {"json": {"add": ["1.2.4"]}}),
    "DELETE /saved/{name}": (known(204), kept, {}),
    "GET /manifest": (finds(), None, {"params": {"collection": SECRET}}),
    "POST /manifest": (finds(), None, {"json": {"collection": SECRET}}),
    "GET /packs/{prefix}/{name}": (finds(), pack, {}),
    "HEAD /packs/{prefix}/{name}": (finds(), pack, {}),
    "POST /uploads": ((401, 403, 403, 403, 201, 201, 201), None, {"json": {"collection": SECRET}}),
    "PUT /uploads/{identifier}/files/{number}": (
        (401, 404, 403, 403, 204, 204, 204),
        upload_of,
        {"content": b"x"},
    ),
    "POST /uploads/{identifier}/ingest": ((401, 404, 403, 403, 200, 200, 200), upload_of, {}),
    "DELETE /uploads/{identifier}": (known(204), upload_of, {}),
    "GET /audit": (administers(200), None, {}),
    "GET /audit/export": (administers(200), None, {"params": {"format": "csv"}}),
    "GET /audit/verify": (administers(200), None, {}),
    "DELETE /series/{uid}": (administers(200), series, {"params": {"dry_run": True}}),
    "DELETE /studies/{uid}": (administers(200), study, {"params": {"dry_run": True}}),
    "DELETE /subjects/{pseudonym}": (administers(404), no_subject, {}),
    "DELETE /collections/{name}": (administers(200), hidden, {"params": {"dry_run": True}}),
    "POST /verify": ((401, 403, 403, 403, 200, 200, 200), None, {}),
}


def routes() -> set[str]:
    """All that the API answers to."""
    found = set()
    app = create_app(None)
    for route in iter_route_contexts(app.routes):
        if route.path.startswith(PREFIX):
            found |= {f"{method} {route.path.removeprefix(PREFIX)}" for method in route.methods}
    return found


def test_every_route_is_in_the_table():
    assert len(routes()) > 40
    assert routes() == set(TABLE)


def test_what_is_open_is_a_route():
    assert set(TABLE) >= OPEN | READING
    assert {route for route, (expected, _, _) in TABLE.items() if expected[0] != 401} == OPEN


@pytest.mark.parametrize("route", TABLE)
def test_route(world, route):
    expected, make, options = TABLE[route]
    method, path = route.split(" ")
    said = {}
    for who in WHO:
        made = {} if make is None else make(world, who)
        own = {name: made[name] for name in ("headers", "json") if name in made}
        address = path.format(**{key: str(value) for key, value in made.items()})
        answer = world.ask(method, PREFIX + address, who, **{**options, **own})
        said[who] = answer.status_code
        if who in ("nobody", "stranger"):
            # Nothing tells of what they must not learn of.
            for secret in (SECRET, world.series, world.study, world.pack):
                assert secret not in answer.text
    assert tuple(said.values()) == expected


@pytest.mark.parametrize("route", [route for route, row in TABLE.items() if row[0][0] == 401])
@pytest.mark.parametrize("header", ["Bearer wrong", "Bearer ", "Basic YTpi"])
def test_wrong_credentials_are_none(world, route, header):
    method, path = route.split(" ")
    address = path.format(
        name="x", uid="1", number=0, identifier="0" * 32, user="u", prefix="aa", pseudonym="S-1"
    )
    answer = world.ask(method, PREFIX + address, headers={"authorization": header})
    assert answer.status_code == 401
    if method != "HEAD":
        assert answer.json()["error"]["code"] == "login-required"


def test_what_is_hidden_is_answered_like_what_is_not_there(world):
    pairs = [
        (f"/series/{world.series}", "/series/1.2.3"),
        (f"/series/{world.series}/thumbnail", "/series/1.2.3/thumbnail"),
        (f"/packs/{world.pack}", "/packs/aa/none.imp"),
        (f"/manifest?collection={SECRET}", "/manifest?collection=none"),
        (f"/collections/{SECRET}/access", "/collections/none/access"),
        (f"/collections/{SECRET}/roles", "/collections/none/roles"),
        (f"/studies?collection={SECRET}", "/studies?collection=none"),
    ]
    for there, missing in pairs:
        for who in ("stranger", "nobody"):
            one, other = world.ask("GET", PREFIX + there, who), world.ask("GET", PREFIX + missing, who)
            assert (one.status_code, one.json()) == (other.status_code, other.json()), there


def test_a_scope_is_needed_beside_the_role(world):
    sessions, owner = world.archive.accounts.sessions, world.actor("owner")
    tokens = {scope: sessions.create_token(owner, scope, [scope]).token for scope in Scope}
    asked = [
        (Scope.READ, "GET", f"/series/{world.series}", {}),
        (Scope.READ, "GET", f"/packs/{world.pack}", {}),
        (Scope.ANNOTATE, "POST", "/labels", {"json": {"items": []}}),
        (Scope.WRITE, "POST", "/uploads", {"json": {"collection": SECRET}}),
        (Scope.WRITE, "POST", "/verify", {}),
        (Scope.ADMINISTER, "GET", f"/collections/{SECRET}/roles", {}),
        (Scope.ADMINISTER, "POST", "/me/tokens", {"json": {"name": "n", "scopes": ["read"]}}),
        (Scope.ADMINISTER, "GET", "/me/sessions", {}),
    ]
    for needed, method, path, options in asked:
        if path == "/labels":
            continue  # below: it needs the scopes of reading and annotating
        for scope, token in tokens.items():
            headers = {"authorization": f"Bearer {token}"}
            status = world.ask(method, PREFIX + path, headers=headers, **options).status_code
            if scope is needed:
                assert status < 300 or (path == "/me/tokens" and status == 403), (path, scope)
            else:
                assert status == 403, (path, scope)
    label = {"items": [{"selection": {"series": [world.series]}, "labels": {"a": "c"}}]}
    both = sessions.create_token(owner, "both", [Scope.READ, Scope.ANNOTATE]).token
    for token, expected in ((tokens[Scope.READ], 403), (both, 200)):
        headers = {"authorization": f"Bearer {token}"}
        assert world.ask("POST", f"{PREFIX}/labels", headers=headers, json=label).status_code == expected


def test_an_administrators_token_does_what_its_scopes_say(world):
    made = world.archive.accounts.sessions.create_token(world.actor("administrator"), "r", [Scope.READ])
    headers = {"authorization": f"Bearer {made.token}"}
    assert world.ask("GET", f"{PREFIX}/series/{world.series}", headers=headers).status_code == 200
    assert world.ask("GET", f"{PREFIX}/accounts", headers=headers).status_code == 403
    assert world.ask("POST", f"{PREFIX}/verify", headers=headers).status_code == 403
    body = {"json": {"collection": "another"}}
    assert world.ask("POST", f"{PREFIX}/uploads", headers=headers, **body).status_code == 403


class Open(World):
    """An archive with one collection."""


@pytest.fixture
def small(archive, phantom):
    archive.catalog.ensure_collection("c")
    world = Open(archive)
    for who in ("owner", "stranger"):
        archive.accounts.add(who, password=PASSWORD)
        world.tokens[who] = archive.accounts.sessions.create_token(world.actor(who), "t", list(Scope)).token
    archive.roles.grant(HOME, "c", "owner", Role.OWNER)
    (outcome,) = archive.ingest.run([phantom / "phantom.nii.gz"], collection="c")
    world.series = outcome.series
    world.pack = archive.catalog.get_series(world.series).pack.key.removeprefix("packs/")
    return world


@pytest.mark.parametrize(
    ("visibility", "agreement", "expected"),
    [
        # nobody far away, nobody at the machine, through a proxy, with an account: facts and images
        ("public", False, [(200, 200), (200, 200), (200, 200), (200, 200)]),
        ("registered", False, [(401, 401), (200, 200), (401, 401), (200, 200)]),
        ("restricted", False, [(401, 401), (404, 404), (401, 401), (404, 404)]),
        ("public", True, [(200, 401), (200, 401), (200, 401), (200, 403)]),
        ("registered", True, [(401, 401), (200, 401), (401, 401), (200, 403)]),
    ],
)
def test_visibility(small, visibility, agreement, expected):
    small.archive.roles.set_visibility(HOME, "c", Visibility(visibility))
    if agreement:
        small.archive.agreements.put(HOME, "c", "Be kind.")
    near = create_app(small.archive, ("testserver",), open_reading=True)
    callers = [
        {},
        {"app": near},
        {"app": near, "headers": {"X-Forwarded-For": "203.0.113.5"}},
        {"who": "stranger"},
    ]
    found = []
    for options in callers:
        facts = small.ask("GET", f"{PREFIX}/series/{small.series}", **options)
        images = small.ask("GET", f"{PREFIX}/packs/{small.pack}", **options)
        listed = small.ask("GET", f"{PREFIX}/collections", **options)
        assert (listed.status_code == 200 and listed.json()["total"] == 1) == (facts.status_code == 200)
        found.append((facts.status_code, images.status_code))
        if images.status_code == 200:
            kept = images.headers["cache-control"]
            assert kept.startswith("public" if visibility == "public" else "private")
            assert "Cookie" in images.headers["vary"]
    assert found == expected


def test_an_agreement_is_accepted_anew_for_each_version(small):
    ask, images = small.ask, f"{PREFIX}/packs/{small.pack}"
    agreement = f"{PREFIX}/collections/c/agreement"
    assert ask("PUT", agreement, "owner", json={"text": "Be kind."}).json() == {"version": 1}
    refused = ask("GET", images, "stranger")
    assert refused.status_code == 403
    assert "version 1 of the agreement" in refused.json()["error"]["message"]
    assert ask("GET", f"{PREFIX}/series/{small.series}/thumbnail", "stranger").status_code == 403
    assert ask("GET", images, "owner").status_code == 200  # whose data it is
    shown = ask("GET", agreement, "stranger").json()
    assert (shown["text"], shown["version"], shown["accepted"]) == ("Be kind.", 1, None)
    acceptances = f"{agreement}/acceptances"
    assert ask("POST", acceptances, "stranger", json={"version": 2}).status_code == 400
    assert ask("POST", acceptances, "stranger", json={"version": 1}).status_code == 204
    assert ask("POST", acceptances, "stranger", json={"version": 1}).status_code == 204
    assert ask("GET", images, "stranger").status_code == 200
    assert ask("PUT", agreement, "owner", json={"text": "Be very kind."}).json() == {"version": 2}
    assert ask("GET", images, "stranger").status_code == 403
    assert ask("POST", acceptances, "stranger", json={"version": 1}).status_code == 400
    assert ask("POST", acceptances, "stranger", json={"version": 2}).status_code == 204
    assert ask("GET", images, "stranger").status_code == 200
    kept = ask("GET", acceptances, "owner").json()["items"]
    assert [(item["user"], item["version"]) for item in kept] == [("stranger", 1), ("stranger", 2)]
    assert ask("PUT", agreement, "owner", json={"text": None}).json() == {"version": 0}
    assert ask("GET", agreement, "stranger").status_code == 404
    assert ask("PUT", agreement, "owner", json={"text": "Again."}).json() == {"version": 3}
    assert ask("GET", images, "stranger").status_code == 403


def test_access_is_asked_for_and_granted_for_a_time(small):
    ask = small.ask
    small.archive.roles.set_visibility(HOME, "c", Visibility.RESTRICTED)
    wanted = {"collection": "c", "purpose": "science"}
    number = ask("POST", f"{PREFIX}/me/requests", "stranger", json=wanted).json()["id"]
    none = ask("POST", f"{PREFIX}/me/requests", "stranger", json=wanted | {"collection": "none"})
    assert none.status_code == 201  # as if there were one
    assert ask("POST", f"{PREFIX}/me/requests", "stranger", json=wanted).status_code == 400
    (pending,) = ask("GET", f"{PREFIX}/collections/c/requests", "owner").json()["items"]
    assert (pending["id"], pending["user"], pending["purpose"]) == (number, "stranger", "science")
    past = {"ends": "2020-01-01T00:00:00Z"}
    grant = f"{PREFIX}/requests/{number}/grant"
    assert ask("POST", grant, "owner", json=past).status_code == 400
    assert ask("POST", grant, "stranger", json={}).status_code == 404
    ends = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    assert ask("POST", grant, "owner", json={"ends": ends, "reason": "welcome"}).status_code == 200
    assert ask("POST", grant, "owner", json={}).status_code == 400  # decided before
    assert ask("GET", f"{PREFIX}/packs/{small.pack}", "stranger").status_code == 200
    mine = ask("GET", f"{PREFIX}/me/requests", "stranger").json()["items"]
    assert [item["status"] for item in mine] == ["granted", "open"]
    assert mine[0]["reason"] == "welcome"
    with small.archive.catalog.session() as session:
        session.connection().exec_driver_sql("UPDATE roles SET ends = '2020-01-01' WHERE ends IS NOT NULL")
    assert ask("GET", f"{PREFIX}/packs/{small.pack}", "stranger").status_code == 404


def test_a_refusal_says_why(small):
    body = {"collection": "c", "purpose": "science", "role": "curator"}
    number = small.ask("POST", f"{PREFIX}/me/requests", "stranger", json=body).json()["id"]
    refuse = f"{PREFIX}/requests/{number}/refuse"
    assert small.ask("POST", refuse, "owner", json={"reason": " "}).status_code == 400
    assert small.ask("POST", refuse, "owner", json={"reason": "not now"}).status_code == 200
    (mine,) = small.ask("GET", f"{PREFIX}/me/requests", "stranger").json()["items"]
    assert (mine["status"], mine["reason"], mine["decided_by"]) == ("refused", "not now", "owner")
    assert small.ask("POST", f"{PREFIX}/uploads", "stranger", json={"collection": "c"}).status_code == 403


def test_who_makes_a_collection_owns_it(small):
    assert small.ask("POST", f"{PREFIX}/uploads", "stranger", json={"collection": "mine"}).status_code == 201
    access = small.ask("GET", f"{PREFIX}/collections/mine/access", "stranger").json()
    assert (access["role"], access["visibility"]) == ("owner", "registered")
    assert small.ask("POST", f"{PREFIX}/uploads", "owner", json={"collection": "mine"}).status_code == 403
    closed = small.ask(
        "PATCH", f"{PREFIX}/collections/mine/access", "stranger", json={"visibility": "restricted"}
    )
    assert closed.status_code == 200
    assert small.ask("GET", f"{PREFIX}/collections/mine/access", "owner").status_code == 404
    last = small.ask("DELETE", f"{PREFIX}/collections/mine/roles/stranger", "stranger")
    assert last.status_code == 400
    assert small.ask("DELETE", f"{PREFIX}/collections/c/roles/stranger", "stranger").status_code == 404


def test_whoever_sends_what_is_stored_elsewhere_learns_nothing(small, phantom):
    small.archive.roles.set_visibility(HOME, "c", Visibility.RESTRICTED)
    body = {"collection": "mine", "labels": {"class": "mine"}}
    upload = small.ask("POST", f"{PREFIX}/uploads", "stranger", json=body).json()["id"]
    content = (phantom / "phantom.nii.gz").read_bytes()
    small.ask("PUT", f"{PREFIX}/uploads/{upload}/files/0", "stranger", content=content)
    line = small.ask("POST", f"{PREFIX}/uploads/{upload}/ingest", "stranger").json()
    assert (line["status"], line["series"]) == ("known", None)
    assert "'c'" not in line["reason"]
    assert dict(small.archive.catalog.get_series(small.series).labels) == {}
