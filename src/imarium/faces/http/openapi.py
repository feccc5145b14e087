"""`python -m imarium.faces.http.openapi` prints the OpenAPI document that the page's types come from."""

from __future__ import annotations

import json
import sys

from imarium.faces.http.app import create_app

if __name__ == "__main__":
    json.dump(create_app(None).openapi(), sys.stdout, indent=1, sort_keys=True)
    sys.stdout.write("\n")
