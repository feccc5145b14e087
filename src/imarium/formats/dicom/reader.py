"""Reads DICOM files into series (PS3.10 files, of any transfer syntax that a decoder is installed for)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from tempfile import gettempdir
from typing import BinaryIO

import numpy as np

from imarium.errors import CorruptFileError, ImariumError, LimitExceededError
from imarium.formats.base import ReadContext, Refusal
from imarium.formats.dicom import header
from imarium.formats.dicom.attachments import INDEX, attachment_name, stored_instance, write_index
from imarium.formats.dicom.decoder_client import DecoderPool, pool_for
from imarium.formats.dicom.dicomdir import Places, TableOfContentsError
from imarium.formats.dicom.frames import FrameSource, NativeImages, Spool, SpooledImages
from imarium.formats.dicom.grouping import Stack, make_stacks, series_of
from imarium.formats.dicom.header import InflatedStream, read_header
from imarium.formats.dicom.instance import Instance, attachment_bytes, scan
from imarium.formats.dicom.pixels import read_fragments, read_native
from imarium.formats.dicom.slices import SliceScanner
from imarium.model import SourceFile, SourceSeries
from imarium.model.series import Frame
from imarium.settings import Limits


class DicomReader:
    """Groups DICOM files into series and stacks of frames; see `imarium.formats.base.Reader`.

    Compressed frames are decoded once, in the decoder process, before their series is handed out, and wait
    in a temporary file; so an undecodable file is refused by itself. Uncompressed frames are read from the
    files when they are asked for.
    """

    name = "dicom"
    batch = True
    several = False

    def recognises(self, path: Path, head: bytes) -> bool:  # noqa: ARG002 - content decides, not the name
        """Whether the first 4 KiB are a DICOM file's, with or without preamble and file meta."""
        return header.recognises(head)

    def companions(self, path: Path) -> tuple[Path, ...]:
        """The files that a table of contents (DICOMDIR) names, those that are there; nothing for an image.

        Raises ImariumError where the header cannot be read, or is no image's.
        """
        try:
            scan(path, ReadContext(Limits(), Path(gettempdir())))
        except TableOfContentsError as table:
            return Places(path.parent).all_of(table)
        return ()

    def read(self, paths: Iterable[Path], context: ReadContext) -> Iterator[SourceSeries | Refusal]:
        """Series found in the files, and one refusal for each file that is in none. Raises for no file."""
        by_series: dict[str, list[Instance]] = {}
        scanner = SliceScanner(context)
        for path in paths:
            try:
                instance = scanner.scan(path)
            except ImariumError as error:
                yield Refusal(path, error)
                continue
            by_series.setdefault(instance.series_uid, []).append(instance)
        for uid in list(by_series):
            yield from _Assembly(by_series.pop(uid), context).run()


class _Prepared:
    """What is read of an instance besides its header."""

    def __init__(self, file: SourceFile, header_bytes: bytes, images: NativeImages | SpooledImages) -> None:
        self.file = file
        self.header_bytes = header_bytes
        self.images = images


