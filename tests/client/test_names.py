"""Paths that a server gets to know: files of one folder stay together, and nothing above it is told."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from imarium.client.names import SentPaths


def test_from_the_folder_that_is_sent(tmp_path):
    sent = SentPaths([tmp_path / "disc"])
    assert sent(tmp_path / "disc" / "DICOMDIR") == "0/DICOMDIR"
    assert sent(tmp_path / "disc" / "IMAGES" / "IM0") == "0/IMAGES/IM0"


def test_folders_do_not_mix(tmp_path):
    sent = SentPaths([tmp_path / "a", tmp_path / "b"])
    assert {sent(tmp_path / "a" / "x.raw"), sent(tmp_path / "b" / "x.raw")} == {"0/x.raw", "1/x.raw"}


def test_a_folder_within_another(tmp_path):
    sent = SentPaths([tmp_path / "a" / "b", tmp_path / "a", tmp_path / "a" / "b" / "c"])
    assert sent(tmp_path / "a" / "b" / "c" / "x.raw") == "0/b/c/x.raw"
    assert sent(tmp_path / "a" / "x.raw") == "0/x.raw"
    assert SentPaths([Path("/")])(tmp_path / "x") == f"0{tmp_path}/x"


def test_without_folders_it_is_those_of_the_files(tmp_path):
    sent = SentPaths()
    files = [tmp_path / name for name in ("a/x.hdr", "b/x.hdr", "a/x.img", "a/b/x.hdr")]
    assert [sent(file) for file in files] == ["0/x.hdr", "1/x.hdr", "0/x.img", "0/b/x.hdr"]


def test_a_folder_by_two_names_is_one(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to("a")
    monkeypatch.chdir(tmp_path / "a")
    sent = SentPaths([tmp_path / "link"])
    for file in (tmp_path / "a" / "x", tmp_path / "link" / "x", Path("x"), Path("../a/x")):
        assert sent(file) == "0/x"


def test_links_that_lead_away(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "l").symlink_to(tmp_path / "b")
    sent = SentPaths([tmp_path / "a"])
    assert [sent(tmp_path / "a" / "x"), sent(tmp_path / "a" / "l" / "x")] == ["0/x", "1/x"]


def test_any_name_fits_into_a_header(tmp_path):
    name = os.fsdecode(b"\xff \xc3\xa4\n%")
    assert SentPaths()(tmp_path / name) == "0/%FF%20%C3%A4%0A%25"


PATHS = st.lists(st.lists(st.sampled_from("ab"), max_size=3).map("/".join), min_size=1, max_size=5)


@settings(max_examples=200, deadline=None)
@given(PATHS, PATHS)
def test_one_folder_here_is_one_folder_there(folders, files):
    root = Path("/nowhere")
    sent = SentPaths(root / folder for folder in folders)
    there = {root / file: sent(root / file / "x") for file in files}
    assert len(set(there.values())) == len(there)
    for file, path in there.items():
        assert sent(file / "y") == path[:-1] + "y"
