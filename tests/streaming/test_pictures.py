"""Pictures and films of stored series: their sizes, windows, frames and values."""

import io
from dataclasses import replace

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from imarium.codec import resample
from imarium.errors import ImariumError, InvalidRequestError, LevelError
from imarium.model import Series
from imarium.settings import Limits
from imarium.streaming import Cine, draw, plan_cine, plan_still, tag

LIMITS = Limits()


@pytest.fixture
def stored(archive, phantom):
    outcomes = list(archive.ingest.run([phantom], collection="c"))
    records = [archive.catalog.get_series(uid) for uid in {outcome.series for outcome in outcomes}]
    return {record.series.format: record for record in records}


@pytest.fixture
def see(archive):
    """What a client sees of a plan."""

    def opened(record, plan):
        return Image.open(io.BytesIO(draw(archive.streaming, record, plan)))

    return opened


@pytest.fixture
def taken(archive, tmp_path):
    """Takes an array in as the series of a file, by its name."""

    def take(name, save):
        save(tmp_path / name)
        (outcome,) = archive.ingest.run([tmp_path / name], collection="c")
        return archive.catalog.get_series(outcome.series)

    return take


def _nifti(values, spacing=(1.0, 1.0, 1.0)):
    # Turned so that the picture on the screen is the slice as it is stored.
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    return lambda path: nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(values.T), affine), path)


def _windowed(values, center, width):
    """PS3.3 C.11.2.1.2.1, of rescaled values."""
    shown = ((values - (center - 0.5)) / (width - 1) + 0.5) * 255
    return np.clip(np.rint(shown), 0, 255).astype(np.uint8)


def test_a_picture_is_the_windowed_slice(archive, stored, see):
    record = stored["dicom"]
    volume = archive.streaming.volume(record.series.uid).rescaled().astype(float)
    for frame in (None, 0, 11):
        picture = see(record, plan_still(record.series, LIMITS, size=96, frame=frame, window="-200,1400"))
        expected = _windowed(volume[6 if frame is None else frame], -200, 1400)
        assert picture.format == "PNG"
        np.testing.assert_array_equal(np.asarray(picture), expected)
    low = archive.streaming.volume(record.series.uid, 1).rescaled().astype(float)
    half = see(record, plan_still(record.series, LIMITS, size=48, window="-200,1400"))
    np.testing.assert_array_equal(np.asarray(half), _windowed(low[6], -200, 1400))
    # Between levels: averages of the rendered pixels of the smallest level that is large enough.
    between = see(record, plan_still(record.series, LIMITS, size=40, window="-200,1400"))
    close = resample(np.asarray(half), 40, 40).astype(int)
    assert np.abs(np.asarray(between).astype(int) - close).max() <= 1


def test_the_window_is_the_series_own_or_measured(archive, stored, see):
    record = stored["dicom"]
    own = record.series.window_center, record.series.window_width
    assert None not in own
    plain = see(record, plan_still(record.series, LIMITS, size=96))
    said = see(record, plan_still(record.series, LIMITS, size=96, window=f"{own[0]},{own[1]}"))
    np.testing.assert_array_equal(np.asarray(plain), np.asarray(said))
    frame = archive.streaming.volume(record.series.uid).rescaled()[6].astype(float)
    low, high = np.percentile(frame, (0.5, 99.5))
    auto = see(record, plan_still(record.series, LIMITS, size=96, window="auto"))
    width = high - low + 1
    np.testing.assert_array_equal(np.asarray(auto), _windowed(frame, low + width / 2, width))
    assert (np.asarray(auto) != np.asarray(plain)).any()


def test_the_same_chest_the_same_way_round_whatever_way_its_voxels_run(stored, see):
    dicom, nifti = (
        np.asarray(see(stored[name], plan_still(stored[name].series, LIMITS, size=64)), dtype=float)
        for name in ("dicom", "nifti")
    )
    assert dicom.shape == nifti.shape == (64, 64)
    assert np.ptp(dicom) > 100
    assert np.corrcoef(dicom.ravel(), nifti.ravel())[0, 1] > 0.9


