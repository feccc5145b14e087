"""The start script's checks, with stand-ins for the programs it finds."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def program(folder: Path, name: str, script: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def copy(tmp_path) -> Path:
    """A repository with the scripts alone; setting up does nothing, `imarium` prints what it gets."""
    shutil.copytree(ROOT / "scripts", tmp_path / "repo" / "scripts")
    with (tmp_path / "repo" / "scripts" / "setup.sh").open("a") as file:
        file.write("\ninstall_package() { :; }\nbuild_page() { :; }\n")
    program(tmp_path / "repo" / ".venv" / "bin", "imarium", 'printf "<%s>" "$@"; echo " $IMARIUM_HOME"')
    program(tmp_path / "bin", "node", "echo v20.19.0")
    program(tmp_path / "bin", "npm", "true")
    (tmp_path / "caller").mkdir()
    return tmp_path


def serve(copy: Path, *options: str, **environ: str) -> subprocess.CompletedProcess[str]:
    path = f"{copy / 'bin'}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", copy / "repo" / "scripts" / "serve", *options],
        cwd=copy / "caller", env={**os.environ, "PATH": path, **environ},
        check=False, capture_output=True, text=True,
    )  # fmt: skip


@pytest.mark.parametrize("options", [["--home", "my home"], ["--home=my home"]])
def test_folders_are_the_callers(copy, options):
    done = serve(copy, *options, "--port", "0", IMARIUM_HOME="other")
    place, other = copy / "caller" / "my home", copy / "caller" / "other"
    given = done.stdout.replace("<--home><", "<--home=")
    assert given.splitlines() == [
        f"<samples><--home={place}> {other}",
        f"<serve><--home={place}><--port><0> {other}",
    ]


@pytest.mark.parametrize("version", ["v18.19.0", "v20.18.3", None])
def test_an_old_node_is_told_where_a_new_one_is(copy, version):
    program(copy / "bin", "node", f"echo {version}" if version else "exit 1")
    done = serve(copy)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "nodejs.org" in line
    assert "20.19" in line
    assert "apt-get" not in line


@pytest.mark.parametrize("version", ["v20.19.0", "v22.12.0"])
def test_a_new_node_will_do(copy, version):
    program(copy / "bin", "node", f"echo {version}")
    assert serve(copy).returncode == 0
