"""What requests leave in the audit record, and the routes about it and about erasing."""

import csv
import io
import json
import socket
import time
from datetime import timedelta

import httpx
import pytest

from imarium.archive import Archive
from imarium.audit import Action, AuditFilter
from imarium.erasure import Kind, Scope
from imarium.faces.http import auditing, create_app
from imarium.settings import Settings
from imarium.testing import running


@pytest.fixture
def http(live):
    with httpx.Client(base_url=f"{live.url}/api/v1", timeout=60) as client:
        yield client


@pytest.fixture
def admin(live):
    with httpx.Client(base_url=f"{live.url}/api/v1", timeout=60) as client:
        answer = client.post("/login", json={"username": "admin", "password": live.password}).json()
        client.headers["Authorization"] = f"Bearer {answer['token']}"
        yield client


def records(live, **wanted):
    live.archive.audit.flush()
    entries = live.archive.audit.entries(AuditFilter(**wanted), limit=100)
    return [(entry.record.action, entry.object_id, entry.record.outcome) for entry in reversed(entries)]


def routes():
    """Every route of the app as the table names them."""
    found = set()
    for route in create_app(None).routes:
        inner = route.effective_route_contexts() if hasattr(route, "effective_route_contexts") else [route]
        for item in inner:
            for method in getattr(item, "methods", None) or ():
                found.add(f"{method} {item.path.removeprefix('/api/v1')}")
    return found


def test_every_route_is_recorded_or_says_why_not():
    assert routes() == auditing.RECORDED.keys() | auditing.NOT_RECORDED.keys()
    assert not auditing.RECORDED.keys() & auditing.NOT_RECORDED.keys()
    assert all(len(reason) > 10 for reason in auditing.NOT_RECORDED.values())


def test_who_logged_in_and_who_tried(http, live):
    http.post("/login", json={"username": "admin", "password": "wrong"})
    http.post("/login", json={"username": "my secret", "password": "wrong"})
    token = http.post("/login", json={"username": "admin", "password": live.password}).json()["token"]
    http.post("/logout", headers={"Authorization": f"Bearer {token}"})
    assert records(live)[1:] == [
        ("login", "admin", "refused"),
        ("login", None, "refused"),
        ("login", "admin", "success"),
        ("logout", None, "success"),
    ]
    entries = live.archive.audit.entries(AuditFilter(), limit=9)
    assert [entry.record.actor for entry in entries] == ["admin", "admin", "", "", ""]
    assert {entry.record.origin for entry in entries[:-1]} == {"127.0.0.1"}
    assert entries[-1].record.action == "server-started"


def test_reading_a_series_is_one_record_however_many_requests(http, live, stored):
    uid = stored["dicom"]
    detail = http.get(f"/series/{uid}").json()
    for start in range(0, 100, 10):
        http.get(
            f"/packs/{detail['pack']['key'].removeprefix('packs/')}",
            headers={"Range": f"bytes={start}-{start + 9}"},
        )
        http.get(f"/series/{uid}/thumbnail")
        http.get(f"/series/{uid}/index")
    assert records(live, action=Action.VIEWED) == [("viewed", uid, "success")]


def test_a_range_of_a_shared_pack_is_of_the_series_that_it_touches(http, live, stored):
    first, second = (live.archive.catalog.get_series(uid) for uid in stored.values())
    if first.index_span > second.index_span:
        first, second = second, first
    assert first.pack == second.pack
    url = f"/packs/{first.pack.key.removeprefix('packs/')}"
    start, stop = second.index_span
    http.get(url, headers={"Range": f"bytes={start}-{stop - 1}"})
    assert records(live, action=Action.VIEWED) == [("viewed", second.series.uid, "success")]
    http.get(url, headers={"Range": f"bytes=16-{first.index_span[1] - 1}"})
    assert records(live, action=Action.VIEWED)[1:] == [("viewed", first.series.uid, "success")]
    http.get(url)
    assert len(records(live, action=Action.VIEWED)) == 2


def test_a_login_beside_open_reading_is_somebody(admin, live, stored):
    admin.get(f"/series/{stored['dicom']}")
    live.archive.audit.flush()
    (entry,) = live.archive.audit.entries(AuditFilter(action=Action.VIEWED), limit=9)
    assert entry.record.actor == "admin"


