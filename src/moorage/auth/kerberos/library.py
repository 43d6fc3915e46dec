"""The blocking calls of MIT Kerberos by GSSAPI.  Nothing here knows of logins."""

from __future__ import annotations

import importlib
import os
import socket
import tempfile
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from moorage.auth.kerberos.principals import first_principal
from moorage.codes import Code
from moorage.config.sections.auth import KerberosConfig
from moorage.errors import ConfigError

_WRONG: Final = {
    -1765328378: "the KDC knows no such principal",
    -1765328366: "the principal is locked or has expired",
    -1765328361: "the password has expired",
    -1765328360: "the password is wrong",
    -1765328353: "the password is wrong",
}
"""Answers of a KDC that are a no, by krb5's error numbers; all others are no answer."""

_EMPTY: Final = 22
_SYSTEM: Final = os.environ.get("KRB5_CONFIG") or "/etc/krb5.conf"


class WrongTicket(Exception):
    """What the client has sent does not prove who it is; the text is the library's own and holds no secret."""


class WrongPassword(Exception):
    """The KDC refuses the password."""


class NoAnswer(Exception):
    """The KDC could not be asked, or the keys here are of no use."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """Who has been proved, and what he has handed over."""

    principal: str
    """With its realm."""
    tickets: bytes = field(repr=False)
    """A credential cache file (version 4), empty if none were delegated."""


def prepare(config: KerberosConfig, key: str) -> Library:
    """The library, set up by `config`.  Raises `ConfigError` that names `key`, the section.

    krb5 has one configuration for a whole process: with two sections the last one prepared counts.
    """
    try:
        gssapi: Any = importlib.import_module("gssapi")
    except ImportError as error:
        raise ConfigError(
            f"{key}: Kerberos needs a package that is missing: pip install 'moorage[kerberos]'",
            code=Code.AUTH_CONFIG_ERROR,
        ) from error
    _configure(config)
    library = Library(gssapi, config)
    try:
        library.check()
    except (OSError, ValueError, gssapi.exceptions.GSSError) as error:
        raise ConfigError(f"{key}: {_said(error)}", code=Code.AUTH_CONFIG_ERROR) from error
    return library


def _configure(config: KerberosConfig) -> None:
    rest = config.config_path if Path(config.config_path).exists() else _SYSTEM
    os.environ["KRB5_CONFIG"] = f"{_clock_skew_file(config.clock_skew)}:{rest}"


def _clock_skew_file(skew: timedelta) -> str:
    """A file that exists as long as this process, and says how far clocks may be apart; the first file counts."""
    descriptor = os.memfd_create("krb5.conf")
    os.write(descriptor, f"[libdefaults]\n  clockskew = {max(1, int(skew.total_seconds()))}\n".encode())
    return f"/proc/self/fd/{descriptor}"


class Library:
    """GSSAPI with one keytab.  Every method blocks; contexts may move from thread to thread."""

    def __init__(self, gssapi: Any, config: KerberosConfig) -> None:
        self._gssapi = gssapi
        # An error token is of no use to an SSH client: the failure must not hide behind it until the next call.
        self._context: Any = type("Context", (gssapi.SecurityContext,), {})
        setattr(self._context, "__DEFER_STEP_ERRORS__", False)  # noqa: B010 - it is not in the stubs
        self._keytab = config.keytab
        self._acceptor = config.acceptor
        self.default_realm = ""

    def check(self) -> None:
        """Raises what is wrong with the keytab, the acceptor or the realm."""
        self._credentials()
        self._service()
        self.default_realm = str(self._principal("x").canonicalize(self._gssapi.MechType.kerberos)).rpartition("@")[2]

    def acceptor(self) -> Any:
        """A fresh context for one client."""
        return self._context(creds=self._credentials(), usage="accept")

    def step(self, context: Any, token: bytes) -> bytes:
        """Take a client's token; our answer, maybe empty.  Raises `WrongTicket`."""
        if not token:  # to the library it is a question for SPNEGO
            raise WrongTicket("the token is empty")
        try:
            answer: bytes | None = context.step(token)
        except self._gssapi.exceptions.GSSError as error:
            raise WrongTicket(_said(error)) from None
        return answer or b""

    def finish(self, context: Any, data: bytes, mic: bytes) -> Accepted:
        """Who stands at the other end, if it vouches for `data`.  Raises `WrongTicket`."""
        try:
            if not context.complete or context.mech != self._gssapi.MechType.kerberos:
                raise WrongTicket("the context is not complete, or not Kerberos")
            context.verify_signature(data, mic)
            principal = str(context.initiator_name)
            delegated = context.delegated_creds
            return Accepted(principal, self._stored(delegated) if delegated is not None else b"")
        except self._gssapi.exceptions.GSSError as error:
            raise WrongTicket(_said(error)) from None

    def check_password(self, username: str, password: bytes) -> Accepted:
        """Ask the KDC for tickets by a password, and prove with our own keys that it is our KDC that gave them.

        Raises `WrongPassword` and `NoAnswer`.
        """
        raw, errors = self._gssapi.raw, self._gssapi.exceptions
        mechanism = self._gssapi.MechType.kerberos
        try:
            made = raw.acquire_cred_with_password(
                self._principal(username), password, usage="initiate", mechs=[mechanism]
            )
        except errors.GSSError as error:
            number = error.min_code - 2**32 if error.min_code >= 2**31 else error.min_code
            if number in _WRONG or (number == _EMPTY and not password):
                raise WrongPassword(_WRONG.get(number, "the password is empty")) from None
            raise NoAnswer(_said(error)) from None
        credentials = self._gssapi.Credentials(base=made.creds)
        try:
            client = self._context(name=self._service(), creds=credentials, usage="initiate", mech=mechanism)
            server = self.acceptor()
            server.step(client.step())
            return Accepted(str(server.initiator_name), self._stored(credentials))
        except errors.GSSError as error:
            raise NoAnswer(f"the KDC's answer is not by the keys of our keytab: {_said(error)}") from None

    def _credentials(self) -> Any:
        name = None if self._acceptor == "any" else self._service()
        return self._gssapi.Credentials(
            name=name, usage="accept", mechs=[self._gssapi.MechType.kerberos], store={"keytab": f"FILE:{self._keytab}"}
        )

    def _service(self) -> Any:
        match self._acceptor:
            case "any":
                return self._principal(first_principal(Path(self._keytab)))
            case "host":
                return self._principal(f"host/{socket.getfqdn()}")
        return self._principal(self._acceptor)

    def _principal(self, name: str) -> Any:
        return self._gssapi.Name(name, self._gssapi.NameType.kerberos_principal)

    def _stored(self, credentials: Any) -> bytes:
        with tempfile.TemporaryDirectory(prefix="moorage-krb5-") as directory:
            file = Path(directory) / "cc"
            credentials.store(store={"ccache": f"FILE:{file}"}, usage="initiate", overwrite=True)
            return file.read_bytes()


def _said(error: Exception) -> str:
    """What the library says, in one line."""
    return " ".join(str(error).split())[:300]
