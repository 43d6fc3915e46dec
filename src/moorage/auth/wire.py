"""The webhook protocol's bodies, byte for byte: pure functions from values to JSON and back.

Requests have the field order, the escapes and the final newline of Go's encoder, which is
what existing servers were written against.  Answers are read leniently where servers differ
(names in any case, unknown and echoed fields, null) and strictly where a login depends on it.
"""

from __future__ import annotations

import binascii
import json
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from moorage.gateway.factors import METHODS
from moorage.gateway.model import Attempt, FileValue, Metadata, TextValue, Verdict

_T = TypeVar("_T")

_ESCAPED: Final = re.compile("[<>&\u2028\u2029\ud800-\udfff]")


class WrongAnswer(ValueError):
    """An answer is JSON but not of the protocol's form; the text names the field and quotes no value."""


# Requests


def password_request(attempt: Attempt, password: bytes) -> bytes:
    """The body for ``/password``."""
    return _encoded(_opening(attempt) | {"passwordBase64": b64encode(password).decode()})


def old_request(attempt: Attempt, *, is_config: bool = False, **more: str) -> bytes:
    """A body as release 0.4 sent it: the address without its port, the connection's id also as the session's."""
    address = "remoteAddr" if is_config else "remoteAddress"
    number = attempt.connection_id
    opening = {"username": attempt.username, address: attempt.remote_address.host}
    return _encoded(opening | {"connectionId": number, "sessionId": number} | more)


def old_password_request(attempt: Attempt, password: bytes) -> bytes:
    """The body for ``/password`` of release 0.4."""
    return old_request(attempt, passwordBase64=b64encode(password).decode())


def public_key_request(attempt: Attempt, key: str, certificate: Mapping[str, object] | None = None) -> bytes:
    """The body for ``/pubkey``; `key` is type, space, base64.  A verified `certificate` is described beside it."""
    described = {"caCertificate": certificate} if certificate is not None else {}
    return _encoded(_opening(attempt) | {"publicKey": key} | described)


def one_time_password_request(attempt: Attempt, code: str) -> bytes:
    """The body for ``/otp``, which is ours: what the login has proved so far, and the code."""
    name = attempt.authenticated_username
    return _encoded(_opening(attempt) | ({"authenticatedUsername": name} if name else {}) | {"otp": code})


def login_request(attempt: Attempt) -> bytes:
    """The body for ``/authz`` and for the config hook."""
    name = attempt.authenticated_username
    return _encoded(_opening(attempt) | ({"authenticatedUsername": name} if name else {}))


def without_sensitive(metadata: Metadata) -> Metadata:
    """What of `metadata` is not secret."""
    return Metadata(
        {name: value for name, value in metadata.metadata.items() if not value.sensitive},
        {name: value for name, value in metadata.environment.items() if not value.sensitive},
        {name: value for name, value in metadata.files.items() if not value.sensitive},
    )


def has_sensitive(metadata: Metadata) -> bool:
    """Is anything in `metadata` secret?"""
    return metadata != without_sensitive(metadata)


def _opening(attempt: Attempt) -> dict[str, Any]:
    collections = {
        "metadata": _texts(attempt.metadata.metadata),
        "environment": _texts(attempt.metadata.environment),
        "files": {
            path: {"value": b64encode(file.value).decode(), "sensitive": file.sensitive}
            for path, file in sorted(attempt.metadata.files.items())
        },
    }
    return {
        "remoteAddress": str(attempt.remote_address),
        "connectionId": attempt.connection_id,
        **{name: values for name, values in collections.items() if values},
        "clientVersion": attempt.client_version,
        "username": attempt.username,
    }


def _texts(values: Mapping[str, TextValue]) -> dict[str, Any]:
    return {name: {"value": text.value, "sensitive": text.sensitive} for name, text in sorted(values.items())}


def _encoded(fields: Mapping[str, Any]) -> bytes:
    # Characters that Go escapes and Python does not occur inside strings only.
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    return (_ESCAPED.sub(_go_escape, text) + "\n").encode()


