"""What every start of every command pays for."""

import subprocess
import sys

HEAVY = ("SimpleITK", "zarr", "h5py", "pyarrow", "scipy.ndimage", "simple_icd_10_cm", "torch")
"""Libraries that few commands need, and which take a tenth of a second or more to load."""


def test_commands_start_without_heavy_libraries():
    script = "import sys, imarium.faces.cli.app, imarium.faces.http; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "imarium.faces.cli.app" in loaded
    assert loaded.isdisjoint(HEAVY)
