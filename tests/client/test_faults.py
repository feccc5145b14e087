"""What networks do to answers: the pixels are right, or there is a clear error."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imarium.client import remote
from imarium.client.remote import HttpOrigin
from imarium.client.wire import Wire
from imarium.errors import ImariumError, IntegrityError, NotFoundError, TransportError
from imarium.pack import layout
from imarium.testing import Fault


@pytest.fixture
def blocks(monkeypatch):
    """Series of several blocks, so that a level is several ranges."""
    monkeypatch.setattr(layout, "MOST_BLOCK_FRAMES", 4)


def expected(live, uid, level=0):
    return live.archive.streaming.volume(uid, level)


@pytest.mark.parametrize(
    ("level", "cut", "reset"),
    [(0, 0, False), (1, 1, True), (1, 100, True), (0, 1000, True), (0, 5000, False)],
)
def test_a_cut_answer_goes_on_where_it_was_cut(live, blocks, uid, proxy, hasty, level, cut, reset):
    series = hasty().series(uid)
    spans = series.index.spans(level)
    proxy.faults(*[Fault(cut=cut, reset=reset)] * 2)
    proxy.asked.clear()
    np.testing.assert_array_equal(series.volume(level=level), expected(live, uid, level))
    assert proxy.asked[0].ranges == spans
    if cut == 5000:  # what came is not asked for again
        sizes = [sum(stop - start for start, stop in asked.ranges) for asked in proxy.asked]
        assert sizes[0] - 4000 > sizes[1] > sizes[2] + 4000


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_server_that_is_busy_is_asked_again(live, uid, proxy, hasty, status):
    proxy.faults(*[Fault(status=status)] * 3)
    np.testing.assert_array_equal(hasty().series(uid).volume(), expected(live, uid))
    assert len(proxy.for_packs) == 4


def test_retry_after_is_heard(live, uid, proxy, hasty):
    proxy.faults(Fault(status=503, headers={"Retry-After": "1"}))
    began = time.monotonic()
    np.testing.assert_array_equal(hasty().series(uid).volume(), expected(live, uid))
    assert time.monotonic() - began >= 1.0


def test_a_server_that_stays_away_is_told(live, uid, proxy, hasty):
    client = hasty()
    series = client.series(uid)
    proxy.plan = lambda asked: Fault(drop=True)
    with pytest.raises(TransportError, match="broke off"):
        series.volume()
    assert len(proxy.for_packs) == 4
    proxy.plan = lambda asked: Fault(status=503)
    with pytest.raises(TransportError, match="503"):
        series.volume()
    proxy.plan = lambda asked: None
    np.testing.assert_array_equal(series.volume(), expected(live, uid))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 500])
def test_what_does_not_pass_is_asked_once(live, uid, proxy, hasty, status):
    series = hasty().series(uid)
    proxy.faults(*[Fault(status=status)] * 9)
    with pytest.raises(ImariumError, match=str(status)):
        series.volume()
    assert len(proxy.for_packs) == 1


def test_the_rest_of_the_api_is_asked_again_too(live, uid, proxy, hasty):
    proxy.faults(Fault(status=503), Fault(drop=True), when=lambda asked: "/series" in asked.path)
    assert [item["uid"] for item in hasty().list_series()] == [uid]


def test_a_delay_is_waited_for(live, uid, proxy, hasty):
    proxy.faults(Fault(delay=0.5))
    np.testing.assert_array_equal(hasty().series(uid).volume(), expected(live, uid))
    assert len(proxy.for_packs) == 1


def test_silence_is_not_waited_for_without_end(live, uid, proxy, hasty, monkeypatch):
    monkeypatch.setattr(remote, "_SILENCE_SECONDS", 1.0)
    proxy.faults(Fault(delay=4.0))
    began = time.monotonic()
    np.testing.assert_array_equal(hasty().series(uid).volume(), expected(live, uid))
    assert time.monotonic() - began < 4.0
    assert len(proxy.for_packs) >= 2


def test_a_wrong_byte_is_fetched_again(live, uid, proxy, hasty):
    series = hasty().series(uid)
    index = series.index
    proxy.asked.clear()
    proxy.faults(Fault(flip=20_000))
    np.testing.assert_array_equal(series.volume(), expected(live, uid))
    first, second = (asked.ranges for asked in proxy.asked)
    assert first == [index.body]
    assert second != first
    assert second[0][0] <= index.body[0] + 20_000 < second[0][1]


@pytest.mark.parametrize("flip", [0, 40, 200])
def test_a_damaged_index_is_fetched_again(live, uid, proxy, hasty, flip):
    series = hasty().series(uid)
    proxy.faults(Fault(flip=flip))
    assert series.index.series == live.archive.catalog.get_series(uid).series


@pytest.mark.parametrize("flip", [5, 1500, 20_000])
@pytest.mark.parametrize("cache", [False, None])
def test_bytes_that_stay_wrong_are_an_error_and_no_pixels(live, uid, proxy, hasty, flip, cache):
    client = hasty(cache)
    series = client.series(uid)
    series.index  # noqa: B018
    proxy.plan = lambda asked: Fault(flip=flip) if asked.is_pack else None
    with pytest.raises(IntegrityError, match="does not match"):
        series.volume()
    proxy.plan = lambda asked: None  # and nothing wrong is left behind
    np.testing.assert_array_equal(series.volume(), expected(live, uid))


def test_frames_are_mended_too(live, uid, proxy, hasty):
    series = hasty().series(uid)
    series.index  # noqa: B018
    proxy.faults(Fault(cut=700), Fault(flip=900))
    np.testing.assert_array_equal(np.stack(list(series.frames(2, 9))), expected(live, uid)[2:9])


FAULT = st.one_of(
    st.just(None),
    st.builds(Fault, drop=st.just(True)),
    st.builds(Fault, status=st.sampled_from([200, 204, 404, 416, 429, 500, 503])),
    st.builds(
        Fault, cut=st.integers(0, 40_000), reset=st.booleans(), flip=st.none() | st.integers(0, 40_000)
    ),
    st.builds(Fault, flip=st.integers(0, 40_000)),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(st.lists(FAULT, max_size=6), st.integers(0, 2), st.booleans())
def test_any_faults_the_pixels_are_right_or_there_is_an_error(
    live, blocks, uid, proxy, hasty, faults, level, cached
):
    plan = [fault or Fault() for fault in faults]
    proxy.faults(*plan, when=lambda asked: asked.method == "GET")
    try:
        volume = hasty(None if cached else False).series(uid).volume(level=level)
    except ImariumError:
        assert any(fault != Fault() for fault in plan)
    else:
        np.testing.assert_array_equal(volume, expected(live, uid, level))
    proxy.plan = lambda asked: None
    np.testing.assert_array_equal(hasty(None).series(uid).volume(level=level), expected(live, uid, level))


# --- the origin by itself ---------------------------------------------------------------------------


class Ask:
    """Reads of a pack of the server's."""

    def __init__(self, live, uid, url):
        self.record = live.archive.catalog.get_series(uid).pack
        self.content = live.archive.streaming.read_pack(self.record.key, 0, self.record.size)
        self.url = url

    def __call__(self, spans, key=None, **options):
        async def read():
            origin = HttpOrigin(Wire(self.url, attempts=3, first_pause=0.001, **options))
            try:
                return await origin.read(key or self.record.key, spans)
            finally:
                await origin.close()

        return asyncio.run(read())


