"""The program that reads: found or not, bounded, and silent about what it read."""

import os
import stat

import numpy as np
import pytest

from imarium.deid.pixels import tesseract
from imarium.deid.pixels.finding import Options, find_text
from imarium.errors import LimitExceededError, MissingProgramError
from imarium.testing import series_of
from imarium.testing.burned_text import FACES, glyphs

PAGE = np.full((40, 200), 255, np.uint8)


def line(text):
    return (255 * (1 - glyphs(text, (60, 420), 10, 10, 32, FACES[0], smooth=True))).astype(np.uint8)


@pytest.mark.usefixtures("reading")
def test_words_come_with_their_page():
    words = tesseract.read_pages([line("FIRST"), line("2024 THIRD")])
    assert [(word.page, word.text) for word in words] == [(0, "FIRST"), (1, "2024"), (1, "THIRD")]
    assert all(word.confidence > 0.8 for word in words)
    assert all(0 <= word.left < word.right <= 420 for word in words)


@pytest.mark.usefixtures("reading")
def test_pages_without_words_between_others_keep_their_numbers():
    words = tesseract.read_pages([line("FIRST"), PAGE, PAGE, line("FOURTH")])
    sure = [(word.page, word.text) for word in words if word.confidence > 0.5]
    assert sure == [(0, "FIRST"), (3, "FOURTH")]  # of white pages it reads words of no confidence


@pytest.mark.usefixtures("reading")
def test_many_pages_are_read_in_turns(monkeypatch):
    monkeypatch.setattr(tesseract, "MOST_BYTES", 60_000)
    words = tesseract.read_pages([line(f"PAGE{number}") for number in range(5)])
    assert [word.page for word in words] == [0, 1, 2, 3, 4]


@pytest.mark.usefixtures("reading")
def test_pages_beyond_what_it_takes_are_left_out():
    assert tesseract.read_pages([np.zeros((1, 17_000), np.uint8), np.zeros((0, 5), np.uint8)]) == []


def test_without_the_program_it_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingProgramError, match="apt-get install tesseract-ocr"):
        tesseract.read_pages([PAGE])
    frame = np.zeros((8, 8), np.uint8)
    with pytest.raises(MissingProgramError):
        find_text([frame], series_of(frame))
    assert find_text([frame], series_of(frame), Options(read=False)) == []


def program(folder, text):
    """A program of that name that does something else."""
    path = folder / "tesseract"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


@pytest.mark.parametrize(
    ("does", "words"),
    [
        ("exec sleep 30", "longer than"),
        ("cat > /dev/null; echo SMITH >&2; exit 3", "status 3"),
        ("kill -9 $$", "status"),
    ],
)
def test_a_process_that_fails_is_an_error_without_what_it_read(monkeypatch, tmp_path, does, words):
    monkeypatch.setenv("PATH", program(tmp_path, does))
    with pytest.raises(LimitExceededError, match=words) as caught:
        tesseract.read_pages([PAGE], seconds=2)
    assert "SMITH" not in str(caught.value)


def test_an_answer_that_makes_no_sense_gives_no_words(monkeypatch, tmp_path):
    rows = r"5\t9\t1\t1\t1\t1\t0\t0\t1\t1\t90\tBEYOND\n5\t1\tx\n\ngarbage\n"
    monkeypatch.setenv("PATH", program(tmp_path, f"cat > /dev/null; printf '{rows}'"))
    assert tesseract.read_pages([PAGE]) == []
