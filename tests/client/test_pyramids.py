"""Frames at all of their levels at once."""

import numpy as np
import pytest

import imarium
from imarium.client import reading
from imarium.errors import IntegrityError, InvalidRequestError
from imarium.pack import layout
from imarium.testing import proxied
from imarium.testing.proxies import Fault


@pytest.fixture
def uid(live, phantom, monkeypatch):
    monkeypatch.setattr(layout, "MOST_BLOCK_FRAMES", 5)
    outcomes = list(live.archive.ingest.run([phantom / "dicom"], collection="c"))
    return outcomes[0].series


@pytest.mark.parametrize("numbers", [[0], [11, 3, 4], list(range(12))])
@pytest.mark.parametrize("batch_bytes", [1, 32 << 20])
def test_they_are_the_frames_of_volumes(live, uid, numbers, batch_bytes, monkeypatch):
    monkeypatch.setattr(reading, "_BATCH_BYTES", batch_bytes)
    with imarium.connect(live.url) as db:
        series = db.series(uid)
        volumes = [series.volume(level=level) for level in range(series.levels)]
        found = list(series.pyramids(numbers))
    assert len(found) == len(numbers)
    for number, levels in zip(sorted(numbers), found, strict=True):
        for level, volume in zip(levels, volumes, strict=True):
            np.testing.assert_array_equal(level, volume[number])


def test_bytes_are_fetched_once_and_together(live, uid):
    with proxied(live.url) as proxy, imarium.connect(proxy.url, cache=False) as db:
        series = db.series(uid)
        index = series.index
        proxy.asked.clear()
        list(series.pyramids([2, 3, 9]))
        (asked,) = proxy.for_packs
        read = sum(stop - start for start, stop in asked.ranges)
        assert read == index.lengths[:, [2, 3, 9]].sum()


def test_no_such_frame(live, uid):
    with imarium.connect(live.url) as db, pytest.raises(InvalidRequestError):
        list(db.series(uid).pyramids([12]))


def test_none(live, uid):
    with imarium.connect(live.url) as db:
        assert list(db.series(uid).pyramids([])) == []


@pytest.mark.parametrize("times", [1, 3])
def test_damage_on_the_way_is_fetched_again(live, uid, times):
    with proxied(live.url) as proxy, imarium.connect(proxy.url, cache=False) as db:
        series = db.series(uid)
        assert series.index
        proxy.faults(*[Fault(flip=600)] * times)
        if times > 1:
            with pytest.raises(IntegrityError):
                list(series.pyramids([0]))
        else:
            ((full, *_),) = series.pyramids([0])
            np.testing.assert_array_equal(full, live.archive.streaming.volume(uid)[0])
