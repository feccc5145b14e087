"""Rectangles in frames, and what was found in them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from imarium.errors import InvalidRequestError

Kind: TypeAlias = Literal["read", "unread", "declared", "drawn"]
"""How a box came to be: text that was read; marks that look like text and could not be read; a region that
the device or a policy declares; drawn by a reviewer."""


@dataclass(frozen=True, slots=True)
class Box:
    """Pixels of a range of frames: rows `top` to `bottom` - 1, columns `left` to `right` - 1, frames `first`
    to `stop` - 1, all counted from 0 at full resolution."""

    top: int
    left: int
    bottom: int
    right: int
    first: int = 0
    stop: int = 1

    def __post_init__(self) -> None:
        if min(self.top, self.left, self.first) < 0:
            raise InvalidRequestError("a box begins at row, column and frame 0 or later")
        if self.bottom <= self.top or self.right <= self.left or self.stop <= self.first:
            raise InvalidRequestError("a box holds at least one row, column and frame")

    @property
    def height(self) -> int:
        """Rows."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """Columns."""
        return self.right - self.left

    @property
    def area(self) -> int:
        """Pixels of one frame."""
        return self.height * self.width

    def shared(self, other: Box) -> int:
        """Pixels of one frame that both cover, whatever their frames."""
        rows = min(self.bottom, other.bottom) - max(self.top, other.top)
        columns = min(self.right, other.right) - max(self.left, other.left)
        return max(0, rows) * max(0, columns)

    def grown(self, pixels: int, rows: int, columns: int) -> Box:
        """Larger by so many pixels on each side, within a frame of `rows` x `columns`."""
        return replace(
            self,
            top=max(0, self.top - pixels),
            left=max(0, self.left - pixels),
            bottom=min(rows, self.bottom + pixels),
            right=min(columns, self.right + pixels),
        )

    def joined(self, other: Box) -> Box:
        """The smallest box that holds both, in rows, columns and frames."""
        return Box(
            min(self.top, other.top),
            min(self.left, other.left),
            max(self.bottom, other.bottom),
            max(self.right, other.right),
            min(self.first, other.first),
            max(self.stop, other.stop),
        )


@dataclass(frozen=True, slots=True)
class TextBox:
    """Text, or what looks like it, in the pixels of a range of frames."""

    box: Box
    kind: Kind
    confidence: float
    """0 to 1: likeness to text (`likeness.py`)."""
    text: str = field(default="", repr=False, compare=False)
    """What was read. It may name a person: it lives in memory, is not shown by `repr`, and no record, log or
    report holds it or a digest of it (the digest of a name is found again by trying names)."""

    @property
    def characters(self) -> int:
        """Letters and digits that were read."""
        return sum(character.isalnum() for character in self.text)
