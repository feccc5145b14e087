"""A chest CT that no patient had: lungs with vessels, bones, a heart, nodules whose places are known.

Positions are in millimetres in RAS+ (x to the patient's right, y to the front, z to the head) about the
middle of the volume. The field of view is always 358.4 x 358.4 x 320 mm, so that a small phantom shows
the same chest on a coarser grid; 128 slices of 512 x 512 are 0.7 x 0.7 x 2.5 mm.
"""

from __future__ import annotations

import imarium.formats.dicom.guard  # isort: skip  # noqa: F401 - before anything that imports pydicom

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from imarium.formats.nifti import NiftiWriter
from imarium.model import Rendition, Series
from imarium.model.geometry import LPS_TO_RAS, Affine, as_affine

Image: TypeAlias = NDArray[np.float32]
Point: TypeAlias = tuple[float, float, float]

FIELD_OF_VIEW = (320.0, 358.4, 358.4)
"""Millimetres along (slices, rows, columns)."""

AIR, FAT, MUSCLE, BLOOD, LUNG = -1000.0, -100.0, 55.0, 42.0, -860.0
_PADDING = -1024.0
_INTERCEPT = -1024
_TOP = 4095


@dataclass(frozen=True, slots=True)
class Nodule:
    """One nodule: a ball, with spikes if spiculated."""

    center_mm: Point
    """RAS+."""
    radius_mm: float
    """Of the ball; spikes reach twice as far."""
    hu: float
    spiculated: bool = False


NODULES: tuple[Nodule, ...] = (
    Nodule((95.0, 20.0, 40.0), 4.0, 40.0),
    Nodule((-85.0, -30.0, 10.0), 8.0, 45.0, spiculated=True),
    Nodule((60.0, -45.0, -60.0), 3.0, 35.0),
    Nodule((-95.0, 10.0, 60.0), 5.0, -600.0),
    Nodule((85.0, 40.0, -20.0), 2.5, 350.0),
    Nodule((-78.0, -32.0, -48.0), 12.0, 50.0, spiculated=True),
    Nodule((50.0, 5.0, 85.0), 6.0, 40.0),
)
"""Every nodule of the phantom, whatever its size and seed."""


@dataclass(frozen=True, slots=True)
class _Rod:
    """A straight piece of a vessel or a spike, with round ends."""

    start: Point
    end: Point
    radius: float


