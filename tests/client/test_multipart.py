"""Answers of several ranges as any server may send them, whole and broken."""

import pytest

from imarium.client.multipart import pieces_of
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


@pytest.mark.parametrize(
    ("content_type", "options"),
    [
        (KIND, {}),
        ('Multipart/ByteRanges; charset=x; boundary="edge"', {"preamble": b"to be ignored"}),
        (KIND, {"extra": b"X-Other: 1\r\n"}),
    ],
)
def test_ranges_come_back_in_the_order_in_which_they_were_asked(content_type, options):
    spans = [(0, 10), (300, 301), (900, 1024)]
    assert pieces_of(content_type, answer(*spans, **options), spans) == [DATA[a:b] for a, b in spans]


def test_a_server_may_answer_in_any_order_and_join():
    asked = [(0, 10), (10, 20), (500, 600)]
    assert pieces_of(KIND, answer((500, 600), (0, 20)), asked) == [DATA[a:b] for a, b in asked]


def test_bytes_that_look_like_a_boundary_are_bytes():
    start = DATA.index(b"-./")
    content = answer((0, 256), (300, 310), boundary=b"./0")
    asked = [(start, start + 9), (300, 310)]
    assert pieces_of("multipart/byteranges; boundary=./0", content, asked) == [DATA[a:b] for a, b in asked]


@pytest.mark.parametrize("kept", [0, 3, 10, 60, 80, 100])
def test_what_is_cut_off_is_noticed(kept):
    whole = answer((0, 10), (50, 60))
    with pytest.raises(IntegrityError):
        pieces_of(KIND, whole[:kept], [(0, 10), (50, 60)])


@pytest.mark.parametrize(
    ("content_type", "content"),
    [
        ("application/octet-stream", answer((0, 10), (50, 60))),
        (KIND, answer((0, 10))),
        (KIND, answer((0, 10), (50, 59))),
        (KIND, answer((0, 10), (50, 60), boundary=b"other")),
        (KIND, answer((0, 10), (50, 60)).replace(b"50-59", b"50-99")),
        (KIND, answer((0, 10), (50, 60)).replace(b"Content-Range", b"Content-Other")),
        (KIND, b"--edge--\r\n"),
        (KIND, b""),
    ],
)
def test_what_was_not_asked_for_is_refused(content_type, content):
    with pytest.raises(IntegrityError):
        pieces_of(content_type, content, [(0, 10), (50, 60)])
