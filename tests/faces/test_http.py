"""The HTTP API: ranges, guards, errors, and what it must never say."""

import asyncio
import io
import json
import logging
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from email.parser import BytesParser
from email.policy import HTTP

import httpx
import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from imarium.client import Client
from imarium.errors import TransportError
from imarium.faces.http import create_app, listening, read_ahead
from imarium.formats import outgoing
from imarium.formats.delivery import scatter
from imarium.pack import SeriesIndex
from imarium.streaming import Download


@pytest.fixture
def http(live):
    with httpx.Client(base_url=live.url) as client:
        yield client


def test_lists_and_details(http, stored):
    assert http.get("/api/v1/status").json()["series"] == 2
    (collection,) = http.get("/api/v1/collections").json()["items"]
    assert (collection["name"], collection["series"]) == ("c", 2)
    assert http.get("/api/v1/studies", params={"collection": "c"}).json()["total"] == 2
    page = http.get("/api/v1/series", params={"limit": 1, "offset": 1}).json()
    assert (len(page["items"]), page["total"]) == (1, 2)
    detail = http.get(f"/api/v1/series/{stored['dicom']}").json()
    assert detail["shape"] == [12, 96, 96]
    assert detail["exports"] == ["dicom", "nifti", "png", "npy", "ome-zarr"]
    levels = detail["level_details"]
    assert [level["level"] for level in levels] == [0, 1, 2]
    for level in levels:
        ((start, stop),) = level["ranges"]
        assert stop - start == level["bytes"]
    assert levels[0]["bytes"] > levels[2]["bytes"]


def test_ranges_of_a_pack(http, stored, live):
    detail = http.get(f"/api/v1/series/{stored['dicom']}").json()
    url, size = detail["pack"]["url"], detail["pack"]["size"]
    whole = http.get(url)
    assert (whole.status_code, len(whole.content)) == (200, size)
    assert "immutable" in whole.headers["cache-control"]
    part = http.get(url, headers={"Range": "bytes=10-29"})
    assert (part.status_code, part.content) == (206, whole.content[10:30])
    assert part.headers["content-range"] == f"bytes 10-29/{size}"
    assert http.get(url, headers={"Range": "bytes=-7"}).content == whole.content[-7:]
    assert http.get(url, headers={"Range": f"bytes={size - 3}-"}).content == whole.content[-3:]
    assert http.get(url, headers={"Range": "bytes=0-99999999999"}).content == whole.content
    for unsatisfiable in (f"bytes={size}-", "bytes=-0"):
        answer = http.get(url, headers={"Range": unsatisfiable})
        assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{size}")
    for ignored in ("bytes=5-2", "lines=1-2", "bytes=-", "bytes=", "bytes=0-1,x-6", "bytes=0-1,9-3"):
        assert http.get(url, headers={"Range": ignored}).status_code == 200
    head = http.head(url)
    assert (head.headers["content-length"], head.content) == (str(size), b"")
    assert http.get(url, headers={"If-None-Match": whole.headers["etag"]}).status_code == 304
    stale = http.get(url, headers={"Range": "bytes=0-1", "If-Range": '"other"'})
    assert stale.status_code == 200
    assert http.get("/api/v1/packs/aa/none.imp").status_code == 404


