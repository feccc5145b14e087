"""One source instance (file) as the reader keeps it between its passes: small, without the header itself."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut
from pydicom.uid import UID

from imarium.errors import CorruptFileError, ImariumError, LimitExceededError, UnsupportedFileError
from imarium.formats.base import ReadContext
from imarium.formats.dicom import values
from imarium.formats.dicom.dicomdir import TableOfContentsError, file_ids
from imarium.formats.dicom.geometry import Place, valid_orientation
from imarium.formats.dicom.header import (
    Header,
    InflatedStream,
    part10_without_pixels,
    read_header,
    trailing_end,
)
from imarium.formats.dicom.mosaic import Mosaic, find_mosaic
from imarium.formats.dicom.pixels import Fragments, PixelFormat, find_frames, pixel_format
from imarium.settings import Limits

_DICOMDIR = "1.2.840.10008.1.3.10"
_LOSSY = {
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.203",
}
LOSSY_IF_MARKED = {"1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.203", "1.2.840.10008.1.2.4.81"}


@dataclass(frozen=True, slots=True)
class Facts:
    """What a series takes from one of its instances."""

    modality: str | None
    body_part: str | None
    description: str | None
    study_description: str | None
    study_date: str | None
    unit: str | None
    window: tuple[float, float] | None
    label_map: bool
    palette: tuple[tuple[int, int, int], ...] | None
    frame_seconds: float | None
    """Time between the frames of a cine."""
    repetition_seconds: float | None
    notes: tuple[str, ...]
    patient_id: str | None


@dataclass(slots=True)
class Instance:
    """A file that passed the checks of its header."""

    path: Path | None
    """None for an instance that is already stored, whose frames come from elsewhere."""
    size: int
    modified: int
    form: PixelFormat
    value: int
    """First byte of the pixel data's value in the stream."""
    fragments: tuple[Fragments, ...] | None
    deflated: bool
    sop_uid: str
    sop_class: str
    series_uid: str
    study_uid: str
    facts: Facts
    places: tuple[Place, ...]
    """One a frame; one a tile for a mosaic."""
    rescales: tuple[tuple[float, float], ...]
    """(slope, intercept): one pair for all frames, or one a frame where they differ."""
    mosaic: Mosaic | None
    multiframe: bool
    photometric: str
    """Of the stored values; known for certain once a compressed frame was decoded."""
    echoes: frozenset[float] = field(default_factory=frozenset)
    bits_stored: int = 0
    header_bytes: int | None = None
    """Bytes before the pixel data, if they are a file of their own and nothing follows the pixel data."""
    header: bytes | None = None
    """Those bytes, if they are kept in memory."""
    occurrence: int = 0
    """0 for the first file with this SOP Instance UID in a batch, 1 for the second, ..."""

    def rescale_of(self, number: int) -> tuple[float, float]:
        """(slope, intercept) of frame (or tile) `number`, from 0."""
        return self.rescales[number] if len(self.rescales) > 1 else self.rescales[0]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of a frame (of a tile, for a mosaic)."""
        grid = 1 if self.mosaic is None else self.mosaic.grid
        return self.form.rows // grid, self.form.columns // grid

    def check_unchanged(self, stream: BinaryIO | None = None) -> None:
        """Raise if the file on disk is no longer the one whose header was read."""
        if stream is None:
            assert self.path is not None
            found = os.stat(self.path)
        else:
            found = os.fstat(stream.fileno())
        if found.st_size != self.size or found.st_mtime_ns != self.modified:
            raise CorruptFileError("the file was changed while it was being read")

    def open(self) -> BinaryIO:
        """The file, if it is still the same."""
        if self.path is None:
            raise CorruptFileError("the instance has no file of its own")
        try:
            stream = self.path.open("rb")
        except OSError as error:
            raise CorruptFileError(f"the file could not be read: {error.strerror}") from error
        try:
            self.check_unchanged(stream)
        except BaseException:
            stream.close()
            raise
        return stream


def scan(path: Path, context: ReadContext) -> Instance:
    """Read and check a file's header. Raises errors of imarium.errors only."""
    with header_opened(path, context.limits) as (raw, status):
        return read_instance(raw, status, path, context)[0]


