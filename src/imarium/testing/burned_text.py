"""Images with invented names, dates and numbers drawn into their pixels, and where they are.

The same arguments give the same images. Text is drawn with DejaVu fonts by Pillow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from imarium.codec.color import ybr_full_to_rgb
from imarium.deid.pixels.boxes import Box
from imarium.model import Series
from imarium.phantoms import ct_chest
from imarium.testing.frames import series_of

FONTS = Path("/usr/share/fonts/truetype/dejavu")
"""Debian's package fonts-dejavu-core."""
FACES = ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSansMono.ttf", "DejaVuSerif.ttf")

Ground: TypeAlias = Literal["ct", "mr", "cr", "us", "us-ybr", "palette", "dx-light"]
GROUNDS: tuple[Ground, ...] = ("ct", "mr", "cr", "us", "us-ybr", "palette", "dx-light")
"""What an image shows beside its text: a chest CT (int16), MR-like tissue (uint16, 12 bits), a radiograph
(uint16, 14 bits, MONOCHROME1), ultrasound in RGB and YBR_FULL, a palette, a light radiograph (uint8)."""

Look: TypeAlias = Literal["white", "grey", "dark", "boxed", "coloured"]

_SURNAMES = (
    "SMITH",
    "Okafor",
    "GARCIA",
    "Lindqvist",
    "MUELLER",
    "Novak",
    "TANAKA",
    "O'Brien",
    "DUBOIS",
    "Haugen",
)
_GIVEN = ("JOHN", "Amara", "LUCIA", "Erik", "HANNA", "Pavel", "YUKI", "Maeve", "CLAIRE", "Ingrid")
_PLACES = ("St. Mary Hospital", "CITY CLINIC", "Univ. Medical Center", "Radiology North")
_HARMLESS = ("120 kV", "W 400 L 40", "MI 0.8 TIs 0.4", "Im 12/24", "5 cm", "Sag T2")


@dataclass(frozen=True, slots=True)
class Planted:
    """One line of text in the pixels of all frames of an image."""

    text: str
    kind: Literal["name", "date", "number", "place", "harmless"]
    look: Look
    size: int
    """Of the font, in pixels."""
    ink: NDArray[np.bool_]
    """(rows, columns): pixels that show the text."""

    @property
    def identifies(self) -> bool:
        """Whether it names a person, or helps to."""
        return self.kind != "harmless"

    @property
    def box(self) -> Box:
        """Around the ink."""
        rows, columns = np.flatnonzero(self.ink.any(1)), np.flatnonzero(self.ink.any(0))
        return Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)


@dataclass(frozen=True, slots=True)
class Sample:
    """An image with its truth."""

    name: str
    series: Series
    frames: tuple[NDArray[Any], ...]
    planted: tuple[Planted, ...]


def fonts_available() -> bool:
    """Whether the fonts are installed (Debian: fonts-dejavu-core)."""
    return all((FONTS / face).is_file() for face in FACES[:2])


def samples(count: int, *, text: bool = True, seed: int = 0) -> Iterator[Sample]:
    """So many images, in turn over all `GROUNDS`; without any text if `text` is false.

    Raises FileNotFoundError without the fonts.
    """
    if text and not fonts_available():
        raise FileNotFoundError(f"no DejaVu fonts in {FONTS}; apt-get install fonts-dejavu-core")
    for number in range(count):
        ground = GROUNDS[number % len(GROUNDS)]
        yield sample(ground, number, text=text, seed=seed)


def sample(ground: Ground, number: int, *, text: bool = True, seed: int = 0) -> Sample:
    """One image."""
    rng = np.random.default_rng([seed, number, GROUNDS.index(ground)])
    frames, series = _ground(ground, rng)
    planted: list[Planted] = []
    if text:
        frames = [frame.copy() for frame in frames]
        planted = list(_plant(frames, series, rng))
    return Sample(f"{ground}-{number}", series, tuple(frames), tuple(planted))


def plant_line(
    frames: Sequence[NDArray[Any]],
    series: Series,
    text: str,
    *,
    top: int,
    left: int,
    size: int,
    look: Look = "white",
    kind: Literal["name", "date", "number", "place", "harmless"] = "name",
    face: str = FACES[0],
    smooth: bool = True,
    colour: tuple[int, int, int] = (255, 255, 0),
) -> Planted:
    """Draw one line into `frames` (in place; the same in all) and tell where. Parts beyond the edge are cut
    off.

    `smooth` draws with grey edges, as consoles of today do; without, every pixel of a glyph has one value.
    """
    share = glyphs(text, (series.rows, series.columns), top, left, size, face, smooth=smooth)
    back = np.zeros_like(share, dtype=bool)
    if look == "boxed":
        rows, columns = np.flatnonzero(share.any(1)), np.flatnonzero(share.any(0))
        if rows.size:
            back[max(0, rows[0] - 3) : rows[-1] + 4, max(0, columns[0] - 3) : columns[-1] + 4] = True
    for frame in frames:
        _paint(frame, series, share, back, look, colour)
    return Planted(text, kind, look, size, share > 0.5)


