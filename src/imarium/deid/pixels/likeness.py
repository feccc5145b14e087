"""How much a line of marks is like text, from its look and from what Tesseract read in it.

A logistic model of a few numbers. The weights are fitted by benchmarks/burned_text_weights.py to lines of
generated images with text and of real images without; they are few, so that a person can read what they say:
text has many parts that end on one line, are alike, stand out of their ground, and fill the height of their
line.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from imarium.deid.pixels.strokes import Line

LOOK = {
    "bias": -8.94,
    "parts": 3.51,
    "straightness": 2.67,
    "evenness": 2.93,
    "strength": 7.1,
    "looseness": -4.04,
    "constant": -4.14,
    "size": -1.47,
}
READING = {"known": 0.71, "mismatch": -1.35}


@dataclass(frozen=True, slots=True)
class Reading:
    """What Tesseract read in a line."""

    text: str = ""
    letters: int = 0
    """Letters and digits."""
    confidence: float = 0.0
    """Mean over the letters, 0 to 1."""
    sure: int = 0
    """Letters of words with a confidence of at least 0.6."""


def look_of(line: Line, scale: int) -> dict[str, float]:
    """What the look of a line says, as the model takes it. `scale` is pixels of the frame a pixel of the
    line."""
    return {
        "bias": 1.0,
        "parts": min(math.log2(line.parts), 4.0),
        "straightness": line.straightness,
        "evenness": line.evenness,
        "strength": line.strength,
        "looseness": min(line.box.height / line.height, 2.5),
        "constant": float(line.constant),
        "size": abs(math.log2(line.height * scale / 12)),
    }


def reading_of(reading: Reading, letters: int) -> dict[str, float]:
    """What was read in a line of about so many letters, as the model takes it."""
    return {
        "known": reading.confidence * min(reading.letters, 6),
        "mismatch": abs(reading.letters - letters) / max(reading.letters, letters, 1),
    }


def weigh(numbers: dict[str, float], weights: dict[str, float]) -> float:
    """The sum of the weighted numbers."""
    return sum(weights[name] * value for name, value in numbers.items())


def probability(sum_: float) -> float:
    """0 to 1."""
    return 1.0 / (1.0 + math.exp(-max(-50.0, min(50.0, sum_))))
