"""DICOM files: nothing that identifies is left, and what research needs is."""

import io
import struct
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from imagecodecs import jpeg2k_decode, jpeg2k_encode, jpeg8_decode, jpeg8_encode
from PIL import ImageCms
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
)

from imarium.deid._words import words
from imarium.deid.dicom import DicomCleaner
from imarium.deid.keys import Substitutes, subkeys
from imarium.deid.pixel_source import PixelOutcome
from imarium.deid.policy import (
    Action,
    DateRules,
    Dates,
    Documents,
    Override,
    PixelRules,
    PixelText,
    Policy,
)
from imarium.deid.policy_file import load, names, parse
from imarium.errors import (
    CorruptFileError,
    LimitExceededError,
    QuarantineError,
    RefusedFileError,
    UnsupportedFileError,
)
from imarium.settings import Limits
from imarium.testing.dicom_files import make_dataset
from imarium.testing.identifiers import CHARACTER_SETS, kept_on_purpose, planted_file, search

KEYS = subkeys(b"k" * 32, "")
PIXELS = np.arange(64, dtype=np.uint16).reshape(8, 8)

RESEARCH = words("""
    SOPClassUID Modality Manufacturer ManufacturerModelName SoftwareVersions ImageType BodyPartExamined
    PatientPosition SliceThickness SpacingBetweenSlices KVP XRayTubeCurrent Exposure ExposureTime
    ConvolutionKernel FilterType GantryDetectorTilt TableHeight RotationDirection ReconstructionDiameter
    RepetitionTime EchoTime InversionTime FlipAngle MagneticFieldStrength SequenceName ScanningSequence
    SequenceVariant MRAcquisitionType PixelBandwidth EchoTrainLength ContrastBolusVolume
    SeriesNumber AcquisitionNumber InstanceNumber ImagePositionPatient ImageOrientationPatient SliceLocation
    Laterality PatientOrientation
    SamplesPerPixel PhotometricInterpretation Rows Columns PixelSpacing BitsAllocated BitsStored HighBit
    PixelRepresentation WindowCenter WindowWidth RescaleIntercept RescaleSlope RescaleType
    RadionuclideTotalDose RadionuclideHalfLife Units DecayFactor FrameReferenceTime ActualFrameDuration
""")
"""Kept under every policy."""

CHARACTERISTICS = words("PatientSex PatientAge PatientSize PatientWeight")


def cleaner(policy: Policy, pixels=None) -> DicomCleaner:
    rules = policy.dates
    return DicomCleaner(policy, Substitutes(KEYS, "S-", rules.earliest, rules.latest), Limits(), pixels)


def clean(policy: Policy, source: Dataset | bytes | Path, folder: Path, pixels=None):
    """(the copy's data set, its bytes, what was done)."""
    path = source if isinstance(source, Path) else folder / "source.dcm"
    if isinstance(source, Dataset):
        save(source, path)
    elif isinstance(source, bytes):
        path.write_bytes(source)
    result = cleaner(policy, pixels).clean(path)
    data = b"".join(result.pieces())
    return pydicom.dcmread(io.BytesIO(data)), data, result


def save(dataset: Dataset, path: Path, syntax: str = "1.2.840.10008.1.2.1") -> None:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)


def without_pixels(name: str) -> Policy:
    return replace(load(name), pixels=PixelRules(), documents=Documents.EMPTY)


@pytest.mark.parametrize("character_set", CHARACTER_SETS)
@pytest.mark.parametrize("name", names())
def test_nothing_planted_is_left(name, character_set, tmp_path):
    policy = without_pixels(name)
    data, planter = planted_file(7, character_set)
    assert len(search(data, planter.planted)) == len(planter.planted) > 2500, "the search finds all before"
    copy, cleaned, result = clean(policy, data, tmp_path)
    left = search(cleaned, planter.planted)
    unwanted = [one for one in left if not kept_on_purpose(one, policy.columns())]
    assert not unwanted, {(one.where, one.kind) for one in unwanted}
    assert copy.PatientIdentityRemoved == "YES"
    assert copy.PixelData == PIXELS.astype("<u2").tobytes() or len(copy.PixelData) == PIXELS.nbytes
    assert copy.PatientID == copy.PatientName == result.subject
    assert not search(repr(result.counts).encode(), planter.planted), "reports hold no values"
    assert not search("/".join(result.name).encode(), planter.planted)


