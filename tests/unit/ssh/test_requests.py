"""Channel requests from wire to values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from asyncssh.packet import Boolean, PacketDecodeError, SSHPacket, String, UInt32
from hypothesis import given
from hypothesis import strategies as st

from moorage.gateway.model import Address, Pty, Size, TcpTarget, UnixTarget, X11Display
from moorage.ssh import requests

SIZE = UInt32(80) + UInt32(24) + UInt32(640) + UInt32(480)


def test_a_terminal_has_type_size_and_modes() -> None:
    modes = b"\x01\0\0\0\x03\x35\0\0\0\x01\0trailing"
    packet = SSHPacket(String("xterm") + SIZE + String(modes))
    assert requests.pty(packet) == Pty(b"xterm", Size(80, 24, 640, 480), {1: 3, 53: 1})


@pytest.mark.parametrize(
    ("encoded", "modes"),
    [
        (b"", {}),
        (b"\0", {}),
        (b"\x01\0\0\0\x03", {1: 3}),
        (b"\x01\0\0\0\x03\x01\0\0\0\x04\0", {1: 4}),
        (b"\xa0\0\0\0\x03\x01\0\0\0\x03", {}),
        (b"\x9f\xff\xff\xff\xff", {159: 0xFFFFFFFF}),
    ],
)
def test_modes_end_where_the_rfc_says(encoded: bytes, modes: dict[int, int]) -> None:
    assert requests.terminal_modes(encoded) == modes


def test_sizes_are_what_a_kernel_can_hold() -> None:
    assert requests.window_change(SSHPacket(UInt32(0xFFFFFFFF) * 4)) == Size(65535, 65535, 65535, 65535)


@pytest.mark.parametrize(("name", "signal"), [("TERM", "TERM"), ("SIGTERM", "TERM"), ("RTMIN@x", "RTMIN@x")])
def test_signals_have_names_without_sig(name: str, signal: str) -> None:
    assert requests.signal(SSHPacket(String(name))) == signal


PARSERS: list[Callable[[SSHPacket], Any]] = [
    requests.pty,
    requests.window_change,
    requests.environment,
    requests.text,
    requests.signal,
    requests.nothing,
]


@pytest.mark.parametrize("parser", PARSERS)
@given(payload=st.binary(max_size=200))
def test_any_payload_is_a_value_or_one_of_two_errors(parser: Callable[[SSHPacket], Any], payload: bytes) -> None:
    try:
        parser(SSHPacket(payload))
    except (PacketDecodeError, ValueError):
        return


@pytest.mark.parametrize(
    ("parser", "payload"),
    [
        (requests.pty, String("x" * 129) + SIZE + String("")),
        (requests.pty, String("x\0") + SIZE + String("")),
        (requests.pty, String("xterm") + SIZE + String(b"\x01\0")),
        (requests.window_change, SIZE + b"x"),
        (requests.signal, String("")),
        (requests.signal, String("X" * 33)),
        (requests.signal, String(b"\xff")),
        (requests.environment, String("A")),
        (requests.nothing, b"x"),
    ],
)
def test_what_is_not_well_formed_is_refused(parser: Callable[[SSHPacket], Any], payload: bytes) -> None:
    with pytest.raises((PacketDecodeError, ValueError)):
        parser(SSHPacket(payload))


def test_a_display_has_protocol_cookie_and_screen() -> None:
    packet = SSHPacket(Boolean(True) + String("MIT-MAGIC-COOKIE-1") + String("00FF") + UInt32(2))
    shown = requests.x11(packet)
    assert shown == X11Display(b"MIT-MAGIC-COOKIE-1", b"00FF", 2, True)
    assert "00FF" not in repr(shown)


def test_a_target_is_read_and_who_asks_for_it() -> None:
    packet = SSHPacket(String("db.internal") + UInt32(5432) + String("10.0.0.1") + UInt32(99))
    assert requests.tcp(packet) == TcpTarget("db.internal", 5432)
    assert requests.originator(packet) == Address("10.0.0.1", 99)
    assert requests.unix(SSHPacket(String(b"/run/\xff"))) == UnixTarget(b"/run/\xff")
    assert requests.tcp(SSHPacket(String("") + UInt32(0))) == TcpTarget("", 0)


def test_an_originator_is_never_a_reason_to_refuse() -> None:
    packet = SSHPacket(String(b"\xff\n" + b"a" * 9000) + UInt32(1 << 31))
    read = requests.originator(packet)
    assert read.port == 65535
    assert len(read.host) < 1100


@pytest.mark.parametrize("host", [b"a b", b"a\0b", b"a\n", b"\xc3\xa4", b"a" * 256])
def test_what_is_no_host(host: bytes) -> None:
    with pytest.raises(ValueError, match="no host"):
        requests.tcp(SSHPacket(String(host) + UInt32(1)))


READERS = (
    *(requests.pty, requests.window_change, requests.environment, requests.text, requests.signal),
    *(requests.nothing, requests.x11, requests.tcp, requests.unix, requests.originator),
)


@given(st.binary(max_size=400))
def test_any_payload_is_read_or_refused(payload: bytes) -> None:
    for read in (*READERS, lambda packet: requests.terminal_modes(packet.get_full_payload())):
        try:
            read(SSHPacket(payload))
        except (PacketDecodeError, ValueError):
            continue


@given(st.binary(max_size=40), st.lists(st.integers(0, 2**32 - 1), min_size=4, max_size=4), st.binary(max_size=300))
def test_any_terminal_is_bounded(term: bytes, numbers: list[int], modes: bytes) -> None:
    payload = String(term) + b"".join(map(UInt32, numbers)) + String(modes)
    try:
        pty = requests.pty(SSHPacket(payload))
    except (PacketDecodeError, ValueError):
        return
    assert max(pty.size.columns, pty.size.rows, pty.size.width, pty.size.height) <= 0xFFFF
    assert all(0 < opcode < 160 and 0 <= value < 2**32 for opcode, value in pty.modes.items())
