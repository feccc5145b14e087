"""Decoding on a GPU with nvImageCodec: many frames at once, the same integers as on the processor.

It leaves no resolutions out, and decodes signed integers of up to 16 bits. So a level goes to it as a
codestream of its own, and what it does not decode (colours, wide integers, the other lanes) stays on the
processor.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import get_worker_info

from imarium.codec import htj2k
from imarium.codec.reduced import reduced
from imarium.errors import InvalidRequestError
from imarium.torch.fetching import Encoded

DecoderChoice = Literal["auto", "cpu", "gpu"]

_PROOFS = ((61, 97), (256, 200))
"""Rows and columns of the frames with which a GPU shows that it decodes as the processor does."""


class GpuDecoder:
    """nvImageCodec on the current GPU. Raises InvalidRequestError without it, or if its pixels are wrong."""

    def __init__(self) -> None:
        try:
            from nvidia import nvimgcodec  # noqa: PLC0415 - an extra, of machines with a GPU
        except ImportError as error:
            raise InvalidRequestError(
                "decoding on a GPU needs more libraries: pip install 'imarium[gpu]'"
            ) from error
        if not torch.cuda.is_available():
            raise InvalidRequestError("there is no GPU that PyTorch can use")
        self._library = nvimgcodec
        self._decoder = nvimgcodec.Decoder(torch.cuda.current_device())
        self._params = nvimgcodec.DecodeParams(
            allow_any_depth=True, color_spec=nvimgcodec.ColorSpec.UNCHANGED, apply_exif_orientation=False
        )
        self._prove()

    def decode(self, streams: Sequence[bytes]) -> list[NDArray[Any] | None]:
        """(rows, columns) of codestreams of one component; None for those that it does not decode."""
        made = self._decoder.decode(
            [self._library.CodeStream(stream) for stream in streams], params=self._params
        )
        return [None if image is None else np.asarray(image.cpu())[..., 0] for image in made]

    def ahead(self, frames: Sequence[Encoded]) -> None:
        """Decode those frames that it can; they know it."""
        chosen = [frame for frame in frames if suits(frame)]
        if not chosen:
            return
        streams = [reduced(b"".join(frame.parts()), frame.plan.level) for frame in chosen]
        for frame, pixels in zip(chosen, self.decode(streams), strict=True):
            if pixels is not None and pixels.shape == frame.plan.shape:
                frame.decoded = pixels

    def _prove(self) -> None:
        random = np.random.default_rng(0)
        for shape in _PROOFS:
            frame = random.integers(-1024, 3072, shape)
            parts = htj2k.encode(frame, 2, low=-1024, high=3071, color_transform=False)
            assert parts is not None
            for level in range(3):
                prefix = b"".join(parts[: 3 - level])
                (found,) = self.decode([reduced(prefix, level)])
                if found is None or not np.array_equal(found, htj2k.decode(prefix, level)):
                    raise InvalidRequestError(
                        "nvImageCodec does not decode to the same pixels as the processor on this machine"
                    )


def suits(frame: Encoded) -> bool:
    """Whether a frame is one for the GPU."""
    return frame.plain and len(frame.plan.shape) == 2 and htj2k.coded_dtype(frame.low, frame.high) is np.int16


def gpu_of(choice: DecoderChoice) -> GpuDecoder | None:
    """A decoder on the GPU, if one is wanted and there.

    "auto" takes it in the main process only: forks cannot use the GPU of their parent, and several processes
    would share it. Raises InvalidRequestError for "gpu" where there is none.
    """
    if choice == "cpu" or (choice == "auto" and not _promising()):
        return None
    try:
        return GpuDecoder()
    except InvalidRequestError as error:
        if choice == "gpu":
            raise
        warnings.warn(f"frames are decoded on the processor: {error}", stacklevel=2)
        return None


def _promising() -> bool:
    if get_worker_info() is not None or not torch.cuda.is_available():
        return False
    try:
        from nvidia import nvimgcodec  # noqa: PLC0415 - see above
    except ImportError:
        return False
    return nvimgcodec is not None
