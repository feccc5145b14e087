"""What the benchmarks share: options, a table, JSON, and a server to talk to."""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from imarium.archive import Archive

RESULTS = Path(__file__).parent.parent / "build" / "benchmarks"


@dataclass(frozen=True)
class Row:
    """One line of the table. `target` is what must hold; None for a line that only informs."""

    what: str
    value: float
    unit: str
    target: float | None = None
    at_most: bool = False

    @property
    def met(self) -> bool:
        if self.target is None:
            return True
        return self.value <= self.target if self.at_most else self.value >= self.target


def options(description: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--smoke", action="store_true", help="small and short; targets are shown, not enforced"
    )
    return parser.parse_args()


def report(name: str, rows: Sequence[Row], *, smoke: bool) -> None:
    """Print a table, write JSON below build/benchmarks, and leave with 1 if a target is missed."""
    width = max(len(row.what) for row in rows)
    print(f"\n{name}{' (smoke)' if smoke else ''}")
    for row in rows:
        limit = ""
        if row.target is not None:
            limit = (
                f"   target {'<=' if row.at_most else '>='} {row.target:g}: {'met' if row.met else 'MISSED'}"
            )
        print(f"  {row.what:{width}}  {row.value:10.3f} {row.unit:8}{limit}")
    RESULTS.mkdir(parents=True, exist_ok=True)
    facts = {
        "name": name,
        "smoke": smoke,
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "rows": [asdict(row) | {"met": row.met} for row in rows],
    }
    target = RESULTS / f"{name}{'-smoke' if smoke else ''}.json"
    target.write_text(json.dumps(facts, indent=1) + "\n")
    print(f"  written to {target}")
    if not smoke and not all(row.met for row in rows):
        sys.exit(1)


def soft_picture(random: np.random.Generator, rows: int, columns: int) -> NDArray[np.uint8]:
    """Soft shapes and some noise, no two alike."""
    y, x = np.ogrid[:rows, :columns]
    waves = np.sin(x / random.uniform(5, 40)) + np.cos(y / random.uniform(5, 40))
    return (128 + 50 * waves + random.normal(0, 3, (rows, columns))).clip(0, 255).astype(np.uint8)


def write_pictures(folder: Path, count: int, sides: Callable[[np.random.Generator], tuple[int, int]]) -> None:
    """Such pictures as PNG, a thousand in a folder."""
    random = np.random.default_rng(0)
    for number in range(count):
        name = folder / f"{number // 1000:03d}" / f"{number:06d}.png"
        name.parent.mkdir(parents=True, exist_ok=True)
        name.write_bytes(imagecodecs.png_encode(soft_picture(random, *sides(random)), level=1))


def small_sides(random: np.random.Generator) -> tuple[int, int]:
    """Rows and columns from 64 to 256."""
    rows, columns = random.integers(64, 257, 2)
    return int(rows), int(columns)


def administrator_token(archive: Archive) -> str:
    """A login for the server over a new archive."""
    password = archive.accounts.ensure_administrator()
    assert password is not None
    return archive.accounts.login("admin", password).token


@contextmanager
def scratch() -> Iterator[Path]:
    """A temporary folder."""
    with tempfile.TemporaryDirectory(prefix="imarium-bench-") as folder:
        yield Path(folder)


@contextmanager
def serving(home: Path, host: str = "127.0.0.1") -> Iterator[str]:
    """A server over `home` in a process of its own; yields its address."""
    command = [sys.executable, "-m", "imarium", "serve", "--home", str(home), "--port", "0", "--json"]
    command += ["--host", host]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        try:
            yield json.loads(server.stdout.readline())["url"]
        finally:
            server.terminate()