@contextmanager
def header_opened(path: Path, limits: Limits) -> Iterator[tuple[BinaryIO, os.stat_result]]:
    """A file whose header is about to be read; whatever goes wrong becomes an error of imarium.errors."""
    try:
        with path.open("rb") as raw:
            status = os.fstat(raw.fileno())
            if status.st_size == 0:
                raise CorruptFileError("the file is empty")
            if status.st_size > limits.file_bytes:
                raise LimitExceededError("the file is larger than the limit for one file")
            yield raw, status
    except ImariumError:
        raise
    except OSError as error:
        raise CorruptFileError(f"the file could not be read: {error.strerror or 'I/O error'}") from error
    except (MemoryError, RecursionError) as error:
        raise LimitExceededError("the header needs more memory than there is") from error
    except Exception as error:
        raise CorruptFileError(f"the header cannot be understood ({type(error).__name__})") from error


def read_instance(
    raw: BinaryIO, status: os.stat_result, path: Path, context: ReadContext
) -> tuple[Instance, Header]:
    """The instance that an open file is, and its header. To be called inside `header_opened`."""
    header, stream = read_header(raw, status.st_size, context.limits.header_bytes, context.scratch)
    try:
        refuse_unwanted(header)
        if isinstance(stream, InflatedStream):
            header = _inflate(header, stream, context)
        form = pixel_format(header, context.limits)
        fragments = find_frames(stream, header, form.frames)[0] if form.encapsulated else None
    finally:
        if stream is not raw:
            stream.close()
    instance = describe(header, form, None)
    instance.path, instance.size, instance.modified = path, status.st_size, status.st_mtime_ns
    instance.fragments = fragments
    instance.header_bytes = _plain_header_bytes(header, status.st_size)
    if not instance.sop_uid or not instance.series_uid:
        made = context.digest_of(path)
        instance.sop_uid = instance.sop_uid or values.derived_uid("instance", made)
        instance.series_uid = instance.series_uid or values.derived_uid("series", made)
    instance.study_uid = instance.study_uid or values.derived_uid("study", instance.series_uid)
    return instance, header


def _plain_header_bytes(header: Header, size: int) -> int | None:
    pixel = header.pixel
    if header.deflated or not header.has_preamble or pixel is None or pixel.length is None:
        return None
    return pixel.start if pixel.value + pixel.length == size else None


def _inflate(header: Header, stream: InflatedStream, context: ReadContext) -> Header:
    """Inflate as much as the header says there is, and learn where the stream ends."""
    if header.pixel is None:
        return header
    claimed = header.pixel.length or 0
    largest = context.limits.frame_pixels * 8 + context.limits.header_bytes
    stream.limit = header.pixel.value + min(claimed, largest) + context.limits.header_bytes
    stream.seek(header.pixel.value + claimed)
    stream.read(1)
    stream.seek(0)
    known = 0
    while piece := stream.read(1 << 20):
        known += len(piece)
    return Header(
        header.dataset, header.meta, header.syntax, header.has_preamble, header.body, known, header.pixel
    )


def refuse_unwanted(header: Header) -> None:
    """Raise for DICOM files that are no images."""
    dataset = header.dataset
    media = values.text(header.meta, "MediaStorageSOPClassUID") or ""
    if media == _DICOMDIR or "DirectoryRecordSequence" in dataset:
        raise TableOfContentsError(file_ids(dataset))
    if header.pixel is None:
        kind = UID(values.uid(dataset, "SOPClassUID") or media)
        name = kind.name if kind and kind.name != str(kind) else "an unknown kind of object"
        raise UnsupportedFileError(f"the file holds no pixel data ({name})")


def attachment_bytes(instance: Instance, raw: BinaryIO, context: ReadContext) -> bytes:
    """The instance's dataset without its pixel data, as DICOM file bytes."""
    if instance.header_bytes is not None:
        raw.seek(0)
        return raw.read(instance.header_bytes)
    header, stream = read_header(raw, instance.size, context.limits.header_bytes, context.scratch)
    try:
        if isinstance(stream, InflatedStream):
            header = _inflate(header, stream, context)
        assert header.pixel is not None
        if instance.form.encapsulated:
            start = find_frames(stream, header, instance.form.frames)[1]
        else:
            start = header.pixel.value + (header.pixel.length or 0)
        trailing = (start, trailing_end(header, stream, start, context.limits.header_bytes))
        return part10_without_pixels(header, stream, trailing)
    finally:
        if stream is not raw:
            stream.close()


