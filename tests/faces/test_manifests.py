"""Labels and manifests over HTTP, in the client and on the command line."""

import io
import json
import subprocess
import sys

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import imarium
from imarium.errors import InvalidRequestError, NotFoundError
from imarium.faces.cli.app import run
from imarium.manifest import Manifest
from imarium.model import Selection

MANIFEST = "/api/v1/manifest"


@pytest.fixture
def stored(live, phantom):
    list(live.archive.ingest.run([phantom / "dicom"], collection="ct", labels={"class": "covid"}))
    list(live.archive.ingest.run([phantom / "phantom.nii.gz"], collection="plain"))
    return {record.series.format: record.series.uid for record in live.archive.catalog.series()[0]}


@pytest.fixture
def http(live):
    with httpx.Client(base_url=live.url) as client:
        yield client


@pytest.fixture
def allowed(http, live):
    token = http.post("/api/v1/login", json={"username": "admin", "password": live.password}).json()["token"]
    http.headers["Authorization"] = f"Bearer {token}"
    return http


def scratch(live):
    return [path.name for path in live.archive.settings.scratch.iterdir() if path.name != "uploads"]


def test_both_formats_hold_the_same(http, stored, live):
    parquet = http.get(MANIFEST, params={"collection": "ct"})
    assert parquet.headers["content-type"] == "application/vnd.apache.parquet"
    assert parquet.headers["content-disposition"] == 'attachment; filename="manifest.parquet"'
    arrow = http.get(MANIFEST, params={"collection": "ct", "format": "arrow"})
    assert arrow.headers["content-type"] == "application/vnd.apache.arrow.stream"
    table = pq.read_table(io.BytesIO(parquet.content))
    assert table.equals(pa.ipc.open_stream(arrow.content).read_all())
    assert table["series"].to_pylist() == [stored["dicom"]]
    assert table["labels"].to_pylist() == [[("class", "covid")]]
    for answer in (parquet, arrow):
        manifest = Manifest.read(answer.content)
        assert answer.headers["etag"] == f'W/"{manifest.digest}"'
        assert manifest.selection == Selection("ct")
    assert scratch(live) == []


def test_get_and_post_take_the_same_selections(http, stored):
    for query, body, series in [
        ({}, {}, {"dicom", "nifti"}),
        ({"modality": "CT"}, {"modality": "CT"}, {"dicom"}),
        ({"label.class": "covid"}, {"labels": {"class": "covid"}}, {"dicom"}),
        ({"label.class": "no"}, {"labels": {"class": "no"}}, set()),
        (
            {"series": [stored["dicom"], stored["nifti"]]},
            {"series": [stored["dicom"], stored["nifti"]]},
            {"dicom", "nifti"},
        ),
        (
            {"series": stored["nifti"], "collection": "plain"},
            {"series": [stored["nifti"]], "collection": "plain"},
            {"nifti"},
        ),
    ]:
        got = Manifest.read(http.get(MANIFEST, params=query).content)
        posted = Manifest.read(http.post(MANIFEST, params={"format": "arrow"}, json=body).content)
        assert got == posted
        assert got.selection == posted.selection
        assert {row.format for row in got.rows()} == series


def test_a_manifest_that_is_held_already_does_not_come_again(http, stored, live):
    first = http.get(MANIFEST)
    assert first.headers["cache-control"] == "private, no-cache"
    header = {"If-None-Match": first.headers["etag"]}
    for again in (
        http.get(MANIFEST, headers=header),
        http.post(MANIFEST, headers=header, json={}, params={"format": "arrow"}),
    ):
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
    live.archive.catalog.label([(Selection("ct"), {"class": "other"})])
    changed = http.get(MANIFEST, headers=header)
    assert changed.status_code == 200
    assert changed.headers["etag"] != first.headers["etag"]
    assert "content-range" not in http.get(MANIFEST, headers={"Range": "bytes=0-9"}).headers


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({"colection": "ct"}, "colection"),
        ({"label.1": "x"}, "key"),
        ({"modality": ""}, "modality"),
        ({"collection": ["a", "b"]}, "one collection"),
        ({"format": "csv"}, "format"),
        ({"presign": 60}, "signed"),
        ({"presign": 0}, "presign"),
    ],
)
def test_bad_selections_are_refused_in_the_query(http, stored, query, says, live):
    answer = http.get(MANIFEST, params=query)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid-request"
    assert says in answer.json()["error"]["message"]
    assert scratch(live) == []


