"""Every private name of asyncssh that Moorage relies on, each with what is expected of it.

A failure here after an upgrade says what asyncssh has changed; `moorage.ssh.connection` and
`moorage.ssh.channel` are the only files that then need a look.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from asyncssh import encryption, packet
from asyncssh.channel import SSHChannel, SSHServerChannel, SSHTCPChannel
from asyncssh.connection import SSHConnection, SSHServerConnection
from asyncssh.crypto.chacha import ChachaCipher
from asyncssh.crypto.cipher import GCMCipher

import moorage.ssh.channel
import moorage.ssh.connection

CONNECTION_ATTRIBUTES: Mapping[str, object] = {
    "_auth": None,
    "_auth_complete": False,
    "_auth_final": False,
    "_auth_in_progress": False,
    "_channels": {},
    "_client_version": b"",
    "_compressor": None,
    "_decompressor": None,
    "_deferred_packets": [],
    "_enc_alg_sc": b"",
    "_extensions_to_send": {},
    "_global_request_waiters": [],
    "_ignore_first_kex": False,
    "_inpbuf": b"",
    "_kex": None,
    "_kex_complete": False,
    "_max_recv_pktlen": 256 * 1024,
    "_next_decompressor": None,
    "_next_recv_encryption": None,
    "_recv_encryption": None,
    "_recv_seq": 0,
    "_rekey_bytes": 1 << 30,
    "_rekey_bytes_sent": 0,
    "_rekey_seconds": 3600,
    "_rekey_time": 0.0,
    "_send_blocksize": 8,
    "_send_encryption": None,
    "_send_seq": 0,
    "_server_host_key": None,
    "_session_id": b"",
    "_tasks": set(),
    "_transport": None,
    "_username": "",
}
"""Attributes of a fresh connection and their values."""

CONNECTION_TYPES: Mapping[str, type] = {
    "_kex_algs": list,
    "_loop": asyncio.AbstractEventLoop,
    "_server_host_keys": dict,
}
"""Attributes whose values depend on the options."""

CONNECTION_METHODS: Mapping[str, list[str]] = {
    "_cleanup": ["self", "exc"],
    "_force_close": ["self", "exc"],
    "_make_global_request": ["self", "request", "args"],
    "_process_channel_open": ["self", "_pkttype", "_pktid", "packet"],
    "_process_disconnect": ["self", "_pkttype", "_pktid", "packet"],
    "_process_global_request": ["self", "_pkttype", "_pktid", "packet"],
    "_process_kexinit": ["self", "_pkttype", "_pktid", "packet"],
    "_process_userauth_request": ["self", "_pkttype", "_pktid", "packet"],
    "_recv_data": ["self"],
    "_recv_pkthdr": ["self"],
    "_recv_version": ["self"],
    "_send": ["self", "data"],
    "_send_disconnect": ["self", "code", "reason", "lang"],
    "_send_kexinit": ["self"],
    "choose_server_host_key": ["self", "peer_host_key_algs"],
    "connection_lost": ["self", "exc"],
    "create_task": ["self", "coro", "task_logger"],
    "data_received": ["self", "data", "datatype"],
    "disconnect": ["self", "code", "reason", "lang"],
    "internal_error": ["self", "exc_info", "error_logger"],
    "pause_writing": ["self"],
    "resume_writing": ["self"],
    "send_auth_banner": ["self", "msg", "lang"],
    "send_channel_open_failure": ["self", "send_chan", "code", "reason", "lang"],
    "send_newkeys": ["self", "k", "h"],
    "send_packet": ["self", "pkttype", "args", "handler"],
    "send_userauth_success": ["self"],
}

CHANNEL_ATTRIBUTES: Mapping[str, object] = {
    "_open_waiter": None,
    "_recv_buf": [],
    "_recv_paused": "starting",
    "_recv_state": "closed",
    "_recv_window": 4096,
    "_send_buf": [],
    "_send_buf_len": 0,
    "_send_chan": None,
    "_send_high_water": 65536,
    "_send_low_water": 16384,
    "_send_paused": False,
    "_send_pktsize": 0,
    "_send_state": "closed",
    "_send_window": 0,
    "_session": None,
}

CHANNEL_TYPES: Mapping[str, type] = {
    "_conn": SSHServerConnection,
    "_loop": asyncio.AbstractEventLoop,
    "_recv_chan": int,
}

CHANNEL_METHODS: Mapping[str, list[str]] = {
    "_accept_data": ["self", "data", "datatype"],
    "_cleanup": ["self", "exc"],
    "_deliver_data": ["self", "data", "datatype"],
    "_discard_recv": ["self"],
    "_flush_recv_buf": ["self", "exc"],
    "_flush_send_buf": ["self"],
    "_pause_resume_writing": ["self"],
    "_process_close": ["self", "_pkttype", "_pktid", "packet"],
    "_process_extended_data": ["self", "_pkttype", "_pktid", "packet"],
    "_process_request": ["self", "_pkttype", "_pktid", "packet"],
    "_send_request": ["self", "request", "args", "want_reply"],
    "close": ["self"],
    "process_open": ["self", "send_chan", "send_window", "send_pktsize", "session"],
    "process_open_confirmation": ["self", "send_chan", "send_window", "send_pktsize", "packet"],
    "process_open_failure": ["self", "code", "reason", "lang"],
    "send_packet": ["self", "pkttype", "args"],
    "set_write_buffer_limits": ["self", "high", "low"],
    "write": ["self", "data", "datatype"],
    "write_eof": ["self"],
}

ELSEWHERE = {"_packet_handlers", "_recv_handler", "_key", "_iv", "_adkey", "_cipher"}
"""Names with a test of their own below."""


@pytest.fixture
async def connection() -> SSHServerConnection:
    key = asyncssh.generate_private_key("ssh-ed25519")
    options = asyncssh.SSHServerConnectionOptions(
        config=[], server_host_keys=[key], gss_host=None, login_timeout=0, kex_algs=["curve25519-sha256"]
    )
    return SSHServerConnection(asyncio.get_running_loop(), options)


@pytest.fixture
async def channel(connection: SSHServerConnection) -> SSHChannel[bytes]:
    connection._transport = object()  # type: ignore[assignment]
    made = SSHServerChannel[bytes](
        connection, asyncio.get_running_loop(), True, False, False, 0, 0, None, "strict", 4096, 1024
    )
    connection._transport = None
    return made


def changed(name: str, was: object, now: object) -> str:
    return f"asyncssh changed {name}: expected {was!r}, found {now!r}"


@pytest.mark.parametrize("name", CONNECTION_ATTRIBUTES)
async def test_connection_attribute(connection: SSHServerConnection, name: str) -> None:
    now = vars(connection).get(name, "nothing")
    was = CONNECTION_ATTRIBUTES[name]
    assert now == was, changed(f"SSHConnection.{name}", was, now)


@pytest.mark.parametrize("name", CONNECTION_TYPES)
async def test_connection_attribute_type(connection: SSHServerConnection, name: str) -> None:
    now = vars(connection).get(name)
    assert isinstance(now, CONNECTION_TYPES[name]), changed(f"SSHConnection.{name}", CONNECTION_TYPES[name], type(now))


@pytest.mark.parametrize("name", CHANNEL_ATTRIBUTES)
async def test_channel_attribute(channel: SSHChannel[bytes], name: str) -> None:
    now = vars(channel).get(name, "nothing")
    was = CHANNEL_ATTRIBUTES[name]
    assert now == was, changed(f"SSHChannel.{name}", was, now)


@pytest.mark.parametrize("name", CHANNEL_TYPES)
async def test_channel_attribute_type(channel: SSHChannel[bytes], name: str) -> None:
    now = vars(channel).get(name)
    assert isinstance(now, CHANNEL_TYPES[name]), changed(f"SSHChannel.{name}", CHANNEL_TYPES[name], type(now))


def parameters(owner: type, name: str) -> list[str]:
    method = getattr(owner, name, None)
    assert method is not None, changed(f"{owner.__name__}.{name}", "a method", None)
    return list(inspect.signature(method).parameters)


@pytest.mark.parametrize("name", CONNECTION_METHODS)
def test_connection_method(name: str) -> None:
    now, was = parameters(SSHServerConnection, name), CONNECTION_METHODS[name]
    assert now == was, changed(f"SSHServerConnection.{name}()", was, now)


@pytest.mark.parametrize("name", CHANNEL_METHODS)
def test_channel_method(name: str) -> None:
    now, was = parameters(SSHServerChannel, name), CHANNEL_METHODS[name]
    assert now == was, changed(f"SSHChannel.{name}()", was, now)


def test_server_channel_construction() -> None:
    was = ["self", "conn", "loop", "allow_pty", "line_editor", "line_echo", "line_history"]
    was += ["max_line_length", "encoding", "errors", "window", "max_pktsize"]
    now = parameters(SSHServerChannel, "__init__")
    assert now == was, changed("SSHServerChannel()", was, now)


def test_forward_channel_construction() -> None:
    was = ["self", "conn", "loop", "encoding", "errors", "window", "max_pktsize"]
    now = parameters(SSHTCPChannel, "__init__")
    assert now == was, changed("SSHTCPChannel()", was, now)


async def test_recv_handler(connection: SSHServerConnection) -> None:
    now = connection._recv_handler
    assert now == connection._recv_version, changed("SSHConnection._recv_handler", "_recv_version", now)


@pytest.mark.parametrize(
    ("owner", "number", "name"),
    [
        (SSHConnection, 20, "_process_kexinit"),
        (SSHConnection, 50, "_process_userauth_request"),
        (SSHConnection, 80, "_process_global_request"),
        (SSHConnection, 90, "_process_channel_open"),
        (SSHChannel, 94, "_process_data"),
        (SSHChannel, 95, "_process_extended_data"),
        (SSHChannel, 97, "_process_close"),
        (SSHChannel, 98, "_process_request"),
    ],
)
def test_packet_handlers(owner: Any, number: int, name: str) -> None:
    now = owner._packet_handlers.get(number)
    assert now is getattr(owner, name), changed(f"{owner.__name__}._packet_handlers[{number}]", name, now)


def test_gcm_cipher_state() -> None:
    stock = encryption.get_encryption(b"aes128-gcm@openssh.com", bytes(16), bytes(range(12)))
    assert isinstance(stock, encryption.GCMEncryption), changed("GCMEncryption", "a class", stock)
    assert isinstance(stock._cipher, GCMCipher), changed("GCMEncryption._cipher", GCMCipher, stock._cipher)
    state = (stock._cipher._key, stock._cipher._iv)
    assert state == (bytes(16), bytes(range(12))), changed("GCMCipher._key, ._iv", "key and nonce", state)
    stock.encrypt_packet(0, bytes(4), bytes(16))
    now = stock._cipher._iv
    assert now == bytes(range(11)) + b"\x0c", changed("GCMCipher._iv", "the next packet's nonce", now)


def test_chacha_cipher_state() -> None:
    key = bytes(range(64))
    stock = encryption.get_encryption(b"chacha20-poly1305@openssh.com", key, b"")
    assert isinstance(stock, encryption.ChachaEncryption), changed("ChachaEncryption", "a class", stock)
    assert isinstance(stock._cipher, ChachaCipher), changed("ChachaEncryption._cipher", ChachaCipher, stock._cipher)
    state = stock._cipher._key + stock._cipher._adkey
    assert state == key, changed("ChachaCipher._key, ._adkey", "both keys", state)


@pytest.mark.parametrize("name", ["Boolean", "NameList", "String", "UInt32", "SSHPacket", "PacketDecodeError"])
def test_packet_helper(name: str) -> None:
    assert hasattr(packet, name), changed(f"asyncssh.packet.{name}", "there", None)


@pytest.mark.parametrize(
    ("module", "tables"),
    [
        (moorage.ssh.connection, (CONNECTION_ATTRIBUTES, CONNECTION_TYPES, CONNECTION_METHODS)),
        (moorage.ssh.channel, (CHANNEL_ATTRIBUTES, CHANNEL_TYPES, CHANNEL_METHODS)),
    ],
)
async def test_the_tables_above_are_complete(
    module: Any, tables: tuple[Mapping[str, object], ...], connection: SSHServerConnection, channel: SSHChannel[bytes]
) -> None:
    theirs = set(dir(connection)) | set(dir(channel))
    used = {name for name in private_names(module) if name in theirs}
    named = {name for table in tables for name in table} | ELSEWHERE
    assert used - named == set()


async def test_our_own_names_hide_none_of_theirs(connection: SSHServerConnection, channel: SSHChannel[bytes]) -> None:
    relied_on = {*CONNECTION_ATTRIBUTES, *CONNECTION_TYPES, *CHANNEL_ATTRIBUTES, *CHANNEL_TYPES}
    for module, base, overridden in (
        (moorage.ssh.connection, connection, CONNECTION_METHODS),
        (moorage.ssh.channel, channel, CHANNEL_METHODS),
    ):
        assert module.__file__ is not None
        tree = ast.parse(Path(module.__file__).read_text())
        classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
        ours = {
            node.name
            for owner in classes
            for node in owner.body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("_")
        } - {"__init__"}
        ours |= {
            node.attr
            for owner in classes
            for node in ast.walk(owner)
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and node.attr.startswith("_")
        }
        hidden = {name for name in ours if hasattr(base, name)} - set(overridden) - relied_on
        assert hidden == set(), f"asyncssh has got names that we use for something else: {hidden}"


@pytest.mark.parametrize(
    "path", sorted(Path(moorage.ssh.connection.__file__ or "").parent.glob("*.py")), ids=lambda path: path.name
)
def test_private_names_stand_in_two_files_only(path: Path) -> None:
    if path.name in {"connection.py", "channel.py"}:
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            owner = node.value
            assert isinstance(owner, ast.Name), f"{path.name}:{node.lineno}"
            assert owner.id == "self", f"{path.name}:{node.lineno}"


def private_names(module: Any) -> set[str]:
    """Underscored names that a module reads or writes on any object."""
    tree = ast.parse(Path(module.__file__).read_text())
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    names |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    return {name for name in names if name.startswith("_") and not name.startswith("__")}