@pytest.mark.parametrize("format_name", ["png", "jpeg", "webp"])
def test_formats_and_quality(archive, stored, see, format_name):
    record = stored["dicom"]
    exact = np.asarray(see(record, plan_still(record.series, LIMITS, size=96)), dtype=float)
    plan = plan_still(record.series, LIMITS, size=96, format=format_name)
    picture = see(record, plan)
    assert picture.format == format_name.upper()
    error = np.abs(np.asarray(picture.convert("L"), dtype=float) - exact).mean()
    assert error == 0 if format_name == "png" else 0 < error < 5
    if format_name == "png":
        with pytest.raises(InvalidRequestError, match="quality"):
            plan_still(record.series, LIMITS, format="png", quality=50)
    else:
        coarse = plan_still(record.series, LIMITS, size=96, format=format_name, quality=5)
        assert len(draw(archive.streaming, record, coarse)) < len(draw(archive.streaming, record, plan))


def test_a_picture_has_square_pixels(taken, see):
    values = np.random.default_rng(0).integers(0, 500, (4, 20, 30)).astype(np.int16)
    record = taken("flat.nii", _nifti(values, (1.0, 3.0, 1.0)))
    assert see(record, plan_still(record.series, LIMITS)).size == (30, 60)
    assert see(record, plan_still(record.series, LIMITS, size=30)).size == (15, 30)
    with pytest.raises(LevelError, match="at most 60"):
        plan_still(record.series, LIMITS, size=61)
    assert see(record, plan_still(record.series, LIMITS, size=120, upsample=True)).size == (60, 120)


def test_label_maps_are_never_mixed(taken, see):
    labels = np.random.default_rng(1).integers(0, 5, (64, 70)).astype(np.uint8)
    image = Image.fromarray(labels, "P")
    palette = np.random.default_rng(3).integers(0, 256, (5, 3)).astype(np.uint8)
    image.putpalette(palette.tobytes())
    record = taken("labels.png", image.save)
    assert record.series.label_map
    colours = {tuple(colour) for colour in palette.tolist()}
    for size, upsample in ((70, False), (33, False), (200, True)):
        for format_name in ("png", "webp"):  # the latter without loss, unless a quality is asked for
            plan = plan_still(record.series, LIMITS, size=size, upsample=upsample, format=format_name)
            picture = see(record, plan).convert("RGB")
            assert {colour for _, colour in picture.getcolors(1 << 16)} <= colours
    whole = see(record, plan_still(record.series, LIMITS, size=70))
    np.testing.assert_array_equal(np.asarray(whole), palette[labels])
    with pytest.raises(InvalidRequestError, match="colour"):
        plan_still(record.series, LIMITS, window="1,2")


def test_colours_floats_and_complex_numbers(taken, see):
    rng = np.random.default_rng(4)
    colours = rng.integers(0, 256, (40, 50, 3)).astype(np.uint8)
    record = taken("colour.png", Image.fromarray(colours).save)
    np.testing.assert_array_equal(np.asarray(see(record, plan_still(record.series, LIMITS))), colours)
    floats = rng.random((3, 40, 50)).astype(np.float32)
    floats[1, 0, 0] = np.nan
    record = taken("floats.npy", lambda path: np.save(path, floats))
    shown = np.asarray(see(record, plan_still(record.series, LIMITS, window="0.5,0.5")))
    expected = np.clip(np.rint(np.nan_to_num((floats[1] - 0.5) / 0.5 + 0.5).clip(0, 1) * 255), 0, 255)
    assert np.abs(shown - expected).max() <= 1
    waves = (rng.normal(size=(2, 40, 50)) + 1j * rng.normal(size=(2, 40, 50))).astype(np.complex64)
    record = taken("waves.npy", lambda path: np.save(path, waves))
    shown = np.asarray(see(record, plan_still(record.series, LIMITS, window="1,3")), dtype=float)
    assert np.abs(shown - _windowed(np.abs(waves[1]), 1, 3)).max() <= 1


def test_large_pictures_are_rendered_in_stripes(taken, see, monkeypatch):
    values = np.random.default_rng(5).integers(-1000, 3000, (1, 90, 70)).astype(np.int16)
    record = taken("large.nii", _nifti(values))
    whole = np.asarray(see(record, plan_still(record.series, LIMITS)))
    monkeypatch.setattr("imarium.streaming.pictures._STRIPE_PIXELS", 7 * 70)
    np.testing.assert_array_equal(np.asarray(see(record, plan_still(record.series, LIMITS))), whole)


