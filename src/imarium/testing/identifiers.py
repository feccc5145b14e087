"""Plants identifiers in DICOM files, and looks for them in what a de-identification left.

`Planter` fills a data set with a made-up person: in every attribute of PS3.15 Table E.1-1 that can hold text,
a date or a UID, in text attributes outside the table, in sequences, private blocks, overlays, curves and
content items, several in one attribute, and in odd character sets. `plant_around` does so around the data
set: preamble and padding. `planted_file` does all of it. `search` looks for it in any bytes, without regard
to case, accents, encodings and ways to write a date.
"""

from __future__ import annotations

import io
import re
import string
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from random import Random

import imarium.formats.dicom.guard  # isort: skip  # noqa: F401 - before anything that imports pydicom

import numpy as np
from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import dictionary_VM, dictionary_VR, keyword_for_tag
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian

from imarium.deid.standard import attributes
from imarium.testing.dicom_files import make_dataset

_LENGTHS = {"SH": 16, "LO": 64, "AE": 16, "CS": 16, "UI": 64}
_TEXTS = frozenset({"LO", "SH", "ST", "LT", "UC", "UT"})
_LEFT_ALONE = frozenset(
    {
        0x00080005,
        0x00080016,
        0x00080100,
        0x00080102,
        0x00080103,
        0x00080119,
        0x00080060,
        0x0020000D,
        0x0020000E,
        0x00080018,
        0x00020010,
        0x00420012,
    }
)
"""What a data set needs to be read at all, and parts of codes."""
_KINDS = ("ClassUID", "SchemeUID", "SyntaxUID", "ContextUID", "ResourceUID")
"""UIDs that name a kind of thing, the same for everybody."""
_ENCODINGS = ("utf-8", "utf-16-le", "latin-1", "iso2022_jp", "shift_jis", "gb18030", "iso8859-5", "euc_kr")

CHARACTER_SETS = {
    "ascii": (None, "Varnholm^Quirina", ""),
    "latin-1": ("ISO_IR 100", "Värnhölm^Zoé", "Patientin Värnhölm"),
    "cyrillic": ("ISO_IR 144", "Люксембург^Аркадий", "Люксембург"),
    "japanese": (["", "ISO 2022 IR 87"], "Yamadaoka^Tarouji=山田岡^太郎治", "山田岡太郎治"),
    "korean": (["", "ISO 2022 IR 149"], "Hwangbok^Gildongi=皇甫^吉洞", "皇甫吉洞"),
    "chinese": ("GB18030", "Ouyangxi^Xiaodong=欧阳^小东", "欧阳小东"),
    "utf-8": ("ISO_IR 192", "Φωτόπουλος^Γιώργος", "Φωτόπουλος"),
}
"""Name to Specific Character Set, a person's name, and a piece of text that names the person."""


@dataclass(frozen=True, slots=True)
class Planted:
    """One identifier in one place."""

    where: str
    kind: str
    """person, number, birth, date, uid, institution, device, word (a unique one), phone, email or url."""
    value: str = field(repr=False)
    tag: int = 0
    """Attribute of the data set it is in; 0 elsewhere."""


@dataclass(slots=True)
class Person:
    """A made-up person and what is around them."""

    name: str
    number: str
    accession: str
    birth: date
    visit: date
    phone: str
    email: str
    institution: str
    physician: str
    device: str
    free: str
    """Text of the character set that names the person; empty in ASCII."""

    @property
    def family(self) -> str:
        """First part of the name, in letters of the alphabet."""
        return self.name.partition("^")[0]

    def sentence(self) -> str:
        """Free text with a bit of everything."""
        return (
            f"Pt {self.name.partition('=')[0].replace('^', ', ')} (ID {self.number}) born "
            f"{self.birth:%d.%m.%Y} seen {self.visit:%Y-%m-%d} at {self.institution} by "
            f"{self.physician.replace('^', ' ')}; call {self.phone} or {self.email}. {self.free}"
        )


def person(seed: int, character_set: str = "ascii") -> Person:
    """A person that nobody is; the same for the same seed."""
    random = Random(seed)  # noqa: S311
    _, name, free = CHARACTER_SETS[character_set]
    visit = date(2019, 3, 1) + timedelta(days=random.randrange(20))
    return Person(
        name,
        f"MRN{random.randrange(10**7, 10**8)}",
        f"A{random.randrange(10**8, 10**9)}",
        date(1931, 1, 1) + timedelta(days=random.randrange(20_000)),
        visit,
        f"+49 511 {random.randrange(10**5, 10**6)}",
        f"{_word(random).lower()}@{_word(random).lower()}.example",
        f"{_word(random)} Hospital",
        f"{_word(random)}^{_word(random)}",
        f"SN{random.randrange(10**8, 10**9)}",
        free,
    )


