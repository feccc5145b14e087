"""Writes series that came as DICOM as DICOM again: PS3.10 files, explicit VR little endian.

Pixels are native (see `native`) or, with transfer syntax "htj2k", encapsulated (see `encapsulating`).

At full resolution every instance comes back with every element that it had except those that describe how
the pixel data were encoded; its UIDs stay. At another resolution the instances are derived ones (PS3.3
C.7.6.1.1.2) with UIDs of their own that are functions of the source's, so writing twice gives the same.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Literal

from imarium.errors import ExportRefusedError, ImariumError, IntegrityError, StorageError
from imarium.formats.dicom.attachments import FrameIndex, read_index
from imarium.formats.dicom.encapsulating import EncapsulatedWriting
from imarium.formats.dicom.native import NativeWriting, in_order
from imarium.formats.dicom.sinks import Sinks, Writing
from imarium.formats.outgoing import OutFile, Outgoing, Pipe
from imarium.model import Rendition

TransferSyntax = Literal["explicit", "htj2k"]


class DicomWriter:
    """Writes a rendition whose source is DICOM; see `imarium.formats.base.Writer`."""

    name = "dicom"

    def __init__(self, syntax: TransferSyntax = "explicit") -> None:
        """`syntax`: "explicit" for native pixels, "htj2k" for HTJ2K Lossless RPCL."""
        self._syntax = syntax

    def write(self, rendition: Rendition, destination: Path) -> list[Path]:
        """Write one file, or a folder of files 00001.dcm, 00002.dcm, ...; returns them in slice order.

        One instance goes to the file `destination`, or into it if it is a folder; several go into the folder
        `destination`, which is made if need be. Names never come from identifiers.
        """
        index = _index(rendition)
        targets = _targets(destination, len(index.instances))
        written: list[Path] = []
        sinks = Sinks(lambda number: targets[number].open("w+b"))

        def opened(number: int) -> BinaryIO:
            stream = sinks.open(number)
            written.append(targets[number])
            return stream

        try:
            with _sound(), sinks:
                writing: Writing = (
                    EncapsulatedWriting(rendition, index, opened, targets[0].parent)
                    if self._syntax == "htj2k"
                    else NativeWriting(rendition, index, opened)
                )
                for number in writing.steps():
                    if number is not None:
                        sinks.close(number)
        except BaseException:
            for path in written:
                with contextlib.suppress(OSError):
                    path.unlink()
            raise
        return targets

    def outgoing(self, rendition: Rendition, name: str, scratch: Path) -> Outgoing:
        """The same files; see `imarium.formats.base.Writer`.

        Native pixels that come in the order of their files go straight out. Others wait in `scratch` until
        their file is complete, since something before them is known last: offsets, or frames that come later.
        """
        index = _index(rendition)
        several = len(index.instances) > 1
        names = [_name(number) for number in range(len(index.instances))] if several else [name]
        sinks = Sinks(lambda _: tempfile.TemporaryFile(dir=scratch))  # noqa: SIM115
        with _sound():
            if self._syntax == "htj2k":
                coded = EncapsulatedWriting(rendition, index, sinks.open, scratch)
                files = _one_by_one(coded, sinks, names)
            elif order := in_order(index):
                pipe = Pipe()
                files = _straight(NativeWriting(rendition, index, lambda _: pipe), pipe, order, names)
            else:
                files = _one_by_one(NativeWriting(rendition, index, sinks.open), sinks, names)
        return Outgoing("series.zip" if several else None, files)


def _index(rendition: Rendition) -> FrameIndex:
    if rendition.source.format != "dicom":
        raise ExportRefusedError(
            f"a series that came as {rendition.source.format} cannot be written as DICOM: what DICOM "
            "must say of it was never known. Choose the source's own format, or NIfTI"
        )
    index = read_index(rendition.attachments)
    if len(index.frames) != rendition.series.frames:
        raise IntegrityError("the kept frame index does not fit the series")
    return index


@contextlib.contextmanager
def _sound() -> Iterator[None]:
    """Errors of the disk, and of headers that only parsers know to be unsound, in our tree."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"the DICOM files could not be written: {error.strerror}") from error
    except ImariumError:
        raise
    except Exception as error:
        reason = f"the kept headers cannot be written again ({type(error).__name__})"
        raise IntegrityError(reason) from error


def _straight(
    writing: NativeWriting, pipe: Pipe, order: Sequence[int], names: Sequence[str]
) -> Iterator[OutFile]:
    """Files whose bytes come in the order in which they are needed."""
    steps = writing.steps()

    def content() -> Iterator[bytes]:
        with _sound():
            for finished in steps:
                yield from pipe.drain()
                if finished is not None:
                    return

    for number in order:
        with _sound():
            size = writing.begin(number)
        yield OutFile(names[number], size, content())
    with _sound():
        next(steps, None)  # lets it see that nothing is left


def _one_by_one(writing: Writing, sinks: Sinks, names: Sequence[str]) -> Iterator[OutFile]:
    """Files as they are complete; the last one when all is said that can be reported."""
    done: int | None = None
    with sinks:
        with _sound():
            for number in writing.steps():
                if number is None:
                    continue
                if done is not None:
                    yield sinks.take(done, names[done])
                    sinks.close(done)
                done = number
        if done is not None:
            yield sinks.take(done, names[done])


def _targets(destination: Path, count: int) -> list[Path]:
    if count == 1 and not destination.is_dir():
        destination.parent.mkdir(parents=True, exist_ok=True)
        return [destination]
    destination.mkdir(parents=True, exist_ok=True)
    return [destination / _name(number) for number in range(count)]


def _name(number: int) -> str:
    return f"{number + 1:05d}.dcm"