def test_several_ranges_of_a_pack(http, stored):
    url = http.get(f"/api/v1/series/{stored['dicom']}").json()["pack"]["url"]
    whole = http.get(url)
    size, etag = len(whole.content), whole.headers["etag"]
    header = {"Range": f"bytes=100-199, 4-7,,{size}-{size + 9} ,\t-5", "If-Range": etag}
    answer = http.get(url, headers=header)
    assert answer.status_code == 206
    assert answer.headers["etag"] == etag
    assert "immutable" in answer.headers["cache-control"]
    assert "content-range" not in answer.headers
    assert int(answer.headers["content-length"]) == len(answer.content)
    # The standard library's parser of MIME messages, as a second opinion.
    message = BytesParser(policy=HTTP).parsebytes(
        b"Content-Type: " + answer.headers["content-type"].encode() + b"\r\n\r\n" + answer.content
    )
    assert message.get_content_type() == "multipart/byteranges"
    assert not message.defects
    parts = [(part["Content-Range"], part.get_payload(decode=True)) for part in message.iter_parts()]
    spans = [(4, 8), (100, 200), (size - 5, size)]  # one of four cannot be satisfied
    assert parts == [(f"bytes {a}-{b - 1}/{size}", whole.content[a:b]) for a, b in spans]
    head = http.head(url, headers=header)
    assert (head.status_code, head.content) == (206, b"")
    for name in ("content-length", "content-type", "etag"):
        assert head.headers[name] == answer.headers[name]
    stale = http.get(url, headers=header | {"If-Range": '"other"'})
    assert (stale.status_code, stale.content) == (200, whole.content)
    assert http.get(url, headers=header | {"If-None-Match": etag}).status_code == 304
    joined = http.get(url, headers={"Range": "bytes=10-19,0-9,15-29"})
    assert joined.headers["content-range"] == f"bytes 0-29/{size}"
    assert joined.content == whole.content[:30]
    none = http.get(url, headers={"Range": f"bytes={size}-,-0"})
    assert (none.status_code, none.headers["content-range"]) == (416, f"bytes */{size}")


def test_the_number_of_ranges_is_bounded(http, stored):
    url = http.get(f"/api/v1/series/{stored['dicom']}").json()["pack"]["url"]
    asked = [f"{10 * number}-{10 * number}" for number in range(257)]
    most = http.get(url, headers={"Range": "bytes=" + ",".join(asked[:256])})
    assert most.status_code == 206
    assert most.content.count(b"Content-Range") == 256
    assert http.get(url, headers={"Range": "bytes=" + ",".join(asked)}).status_code == 416
    # The same bytes again and again are sent once.
    again = http.get(url, headers={"Range": "bytes=" + ",".join(["0-"] * 256)})
    assert len(again.content) == int(again.headers["content-range"].rpartition("/")[2])


def test_large_answers_of_several_ranges_are_streamed(http, stored, monkeypatch):
    monkeypatch.setattr(read_ahead, "_FIRST_BYTES", 64)
    url = http.get(f"/api/v1/series/{stored['dicom']}").json()["pack"]["url"]
    whole = http.get(url).content
    answer = http.get(url, headers={"Range": "bytes=0-999,2000-2999"})
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert whole[:1000] in answer.content
    assert whole[2000:3000] in answer.content


def test_index_and_pixels(http, stored, live):
    uid = stored["dicom"]
    index = SeriesIndex.from_bytes(http.get(f"/api/v1/series/{uid}/index").content)
    assert index.series.shape == (12, 96, 96)
    raw = http.get(f"/api/v1/series/{uid}/pixels", params={"level": 1, "start": 3, "stop": 5}).content
    pixels = np.frombuffer(raw, f"<{np.dtype(index.series.dtype).str[1:]}").reshape(2, 48, 48)
    np.testing.assert_array_equal(pixels, live.archive.streaming.volume(uid, 1)[3:5])
    for wrong in ({"level": 3}, {"level": -1}, {"start": 12}, {"start": 3, "stop": 3}, {"stop": 13}):
        assert http.get(f"/api/v1/series/{uid}/pixels", params=wrong).status_code == 400


