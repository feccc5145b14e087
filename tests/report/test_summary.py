"""Sums and spreads of results."""

import statistics

import pytest

from imarium.report import Dataset, LevelResult, Link, SeriesResult, Spread, Summary, summary_json
from imarium.report.fidelity import Fidelity

CT, SEG = Dataset("c", "CT", False), Dataset("c", "SEG", True)


def result(uid, sizes, dataset=CT, ssim=None, error=None):
    """A series with a level for each of some sizes in bytes."""
    levels = []
    for level, size in enumerate(sizes):
        found = Fidelity(ssim=ssim[level]) if ssim and level else None
        levels.append(LevelResult(level, 64 >> level, 32 >> level, size, 1 + level, found))
    return SeriesResult(uid, dataset, 3, 64, 32, 1, "int16", 10, tuple(levels), error=error)


def summary(*results):
    made = Summary()
    for item in results:
        made.add(item)
    return made


@pytest.mark.parametrize("turn", [1, -1])
def test_a_series_without_a_level_counts_with_its_smallest(turn):
    results = [result("1", [100, 40, 10]), result("2", [50]), result("3", [80, 20])][::turn]
    levels = summary(*results).all.levels()
    assert [level.bytes for level in levels] == [230, 40 + 50 + 20, 10 + 50 + 20]
    assert [level.series for level in levels] == [3, 2, 1]
    assert [level.requests for level in levels] == [3, 2 + 1 + 2, 3 + 1 + 2]
    assert list(levels[1].share.values) == pytest.approx([0.4, 0.25][::turn])


def test_spread_is_over_series_that_have_the_level():
    found = summary(
        result("1", [9, 3, 1], ssim=[None, 0.9, 0.6]),
        result("2", [9, 3], ssim=[None, 0.7]),
        result("3", [9, 3]),
    )
    full, half, quarter = found.all.levels()
    assert full.ssim.mean is None
    assert half.ssim.mean == pytest.approx(0.8)
    assert half.ssim.deviation == pytest.approx(statistics.stdev([0.9, 0.7]))
    assert half.ssim.lowest == 0.7
    assert (quarter.ssim.mean, quarter.ssim.deviation, len(quarter.ssim)) == (0.6, None, 1)


def test_datasets_are_apart_and_in_order():
    found = summary(result("1", [9, 1]), result("2", [5], SEG), result("3", [7], Dataset("a", None, False)))
    assert [dataset.name for dataset, _ in found.datasets()] == ["a, no modality", "c, CT", "c, SEG"]
    assert Dataset("c", None, True).name == "c, label maps"
    assert Dataset("c", "US", True).name == "c, US, label maps"
    lines = summary_json(found, [Link(10, 20)])
    assert [line["kind"] for line in lines] == ["dataset"] * 3 + ["total"]
    assert lines[-1]["count"] == 3
    assert lines[-1]["levels"][1]["bytes"] == 1 + 5 + 7
    assert lines[-1]["levels"][0]["seconds"]["10"] == pytest.approx(0.02 + (21 + 30) * 8 / 1e7)


def test_sizes_of_images_are_told_from_smallest_to_largest():
    small = SeriesResult("1", CT, 1, 8, 8, 1, "int16", 1, (LevelResult(0, 8, 8, 5, 1),))
    levels = summary(result("2", [9]), small, result("3", [9])).all.levels()
    assert (levels[0].smallest, levels[0].largest) == ((8, 8), (64, 32))


def test_nothing():
    assert summary().all.levels() == []
    assert Spread().mean is None
    (total,) = summary_json(summary(), [])
    assert total["count"] == 0
