"""The right to erasure: images removed for real, and a certificate of it (docs/guide/erasure.md)."""

from imarium.erasure.certificate import Certificate
from imarium.erasure.recording import recording
from imarium.erasure.scope import Kind, Plan, Scope
from imarium.erasure.service import Erasure

__all__ = ["Certificate", "Erasure", "Kind", "Plan", "Scope", "recording"]
