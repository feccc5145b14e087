"""The version of this Imarium."""

VERSION = "0.1.0"
API_VERSION = 1
"""Version of the HTTP API: a client and a server of different ones do not understand each other."""
