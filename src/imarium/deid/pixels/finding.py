"""Text in the pixels of a series: candidates from strokes, read by Tesseract, joined over frames."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from imarium.deid.pixels import tesseract
from imarium.deid.pixels.boxes import Box, TextBox
from imarium.deid.pixels.candidates import Candidate, candidates
from imarium.errors import InvalidRequestError
from imarium.model import Series
from imarium.model.series import Frame

_BATCH = 256
"""Pages that wait to be read together."""


@dataclass(frozen=True, slots=True)
class Options:
    """How hard to look."""

    read: bool = True
    """Whether Tesseract reads; without it only marks that look very much like text are found."""
    unread: bool = True
    """Whether marks that look like text and cannot be read count."""
    confidence: float = 0.6
    """Of words that count as read by themselves."""
    seconds: float = 300.0
    """For one process of Tesseract, which reads up to 256 lines."""


@dataclass(slots=True)
class _Mark:
    """A candidate without its page."""

    box: Box
    height: float
    letters: int
    parts: int
    strength: float
    score: float
    constant: bool
    key: bytes
    """Digest of its page."""


def find_text(frames: Iterable[Frame], series: Series, options: Options | None = None) -> list[TextBox]:
    """Where text is burned into the stored values of a series.

    `frames` come one at a time, in order, each (rows, columns) or (rows, columns, samples) as `series` says; one
    is held at a time. A box covers a range of frames that have text in the same place, so that an overlay that
    never changes is one box and is read once. Boxes reach a few pixels beyond the ink. What is found, and what is
    not: docs/design/deidentification-pixels.md.

    Raises MissingProgramError without Tesseract (unless `options.read` is false), LimitExceededError where it
    takes too long, and InvalidRequestError for frames of another shape than the series'.
    """
    chosen = options or Options()
    if chosen.read:
        tesseract.check_available()
    readings: dict[bytes, tuple[str, float, float]] = {}
    waiting: dict[bytes, NDArray[np.uint8]] = {}
    marks: list[list[_Mark]] = []
    before: bytes | None = None
    for frame in frames:
        if frame.shape != series.frame_shape:
            raise InvalidRequestError(f"a frame of {frame.shape} is none of a series of {series.frame_shape}")
        digest = blake3(np.ascontiguousarray(frame).view(np.uint8).reshape(-1)).digest()
        if digest == before:
            marks.append(marks[-1])
            continue
        before = digest
        of_frame = []
        for candidate in candidates(frame, series):
            key = blake3(candidate.page.tobytes() + repr(candidate.page.shape).encode()).digest(16)
            of_frame.append(_mark(candidate, key))
            if chosen.read and key not in readings:
                waiting[key] = candidate.page
        marks.append(of_frame)
        if len(waiting) >= _BATCH:
            readings.update(_read(waiting, chosen))
            waiting.clear()
    if waiting:
        readings.update(_read(waiting, chosen))
    found = [_of_frame(of_frame, readings, series, chosen) for of_frame in marks]
    return _over_frames(found)


def _mark(candidate: Candidate, key: bytes) -> _Mark:
    return _Mark(
        candidate.box, candidate.height, candidate.letters, candidate.parts, candidate.strength,
        candidate.score, candidate.constant, key,
    )  # fmt: skip


def _read(pages: dict[bytes, NDArray[np.uint8]], options: Options) -> dict[bytes, tuple[str, float, float]]:
    """Of each page: text, the letters' mean confidence, and how many letters are of words beyond doubt."""
    words: dict[int, list[tesseract.Word]] = {}
    for word in tesseract.read_pages(list(pages.values()), seconds=options.seconds):
        words.setdefault(word.page, []).append(word)
    readings = {}
    for number, key in enumerate(pages):
        of_page = words.get(number, [])
        weights = [sum(map(str.isalnum, word.text)) for word in of_page]
        total = sum(weights)
        mean = sum(
            weight * word.confidence for weight, word in zip(weights, of_page, strict=True)
        ) / max(total, 1)
        sure = sum(
            weight
            for weight, word in zip(weights, of_page, strict=True)
            if word.confidence >= options.confidence
        )
        readings[key] = (" ".join(word.text for word in of_page), mean, float(sure))
    return readings