@pytest.fixture
def ask(live, uid, proxy):
    return Ask(live, uid, proxy.url)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 9000), st.integers(0, 2000)), max_size=30), st.integers(1, 4))
def test_any_spans_in_any_order(ask, spans, at_once):
    size = len(ask.content)
    spans = [(min(start, size), min(start + length, size)) for start, length in spans]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remote, "_RANGES_AT_ONCE", at_once)
        patch.setattr(remote, "_REQUEST_BYTES", 1500)
        assert ask(spans) == [ask.content[start:stop] for start, stop in spans]


def test_more_ranges_than_one_request_takes(ask, proxy):
    spans = [(start, start + 3) for start in range(0, 6000, 10)]
    assert ask(spans) == [ask.content[start:stop] for start, stop in spans]
    assert sorted(len(asked.ranges) for asked in proxy.asked) == [88, 256, 256]


def test_ranges_outside_the_pack(ask, proxy):
    size = len(ask.content)
    for spans in ([(size - 1, size + 1)], [(0, 5), (size - 5, size + 5)], [(size + 5, size + 6)]):
        proxy.asked.clear()
        with pytest.raises(IntegrityError, match="manifest"):
            ask(spans)
        assert len(proxy.asked) == 1


def test_a_pack_that_is_gone(ask):
    with pytest.raises(NotFoundError, match="gone"):
        ask([(0, 5)], key="packs/ab/abcdef.imp")


