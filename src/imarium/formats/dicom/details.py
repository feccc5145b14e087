"""What of a DICOM header the catalog may know, so that people can ask for it.

The catalog must hold nothing that names a person, whatever a header holds, so an element is left out unless
its kind is known to be harmless (in the spirit of the table of PS3.15 Annex E, E.1-1):

- numbers (IS, DS, FL, FD, US, SS, UL, SL), code strings (CS) and ages (AS) are taken, but for `_WITHHELD`,
  and only where they are what they should be: a code string that is no code string may be a name;
- of short and long strings (SH, LO) and UIDs only those of `_TEXTS`, which describe devices and settings;
- persons, dates, times, addresses of machines, free text, private elements and anything else never;
- what differs between the images of a series (`_OF_ONE_IMAGE`) would be wrong of it as a whole;
- codes only of the schemes of `model.details`: others are an institution's own, with texts of its own.

Of each series the first frame's instance counts, and of enhanced ones what all frames share and the first
frame has.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

from pydicom.datadict import dictionary_VR, keyword_dict, keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from imarium.errors import IntegrityError, InvalidRequestError
from imarium.formats.dicom import values
from imarium.formats.dicom.attachments import read_index
from imarium.formats.dicom.header import parse_part10
from imarium.model.details import (
    MOST_MEANING_CHARACTERS,
    NO_DETAILS,
    Concept,
    ConceptKind,
    Details,
    Value,
    scheme_of,
)

MOST_ATTRIBUTES = 200
MOST_VALUES = 8
MOST_CHARACTERS = 64
"""Of one value."""
_MOST_CONCEPTS = 50
_DEPTH = 2
"""Sequences in one another that are followed into functional groups."""


def _named(text: str) -> frozenset[str]:
    return frozenset(text.split())


_CODES = {"CS": re.compile(r"[A-Z0-9 _]{1,16}"), "AS": re.compile(r"\d{3}[DWMY]")}
"""Types of short texts that the standard limits (PS3.5 Table 6.2-1)."""
_NUMBERS = frozenset(["IS", "DS", "FL", "FD", "US", "SS", "UL", "SL"])
_WITHHELD = _named(
    """
    PregnancyStatus SmokingStatus ResponsiblePersonRole TypeOfPatientID PatientSexNeutered StudyStatusID
    StudyPriorityID InterpretationTypeID InterpretationStatusID
    """
)
"""Would be taken by their type, but may tell who somebody is."""
_TEXTS = _named(
    """
    Manufacturer ManufacturerModelName SoftwareVersions SOPClassUID ConvolutionKernel SequenceName
    PulseSequenceName ContrastBolusAgent Radiopharmaceutical ReceiveCoilName TransmitCoilName FilterType
    TransducerType ImagedNucleus ReconstructionMethod AttenuationCorrectionMethod ScatterCorrectionMethod
    GridAbsorbingMaterial DetectorType Grid TransmitCoilType
    """
)
_OF_ONE_IMAGE = _named(
    """
    InstanceNumber AcquisitionNumber SliceLocation ImagePositionPatient ImageOrientationPatient
    SmallestImagePixelValue LargestImagePixelValue TableHeight TableTraverse FrameReferenceTime
    TemporalPositionIndex InStackPositionNumber DimensionIndexValues ImageIndex TriggerTime
    FrameAcquisitionNumber PixelPaddingValue ReferencedFrameNumber SliceProgressionDirection
    """
)
_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_CODED = {
    "AnatomicRegionSequence": ConceptKind.ANATOMY,
    "PrimaryAnatomicStructureSequence": ConceptKind.ANATOMY,
    "AdmittingDiagnosesCodeSequence": ConceptKind.DIAGNOSIS,
    "ProcedureCodeSequence": ConceptKind.PROCEDURE,
    "RequestedProcedureCodeSequence": ConceptKind.PROCEDURE,
    "PerformedProtocolCodeSequence": ConceptKind.PROCEDURE,
}


def details_of(attachments: Mapping[str, bytes]) -> Details:
    """Of a stored or incoming DICOM series, from what its pack keeps; nothing where that is unsound."""
    dataset = _first_header(attachments)
    if dataset is None:
        return NO_DETAILS
    found: dict[str, tuple[Value, ...]] = {}
    _take(dataset, found)
    for keyword in _GROUPS:
        group = values.item(dataset, keyword)
        if group is not None:
            _take_nested(group, found, _DEPTH)
    return Details(found, tuple(_concepts(dataset)))


def patient_of(attachments: Mapping[str, bytes]) -> str | None:
    """The Patient ID of a stored series, of which only a pseudonym may leave the ingest."""
    dataset = _first_header(attachments)
    return None if dataset is None else values.text(dataset, "PatientID")


def _first_header(attachments: Mapping[str, bytes]) -> Dataset | None:
    """Of the instance that the first frame is of."""
    try:
        index = read_index(attachments)
        first = index.instances[index.frames[0].instance]
        return parse_part10(attachments[first.attachment]).dataset
    except (IntegrityError, IndexError, KeyError):
        return None


def _take_nested(dataset: Dataset, found: dict[str, tuple[Value, ...]], depth: int) -> None:
    _take(dataset, found)
    if depth:
        for tag in _tags(dataset):
            if _type(tag) == "SQ" and (inner := values.item(dataset, keyword_for_tag(tag))) is not None:
                _take_nested(inner, found, depth - 1)


def _take(dataset: Dataset, found: dict[str, tuple[Value, ...]]) -> None:
    """Add what may be known; what is there already, from further outside, stays."""
    for tag in _tags(dataset):
        keyword = keyword_for_tag(tag)
        if len(found) >= MOST_ATTRIBUTES:
            return
        if not keyword or keyword in found:
            continue
        kind = _type(tag)
        taken: tuple[Value, ...]
        if keyword in _TEXTS:
            taken = tuple(_texts(values.texts(dataset, keyword)))
        elif kind in _CODES and _is_open(keyword):
            texts = _texts(values.texts(dataset, keyword))
            taken = tuple(text for text in texts if _CODES[kind].fullmatch(text))
        elif kind in _NUMBERS and _is_open(keyword):
            taken = (values.numbers(dataset, keyword) or ())[:MOST_VALUES]
        else:
            continue
        if taken:
            found[keyword] = taken


def _is_open(keyword: str) -> bool:
    return keyword not in _WITHHELD and keyword not in _OF_ONE_IMAGE


def _texts(several: Iterable[str]) -> list[str]:
    cleaned = ("".join(filter(str.isprintable, text)).strip()[:MOST_CHARACTERS] for text in several)
    return [text for text in dict.fromkeys(cleaned) if text][:MOST_VALUES]


def _tags(dataset: Dataset) -> list[BaseTag]:
    """Of public elements that describe; overlays, curves and pixel data are none."""
    return [
        tag
        for tag in dataset.keys()  # noqa: SIM118 - a Dataset iterates over elements
        if not tag.group & 1 and 0x0008 <= tag.group <= 0x0070 and tag.element
    ]


def _type(tag: BaseTag) -> str:
    """The VR of the standard's dictionary, whatever the file says; the first of several."""
    try:
        return dictionary_VR(tag)[:2]
    except KeyError:
        return ""