def test_exports(http, stored):
    uid = stored["dicom"]
    npy = http.get(f"/api/v1/series/{uid}/export", params={"format": "npy", "level": 1})
    assert np.load(io.BytesIO(npy.content)).shape == (12, 48, 48)
    assert 'filename="series.npy"' in npy.headers["content-disposition"]
    assert int(npy.headers["content-length"]) == len(npy.content)
    archive = http.get(f"/api/v1/series/{uid}/export", params={"format": "dicom"})
    with zipfile.ZipFile(io.BytesIO(archive.content)) as files:
        names = files.namelist()
        assert len(names) == 12
        assert pydicom.dcmread(io.BytesIO(files.read(names[0]))).pixel_array.shape == (96, 96)
    zipped = http.get(f"/api/v1/series/{uid}/export", params={"format": "ome-zarr"})
    assert 'filename="series.ome.zarr.zip"' in zipped.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(zipped.content)) as files:
        assert {item.compress_type for item in files.infolist()} == {zipfile.ZIP_STORED}
        assert {"series.ome.zarr/zarr.json", "series.ome.zarr/2/zarr.json"} <= set(files.namelist())
    refused = http.get(f"/api/v1/series/{stored['nifti']}/export", params={"format": "dicom"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "export-refused")


def test_exports_leave_no_files(http, stored, live):
    http.get(f"/api/v1/series/{stored['dicom']}/export", params={"format": "dicom"})
    http.get(f"/api/v1/series/{stored['nifti']}/export", params={"format": "dicom"})
    assert [item for item in live.archive.settings.scratch.iterdir() if item.name.startswith("export")] == []


def test_login_and_out(http, live):
    wrong = http.post("/api/v1/login", json={"username": "admin", "password": "wrong"})
    assert wrong.status_code == 401
    answer = http.post("/api/v1/login", json={"username": "admin", "password": live.password}).json()
    headers = {"Authorization": f"Bearer {answer['token']}"}
    me = http.get("/api/v1/me", headers=headers).json()
    assert (me["username"], me["is_administrator"]) == ("admin", True)
    assert http.post("/api/v1/logout", headers=headers).status_code == 204
    assert http.get("/api/v1/me", headers=headers).status_code == 401


def test_uploads_belong_to_who_opened_them(http, live):
    token = http.post("/api/v1/login", json={"username": "admin", "password": live.password}).json()["token"]
    headers = {"Authorization": f"Bearer {token}"}
    upload = http.post("/api/v1/uploads", json={"collection": "c"}, headers=headers).json()["id"]
    facts = live.archive.settings.scratch / "uploads" / upload / "upload.json"
    facts.write_text(json.dumps({"user": "another", "collection": "c"}))
    assert http.put(f"/api/v1/uploads/{upload}/files/0", content=b"x", headers=headers).status_code == 404
    for traversal in ("..", "%2e%2e", "0" * 31):
        assert http.put(
            f"/api/v1/uploads/{traversal}/files/0", content=b"x", headers=headers
        ).status_code in {404, 405}


def test_errors_have_one_shape(http, stored):
    for path in ("/series/1.2.3", "/series?limit=0", "/none", f"/series/{stored['dicom']}/export?format=bmp"):
        error = http.get("/api/v1" + path).json()["error"]
        assert set(error) == {"code", "message"}


def test_only_names_of_this_machine_are_answered(http):
    assert http.get("/api/v1/status", headers={"Host": "evil.example"}).status_code == 400
    assert http.get("/api/v1/status", headers={"Host": "localhost:8000"}).status_code == 200


def test_guards_in_every_answer(http):
    headers = http.get("/api/v1/status").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert "default-src 'self'" in headers["content-security-policy"]


def test_logs_and_answers_never_name_a_patient(http, live, phantom, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    dataset = pydicom.dcmread(sorted((phantom / "dicom").iterdir())[0])
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = "Roe^Jane", "MRN-4711", "19501231"
    dataset.SeriesInstanceUID = generate_uid()
    dataset.save_as(tmp_path / "x.dcm")
    token = http.post("/api/v1/login", json={"username": "admin", "password": live.password}).json()["token"]
    headers = {"Authorization": f"Bearer {token}"}
    said = []
    for content in ((tmp_path / "x.dcm").read_bytes(), (tmp_path / "x.dcm").read_bytes()[:-100]):
        upload = http.post("/api/v1/uploads", json={}, headers=headers).json()["id"]
        http.put(f"/api/v1/uploads/{upload}/files/0", content=content, headers=headers)
        said.append(http.post(f"/api/v1/uploads/{upload}/ingest", headers=headers).text)
    assert json.loads(said[0])["status"] == "taken"
    assert json.loads(said[1])["status"] == "refused"
    uid = json.loads(said[0])["series"]
    for path in ("/collections", "/studies", "/series", f"/series/{uid}"):
        said.append(http.get("/api/v1" + path).text)
    logged = "".join(
        record.getMessage() for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))
    )  # without this test's own client
    everything = "".join(said) + logged
    for secret in ("Roe", "Jane", "4711", "19501231"):
        assert secret not in everything
    assert uid not in logged
    assert live.password not in logged