def _go_escape(match: re.Match[str]) -> str:
    # A surrogate stands for a byte that was no UTF-8; Go writes U+FFFD for it, as an escape.
    code = ord(match[0])
    return "\\ufffd" if 0xD800 <= code <= 0xDFFF else f"\\u{code:04x}"


# Answers


def read_verdict(answer: object) -> Verdict:
    """The verdict in an answer of ``/password``, ``/pubkey`` or ``/authz``.

    What a refusal attaches is dropped.  Raises `WrongAnswer`.
    """
    fields = _fields(answer, "the answer")
    success = _bool(fields.get("success"), "success")
    attached = read_attached(answer)
    further = _methods(fields.get("furthermethods"))
    return Verdict(True, *attached, further=further) if success else Verdict(False)


def read_attached(answer: object) -> tuple[str, Metadata]:
    """The authenticated name (empty if there is none) and the collections that any hook may answer with.

    Raises `WrongAnswer`.
    """
    fields = _fields(answer, "the answer")
    name = _string(fields.get("authenticatedusername"), "authenticatedUsername")
    metadata = _collection(fields.get("metadata"), "metadata", _text_value)
    environment = _collection(fields.get("environment"), "environment", _text_value)
    files = _collection(fields.get("files"), "files", _file_value)
    for variable, text in environment.items():
        if not variable or "=" in variable or "\0" in variable or "\0" in text.value:
            raise WrongAnswer("environment holds a name or a value that no process can have (empty name, = or NUL)")
    if any(not path or "\0" in path for path in files):
        raise WrongAnswer("files holds an empty path or one with a NUL")
    return name, Metadata(metadata, environment, files)


def read_config(answer: object) -> Mapping[str, Any]:
    """The partial configuration in an answer of the config hook; empty if there is none.  Raises `WrongAnswer`."""
    config = _fields(answer, "the answer").get("config")
    if config is None:
        return {}
    if not isinstance(config, dict):
        raise WrongAnswer("config is not an object")
    return config


def _fields(value: object, where: str) -> dict[str, object]:
    """An object's fields under their lower-case names; of several spellings the last counts, null is absence."""
    if not isinstance(value, dict):
        raise WrongAnswer(f"{where} is not an object")
    fields: dict[str, object] = {}
    for name, item in value.items():
        if item is not None:
            fields[name.lower()] = item
    return fields


def _collection(value: object, where: str, read: Callable[[object, str], _T]) -> dict[str, _T]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise WrongAnswer(f"{where} is not an object")
    return {name: read(item, where) for name, item in value.items() if item is not None}


def _text_value(value: object, where: str) -> TextValue:
    fields = _fields(value, f"an entry of {where}")
    return TextValue(
        _string(fields.get("value"), f"a value in {where}"), _bool(fields.get("sensitive"), f"sensitive in {where}")
    )


def _file_value(value: object, where: str) -> FileValue:
    text = _text_value(value, where)
    try:
        # Line breaks inside are what Go's decoder skips, and what base64 programs write.
        content = b64decode(text.value.replace("\n", "").replace("\r", ""), validate=True)
    except (binascii.Error, ValueError):
        raise WrongAnswer(f"a value in {where} is not base64") from None
    return FileValue(content, text.sensitive)


def _methods(value: object) -> tuple[str, ...]:
    """What a hook demands on top; a name that is not a method could never succeed."""
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > len(METHODS) or not all(method in METHODS for method in value):
        raise WrongAnswer(f"furtherMethods is not a list of methods; methods are {', '.join(METHODS)}")
    return tuple(value)


def _string(value: object, where: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise WrongAnswer(f"{where} is not a string")
    return value


def _bool(value: object, where: str) -> bool:
    if value is None:
        return False
    if not isinstance(value, bool):
        raise WrongAnswer(f"{where} is neither true nor false")
    return value
