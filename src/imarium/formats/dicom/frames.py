"""Frames of a stack, one in memory at a time: from files where uncompressed, else from a spool."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from blake3 import blake3

from imarium.errors import CorruptFileError, ImariumError, RefusedFileError, StorageError
from imarium.formats.base import file_digest
from imarium.formats.dicom.grouping import FrameReference
from imarium.formats.dicom.instance import Instance
from imarium.formats.dicom.pixels import native_frame, read_fragments, read_into, read_native
from imarium.model import SourceCodestream
from imarium.model.series import Frame
from imarium.settings import Limits

_KEPT = {
    "1.2.840.10008.1.2.4.50": "jpeg",
    "1.2.840.10008.1.2.4.51": "jpeg",
    "1.2.840.10008.1.2.4.80": "jpegls",
    "1.2.840.10008.1.2.4.81": "jpegls",
    "1.2.840.10008.1.2.4.90": "jpeg2000",
    "1.2.840.10008.1.2.4.91": "jpeg2000",
    "1.2.840.10008.1.2.4.201": "htj2k",
    "1.2.840.10008.1.2.4.202": "htj2k",
    "1.2.840.10008.1.2.4.203": "htj2k",
}
"""Transfer syntaxes whose codestreams may be kept as they are."""
_WHOLE_FILE_HEADER_BYTES = 1 << 20
"""Files of one frame whose header is no larger are read whole, and hashed as they are read."""


class Spool:
    """Frames in a nameless temporary file, which is gone when nothing refers to it."""

    def __init__(self, scratch: Path | None) -> None:
        try:
            self._file: BinaryIO = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 - lives with us
        except OSError as error:
            raise StorageError(f"no temporary file can be made: {error.strerror}") from error
        self._end = 0

    def append(self, frame: Frame) -> int:
        """Keep a frame; returns its position."""
        position = self._end
        try:
            self._file.seek(position)
            self._file.write(np.ascontiguousarray(frame).reshape(-1).view(np.uint8).data)
            self._file.flush()
        except OSError as error:
            raise StorageError(f"temporary space ran out: {error.strerror}") from error
        self._end += frame.nbytes
        return position

    def read(self, position: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Frame:
        """A kept frame."""
        frame = np.empty(shape, dtype)
        self._file.seek(position)
        if self._file.readinto(frame.reshape(-1).view(np.uint8).data) != frame.nbytes:  # type: ignore[attr-defined]
            raise StorageError("a temporary file is shorter than what was written to it")
        return frame


class Images(Protocol):
    """The images of one instance, as its file has them (a mosaic is one image)."""

    def image(self, number: int) -> Frame:
        """Stored values of image `number`, from 0."""


@dataclass(slots=True)
class NativeImages:
    """Uncompressed images, read from the file when asked for."""

    instance: Instance
    limits: Limits
    _open: BinaryIO | None = None
    _digest: str | None = None

    def image(self, number: int) -> Frame:
        """Stored values of image `number`; the file stays open for the next ones of a multi-frame."""
        if self._open is None:
            self._open = self.instance.open()
        try:
            self.instance.check_unchanged(self._open)
            value, form = self.instance.value, self.instance.form
            if form.frames > 1 or self.instance.size - form.frame_bits // 8 > _WHOLE_FILE_HEADER_BYTES:
                return read_native(self._open, value, form, number)
            data = np.empty(self.instance.size, np.uint8)
            if read_into(self._open, data) < data.size:
                raise CorruptFileError("the file was cut off while it was being read")
            self._digest = blake3(data.data).hexdigest()
            return native_frame(data, value, form)
        except ImariumError:
            raise
        except OSError as error:
            raise CorruptFileError(f"the file could not be read: {error.strerror}") from error
        finally:
            if number + 1 >= self.instance.form.frames:
                self.close()

    def digest(self) -> str:
        """BLAKE3 of the file's bytes, hex; reads the file if reading its image has not told it."""
        if self._digest is None:
            try:
                with self.instance.open() as stream:
                    assert self.instance.path is not None
                    self._digest = file_digest(self.instance.path, self.limits)
                    self.instance.check_unchanged(stream)
            except OSError as error:
                raise CorruptFileError(f"the file could not be read: {error.strerror}") from error
        return self._digest

    def close(self) -> None:
        """Close the file; it is opened again when needed."""
        if self._open is not None:
            self._open.close()
            self._open = None