def glyphs(
    text: str, shape: tuple[int, int], top: int, left: int, size: int, face: str, *, smooth: bool
) -> NDArray[np.float32]:
    """Share of each pixel that the text covers, 0 to 1: float32 (rows, columns)."""
    canvas = Image.new("L", (shape[1], shape[0]), 0)
    draw = ImageDraw.Draw(canvas)
    draw.fontmode = "L" if smooth else "1"
    draw.text((left, top), text, fill=255, font=_font(face, size), anchor="la")
    share: NDArray[np.float32] = np.asarray(canvas, dtype=np.float32) / np.float32(255)
    return share


@cache
def _font(face: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(FONTS / face), size)


def _words(rng: np.random.Generator) -> tuple[str, Literal["name", "date", "number", "place", "harmless"]]:
    surname, given = str(rng.choice(_SURNAMES)), str(rng.choice(_GIVEN))
    day, month, year = int(rng.integers(1, 29)), int(rng.integers(1, 13)), int(rng.integers(1930, 2024))
    number = int(rng.integers(10_000, 99_999_999))
    match int(rng.integers(0, 11)):
        case 0:
            return f"{surname}^{given}", "name"
        case 1:
            return f"{surname}, {given}", "name"
        case 2:
            return f"Name: {given} {surname}", "name"
        case 3:
            return f"{surname} {given} [{rng.choice(['M', 'F'])}]", "name"
        case 4:
            return f"DOB: {day:02}.{month:02}.{year}", "date"
        case 5:
            return f"{year}-{month:02}-{day:02}", "date"
        case 6:
            return f"{month}/{day}/{year}", "date"
        case 7:
            return f"ID {number}", "number"
        case 8:
            return f"Acc# {number}", "number"
        case 9:
            return str(rng.choice(_PLACES)), "place"
        case _:
            return str(rng.choice(_HARMLESS)), "harmless"


def _plant(frames: list[NDArray[Any]], series: Series, rng: np.random.Generator) -> Iterator[Planted]:
    rows, columns = series.rows, series.columns
    taken: list[tuple[int, int, int, int]] = []
    scale = max(1.0, rows / 600)
    for _ in range(int(rng.integers(2, 6))):
        text, kind = _words(rng)
        size = round(float(rng.choice([9, 10, 11, 12, 14, 16, 20, 26, 32])) * scale)
        face, smooth = str(rng.choice(FACES)), bool(rng.random() < 0.7)
        length = round(_font(face, size).getlength(text))
        if length > columns - 8:
            continue
        for _ in range(20):
            top, left = _place(rng, rows, columns, size, length)
            spot = (top - 4, left - 6, top + round(1.3 * size) + 4, left + length + 6)
            if all(
                spot[0] >= other[2] or other[0] >= spot[2] or spot[1] >= other[3] or other[1] >= spot[3]
                for other in taken
            ):
                break
        else:
            continue
        taken.append(spot)
        looks: tuple[Look, ...] = ("white", "white", "white", "grey", "boxed")
        if series.samples == 3:
            looks += ("coloured", "coloured")
        if series.modality in ("CR", "DX"):
            looks += ("dark",)
        colours = ((255, 255, 0), (0, 255, 0), (0, 255, 255), (255, 128, 0), (255, 80, 80))
        before = [frame.copy() for frame in frames]
        planted = plant_line(
            frames, series, text, top=top, left=left, size=size, look=looks[int(rng.integers(len(looks)))],
            kind=kind, face=face, smooth=smooth, colour=colours[int(rng.integers(len(colours)))],
        )  # fmt: skip
        if _visible(frames[0], series, planted):
            yield planted
        else:
            for frame, was in zip(frames, before, strict=True):
                frame[...] = was


