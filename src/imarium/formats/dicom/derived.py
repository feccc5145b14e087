"""What changes in an instance's dataset when its pixels are resampled (PS3.3 C.7.6.1.1.2, C.7.6.2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset
from pydicom.valuerep import DSfloat

from imarium.formats.dicom import values
from imarium.formats.dicom.attachments import StoredInstance
from imarium.model import Series
from imarium.model.geometry import level_shape

_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")


@dataclass(frozen=True, slots=True)
class Resampling:
    """From the source's pixels to the new ones."""

    rows: int
    columns: int
    """Of the images that are written; those of a whole mosaic, not of its tiles."""
    row_factor: float
    column_factor: float
    """Source pixels that one new pixel covers. The outer edges coincide."""
    frame_rows: int
    frame_columns: int
    """Of one frame of the new series (a tile of a mosaic)."""
    source_rows: int
    source_columns: int
    """Of one frame of the source series."""

    @classmethod
    def between(cls, source: Series, series: Series, rows: int, columns: int) -> Resampling:
        """As the affines say; without them a halved size covers 2, 4, ... pixels, any other size a ratio."""
        factors = source.rows / series.rows, source.columns / series.columns
        if source.affine is not None and series.affine is not None:
            lengths = [
                np.linalg.norm(np.asarray(item.affine, dtype=np.float64)[:3, :2], axis=0)
                for item in (source, series)
            ]
            column_factor, row_factor = lengths[1] / lengths[0]
            factors = float(row_factor), float(column_factor)
        else:
            for level in range(1, 17):
                if level_shape(source.rows, source.columns, level) == (series.rows, series.columns):
                    factors = float(1 << level), float(1 << level)
                    break
        return cls(rows, columns, *factors, series.rows, series.columns, source.rows, source.columns)


def make_derived(dataset: Dataset, change: Resampling, stored: StoredInstance) -> str:
    """Turn the dataset into that of a derived image; returns its new SOP Instance UID."""
    size = f"{change.rows}x{change.columns}"
    source_uid = values.text(dataset, "SOPInstanceUID") or stored.sop_uid
    source_class = values.text(dataset, "SOPClassUID")
    _move(dataset, change)
    values.put(dataset, "Rows", change.rows)
    values.put(dataset, "Columns", change.columns)
    kinds = list(values.texts(dataset, "ImageType")) or ["DERIVED", "SECONDARY"]
    values.put(dataset, "ImageType", ["DERIVED", *kinds[1:]])
    made = f"Resampled to {change.rows} x {change.columns} pixels by Imarium."
    before = values.text(dataset, "DerivationDescription")
    values.put(dataset, "DerivationDescription", f"{before} {made}"[:1024] if before else made)
    if source_class:
        reference = Dataset()
        reference.ReferencedSOPClassUID = source_class
        reference.ReferencedSOPInstanceUID = source_uid
        values.put(dataset, "SourceImageSequence", [reference])
    uid = values.derived_uid("derived instance", source_uid, size)
    values.put(dataset, "SOPInstanceUID", uid)
    series_uid = values.text(dataset, "SeriesInstanceUID") or source_uid
    uid_of_series = values.derived_uid("derived series", series_uid, size)
    values.put(dataset, "SeriesInstanceUID", uid_of_series)
    for tag in [tag for tag in dataset.keys() if 0x6000 <= tag.group <= 0x60FF]:  # noqa: SIM118
        del dataset[tag]  # overlays are pictures of the source's size
    return uid


def _move(dataset: Dataset, change: Resampling) -> None:
    """Scale spacings and move positions, at the top and in the functional groups (PS3.3 C.7.6.16)."""
    _move_plane(dataset, dataset, dataset, change)
    shared = values.item(dataset, "SharedFunctionalGroupsSequence")
    frames = values.items(dataset, "PerFrameFunctionalGroupsSequence")
    reference = frames[0] if frames else None
    for group in frames:
        _move_group(group, group, shared, change)
    if shared is not None:
        _move_group(shared, shared, reference, change)
    for group in ([shared] if shared is not None else []) + frames:
        for measures in values.items(group, "PixelMeasuresSequence"):
            _scale_spacings(measures, change)
    _scale_spacings(dataset, change)
    for region in values.items(dataset, "SequenceOfUltrasoundRegions"):
        _scale_region(region, change)


def _move_group(group: Dataset, first: Dataset, second: Dataset | None, change: Resampling) -> None:
    plane = values.item(group, "PlanePositionSequence")
    orientation = _either(first, second, "PlaneOrientationSequence")
    measures = _either(first, second, "PixelMeasuresSequence")
    if plane is not None and orientation is not None and measures is not None:
        _move_plane(plane, orientation, measures, change)


def _either(first: Dataset, second: Dataset | None, keyword: str) -> Dataset | None:
    found = values.item(first, keyword)
    return found if found is not None or second is None else values.item(second, keyword)


def _move_plane(plane: Dataset, orientation: Dataset, measures: Dataset, change: Resampling) -> None:
    position = values.numbers(plane, "ImagePositionPatient", 3)
    cosines = values.numbers(orientation, "ImageOrientationPatient", 6)
    spacing = values.numbers(measures, "PixelSpacing", 2)
    if position is None or cosines is None or spacing is None:
        return
    row, column = np.asarray(cosines[:3]), np.asarray(cosines[3:])
    # A mosaic's position is that of an image of its size around the same centre as a tile (see mosaic.py),
    # so what moves is the corner of an image whose size in pixels is not the tiles'.
    along = _shift(change.column_factor, change.columns, change.frame_columns, change.source_columns)
    down = _shift(change.row_factor, change.rows, change.frame_rows, change.source_rows)
    moved = np.asarray(position) + row * spacing[1] * along + column * spacing[0] * down
    plane.ImagePositionPatient = [DSfloat(float(value), auto_format=True) for value in moved]


def _shift(factor: float, size: int, frame: int, source: int) -> float:
    """How far a position moves along an axis, in source pixels."""
    tiles = size // frame
    inset_before = (tiles - 1) * source / 2
    inset_after = (tiles - 1) * frame / 2 * factor
    return inset_before + (factor - 1) / 2 - inset_after


def _scale_spacings(dataset: Dataset, change: Resampling) -> None:
    for keyword in _SPACINGS:
        spacing = values.numbers(dataset, keyword, 2)
        if spacing is not None:
            scaled = (spacing[0] * change.row_factor, spacing[1] * change.column_factor)
            setattr(dataset, keyword, [DSfloat(value, auto_format=True) for value in scaled])


def _scale_region(region: Dataset, change: Resampling) -> None:
    """Regions of ultrasound calibration (PS3.3 C.8.5.5): pixel coordinates and millimetres a pixel."""
    for keyword, factor in _region_elements(change):
        value = values.number(region, keyword)
        if value is not None:
            setattr(region, keyword, value * factor if keyword.startswith("Phys") else int(value * factor))


def _region_elements(change: Resampling) -> Iterator[tuple[str, float]]:
    for axis, factor in (("X", change.column_factor), ("Y", change.row_factor)):
        yield f"PhysicalDelta{axis}", factor
        yield f"RegionLocationMin{axis}0", 1 / factor
        yield f"RegionLocationMax{axis}1", 1 / factor
        yield f"ReferencePixel{axis}0", 1 / factor
