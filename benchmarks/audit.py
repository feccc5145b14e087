"""What the audit record costs: appending, checking, and on top of a served request.

Requests go to the app itself, without a network, so that nothing hides the difference: a range of 64 kB of
one series, again and again as a viewer asks (all but the first are one act), with the record and without.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from starlette.types import ASGIApp, Message

from common import Row, options, report, scratch
from imarium.archive import Archive
from imarium.audit import Action, Audit, ObjectKind
from imarium.catalog import Catalog
from imarium.faces.http import create_app
from imarium.faces.http.auditing import Auditing
from imarium.phantoms import ct_chest
from imarium.settings import Settings


def rate(count: int, work: Callable[[], object]) -> float:
    """How many a second."""
    began = time.perf_counter()
    work()
    return count / (time.perf_counter() - began)


def appended(home: Path, count: int, waited: int) -> list[Row]:
    home.mkdir()
    catalog = Catalog(f"sqlite:///{home / 'catalog.sqlite'}")
    audit = Audit(catalog, b"s" * 32, home)

    def several() -> None:
        for number in range(count):
            audit.record(Action.VIEWED, ObjectKind.SERIES, f"1.2.{number}", actor="ann", origin="10.0.0.1")
        audit.flush()

    def one_by_one() -> None:
        for number in range(waited):
            audit.record(Action.LABELLED, ObjectKind.SERIES, f"1.2.{number}", actor="ann", wait=True)

    rows = [
        Row("acts of reading, until they are on the disk", rate(count, several), "1/s", 1000),
        Row("acts that are waited for, one after the other", rate(waited, one_by_one), "1/s"),
        Row("records checked", rate(count + waited, lambda: audit.verify().sound or exit(1)), "1/s", 10_000),
    ]
    audit.close()
    catalog.close()
    return rows


async def ask(app: ASGIApp, path: str, headers: list[tuple[bytes, bytes]]) -> int:
    """One request; returns the bytes that came."""
    size = 0

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        nonlocal size
        size += len(message.get("body", b""))

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"127.0.0.1"), *headers],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    await app(scope, receive, send)
    return size


async def served(app: ASGIApp, path: str, count: int) -> float:
    """Seconds a request, the middle one of many."""
    headers = [(b"range", b"bytes=16-65551")]
    times = []
    for _ in range(count):
        began = time.perf_counter()
        size = await ask(app, path, headers)
        assert size == 1 << 16, size
        times.append(time.perf_counter() - began)
    return statistics.median(times)


class Unrecorded(Auditing):
    """Records nothing."""

    async def _record(self, *_: object) -> None:
        return


def overhead(home: Path, folder: Path, count: int) -> list[Row]:
    archive = Archive(Settings(home=home, threads=2))
    ct_chest(24, 128, 128).write_nifti(folder / "x.nii.gz")
    (outcome,) = archive.ingest.run([folder / "x.nii.gz"], collection="c")
    key = archive.catalog.get_series(outcome.series or "").pack.key
    path = f"/api/v1/{key}"
    recorded = create_app(archive)
    plain = create_app(archive)
    for middleware in plain.user_middleware:
        if middleware.cls is Auditing:
            middleware.cls = Unrecorded  # type: ignore[misc]
    with_record, without = [], []
    looked_up = archive.streaming.series_in
    for _ in range(5):  # by turns, since the machine is not alone
        archive.streaming.series_in = lambda *_: []  # type: ignore[method-assign]
        without.append(asyncio.run(served(plain, path, count)))
        archive.streaming.series_in = looked_up  # type: ignore[method-assign]
        with_record.append(asyncio.run(served(recorded, path, count)))
    archive.close()
    difference = min(with_record) - min(without)
    return [
        Row("a request for a range, recorded", 1e6 * min(with_record), "us"),
        Row("of that, for the record", 1e6 * difference, "us", 200, at_most=True),
    ]


def main() -> None:
    smoke = options(__doc__ or "").smoke
    with scratch() as folder:
        rows = appended(folder / "appended", 500 if smoke else 20_000, 20 if smoke else 200)
        rows += overhead(folder / "home", folder, 50 if smoke else 1000)
    report("audit", rows, smoke=smoke)


if __name__ == "__main__":
    main()
