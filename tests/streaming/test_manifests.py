"""Manifests of an archive say where its bytes lie, and are made again without reading indexes."""

import imagecodecs
import numpy as np
import pytest

from imarium.errors import IntegrityError, NotFoundError, StorageError
from imarium.manifest import Format, Manifest
from imarium.model import Selection
from imarium.pack import SeriesIndex, layout
from imarium.testing.dicom_files import make_dataset, write_file


def manifest_of(archive, text="") -> Manifest:
    chosen = Selection.parse(text)
    path = archive.settings.home / "m.parquet"
    with archive.manifests.draft(chosen) as draft:
        digest = draft.digest
        draft.write(path, Format.PARQUET)
    manifest = Manifest.read(path)
    assert (manifest.digest, manifest.selection) == (digest, chosen)
    assert [file.name for file in archive.settings.scratch.iterdir()] == []
    return manifest


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(7):
        values = np.random.default_rng(number).integers(0, 256, (70 + number, 130)).astype(np.uint8)
        (folder / f"{number}.png").write_bytes(imagecodecs.png_encode(values))
    return folder


@pytest.fixture
def stored(archive, phantom, pictures, nifti, monkeypatch):
    monkeypatch.setattr(layout, "MOST_BLOCK_FRAMES", 5)
    list(archive.ingest.run([phantom], collection="ct", labels={"split": "train"}))
    list(archive.ingest.run([pictures, nifti], collection="rest"))
    return archive


def test_rows_say_what_catalog_and_packs_say(stored):
    manifest = manifest_of(stored)
    rows = list(manifest.rows())
    assert len(rows) == 10
    assert [(row.pack, row.index) for row in rows] == sorted((row.pack, row.index) for row in rows)
    assert len({row.pack for row in rows}) < 10
    for row in rows:
        record = stored.catalog.get_series(row.series)
        facts = record.series
        assert (row.study, row.subject, row.collection) == (
            facts.study_uid,
            record.subject,
            record.collection,
        )
        for name in ("modality", "body_part", "format", "frames", "rows", "columns", "samples", "dtype"):
            assert getattr(row, name) == getattr(facts, name)
        for name in ("photometric", "dimensions", "spacing", "affine", "window_center", "window_width"):
            assert getattr(row, name) == getattr(facts, name)
        assert (row.rescale_slope, row.rescale_intercept) == (facts.rescale_slope, facts.rescale_intercept)
        assert (row.pack, row.pack_bytes, row.pack_digest) == (
            record.pack.key,
            record.pack.size,
            record.pack.digest,
        )
        assert row.index == record.index_span
        assert row.labels == dict(record.labels)
        assert row.url is None
        details = stored.streaming.level_details(record)
        assert len(row.levels) == len(details) == record.levels
        for level, detail in zip(row.levels, details, strict=True):
            assert (level.level, level.rows, level.columns) == (
                detail.level,
                detail.series.rows,
                detail.series.columns,
            )
            assert (list(level.spans), level.bytes) == (detail.spans, detail.bytes)
    assert any(len(level.spans) > 1 for row in rows for level in row.levels)


def test_a_reader_finds_pixels_with_a_row_alone(stored):
    for row in manifest_of(stored, "label.split=train").rows():
        fetch = stored.streaming.read_pack
        index = SeriesIndex.from_bytes(fetch(row.pack, *row.index))
        for level in row.levels:
            assert list(level.spans) == index.spans(level.level)


def test_selections(stored):
    assert {row.collection for row in manifest_of(stored, "ct").rows()} == {"ct"}
    assert len(manifest_of(stored, "modality=XX")) == 0
    assert {row.modality for row in manifest_of(stored, "modality=CT").rows()} == {"CT"}
    with pytest.raises(NotFoundError):
        manifest_of(stored, "nowhere")


def test_indexes_are_read_once(stored, monkeypatch):
    first = manifest_of(stored)
    reads = []
    read = stored.manifests._store.read_many
    monkeypatch.setattr(
        stored.manifests._store, "read_many", lambda *asked: reads.append(asked) or read(*asked)
    )
    assert manifest_of(stored) == first
    assert reads == []


def test_a_series_that_grew_is_looked_at_again(archive, phantom):
    files = sorted((phantom / "dicom").iterdir())
    list(archive.ingest.run(files[:6], collection="c"))
    (before,) = manifest_of(archive).rows()
    list(archive.ingest.run(files[6:], collection="c", labels={"grown": "yes"}))
    (after,) = manifest_of(archive).rows()
    assert (before.frames, after.frames) == (6, 12)
    record = archive.catalog.get_series(after.series)
    assert after.pack == record.pack.key != before.pack
    assert list(after.levels[0].spans) == archive.streaming.index(record).spans(0)
    assert after.labels == {"grown": "yes"}


def test_the_digest_changes_with_the_content_alone(stored):
    before = manifest_of(stored)
    assert manifest_of(stored) == before
    stored.catalog.label([(Selection("rest"), {"a": "b"})])
    assert manifest_of(stored) != before
    assert manifest_of(stored, "ct") == before.filter(lambda row: row.collection == "ct")


def test_frames_of_several_scales_have_none_in_the_manifest(archive, tmp_path):
    for number, slope in enumerate((1.0, 2.0), 1):
        pixels = np.full((8, 8), number, np.int16)
        dataset = make_dataset(pixels, number, Modality="PT", RescaleSlope=slope, RescaleIntercept=0.0)
        write_file(tmp_path / "pet" / f"{number}.dcm", dataset)
    list(archive.ingest.run([tmp_path / "pet"], collection="c"))
    (row,) = manifest_of(archive).rows()
    assert archive.catalog.get_series(row.series).series.frame_rescale is not None
    assert (row.rescale_slope, row.rescale_intercept) == (None, None)
    assert "Known" not in str(row)
    assert "ID-0815" not in str(row)


def test_a_catalog_that_cannot_be_written_does_not_matter(stored, monkeypatch):
    def full(_found):
        raise StorageError("no space left")

    monkeypatch.setattr(stored.catalog, "keep_spans", full)
    first = manifest_of(stored)
    assert len(first) == 10
    assert manifest_of(stored) == first


def test_a_pack_that_is_missing_is_damage(stored):
    for pack in stored.catalog.packs():
        (stored.settings.objects / pack.key).unlink()
    with pytest.raises(IntegrityError, match="verify"):
        manifest_of(stored)
