"""Moorage: an SSH server that puts each login into a container of its own."""

__version__ = "0.1.0"
