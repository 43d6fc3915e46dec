"""What stands in the agent protocol's JSON: OPEN payloads built, and answers of a guest read with suspicion.

Pure functions.  Readers raise `ProtocolError` for anything that a correct agent would not say; texts that
may reach a log or a user are cut to a length and stripped of control characters.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from moorage.agent.frames import MAX_WINDOW, ProtocolError
from moorage.config.sections.names import INTERNAL_SFTP
from moorage.gateway.model import (
    Address,
    AgentSocket,
    ExitStatus,
    Jail,
    ListenSpec,
    Program,
    ProgramKind,
    Pty,
    Size,
    Target,
    TcpTarget,
    UnixTarget,
    X11Display,
)

VERSION: Final = 1
JAIL_FEATURE: Final = "sftp-jail"
"""What an agent's HELLO names that can hold SFTP clients to rules."""

_MAX_TEXT: Final = 500
"""How much of a guest's message is worth showing."""

_MAX_VARIABLE: Final = 8_192
"""Characters of base64 that a variable of a listener may take."""

_MAX_COOKIE: Final = 1_024
"""Digits of an X11 cookie; the usual one has 32."""


class Unsendable(ValueError):
    """A value that no program could be started with; the text is fit for the user."""


@dataclass(frozen=True, slots=True)
class GuestSettings:
    """How programs are started in a guest, the same for all of them."""

    shell_command: tuple[str, ...] | None = None
    """The whole argv of a shell; None: the login shell of the image's passwd."""
    subsystems: Mapping[str, str | None] = field(default_factory=lambda: {"sftp": INTERNAL_SFTP})
    """Subsystem → the program's path; None or ``internal-sftp``: the agent's built-in SFTP server."""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Variables for every program; a program's own win.  May hold secrets: never shown."""
    user: str = ""
    """Name or number, optionally ``:group``; empty: the agent's own."""
    groups: tuple[str, ...] = ()
    """Supplementary groups by name or number; empty: the user's."""
    cwd: str = ""
    """The working directory; empty: the agent chooses."""


@dataclass(frozen=True, slots=True)
class Hello:
    """What an agent said about itself."""

    version: int
    agent: str
    os: str
    arch: str
    features: frozenset[str]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an agent did not open a channel, or ended the stream."""

    code: str
    message: str


def hello(gateway: str) -> dict[str, Any]:
    """The gateway's HELLO."""
    return {"versions": [VERSION], "gateway": gateway}


def open_program(program: Program, settings: GuestSettings) -> dict[str, Any]:
    """The OPEN for `program`; raises `Unsendable` for what no process could be given."""
    message: dict[str, Any] = {"kind": "process", "env": _environment({**_variables(settings), **program.environment})}
    message |= _owner(settings)
    if settings.cwd:
        message["cwd"] = _base64(_encoded(settings.cwd))
    if program.pty is not None:
        message["pty"] = _pty(program.pty)
    match program.kind:
        case ProgramKind.SHELL:
            message["mode"] = "shell"
            if settings.shell_command:
                message["shell"] = [_base64(_encoded(word)) for word in settings.shell_command]
        case ProgramKind.EXEC:
            if b"\0" in program.command:
                raise Unsendable("A command cannot contain a NUL byte.")
            message |= {"mode": "exec", "command": _base64(program.command)}
        case ProgramKind.SUBSYSTEM:
            name = program.command.decode("utf-8", "backslashreplace")
            if name not in settings.subsystems:
                raise Unsendable("There is no such subsystem here.")
            path = settings.subsystems[name]
            if program.jail is not None or path is None or path == INTERNAL_SFTP:
                sftp = {k: v for k, v in message.items() if k in ("env", "user", "cwd")} | {"kind": "sftp"}
                return sftp if program.jail is None else sftp | {"jail": _jail(program.jail)}
            message |= {"mode": "argv", "argv": [_base64(_encoded(path))]}
    return message


def _jail(jail: Jail) -> dict[str, Any]:
    return {
        "root": _base64(_encoded(jail.root or "/")),
        "readOnly": jail.read_only,
        "hidden": list(jail.hidden),
        "quota": jail.quota_bytes,
    }


