"""JPEG: exact against Pillow."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from PIL import Image

from imarium.formats.base import Refusal
from imarium.formats.raster.jpeg import SEGMENTS
from imarium.model import Series, SourceSeries
from imarium.testing.png_files import saved

Read: TypeAlias = Callable[[bytes | Path], tuple[Series, np.ndarray[Any, Any]]]
One: TypeAlias = Callable[[bytes | Path], SourceSeries | Refusal]


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"quality": 30}])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpeg_equals_pillow(mode: str, options: dict[str, Any], read: Read) -> None:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (37, 41, 3), dtype=np.uint8)).convert(mode)
    content = saved(image, "JPEG", **options)
    series, frame = read(content)
    assert np.array_equal(frame, np.asarray(Image.open(io.BytesIO(content))))
    assert series.notes == ("JPEG: lossy before it came here",)
    assert series.photometric == ("RGB" if mode == "RGB" else "MONOCHROME2")


def test_jpeg_fill_bytes_are_skipped(read: Read) -> None:
    content = saved(Image.new("L", (20, 10), 77), "JPEG")
    series, frame = read(content[:2] + b"\xff" * 9 + content[2:])
    assert series.shape == (1, 10, 20)
    assert frame.min() == frame.max()


def test_jpeg_orientation_is_noted_not_applied(read: Read) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = saved(Image.new("L", (20, 10)), "JPEG", exif=exif) + b"trailing"
    series, frame = read(content)
    assert frame.shape == (10, 20)
    assert series.notes[1:] == (
        "EXIF orientation 6 is not applied",
        "8 bytes after the end of the JPEG are left out",
    )


def test_segments_are_kept(one: One) -> None:
    exif = Image.Exif()
    exif[0x010E] = "a heart"
    content = saved(
        Image.new("L", (20, 10)), "JPEG", exif=exif, comment=b"Jane Doe", icc_profile=b"profile" * 20000
    )
    found = one(content)
    assert isinstance(found, SourceSeries)
    kept = found.attachments[SEGMENTS]
    for words in (b"JFIF", b"a heart", b"Jane Doe", b"profileprofile", b"\xff\xfe\0\x0aJane"):
        assert words in kept
    assert kept in content
    assert "JPEG: a colour profile is in the file; values are kept as stored" in found.series.notes
    assert "Doe" not in str(found.series)
