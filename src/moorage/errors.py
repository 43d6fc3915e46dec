"""Failures that cross a room's border, each with a code for the log and a line for the user.

Inside a room the built-in exceptions are used.  At a border they become a
`Failure` (or a subclass that somebody catches), raised ``from`` the cause::

    Failure
     ├── ConfigError    the configuration, a hook's answer or a command line cannot be used
     ├── AuthError      an authentication service could not answer (never: "wrong password")
     ├── BackendError   a guest could not be opened, or was lost
     └── Refused        policy, a limit or the guest said no
"""

from __future__ import annotations

from moorage.codes import Code

GENERIC_TEXT = "An internal error has occurred."
"""What a user is told where nobody has found better words."""


class Failure(Exception):
    """Something failed, and both the operator and the user can be told what.

    `user_text` is one honest sentence that may be shown to the SSH user: it names
    no host, path, secret or internal.  ``str(failure)`` is the explanation for the log.
    """

    default_code: Code = Code.UNKNOWN_ERROR

    def __init__(self, explanation: str, *, user_text: str = "", code: Code | None = None) -> None:
        super().__init__(explanation)
        self.code: Code = code or self.default_code
        self.user_text: str = user_text or GENERIC_TEXT


class ConfigError(Failure):
    """The configuration cannot be used."""

    default_code = Code.CORE_CONFIG_ERROR


class AuthError(Failure):
    """An authentication or authorisation service could not give an answer; the login fails closed."""

    default_code = Code.AUTH_BACKEND_ERROR


class BackendError(Failure):
    """A guest could not be opened or prepared, or it was lost."""

    default_code = Code.SSH_BACKEND_REJECTED_HANDSHAKE


class Refused(Failure):
    """A request was understood and turned down; the connection goes on."""

    default_code = Code.SSH_CHANNEL_REQUEST_FAILED
