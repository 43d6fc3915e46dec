"""Messages as the reference's decoder prints them, byte for byte: one JSON object a line, encoded as Go does."""

from __future__ import annotations

import base64
import json
import re
from typing import Any, Final

from moorage.audit.kinds import NAMELESS
from moorage.audit.recording import Message

_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_ESCAPED: Final = re.compile('[\x00-\x1f"\\\\<>&\u2028\u2029]')
_SHORT: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f", '"': '\\"', "\\": "\\\\"}


def line(message: Message, *, names_all: bool = False) -> str:
    """The line for `message`, without its end; `names_all` names the kinds that the reference calls ``invalid``."""
    kind = message.kind
    if kind is None:
        return error(f"failed to decode messages (invalid message type: {message.number})")
    named = names_all or kind.number not in NAMELESS
    parts = (
        ("connectionId", text(message.connection_id)),
        ("timestamp", str(message.timestamp)),
        ("type", str(message.number)),
        ("typeId", text(kind.id if named else "invalid")),
        ("typeName", text(kind.name if named else "invalid")),
        ("payload", _object(message.payload) if kind.has_payload else "null"),
        ("channelId", "null" if message.channel is None else str(message.channel)),
    )
    return "{" + ",".join(f'"{name}":{value}' for name, value in parts) + "}"


def error(what: str) -> str:
    """The line that tells of an error."""
    return _object({"error": what})


def text(value: str) -> str:
    """A JSON string as Go's encoder writes it."""
    return '"' + _ESCAPED.sub(_escape, _SURROGATE.sub("\ufffd", value)) + '"'


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    return _SHORT.get(character) or f"\\u{ord(character):04x}"


def _object(value: dict[str, Any]) -> str:
    return "{" + ",".join(f"{text(name)}:{_value(part)}" for name, part in value.items()) + "}"


def _value(value: Any) -> str:
    match value:
        case str():
            return text(value)
        case bytes():
            return f'"{base64.b64encode(value).decode()}"'
        case dict():
            return _object(value)
        case list():
            return "[" + ",".join(map(_value, value)) + "]"
    return json.dumps(value)
