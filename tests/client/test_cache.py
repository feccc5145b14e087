"""The cache on disk: bounded, shared, and never a source of wrong bytes."""

from __future__ import annotations

import multiprocessing
import os
import random
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import imarium
from imarium.client.cache import RangeCache, cache_bytes, cache_folder
from imarium.errors import InvalidRequestError

CONTENT = random.Random(1).randbytes(200_000)
SPANS = st.lists(
    st.tuples(st.integers(0, 199_999), st.integers(0, 3000)).map(lambda p: (p[0], min(200_000, sum(p)))),
    max_size=8,
)


def cut(spans):
    return [CONTENT[start:stop] for start, stop in spans]


def test_what_was_put_is_there_and_parts_of_it(tmp_path):
    cache = RangeCache(tmp_path, 1 << 20)
    cache.put("p", [(0, 100), (100, 300)], cut([(0, 100), (100, 300)]))
    assert cache.get("p", [(0, 300), (50, 150), (299, 301), (7, 7)]) == [
        CONTENT[:300],
        CONTENT[50:150],
        None,
        b"",
    ]
    assert cache.get("other", [(0, 100)]) == [None]
    cache.forget("p", [(100, 110)])
    assert cache.get("p", [(0, 100), (100, 110), (110, 300), (90, 120)]) == [
        CONTENT[:100],
        None,
        CONTENT[110:300],
        None,
    ]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.sampled_from(["put", "forget", "get"]), st.integers(0, 1), SPANS), max_size=12))
def test_two_that_share_a_folder_only_ever_tell_what_was_put(tmp_path, steps):
    folder = tmp_path / str(time.monotonic_ns())
    both = [RangeCache(folder, 1 << 30) for _ in range(2)]
    for what, which, spans in steps:
        if what == "put":
            both[which].put("p", spans, cut(spans))
            assert both[1 - which].get("p", spans) == cut(spans)
        elif what == "forget":
            both[which].forget("p", spans)
        found = both[which].get("p", spans)
        assert all(piece in (None, whole) for piece, whole in zip(found, cut(spans), strict=True))


def test_it_is_bounded_and_keeps_what_was_used_last(tmp_path):
    cache = RangeCache(tmp_path, 1 << 20)
    piece = bytes(40_000)
    for number in range(60):
        cache.put(f"pack {number}", [(0, 40_000)], [piece])
        assert cache.size() <= cache.limit * 33 // 32 + 50_000
    assert cache.get("pack 59", [(0, 40_000)]) == [piece]
    assert cache.get("pack 0", [(0, 40_000)]) == [None]
    assert cache.size() > cache.limit // 2


def test_a_pack_that_is_larger_than_the_limit_stays_within_it(tmp_path):
    cache = RangeCache(tmp_path, 1 << 20)
    for start in range(0, 8 << 20, 1 << 18):
        cache.put("p", [(start, start + (1 << 18))], [bytes(1 << 18)])
        assert cache.size() <= (1 << 20) * 33 // 32 + (1 << 18)
    cache.put("p", [(0, 1 << 20)], [bytes(1 << 20)])  # would fill it alone: not kept
    assert cache.get("p", [(0, 1 << 20)]) == [None]


def test_used_packs_outlive_others(tmp_path):
    cache = RangeCache(tmp_path, 1 << 20)
    for number in range(6):
        cache.put(f"pack {number}", [(0, 100_000)], [bytes(100_000)])
        for log in cache.folder.glob("*/log"):
            os.utime(log, (log.stat().st_atime, log.stat().st_mtime - 100))
    again = RangeCache(tmp_path, 1 << 20)  # another process
    assert again.get("pack 0", [(0, 1)]) == [b"\0"]
    again.trim(400_000)
    assert [again.get(f"pack {n}", [(0, 1)])[0] is not None for n in range(6)] == [
        True,
        *[False] * 3,
        *[True] * 2,
    ]


@pytest.mark.parametrize(
    "torn", [b"\n+ 0 2000", b"\n+ 0 200000 00000000\n", b"\xff\x00garbage\n\n", b"\n+ 5 x 12345678\n"]
)
def test_a_log_that_a_crash_tore_claims_nothing(tmp_path, torn):
    cache = RangeCache(tmp_path, 1 << 20)
    cache.put("p", [(0, 10)], [CONTENT[:10]])
    (log,) = cache.folder.glob("*/log")
    with log.open("ab") as file:
        file.write(torn)
    after = RangeCache(tmp_path, 1 << 20)
    assert after.get("p", [(0, 10), (0, 2000)]) == [CONTENT[:10], None]
    after.put("p", [(20, 30)], [CONTENT[20:30]])
    assert RangeCache(tmp_path, 1 << 20).get("p", [(20, 30)]) == [CONTENT[20:30]]


def test_bytes_that_are_gone_are_not_there(tmp_path):
    cache = RangeCache(tmp_path, 1 << 20)
    cache.put("p", [(0, 1000)], [CONTENT[:1000]])
    (content,) = cache.folder.glob("*/bytes")
    os.truncate(content, 500)
    assert cache.get("p", [(0, 1000), (0, 500)]) == [None, CONTENT[:500]]


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    cache = RangeCache(tmp_path / "file", 1 << 20)
    cache.put("p", [(0, 10)], [bytes(10)])
    assert cache.get("p", [(0, 10)]) == [None]
    cache.forget("p", [(0, 10)])
    assert cache.size() == 0


