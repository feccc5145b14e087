"""Figures of a report as people read them."""

from __future__ import annotations

from imarium.report.summary import Group, LevelSummary, Spread

MEASURES = (
    ("SSIM", "ssim", 4),
    ("SSIM, same centres", "ssim_same_centres", 4),
    ("PSNR dB", "psnr", 1),
    ("labels equal", "labels_equal", 4),
)
"""What a column says, the attribute of a level, and digits after the point."""


def spread_text(spread: Spread, digits: int) -> str:
    """Mean and standard deviation."""
    if spread.mean is None:
        return ""
    deviation = spread.deviation
    text = f"{spread.mean:.{digits}f}"
    return text if deviation is None else f"{text} ± {deviation:.{digits}f}"


def sides(level: LevelSummary) -> str:
    """Rows and columns, of the smallest and the largest image where they differ."""
    small, large = (f"{rows}x{columns}" for rows, columns in (level.smallest, level.largest))
    return small if small == large else f"{small} to {large}"


def spread_of(level: LevelSummary, attribute: str) -> Spread:
    """A measure of a level, by the name that `MEASURES` has for it."""
    found: Spread = getattr(level, attribute)
    return found


def counted(number: int, one: str, several: str) -> str:
    """A number with its noun."""
    return f"{number:,} {one if number == 1 else several}"


def amount(group: Group) -> str:
    """Series and frames."""
    return f"{group.series:,} series, {counted(group.frames, 'frame', 'frames')}"
