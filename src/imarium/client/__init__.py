"""The client: streams from a server; knows the pack format and nothing of the server's insides."""

from imarium.client.sync import Client, RemoteSeries, connect

__all__ = ["Client", "RemoteSeries", "connect"]
