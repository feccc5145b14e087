#!/usr/bin/env python3
"""Damages real files and has every reader read them: only ImariumError may leave a reader.

Reports crashes, hangs, memory beyond bounds, other exceptions, and frames that differ from the facts of their
series; exits with 1 if there was any. Every failure is shown once with the command that repeats it, and its
files are kept below build/fuzz/.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pydicom.data

from imarium.errors import ImariumError
from imarium.formats import readers, recognise
from imarium.formats.base import Reader
from imarium.testing.fuzzing import LARGEST_SEED, Campaign, Failure, Sample
from imarium.testing.samples import samples_of

KEPT = Path(__file__).parent.parent / "build" / "fuzz"
BUNDLED = Path(pydicom.data.__file__).parent / "test_files"


def options() -> argparse.Namespace:
    names = [reader.name for reader in readers()]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="for all readers together (60)")
    parser.add_argument("--cases", type=int, help="as many cases a reader, however long it takes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reader", action="append", choices=names, help="only this one; may be repeated")
    parser.add_argument(
        "--corpus", action="append", default=[], type=Path, metavar="DIR", help="more files to damage"
    )
    parser.add_argument("--case", type=int, metavar="N", help="run this one case again")
    return parser.parse_args()


def corpus_of(reader: Reader, folders: Sequence[Path], made: Path) -> list[Sample]:
    """Files made for this format, pydicom's for DICOM, and those of the folders that are of this format."""
    made.mkdir()
    samples = []
    for path in samples_of(reader).small(made):
        files = [path] if path.parent == made else sorted(path.parent.iterdir())
        samples.append(Sample(path, tuple(files)))
    places = [*([BUNDLED] if reader.name == "dicom" else []), *folders]
    for folder in places:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.stat().st_size <= LARGEST_SEED and recognised(path) == reader.name:
                samples.append(Sample(path, (path, *companions(reader, path))))
    return samples


def companions(reader: Reader, path: Path) -> tuple[Path, ...]:
    """The files with the data of a detached header, if they lie right beside it and are small enough."""
    try:
        found = reader.companions(path)
    except ImariumError:
        return ()
    small = sum(file.stat().st_size for file in found) <= LARGEST_SEED
    return found if small and all(file.parent == path.parent for file in found) else ()


def recognised(path: Path) -> str | None:
    try:
        return recognise(path).name
    except ImariumError:
        return None


def keep(failure: Failure, campaign: Campaign, seed: int) -> Path:
    """Keep the files of a case; the worker's own copy may be gone, so they are made again."""
    target = KEPT / f"{failure.reader}-{seed}-{failure.case}"
    campaign.prepare(failure.case)
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(campaign.folder, target)
    return target


def main() -> None:
    arguments = options()
    chosen = [reader for reader in readers() if not arguments.reader or reader.name in arguments.reader]
    failures: Counter[tuple[str, str, str]] = Counter()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="imarium-fuzz-")))
        campaigns = []
        for reader in chosen:
            try:
                corpus = corpus_of(reader, arguments.corpus, folder / f"{reader.name}-made")
            except LookupError as error:
                sys.exit(f"error: {error}")
            campaign = Campaign(reader, corpus, arguments.seed, folder / f"{reader.name}-case")
            stack.callback(campaign.close)
            campaigns.append(campaign)
            print(f"{reader.name}: {len(corpus)} files to damage", flush=True)
        began = told = time.monotonic()
        case = arguments.case or 0
        while True:
            for campaign in campaigns:
                for failure in campaign.run(case):
                    failures[failure.signature] += 1
                    if failures[failure.signature] == 1:
                        show(failure, keep(failure, campaign, arguments.seed), arguments)
            case += 1
            now = time.monotonic()
            if now - told > 30:
                told = now
                print(f"{now - began:.0f} s, {case} cases a reader, {len(failures)} failures", flush=True)
            if arguments.case is not None or case == arguments.cases:
                break
            if arguments.cases is None and now - began > arguments.seconds:
                break
        for campaign in campaigns:
            outcomes = ", ".join(f"{count} {name}" for name, count in campaign.tally.outcomes.most_common())
            print(f"{campaign.reader.name}: {campaign.tally.cases} cases; {outcomes}")
    for (name, kind, detail), count in failures.items():
        print(f"FAILED {count} times: {name}: {kind}: {detail}")
    sys.exit(1 if failures else 0)


def show(failure: Failure, kept: Path, arguments: argparse.Namespace) -> None:
    corpus = "".join(f" --corpus {folder}" for folder in arguments.corpus)
    print(
        f"FAILED {failure.reader}: {failure.kind}: {failure.detail}\n"
        f"  again: scripts/fuzz_readers.py --reader {failure.reader} --seed {arguments.seed} "
        f"--case {failure.case}{corpus}\n  files: {kept}",
        flush=True,
    )


if __name__ == "__main__":
    main()
