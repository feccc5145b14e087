"""The client without await: threads, forks, interrupts, and the same with await."""

from __future__ import annotations

import asyncio
import inspect
import multiprocessing
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest

import imarium
from imarium.client import RemoteSeries, aio
from imarium.client.core import AsyncClient, AsyncSeries
from imarium.errors import NotFoundError, TransportError


def test_many_threads_share_a_client(live, uid):
    found = []
    with imarium.connect(live.url) as db:

        def work():
            for level in (0, 1, 2):
                found.append((level, db.series(uid).volume(level=level)))

        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(found) == 18
    for level, volume in found:
        np.testing.assert_array_equal(volume, live.archive.streaming.volume(uid, level))


def _in_fork(series, results):
    results.put(np.asarray(series.volume(level=1)))


@pytest.mark.parametrize("used_before", [False, True])
def test_a_fork_makes_connections_of_its_own(live, uid, used_before):
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    with imarium.connect(live.url, cache=False) as db:
        series = db.series(uid)
        if used_before:
            series.volume()
        workers = [context.Process(target=_in_fork, args=(series, results)) for _ in range(3)]
        for worker in workers:
            worker.start()
        expected = live.archive.streaming.volume(uid, 1)
        np.testing.assert_array_equal(series.volume(level=1), expected)  # at the same time
        for _ in workers:
            np.testing.assert_array_equal(results.get(timeout=30), expected)
        for worker in workers:
            worker.join(30)
            assert worker.exitcode == 0
        np.testing.assert_array_equal(series.volume(level=1), expected)


UNPICKLED = """
import pickle, sys
series = pickle.load(sys.stdin.buffer)
print(int(series.volume(level=1).astype("int64").sum()))
"""


@pytest.mark.parametrize("cache", [False, None])
def test_another_process_gets_a_client_by_pickle(live, uid, cache):
    with imarium.connect(live.url, cache=cache) as db:
        series = db.series(uid)
        expected = int(series.volume(level=1).astype("int64").sum())
        done = subprocess.run(
            [sys.executable, "-c", UNPICKLED], input=pickle.dumps(series), capture_output=True, check=True
        )
    assert int(done.stdout) == expected


@pytest.mark.parametrize("place", ["{}", "file://{}/objects"])
def test_clients_of_stores_are_pickled(archive, phantom, place):
    list(archive.ingest.run([phantom / "dicom"], collection="c"))
    with imarium.open(place.format(archive.settings.home)) as db:
        (series,) = pickle.loads(pickle.dumps(db)).search()
        np.testing.assert_array_equal(series.volume(), db.series(series.uid).volume())


def test_within_a_running_loop(live, uid):
    """As in a notebook."""

    async def cell():
        with imarium.connect(live.url) as db:
            return db.series(uid).volume(level=2)

    np.testing.assert_array_equal(asyncio.run(cell()), live.archive.streaming.volume(uid, 2))


def test_with_await(live, uid):
    async def look():
        async with await imarium.aio.connect(live.url) as db:
            assert (await db.status())["series"] == 1
            assert [item["name"] for item in await db.collections()] == ["c"]
            assert [item["uid"] async for item in db.list_series()] == [uid]
            (series,) = await db.search("c modality=CT")
            assert series.uid == uid
            assert len(await db.manifest()) == 1
            levels = await asyncio.gather(*(series.volume(level) for level in (0, 1, 2)))
            frames = [frame async for frame in series.frames(2, 4)]
            with pytest.raises(NotFoundError):
                await db.series("1.2.3")
            return levels, frames

    levels, frames = asyncio.run(look())
    for level, volume in enumerate(levels):
        np.testing.assert_array_equal(volume, live.archive.streaming.volume(uid, level))
    np.testing.assert_array_equal(np.stack(frames), levels[0][2:4])


def test_with_await_nobody_there():
    with pytest.raises(TransportError, match="imarium serve"):
        asyncio.run(aio.connect("http://127.0.0.1:9"))


LEFT = """
import sys, imarium
db = imarium.connect(sys.argv[1])
frames = db.series(sys.argv[2]).frames()
next(frames)
print("here")
"""


def test_a_script_that_closes_nothing_ends(live, uid):
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", LEFT, live.url, uid], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout.strip()) == (0, "here")


@pytest.mark.parametrize(("plain", "awaited"), [(imarium.Client, AsyncClient), (RemoteSeries, AsyncSeries)])
def test_both_offer_the_same(plain, awaited):
    def offered(kind):
        return {name for name, _ in inspect.getmembers(kind) if not name.startswith("_")}

    own = {"login", "ingest", "label", "verify", "export", "of", "core", "people"}
    # Of a server's people and catalog, asked now and then: without an awaited twin.
    own |= {"attributes", "facets", "find", "saved", "list_saved", "save", "change_saved", "remove_saved"}
    assert offered(plain) - offered(awaited) - own <= {"metadata", "series"}
    assert offered(awaited) - offered(plain) <= {"pack", "pixel_bytes", "listing", "origin", "know"}
    for name in ("volume", "frames", "to_nifti", "download", "search", "manifest"):
        if hasattr(plain, name):
            ours = inspect.signature(getattr(plain, name)).parameters
            theirs = inspect.signature(getattr(awaited, name)).parameters
            assert list(ours) == list(theirs)


def test_a_server_of_another_version(live, monkeypatch):
    for spoken, hint in ((2, "this package up to date"), (0, "the server up to date")):
        monkeypatch.setattr("imarium.faces.http.browse.API_VERSION", spoken)
        with pytest.raises(TransportError, match=hint):
            imarium.connect(live.url)
