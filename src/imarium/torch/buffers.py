"""Memory for batches, used again where nobody holds a batch any more.

Fresh memory costs the system a fault a page, and shared memory many times that: as much as decoding.
"""

from __future__ import annotations

import math
import os
import uuid
import weakref
from collections import defaultdict
from contextlib import suppress
from typing import Any, Protocol

import torch
from numpy.typing import NDArray

_KEPT = 8
"""Free buffers of a size that are kept."""
_SLOTS = 32
"""Pieces of shared memory of a worker; when all are held, a batch has memory of its own."""


class Memory(Protocol):
    """Gives tensors whose content is undefined."""

    def take(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """A tensor of a shape and type."""


class Buffers:
    """Memory of this process. It is given again once all tensors that were made of it are gone, so what
    somebody holds does not change."""

    def __init__(self, *, pinned: bool = False) -> None:
        """`pinned` memory can be copied to a GPU while the processor goes on."""
        self._pinned = pinned
        self._free: dict[int, list[NDArray[Any]]] = defaultdict(list)

    def take(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """A tensor of a shape and type."""
        size = math.prod(shape) * dtype.itemsize
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


class Lender:
    """Shared memory of a worker, of which the process of the loader makes tensors.

    A slot is lent until the tensor that the other process made of it is gone there, which its flag tells.
    """

    def __init__(self) -> None:
        self.key = uuid.uuid4().hex
        self.flags = _shared(_SLOTS)
        self.flags.zero_()
        self._lent = self.flags.numpy()
        self._slots: list[torch.Tensor] = []
        self._sent: set[int] = set()
        self._numbers: dict[int, int] = {}
        self._kept: set[int] = set()
        """Slots that were taken and not lent."""

    def begin(self) -> None:
        """A new epoch: what the last one took and did not lend, since it was broken off, is free."""
        for number in self._kept:
            self._lent[number] = 0
        self._kept.clear()

    def take(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """A tensor of a shape and type."""
        size = math.prod(shape) * dtype.itemsize
        for number, slot in enumerate(self._slots):
            if not self._lent[number] and slot.nbytes >= size:
                break
        else:
            number = len(self._slots)
            if number == _SLOTS:
                return torch.empty(shape, dtype=dtype)
            slot = _shared(size)
            self._slots.append(slot)
        self._lent[number] = 1
        self._kept.add(number)
        self._numbers[slot.data_ptr()] = number
        return slot[:size].view(dtype).view(shape)

    def lend(self, tensor: torch.Tensor) -> torch.Tensor | Loan:
        """What goes to the other process in place of a tensor that `take` gave."""
        number = self._numbers.get(tensor.data_ptr())
        if number is None:
            return tensor
        self._kept.discard(number)
        return Loan(self, number, tensor.shape, tensor.dtype)

    def slot_to_send(self, number: int) -> torch.Tensor | None:
        """The memory of a slot, the first time."""
        if number in self._sent:
            return None
        self._sent.add(number)
        return self._slots[number]


class Loan:
    """A tensor on its way to another process, where it arrives as a `torch.Tensor`."""

    def __init__(self, lender: Lender, number: int, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        self._lender, self._number, self._shape, self._dtype = lender, number, tuple(shape), dtype

    def __reduce__(self) -> Any:
        lender = self._lender
        sent = lender.slot_to_send(self._number)
        first = None if sent is None else (os.getpid(), lender.flags, sent)
        return _received, (lender.key, self._number, first, self._shape, self._dtype)


class _Borrowed:
    """What a process knows of a worker's shared memory."""

    def __init__(self, process: int, flags: torch.Tensor) -> None:
        self.process, self.flags = process, flags.numpy()
        self.slots: dict[int, NDArray[Any]] = {}


_borrowed: dict[str, _Borrowed] = {}


def _received(
    key: str,
    number: int,
    first: tuple[int, torch.Tensor, torch.Tensor] | None,
    shape: tuple[int, ...],
    dtype: torch.dtype,
) -> torch.Tensor:
    if first is not None:
        process, flags, slot = first
        if key not in _borrowed:
            for other in [other for other, worker in _borrowed.items() if not _runs(worker.process)]:
                del _borrowed[other]
            _borrowed[key] = _Borrowed(process, flags)
        _borrowed[key].slots[number] = slot.numpy()
    worker = _borrowed[key]
    lent = worker.slots[number][: math.prod(shape) * dtype.itemsize].view()
    weakref.finalize(lent, _returned, worker.flags, number, os.getpid()).atexit = False
    return torch.from_numpy(lent).view(dtype).view(shape)


def _returned(flags: NDArray[Any], number: int, process: int) -> None:
    if os.getpid() == process:  # not in a fork, whose copy of the tensor is not the one that is held
        flags[number] = 0


def _runs(process: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(process, 0)
        return True
    return False


def _shared(size: int) -> torch.Tensor:
    storage = torch.UntypedStorage._new_shared(size)  # type: ignore[no-untyped-call]
    return torch.empty(0, dtype=torch.uint8).set_(storage)


_lender: Lender | None = None


def lender_of_process() -> Lender:
    """The one of this worker, for all its epochs, of which one begins."""
    global _lender
    if _lender is None:
        _lender = Lender()
    _lender.begin()
    return _lender