def _series(**facts):
    return Series(**({"uid": "1", "study_uid": "2", "format": "npy", "frames": 100, "rows": 512,
                      "columns": 512, "dtype": "int16"} | facts))  # fmt: skip


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({"size": 513}, "at most 512, or add upsample=true"),
        ({"size": 0}, "at least 1 pixel"),
        ({"frame": 100}, "frames 0 to 99"),
        ({"frame": -1}, "frames 0 to 99"),
        ({"window": "40"}, "CENTER,WIDTH"),
        ({"size": 5000, "upsample": True}, "at most 4096"),
        ({"size": 1 << 31, "upsample": True}, "at most 4096"),
    ],
)
def test_stills_that_are_refused(request_, says):
    with pytest.raises(InvalidRequestError, match=says):
        plan_still(_series(), LIMITS, **request_)


def test_formats_have_a_longest_side():
    long = _series(rows=20000, columns=1)
    for format_name in ("webp", "jpeg"):
        with pytest.raises(InvalidRequestError, match="pixels a side"):
            plan_still(long, LIMITS, size=70000, upsample=True, format=format_name)
    assert plan_still(long, LIMITS, size=20000, format="png").rows == 20000


@pytest.mark.parametrize(
    ("request_", "frames"),
    [
        ({}, range(100)),
        ({"start": 10, "stop": 13}, [10, 11, 12]),
        ({"step": 40}, [0, 40, 80]),
        ({"start": 99}, [99]),
        ({"frames": 4}, [12, 37, 62, 87]),
        ({"frames": 4, "start": 50}, [56, 68, 81, 93]),
        ({"frames": 1000, "stop": 3}, [0, 1, 2]),
        ({"step": 5000}, [0]),
    ],
)
def test_frames_of_a_film(request_, frames):
    assert plan_cine(_series(), LIMITS, **request_).frames == tuple(frames)


def test_films_are_bounded():
    few = replace(LIMITS, cine_frames=20)
    thinned = plan_cine(_series(), few)
    assert thinned.frames == tuple(range(0, 100, 5))
    assert thinned.notes == ("Every frame in 5 is shown, of 100.",)
    for request_ in ({"step": 1}, {"step": 4}, {"frames": 50}):
        with pytest.raises(InvalidRequestError, match="ask for step=5 or frames=20"):
            plan_cine(_series(), few, **request_)
    for request_ in ({"step": 5}, {"frames": 20}):
        assert len(plan_cine(_series(), few, **request_).frames) == 20
    with pytest.raises(InvalidRequestError, match="size of at most 100,"):
        plan_cine(_series(), replace(LIMITS, cine_pixels=100 * 100 * 100), size=512)
    assert plan_cine(_series(), replace(LIMITS, cine_pixels=100 * 100 * 100), size=100).rows == 100
    for request_ in ({"start": 100}, {"start": 5, "stop": 5}, {"stop": 101}):
        with pytest.raises(InvalidRequestError, match="do not exist"):
            plan_cine(_series(), LIMITS, **request_)
    with pytest.raises(InvalidRequestError, match="not for both"):
        plan_cine(_series(), LIMITS, step=2, frames=2)


@pytest.mark.parametrize(
    ("facts", "request_", "fps"),
    [
        ({}, {}, 15),
        ({"time_step": 0.05}, {}, 20),
        ({"time_step": 0.05}, {"step": 2}, 10),
        ({"time_step": 0.05}, {"step": 2, "fps": 3.0}, 3),
        ({"time_step": 2.0}, {}, 15),  # slower than anything that moves
        ({"time_step": 0.0}, {}, 15),
        ({"time_step": 0.1, "dimensions": (10, 10)}, {"step": 10}, 10),  # one slice, as it changes
        ({"time_step": 0.1, "dimensions": (10, 10)}, {}, 15),  # one slice after the other
    ],
)
def test_films_run_as_fast_as_time_passed(facts, request_, fps):
    assert plan_cine(_series(**facts), LIMITS, **request_).fps == pytest.approx(fps)


