"""Headers of the PROXY protocol: what is one, what is none, and how much of it there has to be."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.net.proxy import LONGEST, Header, ProxyError, read_header

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
IPV4 = bytes((192, 0, 2, 1, 203, 0, 113, 9)) + struct.pack(">HH", 50000, 22)
IPV6 = bytes.fromhex("20010db8" + "00" * 11 + "01" + "20010db8" + "00" * 11 + "02") + struct.pack(">HH", 1, 2222)


def v2(body: bytes, *, command: int = 0x21, family: int = 0x11) -> bytes:
    return SIGNATURE + struct.pack(">BBH", command, family, len(body)) + body


GOOD = [
    (b"PROXY TCP4 192.0.2.1 203.0.113.9 50000 22\r\n", ("192.0.2.1", 50000), ("203.0.113.9", 22)),
    (b"PROXY TCP6 2001:db8:0::1 2001:DB8::2 1 65535\r\n", ("2001:db8::1", 1), ("2001:db8::2", 65535)),
    (b"PROXY TCP6 ::ffff:192.0.2.1 ::1 0 2222\r\n", ("192.0.2.1", 0), ("::1", 2222)),
    (b"PROXY UNKNOWN\r\n", None, None),
    (b"PROXY UNKNOWN ffff:f...f:ffff what ever 65535\r\n", None, None),
    (v2(IPV4), ("192.0.2.1", 50000), ("203.0.113.9", 22)),
    (v2(IPV4 + b"\x04\x00\x01x"), ("192.0.2.1", 50000), ("203.0.113.9", 22)),
    (v2(IPV6, family=0x21), ("2001:db8::1", 1), ("2001:db8::2", 2222)),
    (v2(bytes(10) + b"\xff\xff" + IPV4[:4] + IPV6[16:], family=0x21), ("192.0.2.1", 1), ("2001:db8::2", 2222)),
    (v2(b"", command=0x20), None, None),
    (v2(IPV4, command=0x20), None, None),
    (v2(b"", family=0), None, None),
    (v2(b"tlvs", family=0), None, None),
    (v2(bytes(216), family=0x31), None, None),
]

BAD = [
    b"SSH-2.0-OpenSSH_9.2\r\n",
    b"\0",
    b"PROXZ",
    b"PROXY\r\n",
    b"PROXY TCP4\r\n",
    b"PROXY TCP4 192.0.2.1 203.0.113.9 50000\r\n",
    b"PROXY TCP4 192.0.2.1 203.0.113.9 50000 22 \r\n",
    b"PROXY  TCP4 192.0.2.1 203.0.113.9 50000 22\r\n",
    b"PROXY TCP4 192.0.2.1 203.0.113.9 50000 65536\r\n",
    b"PROXY TCP4 192.0.2.1 203.0.113.9 -1 22\r\n",
    b"PROXY TCP4 192.0.2.1 203.0.113.9 \xc2\xb2 22\r\n",
    b"PROXY TCP4 192.0.2.256 203.0.113.9 1 22\r\n",
    b"PROXY TCP4 ::1 ::1 1 22\r\n",
    b"PROXY TCP6 192.0.2.1 192.0.2.1 1 22\r\n",
    b"PROXY TCP6 fe80::1%eth0 ::1 1 22\r\n",
    b"PROXY UDP4 192.0.2.1 203.0.113.9 1 22\r\n",
    b"proxy tcp4 192.0.2.1 203.0.113.9 1 22\r\n",
    b"PROXY UNKNOWN " + b"x" * 100,
    v2(IPV4, command=0x22),
    v2(IPV4, command=0x11),
    v2(IPV4[:-1]),
    v2(IPV4, family=0x12),
    v2(IPV4, family=0x21),
    v2(IPV4, family=0x41),
    v2(bytes(215), family=0x31),
    SIGNATURE + b"\x21\x11\xff\xff",
    SIGNATURE[:-1] + b"\r",
]


@pytest.mark.parametrize(("header", "source", "destination"), GOOD)
@pytest.mark.parametrize("rest", [b"", b"SSH-2.0-x\r\n", b"PROXY TCP4 10.0.0.1 10.0.0.1 1 1\r\n"])
def test_a_header_ends_where_it_says(
    header: bytes, source: tuple[str, int] | None, destination: tuple[str, int] | None, rest: bytes
) -> None:
    assert read_header(header + rest) == Header(len(header), source, destination)


@pytest.mark.parametrize(("header", "source", "destination"), GOOD)
def test_part_of_a_header_is_none_yet(header: bytes, source: object, destination: object) -> None:
    del source, destination
    assert [read_header(header[:size]) for size in range(len(header))] == [None] * len(header)


@pytest.mark.parametrize("data", BAD)
def test_anything_else_is_an_error(data: bytes) -> None:
    with pytest.raises(ProxyError):
        read_header(data)


@given(st.binary(max_size=300) | st.builds(bytes.__add__, st.sampled_from([b"PROXY ", SIGNATURE]), st.binary()))
def test_any_bytes_are_a_header_or_an_error_or_too_few(data: bytes) -> None:
    try:
        header = read_header(data)
    except ProxyError:
        return
    if header is None:
        assert len(data) < LONGEST
    else:
        assert 0 < header.size <= len(data)
        for end in (header.source, header.destination):
            assert end is None or (ipaddress.ip_address(end[0]) and 0 <= end[1] <= 65535)


@given(st.sampled_from([good for good, _, _ in GOOD]), st.data())
def test_a_mutated_header_never_fails_otherwise(header: bytes, data: st.DataObject) -> None:
    mutated = bytearray(header)
    for _ in range(data.draw(st.integers(1, 4))):
        mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
    test_any_bytes_are_a_header_or_an_error_or_too_few.hypothesis.inner_test(bytes(mutated))  # type: ignore[attr-defined]


@given(
    st.one_of(
        st.tuples(st.ip_addresses(v=4), st.ip_addresses(v=4)), st.tuples(st.ip_addresses(v=6), st.ip_addresses(v=6))
    ),
    st.integers(0, 65535),
    st.integers(0, 65535),
    st.binary(max_size=64),
)
def test_what_is_written_is_read(
    hosts: tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, ...], port: int, other: int, rest: bytes
) -> None:
    version = hosts[0].version
    text = f"PROXY TCP{version} {hosts[0]} {hosts[1]} {port} {other}\r\n".encode()
    body = hosts[0].packed + hosts[1].packed + struct.pack(">HH", port, other)
    binary = v2(body, family=0x11 if version == 4 else 0x21)
    for header in (text, binary):
        found = read_header(header + rest)
        assert found is not None
        assert found.size == len(header)
        assert found.source is not None
        source = ipaddress.ip_address(found.source[0])
        assert (source, found.source[1]) == (getattr(hosts[0], "ipv4_mapped", None) or hosts[0], port)
