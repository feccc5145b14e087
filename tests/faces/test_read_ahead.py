"""Answers of bytes and ranges: whole whatever the chunks, read one ahead and no further."""

import asyncio
import threading

import pytest
from fastapi.responses import StreamingResponse
from hypothesis import given, settings
from hypothesis import strategies as st

from imarium.errors import IntegrityError, NotFoundError
from imarium.faces.http import read_ahead
from imarium.faces.http.read_ahead import answer_of

CONTENT = bytes(range(251)) * 40


def read(start, stop):
    return CONTENT[start:stop]


def body_of(response):
    async def collected():
        return b"".join([chunk async for chunk in response.body_iterator])

    return asyncio.run(collected()) if isinstance(response, StreamingResponse) else response.body


SPANS = st.tuples(st.integers(0, len(CONTENT)), st.integers(0, len(CONTENT))).map(sorted).map(tuple)


@settings(max_examples=200, deadline=None)
@given(pieces=st.lists(st.binary(max_size=40) | SPANS, max_size=8), chunk=st.integers(1, 3000))
def test_the_answer_is_the_pieces_in_order(pieces, chunk):
    expected = b"".join(piece if isinstance(piece, bytes) else read(*piece) for piece in pieces)
    with pytest.MonkeyPatch.context() as patch:
        for size in ("_LEAST_BYTES", "_FIRST_BYTES", "_MOST_BYTES"):
            patch.setattr(read_ahead, size, chunk)
        assert body_of(answer_of(read, pieces, 206, {}, "x/y")) == expected


def test_one_chunk_is_read_ahead_and_no_further(monkeypatch):
    for size in ("_LEAST_BYTES", "_FIRST_BYTES", "_MOST_BYTES"):
        monkeypatch.setattr(read_ahead, size, 100)
    asked = []

    def counted(start, stop):
        asked.append(start)
        return read(start, stop)

    async def slowly():
        chunks = answer_of(counted, [(0, 1000)], 200, {}, "x/y").body_iterator
        for number in range(5):
            await anext(chunks)
            await asyncio.sleep(0.05)
            assert asked == list(range(0, 100 * (number + 2), 100))
        await chunks.aclose()
        await asyncio.sleep(0.05)
        assert len(asked) == 6

    asyncio.run(slowly())
    assert threading.active_count() < 50


def test_chunks_grow_for_a_reader_that_keeps_up_and_shrink_for_others(monkeypatch):
    monkeypatch.setattr(read_ahead, "_LEAST_BYTES", 50)
    monkeypatch.setattr(read_ahead, "_FIRST_BYTES", 100)
    monkeypatch.setattr(read_ahead, "_MOST_BYTES", 400)
    monkeypatch.setattr(read_ahead, "_FAST", 1e3)
    monkeypatch.setattr(read_ahead, "_TAKEN_BY_THE_SYSTEM", 250)

    async def sizes(pause):
        found = []
        async for chunk in answer_of(read, [(0, 2000)], 200, {}, "x/y").body_iterator:
            found.append(len(chunk))
            await asyncio.sleep(pause)
        return found

    assert asyncio.run(sizes(0))[:5] == [100, 100, 100, 100, 200]
    assert asyncio.run(sizes(0.3))[:5] == [100, 100, 50, 50, 50]


def test_what_is_lost_is_said_before_the_answer_begins():
    def lost(start, stop):
        raise NotFoundError("no such object")

    with pytest.raises(IntegrityError, match="missing in the store"):
        answer_of(lost, [(0, 10)], 200, {}, "x/y")
