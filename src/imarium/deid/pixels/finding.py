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
from imarium.deid.pixels.likeness import READING, Reading, probability, reading_of, weigh
from imarium.errors import InvalidRequestError
from imarium.model import Series
from imarium.model.series import Frame

_BATCH = 256
"""Pages that wait to be read together."""
_SURE = 0.6
"""Confidence of a word from which its letters count as surely read."""
_FEWEST = 3
"""Letters of a line that is found by its look: side markers and single marks are no identifiers, and tissue
has many such."""
_BEYOND_DOUBT = 5
"""Letters surely read from which a line is text, whatever it looks like."""


@dataclass(frozen=True, slots=True)
class Options:
    """How hard to look."""

    read: bool = True
    """Whether Tesseract reads; without it only marks that look very much like text are found."""
    likeness: float = 0.5
    """0 to 1: from which likeness to text marks count."""
    seconds: float = 300.0
    """For one process of Tesseract, which reads up to 256 lines."""


@dataclass(slots=True)
class _Mark:
    """A candidate without its page."""

    box: Box
    height: float
    letters: int
    strength: float
    look: float
    key: bytes
    """Digest of its page."""


def find_text(frames: Iterable[Frame], series: Series, options: Options | None = None) -> list[TextBox]:
    """Where text is burned into the stored values of a series.

    `frames` come one at a time, in order, each (rows, columns) or (rows, columns, samples) as `series` says;
    one is held at a time. A box covers a range of frames that have text in the same place, so that an overlay
    that never changes is one box and is read once. Boxes reach a few pixels beyond the ink. What is found,
    and what is not: docs/design/deidentification-pixels.md.

    Raises MissingProgramError without Tesseract (unless `options.read` is false), LimitExceededError where it
    takes too long, and InvalidRequestError for frames of another shape than the series'.
    """
    chosen = options or Options()
    if chosen.read:
        tesseract.check_available()
    readings: dict[bytes, Reading] = {}
    waiting: dict[bytes, NDArray[np.uint8]] = {}
    marks: list[list[_Mark]] = []
    before: bytes | None = None
    for frame in frames:
        if frame.shape != series.frame_shape:
            raise InvalidRequestError(f"a frame of {frame.shape} is none of a series of {series.frame_shape}")
        digest = blake3(np.ascontiguousarray(frame).view(np.uint8).reshape(-1).data).digest()
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
            readings.update(read_lines(waiting, chosen))
            waiting.clear()
    if waiting:
        readings.update(read_lines(waiting, chosen))
    found = [_of_frame(of_frame, readings, series, chosen) for of_frame in marks]
    return _over_frames(found)


def _mark(candidate: Candidate, key: bytes) -> _Mark:
    return _Mark(candidate.box, candidate.height, candidate.letters, candidate.strength, candidate.look, key)


def read_lines(pages: dict[bytes, NDArray[np.uint8]], options: Options) -> dict[bytes, Reading]:
    """What Tesseract reads on each page."""
    words: dict[int, list[tuple[str, int, float]]] = {}
    for word in tesseract.read_pages(list(pages.values()), seconds=options.seconds):
        letters = sum(map(str.isalnum, word.text))
        words.setdefault(word.page, []).append((word.text, letters, word.confidence))
    readings = {}
    for number, key in enumerate(pages):
        of_page = words.get(number, [])
        total = sum(letters for _, letters, _ in of_page)
        readings[key] = Reading(
            " ".join(text for text, _, _ in of_page),
            total,
            sum(letters * confidence for _, letters, confidence in of_page) / max(total, 1),
            sum(letters for _, letters, confidence in of_page if confidence >= _SURE),
        )
    return readings


def _of_frame(
    marks: Sequence[_Mark], readings: dict[bytes, Reading], series: Series, options: Options
) -> list[TextBox]:
    accepted: list[tuple[_Mark, TextBox]] = []
    rest: list[_Mark] = []
    for mark in marks:
        reading = readings.get(mark.key, Reading())
        likeness = probability(mark.look + weigh(reading_of(reading, mark.letters), READING))
        if (likeness >= options.likeness and mark.letters >= _FEWEST) or reading.sure >= _BEYOND_DOUBT:
            read = reading.letters >= 2 and reading.confidence >= 0.5
            accepted.append((mark, TextBox(mark.box, "read" if read else "unread", likeness, reading.text)))
        else:
            rest.append(mark)
    return [
        replace(line, box=_with_margin(line.box, height, series)) for line, height in _joined(accepted, rest)
    ]


def _with_margin(box: Box, height: float, series: Series) -> Box:
    """The box with grey edges and the points of letters, and along the line with room for one more letter:
    the last of a line that touches something is easily lost."""
    wider = replace(
        box,
        left=max(0, box.left - round(0.6 * height)),
        right=min(series.columns, box.right + round(0.6 * height)),
    )
    return wider.grown(2 + round(0.15 * height), series.rows, series.columns)


def _joined(accepted: list[tuple[_Mark, TextBox]], rest: list[_Mark]) -> list[tuple[TextBox, float]]:
    """Boxes of one frame with the heights of their letters: those that overlap are one, and what stands in
    line with them belongs to them (a word that could not be read)."""
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
