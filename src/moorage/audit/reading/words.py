"""Values of recordings as text that is safe on a terminal and in a log."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, Final

_ESCAPES: Final = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_].*?(?:\x07|\x1b\\|\Z)|[ -/]*[0-~])", re.DOTALL)


def safe(text: str) -> str:
    """`text` in one line, with everything that is not printable made visible; bytes that were no UTF-8 as ``\\xNN``."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else _visible(one) for one in text)


def _visible(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\x1b": "\\e"}.get(character) or (
        f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
    )


def decoded(data: bytes) -> str:
    """`data` as a text that keeps what is no UTF-8."""
    return data.decode("utf-8", "surrogateescape")


def plain(data: bytes) -> bytes:
    """`data` without the sequences that move a cursor, colour or name a window."""
    return _ESCAPES.sub(b"", data)


def moment(nanoseconds: int) -> str:
    """A time for people and for JSON: RFC 3339 in UTC with milliseconds."""
    try:
        at = datetime.fromtimestamp(nanoseconds / 1e9, UTC)
    except (OverflowError, ValueError, OSError):
        return "?"
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def duration(nanoseconds: int) -> str:
    """A span for people: ``1:02:03`` or ``2:03``."""
    seconds = max(0, nanoseconds) // 1_000_000_000
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def size(count: int) -> str:
    """A number of bytes for people."""
    if count < 1024:
        return f"{count} B"
    amount, unit = float(count), ""
    for unit in ("K", "M", "G", "T"):  # noqa: B007
        amount /= 1024
        if amount < 1000:
            break
    return f"{amount:.1f} {unit}B"


def jsonable(value: Any) -> Any:
    """`value` for JSON: bytes as text where they are UTF-8, otherwise as ``{"hex": …}``."""
    match value:
        case bytes():
            try:
                return value.decode()
            except UnicodeDecodeError:
                return {"hex": value.hex()}
        case str():
            return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        case dict():
            return {jsonable(str(key)): jsonable(part) for key, part in value.items()}
        case list():
            return [jsonable(part) for part in value]
    return value
