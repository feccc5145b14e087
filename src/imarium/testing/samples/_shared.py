"""What makers of samples share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imarium.testing.frames import smooth_frames


def written(path: Path, content: bytes) -> Path:
    """Write a file, and the folder that it is in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def picture(rows: int, columns: int, samples: int, dtype: str = "uint8") -> NDArray[Any]:
    planes = [smooth_frames(1, rows, columns, "uint8", seed)[0] for seed in range(samples)]
    stacked = np.stack(planes, axis=-1).astype(dtype)
    if dtype == "uint16":
        stacked *= 257
    return np.ascontiguousarray(stacked[..., 0] if samples == 1 else stacked)
