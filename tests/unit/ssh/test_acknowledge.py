"""Small packets are acknowledged at once; the kernel judges about streams."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from moorage.ssh.acknowledge import SMALL, acknowledge


class Stream(asyncio.Transport):
    """A transport on a given socket."""

    def __init__(self, stream: socket.socket | None) -> None:
        super().__init__({"socket": stream})


@pytest.fixture
def connected() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        stream, _ = server.accept()
        with stream:
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
            yield stream


def is_quick(stream: socket.socket) -> bool:
    return bool(stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK))


def test_a_small_packet_is_acknowledged_at_once(connected: socket.socket) -> None:
    assert not is_quick(connected)
    acknowledge(Stream(connected), 40)
    assert is_quick(connected)


def test_a_stream_of_data_is_left_to_the_kernel(connected: socket.socket) -> None:
    acknowledge(Stream(connected), SMALL)
    assert not is_quick(connected)


def test_what_is_no_open_tcp_socket_is_let_be() -> None:
    acknowledge(Stream(None), 1)
    ours, theirs = socket.socketpair()
    acknowledge(Stream(ours), 1)
    ours.close()
    theirs.close()
    acknowledge(Stream(ours), 1)
