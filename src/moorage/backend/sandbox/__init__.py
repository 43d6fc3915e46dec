"""The backend ``sandbox``: guests by bubblewrap."""

from moorage.backend.sandbox.backend import SandboxBackend

__all__ = ["SandboxBackend"]
