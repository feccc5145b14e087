"""Requests and times against what the client really does."""

import math

import pytest

import imarium
from imarium.client import remote
from imarium.errors import InvalidRequestError
from imarium.pack import layout
from imarium.report import Link, parse_links
from imarium.report.costs import requests_of
from imarium.testing import proxied


@pytest.mark.parametrize(
    ("block_frames", "ranges_at_once", "request_bytes"),
    [(256, 256, 32 << 20), (3, 256, 32 << 20), (2, 2, 32 << 20), (256, 256, 5000), (2, 3, 7001)],
)
def test_requests_are_those_that_the_client_makes(
    live, phantom, monkeypatch, block_frames, ranges_at_once, request_bytes
):
    monkeypatch.setattr(layout, "MOST_BLOCK_FRAMES", block_frames)
    monkeypatch.setattr(remote, "_RANGES_AT_ONCE", ranges_at_once)
    monkeypatch.setattr(remote, "_REQUEST_BYTES", request_bytes)
    list(live.archive.ingest.run([phantom / "dicom"], collection="c"))
    with proxied(live.url) as proxy, imarium.connect(proxy.url, cache=False) as db:
        (row,) = db.manifest("c").rows()
        for level in range(len(row.levels)):
            proxy.asked.clear()
            db.series_at(row).volume(level=level)
            assert requests_of(row, level) == len(proxy.for_packs)


def test_a_signed_address_takes_one_range_a_request(live, phantom, monkeypatch):
    monkeypatch.setattr(layout, "MOST_BLOCK_FRAMES", 3)
    list(live.archive.ingest.run([phantom / "dicom"], collection="c"))
    with imarium.connect(live.url) as db:
        (row,) = db.manifest("c").rows()
        signed = type(row)(**{name: getattr(row, name) for name in row.__slots__} | {"url": "https://x/y"})
    assert requests_of(row, 1) == 1
    assert requests_of(signed, 1) == len(row.levels[1].spans) + 1 == 5


def test_seconds_are_rounds_of_requests_and_bits():
    link = Link(bandwidth=100, latency=20)
    assert link.seconds(0, 1) == pytest.approx(0.02)
    assert link.seconds(12_500_000, 1) == pytest.approx(1.02)
    assert link.seconds(12_500_000, 8) == pytest.approx(1.02)
    assert link.seconds(12_500_000, 9) == pytest.approx(1.04)


def test_links_as_people_write_them():
    assert parse_links("1000,10,2.5,10", 5) == (Link(2.5, 5), Link(10, 5), Link(1000, 5))


@pytest.mark.parametrize(
    ("bandwidths", "latency"),
    [
        *((wrong, 1) for wrong in ("", "a", "0", "-5", "nan", "inf", "1,2,3,4,5,6,7,8,9")),
        *(("10", wrong) for wrong in (-1, math.nan, math.inf)),
    ],
)
def test_no_links(bandwidths, latency):
    with pytest.raises(InvalidRequestError):
        parse_links(bandwidths, latency)
