"""Names, places and bundles of exported files."""

from __future__ import annotations

import zipfile
from pathlib import Path

from imarium.errors import InvalidRequestError

_NAMES = {
    "dicom": "series.dcm",
    "nifti": "series.nii.gz",
    "png": "series.png",
    "npy": "series.npy",
    "ome-zarr": "series.ome.zarr",
}
_SUFFIXES = {"nifti": (".nii", ".nii.gz", ".hdr"), "npy": (".npy",), "ome-zarr": (".ome.zarr", ".zarr")}
"""Formats that are known by their names."""
_FOLDERS = frozenset(["ome-zarr"])
"""Formats whose one file is a folder."""


def download_name(format_name: str, *, compress: bool = True) -> str:
    """A file name that tells the format and nothing of the patient."""
    name = _NAMES[format_name]
    return name if compress else name.removesuffix(".gz")


def resolve(output: str | None, format_name: str, files: int = 1) -> Path:
    """The file, or for several the folder, that an export to `output` as it was typed becomes.

    What is a folder by its format is never written into one that exists under its name.

    One file goes into a folder that exists, or is written with a slash at the end, under its default
    name. Raises InvalidRequestError for a name that the format, or the number of files, does not allow.
    """
    if files > 1:
        return _folder(output or f"series-{format_name}", format_name, files)
    path = Path(output or _NAMES[format_name])
    suffixes = _SUFFIXES.get(format_name)
    itself = format_name in _FOLDERS and suffixes and path.name.lower().endswith(suffixes)
    if output and not itself and (output.endswith("/") or path.is_dir()):
        path /= _NAMES[format_name]
    if suffixes and not path.name.lower().endswith(suffixes):
        ends = " or ".join(filter(None, [", ".join(suffixes[:-1]), suffixes[-1]]))
        raise InvalidRequestError(f"a file of format {format_name} is named {ends}, not {path.name!r}")
    if format_name in _FOLDERS and path.exists():
        raise InvalidRequestError(f"{path.name!r} exists; choose another name, or remove it first")
    return path


def _folder(output: str, format_name: str, files: int) -> Path:
    path = Path(output)
    named_like_a_file = path.suffix == Path(_NAMES[format_name]).suffix and not output.endswith("/")
    if not path.is_dir() and (path.exists() or named_like_a_file):
        raise InvalidRequestError(f"{files} files need a folder; {path.name!r} is a file, or named like one")
    return path


def deliver(files: list[Path], output: str | None, format_name: str) -> list[Path]:
    """Move finished files of one file system to where `output` says; returns where they are now.

    The second file of a pair of .hdr and .img goes beside the first, under its name.
    """
    if files[0].suffix == ".hdr":
        target = resolve(output, format_name)
        target.parent.mkdir(parents=True, exist_ok=True)
        return [files[0].replace(target), files[1].replace(target.with_suffix(files[1].suffix))]
    target = resolve(output, format_name, len(files))
    if len(files) == 1:
        target.parent.mkdir(parents=True, exist_ok=True)
        return [files[0].replace(target)]
    target.mkdir(parents=True, exist_ok=True)
    return [file.replace(target / file.name) for file in files]


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    if path.is_dir():
        return sum(item.stat().st_size for item in path.rglob("*") if item.is_file())
    return path.stat().st_size


def scatter(bundle: Path) -> list[Path]:
    """The files of a zip, unpacked beside it, or the folder that they are all in; a file that is no zip is
    itself all there is. Names never lead out of the zip's folder."""
    if bundle.suffix != ".zip":
        return [bundle]
    folder = bundle.parent / f"{bundle.name}.files"
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(folder)
    return sorted(folder.iterdir())
