"""Manifests: snapshots of selections as Arrow tables, for those who train on what is stored.

Importing this loads pyarrow; whoever does not always need it imports it late.
"""

from imarium.manifest.rows import ManifestLevel, ManifestRow
from imarium.manifest.table import Manifest
from imarium.manifest.writing import Draft, Format

__all__ = ["Draft", "Format", "Manifest", "ManifestLevel", "ManifestRow"]