def test_many_threads(tmp_path):
    cache = RangeCache(tmp_path, 1 << 20)
    wrong = []

    def work(seed):
        chance = random.Random(seed)
        for _ in range(150):
            start = chance.randrange(190_000)
            spans = [(start, start + chance.randrange(10_000))]
            pack = f"pack {chance.randrange(4)}"
            for piece, whole in zip(cache.get(pack, spans), cut(spans), strict=True):
                if piece not in (None, whole):
                    wrong.append(spans)
            cache.put(pack, spans, cut(spans))
            if chance.random() < 0.05:
                cache.trim(100_000)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def _busy(folder, seed, failures):
    cache = RangeCache(folder, 300_000)
    chance = random.Random(seed)
    for _ in range(300):
        start = chance.randrange(190_000)
        spans = [(start, start + chance.randrange(10_000))]
        pack = f"pack {chance.randrange(3)}"
        for piece, whole in zip(cache.get(pack, spans), cut(spans), strict=True):
            if piece not in (None, whole):
                failures.put(spans)
        cache.put(pack, spans, cut(spans))


def test_processes_that_write_and_throw_out_at_the_same_time(tmp_path):
    context = multiprocessing.get_context("fork")
    failures = context.Queue()
    workers = [context.Process(target=_busy, args=(tmp_path, seed, failures)) for seed in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert failures.empty()
    assert RangeCache(tmp_path, 300_000).size() < 600_000


def test_a_folder_that_is_replaced_while_it_is_opened(tmp_path, monkeypatch):
    """The bytes of the old folder never go with the log of the new one."""
    other, opened = RangeCache(tmp_path, 1 << 20), os.open
    spans, further = [(0, 5000)], [(10_000, 15_000)]
    other.put("pack", further, cut(further))

    def replacing(path, *arguments, **options):
        descriptor = opened(path, *arguments, **options)
        if str(path).endswith("bytes"):
            monkeypatch.undo()
            (folder,) = (entry for entry in other.folder.iterdir())
            folder.rename(tmp_path / "thrown out")
            other.put("pack", spans, cut(spans))
        return descriptor

    monkeypatch.setattr(os, "open", replacing)
    cache = RangeCache(tmp_path, 1 << 20)
    for _ in range(2):
        (piece,) = cache.get("pack", spans)
        assert piece in (None, *cut(spans))


SHARING = """
import sys, imarium
with imarium.connect(sys.argv[1]) as db:
    for level in (2, 1, 0):
        print(int(db.series(sys.argv[2]).volume(level=level).astype("int64").sum()))
"""


def test_another_process_finds_what_one_fetched(live, uid, proxy):
    sums = []
    for fetched in (3, 0):
        proxy.asked.clear()
        done = subprocess.run(
            [sys.executable, "-c", SHARING, proxy.url, uid], capture_output=True, text=True, check=True
        )
        sums.append(done.stdout)
        assert len(proxy.for_packs) == fetched
    assert sums[0] == sums[1]
    expected = [int(live.archive.streaming.volume(uid, level).astype("int64").sum()) for level in (2, 1, 0)]
    assert [int(line) for line in sums[0].split()] == expected


def test_a_finer_level_fetches_only_what_it_adds(live, uid, proxy, tmp_path):
    with imarium.connect(proxy.url, cache=tmp_path / "own") as db:
        series = db.series(uid)
        index = series.index
        proxy.asked.clear()
        series.volume(level=2)
        series.volume(level=0)
        spans = [span for asked in proxy.for_packs for span in asked.ranges]
        assert spans == [*index.spans(2), (index.spans(2)[0][1], index.body[1])]
        proxy.asked.clear()
        np.testing.assert_array_equal(series.volume(level=1), live.archive.streaming.volume(uid, 1))
        np.testing.assert_array_equal(
            np.stack(list(series.frames(3, 5))), live.archive.streaming.volume(uid)[3:5]
        )
        assert not proxy.asked


@pytest.mark.parametrize("which", [0.1, 0.5, 0.9])
def test_damage_on_disk_is_fetched_again(live, uid, proxy, tmp_path, which):
    with imarium.connect(proxy.url, cache=tmp_path / "own") as db:
        series = db.series(uid)
        series.volume()
        (content,) = (tmp_path / "own").glob("*/*/bytes")
        data = bytearray(content.read_bytes())
        start, stop = series.index.body
        data[int(start + which * (stop - start))] ^= 0x10
        content.write_bytes(data)
        proxy.asked.clear()
        np.testing.assert_array_equal(series.volume(), live.archive.streaming.volume(uid))
        (asked,) = proxy.for_packs
        assert sum(stop - start for start, stop in asked.ranges) < series.index.level_bytes(0)
        proxy.asked.clear()
        np.testing.assert_array_equal(series.volume(), live.archive.streaming.volume(uid))
        assert not proxy.asked


def test_where_and_how_much(monkeypatch):
    assert cache_folder({"IMARIUM_CACHE": "/x"}).as_posix() == "/x"
    assert cache_bytes({}) == 10 << 30
    assert cache_bytes({"IMARIUM_CACHE_BYTES": "5"}) == 5
    with pytest.raises(InvalidRequestError, match="IMARIUM_CACHE_BYTES"):
        cache_bytes({"IMARIUM_CACHE_BYTES": "10G"})


def test_none(live, uid, tmp_path, monkeypatch):
    with imarium.connect(live.url, cache=False) as db:
        db.series(uid).volume()
    monkeypatch.setenv("IMARIUM_CACHE_BYTES", "0")
    with imarium.connect(live.url) as db:
        db.series(uid).volume()
    assert not (tmp_path / "cache").exists()