def _word(random: Random) -> str:
    return "Q" + "".join(random.choice("xzvkwj" + string.ascii_lowercase) for _ in range(9))


class Planter:
    """Plants into one data set; `planted` grows."""

    planted: list[Planted]

    def __init__(self, seed: int, character_set: str = "ascii") -> None:
        self.random = Random(seed)  # noqa: S311
        self.person = person(seed, character_set)
        self.character_set = character_set
        self.planted: list[Planted] = []

    def plant(self, dataset: Dataset) -> None:
        """Everywhere inside a data set."""
        declared = CHARACTER_SETS[self.character_set][0]
        if declared is not None:
            dataset.SpecificCharacterSet = declared
        self._key(dataset)
        self._listed(dataset)
        self._unlisted(dataset)
        self._nested(dataset)
        self._private(dataset)
        self._graphics(dataset)
        self._content(dataset)
        self._mistyped(dataset)

    def _add(self, where: str, kind: str, value: str, tag: int = 0) -> str:
        self.planted.append(Planted(where, kind, value, tag))
        return value

    def _known(self, where: str, tag: int = 0) -> None:
        """Everything that a sentence holds."""
        some = self.person
        for kind, value in (
            ("person", some.name),
            ("number", some.number),
            ("birth", some.birth.isoformat()),
            ("date", some.visit.isoformat()),
            ("institution", some.institution),
            ("person", some.physician),
            ("phone", some.phone),
            ("email", some.email),
        ):
            self._add(where, kind, value, tag)

    def unique(self, where: str, tag: int = 0) -> str:
        """A word that is nowhere else, counted as planted in `where`."""
        return self._add(where, "word", _word(self.random), tag)

    def _key(self, dataset: Dataset) -> None:
        some = self.person
        dataset.PatientName, dataset.PatientID = some.name, some.number
        dataset.PatientBirthDate = f"{some.birth:%Y%m%d}"
        dataset.AccessionNumber, dataset.InstitutionName = some.accession, some.institution
        dataset.ReferringPhysicianName, dataset.DeviceSerialNumber = some.physician, some.device
        dataset.OtherPatientIDs = [some.number, f"X{some.number}"]
        dataset.OtherPatientNames = [some.name, some.physician]
        dataset.PatientTelephoneNumbers = some.phone
        for kind, value in (("number", some.accession), ("device", some.device)):
            self._add("key attributes", kind, value)
        self._known("key attributes")

    def _listed(self, dataset: Dataset) -> None:
        for text, row in attributes().items():
            if not re.fullmatch(r"[0-9A-F]{8}", text):
                continue
            tag = int(text, 16)
            if tag in _LEFT_ALONE or tag in dataset or tag >> 16 < 8 or tag >> 16 >= 0xFFFA:
                continue
            if keyword_for_tag(tag):
                self._attribute(dataset, tag, described="C" in row.options.values())

    def _attribute(self, dataset: Dataset, tag: int, *, described: bool) -> None:
        vr = dictionary_VR(tag)
        where = keyword_for_tag(tag)
        several = dictionary_VM(tag) != "1"
        if vr == "PN":
            name = f"{_word(self.random)}^{_word(self.random)}"
            dataset.add_new(tag, vr, [name, name.swapcase()] if several else name)
            self._add(where, "person", name, tag)
        elif vr in _TEXTS and described:
            self._describe(dataset, tag, vr, where)
        elif vr in _TEXTS or vr == "AE":
            dataset.add_new(tag, vr, self.unique(where, tag))
        elif vr in ("DA", "DT"):
            day = self.person.visit
            dataset.add_new(tag, vr, f"{day:%Y%m%d}" if vr == "DA" else f"{day:%Y%m%d}101530.5+0100")
            self._add(where, "date", day.isoformat(), tag)
        elif vr == "UI":
            uid = (
                f"1.2.826.0.1.3680043.9.{self.random.randrange(10**9, 10**10)}.{self.random.randrange(10**9)}"
            )
            dataset.add_new(tag, vr, [uid, uid + ".1"] if several else uid)
            self._add(where, "uid", uid, tag)
        elif vr == "UR":
            dataset.add_new(tag, vr, self._add(where, "url", f"http://{_word(self.random)}.example/q", tag))
        elif vr in ("OB", "UN"):
            dataset.add_new(tag, vr, self.unique(where, tag).encode())

    def _describe(self, dataset: Dataset, tag: int, vr: str, where: str) -> None:
        """Text of which the harmless part may stay."""
        limit = _LENGTHS.get(vr, 10_000)
        if limit >= 10_000:
            dataset.add_new(tag, vr, self.person.sentence())
            self._known(where, tag)
        elif limit == 64:
            dataset.add_new(
                tag, vr, f"CT of {self.person.family} {self.person.number} {self.person.visit:%d.%m.%y}"
            )
            self._add(where, "person", self.person.family, tag)
            self._add(where, "number", self.person.number, tag)
            self._add(where, "date", self.person.visit.isoformat(), tag)
        else:
            dataset.add_new(tag, vr, self.person.number)
            self._add(where, "number", self.person.number, tag)

    def _unlisted(self, dataset: Dataset) -> None:
        listed = set(attributes())
        for tag, (vr, _, _, _, keyword) in DicomDictionary.items():
            if not keyword or tag >> 16 < 8 or tag in _LEFT_ALONE or f"{tag:08X}" in listed or tag in dataset:
                continue
            if vr in _TEXTS and tag >> 16 < 0x5000:
                self._describe(dataset, tag, vr, f"{keyword}, not listed")
            elif vr in ("PN", "UR", "DA", "DT") or (vr == "UI" and not keyword.endswith(_KINDS)):
                self._attribute(dataset, tag, described=False)

    def _nested(self, dataset: Dataset) -> None:
        item: Dataset | None = None
        for depth in range(5):
            outer = Dataset()
            outer.PatientName = self.person.name
            outer.PatientID = self.person.number
            outer.StudyDate = f"{self.person.visit:%Y%m%d}"
            outer.ReferencedSOPInstanceUID = f"1.2.826.0.1.3680043.9.77.{self.random.randrange(10**12)}"
            outer.PerformingPhysicianName = [self.person.physician, "Other^One"]
            outer.CodeMeaning = f"of {self.person.family}"
            outer.DerivationDescription = self.person.sentence()
            self._known(f"items {5 - depth} deep")
            self._add(f"items {5 - depth} deep", "uid", str(outer.ReferencedSOPInstanceUID))
            if item is not None:
                outer.RelatedSeriesSequence = Sequence([item, Dataset()])
            item = outer
        dataset.SharedFunctionalGroupsSequence = Sequence([item] if item is not None else [])

    def _private(self, dataset: Dataset) -> None:
        for group in (0x0009, 0x0029, 0x7053):
            creator = self.unique("private creator") if group == 0x0009 else "IMARIUM TEST"
            block = dataset.private_block(group, creator, create=True)
            block.add_new(0x01, "LO", self.person.sentence()[:64])
            block.add_new(0x02, "PN", self.person.name)
            block.add_new(0x03, "UN", self.unique("private bytes").encode())
            block.add_new(0x04, "DA", f"{self.person.visit:%Y%m%d}")
            item = Dataset()
            item.PatientName = self.person.name
            block.add_new(0x05, "SQ", Sequence([item]))
        # A block of the standard's safe list, whose text is not safe here.
        safe = dataset.private_block(0x01E1, "ELSCINT1", create=True)
        safe.add_new(0x26, "CS", self.person.family.upper()[:16] if self.person.family.isascii() else "X")
        safe.add_new(0x27, "LO", self.person.sentence()[:64])
        self._known("private attributes")

    def _graphics(self, dataset: Dataset) -> None:
        dataset.add_new(0x60000010, "US", 8)
        dataset.add_new(0x60000011, "US", 8)
        dataset.add_new(0x60000022, "LO", f"ROI {self.person.family}")
        dataset.add_new(0x60001500, "LO", self.person.number)
        dataset.add_new(0x60003000, "OW", self.unique("overlay").encode())
        dataset.add_new(0x60004000, "LT", self.person.sentence())
        dataset.add_new(0x50000022, "LO", f"curve of {self.person.family}")
        dataset.add_new(0x50003000, "OW", self.unique("curve").encode())
        text = Dataset()
        text.UnformattedTextValue = self.person.sentence()
        annotation = Dataset()
        annotation.GraphicLayer = "LAYER"
        annotation.TextObjectSequence = Sequence([text])
        dataset.GraphicAnnotationSequence = Sequence([annotation])
        self._known("graphics")

    def _content(self, dataset: Dataset) -> None:
        items = [
            self._item("TEXT", "121071", "Finding", TextValue=self.person.sentence()),
            self._item("PNAME", "121008", "Person Observer Name", PersonName=self.person.physician),
            self._item("TEXT", "121022", "Accession Number", TextValue=self.person.accession),
            self._item("DATE", "126201", "Acquisition Date", Date=f"{self.person.visit:%Y%m%d}"),
            self._item(
                "UIDREF", "121012", "Device Observer UID", UID="1.2.826.0.1.3680043.9.55.123123123123"
            ),
        ]
        inner = self._item("TEXT", "121106", "Comment", TextValue=self.person.sentence())
        items[0].ContentSequence = Sequence([inner])
        dataset.ContentSequence = Sequence(items)
        self._known("content items")
        self._add("content items", "uid", "1.2.826.0.1.3680043.9.55.123123123123")

    def _item(self, kind: str, code: str, meaning: str, **values: str) -> Dataset:
        concept = Dataset()
        concept.CodeValue, concept.CodingSchemeDesignator, concept.CodeMeaning = code, "DCM", meaning
        item = Dataset()
        item.RelationshipType, item.ValueType = "CONTAINS", kind
        item.ConceptNameCodeSequence = Sequence([concept])
        for keyword, value in values.items():
            setattr(item, keyword, value)
        return item

    def _mistyped(self, dataset: Dataset) -> None:
        """Names where numbers and codes belong."""
        if self.person.family.isascii():
            dataset.add_new(0x00180015, "CS", self.person.family.upper()[:16])
            dataset.add_new(0x00280A02, "CS", self.person.number)
        self._known("codes and numbers")

    def file_names(self) -> tuple[str, str]:
        """Names of a folder and a file that say who it is."""
        family = self.person.family
        self._add("file name", "person", family)
        self._add("folder name", "number", self.person.number)
        return f"{self.person.number}_{family}", f"{family}_{self.person.visit:%Y%m%d}.dcm"


