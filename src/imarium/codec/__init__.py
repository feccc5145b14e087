"""Pixels to codestreams and back, exactly."""

from imarium.codec.frames import (
    EncodedFrame,
    Lane,
    Tier,
    choose_lane,
    decode_frame,
    decode_integers,
    decompositions_for,
    encode_frame,
    encode_frames,
    lane_reason,
    lanes_text,
    pixel_digest,
)
from imarium.codec.resample import resample, resample_stack

__all__ = [
    "EncodedFrame",
    "Lane",
    "Tier",
    "choose_lane",
    "decode_frame",
    "decode_integers",
    "decompositions_for",
    "encode_frame",
    "encode_frames",
    "lane_reason",
    "lanes_text",
    "pixel_digest",
    "resample",
    "resample_stack",
]
