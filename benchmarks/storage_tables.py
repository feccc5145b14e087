"""The tables of storage.py, on the screen and as docs/design/storage.md."""

from __future__ import annotations

import argparse
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from common import Row
from storage_results import Dataset, ImageResult, Size

SIZE_TARGET = 1.02
SAVING_TARGETS = {"CT": 0.03, "MR": 0.07, "MR, skull-stripped": 0.50}
"""By how much stored frames must be smaller than with the peer's settings."""
LABELS_TARGET = 3.0
"""How many times smaller than gzip NIfTI label maps must be."""

MOST_LISTED = 12
"""Images of a dataset that are listed one by one."""
CODECS = ("gzip NIfTI", "JPEG-LS", "JPEG XL", "PNG", "peer")


def by_kind(dataset: Dataset) -> dict[str, list[ImageResult]]:
    groups: dict[str, list[ImageResult]] = defaultdict(list)
    for image in dataset.images:
        groups[image.kind].append(image)
    return dict(sorted(groups.items()))


def total(images: Iterable[ImageResult], codec: str) -> Size:
    size = Size()
    for image in images:
        size.add(image.codecs.get(codec, Size()))
    return size


def rows_of(found: Sequence[Dataset]) -> list[Row]:
    """The targets, dataset by dataset and over all."""
    rows = []
    for dataset in found:
        rows.append(Row(f"{dataset.name}: stored, of the source", dataset.ratio, "", SIZE_TARGET, True))
    everything = [image for dataset in found for image in dataset.images]
    groups = [(dataset.name, kind, images) for dataset in found for kind, images in by_kind(dataset).items()]
    for kind in (*SAVING_TARGETS, "labels"):
        groups.append(("all", kind, [image for image in everything if image.kind == kind]))
    for name, kind, images in groups:
        peer, packed = total(images, "peer"), total(images, "gzip NIfTI")
        if kind in SAVING_TARGETS and peer.frames:
            saving = 1 - peer.ours / peer.theirs
            rows.append(Row(f"{name}, {kind}: smaller than the peer's", saving, "", SAVING_TARGETS[kind]))
        if kind == "labels" and packed.frames:
            rows.append(
                Row(
                    f"{name}, labels: times smaller than gzip NIfTI",
                    packed.theirs / packed.ours,
                    "x",
                    LABELS_TARGET,
                )
            )
    return rows


def table(head: Sequence[str], body: Iterable[Sequence[str]]) -> list[str]:
    return [
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
        *("| " + " | ".join(line) + " |" for line in body),
        "",
    ]


def verdict(row: Row) -> str:
    return "met" if row.met else "**MISSED**"


def size_lines(found: Sequence[Dataset]) -> list[str]:
    body = []
    for dataset in found:
        row = Row("", dataset.ratio, "", SIZE_TARGET, True)
        refused = sum(dataset.refused.values())
        body.append(
            [
                dataset.name,
                f"{dataset.taken}",
                f"{dataset.known} / {refused}",
                f"{dataset.series}",
                f"{dataset.source / 1e6:.3f}",
                f"{dataset.stored / 1e6:.3f}",
                f"{dataset.ratio:.3f}",
                verdict(row),
            ]
        )
    source, stored = sum(item.source for item in found), sum(item.stored for item in found)
    overall = Row("", stored / source, "", SIZE_TARGET, True)
    body.append(
        [
            "**all**",
            f"{sum(item.taken for item in found)}",
            "",
            f"{sum(item.series for item in found)}",
            f"{source / 1e6:.3f}",
            f"{stored / 1e6:.3f}",
            f"{overall.value:.3f}",
            verdict(overall),
        ]
    )
    head = ["dataset", "files taken", "known / refused", "series", "source MB", "stored MB", "stored/source"]
    return table([*head, f"target <= {SIZE_TARGET:g}"], body)


