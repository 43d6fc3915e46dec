"""The payloads of channel requests (RFC 4254 §6), from wire to values.  Pure.

Each function raises `PacketDecodeError` or `ValueError` for a payload that is not
well-formed; the request is then answered with failure.
"""

from __future__ import annotations

from typing import Final

from asyncssh.packet import SSHPacket

from moorage.gateway.model import Pty, Size

_LARGEST: Final = 0xFFFF
"""Terminal sizes are 16 bits wide in every kernel."""

_LAST_MODE: Final = 159  # RFC 4254 §8: opcodes 160 to 255 are not yet defined and end the list
_LONGEST_TERM: Final = 128


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


def _size(packet: SSHPacket) -> Size:
    columns, rows, width, height = (min(packet.get_uint32(), _LARGEST) for _ in range(4))
    return Size(columns, rows, width, height)
