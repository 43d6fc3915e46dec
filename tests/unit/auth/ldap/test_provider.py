"""Logins by a real directory: who gets in, what is told of him, and that no trick helps."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trustme
from tests.parts.slapd import BASE, READER, READER_PASSWORD, Slapd
from tests.unit.auth.ldap.conftest import PASSWORD

from moorage.auth.ldap.provider import LDAP
from moorage.config.disk import Disk
from moorage.config.sections.directories import LDAPConfig
from moorage.errors import AuthError
from moorage.gateway.model import Address, Attempt, ConnectionId

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEJ5Zm9yIHRoZSB0ZXN0cyBvZiBNb29yYWdlLi4u"
SEARCH = {"bindDN": READER, "bindPassword": READER_PASSWORD, "searchBase": BASE}
DIRECT = {"userDN": f"uid=%u,ou=people,{BASE}"}
GROUPS = {"groupBase": f"ou=groups,{BASE}"}


def attempt(name: str) -> Attempt:
    return Attempt(ConnectionId("0" * 32), Address("192.0.2.1", 1), "SSH-2.0-x", name)


@asynccontextmanager
async def ldap(slapd: Slapd, **settings: Any) -> AsyncIterator[LDAP]:
    given = {"url": slapd.url, "timeout": "20s", **settings}
    provider = LDAP(LDAPConfig.model_validate(given))
    try:
        yield provider
    finally:
        await provider.close()


@pytest.mark.parametrize("how", [SEARCH, DIRECT, {**DIRECT, "bindDN": READER, "bindPassword": READER_PASSWORD}])
async def test_the_password_of_the_directory_gets_in_and_no_other(slapd: Slapd, how: dict[str, Any]) -> None:
    async with ldap(slapd, **how) as provider:
        assert (await provider.password(attempt("mia"), PASSWORD.encode())).success
        for name, password in (("mia", "wrong"), ("nobody", PASSWORD), ("mia", PASSWORD + "\0x"), ("mia", "\xff")):
            assert not (await provider.password(attempt(name), password.encode("latin-1", "replace"))).success


@pytest.mark.parametrize("how", [SEARCH, DIRECT])
async def test_an_empty_password_is_no_password(slapd: Slapd, how: dict[str, Any]) -> None:
    async with ldap(slapd, **how) as provider:
        assert not (await provider.password(attempt("mia"), b"")).success


@pytest.mark.parametrize("how", [SEARCH, DIRECT])
@pytest.mark.parametrize(
    "name",
    [
        "*",
        "mi*",
        "mia)(uid=*",
        "mia,ou=people",
        "uid=mia",
        "mia\0",
        "mia\\",
        " mia",
        "MIA",
        "mía",
        "x" * 10_000,
        "",
        "mia\n",
    ],
)
async def test_a_name_is_only_ever_a_name(slapd: Slapd, how: dict[str, Any], name: str) -> None:
    async with ldap(slapd, **how) as provider:
        assert not (await provider.password(attempt(name), PASSWORD.encode())).success


async def test_two_entries_for_one_name_are_nobody(slapd: Slapd) -> None:
    async with ldap(slapd, **SEARCH) as provider:
        assert not (await provider.password(attempt("twin"), PASSWORD.encode())).success


async def test_groups_and_attributes_become_metadata(slapd: Slapd) -> None:
    async with ldap(slapd, **SEARCH, **GROUPS, metadata=["EMAIL=mail"]) as provider:
        verdict = await provider.password(attempt("mia"), PASSWORD.encode())
    told = {name: text.value for name, text in verdict.metadata.metadata.items()}
    assert told == {"LDAP_GROUPS": "blue,staff", "EMAIL": "mia@example.org"}


async def test_a_group_can_be_demanded(slapd: Slapd) -> None:
    async with ldap(slapd, **SEARCH, **GROUPS, requiredGroups=["blue"]) as provider:
        assert (await provider.password(attempt("mia"), PASSWORD.encode())).success
        verdict = await provider.password(attempt("pat"), PASSWORD.encode())
    assert (verdict.success, "requiredGroups" in verdict.reason) == (False, True)


async def test_keys_stand_in_the_directory_with_their_options(slapd: Slapd) -> None:
    async with ldap(slapd, **SEARCH) as provider:
        assert not (await provider.public_key(attempt("mia"), KEY)).success
        change = f"dn: uid=mia,ou=people,{BASE}\nchangetype: modify\nreplace: sshPublicKey\n"
        slapd.modify(f"{change}sshPublicKey: restrict {KEY} mia@laptop\n")
        verdict = await provider.public_key(attempt("mia"), KEY)
        assert verdict.success
        assert not verdict.restrictions.forwarding
        assert not (await provider.public_key(attempt("pat"), KEY)).success
        slapd.modify(f'{change}sshPublicKey: from="198.51.100.0/24" {KEY}\n')
        assert not (await provider.public_key(attempt("mia"), KEY)).success
        slapd.modify(f"dn: uid=mia,ou=people,{BASE}\nchangetype: modify\ndelete: sshPublicKey\n")


@pytest.mark.parametrize("how", ["ldaps", "startTLS"])
async def test_tls_is_spoken_and_the_server_s_certificate_is_checked(slapd: Slapd, how: str) -> None:
    settings = {"url": slapd.tls_url} if how == "ldaps" else {"startTLS": True}
    other = trustme.CA().cert_pem.bytes().decode()
    async with ldap(slapd, **SEARCH, **settings, cacert=slapd.authority) as provider:
        assert (await provider.password(attempt("mia"), PASSWORD.encode())).success
    async with ldap(slapd, **SEARCH, **settings, cacert=other) as provider:
        with pytest.raises(AuthError, match="directory"):
            await provider.password(attempt("mia"), PASSWORD.encode())


async def test_a_wrong_password_of_the_reader_is_an_error_and_no_login(slapd: Slapd) -> None:
    async with ldap(slapd, **{**SEARCH, "bindPassword": "wrong-s3cret"}) as provider:
        with pytest.raises(AuthError, match="bindDN") as caught:
            await provider.password(attempt("mia"), PASSWORD.encode())
    assert "wrong-s3cret" not in str(caught.value)


async def test_a_directory_that_is_gone_is_an_error_and_no_login(slapd: Slapd) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"ldap://127.0.0.1:{unused.getsockname()[1]}"
        async with ldap(slapd, **{**SEARCH, "url": url}) as provider:
            with pytest.raises(AuthError):
                await provider.password(attempt("mia"), PASSWORD.encode())


async def test_a_directory_that_hangs_is_an_error_in_time(slapd: Slapd) -> None:
    ready: list[asyncio.StreamWriter] = []

    async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ready.append(writer)

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    url = f"ldap://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with ldap(slapd, **{**SEARCH, "url": url, "timeout": "200ms"}) as provider:
        with pytest.raises(AuthError):
            await provider.password(attempt("mia"), PASSWORD.encode())
    for writer in ready:
        writer.transport.abort()
    server.close()


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"url": "ldap://ldap.example.org", **SEARCH}, "url"),
        ({"url": "", **SEARCH}, "url"),
        ({"url": "ldaps://ldap.example.org"}, "searchBase"),
        ({"url": "ldaps://ldap.example.org", "startTLS": True, **DIRECT}, "startTLS"),
        ({"url": "ldaps://ldap.example.org", "userDN": "uid=mia"}, "userDN"),
        ({"url": "ldaps://ldap.example.org", "bindDN": READER, **DIRECT}, "bindPassword"),
        ({"url": "ldaps://ldap.example.org", "requiredGroups": ["a"], **DIRECT}, "groupBase"),
    ],
)
def test_settings_that_cannot_be_meant_are_named(settings: dict[str, Any], key: str) -> None:
    find: Callable[[], list[Any]] = lambda: list(LDAPConfig.model_validate(settings).problems(Disk(look=False)))  # noqa: E731
    assert [finding.path for finding in find()] == [(key,)]
