"""What storage.py measures: plain numbers."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class LevelQuality:
    """One level of one image, mean over its sampled frames. None where the measure says nothing."""

    level: int
    rows: int
    columns: int
    bytes: int
    """That a reader fetches for this level of the whole series."""
    share: float
    """Of the bytes of level 0."""
    ssim: float | None = None
    psnr: float | None = None
    ssim_same_centres: float | None = None
    """Against downsampling whose pixels are centred where the level's are."""
    labels_equal: float | None = None
    """Label maps: share of pixels with the label of the nearest pixel of the full frame."""


@dataclass
class Size:
    """Bytes of one codec, and of Imarium for the same frames."""

    theirs: int = 0
    ours: int = 0
    frames: int = 0

    def add(self, other: Size) -> None:
        self.theirs += other.theirs
        self.ours += other.ours
        self.frames += other.frames


@dataclass
class ImageResult:
    """One series."""

    name: str
    kind: str
    dtype: str
    samples: int
    frames: int
    sampled: int
    lane: str
    raw: int
    """Bytes of the sampled frames' values."""
    ours: int
    """Bytes of the sampled frames as stored."""
    codecs: dict[str, Size] = field(default_factory=dict)
    peer_fails: dict[str, int] = field(default_factory=dict)
    """Sampled frames that the peer's settings refuse or damage, by reason."""
    levels: list[LevelQuality] = field(default_factory=list)


@dataclass
class Dataset:
    """One folder of images."""

    name: str
    taken: int = 0
    known: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    source: int = 0
    stored: int = 0
    series: int = 0
    images: list[ImageResult] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        return self.stored / self.source
