"""Tesseract as a process of its own: pages in, words out.

The pages go to its standard input as one TIFF with many pages, so that its model is loaded once for many
lines and no picture of a patient touches the disk. Time is bounded, and memory where the system can bound it.
"""

from __future__ import annotations

import csv
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imarium.errors import LimitExceededError, MissingProgramError

MEMORY_BYTES = 2 << 30
"""Address space of the process."""
MOST_BYTES = 64 << 20
"""Bytes of the pages of one process."""
MOST_ANSWER = 16 << 20
"""Bytes of its answer."""
_LONGEST = 16_000
"""Rows or columns of a page; Tesseract takes up to 32,767."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word that Tesseract read, in pixels of its page."""

    page: int
    """Counted from 0."""
    top: int
    left: int
    bottom: int
    right: int
    confidence: float
    """0 to 1, as Tesseract says."""
    text: str


def available() -> bool:
    """Whether the program can be found."""
    return shutil.which("tesseract") is not None


def check_available() -> None:
    """Raises MissingProgramError, which says how to install it."""
    if not available():
        raise MissingProgramError(
            "reading text in pixels needs the program tesseract, which was not found; install it "
            "(Debian: apt-get install tesseract-ocr) and try again"
        )


def read_pages(
    pages: Sequence[NDArray[np.uint8]], *, segmentation: int = 7, seconds: float = 60.0
) -> list[Word]:
    """Words of grey pages (rows, columns), dark text on light.

    `segmentation` is Tesseract's page segmentation mode: 7 takes a page for one line, 11 looks for scattered
    text. A page with a side of more than 16,000 pixels is not read.

    Raises MissingProgramError without Tesseract, and LimitExceededError if one process takes longer than
    `seconds` (a minute for every 64 MiB of pages by default) or fails on the pages.
    """
    check_available()
    words: list[Word] = []
    batch: list[int] = []
    size = 0
    for number, page in enumerate(pages):
        if max(page.shape) > _LONGEST or min(page.shape) < 1:
            continue
        if batch and size + page.size > MOST_BYTES:
            words += _read(pages, batch, segmentation, seconds)
            batch, size = [], 0
        batch.append(number)
        size += page.size
    if batch:
        words += _read(pages, batch, segmentation, seconds)
    return words


def _read(
    pages: Sequence[NDArray[np.uint8]], numbers: list[int], segmentation: int, seconds: float
) -> list[Word]:
    images = [Image.fromarray(pages[number]) for number in numbers]
    tiff = io.BytesIO()
    images[0].save(tiff, "TIFF", save_all=True, append_images=images[1:], dpi=(300, 300))
    command = ["tesseract", "-", "-", "--psm", str(segmentation), "--oem", "1", "-l", "eng"]
    command += ["-c", "load_system_dawg=0", "-c", "load_freq_dawg=0", "tsv"]
    # One thread: tesseract's own threads cost more than they gain on lines of text.
    environment = {name: value for name, value in os.environ.items() if name in ("PATH", "TESSDATA_PREFIX")}
    environment |= {"OMP_THREAD_LIMIT": "1", "LC_ALL": "C.UTF-8"}
    if sys.platform == "linux" and shutil.which("prlimit"):
        command = ["prlimit", f"--as={MEMORY_BYTES}", "--", *command]
    try:
        done = subprocess.run(
            command, input=tiff.getvalue(), capture_output=True, check=False, timeout=seconds, env=environment
        )
    except subprocess.TimeoutExpired as error:
        raise LimitExceededError(f"reading text took longer than {seconds:g} seconds") from error
    except OSError as error:
        raise MissingProgramError("the program tesseract could not be started") from error
    if done.returncode != 0:
        # Its own message may quote what it read, so it is not passed on.
        raise LimitExceededError(f"tesseract failed on the pixels (status {done.returncode})")
    if len(done.stdout) > MOST_ANSWER:
        raise LimitExceededError(f"tesseract answered with more than {MOST_ANSWER} bytes")
    return _words(done.stdout.decode("utf-8", "replace"), numbers)


def _words(answer: str, numbers: list[int]) -> list[Word]:
    words = []
    for row in csv.reader(io.StringIO(answer), delimiter="\t", quoting=csv.QUOTE_NONE):
        if len(row) != 12 or row[0] != "5":
            continue
        page, left, top, width, height = int(row[1]) - 1, *(int(value) for value in row[6:10])
        text = row[11].strip()
        if text and 0 <= page < len(numbers):
            confidence = min(1.0, max(0.0, float(row[10]) / 100))
            words.append(Word(numbers[page], top, left, top + height, left + width, confidence, text))
    return words