@dataclass(frozen=True, slots=True)
class SpooledImages:
    """Images that were decoded or inflated into a spool."""

    spool: Spool
    positions: tuple[int, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def image(self, number: int) -> Frame:
        """Stored values of image `number`."""
        return self.spool.read(self.positions[number], self.shape, self.dtype)

    def close(self) -> None:
        """Nothing to close: the spool goes with its last user."""


class FrameSource:
    """The `read_frames` of a series: call it to iterate, or ask for single frames."""

    def __init__(
        self,
        instances: Sequence[Instance],
        images: Sequence[NativeImages | SpooledImages],
        frames: Sequence[FrameReference],
    ) -> None:
        self._instances = tuple(instances)
        self._images = tuple(images)
        self._frames = tuple(frames)
        self._last: tuple[int, Frame] | None = None

    def __len__(self) -> int:
        return len(self._frames)

    def __call__(self) -> Iterator[Frame]:
        with closing(self):
            for index in range(len(self._frames)):
                yield self.frame(index)

    def frame(self, index: int) -> Frame:
        """Frame `index` of the stack. Errors name the file that is to blame."""
        reference = self._frames[index]
        try:
            return self._frame(reference)
        except RefusedFileError as error:
            error.path = self._instances[reference.instance].path
            raise

    def _frame(self, reference: FrameReference) -> Frame:
        mosaic = self._instances[reference.instance].mosaic
        images = self._images[reference.instance]
        if mosaic is None:
            self._close_others(reference.instance)
            return images.image(reference.number)
        if self._last is None or self._last[0] != reference.instance:
            self._last = (reference.instance, images.image(0))
        return mosaic.cut(self._last[1], reference.number)

    def codestream(self, index: int) -> SourceCodestream | None:
        """The compressed frame in the file, where the codec is one whose codestreams are kept."""
        reference = self._frames[index]
        instance = self._instances[reference.instance]
        codec = _KEPT.get(instance.form.syntax)
        if codec is None or instance.fragments is None or instance.mosaic is not None:
            return None
        try:
            with instance.open() as stream:
                return SourceCodestream(codec, read_fragments(stream, instance.fragments[reference.number]))
        except OSError as error:
            reason = f"the file could not be read: {error.strerror}"
            raise CorruptFileError(reason, instance.path) from error

    def packed_bytes(self, index: int) -> float | None:
        """Bytes of the compressed frame in the file, if it is compressed and a whole image.

        Of a deflated file it is the frame's share of the whole.
        """
        reference = self._frames[index]
        instance = self._instances[reference.instance]
        if instance.deflated:
            return instance.size / max(1, len(instance.places))
        if instance.fragments is None or instance.mosaic is not None:
            return None
        return float(sum(size for _, size in instance.fragments[reference.number]))

    def _close_others(self, instance: int) -> None:
        if self._last is not None and self._last[0] != instance:
            self._images[self._last[0]].close()
        self._last = (instance, np.empty(0))

    def close(self) -> None:
        """Close files; they are opened again when needed."""
        for images in self._images:
            images.close()
        self._last = None


@dataclass(frozen=True, slots=True)
class MergedFrames:
    """Frames of two sources in a new order: the `read_frames` of a merged series."""

    sources: tuple[Callable[[int], Frame], ...]
    frames: tuple[tuple[int, int], ...]
    """(source, index in that source)."""

    def __call__(self) -> Iterator[Frame]:
        for source, index in self.frames:
            yield self.sources[source](index)

    def frame(self, index: int) -> Frame:
        """Frame `index` of the stack."""
        source, number = self.frames[index]
        return self.sources[source](number)
