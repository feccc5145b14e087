"""Sources that come compressed, in pieces or with several series, and what is kept of them."""

from collections import Counter
from pathlib import Path

import imagecodecs
import nibabel
import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydicom.data import get_testdata_file
from typer.testing import CliRunner

from imarium.codec import Tier
from imarium.faces.cli.app import app
from imarium.testing import smooth_frames


def take(archive, *paths, **options):
    return list(archive.ingest.run(list(paths), collection="c", **options))


def statuses(outcomes):
    return Counter(str(outcome.status) for outcome in outcomes)


def stored(archive):
    return archive.catalog.series()[0]


def assert_clean(archive):
    assert [outcome for outcome in archive.streaming.verify() if outcome.error] == []


def test_lossy_pictures_do_not_grow(archive, tmp_path):
    picture = np.stack([smooth_frames(1, 512, 384, "uint8", seed)[0] for seed in range(3)], axis=-1)
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(imagecodecs.jpeg8_encode(picture, level=70))
    (folder / "b.jp2").write_bytes(imagecodecs.jpeg2k_encode(picture, level=30))
    assert statuses(take(archive, folder)) == {"taken": 2}
    for record in stored(archive):
        assert record.lane.startswith("source:")
        assert record.stored_bytes < 1.02 * record.source_bytes + 1000
        level = archive.streaming.volume(record.series.uid, 1)
        assert level.shape == (1, 256, 192, 3)
    assert_clean(archive)


def test_a_compressed_dicom_file_does_not_grow(archive):
    assert statuses(take(archive, Path(get_testdata_file("SC_rgb_jpeg_dcmtk.dcm")))) == {"taken": 1}
    (record,) = stored(archive)
    assert record.lane.startswith("source:")
    assert_clean(archive)


def test_the_archive_tier_is_smaller_and_gives_the_same(archive, tmp_path):
    values = smooth_frames(4, 128, 96)
    nibabel.save(nibabel.Nifti1Image(values.T, np.eye(4)), tmp_path / "fast.nii")
    nibabel.save(nibabel.Nifti1Image(values.T, np.diag([2, 2, 2, 1])), tmp_path / "small.nii")
    take(archive, tmp_path / "fast.nii")
    take(archive, tmp_path / "small.nii", tier=Tier.ARCHIVE)
    fast, small = stored(archive)
    assert small.stored_bytes < 0.95 * fast.stored_bytes
    for level in range(fast.levels):
        one, other = (archive.streaming.volume(record.series.uid, level) for record in (fast, small))
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
    assert_clean(archive)


def test_the_archive_tier_on_the_command_line(tmp_path):
    nibabel.save(nibabel.Nifti1Image(smooth_frames(2, 64, 64).T, np.eye(4)), tmp_path / "x.nii")
    home = ["--home", str(tmp_path / "home")]
    result = CliRunner().invoke(app, ["ingest", str(tmp_path / "x.nii"), "--tier", "archive", *home])
    assert result.exit_code == 0, result.output
    assert (
        "source:" in CliRunner().invoke(app, ["ls", "--json", *home]).output or "archive" not in result.output
    )


@pytest.fixture
def pair(tmp_path):
    """A NIfTI pair in a folder of its own."""
    folder = tmp_path / "pair"
    folder.mkdir()
    nibabel.save(nibabel.Nifti1Pair(smooth_frames(3, 40, 32).T, np.eye(4)), folder / "scan.hdr")
    return folder


def test_data_beside_a_header_belong_to_it(archive, pair):
    assert statuses(take(archive, pair)) == {"taken": 2}
    assert statuses(take(archive, pair)) == {"known": 2}
    (record,) = stored(archive)
    assert record.source_bytes == sum(path.stat().st_size for path in pair.iterdir())


def test_other_data_behind_a_known_header_are_new(archive, pair):
    take(archive, pair)
    data = pair / "scan.img"
    content = bytearray(data.read_bytes())
    content[100] ^= 1
    data.write_bytes(content)
    assert statuses(take(archive, pair))["taken"] == 2
    assert len(stored(archive)) == 2
    assert statuses(take(archive, pair)) == {"known": 2}


def test_data_without_their_header_are_refused(archive, pair):
    (pair / "scan.hdr").unlink()
    outcomes = take(archive, pair)
    assert statuses(outcomes) == {"refused": 1}
    assert "no format" in outcomes[0].reason


def test_a_file_of_several_series_is_taken_whole_after_an_interruption(archive, tmp_path):
    """That its digest is known does not mean that all of its series are."""
    path = tmp_path / "two.npz"
    values = smooth_frames(2, 700, 800, "uint16")
    noise = np.random.default_rng(0).integers(0, 60000, (2, 40, 3000, 2000), dtype=np.uint16)
    np.savez(path, first=values, second=noise[0, :3], third=values[:, ::2])
    stopped = archive.ingest.run([path], collection="c")
    for outcome in stopped:
        assert outcome.status == "taken"
        break  # the process ends here, after some of the series were committed
    stopped.close()
    before = len(stored(archive))
    assert before < 3
    outcomes = take(archive, path)
    assert statuses(outcomes) == {"known": before, "taken": 3 - before}
    assert statuses(take(archive, path)) == {"known": 3}
    assert_clean(archive)


def test_a_well_compressed_volume_does_not_grow(archive, tmp_path):
    """What a wavelet holds worse than the source's gzip: a texture that repeats."""
    tile = np.random.default_rng(0).integers(0, 200, (4, 16, 16), dtype=np.uint8)
    nibabel.save(nibabel.Nifti1Image(np.tile(tile, (1, 8, 8)).T, np.eye(4)), tmp_path / "x.nii.gz")
    assert statuses(take(archive, tmp_path / "x.nii.gz")) == {"taken": 1}
    (record,) = stored(archive)
    assert record.lane.startswith("source:")
    assert_clean(archive)


def test_text_and_profiles_stay_with_a_picture(archive, tmp_path):
    text = PngInfo()
    text.add_text("Author", "Jane Doe")
    text.add_text("Comment", "heart " * 50, zip=True)
    Image.new("L", (9, 7), 5).save(tmp_path / "a.png", pnginfo=text, dpi=(300, 300))
    (outcome,) = take(archive, tmp_path / "a.png")
    kept = archive.streaming.rendition(outcome.series).attachments["png/chunks"]
    source = (tmp_path / "a.png").read_bytes()
    assert kept
    assert kept in source
    assert [kind in kept for kind in (b"tEXt", b"zTXt", b"pHYs", b"IDAT")] == [True, True, True, False]