@dataclass(frozen=True, slots=True)
class ChestCt:
    """A chest CT that is made a slice at a time, the same every time for the same arguments."""

    frames: int
    rows: int
    columns: int
    seed: int

    def __post_init__(self) -> None:
        if min(self.frames, self.rows, self.columns) < 4:
            raise ValueError("a chest needs at least 4 slices, rows and columns")
        if max(self.frames, self.rows, self.columns) > 32767:
            raise ValueError("a chest has at most 32767 slices, rows and columns")

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Millimetres between slices, rows and columns."""
        depth, height, width = FIELD_OF_VIEW
        return depth / self.frames, height / self.rows, width / self.columns

    @property
    def affine(self) -> Affine:
        """(column, row, slice) to RAS+ mm; rows from front to back, columns from right to left."""
        return as_affine(LPS_TO_RAS @ self._lps())

    def _lps(self) -> NDArray[np.float64]:
        step_z, step_y, step_x = self.spacing
        depth, height, width = FIELD_OF_VIEW
        matrix = np.diag([step_x, step_y, step_z, 1.0])
        matrix[:3, 3] = (step_x - width) / 2, (step_y - height) / 2, (step_z - depth) / 2
        return matrix

    def hounsfield(self) -> Iterator[NDArray[np.int16]]:
        """Slices from feet to head: int16 (rows, columns), HU between -1024 and 3071."""
        rng = np.random.default_rng(self.seed)
        rods = _vessels(rng)
        spikes = [(nodule, _spikes(nodule, rng)) for nodule in NODULES if nodule.spiculated]
        step_z, step_y, step_x = self.spacing
        _, height, width = FIELD_OF_VIEW
        x = (width / 2 - (np.arange(self.columns) + 0.5) * step_x).astype(np.float32)[None, :]
        y = (height / 2 - (np.arange(self.rows) + 0.5) * step_y).astype(np.float32)[:, None]
        grain = _Grain(self.rows, self.columns, step_y, step_x, rng)
        tissue = np.zeros((self.rows, self.columns), dtype=np.float32)
        memory = float(np.exp(-step_z / 4.0))
        radius = np.hypot(x, y)
        sigma = (9.0 + 11.0 * np.exp(-((radius / 130.0) ** 2))).astype(np.float32)
        outside = radius > width / 2
        for index in range(self.frames):
            z = (index + 0.5) * step_z - FIELD_OF_VIEW[0] / 2
            fresh = grain.tissue()
            tissue = fresh if index == 0 else memory * tissue + np.sqrt(1 - memory**2) * fresh
            image, lung = _anatomy(x, y, z, step_x, tissue)
            for rod in rods:
                _draw_rod(image, lung, rod, BLOOD, x, y, z, step_z)
            for nodule in NODULES:
                ball = _Rod(nodule.center_mm, nodule.center_mm, nodule.radius_mm)
                _draw_rod(image, None, ball, nodule.hu, x, y, z, step_z)
            for nodule, thorns in spikes:
                for rod in thorns:
                    _draw_rod(image, lung, rod, nodule.hu, x, y, z, step_z)
            image += sigma * grain.noise()
            image[outside] = _PADDING
            yield np.clip(np.rint(image), _INTERCEPT, _INTERCEPT + _TOP).astype(np.int16)

    def write_dicom(self, folder: Path) -> list[Path]:
        """Write one CT Image Storage file a slice (PS3.3 A.3), explicit VR little endian, 12 bits unsigned.

        Returns the files, from feet to head. UIDs depend on the phantom's arguments alone.
        """
        folder.mkdir(parents=True, exist_ok=True)
        written = []
        for index, image in enumerate(self.hounsfield()):
            path = folder / f"IM{index + 1:05d}.dcm"
            self._instance(index, image).save_as(path, enforce_file_format=True)
            written.append(path)
        return written

    def write_nifti(self, path: Path) -> Path:
        """Write HU as int16 to a .nii or .nii.gz, rows from back to front, where the DICOM files are."""
        series = Series(
            uid=self._uid("series"),
            study_uid=self._uid("study"),
            format="dicom",
            frames=self.frames,
            rows=self.rows,
            columns=self.columns,
            dtype="int16",
            affine=self.affine,
            rescale_unit="HU",
        )
        NiftiWriter().write(Rendition(series, series, self.hounsfield(), {}), path)
        return path

    def _uid(self, what: str) -> str:
        text = f"ct_chest {self.frames} {self.rows} {self.columns} {self.seed} {what}"
        return f"2.25.{int.from_bytes(blake3(text.encode()).digest()[:16], 'big')}"

    def _instance(self, index: int, image: NDArray[np.int16]) -> Dataset:
        step_z, step_y, step_x = self.spacing
        matrix = self._lps()
        position = [f"{value:.10g}" for value in (*matrix[:2, 3], matrix[2, 3] + index * step_z)]
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
        ds.file_meta.MediaStorageSOPInstanceUID = UID(self._uid(f"instance {index}"))
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.file_meta.ImplementationClassUID = UID(_uid_of_writer())
        ds.file_meta.ImplementationVersionName = "IMARIUM_PHANTOM"
        ds.SpecificCharacterSet = "ISO_IR 192"
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.SOPClassUID = CTImageStorage
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID
        ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20250101"
        ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "120000"
        ds.AccessionNumber = ""
        ds.Modality = "CT"
        ds.Manufacturer = "Imarium"
        ds.ManufacturerModelName = "Chest phantom"
        ds.ReferringPhysicianName = ""
        ds.StudyDescription = "Synthetic chest"
        ds.SeriesDescription = "Chest phantom 2.5 mm"
        ds.PatientName = "Phantom^Chest"
        ds.PatientID = "PHANTOM-CHEST"
        ds.PatientBirthDate = ""
        ds.PatientSex = "O"
        ds.BodyPartExamined = "CHEST"
        ds.SliceThickness = f"{step_z:.10g}"
        ds.KVP = "120"
        ds.SpacingBetweenSlices = f"{step_z:.10g}"
        ds.PatientPosition = "HFS"
        ds.StudyInstanceUID = self._uid("study")
        ds.SeriesInstanceUID = self._uid("series")
        ds.StudyID = "1"
        ds.SeriesNumber = 1
        ds.AcquisitionNumber = 1
        ds.InstanceNumber = index + 1
        ds.ImagePositionPatient = position
        ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        ds.FrameOfReferenceUID = self._uid("frame of reference")
        ds.PositionReferenceIndicator = ""
        ds.SliceLocation = position[2]
        ds.SamplesPerPixel = 1
        ds.PhotometricInterpretation = "MONOCHROME2"
        ds.Rows, ds.Columns = self.rows, self.columns
        ds.PixelSpacing = [f"{step_y:.10g}", f"{step_x:.10g}"]
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
        ds.WindowCenter, ds.WindowWidth = ["-600", "40"], ["1500", "400"]
        ds.WindowCenterWidthExplanation = ["LUNG", "SOFT TISSUE"]
        ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = str(_INTERCEPT), "1", "HU"
        stored = (image.astype(np.int32) - _INTERCEPT).astype("<u2")
        ds.PixelData = stored.tobytes()
        ds["PixelData"].VR = "OW"
        return ds


def ct_chest(frames: int = 128, rows: int = 512, columns: int = 512, seed: int = 0) -> ChestCt:
    """A synthetic chest CT of `frames` slices of `rows` x `columns`; nothing is computed yet.

    `seed` changes vessels, texture and noise; anatomy and `NODULES` stay. The same arguments give the same
    bytes on the same machine and versions of NumPy and zlib. Raises ValueError for sizes below 4.
    """
    return ChestCt(frames, rows, columns, seed)


def _uid_of_writer() -> str:
    return f"2.25.{int.from_bytes(blake3(b'imarium.phantoms').digest()[:16], 'big')}"


class _Grain:
    """Random fields with the correlation of lung tissue and of a CT reconstruction's noise."""

    def __init__(
        self, rows: int, columns: int, step_y: float, step_x: float, rng: np.random.Generator
    ) -> None:
        self._shape = (rows, columns)
        self._rng = rng
        across = np.fft.rfftfreq(columns, step_x)[None, :]
        down = np.fft.fftfreq(rows, step_y)[:, None]
        frequency = np.hypot(across, down)  # cycles per mm
        # Filtered back projection: the ramp times a smooth kernel; the loss of voxel size is left to sigma.
        self._noise = self._unit(frequency * np.exp(-((frequency / 0.42) ** 2)))
        self._tissue = self._unit(np.exp(-((frequency / 0.16) ** 2)))

    def _unit(self, amplitude: NDArray[np.float64]) -> Image:
        """Scale an amplitude spectrum so that its field has variance 1."""
        rows, columns = self._shape
        weight = np.full(amplitude.shape[1], 2.0)
        weight[0] = 1.0
        if columns % 2 == 0:
            weight[-1] = 1.0
        power = float((amplitude**2 * weight).sum()) * 2
        return np.asarray(amplitude * (rows * columns / np.sqrt(power)), dtype=np.float32)

    def _field(self, amplitude: Image) -> Image:
        random = self._rng.standard_normal((*amplitude.shape, 2), dtype=np.float32)
        spectrum = random.view(np.complex64)[..., 0] * amplitude
        return np.asarray(np.fft.irfft2(spectrum, s=self._shape), dtype=np.float32)

    def noise(self) -> Image:
        return self._field(self._noise)

    def tissue(self) -> Image:
        return self._field(self._tissue)


