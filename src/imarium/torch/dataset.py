"""The data set: samples, or whole batches, streamed from packs."""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed
from torch.utils.data import IterableDataset, default_collate, get_worker_info

from imarium.client import Client, connect
from imarium.client import open as open_place
from imarium.errors import InvalidRequestError
from imarium.manifest import Manifest
from imarium.model import Selection
from imarium.torch.buffers import Buffers, Lender, Memory, lender_of_process
from imarium.torch.chunks import Chunk, decoded
from imarium.torch.decoding import Decoder, Form, Window, check_form
from imarium.torch.fetching import Fetcher
from imarium.torch.gpu import DecoderChoice, gpu_of
from imarium.torch.items import Items, Kind, Size, check_size
from imarium.torch.labels import Label, labels_of
from imarium.torch.order import Order, Share, Split, facts_of
from imarium.torch.state import Progress

_CHUNK_SAMPLES = 16
"""Single samples that are decoded together."""
_FEW_PACKS = 32
"""The indexes of so many packs are read when the data set is made, so that no worker has to."""


class StreamingDataset(IterableDataset[Any]):
    """Images, slices or volumes of a selection, at the resolution that is trained on, for a DataLoader.

    Nothing is downloaded beforehand, and no more is read than the bytes of that resolution. It is iterated
    and not indexed, since bytes come in the order in which packs hold them: a sampler that jumps about would
    need a request for every sample.

    Samples are tensors of (channels, rows, columns), of volumes (channels, slices, rows, columns); with
    `label` or `info` they are tuples of that and what was asked for. An epoch puts packs in a random order
    and shuffles samples within a buffer; it is a pure function of `seed`, the epoch that `set_epoch` says,
    and who shares the work: workers of a DataLoader, and ranks.
    """

    def __init__(
        self,
        source: str | Path | Client,
        selection: Selection | str | None = None,
        *,
        manifest: Manifest | str | Path | None = None,
        kind: Kind = "image",
        size: Size | None = None,
        level: int | None = None,
        upsample: bool = False,
        window: Window = None,
        dtype: torch.dtype = torch.float32,
        channels: Literal[1, 3] | None = None,
        transform: Callable[[torch.Tensor], Any] | None = None,
        label: Label = None,
        info: bool = False,
        shuffle: bool = True,
        seed: int = 0,
        buffer: int = 1024,
        buffer_bytes: int = 32 << 20,
        batch_size: int | None = None,
        split: Split = "pad",
        rank: int | None = None,
        ranks: int | None = None,
        threads: int | None = None,
        pin_memory: bool = False,
        decoder: DecoderChoice = "auto",
        **options: Any,
    ) -> None:
        """`source` is a client, the address of a server, or what `imarium.open` opens; `options` are those of
        `imarium.connect` or `imarium.open` (token, cache, store, ...).

        What: `selection`, which is asked of the source now, or a `manifest`, or its file, that was made
        before. It is a snapshot: series that come later are not in it, and packs never change, so the same
        manifest gives the same pixels for ever; one that is gone is an error. `kind` is "image" for series of
        one frame, "slice" for every frame, "volume" for every volume (a series with a time axis has several).

        At which resolution: `level`, where 0 is the full one and every series has its own shape; or `size`,
        the smallest level that is large enough and then linear interpolation with antialiasing. A number is
        the length of the shorter side, of which the middle square is taken; (rows, columns) is exactly that;
        volumes also take (slices, rows, columns). More than the full resolution needs `upsample`.

        As which numbers: `dtype` of floating point gives values in the series' own unit (HU for CT), or with
        `window` from 0 to 1: (center, width), or "default" for the series' own window or else the range of
        its bits; MONOCHROME1 is inverted then. An integer `dtype` gives stored values as they are. `channels`
        makes grey of colours or repeats grey. `transform` is applied to each tensor, in order, by whoever
        iterates.

        And what else: `label` is a label's key, whose values become numbers (`classes` names them), or a
        function of the manifest's row that gives anything that can be collated. `info` adds
        {"series": UID, "frame": first frame}.

        In which order: `shuffle`, `seed`; `buffer` samples are shuffled together, of at most `buffer_bytes`
        encoded (as many again are on their way). With `batch_size`, that of the DataLoader, batches are dealt
        to its workers in turn, and the epoch is the same for any number of workers; without, every worker has
        a stretch of the packs. `rank` of `ranks` are those of torch.distributed, if it is initialised.
        `split` says what becomes of samples that do not divide evenly: "pad" gives some to two ranks, "drop"
        leaves some out, "exact" gives some ranks one more.

        How: `threads` decode (all processors in the main process, one in a worker). `pin_memory` is for
        batches made in the main process; with workers it is the DataLoader's option. `decoder` is "cpu",
        "gpu" (nvImageCodec, or an error) or "auto", which is the GPU in the main process where there is one.

        Raises InvalidRequestError, LevelError for a resolution that some series do not have, and what asking
        the source raises.
        """
        super().__init__()
        check_size(size, level, kind)
        client = source if isinstance(source, Client) else _opened(source, options)
        if not isinstance(manifest, Manifest):
            manifest = client.manifest(selection) if manifest is None else Manifest.read(Path(manifest))
        elif selection is not None:
            raise InvalidRequestError("give a selection or a manifest, not both")
        self.manifest = manifest
        """What the data set is made of."""
        self.classes: tuple[str, ...]
        """Names of the classes that labels are numbers of, sorted."""
        self._labels, self.classes = labels_of(manifest, label)
        self._items = Items.of(manifest, kind, level, size, upsample=upsample)
        self._form = Form(size, window, dtype, channels, kind == "volume")
        check_form(self._form, manifest, self._items)
        self._share = _share_of_process(rank, ranks)
        self._given_rank = rank is not None or ranks is not None
        if buffer < 1 or buffer_bytes < 1 or (batch_size is not None and batch_size < 1):
            raise InvalidRequestError("buffer, buffer_bytes and batch_size are at least 1")
        if split not in ("pad", "drop", "exact"):
            raise InvalidRequestError(f'split is "pad", "drop" or "exact", not {split!r}')
        self._order = Order(
            packs=self._items.first_samples(),
            rows=self._items.samples,
            weights=self._items.weights,
            seed=seed,
            shuffle=shuffle,
            window=buffer,
            window_bytes=buffer_bytes,
            split=split,
            batch=batch_size,
        )
        self._transform, self._info, self._threads = transform, info, threads
        self._pinned = _can_pin(pin_memory)
        if decoder not in ("auto", "cpu", "gpu"):
            raise InvalidRequestError(f'a decoder is "auto", "cpu" or "gpu", not {decoder!r}')
        self._decoder = decoder
        client.core.know(manifest)
        self._origin = client.core.origin
        self._fetcher = Fetcher(self._items, self._origin)
        # Shared with workers that outlive an epoch.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]
        self._resume: Progress | None = None
        self._progress = Progress(0)
        if len(self._items.packs) <= _FEW_PACKS:
            self.prepare()

    def __len__(self) -> int:
        """Samples of this rank in an epoch."""
        return self._order.length(self._share)

    def prepare(self) -> None:
        """Read where all frames lie, which is done already where the packs are few. Workers that are started
        afterwards need not do it themselves, in every epoch again if they do not persist."""
        self._fetcher.read_tables()

    def batches(self, batch_size: int, *, drop_last: bool = False) -> BatchedDataset:
        """The same in whole batches, which are decoded into one piece of memory: for a DataLoader with
        `batch_size=None`, or to be iterated without one. `drop_last` leaves out a batch that is not full."""
        if batch_size < 1:
            raise InvalidRequestError("a batch has at least one sample")
        return BatchedDataset(self, batch_size, drop_last=drop_last)

    # --- where in training --------------------------------------------------------------------------

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next: each has an order of its own. Workers that persist hear of it."""
        if epoch < 0:
            raise InvalidRequestError("epochs count from 0")
        self._epoch.fill_(epoch)
        if self._resume is not None and self._resume.epoch != epoch:
            self._resume = None
        self._progress = Progress(epoch)

    def state_dict(self, used: int | None = None) -> dict[str, Any]:
        """How far the iteration of this process is; JSON-able.

        With a plain DataLoader of several workers, the main process does not see how far they are: count the
        samples of this rank that were used in the epoch, and say so (`used`), which needs `batch_size`.
        """
        progress = self._progress
        if used is not None:
            if self._order.batch is None:
                raise InvalidRequestError("state_dict(used=...) needs a data set with batch_size")
            progress = Progress(int(self._epoch), used)
        return progress.to_json(self._facts)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Have the next iteration of that epoch go on where a state was taken.

        Workers hear of it that start afterwards. Raises InvalidRequestError for a state of another manifest,
        seed, rank or order.
        """
        self._resume = self._progress = Progress.from_json(state, self._facts)
        self._epoch.fill_(self._resume.epoch)

    @property
    def _facts(self) -> dict[str, Any]:
        """What the order of samples depends on."""
        return {
            "manifest": self.manifest.digest,
            "samples": len(self),
            "rank": self._share.rank,
            "ranks": self._share.ranks,
            **facts_of(self._order),
        }

    # --- iterating ----------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Any]:
        """Samples of an epoch."""
        threads = self._threads_here()
        size = threads if self._form.volume else _CHUNK_SAMPLES
        return self._samples(self._chunks(Buffers(), size, threads))

    def _samples(self, chunks: Iterator[Chunk]) -> Iterator[Any]:
        for chunk in chunks:
            for number in range(len(chunk.samples)):
                self._advance(1)
                yield self._sample(chunk, number)

    def _chunks(self, memory: Memory, size: int, threads: int) -> Iterator[Chunk]:
        """Decoded samples, so many together; counts nothing."""
        share = self._share_here()
        epoch, resume = int(self._epoch), self._resume
        self._resume = None
        if resume is None or resume.epoch != epoch:
            resume = Progress(epoch)
        resume.check(share)
        self._progress = Progress(epoch, resume.used, resume.given, share.worker, share.workers)
        walk = self._order.walk(epoch, share, resume.used, resume.given)
        decoder = Decoder(self._items, self._form, gpu_of(self._decoder))
        return decoded(self._fetcher.windows(walk), decoder, memory, size, threads)

    def _advance(self, samples: int) -> None:
        now = self._progress
        self._progress = Progress(now.epoch, now.used, now.given + samples, now.worker, now.workers)

    def _sample(self, chunk: Chunk, number: int) -> Any:
        image = chunk.images[number]
        if self._transform is not None:
            image = self._transform(image)
        extra = self._beside(chunk, number)
        return (image, *extra) if extra else image

    def _batch(self, chunk: Chunk, lender: Lender | None) -> Any:
        images: Any = chunk.images
        if lender is not None:
            images = (
                lender.lend(images) if isinstance(images, torch.Tensor) else list(map(lender.lend, images))
            )
        if self._transform is not None:
            made = [self._transform(image) for image in images]
            alike = all(isinstance(one, torch.Tensor) and one.shape == made[0].shape for one in made)
            images = torch.stack(made) if alike else made
        if self._labels is None and not self._info:
            return images
        extra = [self._beside(chunk, number) for number in range(len(chunk.samples))]
        return (images, *(default_collate(list(one)) for one in zip(*extra, strict=True)))

    def _beside(self, chunk: Chunk, number: int) -> list[Any]:
        sample = chunk.samples[number]
        extra = [] if self._labels is None else [self._labels[sample.row]]
        if self._info:
            extra.append({"series": self._items.uid(sample.row), "frame": sample.first})
        return extra

    def _share_here(self) -> Share:
        worker = get_worker_info()
        if worker is None:
            self._check_ranks()
            return self._share
        return Share(self._share.rank, self._share.ranks, worker.id, worker.num_workers)

    def _check_ranks(self) -> None:
        if not self._given_rank and _share_of_process(None, None) != self._share:
            raise InvalidRequestError(
                "torch.distributed was initialised after the data set was made; make it afterwards, or give "
                "rank= and ranks="
            )

    def _threads_here(self) -> int:
        if self._threads is not None:
            return max(1, self._threads)
        if get_worker_info() is not None:
            return 1
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class BatchedDataset(IterableDataset[Any]):
    """Whole batches of a `StreamingDataset`: made by its `batches`. Takes the same states and epochs."""

    def __init__(self, dataset: StreamingDataset, batch_size: int, *, drop_last: bool) -> None:
        super().__init__()
        self._dataset = copy.copy(dataset)
        self._dataset._order = replace(dataset._order, batch=batch_size)
        self._size, self._drop = batch_size, drop_last

    def __len__(self) -> int:
        """Batches of this rank in an epoch."""
        samples = len(self._dataset)
        return samples // self._size if self._drop else -(-samples // self._size)

    def __iter__(self) -> Iterator[Any]:
        """Batches of an epoch: tensors of (samples, channels, ...), or lists of tensors where shapes differ;
        and with them what was asked for."""
        dataset = self._dataset
        lender = lender_of_process() if get_worker_info() is not None and dataset._transform is None else None
        memory = lender or Buffers(pinned=dataset._pinned)
        return self._batches(dataset._chunks(memory, self._size, dataset._threads_here()), lender)

    def _batches(self, chunks: Iterator[Chunk], lender: Lender | None) -> Iterator[Any]:
        for chunk in chunks:
            if len(chunk.samples) < self._size and self._drop:
                return
            self._dataset._advance(len(chunk.samples))
            yield self._dataset._batch(chunk, lender)

    def set_epoch(self, epoch: int) -> None:
        """See `StreamingDataset.set_epoch`."""
        self._dataset.set_epoch(epoch)

    def state_dict(self, used: int | None = None) -> dict[str, Any]:
        """See `StreamingDataset.state_dict`; `used` counts samples, not batches."""
        return self._dataset.state_dict(used)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `StreamingDataset.load_state_dict`."""
        self._dataset.load_state_dict(state)


def _opened(source: str | Path, options: dict[str, Any]) -> Client:
    if str(source).startswith(("http://", "https://")):
        return connect(str(source), **options)
    return open_place(source, **options)


def _share_of_process(rank: int | None, ranks: int | None) -> Share:
    """As it is given, or as torch.distributed says. Raises InvalidRequestError."""
    if (rank is None) != (ranks is None):
        raise InvalidRequestError("give rank= and ranks=, or neither")
    if rank is not None and ranks is not None:
        return Share(rank, ranks)
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return Share(torch.distributed.get_rank(), torch.distributed.get_world_size())
    return Share()


def _can_pin(asked: bool) -> bool:
    if asked and not torch.accelerator.is_available():
        warnings.warn("there is no accelerator, so memory is not pinned", stacklevel=3)
        return False
    return asked and get_worker_info() is None
