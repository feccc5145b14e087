"""The version of this Imarium."""

VERSION = "0.1.0"