def _ellipse(
    x: Image, y: Image, center: tuple[float, float], axes: tuple[float, float], pixel: float
) -> Image:
    """Share of each pixel inside an ellipse, with an edge as soft as a reconstruction's."""
    if min(axes) <= 0:
        return np.zeros((y.size, x.size), dtype=np.float32)
    rho = np.sqrt(((x - center[0]) / axes[0]) ** 2 + ((y - center[1]) / axes[1]) ** 2)
    soft = max(pixel, 0.7) * 1.3
    return np.asarray(np.clip((1 - rho) * (min(axes) / soft) + 0.5, 0, 1), dtype=np.float32)


def _section(z: float, center: float, half: float) -> float:
    """Relative width of an ellipsoid's section at z; 0 outside."""
    return float(np.sqrt(max(0.0, 1 - ((z - center) / half) ** 2)))


def _fill(image: Image, share: Image, hu: float | Image) -> None:
    image += share * (np.float32(hu) - image if isinstance(hu, float) else hu - image)


def _anatomy(x: Image, y: Image, z: float, pixel: float, tissue: Image) -> tuple[Image, Image]:
    """HU without vessels, nodules and noise, and the share of lung in each pixel."""

    def ellipse(cx: float, cy: float, ax: float, ay: float) -> Image:
        return _ellipse(x, y, (cx, cy), (ax, ay), pixel)

    image = np.full((y.size, x.size), AIR, dtype=np.float32)
    soft_tissue = np.float32(MUSCLE) + 6 * tissue
    _fill(image, np.clip(2.5 - np.abs(y + 134 - 0.0009 * x**2), 0, 1), 60.0)  # the table's shell
    _fill(image, np.clip(9.0 - np.abs(y + 145 - 0.0009 * x**2), 0, 1), -880.0)  # and its foam

    waist = 1 - 0.22 * float(np.clip((z - 80) / 80, 0, 1)) ** 2
    _fill(image, ellipse(0, -6, 168 * waist, 119 * waist), -60.0)  # skin
    _fill(image, ellipse(0, -6, 166 * waist, 117 * waist), np.float32(FAT) + 8 * tissue)
    _fill(image, ellipse(0, -6, 152 * waist, 103 * waist), soft_tissue)

    wide = _section(z, -5, 135)
    lung = np.zeros_like(image)
    for side in (-1.0, 1.0):
        lung = np.maximum(lung, ellipse(side * 72, 0, 60 * wide, 82 * wide))
    lung *= 1 - ellipse(0, 12, 27, 62)  # mediastinum
    _fill(image, ellipse(0, 12, 27, 62), np.float32(FAT) * 0.3 + 25 + 8 * tissue)
    beat = _section(z, -55, 62)
    heart = ellipse(-22, 26, 60 * beat, 50 * beat)
    lung *= 1 - heart
    dome = _section(z, -165, 80)  # the diaphragm, with liver and spleen below
    below = np.maximum(ellipse(68, 5, 70 * dome, 85 * dome), ellipse(-70, 0, 62 * dome, 78 * dome))
    lung *= 1 - below
    _fill(image, below, np.float32(58) + 7 * tissue)
    _fill(image, lung, np.float32(LUNG) - 0.45 * (y + 10) + 38 * tissue)
    _fill(image, heart, np.float32(BLOOD) + 5 * tissue)
    _fill(image, ellipse(-24, -36, 12, 12), BLOOD)  # descending aorta
    if z > 20:
        _fill(image, ellipse(-10, 22, 14, 12), BLOOD)
        _fill(image, ellipse(22, 28, 9, 9), BLOOD)
    if z > 25:
        _fill(image, ellipse(0, 2, 9, 8), -990.0)  # trachea
    elif z > -25:
        apart = (25 - z) * 0.75
        for side in (-1.0, 1.0):
            _fill(image, ellipse(side * apart, 2, 7 - apart * 0.06, 6), -985.0)  # main bronchi

    # Bones: vertebrae with discs between them, ribs that slope forwards, the sternum.
    level = (z + 160) % 25
    _fill(image, ellipse(0, -66, 20, 16), 90.0)
    if level > 5:
        _fill(image, ellipse(0, -66, 20, 16), 520.0)
        _fill(image, ellipse(0, -66, 18, 14), np.float32(190) + 45 * tissue)
    _fill(image, ellipse(0, -91, 13, 12), 480.0)
    _fill(image, ellipse(0, -90, 8.5, 8), 20.0)
    if level > 10:
        _fill(image, ellipse(0, -107, 4, 9), 420.0)
    _fill(image, ellipse(0, 84, 17, 6), 430.0)
    _fill(image, ellipse(0, 84, 15, 4.5), np.float32(150) + 30 * tissue)
    rho = np.sqrt((x / (141 * waist)) ** 2 + ((y + 6) / (95 * waist)) ** 2)
    forward = (y + 6) / np.maximum(rho, 0.1) / np.float32(95)
    phase = (z + 28 * forward + 160) % 26
    across = np.abs(rho - 1) * 110
    along = np.abs(phase - 7)
    ring = np.clip(4.5 - across, 0, 1) * np.clip(6.5 - along, 0, 1) * (np.abs(x) > 22)
    marrow = np.clip(2.8 - across, 0, 1) * np.clip(4.5 - along, 0, 1) * (np.abs(x) > 22)
    _fill(image, ring.astype(np.float32), 560.0)
    _fill(image, marrow.astype(np.float32), 210.0)
    return image, lung


