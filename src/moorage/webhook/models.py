"""What hooks are asked and what they answer, as the protocol of ContainerSSH 0.5 and 0.6 has it, with our additions.

Requests are read leniently: fields that nobody knows yet are ignored, so that a server goes on working with later
versions.  Answers are made strictly.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.alias_generators import to_camel

Method = Literal["publickey", "password", "keyboard-interactive", "gssapi-with-mic"]


class _Model(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, frozen=True, hide_input_in_errors=True
    )


def _decoded(text: str) -> bytes:
    try:
        return b64decode(text.replace("\n", "").replace("\r", ""), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("this is not base64") from None


class TextValue(_Model):
    """A text, and whether it is secret."""

    value: str = ""
    """The text."""

    sensitive: bool = False
    """A secret: it reaches the guest, but is not sent on to later hooks unless the server is told to."""

    def __repr_args__(self) -> Any:
        yield "value", "…" if self.sensitive else self.value


class BinaryValue(_Model):
    """Bytes in base64, and whether they are secret."""

    value: str = Field(default="", json_schema_extra={"format": "byte"})
    """Standard base64 with padding."""

    sensitive: bool = False
    """As for texts."""

    @field_validator("value")
    @classmethod
    def _is_base64(cls, value: str) -> str:
        _decoded(value)
        return value

    @classmethod
    def of(cls, content: bytes, *, sensitive: bool = False) -> BinaryValue:
        """The value that stands for `content`."""
        return cls(value=b64encode(content).decode(), sensitive=sensitive)

    @property
    def content(self) -> bytes:
        """The bytes."""
        return _decoded(self.value)

    def __repr_args__(self) -> Any:
        yield "value", f"{len(self.value)} characters"


class _Attached(_Model):
    metadata: dict[str, TextValue] = Field(default_factory=dict)
    """What hooks and backends tell each other about the login, by name."""

    environment: dict[str, TextValue] = Field(default_factory=dict)
    """Environment variables of the guest."""

    files: dict[str, BinaryValue] = Field(default_factory=dict)
    """Files of the guest, by their absolute path."""


class _Request(_Attached):
    remote_address: str = ""
    """Where the user comes from: `ip:port`, IPv6 in brackets."""

    connection_id: str = ""
    """32 hexadecimal digits, the same in all hooks and logs of one connection."""

    client_version: str = ""
    """The identification line of the SSH client."""

    username: str
    """The name given to SSH. Nobody has verified it unless `authenticatedUsername` says so."""


class PasswordRequest(_Request):
    """Is this the user's password?"""

    password_base64: str = Field(repr=False, json_schema_extra={"format": "byte"})
    """The bytes of the password in standard base64."""

    @field_validator("password_base64")
    @classmethod
    def _is_base64(cls, value: str) -> str:
        _decoded(value)
        return value

    @property
    def password(self) -> bytes:
        """The password, as the client has sent it."""
        return _decoded(self.password_base64)


class Certificate(_Model):
    """A certificate whose authority, validity and principals the server has verified. An addition."""

    model_config = ConfigDict(extra="allow")


class PublicKeyRequest(_Request):
    """May this key log in? Asked before the client has proved that it has the private key."""

    public_key: str
    """Type, space, base64; no comment."""

    ca_certificate: Certificate | None = None
    """Set if the key is a certificate that was verified. An addition."""


class _Authenticated(_Request):
    authenticated_username: str = ""
    """The name that an earlier hook or provider has verified; empty if none has named one."""


class AuthorizationRequest(_Authenticated):
    """May this user, who has proved who he is, go on?"""


class OneTimePasswordRequest(_Authenticated):
    """Is this the user's one-time password? An addition."""

    otp: str = Field(repr=False)
    """What the user has typed."""


class ConfigurationRequest(_Authenticated):
    """Which configuration does this login get?"""


class _Answer(_Attached):
    model_config = ConfigDict(extra="forbid")

    authenticated_username: str = ""
    """The verified name; empty keeps the one there is."""


class Accepted(_Answer):
    """Yes, with what is attached to the login. A plain `True` attaches nothing; `False` is the only no."""

    further_methods: tuple[Method, ...] = ()
    """Methods that have to succeed as well, in this order. An addition."""


class Configuration(_Answer):
    """What is laid over the server's own configuration for this login."""

    config: dict[str, Any] = Field(default_factory=dict)
    """Keys as in the configuration file; what is left out stays as it is."""