def planted_file(seed: int, character_set: str = "ascii") -> tuple[bytes, Planter]:
    """A small CT image, as a file, with identifiers in every place but its pixels."""
    planter = Planter(seed, character_set)
    dataset = make_dataset(np.arange(64, dtype=np.uint16).reshape(8, 8), instance=seed + 1)
    planter.plant(dataset)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = (
        dataset.SOPClassUID,
        dataset.SOPInstanceUID,
    )
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.SourceApplicationEntityTitle = planter.unique("file meta information")
    meta.PrivateInformationCreatorUID = UID("1.2.826.0.1.3680043.9.88")
    meta.PrivateInformation = planter.unique("file meta information").encode()
    dataset.file_meta = meta
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return plant_around(buffer.getvalue(), planter), planter


def plant_around(file: bytes, planter: Planter) -> bytes:
    """A DICOM file (explicit VR little endian, with preamble) with identifiers around its data set."""
    word = planter.unique("preamble")
    padding = planter.unique("padding").encode()
    tail = b"\xfc\xff\xfc\xffOB\0\0" + len(padding).to_bytes(4, "little") + padding
    return word.encode().ljust(128, b"\0")[:128] + file[128:] + tail


def kept_on_purpose(one: Planted, columns: Iterable[str]) -> bool:
    """Whether options of Annex E, named as columns of Table E.1-1, keep an identifier where it is."""
    chosen = set(columns)
    row = attributes().get(f"{one.tag:08X}")
    if row is not None and any(row.options.get(column) == "K" for column in chosen):
        return True
    named = {
        "retain_institution_identity": ("institution",),
        # Of a device the dates of its calibration stay as well, and all dates that are planted are the same.
        "retain_device_identity": ("device", "date"),
        "retain_longitudinal_full_dates": ("date",),
        "retain_uids": ("uid",),
    }
    if "retain_longitudinal_modified_dates" in chosen and one.kind == "date":
        return False
    return any(one.kind in kinds for column, kinds in named.items() if column in chosen)