def _visible(frame: NDArray[Any], series: Series, planted: Planted) -> bool:
    """Whether the ink differs from what is around it by a sixth of the range almost everywhere: nobody can
    read what does not."""
    if not planted.ink.any():
        return False
    shown = np.asarray(_rgb(frame, series), np.float64)
    edge = ndimage.binary_dilation(planted.ink, iterations=3) & ~ndimage.binary_dilation(planted.ink)
    ground = np.stack([_mean_around(shown[..., channel], edge) for channel in range(shown.shape[2])], -1)
    contrast = np.abs(shown - ground).max(axis=-1)[planted.ink]
    return bool(np.mean(contrast > 42) > 0.85)


def _rgb(frame: NDArray[Any], series: Series) -> NDArray[Any]:
    """(rows, columns, channels) of 0 to 255, as a screen shows the whole range."""
    if series.palette:
        return np.asarray(np.asarray(series.palette)[frame])
    if series.photometric == "YBR_FULL":
        return ybr_full_to_rgb(frame)
    if series.samples == 3:
        return frame
    low, high = _shown_range(series, frame)
    shown = np.clip((frame.astype(np.float64) - low) / max(high - low, 1), 0, 1) * 255
    return np.asarray(shown[..., None])


def _mean_around(channel: NDArray[np.float64], edge: NDArray[np.bool_]) -> NDArray[np.float64]:
    """At each pixel, the mean of those pixels nearby that `edge` marks."""
    weight = ndimage.uniform_filter(edge.astype(np.float64), 15)
    total = ndimage.uniform_filter(np.where(edge, channel, 0.0), 15)
    return np.asarray(total / np.maximum(weight, 1e-9))


def _place(rng: np.random.Generator, rows: int, columns: int, size: int, length: int) -> tuple[int, int]:
    """Top and left: mostly at the edges, now and then with a tenth of the letters cut off, else anywhere."""
    height = round(1.2 * size)
    lines = rng.random()
    if lines < 0.35:
        top = int(rng.integers(0, 4)) + height * int(rng.integers(0, 4))
    elif lines < 0.6:
        top = rows - height * int(rng.integers(1, 5)) - int(rng.integers(0, 4))
    elif lines < 0.68:
        top = -round(0.3 * size)
    else:
        top = int(rng.integers(0, max(1, rows - height)))
    side = rng.random()
    if side < 0.4:
        left = int(rng.integers(0, 6))
    elif side < 0.7:
        left = columns - length - int(rng.integers(0, 6))
    else:
        left = int(rng.integers(0, max(1, columns - length)))
    return top, max(0, left)


def _paint(
    frame: NDArray[Any],
    series: Series,
    share: NDArray[np.float32],
    back: NDArray[np.bool_],
    look: Look,
    colour: tuple[int, int, int],
) -> None:
    """Draw in stored values, so that it shows as `look` says."""
    if series.palette:
        # Indices do not mix: a pixel is text or it is not. The palette's last colour is white.
        frame[back] = len(series.palette) - 1
        frame[share > 0.5] = 0 if look in ("dark", "boxed") else len(series.palette) - 1
        return
    if series.samples == 3:
        shown = {
            "white": (255, 255, 255),
            "grey": (190, 190, 190),
            "dark": (0, 0, 0),
            "boxed": (0, 0, 0),
            "coloured": colour,
        }[look]
        ink, paper = (np.asarray(value, np.float64) for value in (shown, (255, 255, 255)))
        if series.photometric == "YBR_FULL":
            ink, paper = _to_ybr(ink), _to_ybr(paper)
        frame[back] = np.rint(paper).astype(frame.dtype)
        weight = share[..., None]
        frame[...] = np.rint(frame * (1 - weight) + ink * weight).astype(frame.dtype)
        return
    low, high = _shown_range(series, frame)
    if series.photometric == "MONOCHROME1":
        low, high = high, low
    value = {"white": high, "grey": low + 0.75 * (high - low), "dark": low, "boxed": low, "coloured": high}[
        look
    ]
    frame[back] = high
    frame[...] = np.rint(frame * (1 - share) + value * share).astype(frame.dtype)


def _shown_range(series: Series, frame: NDArray[Any]) -> tuple[float, float]:
    """What text is drawn with: black and white of the type's bits, or of the values that the image has."""
    if series.bits_stored and frame.dtype.kind == "u":
        return 0.0, float(2**series.bits_stored - 1)
    return float(frame.min()), float(frame.max())


