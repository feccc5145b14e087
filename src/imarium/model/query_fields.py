"""What a query may ask for by a short name, beside any DICOM keyword."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """How the values of an attribute are compared."""

    TEXT = "text"
    NUMBER = "number"
    DATE = "date"
    """YYYY, YYYY-MM or YYYY-MM-DD, also without hyphens."""
    AGE = "age"
    """Years; 18m, 3w and 5d are months, weeks and days."""
    CODE = "code"
    """SCHEME:CODE, a code or words of its meaning."""
    UID = "uid"


@dataclass(frozen=True, slots=True)
class Field:
    """An attribute with a short name."""

    name: str
    kind: Kind
    meaning: str
    aliases: tuple[str, ...] = ()
    facet: bool = False
    """Whether its values are counted."""


FIELDS: tuple[Field, ...] = (
    Field("modality", Kind.TEXT, "DICOM modality: CT, MR, US, ...", ("mod",), facet=True),
    Field("bodypart", Kind.TEXT, "Body part examined", ("body", "body_part", "BodyPartExamined"), facet=True),
    Field("manufacturer", Kind.TEXT, "Maker of the device", ("vendor",), facet=True),
    Field("model", Kind.TEXT, "Model of the device", ("ManufacturerModelName",), facet=True),
    Field("collection", Kind.TEXT, "Collection; its whole name, or a beginning with *", facet=True),
    Field("sex", Kind.TEXT, "Sex of the subject: F, M, O", ("PatientSex", "gender"), facet=True),
    Field("age", Kind.AGE, "Age of the subject in years", ("PatientAge",), facet=True),
    Field("date", Kind.DATE, "Date of the study", ("StudyDate", "year"), facet=True),
    Field("format", Kind.TEXT, "Format of the source: dicom, nifti, png, ...", facet=True),
    Field("thickness", Kind.NUMBER, "Slice thickness in mm", ("SliceThickness",)),
    Field("spacing", Kind.NUMBER, "Distance of pixels in mm, the smaller one", ("PixelSpacing",)),
    Field("frames", Kind.NUMBER, "Frames: slices, of all volumes", ("slices", "NumberOfFrames")),
    Field("rows", Kind.NUMBER, "Rows of a frame", ("height",)),
    Field("columns", Kind.NUMBER, "Columns of a frame", ("width",)),
    Field("bytes", Kind.NUMBER, "Bytes that the series takes in the store", ("size",)),
    Field(
        "description",
        Kind.TEXT,
        "Words of the descriptions of series and study",
        ("SeriesDescription", "StudyDescription", "desc"),
    ),
    Field("report", Kind.TEXT, "Words of reports"),
    Field("series", Kind.UID, "Series Instance UID", ("uid", "SeriesInstanceUID")),
    Field("study", Kind.UID, "Study Instance UID", ("StudyInstanceUID",)),
    Field("subject", Kind.UID, "Pseudonym of the subject", ("patient",)),
    Field(
        "code",
        Kind.CODE,
        "A coded concept: icd10:C34 with all codes below it, sct:39607008, mesh:D008175",
        ("concept",),
    ),
    Field("diagnosis", Kind.CODE, "A coded diagnosis", ("dx",), facet=True),
    Field("organ", Kind.CODE, "A coded organ system", ("organ_system",), facet=True),
    Field("pathology", Kind.CODE, "A coded category of pathology", ("pathology_category",), facet=True),
    Field("anatomy", Kind.CODE, "A coded body part", ("region",)),
    Field("has", Kind.TEXT, "What there is at all: report, label, code, age, date, ... or any attribute"),
)
"""All short names, in the order in which people see them. label.KEY and subject.KEY come on top."""

LABEL, SUBJECT = "label.", "subject."

_BY_NAME = {name.lower().replace("_", ""): field for field in FIELDS for name in (field.name, *field.aliases)}


def find_field(key: str) -> Field | None:
    """The attribute of a short name or an alias; capitals and underscores do not count."""
    return _BY_NAME.get(key.lower().replace("_", ""))


def nearest(key: str, further: Iterable[str] = ()) -> str | None:
    """The name that looks most like a key that there is not."""
    known = {name.lower(): name for name in further}
    known |= {name.lower(): name for field in FIELDS for name in (field.name, *field.aliases)}
    found = difflib.get_close_matches(key.lower(), known, n=1, cutoff=0.6)
    return known[found[0]] if found else None