def _of_frame(
    marks: Sequence[_Mark], readings: dict[bytes, tuple[str, float, float]], series: Series, options: Options
) -> list[TextBox]:
    accepted: list[tuple[_Mark, TextBox]] = []
    rest: list[_Mark] = []
    for mark in marks:
        text, mean, sure = readings.get(mark.key, ("", 0.0, 0.0))
        letters = sum(map(str.isalnum, text))
        if _reads(letters, sure, mean, mark):
            accepted.append((mark, TextBox(mark.box, "read", mean, text)))
        elif options.unread and _looks_like_text(mark):
            accepted.append((mark, TextBox(mark.box, "unread", mark.score, text)))
        else:
            rest.append(mark)
    lines = _joined(accepted, rest)
    return [
        replace(line, box=line.box.grown(_margin(height), series.rows, series.columns)) for line, height in lines
    ]


def _reads(letters: int, sure: float, mean: float, mark: _Mark) -> bool:
    """Whether letters that Tesseract sees are no accident: it sees words of two to four in any tissue."""
    if sure >= 5 or (sure >= 3 and (mean >= 0.8 or mark.strength > 0.35)):
        return True
    if letters >= 2 and mean >= 0.8 and mark.strength > 0.25:
        return True
    return letters >= 4 and mean >= 0.35 and mark.score > 0.5 and mark.strength > 0.25


def _looks_like_text(mark: _Mark) -> bool:
    """Strong strokes, many and even."""
    if mark.constant:
        return mark.score > 0.3 and mark.parts >= 3
    if mark.strength > 0.7 and mark.score > 0.68 and mark.letters >= 5:
        return True  # letters that touch one another or the edge of their panel
    return mark.parts >= 4 and ((mark.strength > 0.4 and mark.score > 0.45) or mark.score > 0.65)


def _margin(height: float) -> int:
    """Pixels that a box reaches beyond the marks: grey edges, and the points between letters."""
    return 2 + round(0.15 * height)


def _joined(accepted: list[tuple[_Mark, TextBox]], rest: list[_Mark]) -> list[tuple[TextBox, float]]:
    """Boxes of one frame with the heights of their letters: those that overlap are one, and what stands in line
    with them belongs to them (a word that could not be read)."""
    lines: list[tuple[TextBox, float]] = []
    for mark, found in sorted(accepted, key=lambda entry: (entry[1].kind == "unread", -entry[1].confidence)):
        for number, (line, height) in enumerate(lines):
            if line.box.shared(found.box) > 0.3 * min(line.box.area, found.box.area):
                lines[number] = (replace(line, box=line.box.joined(found.box)), height)
                break
        else:
            lines.append((found, mark.height))
    growing = True
    while growing:
        growing = False
        for mark in list(rest):
            for number, (line, height) in enumerate(lines):
                if _continues(line.box, height, mark):
                    lines[number] = (replace(line, box=line.box.joined(mark.box)), height)
                    rest.remove(mark)
                    growing = True
                    break
    return lines


def _continues(box: Box, height: float, mark: _Mark) -> bool:
    """Whether marks of their own accord no text stand in line with text, as words do."""
    gap = max(box.left, mark.box.left) - min(box.right, mark.box.right)
    within = mark.box.top >= box.top - 0.5 * height and mark.box.bottom <= box.bottom + 0.5 * height
    alike = 0.5 <= mark.height / height <= 1.8
    return alike and within and gap <= 2.0 * height and mark.strength > 0.25


def _over_frames(found: list[list[TextBox]]) -> list[TextBox]:
    """Boxes at the same place in successive frames as one."""
    done: list[TextBox] = []
    open_: list[TextBox] = []
    for index, boxes in enumerate(found):
        going: list[TextBox] = []
        for one in boxes:
            here = replace(one, box=replace(one.box, first=index, stop=index + 1))
            for line in open_:
                if line.box.stop == index and _same_place(line.box, here.box):
                    open_.remove(line)
                    best = max((line, here), key=lambda entry: (entry.kind == "read", entry.confidence))
                    here = replace(best, box=line.box.joined(here.box))
                    break
            going.append(here)
        done += open_
        open_ = going
    return sorted(done + open_, key=lambda line: (line.box.first, line.box.top, line.box.left))


def _same_place(first: Box, second: Box) -> bool:
    return first.shared(second) > 0.6 * max(first.area, second.area)
