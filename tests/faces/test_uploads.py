"""Uploads: files find one another by the paths that they came with, which go nowhere else."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from imarium.archive import Archive
from imarium.errors import NotFoundError
from imarium.faces.http import incoming
from imarium.faces.http.incoming import DEEPEST, LONGEST_NAME, LONGEST_PATH, Incoming, safe_path
from imarium.faces.http.schemas import NewUpload
from imarium.settings import Settings
from imarium.testing.samples import SAMPLES

VOXELS = bytes(range(60)) * 2


def header(data: str) -> bytes:
    """A MetaImage whose 60 values of 16 bits lie in the file `data`."""
    return f"NDims = 3\nDimSize = 5 4 3\nElementType = MET_SHORT\nElementDataFile = {data}\n".encode()


class Sender:
    """Sends files with paths, and has them taken in."""

    def __init__(self, http: httpx.Client, password: str) -> None:
        self.http = http
        login = http.post("/api/v1/login", json={"username": "admin", "password": password}).json()
        http.headers["Authorization"] = f"Bearer {login['token']}"

    def open(self) -> str:
        """Address of a new upload."""
        opened = self.http.post("/api/v1/uploads", json={"collection": "c"}).json()
        return f"/api/v1/uploads/{opened['id']}"

    def put(self, upload: str, number: int, content: bytes, path: str | None) -> None:
        """Send one file; `path` as it goes over the wire."""
        headers = {} if path is None else {"Imarium-Path": path}
        answer = self.http.put(f"{upload}/files/{number}", content=content, headers=headers)
        assert answer.status_code == 204, answer.text

    def __call__(self, *files: tuple[str | None, bytes]) -> list[dict[str, object]]:
        """The answers for files, in the order of their numbers."""
        upload = self.open()
        for number, (path, content) in enumerate(files):
            self.put(upload, number, content, None if path is None else quote(path))
        return self.ingest(upload)

    def ingest(self, upload: str) -> list[dict[str, object]]:
        """The answers for an upload, in the order of their numbers."""
        answer = self.http.post(f"{upload}/ingest")
        lines = [json.loads(line) for line in answer.text.splitlines()]
        return sorted(lines, key=lambda line: line["number"])


@pytest.fixture
def send(live) -> Iterator[Sender]:
    with httpx.Client(base_url=live.url, timeout=120) as http:
        yield Sender(http, live.password)
    assert list((live.archive.settings.scratch / "uploads").iterdir()) == []


def statuses(lines: list[dict[str, object]]) -> list[object]:
    assert [line["number"] for line in lines] == list(range(len(lines)))
    return [line["status"] for line in lines]


@pytest.mark.parametrize("name", ["nifti", "nrrd", "metaimage", "dicom"])
def test_a_folder_becomes_the_same_as_where_it_lies(name, send, live, tmp_path):
    folder = tmp_path / "samples"
    folder.mkdir()
    assert list(SAMPLES[name].small(folder))
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    sent = send(*((path.relative_to(folder).as_posix(), path.read_bytes()) for path in files))
    statuses(sent)
    archive = Archive(Settings(home=tmp_path / "other", threads=2))
    outcomes = archive.ingest.run(files, collection="c")
    here = {outcome.path: (outcome.status, outcome.series) for outcome in outcomes}
    archive.close()
    assert [(line["status"], line["series"]) for line in sent] == [here[path] for path in files]


def test_pairs_of_one_name_in_different_folders(send, live):
    other = VOXELS[::-1]
    lines = send(
        ("a/x.mhd", header("x.raw")), ("b/x.mhd", header("x.raw")), ("b/x.raw", other), ("a/x.raw", VOXELS)
    )
    assert statuses(lines) == ["taken"] * 4
    assert lines[0]["series"] == lines[3]["series"] != lines[1]["series"] == lines[2]["series"]
    assert live.archive.streaming.volume(lines[0]["series"]).tobytes() == VOXELS
    assert live.archive.streaming.volume(lines[1]["series"]).tobytes() == other


@pytest.mark.parametrize("name", ["Schädel", "頭部", "голова", "e\u0301", "🧠 1;2 #?"])
def test_unicode(name, send):
    lines = send((f"{name}/{name}.raw", VOXELS), (f"{name}/{name}.mhd", header(f"{name}.raw")))
    assert statuses(lines) == ["taken", "taken"]


def test_data_stay_in_their_upload(send):
    assert statuses(send(("x.raw", VOXELS))) == ["refused"]
    assert statuses(send(("x.mhd", header("x.raw")))) == ["refused"]


@pytest.mark.parametrize("data", ["../x.raw", "../../received/00000000", "/etc/hostname", "y/../../x.raw"])
def test_headers_lead_nowhere_else(data, send):
    lines = send(("x.raw", VOXELS), ("y/x.mhd", header(data)))
    assert statuses(lines) == ["refused", "refused"]


def test_without_paths_files_stand_alone(send):
    assert statuses(send((None, header("x.raw")), (None, VOXELS))) == ["refused"] * 2
    assert statuses(send((None, header("LOCAL") + VOXELS), ("..", header("LOCAL") + VOXELS[::-1]))) == [
        "taken",
        "taken",
    ]


def test_of_two_files_with_one_path_neither_is_meant(send):
    lines = send(("x.raw", VOXELS), ("x.mhd", header("x.raw")), ("x.raw", VOXELS[::-1]))
    assert statuses(lines) == ["refused"] * 3


def test_paths_that_differ_in_case(send, monkeypatch):
    files = [("X.raw", VOXELS[::-1]), ("x.mhd", header("x.raw")), ("x.raw", VOXELS)]
    assert statuses(send(*files)) == ["refused", "taken", "taken"]
    monkeypatch.setattr(incoming, "_folds_case", lambda _: True)
    assert statuses(send(("y", b"another"), *files)) == ["refused"] * 4


def test_a_file_where_a_folder_should_be(send):
    whole = header("LOCAL") + VOXELS
    assert statuses(send(("a", whole), ("a/b", whole[:-1] + b"\1"))) == ["taken", "taken"]
    assert statuses(send(("a/b", whole[:-1] + b"\2"), ("a", whole[:-1] + b"\3"))) == ["taken", "taken"]


def test_a_file_that_is_sent_again_counts_as_it_came_last(send):
    upload = send.open()
    send.put(upload, 0, VOXELS[::-1], "y.raw")
    send.put(upload, 1, header("x.raw"), "x.mhd")
    send.put(upload, 0, VOXELS, "x.raw")
    assert statuses(send.ingest(upload)) == ["taken", "taken"]
    upload = send.open()
    send.put(upload, 0, VOXELS[1:] + b"\1", "x.raw")
    send.put(upload, 0, VOXELS[1:] + b"\1", None)
    send.put(upload, 1, header("x.raw"), "x.mhd")
    assert statuses(send.ingest(upload)) == ["refused", "refused"]


def test_an_upload_is_taken_in_once(live):
    root = live.archive.settings.scratch / "uploads"
    identifier = Incoming.create(root, "admin", NewUpload())
    upload = Incoming.find(root, "admin", identifier)
    assert upload.arrange() == {}
    with pytest.raises(NotFoundError):
        upload.arrange()
    with pytest.raises(NotFoundError):
        Incoming.find(root, "admin", identifier)


def test_paths_are_told_to_nobody(send, live, caplog):
    caplog.set_level(logging.DEBUG)
    whole = header("Roe^Jane.raw").replace(b"Roe^Jane.raw", b"LOCAL") + VOXELS
    lines = send(
        ("MRN-4711/Roe^Jane.mha", whole),
        ("MRN-4711/Roe^Jane.png", b"\x89PNG\r\n\x1a\nRoe"),
        ("MRN-4711/Roe^Jane.mhd", header("Roe^Jane.zraw")),
        ("MRN-4711/Roe^Jane.dcm", bytes(128) + b"DICM"),
        ("../MRN-4711/Roe^Jane.txt", b"text"),
    )
    assert statuses(lines) == ["taken"] + ["refused"] * 4
    own = [record for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
    said = json.dumps(lines) + "".join(record.getMessage() for record in own)
    for path in ("/collections", "/studies", "/series", f"/series/{lines[0]['series']}"):
        said += send.http.get("/api/v1" + path).text
    live.archive.catalog.close()
    kept = b"".join(path.read_bytes() for path in live.archive.settings.home.rglob("*") if path.is_file())
    for secret in ("Roe", "Jane", "4711"):
        assert secret not in said
        assert secret.encode() not in kept


# Names

UNSAFE = [
    "", "/", "/etc/passwd", "a//b", "a/", "./a", "a/.", "..", "../a", "a/../../b", "...", "a/.. /b", " ",
    "C:", "c:\\x", "a/C:b", "\\\\host\\share", "a\\..\\b", "a\0b", "a\nb", "a\x1b[2J", "a\x85",
    "x" * (LONGEST_NAME + 1), "é" * (LONGEST_NAME // 2 + 1), "/".join(["a"] * (DEEPEST + 1)),
    "/".join(["x" * 200] * 6),
]  # fmt: skip


@pytest.mark.parametrize("path", UNSAFE)
def test_unsafe_paths(path):
    assert safe_path(quote(path)) is None


@pytest.mark.parametrize("encoded", ["%ff", "a%2f%2e%2e%2fb", "%2e%2e", "%2Fetc", "a%5Cb", "%ed%a0%80"])
def test_unsafe_on_the_wire(encoded):
    assert safe_path(encoded) is None


@pytest.mark.parametrize(
    "path",
    ["a", "a/b.raw", ".hidden", "IMG.", "a b/c", "12:30.raw", "a..b", "~", "$HOME", "%2e", "x" * LONGEST_NAME,
     "/".join(["a"] * DEEPEST), "/".join(["x" * 200] * 5), "頭/部;1"],
)  # fmt: skip
def test_safe_paths(path):
    assert str(safe_path(quote(path))) == path


def test_the_longest_path():
    path = "/".join(["é" * 100] * 5) + "/" + "x" * (LONGEST_PATH - 1005)
    assert str(safe_path(quote(path))) == path
    assert safe_path(quote(path + "x")) is None


TRICKY = st.lists(
    st.sampled_from(["..", ".", "", "/", "\\", "a", "A", "b", "C:", " ", "\0", "é", "e\u0301", "~", "\u202e"])
    | st.text(max_size=3),
    max_size=6,
).map("/".join)


@settings(max_examples=200, deadline=None)
@given(st.lists(TRICKY.map(quote) | st.text("%2eEfF5cC/.", max_size=12), max_size=5))
@example([quote(path) for path in UNSAFE])
@example(["a", "a/b", "a/b/c", "a"])
def test_nothing_is_written_outside_of_the_upload(paths):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "uploads"
        identifier = Incoming.create(root, "admin", NewUpload())
        upload = Incoming.find(root, "admin", identifier)
        for number, path in enumerate(paths):
            upload.part(number).write_bytes(b"%d" % number)
            upload.keep(number, safe_path(path))
        places = upload.arrange()
        assert sorted(places.values()) == list(range(len(paths)))
        for place, number in places.items():
            assert place.read_bytes() == b"%d" % number
            assert place.resolve().is_relative_to(upload.folder.resolve())
        assert [entry.name for entry in os.scandir(folder)] == ["uploads"]
        assert [entry.name for entry in os.scandir(root)] == [identifier]
        assert not any(path.is_symlink() for path in upload.folder.rglob("*"))
        upload.forget()
        assert list(root.iterdir()) == []
