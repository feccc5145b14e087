"""Conformance suites that every store and codec lane must pass, and generators of test data.

Needs the `dev` extra. Subclass a suite in a test module and give it the thing under test.
"""

from imarium.testing.frames import DTYPES, frames_of, series_of, smooth_frames
from imarium.testing.lanes import LaneConformance
from imarium.testing.servers import running
from imarium.testing.stores import StoreConformance

__all__ = [
    "DTYPES",
    "LaneConformance",
    "StoreConformance",
    "frames_of",
    "running",
    "series_of",
    "smooth_frames",
]