def open_file(path: str, mode: int, user: str) -> dict[str, Any]:
    """The OPEN for a file to be written to `path`."""
    if not path or "\0" in path:
        raise Unsendable("A file's path is empty or contains a NUL byte.")
    return {"kind": "file", "path": _base64(_encoded(path)), "mode": mode} | ({"user": user} if user else {})


def open_dial(target: Target, settings: GuestSettings) -> dict[str, Any]:
    """The OPEN for a connection to `target` inside the guest, with the rights of its programs."""
    return {"kind": "dial"} | _address(target) | _owner(settings)


def open_listen(spec: ListenSpec, settings: GuestSettings) -> dict[str, Any]:
    """The OPEN for a listening socket inside the guest, made as one of its programs would."""
    owner = _owner(settings)
    match spec:
        case TcpTarget() | UnixTarget():
            return {"kind": "listen"} | _address(spec) | owner
        case X11Display():
            display = {
                "protocol": _base64(spec.protocol),
                "cookie": _hexadecimal(spec.cookie),
                "screen": spec.screen,
                "single": spec.single_connection,
            }
            return {"kind": "x11", "env": _environment(_variables(settings))} | display | owner
        case AgentSocket():
            return {"kind": "ssh-agent", "env": _environment(_variables(settings))} | owner


def resize(size: Size) -> dict[str, int]:
    """The payload of RESIZE."""
    return {"columns": size.columns, "rows": size.rows, "width": size.width, "height": size.height}


def read_hello(message: Mapping[str, Any]) -> Hello:
    """What the agent's HELLO says; the version must be ours."""
    if message.get("version") != VERSION:
        raise ProtocolError(f"HELLO: the agent does not speak version {VERSION}")
    features = message.get("features", [])
    if not isinstance(features, list) or not all(isinstance(name, str) for name in features):
        raise ProtocolError("HELLO: features is not a list of names")
    name, system, machine = (_text(message.get(key, "")) for key in ("agent", "os", "arch"))
    return Hello(VERSION, name, system, machine, frozenset(features))


def read_window(message: Mapping[str, Any]) -> int:
    """The first credit in an OPEN or OPENED."""
    return read_int(message, "window", 0, MAX_WINDOW)


def read_refusal(message: Mapping[str, Any]) -> Refusal:
    """The reason in a REFUSED or ERROR."""
    return Refusal(_text(message.get("code", ""))[:64], _text(message.get("message", "")))


def read_exit(message: Mapping[str, Any]) -> ExitStatus:
    """The status in an EXIT: a code or a signal, never both."""
    text = _text(message.get("message", ""))
    if "signal" not in message:
        return ExitStatus(code=read_int(message, "code", 0, 255), message=text)
    name, core = message["signal"], message.get("core", False)
    if "code" in message or not isinstance(name, str) or not isinstance(core, bool):
        raise ProtocolError("EXIT: neither a code nor a signal")
    if not 0 < len(name) <= 64 or not name.isascii() or not name.isprintable() or " " in name or "," in name:
        raise ProtocolError("EXIT: not a signal's name")
    return ExitStatus(signal=name, core_dumped=core, message=text)


def read_accepted(message: Mapping[str, Any]) -> tuple[int, Address | None]:
    """The listener's channel and the peer's address in an OPEN of kind ``accepted``."""
    if message.get("kind") != "accepted":
        raise ProtocolError("OPEN: an agent opens channels of kind accepted only")
    listener = read_int(message, "listener", 1, 0xFFFFFFFF)
    peer = message.get("peer")
    if peer is None:
        return listener, None
    if not isinstance(peer, str) or len(peer) > 300:
        raise ProtocolError("OPEN: peer is not an address")
    host, colon, port = peer.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or len(port) > 5 or int(port) > 65535:
        raise ProtocolError("OPEN: peer is not an address")
    return listener, Address(_text(host.removeprefix("[").removesuffix("]")), int(port))


