"""Series as a data set of Hugging Face's `datasets`: Parquet with PNG images, at the resolution asked for."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import imagecodecs
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from imarium.client import Client
from imarium.client.core import Size
from imarium.codec.color import FULL_YBR, ybr_full_to_rgb
from imarium.errors import ExportRefusedError, InvalidRequestError, StorageError
from imarium.manifest import Manifest, ManifestRow
from imarium.model import Selection, Series, Volume
from imarium.model.windows import limits

Window = tuple[float, float] | Literal["default"] | None

_SHARD_BYTES = 256 << 20
_BATCH_BYTES = 8 << 20
_SPLIT = re.compile(r"\w+(\.\w+)*")
"""What `datasets` takes as the name of a split."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written."""

    folder: Path
    series: int
    images: int
    bytes: int
    """Of images."""


def export(
    client: Client,
    selection: Selection | Manifest | str | None,
    dest: str | Path,
    *,
    level: int | None = None,
    size: Size | None = None,
    window: Window = None,
    label: str | None = None,
    split: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Exported:
    """Write every frame of a selection as a row of Parquet files in the folder `dest`, which appears once it
    is whole and which `datasets.load_dataset(dest)` reads. Level and size as for `RemoteSeries.volume`.

    Images are PNG and hold stored values exactly: 8 bits, or 16 bits of grey. Of signed types the smallest
    value of the type is taken away first, and the column `offset` gives it back; `slope` and `intercept` make
    the series' own unit (HU for CT) of stored values. With `window`, (center, width) or "default", images are
    8 bits for a screen, MONOCHROME1 inverted.

    `label` is a label's key, whose values become the classes of the column `label`; `split` is one whose
    values name the splits (else all is "train"). Nothing that names a person is written. `progress` is told
    how many series of how many are done.

    Raises ExportRefusedError for values that PNG does not hold, InvalidRequestError if a series lacks a
    label, StorageError, and what reading raises.
    """
    if not isinstance(selection, Manifest):
        selection = client.manifest(selection)
    rows = list(selection.rows())
    _check(rows, label, split)
    classes = sorted({row.labels[label] for row in rows}) if label else None
    target = Path(dest)
    if target.exists():
        raise StorageError("there is something in that place already; give the name of a new folder")
    images = size_ = 0
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            (draft / "data").mkdir()
            shards = {name: _Shards(draft / "data", name, classes) for name in _splits(rows, split)}
            series = {item.uid: item for item in client.series_of(selection)}
            for number, row in enumerate(rows):
                volume = series[row.series].volume(level, size=size)
                writer = shards[row.labels[split] if split else "train"]
                for image in _images(volume, row, window):
                    if classes is not None and label is not None:
                        image["label"] = classes.index(row.labels[label])
                    writer.add(image)
                    images, size_ = images + 1, size_ + len(image["image"]["bytes"])
                if progress is not None:
                    progress(number + 1, len(rows))
            for writer in shards.values():
                writer.close()
            (draft / "README.md").write_text(_card(sorted(shards), selection))
            draft.chmod(0o755)
            draft.rename(target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        raise StorageError(f"the data set cannot be written: {error.strerror or 'out of room'}") from error
    return Exported(target, len(rows), images, size_)


def to_dataset(
    client: Client, selection: Selection | Manifest | str | None, dest: str | Path, **how: Any
) -> Any:
    """The same as a `datasets.DatasetDict` over the files that `export` writes (pip install datasets)."""
    try:
        from datasets import load_dataset  # noqa: PLC0415 - no dependency of this package
    except ImportError as error:
        raise InvalidRequestError("this needs one more library: pip install datasets") from error
    return load_dataset(str(export(client, selection, dest, **how).folder))


class _Shards:
    """The Parquet files of a split."""

    def __init__(self, folder: Path, split: str, classes: Sequence[str] | None) -> None:
        self._folder, self._split, self._schema = folder, split, _schema(classes)
        self._files: list[Path] = []
        self._writer: pq.ParquetWriter | None = None
        self._waiting: list[dict[str, Any]] = []
        self._waiting_bytes = self._written = 0

    def add(self, row: dict[str, Any]) -> None:
        """The next image."""
        self._waiting.append(row)
        self._waiting_bytes += len(row["image"]["bytes"])
        if self._waiting_bytes >= _BATCH_BYTES:
            self._spill()
        if self._written >= _SHARD_BYTES:
            self._end()

    def close(self) -> None:
        """Name the files, since their number is known."""
        self._spill()
        self._end()
        for number, file in enumerate(self._files):
            file.rename(self._folder / f"{self._split}-{number:05d}-of-{len(self._files):05d}.parquet")

    def _spill(self) -> None:
        if not self._waiting:
            return
        if self._writer is None:
            self._files.append(self._folder / f"{self._split}-{len(self._files)}.part")
            # Images are compressed already.
            self._writer = pq.ParquetWriter(self._files[-1], self._schema, compression="none")
        self._writer.write_batch(pa.RecordBatch.from_pylist(self._waiting, schema=self._schema))
        self._written += self._waiting_bytes
        self._waiting, self._waiting_bytes = [], 0

    def _end(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer, self._written = None, 0


def _check(rows: Sequence[ManifestRow], label: str | None, split: str | None) -> None:
    if not rows:
        raise InvalidRequestError("the selection holds no series")
    for key in (label, split):
        missing = sum(key not in row.labels for row in rows)
        if key is not None and missing:
            raise InvalidRequestError(f"{missing} of {len(rows)} series have no label {key!r}")


def _splits(rows: Sequence[ManifestRow], split: str | None) -> list[str]:
    names = sorted({row.labels[split] for row in rows}) if split else ["train"]
    for name in names:
        if not _SPLIT.fullmatch(name):
            raise InvalidRequestError("names of splits are letters, digits, _ and points between them")
    return names


def _images(volume: Volume, row: ManifestRow, window: Window) -> Iterator[dict[str, Any]]:
    """The rows of a series, without their labels."""
    series = volume.series
    assert series is not None
    for number, frame in enumerate(np.asarray(volume).reshape(-1, *series.frame_shape)):
        pixels, offset = (
            _stored(frame, series) if window is None else (_shown(frame, series, window, number), 0)
        )
        slope, intercept = series.rescale_of(number) if window is None else (1.0, 0.0)
        yield {
            "image": {"bytes": imagecodecs.png_encode(pixels), "path": f"{series.uid}-{number:05d}.png"},
            "series": row.series,
            "study": row.study,
            "subject": row.subject,
            "frame": number,
            "modality": row.modality,
            "body_part": row.body_part,
            "offset": offset,
            "slope": slope,
            "intercept": intercept,
            "spacing": None if series.spacing is None else list(series.spacing),
        }


def _stored(frame: NDArray[Any], series: Series) -> tuple[NDArray[Any], int]:
    """Pixels of a PNG, and what makes stored values of them when it is added."""
    kind, size = frame.dtype.kind, frame.dtype.itemsize
    if kind == "b":
        return frame.astype(np.uint8), 0
    if kind not in "iu" or size > 2 or (frame.ndim == 3 and size > 1):
        raise ExportRefusedError(
            f"a PNG of {series.samples} x {series.dtype} would not be exact, or not read so; give a window"
        )
    if series.photometric in FULL_YBR:
        raise ExportRefusedError("stored values are YBR, and a PNG would call them RGB; give a window")
    if kind == "u":
        return frame, 0
    lowest = int(np.iinfo(frame.dtype).min)
    return (frame.astype(np.int32) - lowest).astype(f"u{size}"), lowest


def _shown(
    frame: NDArray[Any], series: Series, window: tuple[float, float] | Literal["default"], number: int
) -> NDArray[np.uint8]:
    """As on a screen: 8 bits, grey or RGB."""
    if series.photometric in FULL_YBR:
        frame = ybr_full_to_rgb(frame)
    if frame.ndim == 3:
        frame = frame[..., :3] if frame.shape[-1] > 2 else frame[..., 0]
        if frame.dtype == np.uint8:
            return np.ascontiguousarray(frame)
    low, high = limits(series, window, number)
    slope, intercept = series.rescale_of(number)
    share = np.clip((frame * slope + intercept - low) / (high - low), 0, 1)
    shown: NDArray[np.uint8] = np.rint(np.nan_to_num(share) * 255).astype(np.uint8)
    return 255 - shown if series.photometric == "MONOCHROME1" else shown


def _schema(classes: Sequence[str] | None) -> pa.Schema:
    """Columns, and what `datasets` is told of them in the metadata."""
    columns = {
        "image": (pa.struct([("bytes", pa.binary()), ("path", pa.string())]), {"_type": "Image"}),
        **{name: (pa.string(), _value("string")) for name in ("series", "study", "subject")},
        "frame": (pa.int32(), _value("int32")),
        **{name: (pa.string(), _value("string")) for name in ("modality", "body_part")},
        "offset": (pa.int32(), _value("int32")),
        **{name: (pa.float64(), _value("float64")) for name in ("slope", "intercept")},
        "spacing": (pa.list_(pa.float64()), {"feature": _value("float64"), "_type": "List"}),
    }
    if classes is not None:
        columns["label"] = (pa.int64(), {"names": list(classes), "_type": "ClassLabel"})
    features = {name: feature for name, (_, feature) in columns.items()}
    told = json.dumps({"info": {"features": features}})
    return pa.schema([(name, kind) for name, (kind, _) in columns.items()], {"huggingface": told})


def _value(kind: str) -> dict[str, str]:
    return {"dtype": kind, "_type": "Value"}


def _card(splits: Sequence[str], manifest: Manifest) -> str:
    files = "".join(f"  - split: {name}\n    path: data/{name}-*\n" for name in splits)
    return f"""---
configs:
- config_name: default
  data_files:
{files}---

Exported by Imarium: {len(manifest)} series, from the manifest {manifest.digest}.

Stored value = pixel + `offset`; in the series' own unit (HU for CT), stored value x `slope` + `intercept`.
`spacing` is (slice, row, column) in mm.
"""
