"""Write small synthetic packs and what their levels decode to, for the tests of the TypeScript reader.

    python web/tests/make_fixtures.py

Each case gives NAME.pack, NAME.bin (all frames of level 0, then of level 1, ..., little-endian) and an
entry in cases.json, with the lanes that were chosen and the SHA-256 of NAME.bin (which is left out where it
is large). The expected values come from the Python decoder.

fixtures-v1/ holds some that the writer of version 1 of the format made, fixtures-labels-0/ some with
labels of version 0 of their lane; they are never made anew.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from pathlib import Path

import imagecodecs
import numpy as np

from imarium.codec import Tier, decode_frame, decompositions_for, encode_frame
from imarium.codec.tiles import Tiling, pack
from imarium.model import Series, SourceCodestream
from imarium.pack import PackWriter

OUT = Path(__file__).parent / "fixtures"
BLOCKS = {"int16-blocks": 2}
"""Frames a block, where a series has several."""


def pattern(frames: int, rows: int, columns: int, samples: int) -> np.ndarray:
    f, y, x, s = np.ogrid[:frames, :rows, :columns, :samples]
    noise = np.random.default_rng(7).integers(-9, 10, (frames, rows, columns, samples))
    waves = 300 * np.sin((x + 5 * f) / 9) * np.cos(y / 7) + 40 * s + noise
    return waves if samples > 1 else waves[..., 0]


def blobs(labels: int, rows: int, columns: int, seed: int) -> np.ndarray:
    """A map of `labels` labels, 0 to labels - 1: ellipses with crumbled edges, and some stray pixels."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:rows, :columns] + rng.normal(0, 0.7, (2, rows, columns))
    image = np.zeros((rows, columns), np.int64)
    for i in range(3 * labels):
        (cy, cx), (ry, rx) = rng.random(2) * (rows, columns), (0.05 + 0.2 * rng.random(2)) * (rows, columns)
        image[((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1] = i % labels
    stray = rng.random((rows, columns)) < 0.002
    image[stray] = rng.integers(0, labels, np.count_nonzero(stray))
    return image


def lane_cases() -> dict[str, tuple[np.ndarray, dict[str, object]]]:
    """Frames for the lanes that are chosen by a look at the values."""
    waves = pattern(2, 65, 83, 1)
    whole = np.rint(waves)
    table = np.sort(np.random.default_rng(3).normal(size=400)) * 100
    ranked = table[whole.astype(int) // 2 + 200].astype(np.float32)
    ranked[1, 5:9, 7], ranked[0, 2, 3], ranked[0, 2, 4] = np.nan, -0.0, 0.0
    spread = np.random.default_rng(4).normal(size=(2, 2, 40, 33)) + waves[:, None, :40, :33] / 50
    phase = (whole * 0.01 + 1j * (np.roll(whole, 9, 1) * 0.25 - 3)).astype(np.complex64)
    mixed = spread[:, 0] + 1j * whole[:, :40, :33] * 0.125
    organs = np.stack([blobs(6, 97, 131, 1), blobs(6, 97, 131, 2)])
    one = np.stack([np.full((40, 37), 7), blobs(2, 40, 37, 5), np.zeros((40, 37), int)])
    cells = (np.mgrid[:170, :150] // 8 * [[[19]], [[1]]]).sum(0)  # 418 labels
    colours = np.random.default_rng(5).integers(0, 256, (6, 3))[organs]
    probable = np.where(organs > 3, np.random.default_rng(6).integers(50, 101, organs.shape), 0)
    atlas = np.stack([*organs, *probable], -1)[None, :, :70]
    coloured = {"photometric": "RGB", "label_map": True}
    levels = np.array([-1.5, 0.1, np.nan, 7.25, np.inf, -0.0], np.float32)
    near = (whole + 2.0**31).astype(np.uint32)
    return {
        "affine-float32": ((whole * 0.1 + 3.7).astype(np.float32), {}),
        "affine-float64": (whole * 1e-3 + 0.0, {}),
        "float16": ((whole * 0.03125 + 2).astype(np.float16), {}),
        "ranked-float32": (ranked, {}),
        "ranked-float16": (ranked[:1].astype(np.float16), {}),
        "ranked-float64": (ranked[:1].astype(np.float64), {}),
        "complex64-affine": (phase, {}),
        "complex64-float": ((spread[:, 0] + 1j * spread[:, 1]).astype(np.complex64), {}),
        "complex128-mixed": (mixed[:1], {}),
        "labels-uint8": (organs.astype(np.uint8), {"label_map": True}),
        "labels-int16": ((organs[:, :50, :51] * 999 - 1200).astype(np.int16), {"label_map": True}),
        "labels-one": (one.astype(np.uint8), {"label_map": True}),
        "labels-256": (blobs(256, 66, 63, 9)[None].astype(np.uint8), {"label_map": True}),
        "labels-float32": (levels[organs[:, 1:44, :70]], {"label_map": True}),
        "labels-thin": (organs[:, 40:41].astype(np.uint8), {"label_map": True}),
        "mask-bool": (organs[:, :70, 30:95] > 2, {"label_map": True}),
        "mask-uint8": ((organs[:, :64, :64] > 2).astype(np.uint8) * 255, {}),
        "uint32-near-2-31": (near, {}),
        "uint32-far-below": (near - np.uint32(2**31 - 10**6), {}),
        "int64-close": (whole.astype(np.int64) + 2**40, {}),
        "int64-far": (whole.astype(np.int64) + 2**60, {}),
        "int64-wide": ((waves * 2**51).astype(np.int64), {}),
        # For the clock; its levels are told by their digest, to keep it small.
        "organs-512": (blobs(40, 512, 512, 11)[None].astype(np.uint8), {"label_map": True}),
        "labels-many": ((cells[None] * 70 - 9).astype(np.int16), {"label_map": True}),
        "labels-rgb": (colours[:, :61, :40].astype(np.uint8), {"samples": 3, **coloured}),
        "labels-apart": (atlas.astype(np.uint8), {"samples": 4, **coloured}),
    }


def tiled() -> tuple[np.ndarray, SourceCodestream]:
    """A noisy frame as four JPEG tiles decode to it, and these tiles."""
    frame = np.random.default_rng(8).integers(0, 256, (64, 96), dtype=np.uint8)
    corners = [(slice(y, y + 32), slice(x, x + 48)) for y in (0, 32) for x in (0, 48)]
    cut = [bytes(imagecodecs.jpeg8_encode(np.ascontiguousarray(frame[one]), level=30)) for one in corners]
    for one, tile in zip(corners, cut, strict=True):
        frame[one] = imagecodecs.jpeg8_decode(tile)
    return frame[None], SourceCodestream("tiles", pack(Tiling("jpeg", 32, 48), cut))


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


def source_cases() -> dict[str, tuple[np.ndarray, dict[str, object]]]:
    """Frames of the source lane."""
    grey = (pattern(1, 40, 70, 1) / 3 + 110).clip(0, 255).astype(np.uint8)
    return {"uint8-archive": (grey, {}), "uint8-tiles": (tiled()[0], {})}


def main() -> None:
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    listing = {}
    for name, (pixels, facts) in (cases() | lane_cases() | source_cases()).items():
        frames, rows, columns = pixels.shape[:3]
        series = Series(
            uid=f"2.25.{len(listing) + 1}", study_uid="2.25.99", format="nifti", frames=frames, rows=rows,
            columns=columns, dtype=str(pixels.dtype), **facts,  # type: ignore[arg-type]
        )  # fmt: skip
        depth = decompositions_for(rows, columns)
        kept = tiled()[1] if name == "uint8-tiles" else None
        tier = Tier.ARCHIVE if name == "uint8-archive" else Tier.FAST
        encoded = [encode_frame(np.ascontiguousarray(frame), series, depth, kept, tier) for frame in pixels]
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
        values = b"".join(level.tobytes() for level in levels)
        listing[name] = {
            "index": list(entry.index), "lanes": [e.lane for e in encoded],
            "shapes": [list(level.shape) for level in levels], "sha256": hashlib.sha256(values).hexdigest(),
        }  # fmt: skip
        if len(values) < 200_000:
            (OUT / f"{name}.bin").write_bytes(values)
    (OUT / "cases.json").write_text(json.dumps(listing, indent=1) + "\n")


if __name__ == "__main__":
    main()