def test_a_server_that_ignores_ranges(ask, proxy):
    proxy.plan = lambda asked: Fault(status=200)
    with pytest.raises(TransportError, match="ranges"):
        ask([(0, 5)])


def test_one_range_a_request_and_no_token_at_signed_addresses(ask, proxy):
    key = ask.record.key

    async def read():
        origin = HttpOrigin(Wire("http://127.0.0.1:9", token="secret", attempts=2, first_pause=0.001))
        origin.know(key, f"{proxy.url}/api/v1/{key}?signature=abc")
        try:
            return await origin.read(key, [(0, 5), (10, 15)])
        finally:
            await origin.close()

    assert asyncio.run(read()) == [ask.content[0:5], ask.content[10:15]]
    assert [len(asked.ranges) for asked in proxy.asked] == [1, 1]
    assert not any("authorization" in asked.headers for asked in proxy.asked)


def test_signed_addresses_that_have_expired(ask, proxy, live):
    key = ask.record.key
    proxy.faults(*[Fault(status=403)] * 4)

    async def read(server):
        origin = HttpOrigin(Wire(server, attempts=3, first_pause=0.001))
        origin.know(key, f"{proxy.url}/api/v1/{key}?signature=abc")
        try:
            return await origin.read(key, [(0, 5), (10, 12), (20, 21)])
        finally:
            await origin.close()

    assert asyncio.run(read(live.url)) == [ask.content[:5], ask.content[10:12], ask.content[20:21]]
    with pytest.raises(TransportError, match="expired"):
        asyncio.run(read(None))


@pytest.mark.parametrize("address", ["ftp://x/y", "http://[", "nonsense", "http://127.0.0.1:9/p\n"])
def test_addresses_that_make_no_sense(ask, address):
    async def read():
        origin = HttpOrigin(Wire(None, attempts=2, first_pause=0.001))
        origin.know(ask.record.key, address)
        return await origin.read(ask.record.key, [(0, 5)])

    with pytest.raises(TransportError):
        asyncio.run(read())


def test_errors_hold_no_signature(ask, proxy):
    key = ask.record.key
    proxy.plan = lambda asked: Fault(drop=True)

    async def read():
        origin = HttpOrigin(Wire(None, attempts=2, first_pause=0.001))
        origin.know(key, f"{proxy.url}/api/v1/{key}?signature=abc")
        return await origin.read(key, [(0, 5)])

    with pytest.raises(TransportError) as caught:
        asyncio.run(read())
    assert "abc" not in str(caught.value)


def test_large_spans_come_in_several_requests(ask, proxy, monkeypatch):
    monkeypatch.setattr(remote, "_REQUEST_BYTES", 4096)
    size = len(ask.content)
    assert ask([(0, size)]) == [ask.content]
    assert len(proxy.asked) == -(-size // 4096)
