"""Moorage: an SSH server that puts each login into a container of its own."""

from typing import Final

__version__: Final = "0.1.0"
