"""The few functions of libpam that a login needs, called directly (pam(3), pam_conv(3)).  Blocks.

Everything that crosses the border is bounded, and no text with a NUL crosses it: C would see only its beginning.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

_SUCCESS: Final = 0
_AUTH_ERR, _CRED_INSUFFICIENT, _USER_UNKNOWN, _MAXTRIES = 7, 8, 10, 11
_PERM_DENIED, _NEW_AUTHTOK_REQD, _ACCT_EXPIRED, _CONV_ERR = 6, 12, 13, 19
_BUF_ERR: Final = 5
REFUSALS: Final = frozenset(
    {_AUTH_ERR, _CRED_INSUFFICIENT, _USER_UNKNOWN, _MAXTRIES, _PERM_DENIED, _NEW_AUTHTOK_REQD, _ACCT_EXPIRED, _CONV_ERR}
)
"""Results that are about the user; every other failure is about the machine."""

_PROMPT_ECHO_OFF, _PROMPT_ECHO_ON = 1, 2
_USER, _TTY, _RHOST = 2, 3, 4
_SILENT: Final = 0x8000
_DISALLOW_NULL_AUTHTOK: Final = 0x1
_MOST_MESSAGES: Final = 32
LONGEST_TEXT: Final = 511
"""Bytes of an answer (PAM_MAX_RESP_SIZE, less the NUL)."""


class _Message(ctypes.Structure):
    _fields_ = [("style", ctypes.c_int), ("text", ctypes.c_char_p)]


class _Response(ctypes.Structure):
    _fields_ = [("text", ctypes.c_void_p), ("code", ctypes.c_int)]


_Converse = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_int,
    ctypes.POINTER(ctypes.POINTER(_Message)),
    ctypes.POINTER(ctypes.POINTER(_Response)),
    ctypes.c_void_p,
)


class _Conversation(ctypes.Structure):
    _fields_ = [("function", _Converse), ("data", ctypes.c_void_p)]


@dataclass(frozen=True, slots=True)
class Shown:
    """What a module wants shown at once: texts, then questions as (text, may be seen while it is typed)."""

    texts: tuple[str, ...]
    prompts: tuple[tuple[str, bool], ...]


Answer = Callable[[Shown], Sequence[str] | None]
"""Answers every prompt of what is shown; None ends the conversation."""


@dataclass(frozen=True, slots=True)
class Result:
    """How it ended: the code of pam(3), its text, and for a success the name that modules settled on."""

    code: int
    text: str
    user: str = ""

    @property
    def success(self) -> bool:
        return self.code == _SUCCESS

    @property
    def is_refusal(self) -> bool:
        """True if the user was refused, False if the machine could not tell."""
        return self.code in REFUSALS


@cache
def _libraries() -> tuple[Any, Any]:
    pam = ctypes.CDLL("libpam.so.0")
    libc = ctypes.CDLL(None)
    handle, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    conversation = ctypes.POINTER(_Conversation)
    pam.pam_start.argtypes = [text, text, conversation, ctypes.POINTER(handle)]
    if hasattr(pam, "pam_start_confdir"):
        pam.pam_start_confdir.argtypes = [text, text, conversation, text, ctypes.POINTER(handle)]
    pam.pam_set_item.argtypes = [handle, number, text]
    pam.pam_get_item.argtypes = [handle, number, ctypes.POINTER(ctypes.c_void_p)]
    for name in ("pam_authenticate", "pam_acct_mgmt", "pam_end"):
        getattr(pam, name).argtypes = [handle, number]
    pam.pam_strerror.argtypes = [handle, number]
    pam.pam_strerror.restype = text
    libc.calloc.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
    libc.calloc.restype = ctypes.c_void_p
    return pam, libc


def load() -> None:
    """Load the library; raises `OSError` where there is none."""
    _libraries()


def authenticate(service: str, user: str, answer: Answer, *, remote_host: str, directory: str = "") -> Result:
    """Ask the modules of `service` whether `user` may log in, and whether his account is valid.

    `directory` has service files other than those of the machine.  Raises `ValueError` for a name with a NUL.
    """
    if "\0" in user or "\0" in service:
        raise ValueError("a name holds a NUL")
    pam, libc = _libraries()
    converse = _Converse(_answering(answer, libc))
    conversation = _Conversation(converse, None)
    handle = ctypes.c_void_p()
    names = service.encode(), user.encode("utf-8", "surrogateescape")
    if directory:
        if not hasattr(pam, "pam_start_confdir"):
            raise ValueError("this libpam knows no directories of its own; it needs version 1.4")
        code = pam.pam_start_confdir(*names, ctypes.byref(conversation), directory.encode(), ctypes.byref(handle))
    else:
        code = pam.pam_start(*names, ctypes.byref(conversation), ctypes.byref(handle))
    if code != _SUCCESS:
        return Result(code, _text_of(pam, None, code))
    try:
        pam.pam_set_item(handle, _RHOST, remote_host.encode())
        pam.pam_set_item(handle, _TTY, b"ssh")
        code = pam.pam_authenticate(handle, _DISALLOW_NULL_AUTHTOK)
        if code == _SUCCESS:
            code = pam.pam_acct_mgmt(handle, _SILENT | _DISALLOW_NULL_AUTHTOK)
        if code != _SUCCESS:
            return Result(code, _text_of(pam, handle, code))
        return Result(code, "", _user_of(pam, handle))
    finally:
        pam.pam_end(handle, code)


def _answering(answer: Answer, libc: Any) -> Callable[..., int]:
    def converse(count: int, messages: Any, responses: Any, _data: Any) -> int:
        try:
            if not 0 < count <= _MOST_MESSAGES:
                return _CONV_ERR
            read = [(messages[n].contents.style, (messages[n].contents.text or b"")) for n in range(count)]
            texts = tuple(_shown(text) for style, text in read if style not in {_PROMPT_ECHO_OFF, _PROMPT_ECHO_ON})
            prompts = tuple(
                (_shown(text), style == _PROMPT_ECHO_ON)
                for style, text in read
                if style in {_PROMPT_ECHO_OFF, _PROMPT_ECHO_ON}
            )
            given = answer(Shown(texts, prompts)) if texts or prompts else ()
            if given is None or len(given) != len(prompts):
                return _CONV_ERR
            encoded = [text.encode("utf-8", "surrogateescape") for text in given]
            if any(b"\0" in text or len(text) > LONGEST_TEXT for text in encoded):
                return _CONV_ERR
            return _respond(read, encoded, responses, libc)
        except Exception:  # noqa: BLE001 - nothing may be raised through C
            return _CONV_ERR

    return converse


def _respond(read: list[tuple[int, bytes]], encoded: list[bytes], responses: Any, libc: Any) -> int:
    # The module frees both, so both come from C's allocator.
    block = libc.calloc(len(read), ctypes.sizeof(_Response))
    if not block:
        return _BUF_ERR
    array = ctypes.cast(block, ctypes.POINTER(_Response))
    left = iter(encoded)
    for n, (style, _) in enumerate(read):
        if style in {_PROMPT_ECHO_OFF, _PROMPT_ECHO_ON}:
            text = next(left)
            place = libc.calloc(1, len(text) + 1)
            ctypes.memmove(place, text, len(text))
            array[n].text = place
    responses[0] = array
    return _SUCCESS


def _shown(text: bytes) -> str:
    return text[:LONGEST_TEXT].decode("utf-8", "replace")


def _text_of(pam: Any, handle: Any, code: int) -> str:
    text: bytes = pam.pam_strerror(handle, code) or b""
    return text.decode("utf-8", "replace")


def _user_of(pam: Any, handle: Any) -> str:
    item = ctypes.c_void_p()
    if pam.pam_get_item(handle, _USER, ctypes.byref(item)) != _SUCCESS or not item.value:
        return ""
    return ctypes.string_at(item.value).decode("utf-8", "replace")