@pytest.mark.parametrize("name", names())
def test_what_research_needs_is_kept(name, tmp_path):
    dataset = make_dataset(PIXELS)
    given = {
        "Manufacturer": "ACME",
        "ManufacturerModelName": "Ring 3000",
        "SoftwareVersions": ["syngo 2012B", "VA44A 1.2.17"],
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "BodyPartExamined": "CHEST",
        "PatientPosition": "HFS",
        "ConvolutionKernel": "B30f",
        "FilterType": "WEDGE_3",
        "RotationDirection": "CW",
        "SequenceName": "*tfl3d1_16ns",
        "ScanningSequence": ["GR", "IR"],
        "SequenceVariant": ["SK", "SP"],
        "MRAcquisitionType": "3D",
        "Laterality": "L",
        "PatientOrientation": ["L", "P"],
        "Units": "BQML",
        "RescaleType": "HU",
        "PatientSex": "F",
        "PatientAge": "053Y",
    }
    for keyword in [*RESEARCH, *CHARACTERISTICS]:
        if keyword in given:
            setattr(dataset, keyword, given[keyword])
        elif keyword not in dataset:
            setattr(dataset, keyword, "1.5" if pydicom.datadict.dictionary_VR(keyword) == "DS" else 3)
    before = {keyword: dataset[keyword].value for keyword in [*RESEARCH, *CHARACTERISTICS]}
    policy = without_pixels(name)
    copy, _, _ = clean(policy, dataset, tmp_path)
    kept = [*RESEARCH, *(CHARACTERISTICS if "patient-characteristics" in policy.retain else [])]
    assert {keyword: copy[keyword].value for keyword in kept} == {
        keyword: before[keyword] for keyword in kept
    }


def test_the_object_says_what_was_done(tmp_path):
    copy, _, _ = clean(without_pixels("research-longitudinal"), make_dataset(PIXELS), tmp_path)
    codes = [item.CodeValue for item in copy.DeidentificationMethodCodeSequence]
    assert codes == ["113100", "113105", "113103", "113104", "113107", "113108", "113111"]
    assert copy.LongitudinalTemporalInformationModified == "MODIFIED"
    assert list(copy.DeidentificationMethod)[1] == "policy research-longitudinal"
    assert "BurnedInAnnotation" not in copy, "nobody looked"
    copy, _, _ = clean(Policy(), make_dataset(PIXELS), tmp_path)
    assert copy.LongitudinalTemporalInformationModified == "REMOVED"
    named = Policy(attributes={0x00100010: Override(Action.KEEP)})
    copy, _, _ = clean(named, make_dataset(PIXELS), tmp_path)
    assert copy.PatientIdentityRemoved == "NO"
    assert str(copy.PatientName) == "Nobody^Known"
    assert "113100" not in [item.CodeValue for item in copy.DeidentificationMethodCodeSequence]


def test_file_meta_information_is_new(tmp_path):
    data, _ = planted_file(1)
    copy, cleaned, _ = clean(without_pixels("basic"), data, tmp_path)
    assert cleaned[:128] == bytes(128)
    assert copy.file_meta.MediaStorageSOPInstanceUID == copy.SOPInstanceUID
    assert "SourceApplicationEntityTitle" not in copy.file_meta
    assert copy.file_meta.ImplementationVersionName.startswith("IMARIUM")


def test_intervals_and_references_stay_whole(tmp_path):
    policy = without_pixels("research-longitudinal")
    first, second = make_dataset(PIXELS, 1), make_dataset(PIXELS, 2)
    first.StudyDate, second.StudyDate = "20200228", "20210301"
    second.StudyTime = "101500"
    second.StudyInstanceUID = "1.2.3.4.5"
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = first.SOPClassUID, first.SOPInstanceUID
    deep = Dataset()
    deep.StudyInstanceUID, deep.ReferencedInstanceSequence = first.StudyInstanceUID, Sequence([item])
    second.StudiesContainingOtherReferencedInstancesSequence = Sequence([deep])
    one, _, _ = clean(policy, first, tmp_path)
    two, _, _ = clean(policy, second, tmp_path)
    day = pydicom.valuerep.DA
    assert day(two.StudyDate) - day(one.StudyDate) == day("20210301") - day("20200228")
    assert one.StudyDate != "20200228"
    assert two.StudyTime == "101500"
    inner = two.StudiesContainingOtherReferencedInstancesSequence[0]
    assert inner.StudyInstanceUID == one.StudyInstanceUID
    assert inner.ReferencedInstanceSequence[0].ReferencedSOPInstanceUID == one.SOPInstanceUID
    assert inner.ReferencedInstanceSequence[0].ReferencedSOPClassUID == first.SOPClassUID
    assert one.PatientID == two.PatientID


