"""The command line."""

from imarium.faces.cli.app import run

__all__ = ["run"]
