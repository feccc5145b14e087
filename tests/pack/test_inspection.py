"""What is told of pack files, whole, damaged and lying."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imarium.codec import encode_frames
from imarium.errors import ImariumError, IntegrityError, InvalidRequestError
from imarium.pack import PackWriter, open_pack_file
from imarium.pack.layout import FOOTER, DirectoryEntry, directory_and_footer
from imarium.testing import series_of, smooth_frames

FRAMES = smooth_frames(5, 64, 48)
SERIES = series_of(FRAMES[0], frames=5, uid="1.2")
BEYOND = np.random.default_rng(0).integers(0, 1 << 32, (2, 40, 40), dtype=np.uint32)
BEYOND[0] >>= 20
WIDE = series_of(BEYOND[0], frames=2, uid="3.4")
VERSION_1 = Path(__file__).parents[2] / "web" / "tests" / "fixtures-v1"


@pytest.fixture(scope="module")
def pack(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("inspected")
    with PackWriter(folder) as writer:
        writer.add(SERIES, 2, encode_frames(FRAMES, SERIES, 2, 2), {"a": bytes(1000)}, 2)
        writer.add(WIDE, 1, encode_frames(BEYOND, WIDE, 1, 2), {})
        written = writer.finish()
        return Path(shutil.copy(written.path, folder / f"{written.digest}.imp"))


def inspected(path, verify=True):
    with open_pack_file(path) as file:
        report = file.report()
        return report, [file.series(entry, verify=verify) for entry in report.entries]


def test_what_a_pack_holds(pack):
    report, (first, second) = inspected(pack)
    assert report.version == (2, 0)
    assert report.size == pack.stat().st_size
    assert report.digest == pack.stem
    assert report.digest_matches is True
    assert (first.series, second.series) == (SERIES, WIDE)
    assert first.error is second.error is None
    assert first.block_frames == 2
    assert [(lane.name, lane.frames) for lane in first.lanes] == [("htj2k", 5)]
    assert "integers" in first.lanes[0].reason
    # A frame beyond int32 goes to another lane than its series.
    assert [(lane.name, lane.frames) for lane in second.lanes] == [("htj2k", 1), ("polyphase", 1)]
    assert "no wavelet" in second.lanes[1].reason
    assert [(level.rows, level.columns, level.ranges) for level in first.levels] == [
        (64, 48, 1), (32, 24, 3), (16, 12, 3),
    ]  # fmt: skip
    assert first.levels[0].bytes == first.body_bytes
    assert first.levels[0].share == 1 > first.levels[2].share > 0
    pieces = [s.body_bytes + s.attachment_bytes + s.index_bytes for s in (first, second)]
    assert 16 + sum(pieces) + 48 < report.size < 16 + sum(pieces) + 48 + 400


def test_a_renamed_and_a_changed_file(pack, tmp_path):
    renamed = shutil.copy(pack, tmp_path / "some.bin")
    assert inspected(renamed)[0].digest_matches is None
    data = bytearray(pack.read_bytes())
    with open_pack_file(pack) as file:
        data[file.report().entries[1].body[0] + 30] ^= 1
    changed = tmp_path / pack.name
    changed.write_bytes(data)
    report, (first, second) = inspected(changed)
    assert report.digest_matches is False
    assert first.error is None
    assert "checksum" in second.error
    assert inspected(changed, verify=False)[1][1].error is None  # not looked at


def test_a_damaged_index_does_not_hide_the_others(pack, tmp_path):
    data = bytearray(pack.read_bytes())
    with open_pack_file(pack) as file:
        data[file.report().entries[0].index[0] + 30] ^= 1
    changed = tmp_path / "pack.imp"
    changed.write_bytes(data)
    _, (first, second) = inspected(changed)
    assert first.error
    assert first.series is None
    assert second.error is None


def test_version_1(tmp_path):
    report, (series,) = inspected(VERSION_1 / "float32.pack")
    assert report.version == (1, 0)
    assert series.error is None
    assert [lane.name for lane in series.lanes] == ["float"]


@pytest.mark.parametrize("content", [b"", b"text", bytes(1000), b"\x89IMP\r\n\x1a\n" + bytes(100)])
def test_other_files_are_no_packs(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(IntegrityError, match="not a pack"):
        inspected(tmp_path / "file")


def test_what_cannot_be_opened(tmp_path):
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(InvalidRequestError, match="cannot be"):
            inspected(path)


@pytest.mark.parametrize(
    "spans",
    [
        ((16, 20), (20, 30), (30, 1 << 60)),
        ((0, 20), (20, 30), (30, 40)),
        ((16, 20), (20, 30), (16, 16)),
        ((16, 20), (20, 30), (16, 60)),
    ],
)
def test_a_directory_that_lies(pack, tmp_path, spans):
    data = pack.read_bytes()[: -FOOTER.size]
    lying = tmp_path / "pack.imp"
    lying.write_bytes(data + directory_and_footer([DirectoryEntry("1.2", *spans)], len(data)))
    _, (series,) = inspected(lying)
    assert series.error


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_only_our_errors_leave(pack, data):
    damaged = bytearray(pack.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path = pack.parent / "damaged.imp"
    path.write_bytes(damaged[: data.draw(st.integers(0, len(damaged)) | st.just(len(damaged)))])
    try:
        report, series = inspected(path)
    except ImariumError:
        return
    assert all(one.error or one.series for one in series)
    assert report.size == path.stat().st_size
