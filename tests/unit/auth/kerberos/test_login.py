"""Tickets and passwords against a real KDC."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.parts.kdc import PASSWORD, Kdc, kdc

from moorage.auth.kerberos.login import KerberosLogin
from moorage.config.sections.auth import KerberosConfig
from moorage.errors import AuthError, ConfigError
from moorage.gateway.model import Address, Attempt, ConnectionId, TextValue, Verdict

MIA = Attempt(ConnectionId("0" * 32), Address("10.1.2.3", 4000), "SSH-2.0-Test", "mia")
DATA = b"what is vouched for"

Make = Callable[..., KerberosLogin]


@pytest.fixture(scope="module")
def there() -> Iterator[Kdc]:
    with kdc() as running:
        yield running


@pytest.fixture(autouse=True)
def _environment(there: Kdc, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in there.environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def make(there: Kdc, monkeypatch: pytest.MonkeyPatch) -> Make:
    def make(**config: Any) -> KerberosLogin:
        monkeypatch.setenv("KRB5_CONFIG", os.environ["KRB5_CONFIG"])
        settings = {"keytab": str(there.keytab), "configPath": str(there.config), "timeout": "30s", **config}
        return KerberosLogin(KerberosConfig.model_validate(settings), "auth.gssapi.kerberos")

    return make


@dataclass
class Client:
    """A GSSAPI client with tickets, as `TicketExchange` sees it."""

    cache: Path
    host: str = "host/localhost"
    delegate: bool = False
    vouches: bytes = DATA
    before: Callable[[], None] = lambda: None
    garbage: bytes | None = None
    sent: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        import gssapi

        name = gssapi.Name(self.host, gssapi.NameType.kerberos_principal)
        flags = gssapi.RequirementFlag.integrity | gssapi.RequirementFlag.mutual_authentication
        if self.delegate:
            flags |= gssapi.RequirementFlag.delegate_to_peer
        credentials = gssapi.Credentials(usage="initiate", store={"ccache": f"FILE:{self.cache}"})
        mechanism = gssapi.MechType.kerberos
        self.context = gssapi.SecurityContext(
            name=name, creds=credentials, flags=flags, usage="initiate", mech=mechanism
        )

    async def receive(self) -> bytes:
        token = self.garbage if self.garbage is not None else self.context.step()
        self.before()
        return token or b""

    def send(self, token: bytes) -> None:
        self.sent.append(token)
        self.context.step(token)

    async def proof(self) -> tuple[bytes, bytes]:
        return DATA, self.context.get_signature(self.vouches)


@pytest.fixture
def tickets(there: Kdc, tmp_path: Path) -> Callable[..., Path]:
    def tickets(principal: str = "mia", *options: str) -> Path:
        cache = tmp_path / principal.replace("/", "-")
        there.kinit(principal, cache, *options)
        return cache

    return tickets


@pytest.fixture
def verdict(make: Make, tickets: Callable[..., Path]) -> Callable[..., Any]:
    async def verdict(principal: str = "mia", user: str = "mia", *, client: Any = None, **config: Any) -> Verdict:
        attempt = Attempt(MIA.connection_id, MIA.remote_address, MIA.client_version, user)
        return await make(**config).ticket(attempt, Client(tickets(principal), **(client or {})))

    return verdict


async def test_a_ticket_lets_its_principal_in(verdict: Callable[..., Any], there: Kdc) -> None:
    found = await verdict()
    assert found.success
    assert found.authenticated_username == "mia"
    assert found.metadata.metadata == {"KERBEROS_PRINCIPAL": TextValue(f"mia@{there.name}")}
    assert not found.metadata.files


@pytest.mark.parametrize(
    ("principal", "user", "config", "name"),
    [
        ("bob", "mia", {}, None),
        ("bob", "mia", {"enforceUsername": False}, "bob"),
        ("mia/admin", "mia", {}, None),
        ("mia/admin", "mia/admin", {}, "mia/admin"),
        ("mia/admin", "root", {"principals": [{"principal": "mia/admin@MOORAGE.TEST", "name": "root"}]}, "root"),
        ("mia", "mia", {"realms": ["OTHER.TEST"]}, None),
        ("mia", "mia", {"realms": ["OTHER.TEST", "MOORAGE.TEST"]}, "mia"),
        ("mia", "Mia", {}, None),
    ],
)
async def test_the_principal_is_held_against_the_name(
    verdict: Callable[..., Any], principal: str, user: str, config: dict[str, Any], name: str | None
) -> None:
    found = await verdict(principal, user, **config)
    assert found.success is (name is not None)
    assert found.authenticated_username == (name or "")
    assert bool(found.reason) is (name is None)


@pytest.mark.parametrize(
    ("acceptor", "host", "good"),
    [
        ("any", "host/localhost", True),
        ("any", "host/127.0.0.1", True),
        ("host/127.0.0.1", "host/127.0.0.1", True),
        ("host/127.0.0.1", "host/localhost", False),
    ],
)
async def test_the_acceptor_is_the_one_that_is_configured(
    verdict: Callable[..., Any], acceptor: str, host: str, good: bool
) -> None:
    assert (await verdict(acceptor=acceptor, client={"host": host})).success is good


@pytest.mark.parametrize(
    "garbage", [b"", b"\0" * 100, b"\x60\x82", b"\x60\x0b\x06\x09\x2a\x86\x48\x86\xf7\x12\x01\x02\x02", b"x" * 60000]
)
async def test_garbage_is_a_refusal(verdict: Callable[..., Any], garbage: bytes) -> None:
    found = await verdict(client={"garbage": garbage})
    assert not found.success
    assert "KRB_VERIFY_ERROR" in found.reason


async def test_a_krb_error_as_first_token_is_a_refusal(verdict: Callable[..., Any]) -> None:
    # The reference ends its process on it (a KRB-ERROR has the token id 03 00, RFC 4121 §4.1).
    error = bytes.fromhex("60 14 06 09 2a 86 48 86 f7 12 01 02 02 03 00 7e 05 30 03 02 01 05".replace(" ", ""))
    assert not (await verdict(client={"garbage": error})).success


async def test_the_client_has_to_vouch_for_this_very_attempt(verdict: Callable[..., Any]) -> None:
    assert not (await verdict(client={"vouches": b"another attempt"})).success


async def test_delegated_tickets_become_a_file_of_the_guest(
    make: Make, tickets: Callable[..., Path], tmp_path: Path, there: Kdc
) -> None:
    cache = tickets("mia", "-f")
    found = await make(credentialCachePath="/run/krb5cc").ticket(MIA, Client(cache, delegate=True))
    assert found.success
    assert found.metadata.environment == {"KRB5CCNAME": TextValue("FILE:/run/krb5cc")}
    file = found.metadata.files["/run/krb5cc"]
    assert file.sensitive
    assert file.value[:2] == b"\x05\x04"
    (tmp_path / "delegated").write_bytes(file.value)
    assert (await make().ticket(MIA, Client(tmp_path / "delegated"))).success, "they are good tickets"
    assert not (await make(credentialCachePath="").ticket(MIA, Client(cache, delegate=True))).metadata.files


async def test_no_tickets_of_one_attempt_reach_another(make: Make, tickets: Callable[..., Path]) -> None:
    login = make()
    assert (await login.ticket(MIA, Client(tickets("mia", "-f"), delegate=True))).metadata.files
    assert not (await login.ticket(MIA, Client(tickets("mia")))).metadata.files


async def test_clocks_may_be_apart_as_far_as_is_configured(verdict: Callable[..., Any]) -> None:
    def later() -> None:
        made = time.time()
        while time.time() < made + 3.2:  # krb5 counts whole seconds
            time.sleep(0.05)

    assert not (await verdict(clockSkew="1s", client={"before": later})).success
    assert (await verdict(clockSkew="5m", client={"before": later})).success


async def test_a_password_gets_in_and_brings_tickets(make: Make, tmp_path: Path) -> None:
    found = await make().password(MIA, PASSWORD.encode())
    assert found.success
    assert found.authenticated_username == "mia"
    assert found.metadata.environment == {"KRB5CCNAME": TextValue("FILE:/tmp/krb5cc")}
    (tmp_path / "cc").write_bytes(found.metadata.files["/tmp/krb5cc"].value)
    assert (await make().ticket(MIA, Client(tmp_path / "cc"))).success


@pytest.mark.parametrize(
    ("user", "password"),
    [
        ("mia", b"wrong"),
        ("mia", b""),
        ("mia", b"\xff\xfe"),
        ("mia", PASSWORD.encode() + b"\0"),
        ("nobody", PASSWORD.encode()),
        ("mia@OTHER.TEST", PASSWORD.encode()),
        ("mia@MOORAGE.TEST", PASSWORD.encode()),
        ("mia\\@x", PASSWORD.encode()),
        ("x" * 5000, PASSWORD.encode()),
    ],
)
async def test_a_wrong_password_or_name_is_a_refusal_not_an_outage(make: Make, user: str, password: bytes) -> None:
    attempt = Attempt(MIA.connection_id, MIA.remote_address, MIA.client_version, user)
    found = await make().password(attempt, password)
    assert not found.success
    assert PASSWORD not in found.reason


async def test_many_passwords_at_once(make: Make) -> None:
    login = make()
    found = await asyncio.gather(*(login.password(MIA, PASSWORD.encode() + b"x" * (n % 2)) for n in range(30)))
    assert [verdict.success for verdict in found] == [n % 2 == 0 for n in range(30)]


async def test_a_kdc_whose_tickets_our_keys_do_not_open_is_not_ours(make: Make, tmp_path: Path) -> None:
    with kdc() as impostor:
        # The same realm's name, another KDC: whoever can answer for it knows what passwords he likes.
        login = make(configPath=str(impostor.config))
        with pytest.raises(AuthError):
            await login.password(MIA, PASSWORD.encode())


async def test_a_kdc_that_is_gone_is_an_outage_for_passwords_and_none_for_tickets(
    make: Make, tickets: Callable[..., Path], there: Kdc
) -> None:
    client = Client(tickets())
    token = client.context.step()
    there.stop_kdc()
    try:
        with pytest.raises(AuthError, match="KDC"):
            await make().password(MIA, PASSWORD.encode())
        client.garbage = token
        assert (await make().ticket(MIA, client)).success
    finally:
        there.start_kdc()


@pytest.mark.parametrize(
    "config",
    [{"keytab": "/nowhere"}, {"acceptor": "nobody/nowhere", "keytab": "/etc/hostname"}, {"keytab": "/dev/null"}],
)
def test_keys_that_cannot_be_used_stop_the_start(make: Make, config: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"auth\.gssapi\.kerberos"):
        make(**config)


def test_a_missing_package_is_one_error_with_the_line_to_install_it(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "gssapi", None)
    with pytest.raises(ConfigError, match=r"pip install 'moorage\[kerberos\]'"):
        make()
