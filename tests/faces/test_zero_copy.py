"""Files sent by the system: whole, in order with other requests, and never short without a sign."""

import http.client
import os
import socket
import threading
import time
from contextlib import contextmanager

import psutil
import pytest
import uvicorn

from imarium.archive import Archive
from imarium.faces.http.zero_copy import EXTENSION, FileAnswer, ZeroCopyProtocol, takes_files
from imarium.ingest import Summary
from imarium.phantoms import ct_chest
from imarium.settings import Settings
from imarium.testing.servers import running

SIZE = 24 << 20


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    path = tmp_path_factory.mktemp("zero-copy") / "file"
    path.write_bytes(os.urandom(SIZE))
    return path


@contextmanager
def server(app, loop):
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, http=ZeroCopyProtocol, loop=loop, log_config=None, access_log=False)
    bound = uvicorn.Server(config)
    thread = threading.Thread(target=bound.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        bound.should_exit = True
        thread.join(10)


def app_over(path, promised=None, asked=None):
    """`GET /OFFSET/COUNT` answers with those bytes, of which the head may promise more than there are."""

    async def app(scope, receive, send):
        if scope["type"] != "http":
            return
        assert takes_files(scope)
        if asked is not None:
            asked.append(scope["path"])
        _, offset, count = scope["path"].split("/")
        answer = FileAnswer(path.open("rb"), int(offset), promised or int(count), 200, {}, "x/y")
        await answer(scope, receive, send)

    return app


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_spans_of_a_file_over_one_connection(content, loop):
    expected = content.read_bytes()
    with server(app_over(content), loop) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        for offset, count in [(0, SIZE), (1, 1), (12345, 3 << 20), (SIZE - 7, 7), (0, 5 << 20)]:
            connection.request("GET", f"/{offset}/{count}")
            answer = connection.getresponse()
            assert answer.getheader("Content-Length") == str(count)
            assert answer.read() == expected[offset : offset + count]


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_a_slow_reader_gets_everything_and_stops_nobody(content, loop):
    expected = content.read_bytes()
    with server(app_over(content), loop) as port, socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
        slow.connect(("127.0.0.1", port))
        slow.sendall(f"GET /0/{SIZE} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        head = slow.recv(1)
        other = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        other.request("GET", f"/0/{SIZE}")
        assert other.getresponse().read() == expected
        received = head
        while piece := slow.recv(1 << 20):
            received += piece
        assert received.partition(b"\r\n\r\n")[2] == expected


def test_a_file_that_is_short_never_looks_whole(content):
    with server(app_over(content, promised=SIZE + 1), "uvloop") as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", "/0/0")
        with pytest.raises(http.client.IncompleteRead):
            connection.getresponse().read()


def test_nothing_stays_open_after_readers_that_go_away(content):
    asked = []
    with server(app_over(content, asked=asked), "uvloop") as port:
        first = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        first.request("GET", "/0/1")  # what is opened once stays
        assert len(first.getresponse().read()) == 1
        before = psutil.Process().num_fds()
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", port)) as gone:
                gone.sendall(f"GET /0/{SIZE} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                assert gone.recv(10)
        assert len(asked) == 21
        until = time.monotonic() + 20
        while psutil.Process().num_fds() > before and time.monotonic() < until:
            time.sleep(0.05)
        assert psutil.Process().num_fds() <= before


def test_packs_are_sent_so_by_the_server(tmp_path, monkeypatch):
    sent = []
    plain = FileAnswer.__call__

    async def noted(self, scope, receive, send):
        sent.append(EXTENSION in scope["extensions"])
        await plain(self, scope, receive, send)

    monkeypatch.setattr(FileAnswer, "__call__", noted)
    archive = Archive(Settings(home=tmp_path / "home"))
    ct_chest(16, 256, 256).write_nifti(tmp_path / "ct.nii.gz")
    (uid,) = Summary.of(archive.ingest.run([tmp_path / "ct.nii.gz"], collection="c")).series
    key = archive.catalog.get_series(uid).pack.key
    expected = (archive.settings.objects / key).read_bytes()
    with running(archive) as url:
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
        for header, start, stop in [
            ({}, 0, len(expected)),
            ({"Range": "bytes=100-400099"}, 100, 400100),
            ({"Range": "bytes=5-9"}, 5, 10),
        ]:
            connection.request("GET", f"/api/v1/{key}", headers=header)
            answer = connection.getresponse()
            assert answer.read() == expected[start:stop]
            assert answer.status == (206 if header else 200)
    assert sent == [True, True]