def _concepts(dataset: Dataset) -> list[Concept]:
    found: dict[tuple[str, str, str], Concept] = {}
    for keyword, kind in _CODED.items():
        for item in values.items(dataset, keyword):
            concept = _concept(kind, item)
            if concept is not None and len(found) < _MOST_CONCEPTS:
                found.setdefault((concept.kind, concept.scheme, concept.code), concept)
    return list(found.values())


def _concept(kind: ConceptKind, item: Dataset) -> Concept | None:
    """A code item (PS3.3 Table 8.8-1) of a scheme that is known."""
    scheme = scheme_of(values.text(item, "CodingSchemeDesignator") or "")
    code = values.text(item, "CodeValue") or values.text(item, "LongCodeValue")
    if scheme is None or code is None:
        return None
    try:
        return Concept(kind, scheme, code, (values.text(item, "CodeMeaning") or "")[:MOST_MEANING_CHARACTERS])
    except InvalidRequestError:
        return None


@lru_cache(1)
def keywords() -> frozenset[str]:
    """All keywords of the standard's dictionary that an attribute of the catalog may have."""
    return frozenset(keyword for keyword in keyword_dict if keyword)


@lru_cache(1)
def _by_lower_case() -> Mapping[str, str]:
    return {keyword.lower(): keyword for keyword in keywords()}


def keyword_like(name: str) -> str | None:
    """The keyword that somebody means, in whichever case; None if the standard has none."""
    return _by_lower_case().get(name.lower())