@pytest.mark.parametrize(
    "body", [[], "ct", {"name": "ct"}, {"series": "1.2"}, {"labels": {"a": 1}}, {"collection": ""}, None]
)
def test_bad_selections_are_refused_in_the_body(http, stored, body):
    answer = http.post(MANIFEST, json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid-request"


def test_a_collection_that_is_not_there(http, stored):
    assert http.get(MANIFEST, params={"collection": "ctt"}).status_code == 404


def test_missing_packs_are_damage_of_the_server(http, stored, live):
    for pack in live.archive.catalog.packs():
        (live.archive.settings.objects / pack.key).unlink()
    answer = http.get(MANIFEST)
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "integrity")


def test_labels_of_one_series(http, stored, live, request):
    address = f"/api/v1/series/{stored['dicom']}/labels"
    assert http.put(address, json={"a": "b"}).status_code == 401
    assert http.post("/api/v1/labels", json={"items": []}).status_code == 401
    http = request.getfixturevalue("allowed")
    assert http.get(f"/api/v1/series/{stored['dicom']}").json()["labels"] == {"class": "covid"}
    assert http.put(address, json={"b": "2", "a": "1"}).json() == {"labels": {"a": "1", "b": "2"}}
    assert http.get("/api/v1/series").json()["items"][0]["labels"] == {"a": "1", "b": "2"}
    for bad in ({"1": "x"}, {"a": ""}, {"a": None}, [], {"a": "x" * 501}):
        assert http.put(address, json=bad).status_code == 400
    assert http.put("/api/v1/series/9.9/labels", json={}).status_code == 404
    assert http.put(address, json={}).json() == {"labels": {}}


def test_labels_of_selections(allowed, stored):
    items = [
        {"selection": {"collection": "ct"}, "labels": {"class": None, "seen": "yes"}},
        {"selection": {"series": ["9.9"]}, "labels": {"x": "y"}},
    ]
    assert allowed.post("/api/v1/labels", json={"items": items}).json() == {"series": [1, 0]}
    assert allowed.get(f"/api/v1/series/{stored['dicom']}").json()["labels"] == {"seen": "yes"}
    for bad in (
        {"selection": {"name": "ct"}, "labels": {"a": "b"}},
        {"selection": {}, "labels": {}},
        {"selection": {}, "labels": {"1": "b"}},
    ):
        assert allowed.post("/api/v1/labels", json={"items": [bad]}).status_code == 400


def test_labels_come_with_uploads(live, phantom):
    with imarium.connect(live.url) as db:
        db.login("admin", live.password)
        files = [phantom / "phantom.nii.gz"]
        list(db.ingest(files, "c", labels={"split": "train"}))
        list(db.ingest(files, "c", labels={"seen": "twice"}))
        (item,) = db.list_series()
        assert item["labels"] == {"seen": "twice", "split": "train"}
        with pytest.raises(InvalidRequestError):
            list(db.ingest(files, "c", labels={"1": "x"}))
        assert db.label([(Selection("c"), {"seen": None})]) == [1]
        assert db.describe(item["uid"])["labels"] == {"split": "train"}


def test_the_client_fetches_manifests(live, stored):
    with imarium.connect(live.url) as db:
        assert len(db.manifest()) == 2
        manifest = db.manifest("ct label.class=covid")
        assert manifest == db.manifest(Selection("ct", labels={"class": "covid"}))
        (row,) = manifest.rows()
        assert row.series == stored["dicom"]
        with pytest.raises(InvalidRequestError):
            db.manifest("no=thing")
        with pytest.raises(NotFoundError):
            db.manifest("nowhere")


@pytest.fixture(params=["home", "server"])
def said(request, live, monkeypatch, capsys, tmp_path):
    """Runs `imarium` on the home of `live` or on the server itself; gives its JSON lines, or its text."""
    where = ["--home", str(live.archive.settings.home)]
    if request.param == "server":
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
        monkeypatch.setenv("IMARIUM_PASSWORD", live.password)
        where = ["--server", live.url]

    def call(*arguments, status=0):
        monkeypatch.setattr(sys, "argv", ["imarium", *map(str, arguments), *where])
        with pytest.raises(SystemExit) as left:
            run(None)
        assert left.value.code in ({0, None} if status == 0 else {status})
        output = capsys.readouterr()
        if "--json" in arguments:
            return [json.loads(line) for line in output.out.splitlines()]
        return output.out + output.err

    if request.param == "server":
        call("login", "--username", "admin")
    return call


