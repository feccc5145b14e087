"""Exports for `datasets`: read back with pyarrow, and with the library itself where it is installed."""

import io
import json
import subprocess
import sys

import imagecodecs
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import imarium
from imarium import huggingface
from imarium.errors import ExportRefusedError, InvalidRequestError, LevelError, StorageError
from imarium.huggingface import export


@pytest.fixture
def server(live, phantom, tmp_path):
    """CT slices and colour pictures, with labels."""
    list(live.archive.ingest.run([phantom / "dicom"], collection="ct", labels={"class": "x"}))
    random = np.random.default_rng(0)
    for number in range(6):
        path = tmp_path / f"{number}.png"
        path.write_bytes(imagecodecs.png_encode(random.integers(0, 256, (40, 36, 3)).astype(np.uint8)))
        labels = {"class": "ab"[number % 2], "split": "test" if number == 5 else "train"}
        list(live.archive.ingest.run([path], collection="pictures", labels=labels))
    return live


def rows_of(folder, split="train"):
    (file,) = (folder / "data").glob(f"{split}-*.parquet")
    return pq.read_table(file).to_pylist()


def test_stored_values_come_back_exactly(server, tmp_path):
    with imarium.connect(server.url) as db:
        made = export(db, "ct", tmp_path / "out", level=1)
        (series,) = db.search("ct")
        expected = series.volume(level=1)
    rows = rows_of(made.folder)
    assert (made.series, made.images) == (1, 12) == (1, len(rows))
    for row in rows:
        pixels = imagecodecs.png_decode(row["image"]["bytes"])
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(row["image"]["bytes"]))), pixels)
        np.testing.assert_array_equal(pixels.astype(np.int64) + row["offset"], expected[row["frame"]])
    values = (pixels + row["offset"]) * row["slope"] + row["intercept"]
    np.testing.assert_allclose(values, expected.rescaled()[row["frame"]])
    assert rows[0]["spacing"] == list(expected.spacing)


@pytest.mark.parametrize("dtype", ["int16", "int8", "uint8", "uint16"])
def test_types_that_png_holds(live, tmp_path, dtype):
    info = np.iinfo(dtype)
    values = np.random.default_rng(0).integers(info.min, info.max, (3, 32, 32), endpoint=True).astype(dtype)
    np.save(tmp_path / "a.npy", values)
    list(live.archive.ingest.run([tmp_path / "a.npy"], collection="c"))
    with imarium.connect(live.url) as db:
        rows = rows_of(export(db, "c", tmp_path / "out").folder)
    found = [imagecodecs.png_decode(row["image"]["bytes"]).astype(np.int64) + row["offset"] for row in rows]
    np.testing.assert_array_equal(found, values)


def test_windows_and_sizes(server, tmp_path):
    with imarium.connect(server.url) as db:
        made = export(db, "ct", tmp_path / "out", size=24, window=(40, 400))
    row = rows_of(made.folder)[3]
    pixels = imagecodecs.png_decode(row["image"]["bytes"])
    assert (pixels.dtype, pixels.shape) == (np.uint8, (24, 24))
    assert (row["offset"], row["slope"], row["intercept"]) == (0, 1.0, 0.0)


def test_classes_and_splits(server, tmp_path):
    with imarium.connect(server.url) as db:
        made = export(db, "pictures", tmp_path / "out", label="class", split="split")
        with pytest.raises(InvalidRequestError, match="1 of 1 series have no label 'split'"):
            export(db, "ct", tmp_path / "other", split="split")
    assert sorted(row["label"] for row in rows_of(made.folder)) == [0, 0, 0, 1, 1]
    assert [row["label"] for row in rows_of(made.folder, "test")] == [1]
    (file,) = (made.folder / "data").glob("test-*")
    assert file.name == "test-00000-of-00001.parquet"
    told = json.loads(pq.read_schema(file).metadata[b"huggingface"])["info"]["features"]
    assert told["label"] == {"names": ["a", "b"], "_type": "ClassLabel"}
    assert "test-*" in (made.folder / "README.md").read_text()


def test_large_splits_are_several_files(server, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface, "_BATCH_BYTES", 1)
    monkeypatch.setattr(huggingface, "_SHARD_BYTES", 8000)
    with imarium.connect(server.url) as db:
        made = export(db, "pictures", tmp_path / "out")
    files = sorted((made.folder / "data").iterdir())
    assert len(files) > 1
    assert files[0].name == f"train-00000-of-{len(files):05d}.parquet"
    assert sum(pq.read_metadata(file).num_rows for file in files) == 6


def test_what_is_refused_leaves_nothing_behind(server, live, tmp_path, nifti):
    list(live.archive.ingest.run([nifti], collection="float"))
    with imarium.connect(server.url) as db:
        with pytest.raises(ExportRefusedError, match="give a window"):
            export(db, "float", tmp_path / "sub" / "out")
        with pytest.raises(LevelError):
            export(db, "ct", tmp_path / "sub" / "out", level=9)
        with pytest.raises(InvalidRequestError, match="no series"):
            export(db, "ct modality=MR", tmp_path / "sub" / "out")
        assert list((tmp_path / "sub").iterdir()) == []
        with pytest.raises(StorageError, match="already"):
            export(db, "ct", tmp_path)


def test_the_command(server, tmp_path):
    for number, where in enumerate((["--server", server.url], ["--home", str(server.archive.settings.home)])):
        out = tmp_path / f"out{number}"
        command = [sys.executable, "-m", "imarium", "export-hf", "pictures", str(out), "--json", *where]
        options = ["--label", "class", "--size", "18", "--window", "100,200"]
        done = subprocess.run([*command, *options], capture_output=True, check=True)
        assert json.loads(done.stdout)["images"] == 6
        assert len(rows_of(out)) == 6


def test_the_library_reads_it(server, tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets", reason="datasets is not installed: pip install datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")
    with imarium.connect(server.url) as db:
        found = huggingface.to_dataset(db, "pictures", tmp_path / "out", label="class", split="split")
        assert {name: len(part) for name, part in found.items()} == {"train": 5, "test": 1}
        assert found["test"].features["label"].names == ["a", "b"]
        sample = found["test"][0]
        (series,) = [item for item in db.search("pictures") if item.uid == sample["series"]]
        np.testing.assert_array_equal(np.asarray(sample["image"]), series.volume()[0])
