"""De-identifies DICOM files: the data set, the file meta information and what surrounds the pixels.

Pixel data go from source to copy as they are, byte for byte, but for comments inside codestreams, bits
beyond Bits Stored where an overlay says that it lies there, and whatever follows the last pixel. Elements
after the pixel data (padding, signatures, private groups) are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import imarium.formats.dicom.guard  # isort: skip  # noqa: F401 - before anything that imports pydicom

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from imarium.deid.cleaned import Cleaned
from imarium.deid.dataset import DatasetCleaner, Subject
from imarium.deid.decisions import Decisions
from imarium.deid.identity import Identity, first_text, harvest, subject_of
from imarium.deid.keys import Substitutes
from imarium.deid.pixel_source import PixelCleaner, PixelOutcome, PixelSource, overlay_bits, pieces
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
from imarium.settings import Limits
from imarium.version import VERSION

_DIRECTORY = "1.2.840.10008.1.3.10"
_SOP_CLASS, _SOP_INSTANCE, _STUDY, _SERIES = 0x00080016, 0x00080018, 0x0020000D, 0x0020000E
_IMPLEMENTATION = UID("2.25.113853829480352011254911183206563281749")
_CHUNK = 1 << 20
_BURNED_IN = 0x00280301
_STATED = "the object says that text is burned into its pixels, and nobody looked"
_PLAIN_UID = re.compile(r"[0-9]{1,64}(?:\.[0-9]{1,64})*")
_LONGITUDINAL = {Dates.REMOVE: "REMOVED", Dates.SHIFT: "MODIFIED", Dates.KEEP: "UNMODIFIED"}


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
        overlays = overlay_bits(dataset)
        work = DatasetCleaner(
            self._decisions,
            self._substitutes,
            cleaner(known, self._policy.text),
            subject,
            sop_class,
            frozenset(_digits(known)),
        )
        pixels = PixelSource(path, header, stream, outcome, overlays, self._limits)
        work.clean(dataset)
        if any(uid and tag not in dataset for tag, uid in uids.items()):
            raise CorruptFileError("the UIDs of the object are no UIDs")
        for keyword, value in outcome.description.items():
            setattr(dataset, keyword, value)
        if pixels.replaced:
            for keyword in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
                dataset.pop(keyword, None)
        self._stamp(dataset, outcome)
        head = self._head(header, dataset, sop_class, pixels)
        self._check(head, work)
        new = {tag: self._new_uid(tag, uid) for tag, uid in uids.items()}
        study, series, instance = (self._file_name(uid) for uid in new.values())
        return Cleaned(
            (subject.pseudonym, study, series, f"{instance}.dcm"),
            lambda: pieces(head, pixels),
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
        if header.pixel is None:
            return PixelOutcome()
        if not wanted:
            stated = first_text(header.dataset, _BURNED_IN).upper() == "YES"
            return PixelOutcome(review=(_STATED,) if stated else ())
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

    def _head(self, header: Header, dataset: Dataset, sop_class: str, pixels: PixelSource) -> bytes:
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