def describe(header: Header, form: PixelFormat, uid: str | None) -> Instance:
    """Everything that grouping needs to know of a header."""
    dataset = header.dataset
    mosaic = None
    if form.frames == 1 and form.samples == 1:
        mosaic = find_mosaic(dataset, form.rows, form.columns)
    shared, frames = _functional_groups(dataset, form.frames)
    if mosaic is not None:
        places = _mosaic_places(dataset, mosaic, form)
    elif form.frames > 1 and "GridFrameOffsetVector" in dataset:
        places = _dose_places(dataset, form.frames)
    elif frames or (shared is not None and form.frames == 1):
        places = tuple(_frame_place(dataset, shared, frame, number) for number, frame in enumerate(frames, 1))
    else:
        alone = image_plane(dataset)
        places = (
            (alone,) * form.frames
            if form.frames == 1
            else tuple(
                Place(orientation=alone.orientation, spacing=alone.spacing, order=(float(number),))
                for number in range(form.frames)
            )
        )
    rescales = _rescales(dataset, shared, frames)
    echoes = {values.number(dataset, "EchoTime")}
    for frame in frames:
        echo = _macro(frame, shared, "MREchoSequence")
        echoes.add(None if echo is None else values.number(echo, "EffectiveEchoTime"))
    return Instance(
        path=None,
        size=0,
        modified=0,
        form=form,
        value=0 if header.pixel is None else header.pixel.value,
        fragments=None,
        deflated=header.deflated,
        sop_uid=uid or values.uid(dataset, "SOPInstanceUID") or "",
        sop_class=values.uid(dataset, "SOPClassUID") or "",
        series_uid=values.uid(dataset, "SeriesInstanceUID") or "",
        study_uid=values.uid(dataset, "StudyInstanceUID") or "",
        facts=_facts(dataset, shared, frames, form),
        places=places,
        rescales=rescales,
        mosaic=mosaic,
        multiframe=form.frames > 1,
        photometric=form.stored_photometric,
        echoes=frozenset(echo for echo in echoes if echo is not None),
        bits_stored=form.bits_stored,
    )


def _functional_groups(dataset: Dataset, count: int) -> tuple[Dataset | None, list[Dataset]]:
    shared = values.item(dataset, "SharedFunctionalGroupsSequence")
    frames = values.items(dataset, "PerFrameFunctionalGroupsSequence")[:count]
    if shared is None and not frames:
        return None, []
    return shared, frames + [Dataset() for _ in range(count - len(frames))]


def _macro(frame: Dataset | None, shared: Dataset | None, keyword: str) -> Dataset | None:
    """A functional group of a frame (PS3.3 C.7.6.16): its own, else the shared one."""
    for group in (frame, shared):
        if group is not None and (found := values.item(group, keyword)) is not None:
            return found
    return None


def _instance_order(dataset: Dataset) -> tuple[float, ...]:
    time = values.seconds(values.text(dataset, "AcquisitionDateTime"))
    if time is None:
        time = values.seconds(
            (values.text(dataset, "AcquisitionDate") or "") + (values.text(dataset, "AcquisitionTime") or "x")
        )
    keys = (
        values.number(dataset, "TemporalPositionIdentifier"),
        time,
        values.number(dataset, "AcquisitionNumber"),
        values.number(dataset, "InstanceNumber"),
    )
    return tuple(0.0 if key is None else key for key in keys)


def image_plane(dataset: Dataset, like: Place | None = None) -> Place:
    """The Image Plane module (PS3.3 C.7.6.2) of a single-frame instance.

    Orientation, spacing and thickness are taken from `like` if it is given.
    """
    position = values.numbers(dataset, "ImagePositionPatient", 3)
    if like is not None:
        return replace(like, position=position, order=_instance_order(dataset))
    return Place(
        position=position,
        orientation=valid_orientation(values.numbers(dataset, "ImageOrientationPatient", 6)),
        spacing=_spacing(values.numbers(dataset, "PixelSpacing", 2)),
        thickness=_thickness(dataset),
        order=_instance_order(dataset),
    )