def search(data: bytes, planted: Iterable[Planted]) -> list[Planted]:
    """Which of the identifiers are anywhere in bytes, in any of the usual encodings and forms."""
    haystacks = list(_readings(data))
    found = []
    for one in planted:
        if any(_in(needle, data, haystacks) for needle in needles(one)):
            found.append(one)
    return found


def _readings(data: bytes) -> Iterator[str]:
    for encoding in ("latin-1", "utf-8"):
        text = data.decode(encoding, "ignore")
        yield _folded(text)
    if b"\0" in data:
        yield _folded(data.replace(b"\0", b"").decode("latin-1"))


def _in(needle: str, data: bytes, haystacks: list[str]) -> bool:
    if any(_folded(needle) in haystack for haystack in haystacks):
        return True
    if needle.isascii():
        return False
    for encoding in _ENCODINGS:
        try:
            encoded = needle.encode(encoding)
        except UnicodeEncodeError:
            continue
        if encoded in data:
            return True
    return False


def needles(one: Planted) -> set[str]:
    """The forms in which an identifier counts as found."""
    value = one.value
    if one.kind in ("date", "birth"):
        day = date.fromisoformat(value)
        forms = ("%Y%m%d", "%Y-%m-%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%y", "%Y/%m/%d")
        return {day.strftime(form) for form in forms}
    if one.kind == "person":
        parts = {part for group in value.split("=") for part in re.split(r"[\^ ]", group)}
        return (
            {part for part in parts if len(part) >= (2 if ord(part[0]) > 0x2E80 else 4)} if parts else set()
        )
    if one.kind == "number":
        return {value, value.lstrip(string.ascii_letters)}
    if one.kind == "institution":
        return {value, value.removesuffix(" Hospital")}
    return {value}


def _folded(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(character for character in decomposed if not unicodedata.combining(character)).casefold()
