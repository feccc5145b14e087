"""De-identifies DICOM files: the data set, the file meta information and what surrounds the pixels.

Pixel data go from source to copy as they are, byte for byte, but for comments inside codestreams, bits
beyond Bits Stored where an overlay says that it lies there, and whatever follows the last pixel. Elements
after the pixel data (padding, signatures, private groups) are left out.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

import imarium.formats.dicom.guard  # isort: skip  # noqa: F401 - before anything that imports pydicom

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from imarium.deid.cleaned import Cleaned
from imarium.deid.codestreams import HEAD_BYTES, blanked
from imarium.deid.dataset import DatasetCleaner, Subject
from imarium.deid.decisions import Decisions
from imarium.deid.identity import Identity, first_text, harvest, subject_of
from imarium.deid.keys import Substitutes
from imarium.deid.policy import Dates, Policy
from imarium.deid.standard import METHOD_CODES
from imarium.deid.text import cleaner
from imarium.errors import (
    CorruptFileError,
    ImariumError,
    QuarantineError,
    UnsupportedFileError,
)
from imarium.formats.dicom.encode import encode_meta
from imarium.formats.dicom.header import Header, read_header
from imarium.formats.dicom.pixels import fragments_of
from imarium.settings import Limits
from imarium.version import VERSION

_DIRECTORY = "1.2.840.10008.1.3.10"
_SOP_CLASS, _SOP_INSTANCE, _STUDY, _SERIES = 0x00080016, 0x00080018, 0x0020000D, 0x0020000E
_IMPLEMENTATION = UID("2.25.113853829480352011254911183206563281749")
_CHUNK = 1 << 20
_PLAIN_UID = re.compile(r"[0-9]{1,64}(?:\.[0-9]{1,64})*")
_LONGITUDINAL = {Dates.REMOVE: "REMOVED", Dates.SHIFT: "MODIFIED", Dates.KEEP: "UNMODIFIED"}


@dataclass(slots=True)
class PixelOutcome:
    """What a pixel cleaner did to one object."""

    pixels: bytes | None = None
    """New value of Pixel Data, native and little endian, of the same shape and type; None: as they were."""
    text_looked_for: bool = False
    text_found: int = 0
    """Places with text."""
    text_blanked: bool = False
    faces_removed: bool = False
    review: tuple[str, ...] = ()
    """Why somebody has to look at the object before it is released; empty if nobody has to."""


class PixelCleaner(Protocol):
    """Looks for text and faces in the pixels of a file, and takes them out as `policy.pixels` says."""

    def __call__(self, path: Path, header: Header, policy: Policy, identity: Identity) -> PixelOutcome:
        """Raises ImariumError for pixels that cannot be looked at."""


class DicomCleaner:
    """De-identifies DICOM files by one policy and one set of keys."""

    def __init__(
        self,
        policy: Policy,
        substitutes: Substitutes,
        limits: Limits,
        pixels: PixelCleaner | None = None,
    ) -> None:
        self._policy = policy
        self._decisions = Decisions(policy)
        self._substitutes = substitutes
        self._limits = limits
        self._pixels = pixels
        self._kept = self._decisions.kept()

    def look(self, path: Path) -> tuple[str, str]:
        """(study UID, what tells its patient from others), for finding studies that mix patients.

        Raises RefusedFileError and its children.
        """
        with path.open("rb") as raw:
            header, _ = read_header(raw, path.stat().st_size, self._limits.header_bytes)
            return first_text(header.dataset, _STUDY), subject_of(header.dataset)[0]

    def clean(self, path: Path) -> Cleaned:
        """De-identify one file. Raises RefusedFileError and its children, and nothing is written."""
        size = path.stat().st_size
        with path.open("rb") as raw:
            header, stream = read_header(raw, size, self._limits.header_bytes)
            try:
                return self._cleaned(path, header, stream)
            except ImariumError:
                raise
            except RecursionError as error:
                raise CorruptFileError("sequences are nested too deeply") from error
            except Exception as error:
                raise CorruptFileError(f"the data set cannot be cleaned ({type(error).__name__})") from error

    def _cleaned(self, path: Path, header: Header, stream: BinaryIO) -> Cleaned:
        dataset = header.dataset
        sop_class = first_text(dataset, _SOP_CLASS) or first_text(header.meta, 0x00020002)
        if sop_class == _DIRECTORY or "DirectoryRecordSequence" in dataset:
            raise UnsupportedFileError("a table of contents (DICOMDIR) names patients; make it anew")
        uids = {tag: first_text(dataset, tag) for tag in (_STUDY, _SERIES, _SOP_INSTANCE)}
        if not uids[_SOP_INSTANCE]:
            raise CorruptFileError("the object has no SOP Instance UID")
        identity, number = subject_of(dataset)
        known = harvest(dataset, self._kept)
        subject = Subject(number, self._substitutes.subject(identity), self._substitutes.days(identity))
        if number and first_text(dataset, 0x00100020) and 0x00100020 not in self._kept:
            known = known.plus(Identity(numbers=frozenset({number})))
        outcome = self._pixel_outcome(path, header, known)
        overlays = _overlay_bits(dataset)
        work = DatasetCleaner(
            self._decisions,
            self._substitutes,
            cleaner(known, self._policy.text),
            subject,
            sop_class,
            frozenset(_digits(known)),
        )
        pixels = _PixelSource(path, header, stream, outcome, overlays, self._limits)
        work.clean(dataset)
        self._stamp(dataset, outcome)
        head = self._head(header, dataset, sop_class, pixels)
        self._check(head, work)
        new = {tag: self._new_uid(tag, uid) for tag, uid in uids.items()}
        study, series, instance = (self._file_name(uid) for uid in new.values())
        return Cleaned(
            (subject.pseudonym, study, series, f"{instance}.dcm"),
            lambda: _pieces(head, pixels),
            "dicom",
            work.counts,
            subject.pseudonym,
            number,
            {new[tag]: uids[tag] for tag in (_STUDY, _SERIES) if uids[tag] and new[tag] != uids[tag]},
            outcome.review,
        )

    def _pixel_outcome(self, path: Path, header: Header, known: Identity) -> PixelOutcome:
        rules = self._policy.pixels
        wanted = rules.text.value != "off" or rules.faces.value != "keep"
        if not wanted or header.pixel is None:
            return PixelOutcome()
        if self._pixels is None:
            raise QuarantineError(
                "the policy asks for pixels to be searched, and there is nothing here to search them with"
            )
        return self._pixels(path, header, self._policy, known)

    def _new_uid(self, tag: int, uid: str) -> str:
        override = self._decisions.override(tag)
        kept = "uids" in self._policy.retain if override is None else override.action.value == "keep"
        return uid if kept else self._substitutes.uid(uid)

    def _file_name(self, uid: str) -> str:
        return uid if _PLAIN_UID.fullmatch(uid) else self._substitutes.name(uid)

    def _stamp(self, dataset: Dataset, outcome: PixelOutcome) -> None:
        """Say what was done (PS3.15 E.1.1, PS3.3 C.12.1.1.1 and C.7.1.1)."""
        methods = list(self._policy.methods())
        if outcome.text_blanked:
            methods.append("clean-pixels")
        if outcome.faces_removed:
            methods.append("clean-faces")
        codes = Sequence()
        for method in methods:
            code = Dataset()
            code.CodeValue, code.CodeMeaning = METHOD_CODES[method]
            code.CodingSchemeDesignator = "DCM"
            codes.append(code)
        dataset.PatientIdentityRemoved = "NO" if self._policy.names_patients else "YES"
        dataset.DeidentificationMethod = [f"Imarium {VERSION}"[:64], f"policy {self._policy.name}"[:64]]
        dataset.DeidentificationMethodCodeSequence = codes
        dataset.LongitudinalTemporalInformationModified = _LONGITUDINAL[self._policy.dates.mode]
        if outcome.text_looked_for and (outcome.text_blanked or not outcome.text_found):
            dataset.BurnedInAnnotation = "NO"
        if outcome.faces_removed:
            dataset.RecognizableVisualFeatures = "NO"

    def _head(self, header: Header, dataset: Dataset, sop_class: str, pixels: _PixelSource) -> bytes:
        syntax = header.syntax
        if syntax == DeflatedExplicitVRLittleEndian or pixels.replaced:
            syntax = ExplicitVRLittleEndian
        meta = FileMetaDataset()
        meta.FileMetaInformationVersion = b"\0\1"
        meta.MediaStorageSOPClassUID = UID(sop_class)
        meta.MediaStorageSOPInstanceUID = UID(first_text(dataset, _SOP_INSTANCE))
        meta.TransferSyntaxUID = syntax
        meta.ImplementationClassUID = _IMPLEMENTATION
        meta.ImplementationVersionName = f"IMARIUM {VERSION}"[:16]
        if pixels.replaced and not header.little_endian:
            raise UnsupportedFileError("pixels of a big-endian file cannot be rewritten")
        buffer = DicomBytesIO()
        buffer.is_implicit_VR = header.implicit and not pixels.replaced
        buffer.is_little_endian = header.little_endian
        write_dataset(buffer, dataset)
        return encode_meta(meta, syntax) + buffer.getvalue()

    def _check(self, head: bytes, work: DatasetCleaner) -> None:
        """The last look: nothing that identifies beyond doubt may be left in the bytes to be written."""
        for number in work.identifiers:
            if len(number) >= 6 and _alone(number.encode(), head):
                raise QuarantineError("an identifier was left after cleaning; the file is not released")


def _digits(known: Identity) -> Iterator[str]:
    for number in known.numbers:
        plain = number.strip().lstrip("0")
        if len(plain) >= 5 and plain.isdigit():
            yield plain


def _alone(number: bytes, data: bytes) -> bool:
    position = data.find(number)
    while position >= 0:
        around = data[max(0, position - 1) : position] + data[position + len(number) :][:1]
        if not any(byte in b"0123456789." for byte in around):
            return True
        position = data.find(number, position + 1)
    return False


def _overlay_bits(dataset: Dataset) -> bool:
    """Whether an overlay lies in bits of the pixel data (retired; PS3.5 8.1.2)."""
    for group in range(0x6000, 0x6020, 2):
        tag = group << 16 | 0x0100
        if tag in dataset and first_text(dataset, tag) not in ("", "1"):
            return True
    return False


@dataclass(slots=True)
class _PixelSource:
    """Where the pixel data of the copy come from."""

    path: Path
    header: Header
    stream: BinaryIO
    outcome: PixelOutcome
    overlay_bits: bool
    limits: Limits
    start: int = 0
    end: int = 0
    inflated: bytes = b""
    scrub: list[tuple[int, bytes]] = field(default_factory=list)
    """(position, bytes to put there): heads of codestreams that held comments."""
    mask: tuple[int, int] | None = None
    """(bytes of a value, mask) for bits that hold an overlay."""
    length: int | None = None
    """Bytes of the value where it is cut to what the frames need."""

    def __post_init__(self) -> None:
        pixel = self.header.pixel
        if pixel is None or self.replaced:
            return
        self.start = pixel.start
        if pixel.length is None:
            _, fragments, self.end = fragments_of(self.stream, pixel.value, self.header.size)
            for position, length in fragments:
                self.stream.seek(position)
                head = self.stream.read(min(length, HEAD_BYTES))
                clean = blanked(head)
                if clean is not None:
                    self.scrub.append((position, clean))
            if self.overlay_bits:
                raise UnsupportedFileError("an overlay lies inside compressed pixel data")
        else:
            needed = _needed(self.header.dataset)
            self.length = min(pixel.length, needed) if needed else pixel.length
            self.end = pixel.value + self.length
            if not self.header.deflated and pixel.value + pixel.length > self.header.size:
                raise CorruptFileError("the pixel data are cut off")
            if self.overlay_bits:
                self.mask = _stored_mask(self.header.dataset)
        if self.header.deflated:
            self.stream.limit = self.end + self.limits.header_bytes  # type: ignore[attr-defined]
            self.stream.seek(self.start)
            self.inflated = self.stream.read(self.end - self.start)

    @property
    def replaced(self) -> bool:
        """Whether the pixels are new."""
        return self.outcome.pixels is not None


def _needed(dataset: Dataset) -> int | None:
    """Bytes that native frames take, made even; None if the image module does not say."""
    try:
        rows, columns = int(dataset.Rows), int(dataset.Columns)
        samples, bits = int(dataset.get("SamplesPerPixel") or 1), int(dataset.BitsAllocated)
        frames = int(dataset.get("NumberOfFrames") or 1)
        photometric = str(dataset.get("PhotometricInterpretation") or "")
    except Exception:
        return None
    per_pixel = 2 if photometric in ("YBR_FULL_422", "YBR_PARTIAL_422") else samples
    if min(rows, columns, samples, bits, frames) < 1:
        return None
    size = (rows * columns * per_pixel * bits * frames + 7) // 8
    return size + size % 2


def _stored_mask(dataset: Dataset) -> tuple[int, int]:
    allocated, stored = int(dataset.BitsAllocated), int(dataset.BitsStored)
    high = int(dataset.get("HighBit") or stored - 1)
    if allocated not in (8, 16, 32) or not stored <= high + 1 <= allocated:
        raise UnsupportedFileError("an overlay lies in pixels of an unusual layout")
    return allocated // 8, ((1 << stored) - 1) << (high + 1 - stored)


def _pieces(head: bytes, pixels: _PixelSource) -> Iterator[bytes]:
    yield head
    pixel = pixels.header.pixel
    if pixel is None:
        return
    if pixels.outcome.pixels is not None:
        value = pixels.outcome.pixels
        yield _native_head(pixels.header.dataset, len(value) + len(value) % 2)
        yield value + b"\0" * (len(value) % 2)
        return
    if pixels.inflated:
        source: BinaryIO = io.BytesIO(pixels.inflated)
        offset = pixels.start
    else:
        source, offset = pixels.path.open("rb"), 0
    with source:
        source.seek(pixels.start - offset)
        lead = source.read(pixel.value - pixels.start)
        if pixels.length is not None and pixels.length != pixel.length:
            order = "<" if pixels.header.little_endian else ">"
            lead = lead[:-4] + struct.pack(f"{order}I", pixels.length)
        yield lead
        yield from _value(source, pixel.value, offset, pixels)


def _value(source: BinaryIO, start: int, offset: int, pixels: _PixelSource) -> Iterator[bytes]:
    position = start
    scrub = iter(sorted(pixels.scrub))
    following = next(scrub, None)
    while position < pixels.end:
        source.seek(position - offset)
        stop = min(pixels.end, position + _CHUNK)
        if following is not None:
            if position == following[0]:
                yield following[1]
                position += len(following[1])
                following = next(scrub, None)
                continue
            stop = min(stop, following[0])
        piece = source.read(stop - position)
        if len(piece) != stop - position:
            raise CorruptFileError("the pixel data are cut off")
        position = stop
        yield _masked(piece, pixels) if pixels.mask else piece


def _masked(piece: bytes, pixels: _PixelSource) -> bytes:
    if pixels.mask is None:
        return piece
    size, mask = pixels.mask
    order = "<" if pixels.header.little_endian else ">"
    whole = len(piece) // size * size
    values = np.frombuffer(piece[:whole], f"{order}u{size}")
    return (values & values.dtype.type(mask)).astype(values.dtype).tobytes() + bytes(len(piece) - whole)


def _native_head(dataset: Dataset, length: int) -> bytes:
    bits = int(dataset.get("BitsAllocated") or 8)
    vr = b"OB" if bits <= 8 else b"OW"
    return struct.pack("<HH2sHI", 0x7FE0, 0x0010, vr, 0, length)
