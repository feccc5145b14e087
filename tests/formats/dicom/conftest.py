"""Fixtures of the DICOM tests: a reader's context, and what a plain pydicom script makes of a file."""

import imarium.formats.dicom.guard  # isort: skip  # noqa: F401 - before anything that imports pydicom

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest

from imarium.formats.base import ReadContext, Refusal
from imarium.formats.dicom import DicomReader
from imarium.model import SourceSeries
from imarium.settings import Limits

_PLAIN_SCRIPT = """
import logging, pickle, sys, warnings
warnings.simplefilter("ignore"); logging.disable(logging.CRITICAL)
import pydicom
from pydicom.pixels import pixel_array
TURBO = ("1.2.840.10008.1.2.4.50",)
found = {}
for path in pickle.load(sys.stdin.buffer):
    try:
        dataset = pydicom.dcmread(path, force=True)
        if "TransferSyntaxUID" not in dataset.file_meta:
            implicit, little = dataset.original_encoding[:2]
            dataset.file_meta.TransferSyntaxUID = (
                "1.2.840.10008.1.2" if implicit else f"1.2.840.10008.1.2.{1 if little else 2}"
            )
        # Decoders of lossy JPEG differ by 1; ours is libjpeg-turbo, which Pillow brings.
        turbo = {"decoding_plugin": "pillow"} if dataset.file_meta.TransferSyntaxUID in TURBO else {}
        found[path] = pixel_array(dataset, raw=True, **turbo), pixel_array(dataset, **turbo)
    except Exception as error:
        found[path] = str(error)
pickle.dump(found, sys.stdout.buffer)
"""


@pytest.fixture
def context(tmp_path) -> ReadContext:
    """Default limits and an empty scratch folder."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return ReadContext(Limits(), scratch)


@pytest.fixture
def read(context) -> Callable[..., list[SourceSeries | Refusal]]:
    """Read files or whole folders with the default limits."""

    def read_paths(*paths: Path) -> list[SourceSeries | Refusal]:
        files = [file for path in paths for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
        return list(DicomReader().read(files, context))

    return read_paths


@pytest.fixture(scope="session")
def pydicom_files() -> list[Path]:
    """Every file that pydicom ships."""
    folder = Path(pydicom.__file__).parent / "data"
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".py")


@pytest.fixture(scope="session")
def plain() -> Callable[[list[Path]], dict[Path, str | tuple[np.ndarray, np.ndarray]]]:
    """(raw, default) pixel arrays that a plain script with pydicom and its plugins gets, or its error."""

    def ask(paths: list[Path]) -> dict[Path, str | tuple[np.ndarray, np.ndarray]]:
        done = subprocess.run(
            [sys.executable, "-c", _PLAIN_SCRIPT],
            input=pickle.dumps([str(path) for path in paths]),
            stdout=subprocess.PIPE,
            check=True,
        )
        return {Path(path): found for path, found in pickle.loads(done.stdout).items()}

    return ask
