"""The checklist for replacing the reference implementation, point by point, from a file's text to the wire.

Each test is named after the number of its point.  Points on the SSH side (7: tries and caching),
on OAuth2 (10, 11: ``oauth2/test_github.py``, ``oauth2/test_oidc.py``) and on the configuration's keys (9) are tested
where those are.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import trustme
from tests.unit.auth.test_webhook import KEY, MIA, Counts

from moorage.auth.chain import AuthChain
from moorage.auth.configserver import BUDGET, config_source
from moorage.auth.contract import HookKind
from moorage.auth.hook import LONGEST_PAUSE
from moorage.codes import Code
from moorage.config import AppConfig, load_text
from moorage.errors import AuthError
from moorage.gateway.model import Address, FileValue, Metadata, TextValue
from moorage.testing import webhooks
from moorage.testing.webhooks import HookServer, Request, deciding, saying


def configured(url: str, *, client: str = "timeout: 15s", budget: str = "15s") -> AppConfig:
    """What a user of the reference writes to have one server for all hooks."""
    hook = f"{{method: webhook, webhook: {{url: '{url}', authTimeout: {budget}, {client}}}}}"
    text = f"""
auth: {{password: {hook}, publicKey: {hook}, authz: {hook}}}
configserver: {{url: '{url}/config?tenant=1', {client}}}
backend: docker
"""
    return load_text(text, "config.yaml", look_at_files=False).config


@pytest.fixture
async def server() -> AsyncIterator[HookServer]:
    async with HookServer(webhooks.accepting) as server:
        yield server


async def test_1_requests_are_posts_of_json_with_the_fields_in_order_and_empty_maps_left_out(
    server: HookServer,
) -> None:
    chain = AuthChain(configured(server.url))
    await chain.password(MIA, b"s3cret")
    await chain.close()
    request = server.requests[0]
    assert request.method == "POST"
    assert (request.headers["accept"], request.headers["content-type"]) == ("application/json", "application/json")
    fields = ["remoteAddress", "connectionId", "clientVersion", "username", "passwordBase64"]
    assert list(request.json) == fields
    assert request.body.endswith(b"}\n")
    assert b": " not in request.body


async def test_1_sensitive_is_always_written(server: HookServer) -> None:
    chain = AuthChain(configured(server.url))
    attached = Metadata({"a": TextValue("b")}, {"c": TextValue("d")}, {"/e": FileValue(b"f")})
    await chain.authorize(MIA.__class__(MIA.connection_id, MIA.remote_address, "v", "mia", "mia", attached))
    await chain.close()
    assert server.requests[0].body.count(b',"sensitive":false}') == 3


async def test_2_paths_are_appended_with_one_slash_and_the_config_url_is_kept(server: HookServer) -> None:
    config = configured(server.url + "/hooks/")
    chain, source = AuthChain(config), config_source(config)
    await chain.password(MIA, b"")
    await chain.public_key(MIA, KEY)
    await chain.authorize(MIA)
    server.actor = saying({})
    await source.resolve(MIA)
    await chain.close()
    await source.close()
    assert [request.target for request in server.requests] == [
        "/hooks/password",
        "/hooks/pubkey",
        "/hooks/authz",
        "/hooks//config?tenant=1",
    ]


async def test_2_user_info_in_the_url_is_basic_authentication(server: HookServer) -> None:
    chain = AuthChain(configured(server.url.replace("//", "//u:p@")))
    await chain.password(MIA, b"")
    await chain.close()
    assert server.requests[0].headers["authorization"] == "Basic dTpw"


@pytest.mark.parametrize(
    "answer",
    [
        b'{"success":true,"remoteAddress":"<nil>:0","connectionId":"","clientVersion":"","username":""}',
        b'{"success":true,"somethingNew":{"a":[1,2]}}',
        b'{"Success":true}',
        b'{"SUCCESS":true,"Metadata":{"a":{"Value":"b"}}}',
        b'{"success":true,"metadata":null,"environment":null,"files":null,"authenticatedUsername":null}',
        b'{"success":true,"environment":{"A":{"value":"b","sensitive":null}}}',
        b'{"success":true} and more',
    ],
)
async def test_3_answers_of_all_servers_are_understood(server: HookServer, answer: bytes) -> None:
    server.actor = saying(answer, Content_Type="text/plain; charset=utf-8")
    chain = AuthChain(configured(server.url))
    verdict = await chain.password(MIA, b"")
    await chain.close()
    assert verdict.success
    for value in (*verdict.metadata.metadata.values(), *verdict.metadata.environment.values()):
        assert value == TextValue("b", sensitive=False)


@pytest.mark.parametrize("status", [201, 202, 204, 301, 400, 401, 403, 404])
async def test_4_only_status_200_is_an_answer(server: HookServer, status: int) -> None:
    server.actor = saying(b"" if status == 204 else {"success": True}, status=status)
    chain = AuthChain(configured(server.url))
    for asked in (chain.password(MIA, b""), chain.public_key(MIA, KEY), chain.authorize(MIA)):
        with pytest.raises(AuthError):
            await asked
    await chain.close()


def test_5_the_times_are_those_of_the_reference() -> None:
    config = load_text("auth: {password: {method: webhook, webhook: {url: 'http://h'}}}", "c.yaml").config
    assert config.auth.password.webhook.timeout == timedelta(seconds=2)
    assert config.auth.password.webhook.auth_timeout == timedelta(seconds=60)
    assert timedelta(seconds=60) == BUDGET
    assert LONGEST_PAUSE == 10


async def test_5_the_budget_cuts_a_running_call_and_a_disconnect_stops_it(server: HookServer) -> None:
    server.actor = webhooks.silent
    chain = AuthChain(configured(server.url, client="timeout: 1h", budget="200ms"))
    with pytest.raises(AuthError):
        await chain.password(MIA, b"")
    await chain.close()
    patient = AuthChain(configured(server.url, client="timeout: 1h", budget="1h"))
    server.asked.clear()
    task = asyncio.create_task(patient.password(MIA, b""))
    async with asyncio.timeout(10):
        await server.asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await patient.close()
    assert len(server.requests) == 2


async def test_6_answers_merge_key_by_key_and_the_verified_name_is_kept(server: HookServer) -> None:
    def decide(request: Request) -> object:
        if request.target == "/password":
            return {
                "success": True,
                "authenticatedUsername": "mia@example.com",
                "environment": {"A": {"value": "1"}, "B": {"value": "1"}},
            }
        if request.target == "/authz":
            return {"success": True, "environment": {"B": {"value": "2"}, "C": {"value": "2"}}}
        return {"environment": {"C": {"value": "3"}}, "metadata": {"new": {"value": "kind"}}}

    server.actor = deciding(decide)
    config = configured(server.url)
    chain, source = AuthChain(config), config_source(config)
    attempt = (await chain.password(MIA, b"")).applied(MIA)
    attempt = (await chain.authorize(attempt)).applied(attempt)
    _, attempt = await source.resolve(attempt)
    await chain.close()
    await source.close()
    assert [request.json.get("authenticatedUsername") for request in server.requests] == [
        None,
        "mia@example.com",
        "mia@example.com",
    ]
    assert {name: value.value for name, value in attempt.metadata.environment.items()} == {"A": "1", "B": "2", "C": "3"}
    assert attempt.metadata.metadata == {"new": TextValue("kind")}
    assert (attempt.username, attempt.authenticated_username) == ("mia", "mia@example.com")


async def test_6_what_one_attempt_brings_stays_with_it(server: HookServer) -> None:
    """Somebody who asks about another's key must not inherit what that one is given."""
    server.actor = deciding(
        lambda request: {"success": True, "files": {f"/{request.json['username']}": {"value": "c2VjcmV0"}}}
    )
    chain = AuthChain(configured(server.url))
    await chain.public_key(MIA, KEY)
    verdict = await chain.password(MIA.__class__(MIA.connection_id, MIA.remote_address, "v", "eve"), b"")
    await chain.close()
    assert list(verdict.metadata.files) == ["/eve"]
    assert "files" not in server.requests[1].json


