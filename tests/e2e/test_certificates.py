"""OpenSSH certificates, made by ssh-keygen and shown by ssh."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.clients import Client, make_key
from tests.e2e.conftest import Serve
from tests.e2e.hooks import Hooks, hooks, say
from tests.e2e.places import USER, Place
from tests.e2e.waiting import until

MODES = ("forwardingMode", "reverseForwardingMode", "socketForwardingMode", "socketListenMode")


class Authority:
    """A user CA and the certificates that it signs."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self.directory = directory
        self.key = make_key(directory / "ca")
        self._count = 0

    @property
    def line(self) -> str:
        """Its public key."""
        return self.key.with_suffix(".pub").read_text().strip()

    def keygen(self, *words: str | Path) -> None:
        """Run ssh-keygen."""
        subprocess.run(["ssh-keygen", "-q", *words], check=True, capture_output=True)

    def client(self, place: Place, *options: str, principal: str = USER, key_id: str = "mia@corp") -> Client:
        """A client with a fresh key and its certificate."""
        self._count += 1
        key = make_key(self.directory / f"id{self._count}")
        self.keygen("-s", self.key, "-I", key_id, "-n", principal, *options, key.with_suffix(".pub"))
        return replace(place.user, key=key, options=[f"CertificateFile={key}-cert.pub"])


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