def _inside_lung(point: Point) -> bool:
    x, y, z = point
    return ((abs(x) - 72) / 60) ** 2 + (y / 82) ** 2 + ((z + 5) / 135) ** 2 < 0.93


def _vessels(rng: np.random.Generator) -> list[_Rod]:
    """Two trees of rods that branch from the hila until they are thinner than half a millimetre."""
    rods: list[_Rod] = []
    for side in (-1.0, 1.0):
        # What still grows: a point, a direction and a radius; first in, first out, so that trees fill evenly.
        growing: deque[tuple[Point, NDArray[np.float64], float]] = deque()
        budget = 2500
        for _ in range(9):
            heading = np.array([side * rng.uniform(0.3, 1), rng.normal(0, 0.6), rng.normal(0, 0.9)])
            growing.append(((side * 30.0, 0.0, float(rng.uniform(-25, 15))), _normal(heading), 4.2))
        while growing and budget:
            start, heading, radius = growing.popleft()
            length = radius * rng.uniform(3.5, 6.5) + 2
            tip = np.array(start) + heading * length
            end = (float(tip[0]), float(tip[1]), float(tip[2]))
            if radius < 0.45 or (abs(end[0]) > 45 and not _inside_lung(end)):
                continue
            rods.append(_Rod(start, end, radius))
            budget -= 1
            for share in (rng.uniform(0.78, 0.9), rng.uniform(0.55, 0.8)):
                bent = _normal(heading + rng.normal(0, 0.38, 3))
                growing.append((end, bent, float(radius * share)))
    return rods


