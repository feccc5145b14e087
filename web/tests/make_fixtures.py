"""Write small synthetic packs and what their levels decode to, for the tests of the TypeScript reader.

    python web/tests/make_fixtures.py

Each case gives NAME.pack, NAME.bin (all frames of level 0, then of level 1, ..., little-endian) and an
entry in cases.json. The expected values come from the Python decoder.

fixtures-v1/ holds some that the writer of version 1 of the format made; they are never made anew.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np

from imarium.codec import decode_frame, decompositions_for, encode_frame
from imarium.model import Series
from imarium.pack import PackWriter

OUT = Path(__file__).parent / "fixtures"
BLOCKS = {"int16-blocks": 2}
"""Frames a block, where a series has several."""


def pattern(frames: int, rows: int, columns: int, samples: int) -> np.ndarray:
    f, y, x, s = np.ogrid[:frames, :rows, :columns, :samples]
    noise = np.random.default_rng(7).integers(-9, 10, (frames, rows, columns, samples))
    waves = 300 * np.sin((x + 5 * f) / 9) * np.cos(y / 7) + 40 * s + noise
    return waves if samples > 1 else waves[..., 0]


def cases() -> dict[str, tuple[np.ndarray, dict[str, object]]]:
    grey = pattern(4, 65, 83, 1)
    colour = (pattern(2, 40, 70, 3) / 3 + 110).clip(0, 255).astype(np.uint8)
    floats = (pattern(2, 64, 50, 1) * 1e-3).astype(np.float32)
    floats[0, 3, 4], floats[1, 0, 0] = np.nan, np.inf
    labels = ((grey > 50).astype(np.uint8) + (grey > 200)).astype(np.uint8)
    grey_alpha = (pattern(2, 40, 48, 2) + 400).astype(np.uint16)
    return {
        "int16": (grey.astype(np.int16), {"modality": "CT", "rescale_intercept": -1024.0}),
        "uint8-rgb": (colour, {"samples": 3, "photometric": "RGB"}),
        "uint8-ybr": (colour, {"samples": 3, "photometric": "YBR_FULL"}),
        "uint16-two-samples": (grey_alpha, {"samples": 2}),
        "uint16-wide": (((grey + 400) * 80).clip(0, 65535).astype(np.uint16), {}),
        "uint16-32-bit": (((grey + 400) * 40).clip(0, 32767).astype(np.uint16), {}),
        "uint8-labels": (labels, {"label_map": True}),
        "int64-labels": (labels[:2, :40, :41].astype(np.int64) * 1000 - 5, {"label_map": True}),
        "float32": (floats, {}),
        "float64": (floats[:1].astype(np.float64), {}),
        "int16-blocks": (pattern(5, 40, 44, 1).astype(np.int16), {}),
        "uint8-tiny": (colour[:, :9, :11, 0].copy(), {}),
    }


def main() -> None:
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    listing = {}
    for name, (pixels, facts) in cases().items():
        frames, rows, columns = pixels.shape[:3]
        series = Series(
            uid=f"2.25.{len(listing) + 1}", study_uid="2.25.99", format="nifti", frames=frames, rows=rows,
            columns=columns, dtype=str(pixels.dtype), **facts,  # type: ignore[arg-type]
        )  # fmt: skip
        depth = decompositions_for(rows, columns)
        encoded = [encode_frame(np.ascontiguousarray(frame), series, depth) for frame in pixels]
        with tempfile.TemporaryDirectory() as folder, PackWriter(Path(folder)) as writer:
            writer.add(series, depth, encoded, {"nifti/header": b"\0" * 348}, BLOCKS.get(name))
            entry = writer.entries[0]
            shutil.copy(writer.finish().path, OUT / f"{name}.pack")
        levels = [
            np.stack([
                decode_frame(e.lane, e.params, e.parts[: depth - level + 1], series, depth, level)
                for e in encoded
            ])
            for level in range(depth + 1)
        ]  # fmt: skip
        (OUT / f"{name}.bin").write_bytes(b"".join(level.tobytes() for level in levels))
        listing[name] = {"index": list(entry.index), "shapes": [list(level.shape) for level in levels]}
    (OUT / "cases.json").write_text(json.dumps(listing, indent=1) + "\n")


if __name__ == "__main__":
    main()
