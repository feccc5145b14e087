"""Text in pixels is found, whatever holds it; tissue is left alone."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from pydicom.data import get_testdata_file

from imarium.deid.pixels.blanking import blank_text
from imarium.deid.pixels.boxes import Box
from imarium.deid.pixels.finding import Options, find_text
from imarium.errors import InvalidRequestError
from imarium.formats import recognise
from imarium.formats.base import ReadContext
from imarium.settings import Limits
from imarium.testing import series_of, smooth_frames
from imarium.testing.burned_text import GROUNDS, plant_line, sample, samples

pytestmark = pytest.mark.usefixtures("reading")


def covered(found, planted, series, frame=0):
    """Share of the ink that boxes cover in a frame."""
    mask = np.zeros((series.rows, series.columns), bool)
    for one in found:
        if one.box.first <= frame < one.box.stop:
            mask[one.box.top : one.box.bottom, one.box.left : one.box.right] = True
    return (mask & planted.ink).sum() / planted.ink.sum()


@pytest.mark.parametrize("ground", GROUNDS)
def test_planted_text_is_found(ground):
    for number in range(2):
        made = sample(ground, number, seed=11)
        found = find_text(made.frames, made.series)
        for planted in made.planted:
            for frame in range(made.series.frames):
                assert covered(found, planted, made.series, frame) > 0.95, (made.name, planted.text)


def test_nothing_is_found_where_there_is_none():
    boxes = [find_text(made.frames, made.series) for made in samples(7, text=False, seed=11)]
    assert sum(map(len, boxes)) == 0


@pytest.mark.parametrize("deviation", [5, 20, 60])
@pytest.mark.parametrize("kind", ["normal", "uniform", "rayleigh"])
def test_noise_is_no_text(kind, deviation):
    rng = np.random.default_rng(0)
    frame = (300 + deviation * getattr(rng, kind)(size=(200, 240))).astype(np.int16)
    assert find_text([frame], series_of(frame)) == []


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32"])
@pytest.mark.parametrize("look", ["white", "boxed"])
def test_every_type_of_value(dtype, look):
    frame = smooth_frames(1, 200, 260, dtype)[0]
    series = series_of(frame)
    planted = plant_line([frame], series, "MEIER, ANNA", top=20, left=10, size=14, look=look)
    found = find_text([frame], series)
    assert covered(found, planted, series) > 0.95
    assert any("MEIER" in one.text for one in found)


def test_values_that_are_no_numbers_do_no_harm():
    frame = smooth_frames(1, 120, 200, "float32")[0]
    series = series_of(frame)
    planted = plant_line([frame], series, "MEIER, ANNA", top=20, left=10, size=16)
    frame[60:70] = np.nan
    frame[80, 5] = np.inf
    assert covered(find_text([frame], series), planted, series) > 0.95


@pytest.mark.parametrize("value", [0, 7, 255])
def test_empty_frames(value):
    frame = np.full((64, 64), value, np.uint8)
    assert find_text([frame] * 3, series_of(frame, 3)) == []
    assert find_text([np.zeros((1, 1), np.uint8)], series_of(np.zeros((1, 1), np.uint8))) == []
    assert find_text([], series_of(frame)) == []


def test_an_overlay_of_a_film_is_one_box_and_text_that_comes_and_goes_another():
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 60, (160, 240), dtype=np.uint8) for _ in range(12)]
    series = series_of(frames[0], 12, bits_stored=8)
    always = plant_line(frames, series, "SMITH JOHN", top=4, left=6, size=14)
    sometimes = plant_line(frames[4:8], series, "12.03.1954", top=120, left=100, size=14)
    found = find_text(iter(frames), series)
    ranges = sorted((one.box.first, one.box.stop) for one in found)
    assert ranges == [(0, 12), (4, 8)]
    for frame in range(12):
        assert covered(found, always, series, frame) > 0.95
        assert (covered(found, sometimes, series, frame) > 0.95) == (4 <= frame < 8)


def test_nothing_is_left_to_read_after_blanking():
    made = sample("us", 3, seed=11)
    assert made.planted
    found = find_text(made.frames, made.series)
    after = list(blank_text(made.frames, found, made.series))
    assert find_text(after, made.series) == []


def test_text_is_found_without_reading():
    frame = smooth_frames(1, 200, 260, "int16")[0]
    series = series_of(frame)
    planted = plant_line([frame], series, "MEIER, ANNA", top=20, left=10, size=14)
    (found,) = find_text([frame], series, Options(read=False))
    assert covered([found], planted, series) > 0.95
    assert found.kind == "unread"
    assert found.text == ""


def test_frames_of_another_shape_are_refused():
    frame = np.zeros((8, 8), np.uint8)
    with pytest.raises(InvalidRequestError, match="none of a series"):
        find_text([frame[:4]], series_of(frame))


def read(path, folder):
    (source,) = recognise(path).read([path], ReadContext(Limits(), folder))
    return list(itertools.islice(source.read_frames(), 3)), source.series


def test_a_real_image_with_a_name_in_it(shared_data, tmp_path):
    frames, series = read(shared_data / "deid-phi" / "presidio" / "2_ORIGINAL.dicom", tmp_path)
    found = find_text(frames, series)
    text = " ".join(one.text for one in found)
    assert "KAUFMAN" in text
    assert "1943" in text
    # The first two lines, and nothing of the image below.
    ink = frames[0] == 32767
    mask = np.zeros(ink.shape, bool)
    for one in found:
        mask[one.box.top : one.box.bottom, one.box.left : one.box.right] = True
    assert (mask & ink)[:30].sum() == ink[:30].sum()
    assert not mask[40:].any()


def test_a_real_ultrasound_with_many_lines(tmp_path):
    path = get_testdata_file("examples_palette.dcm")
    frames, series = read(Path(path), tmp_path)
    text = " ".join(one.text for one in find_text(frames, series))
    for words in ("Philips Healthcare", "5/25/2011", "2:56:22", "11-05-25", "MI 1.1"):
        assert words in text


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "693_J2KI.dcm", "JPEG-lossy.dcm"])
def test_real_images_without_text(name, tmp_path):
    frames, series = read(Path(get_testdata_file(name)), tmp_path)
    assert find_text(frames, series) == []


def test_a_box_never_leaves_the_frame():
    frame = np.zeros((40, 120), np.uint8)
    series = series_of(frame)
    plant_line([frame], series, "SMITH JOHN", top=26, left=30, size=16)
    for one in find_text([frame], series):
        assert one.box == Box(one.box.top, one.box.left, min(one.box.bottom, 40), min(one.box.right, 120))
