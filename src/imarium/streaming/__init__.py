"""Stored series to any resolution and any format."""

from imarium.streaming.describe import describe, describe_fully
from imarium.streaming.levels import LevelDetail, parse_window
from imarium.streaming.manifests import Manifests
from imarium.streaming.service import Streaming, VerifyOutcome

__all__ = [
    "LevelDetail",
    "Manifests",
    "Streaming",
    "VerifyOutcome",
    "describe",
    "describe_fully",
    "parse_window",
]
