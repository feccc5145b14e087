"""What is sent to a server: files of folders, and what files that were given by themselves lead to."""

from __future__ import annotations

from pathlib import Path

import pytest

from imarium.faces.cli.sending import folders_of, to_send
from imarium.formats.base import Refusal
from imarium.testing.dicom_files import make_table, write_file
from imarium.testing.samples import SAMPLES


def sent(*paths: Path) -> list[Path]:
    found = list(to_send(paths))
    assert not any(isinstance(one, Refusal) for one in found)
    return [one for one in found if isinstance(one, Path)]


@pytest.mark.parametrize("name", ["nifti", "nrrd", "metaimage"])
def test_a_header_takes_its_data_along(name: str, tmp_path: Path) -> None:
    for path in SAMPLES[name].small(tmp_path):
        alone = path.parent == tmp_path
        assert set(sent(path)) == ({path} if alone else set(path.parent.iterdir()))


def test_a_table_of_contents_takes_its_files_along(tmp_path: Path) -> None:
    (tmp_path / "disc" / "IMAGES").mkdir(parents=True)
    image = tmp_path / "disc" / "IMAGES" / "IM0"
    image.write_bytes(b"x")
    (tmp_path / "secret").write_bytes(b"x")
    ids = [("IMAGES", "IM0"), ("IMAGES", "IM1"), ("..", "secret"), "../secret"]
    table = write_file(tmp_path / "disc" / "DICOMDIR", make_table(ids))
    assert sent(table) == [table, image]


def test_nothing_outside_the_header_s_folder_is_sent(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path / "secret")
    for data in ("../secret", str(tmp_path / "secret"), "link"):
        header = tmp_path / "in" / "x.mhd"
        header.write_text(f"NDims = 2\nDimSize = 1 1\nElementType = MET_CHAR\nElementDataFile = {data}\n")
        assert sent(header) == [header]


def test_each_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    list(SAMPLES["metaimage"].small(tmp_path))
    monkeypatch.chdir(tmp_path)
    header = tmp_path / "detached" / "volume.mhd"
    assert sent(tmp_path / "detached", header, header, Path("detached/volume.mhd")) == [
        header,
        header.with_suffix(".raw"),
    ]


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path / ("x" * 300)):
        (found,) = to_send([path])
        assert isinstance(found, Refusal)
        assert folders_of([path]) == [tmp_path]


def test_folders(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    assert folders_of([tmp_path, tmp_path / "x", Path("none")]) == [tmp_path, tmp_path, Path()]
