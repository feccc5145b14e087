"""Thumbnails and films by HTTP: formats, caching, and parameters of every kind."""

import io
import json

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from imarium.faces.http.pictures import preferred


@pytest.fixture
def ask(live, stored):
    """Asks for something of the DICOM series."""
    with httpx.Client(base_url=f"{live.url}/api/v1/series/{stored['dicom']}") as client:

        def asked(path, headers=None, method="GET", **query):
            return client.request(method, path, params=query, headers=headers)

        yield asked


def _picture(answer):
    assert answer.status_code == 200, answer.text
    return Image.open(io.BytesIO(answer.content))


def test_a_thumbnail(ask):
    answer = ask("/thumbnail")
    picture = _picture(answer)
    assert (picture.format, picture.size, picture.mode) == ("PNG", (96, 96), "L")
    assert answer.headers["content-type"] == "image/png"
    assert "content-disposition" not in answer.headers
    assert _picture(ask("/thumbnail", size=48)).size == (48, 48)
    assert _picture(ask("/thumbnail", size=200, upsample=True)).size == (200, 200)
    first, last = (np.asarray(_picture(ask("/thumbnail", frame=number))) for number in (0, 11))
    assert (first != last).any()
    black = np.asarray(_picture(ask("/thumbnail", window="30000,10")))
    assert not black.any()


@pytest.mark.parametrize("format_name", ["png", "jpeg", "webp"])
def test_formats(ask, format_name):
    for answer in (
        ask("/thumbnail", format=format_name),
        ask("/thumbnail", {"Accept": f"image/{format_name}"}),
        ask("/thumbnail", {"Accept": "image/webp"}, format=format_name),  # what is said in words counts
    ):
        assert _picture(answer).format == format_name.upper()
        assert answer.headers["content-type"] == f"image/{format_name}"
    assert ask("/thumbnail", {"Accept": "image/png"}).headers["vary"] == "Accept, Authorization, Cookie"
    assert ask("/thumbnail", format="png").headers["vary"] == "Authorization, Cookie"


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, "png"),
        ("", "png"),
        ("*/*", "png"),
        ("text/html", "png"),
        ("image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8", "webp"),
        ("image/jpeg, image/png;q=0.5", "jpeg"),
        ("image/webp;q=0.1, image/jpeg;q=0.2", "jpeg"),
        ("IMAGE/JPEG", "jpeg"),
        ("image/webp;q=0", "png"),
        ("image/webp;q=x, image/jpeg;q=nan", "png"),
        ("image/webp;;;=;q", "webp"),
    ],
)
def test_what_a_client_prefers(accept, chosen):
    assert preferred(accept) == chosen


@pytest.mark.parametrize("path", ["/thumbnail", "/cine"])
def test_what_is_known_is_not_sent_again(ask, path):
    answer = ask(path, size=32)
    etag = answer.headers["etag"]
    assert "max-age" in answer.headers["cache-control"]
    assert "private" in answer.headers["cache-control"]  # not for whoever shares a proxy
    for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        again = ask(path, {"If-None-Match": known}, size=32)
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == etag
    assert ask(path, {"If-None-Match": '"other"'}, size=32).status_code == 200
    assert ask(path, {"If-None-Match": etag}, size=33).status_code == 200


def test_a_tag_goes_when_the_series_grows(ask, live, stored):
    etag = ask("/thumbnail").headers["etag"]
    record = live.archive.catalog.get_series(stored["dicom"])
    assert record.pack.digest not in etag  # nothing to find the pack by
    assert stored["dicom"] not in etag
    assert ask("/thumbnail").headers["etag"] == etag


def test_the_head_of_a_thumbnail(ask):
    for query in ({}, {"format": "webp", "size": 40}):
        whole, head = ask("/thumbnail", **query), ask("/thumbnail", method="HEAD", **query)
        assert (head.status_code, head.content) == (200, b"")
        for name in ("content-length", "content-type", "etag", "cache-control"):
            assert head.headers[name] == whole.headers[name]
    assert ask("/thumbnail", method="HEAD", size=5000).status_code == 400