def read_listening(message: Mapping[str, Any], spec: ListenSpec) -> tuple[int, dict[bytes, bytes]]:
    """The port and the variables in the OPENED of a listening socket: what `spec` calls for, and nothing else."""
    match spec:
        case TcpTarget():
            return read_int(message, "port", 1, 65535), {}
        case UnixTarget():
            return 0, {}
        case X11Display():
            return 0, _read_variables(message, "DISPLAY", optional="XAUTHORITY")
        case AgentSocket():
            return 0, _read_variables(message, "SSH_AUTH_SOCK")


def read_int(message: Mapping[str, Any], name: str, lowest: int, highest: int) -> int:
    """The integer member `name`, within its bounds."""
    value = message.get(name)
    if type(value) is not int or not lowest <= value <= highest:
        raise ProtocolError(f"{name}: not an integer from {lowest} to {highest}")
    return value


def printable(data: bytes, limit: int = 80) -> str:
    """The first characters of `data` as one line for a log."""
    return _text(data[:limit].decode("utf-8", "replace"))


def _text(value: object) -> str:
    """`value` as one short printable line; empty for what is no text (a guest may nest anything in it)."""
    text = value if isinstance(value, str) else ""
    return "".join(c if c.isprintable() else " " for c in text[:_MAX_TEXT]).strip()


def _read_variables(message: Mapping[str, Any], name: str, optional: str = "") -> dict[bytes, bytes]:
    environment = message.get("environment")
    if not isinstance(environment, dict) or name not in environment:
        raise ProtocolError(f"OPENED: no {name}")
    variables = {}
    for key in (name, optional):
        if key in environment:
            variables[key.encode()] = _read_variable(environment[key])
    return variables


def _read_variable(text: object) -> bytes:
    if not isinstance(text, str) or not 0 < len(text) <= _MAX_VARIABLE:
        raise ProtocolError("OPENED: a variable is no text, or empty, or too long")
    try:
        value = b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ProtocolError("OPENED: a variable is not in base64") from error
    if b"\0" in value:
        raise ProtocolError("OPENED: a variable contains a NUL byte")
    return value


def _variables(settings: GuestSettings) -> dict[bytes, bytes]:
    return {_encoded(name): _encoded(value) for name, value in settings.environment.items()}


def _owner(settings: GuestSettings) -> dict[str, Any]:
    """Whose rights count in the guest."""
    owner: dict[str, Any] = {"user": settings.user} if settings.user else {}
    return owner | ({"groups": list(settings.groups)} if settings.groups else {})


def _hexadecimal(cookie: bytes) -> str:
    if not 0 < len(cookie) <= _MAX_COOKIE or len(cookie) % 2 or not set(cookie) <= set(b"0123456789abcdefABCDEF"):
        raise Unsendable("The cookie of X11 is not hexadecimal.")
    return cookie.decode("ascii")


def _environment(variables: Mapping[bytes, bytes]) -> list[str]:
    for name, value in variables.items():
        if not name or b"=" in name or b"\0" in name:
            raise Unsendable("A variable's name is empty or contains '=' or a NUL byte.")
        if b"\0" in value:
            raise Unsendable("A variable's value cannot contain a NUL byte.")
    return [_base64(name + b"=" + value) for name, value in variables.items()]


def _pty(pty: Pty) -> dict[str, Any]:
    if b"\0" in pty.term:
        raise Unsendable("A terminal's type cannot contain a NUL byte.")
    return {"term": _base64(pty.term), "modes": {str(k): v for k, v in pty.modes.items()}} | resize(pty.size)


def _address(target: Target) -> dict[str, str]:
    if isinstance(target, UnixTarget):
        if not target.path or b"\0" in target.path:
            raise Unsendable("A socket's path is empty or contains a NUL byte.")
        return {"network": "unix", "address": _base64(target.path)}
    host = f"[{target.host}]" if ":" in target.host else target.host
    return {"network": "tcp", "address": f"{host}:{target.port}"}


def _encoded(text: str) -> bytes:
    data = text.encode("utf-8", "surrogateescape")
    if b"\0" in data:
        raise Unsendable("A value contains a NUL byte.")
    return data


def _base64(data: bytes) -> str:
    return b64encode(data).decode("ascii")