def test_another_patient_inside_gets_another_pseudonym(tmp_path):
    dataset = make_dataset(PIXELS)
    same, other = Dataset(), Dataset()
    same.PatientID, other.PatientID = dataset.PatientID, "ID-9999"
    dataset.SharedFunctionalGroupsSequence = Sequence([same, other])
    copy, _, _ = clean(Policy(), dataset, tmp_path)
    one, two = copy.SharedFunctionalGroupsSequence
    assert one.PatientID == copy.PatientID != two.PatientID
    assert two.PatientID.startswith("S-")


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
def test_transfer_syntaxes(syntax, tmp_path):
    dataset = make_dataset(PIXELS)
    dataset.PatientComments = "Nobody Known was here"
    path = tmp_path / "source.dcm"
    save(dataset, path)
    source = pydicom.dcmread(path)
    if syntax == ExplicitVRBigEndian:
        source.PixelData = PIXELS.astype(">u2").tobytes()
    for element in source.iterall():
        element.value  # noqa: B018 - decoded before the encoding changes
    source.file_meta.TransferSyntaxUID = syntax
    pydicom.dcmwrite(path, source, implicit_vr=None, little_endian=None, enforce_file_format=True)
    copy, data, _ = clean(without_pixels("research-longitudinal"), path, tmp_path)
    assert (copy.pixel_array == PIXELS).all()
    assert b"Nobody" not in data
    assert copy.Rows == 8


@pytest.mark.parametrize("name", ["basic", "research-longitudinal"])
def test_comments_inside_codestreams(name, tmp_path):
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for syntax, stream, head in (
        (JPEGBaseline8Bit, jpeg8_encode(grey), 2),
        (JPEG2000Lossless, jpeg2k_encode(grey, codecformat="j2k", level=0), None),
    ):
        if head is None:  # after SIZ
            head = 4 + int.from_bytes(stream[4:6], "big")
            comment = b"\xff\x64" + struct.pack(">HH", 20, 1) + b"SMITH^JOHN 1234!"
        else:
            comment = b"\xff\xfe" + struct.pack(">H", 18) + b"SMITH^JOHN 1234!"
        stream = stream[:head] + comment + stream[head:]
        dataset = make_dataset(grey)
        dataset.PixelData = encapsulate([stream])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
        path = tmp_path / "source.dcm"
        save(dataset, path, syntax)
        copy, data, _ = clean(without_pixels(name), path, tmp_path)
        assert b"SMITH" in path.read_bytes()
        assert b"SMITH" not in data
        (frame,) = generate_frames(copy.PixelData, number_of_frames=1)
        assert len(frame) == len(stream) + len(stream) % 2
        decode = jpeg8_decode if syntax == JPEGBaseline8Bit else jpeg2k_decode
        assert (decode(frame) == decode(stream)).all()


def test_bytes_beyond_the_last_pixel_are_left_out(tmp_path):
    dataset = make_dataset(PIXELS)
    dataset.PixelData = PIXELS.tobytes() + b"SMITH^JOHN"
    copy, data, _ = clean(Policy(), dataset, tmp_path)
    assert copy.PixelData == PIXELS.tobytes()
    assert b"SMITH" not in data


def test_an_overlay_inside_pixels(tmp_path):
    pixels = (PIXELS & 0x0FFF) | np.uint16(0x8000)
    dataset = make_dataset(pixels)
    dataset.BitsStored, dataset.HighBit = 12, 11
    dataset.add_new(0x60000010, "US", 8)
    dataset.add_new(0x60000011, "US", 8)
    dataset.add_new(0x60000100, "US", 16)
    dataset.add_new(0x60000102, "US", 15)
    copy, _, _ = clean(Policy(), dataset, tmp_path)
    assert (np.frombuffer(copy.PixelData, "<u2").reshape(8, 8) == PIXELS).all()
    assert 0x60000100 not in copy


