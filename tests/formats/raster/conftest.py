"""Fixtures of the tests of pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imarium.formats.base import ReadContext, Refusal
from imarium.formats.raster import JpegReader, PngReader
from imarium.model import Series, SourceSeries
from imarium.settings import Limits
from imarium.testing.png_files import MAGIC


@pytest.fixture
def context(tmp_path: Path) -> ReadContext:
    return ReadContext(Limits(), tmp_path)


@pytest.fixture
def one(context: ReadContext, tmp_path: Path) -> Callable[[bytes | Path], SourceSeries | Refusal]:
    """What the reader makes of a file, or of such content."""

    def call(source: bytes | Path) -> SourceSeries | Refusal:
        if isinstance(source, bytes):
            path, content = tmp_path / "picture", source
            path.write_bytes(source)
        else:
            path, content = source, source.read_bytes()
        reader = PngReader() if content[:1] == MAGIC[:1] else JpegReader()
        (found,) = reader.read([path], context)
        return found

    return call


@pytest.fixture
def read(
    one: Callable[[bytes | Path], SourceSeries | Refusal],
) -> Callable[[bytes | Path], tuple[Series, np.ndarray[Any, Any]]]:
    """The series and its one frame, which are what one another say."""

    def call(source: bytes | Path) -> tuple[Series, np.ndarray[Any, Any]]:
        found = one(source)
        assert isinstance(found, SourceSeries), found
        (frame,) = found.read_frames()
        assert frame.shape == found.series.frame_shape
        assert frame.dtype.name == found.series.dtype
        assert frame.flags.c_contiguous
        return found.series, frame

    return call