async def test_8_redirects_are_off_unless_switched_on(server: HookServer) -> None:
    server.actor = webhooks.in_turn(webhooks.redirecting("/moved"), webhooks.accepting)
    chain = AuthChain(configured(server.url))
    with pytest.raises(AuthError, match="HTTP_CLIENT_REDIRECTS_DISABLED"):
        await chain.password(MIA, b"")
    await chain.close()
    server.actor = webhooks.in_turn(webhooks.redirecting("/moved"), webhooks.accepting)
    following = AuthChain(configured(server.url, client="timeout: 15s, allowRedirects: true"))
    assert (await following.password(MIA, b"")).success
    await following.close()


@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize(("spoken", "least"), [("1.2", "1.2"), ("1.3", "1.3"), ("1.2", None)])
async def test_8_certificates_are_pem_or_file_both_sides_are_verified_and_tls_1_3_is_the_least(
    tmp_path: Path, inline: bool, spoken: str, least: str | None
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = ssl.TLSVersion.TLSv1_2 if spoken == "1.2" else ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    authority.issue_cert("localhost").configure_cert(context)
    authority.configure_trust(context)
    own = authority.issue_cert("gateway.example")
    texts = {
        "cacert": authority.cert_pem.bytes(),
        "cert": b"".join(blob.bytes() for blob in own.cert_chain_pems),
        "key": own.private_key_pem.bytes(),
    }
    client = "timeout: 15s" + (f", tlsVersion: '{least}'" if least else "")
    for name, text in texts.items():
        (tmp_path / name).write_bytes(text)
        value = text.decode().replace("\n", "\\n") if inline else tmp_path / name
        client += f', {name}: "{value}"'
    async with HookServer(webhooks.accepting, context=context) as server:
        chain = AuthChain(configured(server.url, client=client, budget="15s" if least else "300ms"))
        if least:
            assert (await chain.password(MIA, b"")).success
        else:
            with pytest.raises(AuthError):
                await chain.password(MIA, b"")
            assert not server.requests
        await chain.close()


@pytest.mark.parametrize("transmit", [False, True])
async def test_9_secrets_go_to_later_hooks_only_with_transmit_sensitive_metadata(
    server: HookServer, transmit: bool
) -> None:
    attached = Metadata(environment={"TOKEN": TextValue("t0k", sensitive=True)})
    attempt = MIA.__class__(MIA.connection_id, MIA.remote_address, "v", "mia", "", attached)
    switch = f"timeout: 15s, transmitSensitiveMetadata: {str(transmit).lower()}"
    config = load_text(
        f"auth: {{authz: {{method: webhook, webhook: {{url: '{server.url}', timeout: 15s}}}}}}\n"
        f"configserver: {{url: '{server.url}', {switch}}}\nbackend: docker\n",
        "c.yaml",
    ).config
    chain, source = AuthChain(config), config_source(config)
    await chain.authorize(attempt)
    await source.resolve(attempt)
    await chain.close()
    await source.close()
    assert [b"t0k" in request.body for request in server.requests] == [transmit, transmit]


async def test_10_labels_and_codes_are_those_of_the_reference(server: HookServer) -> None:
    counts = Counts()
    chain = AuthChain(configured(server.url), observer=counts)
    await chain.password(MIA, b"")
    await chain.public_key(MIA, KEY)
    await chain.authorize(MIA)
    server.actor = webhooks.missing
    with pytest.raises(AuthError) as caught:
        await chain.password(MIA, b"")
    await chain.close()
    assert [line for line in counts.heard if line.startswith("decided")] == [
        "decided password 0 True 198.51.100.7",
        "decided pubkey 0 True 198.51.100.7",
        "decided authorization 0 True 198.51.100.7",
    ]
    assert counts.heard[-1] == "failed password 0 AUTH_INVALID_STATUS final"
    assert caught.value.code == Code.AUTH_BACKEND_ERROR
    assert {kind.value for kind in HookKind} - {"otp"} == {"password", "pubkey", "authorization", "config"}


def test_12_only_methods_that_are_on_are_offered() -> None:
    assert AuthChain(AppConfig()).methods == ()
    config = load_text("auth: {publicKey: {method: webhook, webhook: {url: 'http://h'}}}", "c.yaml").config
    assert AuthChain(config).methods == ("publickey",)


@pytest.mark.parametrize(
    ("address", "sent"),
    [
        (Address("198.51.100.7", 1), "198.51.100.7:1"),
        (Address("2001:db8::5", 65535), "[2001:db8::5]:65535"),
    ],
)
async def test_addresses_are_sent_with_their_port_and_brackets(server: HookServer, address: Address, sent: str) -> None:
    chain = AuthChain(configured(server.url))
    await chain.password(MIA.__class__(MIA.connection_id, address, "v", "mia"), b"")
    await chain.close()
    assert server.requests[0].json["remoteAddress"] == sent
