"""New keys again and again while much is copied: every byte arrives, in order.  Nightly runs copy 3 GB each way."""

from __future__ import annotations

import hashlib
import os
import subprocess
import threading

import pytest
from tests.e2e.megabytes import IS_NIGHTLY, MB, block, digest_of
from tests.e2e.places import Place

SIZE, LIMIT = (3 * 1024, "8M") if IS_NIGHTLY else (48, "1M")
"""Megabytes, and after how many the client asks for new keys; the server asks after a gigabyte of its own accord."""


@pytest.fixture(scope="module")
def expected() -> str:
    """The digest of all that is copied."""
    return digest_of(SIZE)


@pytest.mark.timeout(1200 if IS_NIGHTLY else 60)
def test_much_goes_both_ways_at_once_through_many_exchanges_of_keys(place: Place, expected: str) -> None:
    client = place.user.start("cat", options=[f"RekeyLimit={LIMIT}", "LogLevel=DEBUG1"])
    assert client.stdin is not None
    assert client.stdout is not None
    assert client.stderr is not None
    said: list[bytes] = []
    digest = hashlib.sha256()
    listening = threading.Thread(target=lambda: said.extend(client.stderr or ()))
    writing = threading.Thread(target=_write, args=(client,))
    listening.start()
    writing.start()
    while data := os.read(client.stdout.fileno(), MB):
        digest.update(data)
    writing.join()
    listening.join()
    assert client.wait() == 0
    assert digest.hexdigest() == expected
    exchanges = sum(b"SSH2_MSG_NEWKEYS received" in line for line in said)
    assert exchanges > SIZE // int(LIMIT[:-1]) // 2


def _write(client: subprocess.Popen[bytes]) -> None:
    assert client.stdin is not None
    for number in range(SIZE):
        client.stdin.write(block(number))
    client.stdin.close()


@pytest.mark.timeout(1200 if IS_NIGHTLY else 60)
def test_much_goes_in_through_many_exchanges_of_keys(place: Place, expected: str) -> None:
    client = place.user.start("sha256sum", options=[f"RekeyLimit={LIMIT}"])
    _write(client)
    assert client.stdout is not None
    assert client.stdout.read().split()[0].decode() == expected
    assert client.wait() == 0
