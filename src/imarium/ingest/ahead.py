"""Encodes frames of files whose series is still being gathered.

A reader of single-slice files knows a series only when it has seen the header of every file. Meanwhile
the processors would idle; so each frame is offered as soon as its own header is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from imarium.codec import EncodedFrame, decompositions_for, encode_frame
from imarium.errors import RefusedFileError
from imarium.model import Series, SourceSeries
from imarium.model.series import Frame

_BUDGET_BYTES = 256 << 20
"""Pixels of all frames that may be encoded ahead of need; bounds the memory that their parts take."""


class EncodeAhead:
    """Frames by path, encoded on threads of their own. Use as a context manager."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="ahead")
        self._frames: dict[Path, tuple[Series, Future[EncodedFrame]]] = {}
        self._left = _BUDGET_BYTES

    def __enter__(self) -> EncodeAhead:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def offer(self, path: Path, series: Series, read: Callable[[], Frame]) -> None:
        """Encode the one frame of a file, if the budget allows. `series` holds the facts of that frame."""
        if series.pixel_bytes > self._left:
            return
        self._left -= series.pixel_bytes
        depth = decompositions_for(series.rows, series.columns)

        def encode() -> EncodedFrame:
            try:
                return encode_frame(read(), series, depth)
            except RefusedFileError as error:
                error.path = path
                raise

        self._frames[path] = (series, self._pool.submit(encode))

    def frames(self, source: SourceSeries) -> Iterator[Frame | Future[EncodedFrame]]:
        """The frames of a series in order, each as it was offered or else as it is read.

        Those that were coded under other facts than the series turned out to have are read again.
        """
        early = [self._claim(path, source.series) for path in source.frame_paths]
        if early and all(early):
            yield from (frame for frame in early if frame is not None)
            return
        early += [None] * (source.series.frames - len(early))
        for frame, ahead in zip(source.read_frames(), early, strict=False):
            yield frame if ahead is None else ahead

    def _claim(self, path: Path, series: Series) -> Future[EncodedFrame] | None:
        known, future = self._frames.pop(path, (None, None))
        if known is None or future is None:
            return None
        self._left += known.pixel_bytes
        return future if _coding(known) == _coding(series) else None


def _coding(series: Series) -> tuple[object, ...]:
    """What the coding of a frame hangs on."""
    return series.frame_shape, series.dtype, series.photometric, series.label_map