def test_an_unexpected_error_stays_inside(http, live, monkeypatch, caplog):
    def broken(_within):
        raise RuntimeError("Roe^Jane was here")

    monkeypatch.setattr(live.archive.catalog, "collections", broken)
    answer = http.get("/api/v1/collections")
    assert answer.status_code == 500
    assert "Roe" not in answer.text + caplog.text
    monkeypatch.undo()
    assert http.get("/api/v1/collections").status_code == 200


class Direct:
    """The app without a network in between."""

    def __init__(self, archive, names=("testserver",), **options):
        app = create_app(archive, names, **options)
        self.transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self.headers = {}

    def __call__(self, method, path, headers=None, **options):
        async def answer():
            async with httpx.AsyncClient(transport=self.transport, base_url="http://testserver") as client:
                return await client.request(method, path, headers=self.headers | (headers or {}), **options)

        return asyncio.run(answer())


def test_beyond_this_machine_the_page_is_served_to_all(archive):
    ask = Direct(archive, open_reading=False)
    assert ask("GET", "/").status_code in {200, 404}  # the page, or that it is not built
    assert ask("GET", "/api/v1/openapi.json").status_code == 401


@pytest.mark.parametrize(
    ("host", "open_reading"), [("127.0.0.1", True), ("localhost", True), ("0.0.0.0", False), ("", False)]
)
def test_who_may_read_follows_from_the_address(archive, host, open_reading):
    with listening(archive, host, 0) as bound:
        assert bound.open_reading == open_reading


def test_names_that_are_answered_to(archive):
    ask = Direct(archive, names=("127.0.0.1", "::1", "images.example"))
    for name in ("127.0.0.1:8000", "[::1]:8000", "::1", "IMAGES.example:80"):
        assert ask("GET", "/api/v1/status", headers={"Host": name}).status_code == 200, name
    for name in ("evil.example", "images.example.evil.example", "[", ""):
        answer = ask("GET", "/api/v1/status", headers={"Host": name})
        assert answer.status_code == 400, name
        assert "--name" in answer.json()["error"]["message"]
        assert "content-security-policy" in answer.headers


@pytest.mark.parametrize("path", ["/x%00y", "/" + "x" * 300, "/api/v1/series/%00", "/api/v1/packs/%00/x"])
def test_names_that_cannot_be(archive, path):
    assert Direct(archive)("GET", path).json()["error"]["code"] == "not-found"


def test_numbers_are_bounded(http, stored):
    series = f"/series/{stored['dicom']}"
    for path in ("/series?offset=", "/studies?offset=", f"{series}/pixels?start=", f"{series}/pixels?stop=",
                 f"{series}/pixels?level=", f"{series}/export?format=npy&level="):  # fmt: skip
        assert http.get(f"/api/v1{path}{1 << 63}").status_code == 400, path
    url = http.get(f"/api/v1{series}").json()["pack"]["url"]
    assert http.get(url, headers={"Range": f"bytes=0-{'9' * 5000}"}).status_code == 200


def test_damage_is_answered_and_never_told(http, stored, live, caplog, monkeypatch, tmp_path):
    uid = stored["dicom"]
    record = live.archive.catalog.get_series(uid)
    index = live.archive.streaming.index(record)
    path = live.archive.settings.objects / record.pack.key
    whole = path.read_bytes()
    address = f"/api/v1/series/{uid}/pixels"

    def damaged(frame):
        data = bytearray(whole)
        data[index.span(0, frame)[0]] ^= 255
        path.write_bytes(data)

    damaged(0)
    answer = http.get(address)
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "integrity")
    exported = f"/api/v1/series/{uid}/export"
    for format_name in ("npy", "nifti", "png", "dicom", "ome-zarr"):
        answer = http.get(exported, params={"format": format_name})
        assert (answer.status_code, answer.json()["error"]["code"]) == (500, "integrity"), format_name
    damaged(11)  # too late for an answer: the body stays short
    with pytest.raises(httpx.RemoteProtocolError):
        http.get(address)
    monkeypatch.setattr(outgoing, "_BATCH_BYTES", 1)
    for query in ("npy", "nifti", "nifti&compress=false", "png", "dicom"):  # OME-Zarr: all in its first chunk
        with pytest.raises(httpx.RemoteProtocolError):
            http.get(f"{exported}?format={query}")
    with Client(live.url) as client, pytest.raises(TransportError, match="broke off"):
        client.export(uid, tmp_path, format="dicom")
    assert list(tmp_path.glob("series*")) == []  # no half a file that looks like a whole one
    assert "unexpected IntegrityError" in caplog.text
    assert "Traceback" not in caplog.text
    assert "checksum" not in caplog.text


