"""What every engine that starts programs itself is told of a terminal."""

from __future__ import annotations

from typing import Final

from moorage.gateway.model import Size

END_OF_INPUT: Final = b"\x04"
"""What ends the input of a terminal (VEOF): its other side cannot be half-closed."""


def bounded_size(size: Size) -> tuple[int, int]:
    """Columns and rows as a terminal can have them."""
    return min(max(size.columns, 1), 65535), min(max(size.rows, 1), 65535)