def codec_lines(found: Sequence[Dataset]) -> list[str]:
    body = []
    for dataset in found:
        for kind, images in by_kind(dataset).items():
            frames, raw = sum(image.sampled for image in images), sum(image.raw for image in images)
            cells = []
            for codec in CODECS:
                size = total(images, codec)
                partial = "" if size.frames == frames else f" ({size.frames} of {frames})"
                cells.append(f"{size.theirs / size.ours:.3f}{partial}" if size.frames else "-")
            ours = sum(image.ours for image in images)
            types = ", ".join(sorted({_type_name(image) for image in images}))
            body.append([dataset.name, kind, types, f"{len(images)} / {frames}"])
            body[-1] += [f"{raw / 1e6:.2f}", f"{100 * ours / raw:.1f} %", *cells, target_cell(kind, images)]
    head = ["dataset", "kind", "values", "images / frames", "raw MB", "Imarium, of raw", *CODECS, "target"]
    return table(head, body)


def _type_name(image: ImageResult) -> str:
    return image.dtype if image.samples == 1 else f"{image.samples} x {image.dtype}"


def target_cell(kind: str, images: Sequence[ImageResult]) -> str:
    peer, packed = total(images, "peer"), total(images, "gzip NIfTI")
    if kind in SAVING_TARGETS and peer.frames:
        row = Row("", 1 - peer.ours / peer.theirs, "", SAVING_TARGETS[kind])
        wanted = f"{100 * SAVING_TARGETS[kind]:.0f} %"
        return f"{100 * row.value:.1f} % below the peer, at least {wanted}: {verdict(row)}"
    if kind == "labels" and packed.frames:
        row = Row("", packed.theirs / packed.ours, "x", LABELS_TARGET)
        return f"{row.value:.2f} times below gzip, at least {LABELS_TARGET:g}: {verdict(row)}"
    return ""


def level_lines(found: Sequence[Dataset]) -> list[str]:
    body = []
    for dataset in found:
        for kind, images in by_kind(dataset).items():
            deepest = max(len(image.levels) for image in images)
            for number in range(deepest):
                body.append([dataset.name, kind, *level_cells(images, number)])
    head = ["dataset", "kind", "level", "images", "largest", "MB (of full)", "SSIM", "lowest", "PSNR dB"]
    return table([*head, "SSIM, same centres", "labels equal"], body)


def level_cells(images: Sequence[ImageResult], number: int) -> list[str]:
    having = [image for image in images if len(image.levels) > number]
    levels = [image.levels[number] for image in having]
    size, full = sum(level.bytes for level in levels), sum(image.levels[0].bytes for image in having)
    largest = max(levels, key=lambda level: level.rows * level.columns)
    ssim = [level.ssim for level in levels if level.ssim is not None]
    return [
        str(number),
        str(len(levels)),
        f"{largest.columns}x{largest.rows}",
        f"{size / 1e6:.3f} ({100 * size / max(1, full):.1f} %)",
        spread(ssim, 4),
        f"{min(ssim):.4f}" if ssim else "",
        spread([level.psnr for level in levels if level.psnr is not None], 1),
        spread([level.ssim_same_centres for level in levels if level.ssim_same_centres is not None], 4),
        spread([level.labels_equal for level in levels if level.labels_equal is not None], 4),
    ]


def spread(values: Sequence[float], digits: int) -> str:
    """Mean and standard deviation over images."""
    if not values:
        return ""
    deviation = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.{digits}f}{deviation}"


def peer_lines(found: Sequence[Dataset]) -> list[str]:
    body = []
    for dataset in found:
        for kind, images in by_kind(dataset).items():
            fails = sum((Counter(image.peer_fails) for image in images), Counter[str]())
            frames = sum(image.sampled for image in images)
            body += [
                [dataset.name, kind, f"{count} of {frames} frames", reason] for reason, count in fails.items()
            ]
    return table(["dataset", "kind", "how much", "why"], body) if body else ["Nowhere in these data.", ""]


