"""Folders that suit the platform."""

from __future__ import annotations

from pathlib import Path

import platformdirs


def default_home() -> Path:
    """Where state lives unless `--home` or IMARIUM_HOME say otherwise."""
    return Path(platformdirs.user_data_dir("imarium", appauthor=False))


def config_folder() -> Path:
    """Where `imarium login` keeps tokens."""
    return Path(platformdirs.user_config_dir("imarium", appauthor=False))