def test_a_film(ask):
    film = _picture(ask("/cine", frames=4, size=64, fps=20))
    assert (film.format, film.size, film.n_frames) == ("WEBP", (64, 64), 4)
    film.seek(3)
    film.load()
    assert film.info["duration"] == 50
    assert _picture(ask("/cine")).n_frames == 12
    assert _picture(ask("/cine", start=3, stop=9, step=2)).n_frames == 3


def test_a_long_film_is_thinned_and_says_so(ask, live):
    object.__setattr__(live.archive.settings.limits, "cine_frames", 5)
    answer = ask("/cine")
    assert _picture(answer).n_frames == 4
    assert json.loads(answer.headers["imarium-notes"]) == ["Every frame in 3 is shown, of 12."]
    refused = ask("/cine", frames=6)
    assert refused.status_code == 400
    assert "ask for step=3 or frames=5" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "query", "code"),
    [
        ("/thumbnail", {"size": 97}, "no-such-level"),
        ("/thumbnail", {"size": 0}, "invalid-request"),
        ("/thumbnail", {"size": "big"}, "invalid-request"),
        ("/thumbnail", {"size": 1 << 40}, "invalid-request"),
        ("/thumbnail", {"size": 9000, "upsample": True}, "invalid-request"),
        ("/thumbnail", {"frame": 12}, "invalid-request"),
        ("/thumbnail", {"frame": -1}, "invalid-request"),
        ("/thumbnail", {"window": "none"}, "invalid-request"),
        ("/thumbnail", {"window": "1,nan"}, "invalid-request"),
        ("/thumbnail", {"format": "bmp"}, "invalid-request"),
        ("/thumbnail", {"format": "png", "quality": 3}, "invalid-request"),
        ("/thumbnail", {"format": "jpeg", "quality": 101}, "invalid-request"),
        ("/cine", {"step": 0}, "invalid-request"),
        ("/cine", {"fps": 0}, "invalid-request"),
        ("/cine", {"fps": "nan"}, "invalid-request"),
        ("/cine", {"fps": "inf"}, "invalid-request"),
        ("/cine", {"start": 12}, "invalid-request"),
        ("/cine", {"stop": 13}, "invalid-request"),
        ("/cine", {"step": 2, "frames": 2}, "invalid-request"),
        ("/cine", {"size": 97}, "no-such-level"),
        ("/export", {"format": "npy", "level": 3}, "no-such-level"),
        ("/export", {"format": "npy", "size": "97"}, "no-such-level"),
        ("/pixels", {"level": 9}, "no-such-level"),
    ],
)
def test_what_is_refused_says_why(ask, path, query, code):
    answer = ask(path, **query)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)


_text = st.one_of(
    st.integers(-(1 << 70), 1 << 70).map(str),
    st.integers(0, 200).map(str),
    st.floats().map(str),
    st.sampled_from(["", "auto", "true", "png", "jpeg", "webp", "dicom", "npy", "htj2k", "24x30", "0x0"]),
    st.tuples(st.floats(), st.floats()).map(lambda pair: f"{pair[0]},{pair[1]}"),
    st.text(max_size=8),
)
_names = ("size", "frame", "window", "upsample", "format", "quality", "start", "stop", "step", "frames",
          "fps", "level", "even", "full_range", "compress", "transfer_syntax")  # fmt: skip


@given(
    path=st.sampled_from(["/thumbnail", "/thumbnail", "/cine", "/export", "/pixels"]),
    query=st.dictionaries(st.sampled_from(_names), _text, max_size=5),
    accept=st.one_of(
        st.none(), st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20).map(str.strip)
    ),
)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_parameters_bring_the_server_down(ask, path, query, accept):
    headers = {} if accept is None else {"Accept": accept}
    answer = ask(path, headers, **query)
    assert answer.status_code in (200, 400)
    if answer.status_code == 400:
        assert set(answer.json()["error"]) == {"code", "message"}
    elif path in ("/thumbnail", "/cine"):
        assert _picture(answer).size[0] >= 1
