"""De-identifies files that are not DICOM: headers lose their text, pixels keep their bytes.

Such a file does not say who its patient is, so nothing in it can be told from what identifies: every text
goes that is not needed to read the pixels. What no module here knows in full is refused.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from imarium.deid.cleaned import Cleaned
from imarium.deid.files import jpeg, nifti, npy, png, textual, tiff
from imarium.deid.files.base import Part, Rewritten
from imarium.deid.keys import Substitutes
from imarium.deid.policy import Faces, PixelText, Policy
from imarium.errors import CorruptFileError, QuarantineError, UnsupportedFileError
from imarium.settings import Limits

_KNOWN: tuple[tuple[str, Callable[[bytes], bool], Callable[..., Rewritten]], ...] = (
    ("png", png.recognises, png.rewritten),
    ("jpeg", jpeg.recognises, jpeg.rewritten),
    ("tiff", tiff.recognises, tiff.rewritten),
    ("nrrd", textual.recognises_nrrd, textual.nrrd),
    ("npy", npy.recognises, npy.rewritten),
    ("metaimage", textual.recognises_metaimage, textual.metaimage),
    ("nifti", nifti.recognises, nifti.rewritten),
)


class OtherFiles:
    """Dispatches on the content; names copies by keyed hashes of the names of folder and file."""

    def __init__(self, policy: Policy, substitutes: Substitutes, limits: Limits) -> None:
        self._policy = policy
        self._substitutes = substitutes
        self._limits = limits

    def clean(self, path: Path, head: bytes) -> Cleaned:
        """De-identify one file. Raises RefusedFileError and its children."""
        rules = self._policy.pixels
        for name, recognises, rewritten in _KNOWN:
            if recognises(head):
                if rules.text is not PixelText.OFF or rules.faces is not Faces.KEEP:
                    raise QuarantineError(
                        f"the policy asks for pixels to be searched, which is done for DICOM, not for {name}"
                    )
                try:
                    result = rewritten(path, self._limits, self._stand_in(path))
                except (struct.error, ValueError, OverflowError, IndexError) as error:
                    raise CorruptFileError(f"the {name} file cannot be understood") from error
                return self._cleaned(path, name, result)
        if nifti.is_data_of_pair(path) or textual.is_data(path):
            whole = (Part(0, path.stat().st_size),)
            return self._cleaned(path, "data", Rewritten(path, whole, Counter(), _suffix(path)))
        raise UnsupportedFileError("the content is of no format that can be de-identified")

    def _cleaned(self, path: Path, name: str, result: Rewritten) -> Cleaned:
        folder = self._substitutes.name(str(path.resolve().parent))
        counts = Counter({(attribute, "removed"): count for attribute, count in result.removed.items()})
        return Cleaned(("files", folder, self._stand_in(path) + result.suffix), result.pieces, name, counts)

    def _stand_in(self, path: Path) -> str:
        suffix = _suffix(path)
        return self._substitutes.name(path.name.removesuffix(suffix))


def _suffix(path: Path) -> str:
    """The ending that tells the format, of a known list: an unknown one could be part of a name."""
    name = path.name.lower()
    for suffix in (".img.gz", ".raw.gz", ".hdr.gz", ".nii.gz", ".zraw", ".raw", ".img"):
        if name.endswith(suffix):
            return path.name[-len(suffix) :]
    known = (
        ".nii",
        ".hdr",
        ".png",
        ".jpg",
        ".jpeg",
        ".tif",
        ".tiff",
        ".svs",
        ".nrrd",
        ".nhdr",
        ".mha",
        ".mhd",
    )
    return path.suffix if path.suffix.lower() in (*known, ".npy") else ""