def test_encapsulated_documents(tmp_path):
    dataset = make_dataset(PIXELS)
    del dataset.PixelData
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.104.1"
    dataset.EncapsulatedDocument = b"%PDF of Smith"
    with pytest.raises(QuarantineError, match="encapsulated document"):
        clean(Policy(), dataset, tmp_path)
    copy, data, _ = clean(Policy(documents=Documents.EMPTY), dataset, tmp_path)
    assert b"Smith" not in data
    assert not copy.EncapsulatedDocument


def test_structured_content(tmp_path):
    data, _ = planted_file(3)
    cleaned, _, _ = clean(without_pixels("research-longitudinal"), data, tmp_path)
    texts = [item.get("TextValue") for item in cleaned.ContentSequence]
    assert "[removed]" in texts[0]
    assert "seen" in texts[0], "the rest of the text stays"
    concepts = [item.ConceptNameCodeSequence[0].CodeMeaning for item in cleaned.ContentSequence]
    assert "Accession Number" not in concepts
    assert "Finding" in concepts
    basic, _, _ = clean(without_pixels("basic"), data, tmp_path)
    assert {item.get("TextValue", "Removed") for item in basic.ContentSequence} == {"Removed"}


def test_private_attributes_of_the_safe_list_and_of_a_policy(tmp_path):
    dataset = make_dataset(PIXELS)
    pet = dataset.private_block(0x7053, "Philips PET Private Group", create=True)
    pet.add_new(0x00, "DS", "0.5")
    pet.add_new(0x05, "LO", "not on the list")
    mine = dataset.private_block(0x0029, "ACME", create=True)
    mine.add_new(0x10, "LO", "factor 3 of Nobody")
    policy = parse("name: x\nretain: [safe-private]\nprivate:\n  - {creator: ACME, element: '0029,xx10'}\n")
    copy, _, _ = clean(policy, dataset, tmp_path)
    kept = copy.private_block(0x7053, "Philips PET Private Group")
    assert kept[0x00].value == 0.5
    assert 0x05 not in kept
    assert copy.private_block(0x0029, "ACME")[0x10].value == "factor 3 of [removed]"
    copy, _, _ = clean(Policy(), dataset, tmp_path)
    assert not any(tag.is_private for tag in copy.keys())  # noqa: SIM118


def test_ages_and_replacements(tmp_path):
    dataset = make_dataset(PIXELS)
    dataset.PatientAge = "093Y"
    policy = parse(
        "name: x\nretain: [patient-characteristics]\nattributes:\n  PatientComments: {replace: nobody}\n"
    )
    dataset.PatientComments = "x"
    copy, _, _ = clean(policy, dataset, tmp_path)
    assert copy.PatientAge == "090Y"
    assert copy.PatientComments == "nobody"


def test_a_table_of_contents_and_an_object_without_uid_are_refused(tmp_path):
    dataset = make_dataset(PIXELS)
    dataset.DirectoryRecordSequence = Sequence([])
    with pytest.raises(UnsupportedFileError, match="DICOMDIR"):
        clean(Policy(), dataset, tmp_path)
    dataset = make_dataset(PIXELS)
    path = tmp_path / "source.dcm"
    save(dataset, path)
    path.write_bytes(path.read_bytes().replace(b"\x08\0\x18\0UI", b"\x08\0\x19\0UI"))
    with pytest.raises(CorruptFileError, match="SOP Instance UID"):
        cleaner(Policy()).clean(path)


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
def test_uids_that_are_none(keyword, tmp_path):
    dataset = make_dataset(PIXELS)
    path = tmp_path / "source.dcm"
    save(dataset, path)
    uid = str(dataset[keyword].value).encode()
    data = path.read_bytes()
    start = data.index(uid, data.index(b"\x08\0\x16\0UI"))
    path.write_bytes(data[:start] + b"Smith/../".ljust(len(uid), b"x") + data[start + len(uid) :])
    with pytest.raises(CorruptFileError, match="no UIDs"):
        cleaner(Policy()).clean(path)


