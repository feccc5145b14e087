"""`imarium deid` on the command line."""

import csv
import json
import os
import subprocess
import sys

import numpy as np
import pydicom
import pytest

from imarium.testing.dicom_files import make_dataset
from imarium.testing.identifiers import kept_on_purpose, planted_file, search


def call(*arguments, cwd=None):
    done = subprocess.run(
        [sys.executable, "-m", "imarium", "deid", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=os.environ | {"COLUMNS": "200"},
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def source(tmp_path):
    """A folder with a DICOM file full of identifiers, one of another patient, and a letter."""
    data, planter = planted_file(11)
    folder, name = planter.file_names()
    path = tmp_path / "in" / folder / name
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    other = make_dataset(np.zeros((8, 8), np.uint8))
    other.file_meta = pydicom.dataset.FileMetaDataset()
    other.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    other.StudyInstanceUID = "1.2.3"
    pydicom.dcmwrite(tmp_path / "in" / "other.dcm", other, enforce_file_format=True)
    return tmp_path / "in", planter


def test_the_whole_way(source, tmp_path):
    folder, planter = source
    (tmp_path / "mine.yaml").write_text(
        "name: mine\nclean: [descriptors]\ndates: {mode: shift}\ndocuments: empty\n"
    )
    key, out = tmp_path / "custody" / "key", tmp_path / "out"
    assert call("key", key)[0] == 0
    reports = [tmp_path / f"report{end}" for end in (".json", ".csv", ".html")]
    options = [option for path in reports for option in ("--report", path)]
    status, printed, _ = call(
        folder, "-o", out, "--policy", tmp_path / "mine.yaml", "--key", key, "--json", *options
    )
    assert status == 0
    lines = [json.loads(line) for line in printed.splitlines()]
    assert {line["status"] for line in lines} == {"released"}
    columns = ("clean_descriptors", "retain_longitudinal_modified_dates")
    copies = [path for path in out.rglob("*") if path.is_file()]
    assert len(copies) == 2
    for path in copies:
        left = [
            one for one in search(path.read_bytes(), planter.planted) if not kept_on_purpose(one, columns)
        ]
        assert not left
        assert not search(str(path.relative_to(out)).encode(), planter.planted)
    for path in reports:
        assert not search(path.read_bytes(), planter.planted), path.suffix
    facts = json.loads(reports[0].read_text())
    assert facts["files"] == {"released": 2, "known": 0, "review": 0, "refused": 0}
    assert facts["subjects"] == 2
    assert {"format": "dicom", "attribute": "PatientBirthDate", "action": "emptied", "count": 2} in facts[
        "elements"
    ]
    rows = list(csv.DictReader(reports[1].open()))
    assert len(rows) == len(facts["elements"])
    assert reports[2].read_text().startswith("<!doctype html>")
    # The custodian can tell who it was; others cannot.
    subject = copies[0].relative_to(out).parts[0]
    status, printed, _ = call("reveal", subject, "--key", key, "--json")
    assert status == 0
    assert json.loads(printed)["original"] in (planter.person.number, "ID-0815")
    assert call("key", tmp_path / "other")[0] == 0
    status, _, said = call("reveal", subject, "--key", tmp_path / "other", "--table", f"{key}.linking")
    assert status == 2
    assert "does not fit" in said


def test_refusals_and_the_exit_status(source, tmp_path):
    folder, _ = source
    (folder / "letter.txt").write_text("Dear")
    status, printed, said = call(folder, "-o", tmp_path / "out")
    assert status == 1
    assert "encapsulated document" in said
    assert "no format that can be de-identified" in said
    assert "released 1 files of 1 subjects" in printed


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-o", "OUT", "--policy", "nothing"], "there is no policy"),
        (["-o", "OUT", "--policy", "POLICY"], "line 2: the policy has no 'retian'"),
        (["-o", "OUT", "--report", "r.txt"], "named .json, .csv or .html"),
        (["-o", "OUT", "--table", "t"], "--table needs --key"),
        (["-o", "OUT", "--key", "missing"], "key file cannot be read"),
        (["-o", "IN/deep"], "may not lie inside"),
        ([], "--output"),
    ],
)
def test_mistakes(source, tmp_path, arguments, says):
    folder, _ = source
    policy = tmp_path / "p.yaml"
    policy.write_text("name: x\nretian: []\n")
    known = {"OUT": tmp_path / "out", "POLICY": policy, "IN/deep": folder / "deep"}
    status, _, said = call(folder, *(known.get(one, one) for one in arguments), cwd=tmp_path)
    assert status == 2
    assert says in " ".join(said.split())
    assert not (tmp_path / "out").exists()


def test_policies_are_listed_and_printed(tmp_path):
    status, printed, _ = call("policies", "--json")
    assert status == 0
    assert "research-longitudinal" in {json.loads(line)["name"] for line in printed.splitlines()}
    status, printed, _ = call("policies", "basic")
    assert printed.startswith("name: basic")
    assert call("policies", "other")[0] == 2
    assert call("reveal", "S-1", "--key", tmp_path / "none")[0] == 2


def test_the_gate_on_the_command_line(source, tmp_path):
    folder, _ = source
    home = ["--home", tmp_path / "home"]
    assert call("demand", "open", "basic", *home)[0] == 0
    done = subprocess.run(
        [sys.executable, "-m", "imarium", "ingest", folder, "--collection", "open", "--json", *home],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert sorted(line["status"] for line in lines) == ["refused", "taken"]
    status, printed, _ = call("quarantine", "--json", *home)
    assert status == 0
    (row,) = [json.loads(line) for line in printed.splitlines()]
    assert row["code"] == "quarantine"
    assert call("release", row["id"], *home)[0] == 1
    assert call("discard", row["id"], "--json", *home)[0] == 0
    assert "Nothing waits" in call("quarantine", *home)[1]
    assert call("discard", row["id"], *home)[0] == 2
