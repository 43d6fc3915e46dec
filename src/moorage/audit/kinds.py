"""The kinds of messages that a recording holds: number, names and payload, as the format has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final


class Field(Enum):
    """What a field of a payload holds."""

    TEXT = "text"
    BYTES = "bytes"
    NUMBER = "number"
    NUMBER32 = "number of 32 bits"
    FLAG = "flag"
    QUESTIONS = "questions"
    ANSWERS = "answers"

    @property
    def nothing(self) -> object:
        """What is written where there is nothing."""
        return _NOTHING.get(self, 0)


_NOTHING: Final[Mapping[Field, object]] = {
    Field.TEXT: "",
    Field.BYTES: b"",
    Field.FLAG: False,
    Field.QUESTIONS: None,
    Field.ANSWERS: None,
}


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of message."""

    number: int
    id: str
    name: str
    fields: Mapping[str, Field]
    has_payload: bool = True


T, B, N, W = Field.TEXT, Field.BYTES, Field.NUMBER, Field.NUMBER32

_PASSWORD: Final = {"username": T, "password": B}
_KEY: Final = {"username": T, "key": T}
_BIND: Final = {"BindHost": T, "BindPort": W}
_PATH: Final = {"Path": T}
_ORIGIN: Final = {"OriginatorHost": T, "OriginatorPort": W}
_UNKNOWN: Final = {"requestId": N, "requestType": T, "payload": B}
_REASON: Final = {"reason": T}
_SIZE: Final = {"columns": W, "rows": W, "width": W, "height": W}

KINDS: Final = (
    Kind(0, "connect", "Connect", {"remoteAddr": T, "country": T}),
    Kind(1, "disconnect", "Disconnect", {}, has_payload=False),
    Kind(100, "auth_password", "Password authentication", _PASSWORD),
    Kind(101, "auth_password_successful", "Password authentication successful", _PASSWORD),
    Kind(102, "auth_password_failed", "Password authentication failed", _PASSWORD),
    Kind(103, "auth_password_backend_error", "Password authentication backend error", {**_PASSWORD, **_REASON}),
    Kind(104, "auth_pubkey", "Public key authentication", _KEY),
    Kind(105, "auth_pubkey_successful", "Public key authentication successful", _KEY),
    Kind(106, "auth_pubkey_failed", "Public key authentication failed", _KEY),
    Kind(107, "auth_pubkey_backend_error", "Public key authentication backend error", {**_KEY, **_REASON}),
    Kind(
        108,
        "auth_keyboard_interactive_challenge",
        "Keyboard-interactive authentication challenge",
        {"username": T, "instruction": T, "questions": Field.QUESTIONS},
    ),
    Kind(
        109,
        "auth_keyboard_interactive_answer",
        "Keyboard-interactive authentication answer",
        {"username": T, "answers": Field.ANSWERS},
    ),
    Kind(
        110,
        "auth_keyboard_interactive_failed",
        "Keyboard-interactive authentication failed",
        {"Username": T},
    ),
    Kind(
        111,
        "auth_keyboard_interactive_backend_error",
        "Keyboard-interactive authentication backend error",
        {"username": T, **_REASON},
    ),
    Kind(198, "handshake_failed", "Handshake failed", _REASON),
    Kind(199, "handshake_successful", "Handshake successful", {"username": T}),
    Kind(200, "global_request_unknown", "Unknown global request", {"requestType": T}),
    Kind(201, "global_request_decode_failed", "Failed to decode global request", {**_UNKNOWN, **_REASON}),
    Kind(202, "forward_tcpip", "Request reverse port forwarding", _BIND),
    Kind(203, "cancel_forward_tcpip", "Request to stop reverse port forwarding", _BIND),
    Kind(204, "forward_streamlocal", "Request reverse socket forwarding", _PATH),
    Kind(205, "cancel_forward_streamlocal", "Request to stop reverse socket forwarding", _PATH),
    Kind(300, "new_channel", "New channel request", {"channelType": T}),
    Kind(301, "new_channel_successful", "New channel successful", {"channelType": T}),
    Kind(302, "new_channel_failed", "New channel failed", {"channelType": T, **_REASON}),
    Kind(
        303,
        "new_channel_direct_tcpip",
        "New client-to-server port forwarding channel",
        {"HostToConnect": T, "PortToConnect": W, **_ORIGIN},
    ),
    Kind(
        304,
        "new_channel_forwarded_tcpip",
        "New server-to-client port forwarding channel",
        {"ConnectedHost": T, "ConnectedPort": W, **_ORIGIN},
    ),
    Kind(305, "new_channel_x11", "New server-to-client X11 forwarding channel", _ORIGIN),
    Kind(306, "new_channel_direct_streamlocal", "New client-to-server unix socket forwarding channel", _PATH),
    Kind(307, "new_channel_forwarded_streamlocal", "New server-to-client unix socket forwarding channel", _PATH),
    Kind(400, "channel_request_unknown", "Unknown channel request", _UNKNOWN),
    Kind(401, "channel_request_decode_failed", "Failed to decode channel request", {**_UNKNOWN, **_REASON}),
    Kind(402, "setenv", "Set environment variable", {"requestId": N, "name": T, "value": T}),
    Kind(403, "exec", "Execute program", {"requestId": N, "program": T}),
    Kind(404, "pty", "Request interactive terminal", {"requestId": N, "term": T, **_SIZE, "modelist": B}),
    Kind(405, "shell", "Run shell", {"requestId": N}),
    Kind(406, "signal", "Send signal to running process", {"requestId": N, "signal": T}),
    Kind(407, "subsystem", "Request subsystem", {"requestId": N, "subsystem": T}),
    Kind(408, "window", "Change window size", {"requestId": N, **_SIZE}),
    Kind(
        409,
        "x11-req",
        "Request X11 forwarding",
        {"requestId": N, "singleConnection": Field.FLAG, "authProtocol": T, "cookie": T, "screen": W},
    ),
    Kind(496, "close_write", "Close channel for writing", {}, has_payload=False),
    Kind(497, "close", "Close channel", {}, has_payload=False),
    Kind(
        498,
        "exit_signal",
        "Program exited with signal",
        {"signal": T, "coreDumped": Field.FLAG, "errorMessage": T, "languageTag": T},
    ),
    Kind(499, "exit", "Program exited", {"exitStatus": W}),
    Kind(500, "io", "I/O", {"stream": N, "data": B}),
    Kind(501, "request_failed", "Request failed", {"requestId": N, **_REASON}),
)

BY_NUMBER: Final = {kind.number: kind for kind in KINDS}

NAMELESS: Final = frozenset({198, 199})
"""Kinds that the reference's decoder calls ``invalid``."""

STDIN: Final = 0
STDOUT: Final = 1
STDERR: Final = 2
