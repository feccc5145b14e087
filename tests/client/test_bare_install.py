"""`pip install imarium` alone gives a working client, and the command line says what it needs."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

USE = """
import sys
import imarium

with imarium.connect(sys.argv[1]) as db:
    (item,) = db.list_series()
    volume = db.series(item["uid"]).volume(level=1)
    assert [row.series for row in db.manifest("c modality=CT").rows()] == [item["uid"]]
    print(volume.shape, volume.dtype, int(volume.astype("int64").sum()))
for name in ("pydicom", "nibabel", "sqlalchemy", "fastapi", "typer", "obstore", "PIL"):
    try:
        __import__(name)
    except ImportError:
        continue
    sys.exit(f"{name} came along with the bare package")
"""


@pytest.mark.timeout(300)
def test_the_bare_package_streams(live, phantom, tmp_path):
    (outcome, *_) = live.archive.ingest.run([phantom / "dicom"], collection="c")
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    install = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", str(ROOT)]
    subprocess.run(install, check=True, capture_output=True)
    done = subprocess.run(
        [python, "-c", USE, live.url], check=False, capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    expected = live.archive.streaming.volume(outcome.series, 1)
    assert done.stdout.strip() == f"(12, 48, 48) {expected.dtype} {int(expected.astype('int64').sum())}"
    told = subprocess.run(
        [tmp_path / "venv" / "bin" / "imarium", "ls"], check=False, capture_output=True, text=True
    )
    assert told.returncode != 0
    assert "imarium[server]" in told.stderr