def certificates(authority: Authority, method: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """A configuration that lets in whom `authority` says."""
    return {"publicKey": {**(method or {}), "certificates": {"authorities": [authority.line], **more}}}


def test_a_certificate_of_our_authority_gets_in_and_others_do_not(
    backend: str, serve: Serve, authority: Authority, tmp_path: Path
) -> None:
    place = serve(backend, auth=certificates(authority))
    assert authority.client(place).run("echo in").stdout == b"in\n"
    for refused in (
        authority.client(place, principal="bob"),
        authority.client(place, "-V", "20200101:20200102"),
        authority.client(place, "-O", "source-address=192.0.2.0/24"),
        authority.client(place, "-O", "critical:unheard@of=1"),
        Authority(tmp_path / "mallory").client(place),
        place.user,
    ):
        done = refused.run("echo in")
        assert (done.returncode, done.stdout) == (255, b"")
    reasons = [str(record) for record in place.server.records() if "A certificate is not accepted" in str(record)]
    for word in ("principals", "expired", "source-address", "unheard@of", "not one of ours"):
        assert any(word in reason for reason in reasons), (word, reasons)


def test_what_the_certificate_does_not_permit_is_not_to_be_had(serve: Serve, authority: Authority) -> None:
    forwarding = dict.fromkeys(MODES, "enable")
    place = serve("sandbox", auth=certificates(authority), security={"forwarding": forwarding})
    forced = authority.client(place, "-O", "force-command=echo forced: $SSH_ORIGINAL_COMMAND")
    assert forced.run("echo mine").stdout == b"forced: echo mine\n"
    free, bare = authority.client(place), authority.client(place, "-O", "clear")
    assert b"dumb" in free.run("tty >/dev/null && echo dumb", flags=["-tt"]).stdout
    assert b"dumb" not in bare.run("tty >/dev/null && echo dumb", flags=["-tt"]).stdout
    assert bare.run("echo in").stdout == b"in\n"
    failing = ["ExitOnForwardFailure=yes"]
    assert free.run("echo in", flags=["-R", "0:localhost:9"], options=failing).stdout == b"in\n"
    assert bare.run("echo in", flags=["-R", "0:localhost:9"], options=failing).stdout == b""


def test_a_revoked_certificate_is_out_from_the_next_login_on(
    serve: Serve, authority: Authority, tmp_path: Path
) -> None:
    krl, spec, ca = tmp_path / "revoked.krl", tmp_path / "spec", authority.key.with_suffix(".pub")
    authority.keygen("-k", "-f", krl, "-s", ca)
    place = serve("sandbox", auth=certificates(authority, revoked=[str(krl)]))
    first, second = authority.client(place, "-z", "100"), authority.client(place, "-z", "300", key_id="other")
    assert first.run("echo in").stdout == second.run("echo in").stdout == b"in\n"
    spec.write_text("serial: 50-200\n")
    authority.keygen("-k", "-f", krl, "-s", ca, spec)
    assert first.run("echo in").returncode == 255
    assert second.run("echo in").stdout == b"in\n"
    spec.write_text("id: other\n")
    authority.keygen("-k", "-u", "-f", krl, "-s", ca, spec)
    assert second.run("echo in").returncode == 255
    krl.unlink()
    assert authority.client(place, "-z", "7").run("echo in").returncode == 255


def test_principals_go_by_pattern_and_by_the_users_file(serve: Serve, authority: Authority, tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.write_text("users: {mia: {principals: [ops-*]}, bob: {}}")
    users.chmod(0o600)
    auth = {**certificates(authority, {"method": "users"}), "users": {"file": str(users)}}
    place = serve("sandbox", auth=auth)
    assert authority.client(place, principal="ops-berlin").run("echo in").stdout == b"in\n"
    assert authority.client(place, principal="mia").run("echo in").returncode == 255
    assert replace(authority.client(place, principal="bob"), user="bob").run("echo in").stdout == b"in\n"
    assert replace(authority.client(place, principal="eve"), user="eve").run("echo in").returncode == 255


def test_webhooks_are_told_what_the_certificate_says(serve: Serve, authority: Authority) -> None:
    with hooks() as hook:
        hook.answers["/pubkey"] = lambda request: say(success="-cert-v01@" in request["publicKey"])
        hook.answers["/authz"] = lambda _: say(success=True)
        url = {"method": "webhook", "webhook": {"url": hook.url}}
        place = serve("sandbox", auth={**certificates(authority, url), "authz": url})
        client = authority.client(place, "-z", "42", "-V", "20200101000000Z:20400101000000Z", principal="mia,team")
        assert client.run("echo in").stdout == b"in\n"
        _check_fields(hook, authority, client)
        assert authority.client(place, principal="bob").run("echo in").returncode == 255
        asked = [request["publicKey"].split()[0] for request in hook.requests("/pubkey")]
        assert asked == ["ssh-ed25519-cert-v01@openssh.com", "ssh-ed25519"], "a bad certificate is nobody's business"


def _check_fields(hook: Hooks, authority: Authority, client: Client) -> None:
    (asked,), (authz,) = hook.requests("/pubkey"), hook.requests("/authz")
    assert client.key is not None
    assert asked["publicKey"] == " ".join(Path(f"{client.key}-cert.pub").read_text().split()[:2])
    assert asked["caCertificate"] == {
        "key": " ".join(authority.line.split()[:2]),
        "keyID": "mia@corp",
        "serial": 42,
        "validPrincipals": ["mia", "team"],
        "validAfter": "2020-01-01T00:00:00Z",
        "validBefore": "2040-01-01T00:00:00Z",
    }
    assert authz["metadata"]["SSH_CERTIFICATE_KEY_ID"] == {"value": "mia@corp", "sensitive": False}
    assert authz["metadata"]["SSH_CERTIFICATE_SERIAL"]["value"] == "42"


def test_a_certificate_in_an_agent_and_a_control_master_work(serve: Serve, authority: Authority) -> None:
    program = shutil.which("ssh-agent")
    assert program is not None
    place = serve("sandbox", auth=certificates(authority))
    client = authority.client(place)
    socket = authority.directory / "agent"
    agent = subprocess.Popen([program, "-D", "-a", socket], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(socket.exists, "the agent listens", seconds=10)
        environment = {**client.environment, "SSH_AUTH_SOCK": str(socket)}
        subprocess.run(["ssh-add", "-q", str(client.key)], check=True, env=environment)
        by_agent = replace(client, key=None, options=[f"IdentityAgent={socket}", "IdentitiesOnly=no"])
        assert by_agent.run("echo in").stdout == b"in\n"
    finally:
        agent.terminate()
        agent.wait()
