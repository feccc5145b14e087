"""`imarium audit` and `imarium erase` on a home folder."""

import inspect
import json
import sqlite3
import sys
from xml.etree import ElementTree

import pytest

from imarium.faces.cli.app import run
from imarium.faces.cli.backends import Backend, LocalBackend
from imarium.faces.cli.recording import NOT_RECORDED, RecordedBackend, RecordedSearch
from imarium.faces.cli.search_backends import LocalSearch, SearchBackend


@pytest.fixture
def imarium(tmp_path, monkeypatch, capsys):
    """Runs `imarium` in this process; each call opens the home folder anew."""

    def call(*arguments, status=0, raw=False):
        line = [
            "imarium",
            *map(str, arguments),
            "--home",
            str(tmp_path / "home"),
            *([] if raw else ["--json"]),
        ]
        monkeypatch.setattr(sys, "argv", line)
        with pytest.raises(SystemExit) as left:
            run(None)
        written = capsys.readouterr()
        assert (left.value.code or 0) == status, written
        if raw:
            return written.out + written.err
        return [json.loads(row) for row in written.out.splitlines()]

    return call


@pytest.fixture
def uid(imarium, phantom):
    return imarium("ingest", phantom / "dicom", "--collection", "c")[0]["series"]


def said(imarium, **options):
    flags = [item for name, value in options.items() for item in (f"--{name.replace('_', '-')}", value)]
    return [(row["action"], row["object"], row["outcome"]) for row in imarium("audit", "list", *flags)]


def test_every_command_on_a_home_folder_is_recorded_or_says_why_not():
    own, methods = set(), set()
    for face, local, recorded in (
        (Backend, LocalBackend, RecordedBackend),
        (SearchBackend, LocalSearch, RecordedSearch),
    ):
        names = {name for name, _ in inspect.getmembers(face, inspect.isfunction) if not name.startswith("_")}
        methods |= names
        own |= {name for name in names if getattr(recorded, name) is not getattr(local, name)}
    assert own | NOT_RECORDED.keys() == methods
    assert not own & NOT_RECORDED.keys()


def test_what_commands_leave_in_the_record(imarium, uid, tmp_path):
    imarium("show", uid)
    imarium("get", uid, "--format", "npy", "-o", tmp_path / "x.npy")
    imarium("get", "1.2.3", "-o", tmp_path / "y.nii", status=2)
    imarium("label", f"series={uid}", "class=x")
    imarium("manifest", "-o", tmp_path / "m.parquet", "c")
    imarium("download", "c", tmp_path / "all", "--format", "npy")
    imarium("verify")
    imarium("ls")
    imarium("reset-password", status=2)
    actions = said(imarium)[::-1]
    assert actions == [
        ("stored", uid, "success"),
        ("ingested", "c", "success"),
        ("viewed", uid, "success"),
        ("exported", uid, "success"),
        ("exported", None, "failed"),
        ("labelled", None, "success"),
        ("listed-for-download", "c", "success"),
        ("exported", uid, "success"),
        ("verified", None, "success"),
        ("query", None, "success"),
    ]
    assert len(said(imarium, object=f"series:{uid}")) == 4
    (row, *_) = imarium("audit", "list", "--limit", 1)
    assert row["origin"] == "local"
    assert row["actor"].startswith("os:")


def test_verify_finds_what_was_changed(imarium, uid, tmp_path):
    (found,) = imarium("audit", "verify")
    assert (found["sound"], found["problems"]) == (True, [])
    (head,) = imarium("audit", "head")
    (tmp_path / "head.json").write_text(json.dumps(head))
    with sqlite3.connect(tmp_path / "home" / "catalog.sqlite") as database:
        database.execute("DROP TRIGGER audit_records_stay")
        database.execute("UPDATE audit_records SET actor = 'nobody' WHERE sequence = 2")
    (found,) = imarium("audit", "verify", "--head", tmp_path / "head.json", status=1)
    assert [item["sequence"] for item in found["problems"]] == [2]
    assert "record 2 was changed" in imarium("audit", "verify", status=1, raw=True)
    assert "nothing was signed" in imarium("audit", "renew", raw=True)
    imarium("audit", "verify", "--head", tmp_path / "none", status=2)


def test_exports(imarium, uid, tmp_path):
    for name in ("json", "csv", "dicom"):
        (made,) = imarium("audit", "export", "--format", name, "-o", tmp_path / name)
        assert made["lines"] > 1
    for line in (tmp_path / "dicom").read_text().splitlines():
        assert ElementTree.fromstring(line).tag == "AuditMessage"
    assert imarium("audit", "export", "--format", "csv", raw=True).startswith('"sequence"')
    imarium("audit", "export", "--format", "xml", status=2)
    for wrong in ("x", "series:", "planet:1"):
        imarium("audit", "list", "--object", wrong, status=2)


def test_erasing(imarium, uid, tmp_path):
    (dry,) = imarium("erase", "--series", uid)
    assert dry["plan"]["series"] == 1
    assert len(imarium("ls")) == 1
    (done,) = imarium("erase", "--series", uid, "--yes", "--alone")
    assert imarium("ls") == []
    (checked,) = imarium("erase", "--check", done["kept_in"])
    assert checked["holds"] is True
    forged = tmp_path / "forged.json"
    forged.write_text(json.dumps({**done["certificate"], "frames": 1}))
    imarium("erase", "--check", forged, status=2)
    assert imarium("erase", "--finish") == []
    actions = said(imarium, action="erased")
    assert [action for action, _, _ in actions] == ["erased", "erased"]
    assert imarium("audit", "verify")[0]["sound"] is True
    imarium("erase", "--series", uid, status=2)
    imarium("erase", status=2)
    imarium("erase", "--series", uid, "--study", uid, status=2)


def test_erasing_so_that_it_does_not_come_again(imarium, uid, phantom):
    (done,) = imarium("erase", "--collection", "c", "--yes", "--alone", "--refuse-again")
    rows = imarium("ingest", phantom / "dicom", status=1)
    assert {row["status"] for row in rows} == {"refused"}
    (lifted,) = imarium("erase", "--lift", done["certificate"]["id"])
    assert lifted["lifted"] > 12
    assert {row["status"] for row in imarium("ingest", phantom / "dicom")} == {"taken"}
    assert "came again" in imarium("erase", "--check", done["kept_in"], status=1, raw=True)


def test_erasing_for_people(imarium, uid):
    text = imarium("erase", "--series", uid, raw=True)
    assert "Nothing was erased" in text
    text = imarium("erase", "--series", uid, "--yes", "--alone", raw=True)
    assert "beyond reach" in text
    assert uid not in text
