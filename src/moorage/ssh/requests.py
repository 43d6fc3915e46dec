"""The payloads of requests (RFC 4254 §6 and §7), from wire to values.  Pure.

Each function raises `PacketDecodeError` or `ValueError` for a payload that is not
well-formed; the request is then answered with failure.
"""

from __future__ import annotations

import re
from typing import Final

from asyncssh.packet import SSHPacket

from moorage.gateway.model import Address, Pty, Size, TcpTarget, UnixTarget, X11Display

_LARGEST: Final = 0xFFFF
"""Terminal sizes are 16 bits wide in every kernel."""

_LAST_MODE: Final = 159  # RFC 4254 §8: opcodes 160 to 255 are not yet defined and end the list
_LONGEST_TERM: Final = 128
_MOST_TOLD: Final = 4096
_LONGEST_NAME: Final = 256
_LONGEST_REASON: Final = 200


def told(name: bytes, packet: SSHPacket, head: int, error: Exception | None = None) -> tuple[str, bytes, str]:
    """What is told of a request that nobody understands: its name, its payload, what is wrong; as much as is kept.

    `head` counts the bytes before the name: the message's number, and the channel's where there is one.
    """
    start = head + 4 + len(name) + 1
    payload = packet.get_full_payload()[start : start + _MOST_TOLD]
    reason = "" if error is None else str(error)[:_LONGEST_REASON] or type(error).__name__
    return name[:_LONGEST_NAME].decode("utf-8", "backslashreplace"), payload, reason


_LONGEST_HOST: Final = 255  # RFC 1035 §2.3.4
_LONGEST_PATH: Final = 4096
_COOKIE: Final = re.compile(rb"(?:[0-9A-Fa-f]{2}){1,128}")
_PROTOCOL: Final = re.compile(rb"[!-~]{1,64}")


def pty(packet: SSHPacket) -> Pty:
    """``pty-req``: the terminal's type, size and modes."""
    term = packet.get_string()
    size = _size(packet)
    modes = packet.get_string()
    packet.check_end()
    if len(term) > _LONGEST_TERM or b"\0" in term:
        raise ValueError("no terminal type")
    return Pty(term, size, terminal_modes(modes))


def terminal_modes(encoded: bytes) -> dict[int, int]:
    """Opcode → argument; a later one wins.  What follows the end mark is ignored."""
    modes: dict[int, int] = {}
    packet = SSHPacket(encoded)
    while packet:
        opcode = packet.get_byte()
        if opcode == 0 or opcode > _LAST_MODE:
            break
        modes[opcode] = packet.get_uint32()
    return modes


def window_change(packet: SSHPacket) -> Size:
    """``window-change``: the new size."""
    size = _size(packet)
    packet.check_end()
    return size


def environment(packet: SSHPacket) -> tuple[bytes, bytes]:
    """``env``: name and value."""
    name, value = packet.get_string(), packet.get_string()
    packet.check_end()
    return name, value


def text(packet: SSHPacket) -> bytes:
    """``exec`` and ``subsystem``: the command or the name."""
    value = packet.get_string()
    packet.check_end()
    return value


def signal(packet: SSHPacket) -> str:
    """``signal``: the name, without ``SIG``."""
    name = text(packet).decode("ascii")
    if not 0 < len(name) <= 32:
        raise ValueError("no signal name")
    return name.removeprefix("SIG")


def nothing(packet: SSHPacket) -> bytes:
    """``shell``: there is no payload."""
    packet.check_end()
    return b""


def x11(packet: SSHPacket) -> X11Display:
    """``x11-req``: the display that is asked for (§6.3.1)."""
    single = packet.get_boolean()
    protocol, cookie, screen = packet.get_string(), packet.get_string(), packet.get_uint32()
    packet.check_end()
    if not _PROTOCOL.fullmatch(protocol) or not _COOKIE.fullmatch(cookie) or screen > _LARGEST:
        raise ValueError("no display")
    return X11Display(protocol, cookie, screen, single)


def tcp(packet: SSHPacket) -> TcpTarget:
    """The host and port in ``direct-tcpip``, ``tcpip-forward`` and its cancelling (§7); the packet may go on."""
    host, port = packet.get_string(), packet.get_uint32()
    if len(host) > _LONGEST_HOST or port > _LARGEST or not all(33 <= byte <= 126 for byte in host):
        raise ValueError("no host and port")
    return TcpTarget(host.decode("ascii"), port)


def originator(packet: SSHPacket) -> Address:
    """Who has connected, at the end of ``direct-tcpip``."""
    host, port = packet.get_string(), packet.get_uint32()
    packet.check_end()
    return Address(host[:_LONGEST_HOST].decode("ascii", "backslashreplace"), min(port, _LARGEST))


def unix(packet: SSHPacket) -> UnixTarget:
    """The path in ``streamlocal-forward@openssh.com`` and its kin; the packet may go on."""
    path = packet.get_string()
    if not 0 < len(path) <= _LONGEST_PATH or b"\0" in path:
        raise ValueError("no path")
    return UnixTarget(path)


def _size(packet: SSHPacket) -> Size:
    columns, rows, width, height = (min(packet.get_uint32(), _LARGEST) for _ in range(4))
    return Size(columns, rows, width, height)
