#!/usr/bin/env python
"""Writes docs/reference/ from the code: the command line, the Python client, settings and the HTTP API.

With --check it writes nothing and fails if the pages are not what the code says.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

import imarium
from imarium import settings
from imarium.faces.cli.app import app
from imarium.faces.http import create_app

TARGET = Path(__file__).parent.parent / "docs" / "reference"
NOTE = "<!-- Made by scripts/make_reference.py; do not edit. -->\n"


def _commands(group: Any) -> Iterator[tuple[str, Any]]:
    """Names and commands, those of a group by both names."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from ((f"{name} {inner}", found) for inner, found in _commands(command))
        else:
            yield name, command


def command_line() -> str:
    """Every command with its options."""
    lines = [NOTE, "# Command line\n"]
    for name, command in _commands(get_command(app)):
        lines.append(f"## imarium {name}\n\n{inspect.cleandoc(command.help or '')}\n")
        lines.append("| option | meaning |\n|---|---|")
        for parameter in command.params:
            names = ", ".join(f"`{item}`" for item in parameter.opts if item != "--help")
            if not names:
                continue
            kind = "" if parameter.param_type_name == "option" else " (argument)"
            lines.append(f"| {names}{kind} | {getattr(parameter, 'help', '') or ''} |")
        lines.append("")
    return "\n".join(lines)


def python() -> str:
    """The public names of the package."""
    lines = [NOTE, "# Python\n"]
    named = [(name, getattr(imarium, name)) for name in sorted(imarium.__all__)]
    named += [(f"aio.{name}", getattr(imarium.aio, name)) for name in sorted(imarium.aio.__all__)]
    for name, item in named:
        if isinstance(item, str) or inspect.ismodule(item):
            continue
        signature = "" if inspect.isclass(item) else str(inspect.signature(item))
        lines.append(f"## imarium.{name}{signature}\n\n{inspect.getdoc(item)}\n")
        if not inspect.isclass(item) or issubclass(item, Exception):
            continue
        for member, value in vars(item).items():
            if member.startswith("_") or not (callable(value) or isinstance(value, property)):
                continue
            doc = inspect.getdoc(value.fget if isinstance(value, property) else value) or ""
            call = "" if isinstance(value, property) else str(inspect.signature(value)).replace("self, ", "")
            lines.append(f"- **`{member}{call.replace('(self)', '()')}`** {' '.join(doc.split())}")
        lines.append("")
    return "\n".join(lines)


def setting_page() -> str:
    """Settings and limits with their defaults."""
    lines = [NOTE, "# Settings\n", inspect.getdoc(settings.load) or "", "", "| limit | default |\n|---|---|"]
    lines += [f"| `{field.name}` | {field.default:,} |" for field in dataclasses.fields(settings.Limits)]
    lines += ["", inspect.getdoc(settings.Sharing) or "", "", "| sharing | default |\n|---|---|"]
    lines += [f"| `{field.name}` | {field.default:,} |" for field in dataclasses.fields(settings.Sharing)]
    return "\n".join([*lines, ""])


def http() -> str:
    """Every address of the API."""
    lines = [NOTE, "# HTTP API\n", "| address | what comes |\n|---|---|"]
    for path, methods in create_app(None).openapi()["paths"].items():
        for method, facts in methods.items():
            says = " ".join(facts["description"].split())
            lines.append(f"| `{method.upper()} {path}` | {says} |")
    return "\n".join([*lines, ""])


def main() -> None:
    pages = {
        "command-line.md": command_line(),
        "python.md": python(),
        "settings.md": setting_page(),
        "http-api.md": http(),
    }
    stale = []
    for name, text in pages.items():
        path = TARGET / name
        if "--check" in sys.argv:
            if not path.exists() or path.read_text() != text:
                stale.append(name)
        else:
            path.write_text(text)
    if stale:
        sys.exit(f"docs/reference is stale ({', '.join(stale)}); run python scripts/make_reference.py")


if __name__ == "__main__":
    main()