def image_lines(found: Sequence[Dataset]) -> list[str]:
    """Image by image, where a dataset has few."""
    body = []
    for dataset in found:
        if len(dataset.images) > MOST_LISTED:
            continue
        for image in dataset.images:
            place = (
                image.name if not image.name.startswith(dataset.name) else image.name[len(dataset.name) + 1 :]
            )
            quality = [
                f"{level.level}: {100 * level.share:.1f} %"
                + (f", {level.ssim:.4f}" if level.ssim is not None else "")
                + (f", {level.psnr:.1f} dB" if level.psnr is not None else "")
                for level in image.levels[1:]
            ]
            cells = [dataset.name, place, _type_name(image), f"{image.sampled} / {image.frames}"]
            body.append([*cells, f"{100 * image.ours / image.raw:.1f} %", image.lane, "; ".join(quality)])
    return table(["dataset", "first file", "values", "frames", "of raw", "lane", "levels"], body)


HEAD = """\
# Storage

Made by `{command}`
in {seconds:.0f} seconds; do not edit. At most {frames} frames a series and {series} series a dataset are
measured, spread evenly; sizes of whole datasets are of all files.

## Sizes of datasets

Source: the files that were taken, as they came (often compressed). Stored: all objects, with headers and
indexes. Files that repeat others (known) count on neither side.

"""
CODECS_HEAD = """\
## Beside other codecs

How many times larger than Imarium's the same frames are: above 1, Imarium is smaller. Frames that a codec
cannot hold exactly are left out on both sides, with the number that remains in parentheses. Signed and wide
integers are shifted into 8 or 16 unsigned bits for JPEG-LS, JPEG XL and PNG; the peer's settings are HTJ2K of
unsigned 16-bit values whose smallest level is 64 (one halving at least). All code one frame at a time, but
gzip, whose file holds all sampled frames of a series.

"""
LEVELS_HEAD = """\
## Levels

Bytes of whole series, in all and of full resolution. SSIM (7x7 window) and PSNR against Pillow's bilinear,
antialiased downsampling of the full frame to the same size, with the range of the full frame's values; mean
and standard deviation over images, each of which is the mean of its sampled frames. Frames of a single value
are left out, as are, from PSNR, frames that equal the reference. Colour: all samples. Label maps have no
SSIM: given is how many pixels equal the nearest one of the full frame.

Pixels of levels are centred on every 2^k-th pixel ([geometry](geometry-of-levels.md)), those of a resized
image on the middle of the pixels that they cover. "Same centres" compares with a resize to the level's own
grid: what it gains is that shift, which is no loss.

"""
IMAGES_HEAD = """\
## Image by image

Datasets of at most {most} measured images; all are in what `--json` writes. Levels: share of the bytes, SSIM,
PSNR.

"""


def markdown(found: Sequence[Dataset], arguments: argparse.Namespace, seconds: float) -> str:
    """The page, whole."""
    shown = ["../shared/data" if path.name == "data" else path.name for path in arguments.paths]
    shown += [f"--without {name}" for name in arguments.without]
    command = f"python benchmarks/storage.py {' '.join(shown)} --markdown docs/design/storage.md"
    refused = [[item.name, str(count), reason] for item in found for reason, count in item.refused.items()]
    parts = [
        HEAD.format(command=command, seconds=seconds, frames=arguments.limit, series=arguments.series),
        *_joined(size_lines(found)),
        CODECS_HEAD,
        *_joined(codec_lines(found)),
        LEVELS_HEAD,
        *_joined(level_lines(found)),
        "## Where the peer's settings would refuse or damage\n\n",
        *_joined(peer_lines(found)),
        IMAGES_HEAD.format(most=MOST_LISTED),
        *_joined(image_lines(found)),
        "## Refused\n\n",
        *_joined(table(["dataset", "files", "reason"], refused)),
    ]
    return "".join(parts).rstrip() + "\n"


def _joined(lines: Sequence[str]) -> list[str]:
    return [line + "\n" for line in lines]
