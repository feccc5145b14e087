"""Collections to train on, taken in by a real archive behind a real server."""

from pathlib import Path

import imagecodecs
import numpy as np
import pytest

pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'imarium[torch]'")


def write_pictures(folder: Path, count: int, *, rows: int = 48, columns: int = 40, seed: int = 0) -> None:
    """Grey PNGs, no two alike."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    y, x = np.ogrid[:rows, :columns]
    for number in range(count):
        waves = np.sin(x / random.uniform(5, 40)) + np.cos(y / random.uniform(5, 40))
        pixels = (128 + 50 * waves + random.normal(0, 3, (rows, columns))).clip(0, 255).astype(np.uint8)
        (folder / f"{number:03d}.png").write_bytes(imagecodecs.png_encode(pixels))


@pytest.fixture(name="write_pictures")
def _write_pictures():
    return write_pictures


@pytest.fixture
def pictures(live, tmp_path):
    """A server with 30 pictures of class "a" and 10 of class "b" in the collection `pictures`."""
    for name, count in (("a", 30), ("b", 10)):
        write_pictures(tmp_path / name, count, seed=ord(name))
        labels = {"class": name, "age": str(count)}
        list(live.archive.ingest.run([tmp_path / name], collection="pictures", labels=labels))
    return live


@pytest.fixture
def slices(live, phantom):
    """A server with 12 slices of CT of 96x96 in the collection `ct`."""
    list(live.archive.ingest.run([phantom / "dicom"], collection="ct", labels={"class": "x"}))
    return live
