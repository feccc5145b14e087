"""`imarium report` as people and scripts use it."""

import csv
import json
import os
import subprocess
import sys

import pytest

from imarium.testing import proxied


def run(*arguments, status=0):
    """Standard output and standard error of a process of its own."""
    line = [sys.executable, "-m", "imarium", "report", *map(str, arguments)]
    done = subprocess.run(line, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout, done.stderr


@pytest.fixture(params=["local", "remote"])
def place(request, live, phantom, nifti):
    """Options for one of both places, which hold two collections."""
    list(live.archive.ingest.run([phantom / "dicom"], collection="chest"))
    list(live.archive.ingest.run([nifti], collection="values"))
    return ["--home", live.archive.settings.home] if request.param == "local" else ["--server", live.url]


def test_every_output(place, tmp_path):
    table, page = tmp_path / "new" / "levels.csv", tmp_path / "report.html"
    out, err = run("--csv", table, "--html", page, "--json", "--frames", 3, "--bandwidth", "5,50", *place)
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["kind"] for line in lines] == ["series"] * 2 + ["dataset"] * 2 + ["total"]
    ct = next(line for line in lines if line["kind"] == "series" and line["modality"] == "CT")
    assert ct["shape"] == [12, 96, 96]
    assert ct["sampled"] == 3
    assert [level["rows"] for level in ct["levels"]] == [96, 48, 24]
    assert ct["levels"][0]["ssim"] is None
    assert 0.5 < ct["levels"][1]["ssim"] < 1
    assert ct["levels"][1]["seconds"].keys() == {"5", "50"}
    assert lines[-1]["count"] == 2
    assert "comparing reads about" in err
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(len(line["levels"]) for line in lines if line["kind"] == "series")
    mine = [row for row in rows if row["series"] == ct["series"]]
    assert [float(row["bytes"]) for row in mine] == [level["bytes"] for level in ct["levels"]]
    assert float(mine[1]["ssim"]) == ct["levels"][1]["ssim"]
    assert float(mine[1]["seconds_at_50_mbit"]) == ct["levels"][1]["seconds"]["50"]
    assert ct["series"] in page.read_text(encoding="utf-8")


def test_tables_on_the_screen(place):
    out, _ = run("chest", *place)
    assert "chest, CT: 1 series, 12 frames" in out
    assert "at 1000 Mbit/s" in out
    assert "SSIM" in out
    assert "values" not in out
    out, err = run("--no-quality", *place)
    assert "all: 2 series, 18 frames" in out
    assert "SSIM" not in out
    assert not err.strip()


def test_costs_alone_read_no_pack(live, phantom):
    list(live.archive.ingest.run([phantom / "dicom"], collection="chest"))
    with proxied(live.url) as proxy:
        run("--no-quality", "--server", proxy.url)
        assert proxy.asked
        assert not proxy.for_packs
        run("--server", proxy.url)
        assert proxy.for_packs


def test_nothing_to_report(place, tmp_path):
    page = tmp_path / "report.html"
    _, err = run("modality=PT", "--html", page, *place, status=2)
    assert "no series is in the selection" in err
    assert not list(tmp_path.glob("*report*"))
    _, err = run("no-such-collection", *place, status=2)
    assert "collection" in err


@pytest.mark.parametrize(
    "wrong", [["--bandwidth", "fast"], ["--latency", "nan"], ["--frames", "0"], ["colour=red"]]
)
def test_what_makes_no_sense(tmp_path, wrong):
    _, err = run(*wrong, "--home", tmp_path / "home", status=2)
    assert err.startswith("error: ")


def test_a_page_that_cannot_be_written_is_said_before_anything_is_read(live, phantom):
    list(live.archive.ingest.run([phantom / "dicom"], collection="chest"))
    with proxied(live.url) as proxy:
        _, err = run("--html", "/proc/none/report.html", "--server", proxy.url, status=2)
        assert "cannot be written" in err
        assert not proxy.for_packs


def test_damage(live, phantom, nifti, tmp_path):
    """Exit status 1; what is whole is reported, and the page is written."""
    (uid,) = {outcome.series for outcome in live.archive.ingest.run([phantom / "dicom"], collection="c")}
    list(live.archive.ingest.run([nifti], collection="c"))
    record = live.archive.catalog.get_series(uid)
    path = live.archive.settings.objects / record.pack.key
    content = bytearray(path.read_bytes())
    content[live.archive.streaming.index(record).span(0, 0)[0]] ^= 0xFF
    path.chmod(0o600)
    path.write_bytes(content)
    page = tmp_path / "report.html"
    out, err = run("--html", page, "--home", live.archive.settings.home, status=1)
    assert f"damaged {uid}" in err
    assert "c, CT: 1 series" in out
    assert "Damaged" in page.read_text(encoding="utf-8")
    out, _ = run("--json", "--home", live.archive.settings.home, status=1)
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["series"] for line in lines if line.get("error")] == [uid]
    assert lines[-1]["failed"] == 1