class _Assembly:
    """The second pass over the files of one series: digests, headers, decoding; then stacking."""

    def __init__(self, instances: list[Instance], context: ReadContext) -> None:
        self._instances = instances
        self._context = context
        self._decoder: DecoderPool = pool_for(context.limits)

    def run(self) -> Iterator[SourceSeries | Refusal]:
        spools: dict[int, Spool] = {}
        prepared: dict[int, _Prepared] = {}
        sound: list[Instance] = []
        seen: Counter[str] = Counter()
        for instance in self._new():
            assert instance.path is not None
            instance.occurrence = seen[instance.sop_uid]
            seen[instance.sop_uid] += 1
            try:
                # One spool a multi-frame instance, and one for all others, which stack together.
                key = id(instance) if instance.multiframe else 0
                prepared[id(instance)] = self._prepare(instance, spools, key)
            except ImariumError as error:
                yield Refusal(instance.path, error)
                continue
            except Exception as error:
                reason = f"the file cannot be understood ({type(error).__name__})"
                yield Refusal(instance.path, CorruptFileError(reason))
                continue
            sound.append(instance)
        try:
            stacks = make_stacks(sound) if sound else []
        except Exception as error:
            for instance in sound:
                assert instance.path is not None
                reason = f"the series cannot be put in order ({type(error).__name__})"
                yield Refusal(instance.path, CorruptFileError(reason))
            return
        for stack in stacks:
            if len(stack.frames) > self._context.limits.frames:
                for instance in stack.instances:
                    assert instance.path is not None
                    reason = f"{len(stack.frames)} frames in one series are beyond the limit"
                    yield Refusal(instance.path, LimitExceededError(reason))
                continue
            yield _source_series(stack, [prepared[id(instance)] for instance in stack.instances])

    def _new(self) -> list[Instance]:
        """The instances whose files are not stored already."""
        files = [
            SourceFile(instance.path, instance.size, partial(self._context.digest_of, instance.path), uid)
            for instance in self._instances
            if instance.path is not None and (uid := instance.sop_uid)
        ]
        settled = self._context.settled(files)
        return [instance for instance in self._instances if instance.path not in settled]

    def _prepare(self, instance: Instance, spools: dict[int, Spool], key: int) -> _Prepared:
        assert instance.path is not None
        native = NativeImages(instance, self._context.limits)
        images: NativeImages | SpooledImages = native
        content: str | Callable[[], str] = native.digest
        try:
            if instance.header is not None and instance.fragments is None:
                instance.check_unchanged()
                header_bytes = instance.header
            else:
                with instance.open() as raw:
                    header_bytes = attachment_bytes(instance, raw, self._context)
                    if instance.fragments is not None or instance.deflated:
                        content = self._context.digest_of(instance.path)
                        if key not in spools:
                            spools[key] = Spool(self._context.scratch)
                        images = self._spool(instance, raw, spools[key])
                    instance.check_unchanged(raw)
        except OSError as error:
            raise CorruptFileError(f"the file could not be read: {error.strerror or 'I/O error'}") from error
        file = SourceFile(instance.path, instance.size, content, instance.sop_uid)
        return _Prepared(file, header_bytes, images)

    def _spool(self, instance: Instance, raw: BinaryIO, spool: Spool) -> SpooledImages:
        form = instance.form
        positions = []
        for number, frame in enumerate(self._frames(instance, raw)):
            if number == 0:
                shape = frame.shape
            positions.append(spool.append(frame))
        return SpooledImages(spool, tuple(positions), shape, form.dtype)

    def _frames(self, instance: Instance, raw: BinaryIO) -> Iterator[Frame]:
        form = instance.form
        if instance.fragments is not None:
            low, high = _range(form.bits_stored, form.signed)
            for number, fragments in enumerate(instance.fragments):
                frame, photometric = self._decoder.decode(read_fragments(raw, fragments), form)
                if number == 0:
                    instance.photometric = photometric
                if instance.bits_stored < form.bits_allocated and (frame.min() < low or frame.max() > high):
                    instance.bits_stored = form.bits_allocated
                yield frame
            return
        limits = self._context.limits
        _, stream = read_header(raw, instance.size, limits.header_bytes, self._context.scratch)
        assert isinstance(stream, InflatedStream)
        with stream:
            stream.limit = instance.value + form.frame_bits * form.frames // 8 + limits.header_bytes
            for number in range(form.frames):
                yield read_native(stream, instance.value, form, number)


def _range(bits: int, signed: bool) -> tuple[int, int]:
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)


def _source_series(stack: Stack, prepared: list[_Prepared]) -> SourceSeries:
    attachments: dict[str, bytes] = {}
    stored = []
    counts = np.bincount([frame.instance for frame in stack.frames], minlength=len(stack.instances))
    for number, (instance, ready) in enumerate(zip(stack.instances, prepared, strict=True)):
        name = attachment_name(number)
        attachments[name] = ready.header_bytes
        stored.append(stored_instance(instance, name, int(counts[number])))
    attachments[INDEX] = write_index(stored, stack.frames)
    head = stack.instances[stack.frames[0].instance]
    frames = FrameSource(stack.instances, [ready.images for ready in prepared], stack.frames)
    return SourceSeries(
        series=series_of(stack),
        files=tuple(ready.file for ready in prepared),
        read_frames=frames,
        attachments=attachments,
        patient_id=head.facts.patient_id,
        codestream=frames.codestream,
        packed_bytes=frames.packed_bytes,
    )
