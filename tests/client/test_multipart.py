"""Answers of several ranges as any server may send them, whole and broken."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imarium.client.multipart import boundary_of, parse_content_range, parts_of
from imarium.errors import IntegrityError

DATA = bytes(range(256)) * 4
KIND = "multipart/byteranges; boundary=edge"


def answer(*spans, boundary=b"edge", preamble=b"", extra=b""):
    parts = b"".join(
        b"\r\n--%s\r\n%sContent-Type: x/y\r\nContent-Range: bytes %d-%d/1024\r\n\r\n%s"
        % (boundary, extra, start, stop - 1, DATA[start:stop])
        for start, stop in spans
    )
    return preamble + parts + b"\r\n--%s--\r\n" % boundary


def read(content_type, content):
    """(spans, bytes, whole) of an answer."""
    parts, whole = parts_of(boundary_of(content_type), content)
    spans = [(part.start, part.start + part.length) for part in parts]
    return spans, [content[part.offset : part.offset + part.length] for part in parts], whole


@pytest.mark.parametrize(
    ("content_type", "options"),
    [
        (KIND, {}),
        ('Multipart/ByteRanges; charset=x; boundary="edge"', {"preamble": b"to be ignored"}),
        (KIND, {"extra": b"X-Other: 1\r\n"}),
    ],
)
def test_parts_in_the_order_in_which_they_come(content_type, options):
    spans = [(0, 10), (900, 1024), (300, 301)]
    found, pieces, whole = read(content_type, answer(*spans, **options))
    assert (found, whole) == (spans, True)
    assert pieces == [DATA[a:b] for a, b in spans]


def test_the_size_of_the_whole_is_told():
    parts, _ = parts_of(b"edge", answer((0, 10)))
    assert [part.total for part in parts] == [1024]
    assert parse_content_range("bytes 0-9/*") == (0, 10, None)


def test_bytes_that_look_like_a_boundary_are_bytes():
    start = DATA.index(b"-./")
    spans = [(0, 256), (300, 310)]
    assert start < 256
    found, _, whole = read("multipart/byteranges; boundary=./0", answer(*spans, boundary=b"./0"))
    assert (found, whole) == (spans, True)


@given(st.integers(0, 400), st.booleans())
def test_of_an_answer_that_is_cut_off_what_came_is_right(kept, joined):
    spans = [(0, 50), (50, 60)] if joined else [(0, 10), (50, 160)]
    content = answer(*spans)[:kept]
    found, pieces, whole = read(KIND, content)
    assert not whole or kept >= len(answer(*spans)) - 2
    for (start, stop), piece, asked in zip(found, pieces, spans, strict=False):
        assert start == asked[0]
        assert stop <= asked[1]
        assert piece == DATA[start:stop]


@given(st.binary(max_size=300))
def test_any_bytes_are_no_error(content):
    parts, _ = parts_of(b"e", b"--e" + content)
    assert all(part.offset + part.length <= len(content) + 3 for part in parts)


@pytest.mark.parametrize(
    ("content", "spans"),
    [
        (answer((0, 10), (50, 60), boundary=b"other"), []),
        (answer((0, 10), (50, 60)).replace(b"50-59", b"50-99"), [(0, 10), (50, 80)]),
        (answer((0, 10), (50, 60)).replace(b"50-59", b"59-50"), [(0, 10)]),
        (answer((0, 10), (50, 60)).replace(b"Content-Range", b"Content-Other"), []),
        (b"", []),
    ],
)
def test_what_makes_no_sense_ends_the_answer(content, spans):
    found, _, whole = read(KIND, content)
    assert not whole
    assert [start for start, _ in found] == [start for start, _ in spans]


def test_an_answer_of_another_kind():
    assert boundary_of("application/octet-stream") is None
    with pytest.raises(IntegrityError):
        parse_content_range("pages 1-2/3")
