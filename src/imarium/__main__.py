"""`imarium` and `python -m imarium`."""

from __future__ import annotations

import sys
from importlib.util import find_spec


def main() -> None:
    """Run the command line, or say what it needs."""
    if find_spec("typer") is None or find_spec("sqlalchemy") is None:
        sys.exit("The command line needs more than the bare client: pip install 'imarium[server]'")
    # A bare install has no command line, so these cannot stand at the top.
    from imarium.faces.cli import run  # noqa: PLC0415
    from imarium.faces.http import listening  # noqa: PLC0415

    run(listening)


if __name__ == "__main__":
    main()