def test_what_changes_something_is_recorded_before_its_answer_ends(admin, live, stored):
    for number in range(3):
        admin.put(f"/series/{stored['dicom']}/labels", json={"class": str(number)})
        entries = live.archive.audit.entries(AuditFilter(action=Action.LABELLED), limit=9)
        assert len(entries) == number + 1
    admin.post("/labels", json={"items": [{"selection": {"collection": "c"}, "labels": {"a": "b"}}]})
    entries = live.archive.audit.entries(AuditFilter(action=Action.LABELLED), limit=1)
    assert json.loads(entries[0].record.details) == {"series": 2}


def test_exports_manifests_and_lists(admin, live, stored):
    uid = stored["dicom"]
    admin.get(f"/series/{uid}/export", params={"format": "npy", "level": 1})
    admin.get(f"/series/{stored['nifti']}/export", params={"format": "dicom"})
    admin.get("/manifest", params={"collection": "c"})
    for _ in range(3):
        admin.get("/series", params={"collection": "c"})
    assert records(live)[2:] == [
        ("exported", uid, "success"),
        ("exported", stored["nifti"], "failed"),
        ("listed-for-download", "c", "success"),
        ("query", "c", "success"),
    ]


def test_what_is_sent_in(admin, live, phantom):
    identifier = admin.post("/uploads", json={"collection": "sent"}).json()["id"]
    for number, path in enumerate(sorted((phantom / "dicom").iterdir())):
        admin.put(f"/uploads/{identifier}/files/{number}", content=path.read_bytes())
    admin.post(f"/uploads/{identifier}/ingest")
    (uid,) = [record.series.uid for record in live.archive.catalog.series()[0]]
    assert records(live)[2:] == [("stored", uid, "success"), ("ingested", "sent", "success")]
    (entry,) = live.archive.audit.entries(AuditFilter(action=Action.INGESTED), limit=1)
    assert json.loads(entry.record.details)["taken"] == 12


def test_names_that_nothing_has_leave_no_trace_of_themselves(http, live):
    for path in ("/series/SMITH^JOHN", "/packs/aa/SMITH^JOHN", "/series?study=SMITH^JOHN"):
        http.get(path)
    live.archive.audit.flush()
    assert b"SMITH" not in b"".join(
        path.read_bytes() for path in live.archive.settings.home.rglob("*") if path.is_file()
    )


def test_no_header_says_from_where_a_request_came(http, live, stored):
    http.get(f"/series/{stored['dicom']}", headers={"X-Forwarded-For": "6.6.6.6", "Forwarded": "for=6.6.6.6"})
    live.archive.audit.flush()
    (entry,) = live.archive.audit.entries(AuditFilter(action=Action.VIEWED), limit=9)
    assert entry.record.origin == "127.0.0.1"


def test_a_proxy_that_is_trusted_does(tmp_path):
    archive = Archive(Settings(home=tmp_path / "home", trusted_proxies=("127.0.0.1",)))
    with running(archive) as url:
        httpx.get(f"{url}/api/v1/series", headers={"X-Forwarded-For": "10.1.2.3"})
        archive.audit.flush()
        (entry,) = archive.audit.entries(AuditFilter(action=Action.QUERY), limit=9)
    assert entry.record.origin == "10.1.2.3"


def test_a_download_that_breaks_off_is_recorded(live, stored):
    host, port = live.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as line:
        path = f"/api/v1/series/{stored['dicom']}/export?format=npy"
        line.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        line.recv(10)
    for _ in range(600):
        if records(live, action=Action.EXPORTED):
            break
        time.sleep(0.05)
    assert records(live, action=Action.EXPORTED) == [("exported", stored["dicom"], "success")]


def test_the_record_is_read_in_pages_and_by_filters(admin, stored):
    for _ in range(7):
        admin.put(f"/series/{stored['dicom']}/labels", json={})
    page = admin.get("/audit", params={"action": "labelled", "limit": 5}).json()
    assert len(page["items"]) == 5
    rest = admin.get("/audit", params={"action": "labelled", "limit": 5, "before": page["next"]}).json()
    assert (len(rest["items"]), rest["next"]) == (2, None)
    item = page["items"][0]
    assert (item["object"], item["actor"], item["outcome"]) == (stored["dicom"], "admin", "success")
    query = {"object_kind": "study", "object": item["study"]}
    assert len(admin.get("/audit", params=query).json()["items"]) == 7
    assert admin.get("/audit", params={"actor": "nobody"}).json()["items"] == []
    assert len(admin.get("/audit", params={"object_key": item["object_key"]}).json()["items"]) == 7
    for wrong in ({"action": "x"}, {"object_key": "x"}, {"since": "yesterday"}, {"limit": 0}):
        assert admin.get("/audit", params=wrong).status_code == 400
    assert admin.get("/audit/verify").json()["sound"] is True
    table = list(csv.DictReader(io.StringIO(admin.get("/audit/export", params={"format": "csv"}).text)))
    assert [int(row["sequence"]) for row in table] == list(range(1, len(table) + 1))
    assert admin.get("/audit/export", params={"format": "dicom"}).text.count("<AuditMessage>") >= len(table)


