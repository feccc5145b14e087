"""Conformance suites that every store and codec lane must pass, and generators of test data.

Needs the `dev` extra. Subclass a suite in a test module and give it the thing under test.
"""

from imarium.testing.frames import DTYPES, frames_of, series_of, smooth_frames
from imarium.testing.lanes import LaneConformance
from imarium.testing.proxies import Fault, Proxy, proxied
from imarium.testing.servers import running
from imarium.testing.stores import StoreConformance

__all__ = [
    "DTYPES",
    "Fault",
    "LaneConformance",
    "Proxy",
    "StoreConformance",
    "frames_of",
    "proxied",
    "running",
    "series_of",
    "smooth_frames",
]
