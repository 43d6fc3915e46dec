"""TLS of the HTTP client: whom it trusts, what it shows, what it cannot do and says so."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import trustme

from moorage.codes import Code
from moorage.net import tls
from moorage.net.http import CallError, Endpoint, WebClient
from moorage.testing import webhooks
from moorage.testing.webhooks import HookServer

PATIENCE = timedelta(seconds=15)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def stranger() -> trustme.CA:
    return trustme.CA()


def server_context(leaf: trustme.LeafCert, *, clients: trustme.CA | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(context)
    if clients is not None:
        clients.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


@pytest.fixture
async def server(authority: trustme.CA) -> AsyncIterator[HookServer]:
    async with HookServer(webhooks.accepting, context=server_context(authority.issue_cert("localhost"))) as server:
        yield server


def pem(*blobs: trustme.Blob) -> str:
    return "".join(blob.bytes().decode() for blob in blobs)


async def status(endpoint: Endpoint) -> int:
    client = WebClient(endpoint)
    try:
        return (await client.post(b"{}\n")).status
    finally:
        await client.close()


async def test_cacert_is_pem_text_or_a_file(server: HookServer, authority: trustme.CA, tmp_path: Path) -> None:
    text = pem(authority.cert_pem)
    file = tmp_path / "ca.pem"
    file.write_text(text)
    assert await status(Endpoint(url=server.url, cacert="\n  " + text, timeout=PATIENCE)) == 200
    assert await status(Endpoint(url=server.url, cacert=str(file), timeout=PATIENCE)) == 200


async def test_a_certificate_that_is_no_authority_can_be_pinned(authority: trustme.CA) -> None:
    leaf = authority.issue_cert("localhost")
    async with HookServer(webhooks.accepting, context=server_context(leaf)) as server:
        assert await status(Endpoint(url=server.url, cacert=pem(leaf.cert_chain_pems[0]), timeout=PATIENCE)) == 200


async def test_an_unknown_authority_is_refused_for_good(server: HookServer, stranger: trustme.CA) -> None:
    for cacert in ("", pem(stranger.cert_pem)):
        with pytest.raises(CallError) as caught:
            await status(Endpoint(url=server.url, cacert=cacert, timeout=PATIENCE))
        assert (caught.value.code, caught.value.is_permanent) == (Code.HTTP_CLIENT_CONNECTION_FAILED, True)
    assert not server.requests


async def test_an_expired_certificate_is_refused_for_good(authority: trustme.CA) -> None:
    yesterday = datetime.datetime.now(datetime.UTC) - timedelta(days=1)
    leaf = authority.issue_cert("localhost", not_before=yesterday - timedelta(days=2), not_after=yesterday)
    async with HookServer(webhooks.accepting, context=server_context(leaf)) as server:
        with pytest.raises(CallError, match="expired") as caught:
            await status(Endpoint(url=server.url, cacert=pem(authority.cert_pem), timeout=PATIENCE))
        assert caught.value.is_permanent
        assert not server.requests


@pytest.mark.parametrize("certified", ["elsewhere.example", "somebody@localhost"])
async def test_names_are_compared_with_alternative_names_only(authority: trustme.CA, certified: str) -> None:
    wrong = authority.issue_cert(certified, common_name="localhost")
    async with HookServer(webhooks.accepting, context=server_context(wrong)) as server:
        with pytest.raises(CallError) as caught:
            await status(Endpoint(url=server.url, cacert=pem(authority.cert_pem), timeout=PATIENCE))
        assert caught.value.is_permanent


async def test_a_client_certificate_is_shown_from_text_and_from_files(authority: trustme.CA, tmp_path: Path) -> None:
    own = authority.issue_cert("client.example")
    cert, key = pem(*own.cert_chain_pems), pem(own.private_key_pem)
    (tmp_path / "cert").write_text(cert)
    (tmp_path / "key").write_text(key)
    context = server_context(authority.issue_cert("localhost"), clients=authority)
    async with HookServer(webhooks.accepting, context=context) as server:
        ca = pem(authority.cert_pem)
        assert await status(Endpoint(url=server.url, cacert=ca, cert=cert, key=key, timeout=PATIENCE)) == 200
        files = Endpoint(
            url=server.url, cacert=ca, cert=str(tmp_path / "cert"), key=str(tmp_path / "key"), timeout=PATIENCE
        )
        assert await status(files) == 200
        with pytest.raises(CallError) as caught:
            await status(Endpoint(url=server.url, cacert=ca, timeout=PATIENCE))
        assert caught.value.code == Code.HTTP_CLIENT_CONNECTION_FAILED


@pytest.mark.parametrize(("least", "succeeds"), [("1.2", True), ("1.3", False)])
async def test_the_least_version_is_kept(authority: trustme.CA, least: str, succeeds: bool) -> None:
    context = server_context(authority.issue_cert("localhost"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with HookServer(webhooks.accepting, context=context) as server:
        endpoint = Endpoint(url=server.url, cacert=pem(authority.cert_pem), tls_version=least, timeout=PATIENCE)
        if succeeds:
            assert await status(endpoint) == 200
        else:
            with pytest.raises(CallError):
                await status(endpoint)


@pytest.mark.parametrize(
    ("wanted", "succeeds"),
    [
        ("ECDHE-ECDSA-AES256-GCM-SHA384", True),
        ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", True),
        ("TLS_ECDHE_ECDSA_AES_256_GCM_SHA384", True),
        ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", False),
        ("TLS_AES_128_GCM_SHA256", False),
    ],
)
async def test_the_suites_of_tls_1_2_are_kept(authority: trustme.CA, wanted: str, succeeds: bool) -> None:
    context = server_context(authority.issue_cert("localhost", key_type=trustme.KeyType.ECDSA))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-ECDSA-AES256-GCM-SHA384")
    async with HookServer(webhooks.accepting, context=context) as server:
        endpoint = Endpoint(
            url=server.url, cacert=pem(authority.cert_pem), tls_version="1.2", cipher=(wanted,), timeout=PATIENCE
        )
        if succeeds:
            assert await status(endpoint) == 200
        else:
            with pytest.raises(CallError):
                await status(endpoint)


@pytest.mark.parametrize(("curve", "succeeds"), [("secp384r1", True), ("x25519", False), ("prime256v1", False)])
async def test_a_single_curve_is_kept(authority: trustme.CA, curve: str, succeeds: bool) -> None:
    context = server_context(authority.issue_cert("localhost"))
    context.set_ecdh_curve("secp384r1")
    async with HookServer(webhooks.accepting, context=context) as server:
        endpoint = Endpoint(url=server.url, cacert=pem(authority.cert_pem), curves=(curve,), timeout=PATIENCE)
        if succeeds:
            assert await status(endpoint) == 200
        else:
            with pytest.raises(CallError):
                await status(endpoint)


async def test_a_redirect_from_https_to_http_is_never_followed(server: HookServer, authority: trustme.CA) -> None:
    async with HookServer(webhooks.accepting) as plain:
        server.actor = webhooks.redirecting(f"http://localhost:{plain.port}/", 303)
        endpoint = Endpoint(url=server.url, cacert=pem(authority.cert_pem), allow_redirects=True, timeout=PATIENCE)
        with pytest.raises(CallError, match="https to http") as caught:
            await status(endpoint)
        assert caught.value.code == Code.HTTP_CLIENT_REDIRECTS_DISABLED
        assert not plain.requests


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"cacert": "-----BEGIN NONSENSE-----"}, "CA certificate"),
        ({"cacert": "/nowhere/ca.pem"}, "/nowhere/ca.pem"),
        ({"cert": "-----BEGIN CERTIFICATE-----\n"}, "go together"),
        ({"key": "-----BEGIN PRIVATE KEY-----\n"}, "go together"),
        ({"cert": "-----BEGIN CERTIFICATE-----\n", "key": "-----BEGIN SECRET"}, "cannot be used"),
        ({"tls_version": "1.1"}, "1.1"),
        ({"curves": ("secp256k1",)}, "secp256k1"),
        ({"cipher": ("RC4",)}, "RC4"),
    ],
)
def test_settings_that_cannot_be_used_are_refused_at_once(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        WebClient(Endpoint(url="https://h/", **settings))  # type: ignore[arg-type]
    assert "SECRET" not in str(caught.value)


def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked(authority: trustme.CA) -> None:
    from cryptography.hazmat.primitives import serialization

    own = authority.issue_cert("client.example")
    key = serialization.load_pem_private_key(own.private_key_pem.bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    )
    with pytest.raises(ValueError, match="passphrase"):
        tls.client_context(certificate=pem(*own.cert_chain_pems), key=locked.decode())


def test_settings_of_tls_do_not_matter_for_http() -> None:
    WebClient(Endpoint(url="http://h/", tls_version="9", cacert="/nowhere"))


def test_what_python_cannot_do_is_said() -> None:
    everything = ("x25519", "secp256r1", "secp384r1", "secp521r1")
    suites = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
    assert not tls.unhonoured(curves=everything, ciphers=suites)
    assert not tls.unhonoured(curves=("x25519",), ciphers=())
    said = tls.unhonoured(curves=("x25519", "secp256r1"), ciphers=suites[:1])
    assert [sentence.partition(":")[0] for sentence in said][-1] == "cipher"
    if not hasattr(ssl.SSLContext, "set_groups"):
        assert said[0].startswith("curves:")


async def test_a_server_that_speaks_no_tls_is_refused_for_good() -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 The plain HTTP request was sent to a TLS port\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    with pytest.raises(CallError, match="WRONG_VERSION_NUMBER") as caught:
        await status(Endpoint(url=url, timeout=PATIENCE))
    server.close()
    assert caught.value.is_permanent