def test_manifests_on_the_command_line(said, stored, tmp_path):
    for suffix in ("parquet", "arrow"):
        target = tmp_path / f"m.{suffix}"
        (line,) = said("manifest", "ct modality=CT label.class=covid", "-o", target, "--json")
        manifest = Manifest.read(target)
        assert line == {"path": str(target), "series": 1, "digest": manifest.digest}
        assert manifest.selection == Selection("ct", modality="CT", labels={"class": "covid"})
    assert "2 series" in said("manifest", "-o", tmp_path / "all.parquet")
    for arguments, says in [
        (["modalty=CT", "-o", tmp_path / "x.parquet"], "modalty"),
        (["ct", "-o", tmp_path / "x.csv"], "parquet"),
        (["nowhere", "-o", tmp_path / "x.parquet"], "collection"),
        (["ct", "-o", tmp_path / "none" / "x.parquet"], "written"),
        (["ct"], "output"),
    ]:
        assert says in said("manifest", *arguments, status=2)
    assert {path.name for path in tmp_path.glob("*.*")} == {"m.parquet", "m.arrow", "all.parquet"}


def test_labels_on_the_command_line(said, stored, phantom):
    files = [phantom / "phantom.nii.gz"]
    said("ingest", *files, "--label", "split=train", "--label", "site=a b", "--collection", "plain")
    (line,) = said("label", "ct", "split=test", "class=", "--json")
    assert line == {"labelled": 1, "unknown": []}
    found = {item["source_format"]: item["labels"] for item in said("ls", "--json")}
    assert found == {"dicom": {"split": "test"}, "nifti": {"site": "a b", "split": "train"}}
    assert "split=test" in said("show", stored["dicom"])
    assert said("show", stored["dicom"], "--json")[0]["labels"] == {"split": "test"}
    wrong = [[], ["ct"], ["", "a=b"], ["ct", "a"], ["ct", "a=b", "a=c"], ["ct", "1=x"], ["x=y", "a=b"]]
    for arguments in wrong:
        said("label", *arguments, status=2)
    said("ingest", *files, "--label", "split", status=2)


def test_labels_from_tables(said, stored, tmp_path):
    table = tmp_path / "labels.csv"
    first, second = stored["dicom"], stored["nifti"]
    table.write_text(f'\ufeffclass,series,age\nhealthy,{first},\n"a, b",{second},63\n,{first},\n')
    (line,) = said("label", "--csv", table, "--json")
    assert line == {"labelled": 2, "unknown": []}
    found = {item["series"]: item["labels"] for item in said("ls", "--json")}
    assert found == {first: {"class": "healthy"}, second: {"age": "63", "class": "a, b"}}
    table.write_text(f"series,key,value\n{first},class,ill\n9.9,class,ill\n{first},age,7\n")
    (line,) = said("label", "--csv", table, "--json", status=1)
    assert line == {"labelled": 1, "unknown": ["9.9"]}
    assert said("show", first, "--json")[0]["labels"] == {"age": "7", "class": "ill"}
    for content, says in [
        ("", "names"),
        ("uid,class\n1,a\n", "names"),
        ("series\n1\n", "names"),
        ("series,a,a\n1,b,c\n", "names"),
        (f"series,class\n{first},a,b\n", "row 2"),
        (f"series,class,age\n{first},a,b\n{first},a\n", "row 3"),
        (f"series,1\n{first},a\n", "row 2"),
        (",class\n", "names"),
        ("series,class\n,a\n", "row 2"),
        (f"series,class\n{first},{'x' * 501}\n", "row 2"),
        (f"series,class\n{first},{'x' * 200_000}\n", "CSV"),
    ]:
        table.write_text(content)
        assert says in said("label", "--csv", table, status=2)
    table.write_bytes(b"series,class\n\xff\xfe,a\n")
    assert "UTF-8" in said("label", "--csv", table, status=2)
    said("label", "ct", "a=b", "--csv", table, status=2)
    said("label", "--csv", tmp_path / "none.csv", status=2)


LOOK = """
import sys, imarium
from imarium.faces.cli.app import app
with imarium.connect(sys.argv[1]) as db:
    assert list(db.list_series())
print("pyarrow" in sys.modules)
"""


def test_who_asks_for_no_manifest_does_not_load_pyarrow(live, stored):
    done = subprocess.run([sys.executable, "-c", LOOK, live.url], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
