"""Volumes at levels, sizes and spacings; frames."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

import imarium
from imarium.codec import resample
from imarium.errors import ImariumError, InvalidRequestError, LevelError
from imarium.model.geometry import spacing_of


@pytest.fixture
def db(live):
    with imarium.connect(live.url, cache=False) as db:
        yield db


@pytest.fixture
def take(live, db, tmp_path):
    """Take an array in as NIfTI with a spacing (slice, row, column), and open it."""

    def take(array, spacing=(3.0, 0.5, 0.5), labels=False):
        affine = np.diag([spacing[2], spacing[1], spacing[0], 1.0])
        image = nibabel.Nifti1Image(array.T, affine)
        if labels:
            image.header.set_intent("label")
        path = tmp_path / "image.nii"
        nibabel.save(image, path)
        (outcome,) = live.archive.ingest.run([path], collection="c")
        return db.series(outcome.series)

    return take


def smooth(shape, dtype=np.int16):
    axes = np.meshgrid(*(np.linspace(0, 3, side) for side in shape), indexing="ij")
    return (1000 * np.sin(sum(axes))).astype(dtype)


@pytest.mark.parametrize("size", [40, "40", (40, 40), "40x40", 48, 24, 96, "96x50"])
def test_sizes_are_those_of_the_server(live, db, uid, size):
    text = f"{size[0]}x{size[1]}" if isinstance(size, tuple) else str(size)
    rendition = live.archive.streaming.rendition(uid, size=text)
    volume = db.series(uid).volume(size=size)
    np.testing.assert_array_equal(volume, np.stack(list(rendition.frames)))
    assert volume.series == rendition.series


def test_a_size_reads_the_smallest_level_that_is_large_enough(db, uid, proxy, hasty):
    series = hasty().series(uid)
    index = series.index
    proxy.asked.clear()
    series.volume(size=25)
    assert [asked.ranges for asked in proxy.asked] == [index.spans(1)]


def test_a_spacing_resamples_all_axes(take):
    series = take(smooth((20, 64, 80)))
    volume = series.volume(spacing=(6.0, 0.8, 0.8))
    assert volume.shape == (10, 40, 50)
    assert volume.spacing == pytest.approx((6.0, 0.8, 0.8))
    # Voxels lie where the affine says: the function that was sampled has their values there.
    centres = np.stack(np.meshgrid(*(np.arange(side) for side in volume.T.shape), indexing="ij"), -1)
    to_full = np.linalg.inv(series.volume().affine) @ volume.affine
    places = centres @ to_full[:3, :3].T + to_full[:3, 3]
    expected = 1000 * np.sin((places * 3 / (np.array([80, 64, 20]) - 1)).sum(axis=-1))
    assert np.abs(volume.T - expected)[1:-1, 1:-1, 1:-1].max() < 15


def test_a_spacing_that_is_no_whole_number_of_voxels(take):
    series = take(smooth((20, 64, 80)))
    volume = series.volume(spacing=3.3)
    assert volume.shape == (18, 10, 12)
    assert volume.spacing == pytest.approx((60 / 18, 32 / 10, 40 / 12))
    assert spacing_of(tuple(map(tuple, volume.affine))) == pytest.approx(volume.spacing)


def test_slices_that_stay(take):
    series = take(smooth((5, 64, 80)))
    np.testing.assert_array_equal(series.volume(spacing=(None, 1.0, 1.0)), series.volume(level=1))
    volume = series.volume(spacing=(None, 0.8, 0.8))
    assert volume.shape == (5, 40, 50)
    np.testing.assert_array_equal(volume[2], resample(np.asarray(series.volume()[2]), 40, 50))


def test_integers_are_rounded_once(take):
    array = np.zeros((2, 64, 64), np.int16)
    array[1] = 1
    volume = take(array).volume(spacing=(6.0, 0.5, 0.5))
    assert volume.shape == (1, 64, 64)
    assert set(np.unique(volume)) <= {0, 1}
    assert volume.dtype == np.int16


def test_label_maps_keep_their_values(take):
    rng = np.random.default_rng(0)
    array = rng.choice([0, 3, 7, 200], (9, 64, 64)).astype(np.uint8)
    for volume in (
        take(array, labels=True).volume(spacing=(5.0, 0.9, 0.9)),
        take(array, labels=True).volume(size=50),
    ):
        assert set(np.unique(volume)) <= {0, 3, 7, 200}


def test_several_volumes_are_resampled_each(take):
    array = np.stack([smooth((8, 32, 32)), np.zeros((8, 32, 32), np.int16)])
    series = take(array)
    volume = series.volume(spacing=(6.0, 1.0, 1.0))
    assert volume.shape == (2, 4, 16, 16)
    assert not volume[1].any()


def test_more_than_there_is(take):
    series = take(smooth((8, 64, 80)))
    for wish in ({"size": 65}, {"size": (64, 81)}, {"spacing": 0.4}, {"spacing": (1.0, 0.5, 0.5)}):
        with pytest.raises(LevelError, match="full resolution"):
            series.volume(**wish)
        volume = series.volume(**wish, upsample=True)
        assert volume.size > series.volume().size
    assert series.volume(spacing=1.0, upsample=True).shape == (24, 32, 40)
    with pytest.raises(LevelError, match="levels 0"):
        series.volume(level=9)
    with pytest.raises(LevelError):
        series.volume(level=-1)


@pytest.mark.parametrize(
    "wish",
    [
        {"level": 0, "size": 32},
        {"size": 32, "spacing": 1.0},
        {"size": "large"},
        {"size": 0},
        {"size": (1, 2, 3)},
        {"spacing": (1.0, 1.0)},
        {"spacing": 0},
        {"spacing": float("nan")},
        {"spacing": -1.0},
        {"spacing": "1mm"},
    ],
)
def test_wishes_that_make_no_sense(db, uid, wish):
    with pytest.raises(InvalidRequestError):
        db.series(uid).volume(**wish)


def test_no_spacing_without_geometry(live, db, tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((32, 40), np.uint8))
    (outcome,) = live.archive.ingest.run([tmp_path / "a.npy"], collection="c")
    with pytest.raises(InvalidRequestError, match="how large"):
        db.series(outcome.series).volume(spacing=1.0)
    assert db.series(outcome.series).volume(size=16).shape == (1, 16, 20)


@pytest.mark.parametrize("level", [0, 2])
def test_frames(live, db, uid, level):
    whole = live.archive.streaming.volume(uid, level)
    series = db.series(uid)
    np.testing.assert_array_equal(np.stack(list(series.frames(level=level))), whole)
    np.testing.assert_array_equal(np.stack(list(series.frames(3, 7, level=level))), whole[3:7])
    for start, stop in ((0, 13), (5, 5), (-1, 3), (12, None)):
        with pytest.raises(ImariumError, match="do not exist"):
            list(series.frames(start, stop, level=level))


def test_frames_that_are_left_in_the_middle(db, uid, monkeypatch):
    monkeypatch.setattr("imarium.client.reading._BATCH_BYTES", 20_000)
    frames = db.series(uid).frames()
    first = next(frames)
    frames.close()
    np.testing.assert_array_equal(next(db.series(uid).frames(0, 1)), first)
    assert len(list(db.series(uid).frames())) == 12


def test_memory_is_bounded_over_frames(live, db, uid, proxy, hasty, monkeypatch):
    monkeypatch.setattr("imarium.client.reading._BATCH_BYTES", 20_000)
    series = hasty().series(uid)
    body = series.index.level_bytes(0)
    proxy.asked.clear()
    frames = series.frames()
    next(frames)
    next(frames)
    asked = sum(stop - start for ask in proxy.asked for start, stop in ask.ranges)
    assert asked <= 40_000 < body
    assert len(list(frames)) == 10