def test_the_record_is_for_administrators(http, live):
    live.archive.accounts.add("reader", password="four plain words here")
    token = http.post("/login", json={"username": "reader", "password": "four plain words here"}).json()[
        "token"
    ]
    for method, path in (("GET", "/audit"), ("GET", "/audit/verify"), ("DELETE", "/collections/c")):
        answer = http.request(method, path, headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 403
    assert ("erased", None, "refused") in records(live)


def test_erasing_over_http(admin, live, stored):
    uid = stored["dicom"]
    plan = admin.delete(f"/series/{uid}", params={"dry_run": True}).json()["plan"]
    assert (plan["series"], plan["packs_rewritten"]) == (1, 1)
    pack = admin.get(f"/series/{uid}").json()["pack"]["key"].removeprefix("packs/")
    assert admin.get(f"/packs/{pack}").status_code == 200
    answer = admin.delete(f"/series/{uid}")
    assert answer.status_code == 200
    facts = answer.json()["certificate"]
    assert facts["actor"] == "admin"
    for path in (f"/series/{uid}", f"/packs/{pack}", f"/series/{uid}/thumbnail"):
        assert admin.get(path).status_code in (404, 410)
    assert admin.get(f"/series/{stored['nifti']}/pixels").status_code == 200
    assert admin.delete(f"/series/{uid}").status_code == 404
    erased = [item for item in records(live) if item[0] in ("erased", "erasure-planned")]
    assert erased == [
        ("erasure-planned", None, "success"),
        ("erased", None, "success"),
        ("erased", None, "success"),
        ("erased", None, "failed"),
    ]
    assert live.archive.audit.verify().sound


def test_readers_in_the_middle_get_a_clean_answer(http, live, stored):
    """Another process erases: this one still has the pack and the series in its memory."""
    record = live.archive.catalog.get_series(stored["nifti"])
    pack = f"/packs/{record.pack.key.removeprefix('packs/')}"
    assert http.get(pack, headers={"Range": "bytes=0-9"}).status_code == 206
    assert http.get(f"/series/{stored['nifti']}").status_code == 200
    other = Archive(live.archive.settings)
    other.erasure.erase(
        Scope(Kind.SERIES, stored["dicom"]), actor="x", record=lambda _: None, quiet=timedelta(0)
    )
    other.close()
    gone = http.get(pack, headers={"Range": "bytes=0-9"})
    assert (gone.status_code, gone.json()["error"]["code"]) == (410, "gone")
    assert http.get(pack, headers={"Range": "bytes=0-9"}).status_code == 404
    assert http.get(f"/series/{stored['nifti']}/pixels").status_code == 200


def test_acts_of_people_are_recorded_with_what_they_are_about(admin, live, stored):
    password = "four plain words here"
    admin.post("/accounts", json={"name": "ann", "password": password})
    admin.put("/collections/c/roles/ann", json={"role": "curator"})
    admin.patch("/collections/c/access", json={"visibility": "restricted"})
    admin.get("/search", params={"q": "modality:CT"})
    with httpx.Client(base_url=f"{live.url}/api/v1", timeout=60) as ann:
        credentials = {"username": "ann", "password": password}
        session = ann.post("/session", json=credentials, headers={"Imarium-Request": "1"})
        assert session.status_code == 204
        ann.get(f"/series/{stored['dicom']}")
        assert ann.delete(f"/series/{stored['dicom']}", headers={"Imarium-Request": "1"}).status_code == 403
    live.archive.audit.flush()
    entries = live.archive.audit.entries(AuditFilter(), limit=100)
    found = [
        (entry.record.actor, entry.record.action, entry.object_id, entry.record.outcome)
        for entry in reversed(entries)
    ]
    assert found[2:] == [
        ("admin", "account-created", "ann", "success"),
        ("admin", "role-changed", "c", "success"),
        ("admin", "role-changed", "ann", "success"),
        ("admin", "collection-changed", "c", "success"),
        ("admin", "query", None, "success"),
        ("ann", "login", "ann", "success"),
        ("ann", "viewed", stored["dicom"], "success"),
        ("ann", "erased", None, "refused"),
    ]