def test_a_film_shows_the_frames_in_one_window(archive, stored, see):
    record = stored["dicom"]
    volume = archive.streaming.volume(record.series.uid).rescaled().astype(float)
    for request_, numbers in (({}, range(12)), ({"start": 2, "stop": 11, "step": 3}, (2, 5, 8))):
        plan = plan_cine(record.series, LIMITS, size=96, fps=7, window="-200,1400", quality=100, **request_)
        film = see(record, plan)
        assert (film.format, film.size, film.n_frames) == ("WEBP", (96, 96), len(numbers))
        total = 0
        for position, number in enumerate(numbers):
            film.seek(position)
            shown = np.asarray(film.convert("L"), dtype=float)
            total += film.info["duration"]
            assert np.abs(shown - _windowed(volume[number], -200, 1400)).mean() < 3
        assert total == round(1000 * len(numbers) / 7)
    assert see(record, plan_cine(record.series, LIMITS, frames=1)).size == (96, 96)


def test_a_film_without_a_window_is_measured_once(taken, see):
    ramp = np.broadcast_to(np.arange(9).reshape(9, 1, 1) * 100, (9, 32, 32)).astype(np.int16)
    record = taken("ramp.nii", _nifti(ramp))
    film = see(record, plan_cine(record.series, LIMITS, fps=10, quality=100))
    means, times = [], []
    for number in range(film.n_frames):
        film.seek(number)
        means.append(np.asarray(film.convert("L")).mean())
        times.append(film.info["duration"])
    # Of the five frames in the middle: what lies beyond is black or white, and one frame for a longer time.
    assert times == [300, 100, 100, 100, 300]
    assert means[0] < 5
    assert means[-1] > 250
    np.testing.assert_allclose(np.diff(means), 255 / 4, atol=3)


def test_films_of_label_maps_keep_their_colours(taken, see):
    labels = np.random.default_rng(6).integers(0, 2, (5, 40, 40)).astype(bool)
    record = taken("mask.npy", lambda path: np.save(path, labels))
    film = see(record, plan_cine(record.series, LIMITS))
    for number in range(5):
        film.seek(number)
        np.testing.assert_array_equal(np.asarray(film.convert("L")) > 127, labels[number])
        assert {colour for _, colour in film.convert("L").getcolors()} == {0, 255}


def test_tags_tell_plans_and_packs_apart(stored):
    record = stored["dicom"]
    plans = [
        plan_still(record.series, LIMITS, **request_)
        for request_ in (
            {}, {"size": 64}, {"frame": 1}, {"window": "auto"}, {"window": "1,2"}, {"format": "webp"},
            {"format": "webp", "quality": 7},
        )
    ]  # fmt: skip
    plans += [plan_cine(record.series, LIMITS, **request_) for request_ in ({}, {"fps": 3.0}, {"step": 2})]
    tags = {tag(record, plan) for plan in plans}
    assert len(tags) == len(plans)
    assert tag(record, plan_still(record.series, LIMITS, size=96)) == tag(record, plans[0])
    other = replace(record, pack=replace(record.pack, digest="0" * 64))
    assert tag(other, plans[0]) not in tags
    assert record.series.uid not in "".join(tags)


@given(
    rows=st.integers(1, 1 << 15),
    columns=st.integers(1, 1 << 15),
    frames=st.integers(1, 1 << 20),
    ratio=st.floats(1e-7, 1e7),
    request_=st.fixed_dictionaries(
        {},
        optional={
            "size": st.integers(1, 1 << 31),
            "upsample": st.booleans(),
            "start": st.integers(0, 1 << 31),
            "stop": st.integers(1, 1 << 31),
            "step": st.integers(1, 1 << 31),
            "frames": st.integers(1, 1 << 31),
        },
    ),
)
def test_whatever_is_planned_is_within_the_limits(rows, columns, frames, ratio, request_):
    affine = ((1.0, 0.0, 0.0, 0.0), (0.0, ratio, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0))
    series = _series(rows=rows, columns=columns, frames=frames, affine=affine)
    still = {name: value for name, value in request_.items() if name in ("size", "upsample")}
    for planner, asked in ((plan_still, still), (plan_cine, request_)):
        try:
            plan = planner(series, LIMITS, **asked)
        except ImariumError:
            continue
        count = len(plan.frames) if isinstance(plan, Cine) else 1
        assert 1 <= plan.rows * plan.columns * count <= max(LIMITS.picture_pixels, LIMITS.cine_pixels)
        if isinstance(plan, Cine):
            assert 1 <= count <= LIMITS.cine_frames
            assert list(plan.frames) == sorted(set(plan.frames))
            assert 0 <= plan.frames[0] <= plan.frames[-1] < frames
