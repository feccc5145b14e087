"""The Python client against a real server on loopback."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest

import imarium
from imarium.client import remote
from imarium.errors import AuthenticationError, ImariumError, LevelError, NotFoundError, TransportError
from imarium.model import Volume
from imarium.pack import layout
from imarium.testing import proxied
from imarium.testing.dicom_files import make_table, write_file
from imarium.testing.samples import SAMPLES


def test_a_level_is_one_range_request_of_just_its_bytes(live, uid):
    with proxied(live.url) as proxy, imarium.connect(proxy.url) as db:
        series = db.series(uid)
        assert series.index.levels == series.levels == 3
        proxy.asked.clear()
        volume = series.volume(level=1)
        assert [asked.ranges for asked in proxy.asked] == [series.index.spans(1)]
        ((start, stop),) = series.index.spans(1)
        assert stop - start < series.index.level_bytes(0) / 2
    assert isinstance(volume, Volume)
    assert volume.shape == (12, 48, 48)
    expected = live.archive.streaming.volume(uid, 1)
    np.testing.assert_array_equal(volume, expected)
    np.testing.assert_array_equal(volume.affine, expected.affine)
    assert volume.spacing == expected.spacing
    assert volume.metadata["modality"] == "CT"


def test_full_resolution_is_exact(live, uid):
    with imarium.connect(live.url) as db:
        np.testing.assert_array_equal(db.series(uid).volume(), live.archive.streaming.volume(uid))


def test_a_level_of_several_blocks_is_one_request_of_several_ranges(live, phantom, monkeypatch):
    monkeypatch.setattr(layout, "MOST_BLOCK_FRAMES", 4)
    (uid,) = {outcome.series for outcome in live.archive.ingest.run([phantom / "dicom"], collection="c")}
    with proxied(live.url) as proxy, imarium.connect(proxy.url) as db:
        series = db.series(uid)
        spans = series.index.spans(1)
        assert len(spans) == 3
        assert series.metadata["level_details"][1]["ranges"] == [list(span) for span in spans]
        assert series.index.spans(0) == [series.index.body]
        np.testing.assert_array_equal(series.volume(level=1), live.archive.streaming.volume(uid, 1))
        assert [asked.ranges for asked in proxy.for_packs[1:]] == [spans]
    monkeypatch.setattr(remote, "_RANGES_AT_ONCE", 2)
    with proxied(live.url) as proxy, imarium.connect(proxy.url, cache=False) as db:
        np.testing.assert_array_equal(db.series(uid).volume(level=1), live.archive.streaming.volume(uid, 1))
        assert [len(asked.ranges) for asked in proxy.for_packs] == [2, 2]


def test_index_and_level_come_in_one_request(live, uid):
    with proxied(live.url) as proxy, imarium.connect(proxy.url) as db:
        volume = db.series(uid).volume(level=2)
        index = db.series(uid).index
        assert [asked.path.split("/")[3] for asked in proxy.asked] == ["status", "series", "packs", "series"]
        assert proxy.for_packs[0].ranges == [*index.spans(2), live.archive.catalog.get_series(uid).index_span]
    np.testing.assert_array_equal(volume, live.archive.streaming.volume(uid, 2))


def test_lists(live, uid):
    with imarium.connect(live.url) as db:
        assert [item["name"] for item in db.collections()] == ["c"]
        assert [item["uid"] for item in db.list_series(collection="c")] == [uid]
        assert list(db.list_series(collection="none")) == []
        assert "3 levels" in repr(db.series(uid))


def test_clear_errors(live, uid):
    with imarium.connect(live.url) as db:
        with pytest.raises(NotFoundError, match="no series has that UID"):
            db.series("1.2.3")
        for nonsense in ("../collections", "a b?c#d", "", "%2e%2e/x"):
            with pytest.raises(ImariumError):
                db.series(nonsense)
        with pytest.raises(LevelError, match="levels 0"):
            db.series(uid).volume(level=9)
        with pytest.raises(AuthenticationError, match="login"):
            list(db.ingest([], "c"))
        with pytest.raises(AuthenticationError):
            list(db.verify())


def test_nobody_there():
    with pytest.raises(TransportError, match="imarium serve"):
        imarium.connect("http://127.0.0.1:9")
    with pytest.raises(TransportError):
        imarium.connect("no address")


def test_a_server_of_another_kind():
    class Hello(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>hello</html>")

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Hello)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with pytest.raises(TransportError, match="no Imarium server"):
        imarium.connect(f"http://127.0.0.1:{server.server_port}")
    server.shutdown()
    server.server_close()


def test_ingest_over_the_network(live, phantom, nifti, tmp_path):
    (tmp_path / "bad.dcm").write_text("text")
    files = [*sorted((phantom / "dicom").iterdir()), nifti, tmp_path / "bad.dcm"]
    with imarium.connect(live.url) as db:
        db.login("admin", live.password)
        answers = {answer["number"]: answer for answer in db.ingest(files, "remote")}
        again = list(db.ingest(files, "remote"))
    assert [answers[number]["status"] for number in range(14)] == ["taken"] * 13 + ["refused"]
    assert answers[13]["reason"]
    assert {answer["status"] for answer in again} == {"known", "refused"}
    assert list((live.archive.settings.scratch / "uploads").iterdir()) == []


def test_files_of_one_folder_find_one_another(live, tmp_path):
    files = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        list(SAMPLES["metaimage"].small(folder))
        files += sorted((folder / "detached").iterdir()) if name == "a" else sorted(folder.glob("*/*.mhd"))
    with imarium.connect(live.url) as db:
        db.login("admin", live.password)
        answers = sorted(db.ingest(files, "c"), key=lambda answer: answer["number"])
    assert [answer["status"] for answer in answers] == ["taken"] * 2 + ["refused"] * 4
    assert all("not in its folder" in answer["reason"] for answer in answers[2:])


def test_a_disc_is_found_by_its_table_of_contents(live, phantom, tmp_path):
    disc = tmp_path / "disc"
    (disc / "IMAGES").mkdir(parents=True)
    files = [disc / "DICOMDIR"]
    for number, path in enumerate(sorted((phantom / "dicom").iterdir())):
        files.append(disc / "IMAGES" / f"IM{number}")
        files[-1].write_bytes(path.read_bytes())
    write_file(files[0], make_table(("IMAGES", path.name) for path in files[1:]))
    with imarium.connect(live.url) as db:
        db.login("admin", live.password)
        answers = sorted(db.ingest(files, "c", folders=[disc]), key=lambda answer: answer["number"])
    assert [answer["status"] for answer in answers] == ["known"] + ["taken"] * 12
    assert answers[0]["reason"] == "a table of contents (DICOMDIR) of 12 files"


def test_an_upload_that_breaks_off_is_dropped(live, nifti):
    def files():
        yield nifti
        raise KeyboardInterrupt

    with imarium.connect(live.url) as db:
        db.login("admin", live.password)
        with pytest.raises(KeyboardInterrupt):
            list(db.ingest(files(), "c"))
    assert list((live.archive.settings.scratch / "uploads").iterdir()) == []


def test_a_file_that_fails_is_refused_and_the_rest_goes_on(live, nifti, phantom, tmp_path):
    (tmp_path / "large").write_bytes(bytes(100_000))
    object.__setattr__(live.archive.settings.limits, "file_bytes", 50_000)  # frozen, but for this test
    files = [tmp_path / "gone", tmp_path, tmp_path / "large", nifti]
    with imarium.connect(live.url) as db:
        db.login("admin", live.password)
        answers = {answer["number"]: answer for answer in db.ingest(files, "c")}
    assert [answers[number]["status"] for number in range(4)] == ["refused"] * 3 + ["taken"]
    assert "disappeared" in answers[0]["reason"]
    assert "cannot be read" in answers[1]["reason"]
    assert "larger than the server takes" in answers[2]["reason"]


def test_public_names():
    assert sorted(imarium.__all__) == [
        "Client", "ImariumError", "RemoteSeries", "Selection", "Series", "Volume", "__version__", "aio",
        "connect", "open",
    ]  # fmt: skip
    assert all(hasattr(imarium, name) for name in imarium.__all__)
