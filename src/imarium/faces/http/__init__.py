"""The JSON API and the web app."""

from imarium.faces.http.app import create_app
from imarium.faces.http.server import BoundServer, listening

__all__ = ["BoundServer", "create_app", "listening"]
