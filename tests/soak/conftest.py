"""The servers of the end-to-end tests."""

from tests.e2e.conftest import backend, bubblewrap, configure, engine, key, serve

__all__ = ["backend", "bubblewrap", "configure", "engine", "key", "serve"]