def _to_ybr(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    red, green, blue = rgb
    luminance = 0.299 * red + 0.587 * green + 0.114 * blue
    return np.asarray([luminance, 128 + 0.564 * (blue - luminance), 128 + 0.713 * (red - luminance)]).clip(
        0, 255
    )


# --- what the images show -------------------------------------------------------------------------------


@cache
def _chest() -> tuple[NDArray[np.int16], ...]:
    return tuple(ct_chest(8, 384, 384).hounsfield())


def _soft(rng: np.random.Generator, shape: tuple[int, int], sigma: float) -> NDArray[np.float64]:
    """Smooth random structure, 0 to 1."""
    small = ndimage.gaussian_filter(rng.normal(size=shape), sigma, mode="wrap")
    small -= small.min()
    return np.asarray(small / max(float(small.max()), 1e-9))


def _ground(ground: Ground, rng: np.random.Generator) -> tuple[list[NDArray[Any]], Series]:
    if ground == "ct":
        frame: NDArray[Any] = _chest()[int(rng.integers(8))].copy()
        return [frame], series_of(
            frame, modality="CT", format="dicom", window_center=40.0, window_width=400.0, bits_stored=16
        )
    if ground == "mr":
        side = int(rng.choice([256, 320, 448]))
        frame = _head(rng, side)
        return [frame], series_of(frame, modality="MR", format="dicom", bits_stored=12)
    if ground == "cr":
        rows, columns = 900, 760
        body = _soft(rng, (rows, columns), 60) * 0.5 + _soft(rng, (rows, columns), 12) * 0.25
        body += 0.2 * np.clip(
            np.sin(np.mgrid[:rows, :columns][0] / 22 + 3 * _soft(rng, (rows, columns), 90)), 0.6, 1
        )
        frame = np.clip(12000 * body + rng.normal(0, 60, body.shape) + 1500, 0, 16383).astype(np.uint16)
        return [frame], series_of(
            frame, modality="CR", format="dicom", photometric="MONOCHROME1", bits_stored=14
        )
    if ground == "dx-light":
        rows, columns = 700, 560
        body = 0.55 + 0.4 * _soft(rng, (rows, columns), 40) - 0.2 * _soft(rng, (rows, columns), 8)
        frame = np.clip(255 * body + rng.normal(0, 4, body.shape), 0, 255).astype(np.uint8)
        return [frame], series_of(frame, modality="DX", format="dicom", bits_stored=8)
    if ground == "palette":
        grey = _fan(rng, 480, 640)
        frame = (grey // 4).astype(np.uint8)
        palette = (*((value * 4, value * 4, value * 4) for value in range(63)), (255, 255, 255))
        return [np.minimum(frame, 62)], series_of(
            frame, modality="US", format="dicom", photometric="PALETTE COLOR", palette=palette, bits_stored=8
        )
    frames: list[NDArray[Any]] = []
    for _ in range(3):
        grey = _fan(rng, 480, 640)
        if ground == "us":
            frames.append(np.repeat(grey[..., None], 3, 2))
        else:
            ybr = np.full((*grey.shape, 3), 128, np.uint8)
            ybr[..., 0] = grey
            frames.append(ybr)
    photometric = "RGB" if ground == "us" else "YBR_FULL"
    return frames, series_of(
        frames[0], len(frames), modality="US", format="dicom", photometric=photometric, bits_stored=8
    )


def _head(rng: np.random.Generator, side: int) -> NDArray[np.uint16]:
    """Tissue in an ellipse, with the noise of magnitude images."""
    y, x = np.mgrid[:side, :side] / side - 0.5
    inside = (x / 0.38) ** 2 + (y / 0.45) ** 2
    tissue = np.where(inside < 1, 500 + 700 * _soft(rng, (side, side), 5), 0)
    tissue = np.where((inside > 0.86) & (inside < 1), 1500, tissue)
    real = tissue + rng.normal(0, 40, tissue.shape)
    return np.clip(np.hypot(real, rng.normal(0, 40, tissue.shape)), 0, 2800).astype(np.uint16)


def _fan(rng: np.random.Generator, rows: int, columns: int) -> NDArray[np.uint8]:
    """Speckle in a sector on black, with a ruler of ticks, as ultrasound shows."""
    y, x = np.mgrid[:rows, :columns].astype(np.float64)
    x -= columns / 2
    radius, angle = np.hypot(x, y), np.abs(np.arctan2(x, y + 1e-9))
    sector = (radius > 40) & (radius < rows * 0.93) & (angle < 0.75)
    speckle = rng.rayleigh(1.0, (rows, columns))
    speckle = ndimage.gaussian_filter(speckle, (0.8, 1.6)) * (0.3 + _soft(rng, (rows, columns), 14))
    shown = np.where(sector, np.clip(90 * speckle, 0, 230), 0)
    for tick in range(20, rows - 10, 40):
        shown[tick, columns - 14 : columns - 8] = 200
    return shown.astype(np.uint8)