def test_deep_sequences_are_refused(tmp_path):
    dataset = make_dataset(PIXELS)
    inner = Dataset()
    for _ in range(60):
        outer = Dataset()
        outer.RelatedSeriesSequence = Sequence([inner])
        inner = outer
    dataset.SharedFunctionalGroupsSequence = Sequence([inner])
    with pytest.raises((LimitExceededError, CorruptFileError)):
        clean(Policy(), dataset, tmp_path)


def test_pixels_that_should_be_searched(tmp_path):
    policy = Policy(pixels=PixelRules(text=PixelText.BLANK))
    dataset = make_dataset(PIXELS)
    with pytest.raises(QuarantineError, match="nothing here to search"):
        clean(policy, dataset, tmp_path)

    def blank(path, header, policy, identity):
        assert "Nobody^Known" in identity.names
        return PixelOutcome(bytes(128), True, 1, True, review=("look",))

    copy, _, result = clean(policy, dataset, tmp_path, blank)
    assert copy.PixelData == bytes(128)
    assert copy.BurnedInAnnotation == "NO"
    assert result.review == ("look",)
    assert "113101" in [item.CodeValue for item in copy.DeidentificationMethodCodeSequence]


def test_text_that_the_object_says_is_burned_in_goes_to_review(tmp_path):
    dataset = make_dataset(PIXELS)
    dataset.BurnedInAnnotation = "YES"
    copy, _, result = clean(Policy(), dataset, tmp_path)
    assert "nobody looked" in result.review[0]
    assert copy.BurnedInAnnotation == "YES"


def test_a_colour_profile_loses_its_texts(tmp_path):
    dataset = make_dataset(PIXELS)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    dataset.ICCProfile = profile
    copy, data, _ = clean(Policy(), dataset, tmp_path)
    assert len(copy.ICCProfile) >= len(profile)
    assert "sRGB built-in".encode("utf-16-be") in profile
    assert "sRGB built-in".encode("utf-16-be") not in data


def test_an_object_that_mentions_too_many_people(tmp_path):
    dataset = make_dataset(PIXELS)
    dataset.OperatorsName = [f"Person{number}^A" for number in range(1200)]
    with pytest.raises(LimitExceededError, match="names or identifiers"):
        clean(Policy(), dataset, tmp_path)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 1500), st.binary(min_size=1, max_size=8))
def test_damaged_files_are_cleaned_or_refused(tmp_path, place, junk):
    data, _ = planted_file(2)
    start = 140 + place * (len(data) - 200) // 1500
    path = tmp_path / "damaged.dcm"
    path.write_bytes(data[:start] + junk + data[start + len(junk) :])
    with suppress(RefusedFileError):
        b"".join(cleaner(without_pixels("research-longitudinal")).clean(path).pieces())


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sets(st.sampled_from(["uids", "device-identity", "institution-identity", "patient-characteristics"])),
    st.sets(st.sampled_from(["descriptors", "structured-content", "graphics"])),
    st.sampled_from(Dates),
    st.sampled_from(list(CHARACTER_SETS)),
    st.integers(0, 10),
)
def test_no_policy_leaves_more_than_it_says(tmp_path, retain, clean_too, dates, character_set, seed):
    policy = Policy(
        retain=frozenset(retain),
        clean=frozenset(clean_too),
        dates=DateRules(dates),
        documents=Documents.EMPTY,
    )
    data, planter = planted_file(seed, character_set)
    _, cleaned, _ = clean(policy, data, tmp_path)
    left = [one for one in search(cleaned, planter.planted) if not kept_on_purpose(one, policy.columns())]
    assert not left, {(one.where, one.kind) for one in left}


def test_the_shared_files_with_made_up_patients(shared_data, tmp_path):
    folder = shared_data / "deid-phi"
    if not folder.is_dir():
        pytest.skip(f"{folder} is missing")
    for path in sorted(folder.rglob("*.dc*")):
        source = pydicom.dcmread(path)
        copy, data, _ = clean(without_pixels("research-longitudinal"), path, tmp_path)
        head = data[: len(data) - len(copy.get("PixelData", b""))].lower()
        for element in source.iterall():
            if element.VR == "PN" or element.keyword in ("PatientID", "AccessionNumber", "StudyInstanceUID"):
                for part in str(element.value).lower().replace("^", " ").split():
                    assert len(part) < 4 or part.encode() not in head, element.keyword
        assert copy.PixelData == source.PixelData
