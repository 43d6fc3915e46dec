"""``ssh``: the listener, the protocol's parameters, host keys and limits."""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Final

from pydantic import Field

from moorage.config.disk import Disk
from moorage.config.section import (
    AtLeast,
    Duration,
    EachOneOf,
    Finding,
    KeepsZero,
    PrivateKey,
    Section,
    Within,
    shown,
    under,
)
from moorage.config.sections.limits import MaxStartupsConfig, PenaltiesConfig, SourceMaskConfig, no_networks
from moorage.config.sections.names import DEAD_CIPHERS, SSH_CIPHERS, SSH_KEX, SSH_MACS

_VERSION: Final = re.compile(r"SSH-2\.0-[!-,.-~]+( [A-Za-z0-9 _.-]*)?")
_LONGEST_VERSION: Final = 253  # RFC 4253 §4.2: 255 bytes with CR LF

Ciphers = Annotated[tuple[str, ...] | None, EachOneOf(SSH_CIPHERS, "cipher", may_be_empty=True)]
Kex = Annotated[tuple[str, ...] | None, EachOneOf(SSH_KEX, "key exchange method")]
Macs = Annotated[tuple[str, ...] | None, EachOneOf(SSH_MACS, "MAC")]


class SSHConfig(Section):
    """The SSH server itself."""

    listen: str = "0.0.0.0:2222"
    """Address and port to listen on. `[::]:2222` listens on IPv6, `:2222` on all addresses."""

    also_listen: tuple[str, ...] = ()
    """Further addresses to listen on, each as in `listen`, such as `[::]:2222`. An addition."""

    proxy_protocol_allowed_cidrs: tuple[str, ...] = ()
    """Networks of proxies and load balancers that say who their clients are by the PROXY protocol, version 1 or 2.
    A connection from there has to begin with its header; the address in it counts everywhere. Nobody else's header is
    believed. An addition."""

    proxy_protocol_timeout: Annotated[Duration, AtLeast(timedelta(milliseconds=100))] = timedelta(seconds=5)
    """How long such a header may take to come. An addition."""

    server_version: str = "SSH-2.0-ContainerSSH"
    """The identification line that clients see (RFC 4253 §4.2): `SSH-2.0-`, a name, perhaps a space and a comment."""

    ciphers: Ciphers = None
    """Ciphers on offer, best first. Unset or an empty list: a modern list, which changes with the times."""

    kex: Kex = None
    """Key exchange methods on offer, best first. Unset: a modern list."""

    macs: Macs = None
    """Message authentication codes on offer, best first. Unset: a modern list. AEAD ciphers need none."""

    compression: bool = False
    """Whether clients may compress (zlib@openssh.com, `ssh -C`). Costs much time and helps on slow lines only.
    An addition."""

    banner: str = ""
    """Text that is sent before authentication; may have several lines."""

    hostkeys: tuple[PrivateKey, ...] = ()
    """Host keys, each a PEM text or the path of a file; several types are allowed.
    None: keys are made once and kept in the state directory."""

    host_certificates: tuple[str, ...] = ()
    """OpenSSH certificates of host keys: the path of a file as `ssh-keygen -s CA -h` makes it, or its text. Clients
    that trust the authority (`@cert-authority` in known_hosts) then need to know no key. An addition."""

    client_alive_interval: Duration = timedelta(0)
    """How often a silent client is asked for a sign of life. 0: never; otherwise at least one second."""

    client_alive_count_max: Annotated[int, AtLeast(1), Within(-(2**31), 2**31 - 1)] = 3
    """How many such questions may stay unanswered before the connection is ended."""

    login_grace_time: Annotated[Duration, AtLeast(timedelta(seconds=1))] = timedelta(seconds=120)
    """How long a connection may take to authenticate, so that strangers cannot pile up. An addition."""

    max_auth_tries: Annotated[int, AtLeast(1), Within(0, 1000)] = 6
    """Failed attempts to authenticate on one connection before it is ended. An addition."""

    refusal_time: Annotated[Duration, AtLeast(timedelta(0)), KeepsZero()] = timedelta(milliseconds=5)
    """The least time that a refused attempt takes, up to twice as much by user name; one that takes longer is rounded
    up to the double, fourfold and so on. So the time does not tell who exists: raise it above what a slow webhook
    takes. 0: refusals are not delayed. An addition."""

    shutdown_timeout: Annotated[Duration, AtLeast(timedelta(0))] = timedelta(seconds=20)
    """How long running sessions may go on after the server was asked to stop. An addition."""

    max_channels: Annotated[int, AtLeast(1), Within(0, 65536)] = 256
    """Channels that one connection may have open at the same time. An addition: bounds what one client can claim."""

    max_requests_per_second: Annotated[int, AtLeast(0), Within(0, 2**20), KeepsZero()] = 1000
    """Requests of all kinds (channels, terminals, variables, listeners, signals) of one connection; twice as many at
    once. More are refused. 0: no limit. An addition."""

    max_env_bytes: Annotated[int, AtLeast(0), Within(0, 2**24)] = 65536
    """Bytes of names and values that a client may send as environment of one session. An addition."""

    max_key_queries: Annotated[int, AtLeast(1), Within(0, 100)] = 20
    """Refused public keys on one connection before it is ended, beside `maxAuthTries`. An addition."""

    max_startups: MaxStartupsConfig = Field(default_factory=MaxStartupsConfig)
    """Connections that have not authenticated yet. An addition."""

    max_startups_per_source: Annotated[int, AtLeast(0), Within(0, 2**20), KeepsZero()] = 50
    """Such connections from one source, so that one source cannot use up `maxStartups` for all others.
    0: no limit of its own. An addition."""

    max_connections: Annotated[int, AtLeast(0), Within(0, 2**20)] = 0
    """Connections at the same time. 0: no limit. An addition."""

    max_connections_per_source: Annotated[int, AtLeast(0), Within(0, 2**20)] = 0
    """Connections at the same time from one source. 0: no limit. An addition."""

    max_connections_per_user: Annotated[int, AtLeast(0), Within(0, 2**20)] = 0
    """Connections at the same time that one user name is logged in on. 0: no limit. An addition."""

    source_mask: SourceMaskConfig = Field(default_factory=SourceMaskConfig)
    """Which addresses count as one source. An addition."""

    penalties: PenaltiesConfig = Field(default_factory=PenaltiesConfig)
    """What a source's misbehaviour costs it. An addition."""

    def problems(self, disk: Disk) -> Iterator[Finding]:
        if wrong := listen_problem(self.listen):
            yield Finding(("listen",), wrong, "write HOST:PORT, such as 0.0.0.0:2222")
        for index, listen in enumerate(self.also_listen):
            if wrong := listen_problem(listen):
                yield Finding(("alsoListen", index), wrong, "write HOST:PORT, such as [::]:2222")
        yield from under("proxyProtocolAllowedCIDRs", no_networks(self.proxy_protocol_allowed_cidrs))
        if wrong := version_problem(self.server_version):
            yield Finding(("serverVersion",), wrong, "write SSH-2.0-NAME, optionally a space and a comment")
        yield from super().problems(disk)
        yield from under("maxStartups", self.max_startups.problems(disk))
        yield from under("sourceMask", self.source_mask.problems(disk))
        yield from under("penalties", self.penalties.problems(disk))
        for index, key in enumerate(self.hostkeys):
            if wrong := disk.private_key(key.get_secret_value()):
                yield Finding(("hostkeys", index), wrong)
        interval = self.client_alive_interval
        if interval and interval < timedelta(seconds=1):
            yield Finding(("clientAliveInterval",), "must be 0 or at least 1s")

    def warnings(self) -> Iterator[Finding]:
        yield from dead_ciphers(self.ciphers)


def dead_ciphers(ciphers: tuple[str, ...] | None) -> Iterator[Finding]:
    """A warning for each cipher that is accepted but names no algorithm."""
    for index, cipher in enumerate(ciphers or ()):
        if cipher in DEAD_CIPHERS:
            yield Finding(("ciphers", index), f"{shown(cipher)} names no cipher and is left out", "write 3des-cbc")


def version_problem(version: str) -> str:
    """What is wrong with an SSH identification line, or an empty string."""
    if len(version) > _LONGEST_VERSION:
        return f"is longer than {_LONGEST_VERSION} characters"
    return "" if _VERSION.fullmatch(version) else f"invalid version {shown(version)}"


def listen_problem(listen: str) -> str:
    """What is wrong with HOST:PORT, or an empty string.  `[::1]:22` and `:22` are fine."""
    host, colon, port = listen.rpartition(":")
    if not colon:
        return f"{shown(listen)} has no port"
    if not (port.isascii() and port.isdecimal() and len(port) <= 5 and int(port) <= 65535):
        return f"invalid port in {shown(listen)}"
    if host.startswith("[") != host.endswith("]") or (":" in host and not host.startswith("[")):
        return f"an IPv6 address needs brackets in {shown(listen)}"
    return ""
