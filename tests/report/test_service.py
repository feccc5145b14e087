"""Whole reports against figures that are computed another way."""

import nibabel
import numpy as np
import pytest
from PIL import Image
from skimage.metrics import structural_similarity

import imarium
from imarium.errors import TransportError
from imarium.report import Summary, costs, expected_bytes, measured, sampled
from imarium.testing import proxied
from imarium.testing.frames import smooth_frames
from imarium.testing.proxies import Fault


@pytest.fixture
def images(tmp_path):
    """A folder of a colour picture, a label map, floats with a NaN, complex numbers, and one pixel."""
    folder = tmp_path / "images"
    folder.mkdir()
    colour = np.stack([smooth_frames(1, 160, 120, "uint8", seed=seed)[0] for seed in (1, 2, 3)], axis=-1)
    Image.fromarray(colour).save(folder / "colour.png")
    labels = np.zeros((128, 96, 4), np.uint8)
    labels[20:90, 30:60, 1:3] = 3
    image = nibabel.Nifti1Image(labels, np.eye(4))
    image.header["intent_code"] = 1002
    nibabel.save(image, folder / "labels.nii.gz")
    floats = np.moveaxis(smooth_frames(3, 128, 96), 0, -1).astype(np.float32) / 7
    floats[3, 4, 1] = np.nan
    nibabel.save(nibabel.Nifti1Image(floats, np.eye(4)), folder / "floats.nii.gz")
    np.save(folder / "complex.npy", (smooth_frames(1, 128, 96)[0] * (1 + 1j)).astype(np.complex64))
    np.save(folder / "pixel.npy", np.array([[7]], np.int16))
    return folder


def report(client, frames=8):
    rows = list(client.manifest().rows())
    return {result.series: result for result in measured(client, rows, frames)}


def test_every_kind_of_image(live, phantom, images):
    list(live.archive.ingest.run([phantom / "dicom", images], collection="c"))
    with imarium.connect(live.url) as db:
        rows = {row.series: row for row in db.manifest().rows()}
        found = report(db, frames=5)
        assert found.keys() == rows.keys()
        assert len(found) == 6
        for uid, result in found.items():
            row, series = rows[uid], db.series(uid)
            assert result.error is None
            assert [level.bytes for level in result.levels] == [level.bytes for level in row.levels]
            assert result.levels[0].fidelity is None
            numbers = sampled(row.frames, 5)
            full = series.volume()
            if "complex" in row.dtype or row.rows == 1:
                assert result.sampled == result.read_bytes == 0
                assert all(level.fidelity is None for level in result.levels)
                continue
            assert result.sampled == len(numbers)
            for level in result.levels[1:]:
                stack = series.volume(level=level.level)
                if row.label_map:
                    assert level.fidelity.ssim is None
                    assert level.fidelity.labels_equal > 0.9
                    continue
                expected = [_ssim(full[number], stack[number]) for number in numbers]
                assert level.fidelity.ssim == pytest.approx(np.mean(expected), abs=1e-6)
                assert level.fidelity.labels_equal is None
        assert {row.label_map for row in rows.values()} == {True, False}
        assert max(row.samples for row in rows.values()) == 3


def _ssim(full, shown):
    """With scikit-image, and Pillow alone."""
    full, shown = np.asarray(full, np.float64), np.asarray(shown, np.float64)
    low, extent = np.nanmin(full), np.nanmax(full) - np.nanmin(full)
    full, shown = (np.nan_to_num((values - low) / extent, nan=0.0) for values in (full, shown))
    planes = full[..., None] if full.ndim == 2 else full
    shown = shown[..., None] if shown.ndim == 2 else shown
    reference = np.stack(
        [
            Image.fromarray(planes[..., sample].astype(np.float32)).resize(
                shown.shape[1::-1], Image.Resampling.BILINEAR
            )
            for sample in range(planes.shape[-1])
        ],
        axis=-1,
    ).astype(np.float64)
    return structural_similarity(reference, shown, data_range=1.0, channel_axis=-1)


def test_exactly_the_sampled_frames_are_read_once(live, phantom):
    list(live.archive.ingest.run([phantom / "dicom"], collection="c"))
    with proxied(live.url) as proxy, imarium.connect(proxy.url, cache=False) as db:
        (row,) = db.manifest("c").rows()
        proxy.asked.clear()
        (result,) = measured(db, [row], 3)
        ranges = [span for asked in proxy.for_packs for span in asked.ranges]
        assert result.read_bytes == sum(stop - start for start, stop in ranges)
        assert result.read_bytes < row.levels[0].bytes / 3
        assert expected_bytes([row], 3) == pytest.approx(result.read_bytes, rel=0.2)
        proxy.asked.clear()
        (result,) = costs([row])
        assert result.read_bytes == 0
        assert not proxy.asked


def test_a_damaged_pack_costs_only_its_own_series(live, phantom, images):
    """One part of a level of one frame is damaged on the disk: the other series are compared all the same."""
    (uid,) = {outcome.series for outcome in live.archive.ingest.run([phantom / "dicom"], collection="c")}
    list(live.archive.ingest.run([images], collection="c"))
    record = live.archive.catalog.get_series(uid)
    index = live.archive.streaming.index(record)
    path = live.archive.settings.objects / record.pack.key
    content = bytearray(path.read_bytes())
    content[index.span(0, 0)[0]] ^= 0xFF
    path.chmod(0o600)
    path.write_bytes(content)
    with imarium.connect(live.url, cache=False) as db:
        found = report(db)
    failed = [result for result in found.values() if result.error]
    assert [result.series for result in failed] == [uid]
    assert "checksum" in failed[0].error
    assert failed[0].levels[1].bytes > 0
    assert sum(result.sampled > 0 for result in found.values()) >= 2
    summary = Summary()
    for result in found.values():
        summary.add(result)
    assert summary.all.failed == 1


def test_a_pack_that_is_gone(live, phantom):
    list(live.archive.ingest.run([phantom / "dicom"], collection="c"))
    with imarium.connect(live.url, cache=False) as db:
        (row,) = db.manifest("c").rows()
        (live.archive.settings.objects / row.pack).unlink()
        (result,) = measured(db, [row], 2)
    assert "missing" in result.error


def test_a_server_that_is_away_ends_the_report(live, phantom):
    list(live.archive.ingest.run([phantom / "dicom"], collection="c"))
    with proxied(live.url) as proxy, imarium.Client(proxy.url, cache=False) as db:
        rows = list(db.manifest("c").rows())
        db._wire._attempts = 1
        proxy.plan = lambda asked: Fault(drop=True) if asked.is_pack else None
        with pytest.raises(TransportError):
            list(measured(db, rows, 2))


def test_memory_holds_a_few_results(live, phantom, nifti):
    """Rows are taken as results leave, not all at once."""
    list(live.archive.ingest.run([phantom / "dicom", nifti], collection="c"))
    with imarium.connect(live.url) as db:
        row = next(iter(db.manifest("c").rows()))
        taken = 0

        def rows():
            nonlocal taken
            for _ in range(40):
                taken += 1
                yield row

        results = measured(db, rows(), 1)
        next(results)
        assert taken <= 6
        assert len(list(results)) == 39


@pytest.mark.parametrize(
    ("count", "most", "expected"),
    [(1, 8, [0]), (3, 8, [0, 1, 2]), (100, 1, [0]), (100, 2, [0, 99]), (101, 3, [0, 50, 100])],
)
def test_samples_are_spread_evenly(count, most, expected):
    assert sampled(count, most) == expected
