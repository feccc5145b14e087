"""Memory for batches: used again where nobody holds one any more, shared where another process takes it."""

from __future__ import annotations

import math
import weakref
from collections import defaultdict
from typing import Any

import torch
from numpy.typing import NDArray
from torch.utils.data import get_worker_info

_KEPT = 8
"""Free buffers of a size that are kept."""


class Buffers:
    """Gives tensors whose content is undefined.

    Fresh memory costs the system a fault a page, so a buffer is given again; never before all tensors that
    were made of it are gone, so that what somebody holds does not change.
    """

    def __init__(self, *, pinned: bool = False) -> None:
        """`pinned` memory can be copied to a GPU while the processor goes on."""
        self._pinned = pinned
        self._free: dict[int, list[NDArray[Any]]] = defaultdict(list)
        self._sent = get_worker_info() is not None

    def take(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """A tensor of a shape and type."""
        size = math.prod(shape) * dtype.itemsize
        if self._sent:
            # The loader's process takes the memory over as it is; nothing tells when it is done with it.
            storage = torch.UntypedStorage._new_shared(size)  # type: ignore[no-untyped-call]
            return torch.empty(0, dtype=torch.uint8).set_(storage).view(dtype).view(shape)
        try:
            memory = self._free[size].pop()
        except IndexError:
            memory = torch.empty(size, dtype=torch.uint8, pin_memory=self._pinned).numpy()
        lent = memory.view()
        weakref.finalize(lent, self._back, memory).atexit = False
        return torch.from_numpy(lent).view(dtype).view(shape)

    def _back(self, memory: NDArray[Any]) -> None:
        free = self._free[memory.nbytes]
        if len(free) < _KEPT:
            free.append(memory)
