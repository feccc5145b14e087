"""Intervals over seeds and over patients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Values = NDArray[np.float64]
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A figure, and where it lies with 95 % confidence."""

    value: float
    low: float
    high: float

    def text(self, places: int = 3, *, signed: bool = False) -> str:
        sign = "+" if signed else ""
        value, low, high = (f"{one:{sign}.{places}f}" for one in (self.value, self.low, self.high))
        return f"{value} ({low} to {high})"


def accuracy(scores: Values, labels: Values) -> Values:
    """(...,) share of the pictures on the right side of a half; `scores` is (..., pictures)."""
    return np.asarray(((scores > 0.5) == (labels > 0.5)).mean(-1))


def auc(scores: Values, labels: Values) -> Values:
    """(...,) how often a picture of class 1 scores above one of class 0, ties for half."""
    return _weighted_auc(scores, labels, np.ones(len(labels)))


def over_seeds(values: Sequence[float] | Values) -> Interval:
    """The mean, with Student's t."""
    values = np.asarray(values, np.float64)
    mean, error = float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))
    reach = float(stats.t.ppf((1 + LEVEL) / 2, len(values) - 1)) * error
    return Interval(mean, mean - reach, mean + reach)


def paired(values: Sequence[float] | Values, reference: Sequence[float] | Values) -> Interval:
    """The mean of the differences seed by seed; both have the same seeds in the same order."""
    first, second = np.asarray(values, np.float64), np.asarray(reference, np.float64)
    if first.shape != second.shape:
        raise ValueError("pairs need the same seeds on both sides")
    return over_seeds(first - second)


@dataclass(frozen=True)
class Bootstrap:
    """Pictures drawn again and again, whole patients at a time, within each class."""

    labels: Values
    weights: Values
    """(draws, pictures) how often each picture was drawn."""

    @classmethod
    def of(cls, labels: Values, patients: Sequence[str], draws: int = 10_000, seed: int = 0) -> Bootstrap:
        random = np.random.default_rng(seed)
        weights = np.zeros((draws, len(labels)))
        for label in (0, 1):
            places = np.flatnonzero((labels > 0.5) == bool(label))
            names, group = np.unique([patients[int(place)] for place in places], return_inverse=True)
            drawn = random.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
            weights[:, places] = drawn[:, group]
        return cls(labels, weights)

    def accuracy(self, scores: Values, reference: Values | None = None) -> Interval:
        """Of one arm's scores (pictures,), or its difference to a reference drawn alike."""
        right = ((scores > 0.5) == (self.labels > 0.5)).astype(np.float64)
        value = float(accuracy(scores, self.labels))
        if reference is not None:
            right -= (reference > 0.5) == (self.labels > 0.5)
            value -= float(accuracy(reference, self.labels))
        return _percentiles(value, self.weights @ right / self.weights.sum(1))

    def auc(self, scores: Values, reference: Values | None = None) -> Interval:
        """Likewise."""
        value, drawn = float(auc(scores, self.labels)), _weighted_auc(scores, self.labels, self.weights)
        if reference is not None:
            value -= float(auc(reference, self.labels))
            drawn = drawn - _weighted_auc(reference, self.labels, self.weights)
        return _percentiles(value, drawn)


def _percentiles(value: float, drawn: Values) -> Interval:
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high))


def _weighted_auc(scores: Values, labels: Values, weights: Values) -> Values:
    above = labels > 0.5
    difference = scores[..., above, None] - scores[..., None, ~above]
    wins = (difference > 0) + 0.5 * (difference == 0)
    ones, zeros = weights[..., above], weights[..., ~above]
    pairs = np.einsum("...p,...pn,...n->...", ones, wins, zeros, optimize=True)
    return np.asarray(pairs / (ones.sum(-1) * zeros.sum(-1)))


def check() -> None:
    """Known answers, so that a mistake here is no result: raises AssertionError."""
    three = over_seeds([1, 2, 3])
    assert np.allclose((three.value, three.high - 2), (2, 2.48414)), three  # t(0.975, 2) = 4.3027
    assert paired([5, 7, 9], [4, 6, 8]) == Interval(1, 1, 1)
    apart = paired([0.1, 0.4, 0.2, 0.7], [0.2, 0.1, 0.5, 0.6])
    known = stats.ttest_rel([0.1, 0.4, 0.2, 0.7], [0.2, 0.1, 0.5, 0.6]).confidence_interval(LEVEL)
    assert np.allclose((apart.low, apart.high), (known.low, known.high)), apart
    labels, scores = np.array([0, 0, 1, 1.0]), np.array([0.1, 0.6, 0.6, 0.9])
    assert float(auc(scores, labels)) == 0.875
    assert float(accuracy(scores, labels)) == 0.75
    assert np.array_equal(auc(np.stack([scores, 1 - scores]), labels), [0.875, 0.125])
    again = Bootstrap.of(labels, ["a", "a", "b", "c"], draws=200)
    assert (again.weights[:, 0] == again.weights[:, 1]).all()  # a patient comes whole
    assert (again.weights[:, 2:].sum(1) == 2).all()
    assert again.accuracy(scores, scores) == Interval(0, 0, 0)
    assert again.auc(scores, 1 - scores).value == 0.75
    picked = np.repeat(np.arange(4), again.weights[0].astype(int))
    assert np.isclose(_weighted_auc(scores, labels, again.weights)[0], auc(scores[picked], labels[picked]))
