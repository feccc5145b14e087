"""A bar for those who watch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from imarium.client.download import Progress
from imarium.errors import InvalidRequestError


@contextmanager
def shown_progress() -> Iterator[Callable[[Progress], None]]:
    """A bar on standard error; what it yields is told of every series. Raises InvalidRequestError."""
    try:
        from rich import progress as bars  # noqa: PLC0415 - the bare package does without
        from rich.console import Console  # noqa: PLC0415
    except ImportError as error:
        raise InvalidRequestError(
            "a progress bar needs one more library: pip install 'imarium[progress]'"
        ) from error
    columns = (
        bars.SpinnerColumn(),
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("series", total=None)
        failed = 0

        def report(progress: Progress) -> None:
            nonlocal failed
            failed += progress.last.status == "failed"
            text = f"series, {failed} failed" if failed else "series"
            bar.update(task, description=text, completed=progress.done, total=progress.total)

        yield report