def _spacing(spacing: tuple[float, ...] | None) -> tuple[float, ...] | None:
    return spacing if spacing is not None and min(spacing) > 0 else None


def _thickness(dataset: Dataset) -> float | None:
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        value = values.number(dataset, keyword)
        if value is not None and abs(value) > 0:
            return abs(value)
    return None


def _mosaic_places(dataset: Dataset, mosaic: Mosaic, form: PixelFormat) -> tuple[Place, ...]:
    whole = image_plane(dataset)
    if not whole.placed:
        return tuple(Place(order=(*whole.order, float(tile))) for tile in range(mosaic.tiles))
    assert whole.position
    assert whole.orientation
    assert whole.spacing
    row, column = np.asarray(whole.orientation[:3]), np.asarray(whole.orientation[3:])
    first = np.asarray(whole.position)
    first = first + row * whole.spacing[1] * (form.columns - form.columns // mosaic.grid) / 2
    first = first + column * whole.spacing[0] * (form.rows - form.rows // mosaic.grid) / 2
    normal = np.cross(row, column) if mosaic.normal is None else np.asarray(mosaic.normal)
    step = normal * (whole.thickness or 1.0)
    return tuple(
        Place(
            tuple(float(value) for value in first + tile * step),
            whole.orientation,
            whole.spacing,
            whole.thickness,
            whole.order,
        )
        for tile in range(mosaic.tiles)
    )


def _dose_places(dataset: Dataset, count: int) -> tuple[Place, ...]:
    """Frames of an RT Dose grid (PS3.3 C.8.8.3.2): offsets along the normal."""
    base = image_plane(dataset)
    offsets = values.numbers(dataset, "GridFrameOffsetVector", count)
    if offsets is None or not base.placed:
        return tuple(Place(order=(float(number),)) for number in range(count))
    assert base.position
    assert base.orientation
    if offsets[0] != 0:  # positions of the planes themselves, not offsets
        offsets = tuple(offset - offsets[0] for offset in offsets)
    normal = np.cross(base.orientation[:3], base.orientation[3:])
    return tuple(
        Place(
            tuple(float(value) for value in np.asarray(base.position) + normal * offset),
            base.orientation,
            base.spacing,
            base.thickness,
            (float(number),),
        )
        for number, offset in enumerate(offsets)
    )


def _frame_place(dataset: Dataset, shared: Dataset | None, frame: Dataset, number: int) -> Place:
    position = _macro(frame, shared, "PlanePositionSequence")
    orientation = _macro(frame, shared, "PlaneOrientationSequence")
    measures = _macro(frame, shared, "PixelMeasuresSequence")
    content = _macro(frame, shared, "FrameContentSequence") or Dataset()
    segment = _macro(frame, shared, "SegmentIdentificationSequence") or Dataset()
    keys = (
        values.number(segment, "ReferencedSegmentNumber"),
        values.number(content, "TemporalPositionIndex"),
        *_instance_order(dataset),
        float(number),
    )
    return Place(
        position=values.numbers(position or dataset, "ImagePositionPatient", 3),
        orientation=valid_orientation(values.numbers(orientation or dataset, "ImageOrientationPatient", 6)),
        spacing=_spacing(values.numbers(measures or dataset, "PixelSpacing", 2)),
        thickness=_thickness(measures or dataset),
        order=tuple(0.0 if key is None else key for key in keys),
    )


def _rescales(
    dataset: Dataset, shared: Dataset | None, frames: list[Dataset]
) -> tuple[tuple[float, float], ...]:
    if scaling := values.number(dataset, "DoseGridScaling"):
        return ((scaling, 0.0),)
    alone = _slope(dataset)
    groups = (_macro(frame, shared, "PixelValueTransformationSequence") for frame in frames)
    found = tuple(alone if group is None else _slope(group) for group in groups)
    return found if len(set(found)) > 1 else found[:1] or (alone,)


def _slope(dataset: Dataset) -> tuple[float, float]:
    slope, intercept = values.number(dataset, "RescaleSlope"), values.number(dataset, "RescaleIntercept")
    return (slope if slope else 1.0, 0.0 if intercept is None else intercept)


def _facts(dataset: Dataset, shared: Dataset | None, frames: list[Dataset], form: PixelFormat) -> Facts:
    modality = values.text(dataset, "Modality")
    frame = frames[0] if frames else None
    transform = _macro(frame, shared, "PixelValueTransformationSequence") or dataset
    voi = _macro(frame, shared, "FrameVOILUTSequence") or dataset
    center, width = values.number(voi, "WindowCenter"), values.number(voi, "WindowWidth")
    unit = values.text(transform, "RescaleType")
    if unit in (None, "US"):
        unit = values.text(dataset, "Units") if modality in ("PT", "NM") else None
        if modality == "CT" and "RescaleIntercept" in transform:
            unit = "HU"
        if modality == "RTDOSE":
            unit = values.text(dataset, "DoseUnits")
            unit = "Gy" if unit == "GY" else unit
    segmented = values.text(dataset, "SegmentationType")
    palette = _palette(dataset, form)
    date = values.text(dataset, "StudyDate")
    date = date.replace(".", "") if date else None
    timing = _macro(frame, shared, "MRTimingAndRelatedParametersSequence") or dataset
    return Facts(
        modality=modality,
        body_part=values.text(dataset, "BodyPartExamined"),
        description=values.text(dataset, "SeriesDescription"),
        study_description=values.text(dataset, "StudyDescription"),
        study_date=date if date and len(date) == 8 and date.isdigit() else None,
        unit=unit,
        window=(center, width) if center is not None and width is not None and width > 0 else None,
        label_map=form.photometric == "PALETTE COLOR"
        or segmented in ("BINARY", "LABELMAP")
        or (form.bits_allocated == 1 and segmented != "FRACTIONAL"),
        palette=palette,
        frame_seconds=_frame_seconds(dataset),
        repetition_seconds=_milliseconds(values.number(timing, "RepetitionTime")),
        notes=tuple(_notes(dataset, form)),
        patient_id=values.text(dataset, "PatientID"),
    )


def _milliseconds(value: float | None) -> float | None:
    return value / 1000 if value is not None and value > 0 else None


def _frame_seconds(dataset: Dataset) -> float | None:
    stated = _milliseconds(values.number(dataset, "FrameTime"))
    if stated is not None:
        return stated
    vector = values.numbers(dataset, "FrameTimeVector")
    if vector is not None and len(vector) > 1:
        return _milliseconds(float(np.mean(vector[1:])))
    rate = values.number(dataset, "CineRate")
    return 1 / rate if rate is not None and rate > 0 else None


def _notes(dataset: Dataset, form: PixelFormat) -> list[str]:
    marked = values.text(dataset, "LossyImageCompression") == "01"
    name = UID(form.syntax).name.split("(")[0].strip()
    if form.syntax in _LOSSY and (form.syntax not in LOSSY_IF_MARKED or marked or "Near" in name):
        return [f"{name}: lossy before it came here."]
    if marked:
        return ["Marked as lossily compressed before it came here."]
    if form.syntax in LOSSY_IF_MARKED:
        return [f"{name}: may have been lossy before it came here."]
    return []


def _palette(dataset: Dataset, form: PixelFormat) -> tuple[tuple[int, int, int], ...] | None:
    """Colours of the indices (PS3.3 C.7.6.3.1.5), 8 bits a channel."""
    if form.photometric != "PALETTE COLOR" or form.samples != 1 or form.keyword != "PixelData":
        return None
    try:
        entries, first, _bits = (
            int(value) for value in dataset["RedPaletteColorLookupTableDescriptor"].value
        )
        total = min((entries or 65536) + max(first, 0), 1 << min(form.bits_stored, 16))
        table = apply_color_lut(np.arange(total, dtype=np.uint16), dataset)
        if table.dtype.itemsize > 1:
            table = table >> 8
        return tuple((int(red), int(green), int(blue)) for red, green, blue in table[:, :3])
    except Exception:
        return None
