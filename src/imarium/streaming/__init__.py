"""Stored series to any resolution and any format."""

from imarium.streaming.describe import describe, describe_fully
from imarium.streaming.downloads import Download
from imarium.streaming.levels import LevelDetail, parse_window
from imarium.streaming.manifests import Manifests
from imarium.streaming.pictures import draw, tag
from imarium.streaming.plans import Cine, PictureFormat, Still, plan_cine, plan_still
from imarium.streaming.service import Streaming, VerifyOutcome

__all__ = [
    "Cine",
    "Download",
    "LevelDetail",
    "Manifests",
    "PictureFormat",
    "Still",
    "Streaming",
    "VerifyOutcome",
    "describe",
    "describe_fully",
    "draw",
    "parse_window",
    "plan_cine",
    "plan_still",
    "tag",
]
