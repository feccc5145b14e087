"""The client: streams from a server or a store; knows the pack format and nothing of the server's insides."""

from imarium.client import aio
from imarium.client.sync import Client, RemoteSeries, connect, open

__all__ = ["Client", "RemoteSeries", "aio", "connect", "open"]