def _spikes(nodule: Nodule, rng: np.random.Generator) -> list[_Rod]:
    rods = []
    for _ in range(14):
        tip = np.array(nodule.center_mm) + _normal(rng.normal(0, 1, 3)) * nodule.radius_mm * 2
        rods.append(_Rod(nodule.center_mm, (float(tip[0]), float(tip[1]), float(tip[2])), 0.8))
    return rods


def _normal(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    return vector / max(float(np.linalg.norm(vector)), 1e-9)


def _draw_rod(
    image: Image, within: Image | None, rod: _Rod, hu: float, x: Image, y: Image, z: float, thick: float
) -> None:
    """Blend a rod into a slice, averaged over the slice's thickness."""
    (x0, y0, z0), (x1, y1, z1), radius = rod.start, rod.end, rod.radius
    reach = radius + thick / 2
    if not min(z0, z1) - reach < z < max(z0, z1) + reach:
        return
    step_y, step_x = float(y[0, 0] - y[1, 0]), float(x[0, 0] - x[0, 1])
    edge = max(step_x, step_y)
    # Only the part of the rod that is near the slice matters.
    if z1 != z0:
        low, high = sorted(((z - reach - z0) / (z1 - z0), (z + reach - z0) / (z1 - z0)))
        low, high = max(0.0, low), min(1.0, high)
    else:
        low, high = 0.0, 1.0
    xs = (x0 + (x1 - x0) * low, x0 + (x1 - x0) * high)
    ys = (y0 + (y1 - y0) * low, y0 + (y1 - y0) * high)
    margin = radius + edge
    left = max(0, int((float(x[0, 0]) - max(xs) - margin) / step_x))
    right = min(x.size, int((float(x[0, 0]) - min(xs) + margin) / step_x) + 2)
    top = max(0, int((float(y[0, 0]) - max(ys) - margin) / step_y))
    bottom = min(y.size, int((float(y[0, 0]) - min(ys) + margin) / step_y) + 2)
    if left >= right or top >= bottom:
        return
    axis = np.array([x1 - x0, y1 - y0, z1 - z0])
    squared = float(axis @ axis)
    dx, dy = x[:, left:right] - np.float32(x0), y[top:bottom] - np.float32(y0)
    share = np.zeros((bottom - top, right - left), dtype=np.float32)
    samples = 5
    for part in range(samples):
        dz = z + thick * ((part + 0.5) / samples - 0.5) - z0
        if squared > 0:
            along = np.clip((dx * axis[0] + dy * axis[1] + dz * axis[2]) / squared, 0, 1)
        else:
            along = np.zeros((1, 1), dtype=np.float32)
        distance = np.sqrt(
            (dx - along * axis[0]) ** 2 + (dy - along * axis[1]) ** 2 + (dz - along * axis[2]) ** 2
        )
        share += np.clip((radius - distance) / edge + 0.5, 0, 1).astype(np.float32)
    share /= samples
    if within is not None:
        share *= within[top:bottom, left:right]
    patch = image[top:bottom, left:right]
    patch += share * (np.float32(hu) - patch)