def test_a_lost_pack_is_damage(http, stored, live):
    uid = stored["dicom"]
    pack = http.get(f"/api/v1/series/{uid}").json()["pack"]
    (live.archive.settings.objects / pack["key"]).unlink()
    for path in (f"/series/{uid}/pixels", f"/series/{uid}/index", f"/series/{uid}/thumbnail",
                 f"/series/{uid}/cine", f"/series/{uid}/export?format=dicom",
                 f"/series/{uid}/export?format=npy", f"/{pack['key']}"):  # fmt: skip
        answer = http.get("/api/v1" + path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (500, "integrity"), path


def test_few_exports_at_a_time(http, stored, live, monkeypatch):
    running, most = [], []

    def download(uid, format_name, **_):
        def chunks():
            running.append(uid)
            most.append(len(running))
            time.sleep(0.05)
            running.pop()
            yield b"x"

        return Download("series.npy", 1, chunks(), ())

    monkeypatch.setattr(live.archive.streaming, "download", download)
    address = f"/api/v1/series/{stored['dicom']}/export?format=npy"
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: http.get(address).content, range(6)))
    assert answers == [b"x"] * 6
    assert max(most) <= 2


def test_clients_that_go_away_leave_nothing_behind(http, stored, live):
    """More of them than exports at a time: none keeps its turn, or a file."""
    for format_name in ("dicom", "png", "ome-zarr", "npy"):
        query = {"format": format_name, "transfer_syntax": "htj2k" if format_name == "dicom" else None}
        params = {key: value for key, value in query.items() if value is not None}
        with http.stream("GET", f"/api/v1/series/{stored['dicom']}/export", params=params) as answer:
            next(answer.iter_raw(1))
    assert http.get(f"/api/v1/series/{stored['dicom']}/export?format=npy").status_code == 200
    assert list(live.archive.settings.scratch.iterdir()) == []


def test_a_client_hears_all_notes(live, stored, tmp_path, monkeypatch):
    monkeypatch.setattr(outgoing, "_BATCH_BYTES", 1)
    monkeypatch.setattr("imarium.formats.dicom.encapsulating.rewrapped", lambda *_, **__: None)
    said = []
    with Client(live.url) as client:
        path = client.export(
            stored["dicom"], tmp_path, format="dicom", transfer_syntax="htj2k", report=said.append
        )
        assert [note.partition(",")[0] for note in said] == ["12 of 12 images were coded anew"]
        assert len(scatter(path)) == 12
        said.clear()
        client.export(stored["dicom"], tmp_path, format="png", report=said.append)
        client.export(stored["dicom"], tmp_path, format="npy", report=said.append)
    assert said == []


def test_what_breaks_off_is_not_ingested(http, live):
    token = http.post("/api/v1/login", json={"username": "admin", "password": live.password}).json()["token"]
    headers = {"Authorization": f"Bearer {token}"}
    upload = http.post("/api/v1/uploads", json={}, headers=headers).json()["id"]

    def body():
        yield b"half"
        seen.extend((live.archive.settings.scratch / "uploads" / upload / "received").iterdir())
        raise OSError("gone")

    seen = []
    with pytest.raises(OSError, match="gone"):
        http.put(f"/api/v1/uploads/{upload}/files/0", content=body(), headers=headers)
    assert seen == []
    assert http.post(f"/api/v1/uploads/{upload}/ingest", headers=headers).text == ""
