"""Logging in with an identity provider: real OpenSSH and PuTTY, a real OpenID provider, a browser of plain forms."""

from __future__ import annotations

import html
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import Serve
from tests.e2e.hooks import hooks, say
from tests.e2e.places import Place
from tests.e2e.serving import CANARY, free_port, leaks
from tests.e2e.terminal import Terminal, terminal
from tests.e2e.waiting import until
from tests.parts import need
from tests.parts.browser import Browser, Page
from tests.parts.github import Person, github
from tests.parts.oidc import CLIENT, OpenIdProvider, openid_provider

WIDE = (400, 50)


@pytest.fixture(scope="module")
def idp() -> Iterator[OpenIdProvider]:
    """A real OpenID provider; its users are mia and bob."""
    with openid_provider(f"secret-{CANARY}") as running:
        yield running


def oidc_auth(idp: OpenIdProvider, *, oauth2: dict[str, Any] | None = None, **oidc: Any) -> dict[str, Any]:
    """The auth section for both flows."""
    return {
        "keyboardInteractive": {
            "method": "oauth2",
            "oauth2": {
                "provider": "oidc",
                "clientId": CLIENT,
                "clientSecret": idp.secret,
                "redirect": {"listen": f"127.0.0.1:{idp.redirect_port}"},
                "oidc": {
                    "url": idp.url,
                    "deviceFlow": True,
                    "authorizationCodeFlow": True,
                    "redirectURI": idp.redirect_uri,
                    "extraScopes": ["profile", "email", "groups"],
                    "timeout": "20s",
                    **oidc,
                },
                **(oauth2 or {}),
            },
        }
    }


def interactive(place: Place, *words: str, user: str = "mia") -> tuple[list[str], dict[str, str]]:
    """An ssh that answers questions: its command line and environment."""
    client = replace(place.user, user=user, key=None)
    options = ["BatchMode=no", "PreferredAuthentications=keyboard-interactive", "LogLevel=INFO"]
    return [str(word) for word in client.command(*words, options=options)], client.environment


def link_on(window: Terminal, pattern: str) -> str:
    """The link that the person sees."""
    window.shows("open this link")
    return str(until(lambda: re.findall(pattern, window.screen()), "a link", seconds=10)[0])


def code_on(page: Page) -> str:
    """The code that the redirect page shows."""
    found = re.search(r"<textarea[^>]*>([^<]+)</textarea>", page.text)
    assert found is not None, page
    return html.unescape(found[1])


def test_the_device_flow_lets_in_who_confirms_it(serve: Serve, idp: OpenIdProvider) -> None:
    place = serve("sandbox", auth=oidc_auth(idp))
    command, environment = interactive(place, "echo the-end-of-it")
    with terminal(command, environment, size=WIDE) as window:
        link = link_on(window, r"http://\S+/device\?user_code=\S+")
        page = Browser().log_in(link, "mia")
        assert "Sign-in Success" in page.text
        window.shows("the-end-of-it", seconds=30)
        window.shows("left with 0")


def test_the_code_flow_needs_browser_and_terminal(serve: Serve, idp: OpenIdProvider) -> None:
    place = serve("sandbox", auth=oidc_auth(idp, deviceFlow=False))
    command, environment = interactive(place, "echo the-end-of-it")
    with terminal(command, environment, size=WIDE) as mine, terminal(command, environment, size=WIDE) as other:
        links = [link_on(window, r"http://\S+/auth\?\S+") for window in (mine, other)]
        assert "code_challenge_method=S256" in links[0]
        codes = [code_on(Browser().log_in(link, "mia")) for link in links]
        other.shows("Paste the code")
        other.enter(codes[0])
        other.shows("This is not the code of this login. (reference ")
        assert codes[0] not in mine.screen()
        mine.enter(codes[0])
        mine.shows("the-end-of-it", seconds=30)
        mine.shows("left with 0")
        assert codes[0] not in mine.screen(), "the answer is not echoed"


def ask_by_program(place: Place, tmp_path: Path, user: str, command: str) -> tuple[subprocess.Popen[bytes], str]:
    """Start ssh without any terminal; its questions go to a program, which waits for ``answer``.  Returns the link."""
    question, answer, program = tmp_path / "question", tmp_path / "answer", tmp_path / "askpass"
    program.write_text(
        f'#!/bin/sh\nprintf %s "$1" >{question}.new && mv {question}.new {question}\n'
        f"while ! test -e {answer}; do sleep 0.05; done\ncat {answer}\n"
    )
    program.chmod(0o700)
    words, environment = interactive(place, command, user=user)
    environment |= {"SSH_ASKPASS": str(program), "SSH_ASKPASS_REQUIRE": "force"}
    pipe = subprocess.PIPE
    process = subprocess.Popen(words, env=environment, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe)
    try:
        until(question.exists, "the question", seconds=20)
        found = re.search(r"http://\S+", question.read_text())
        assert found is not None
    except BaseException:
        process.kill()
        process.communicate()
        raise
    return process, found[0]


def answered(process: subprocess.Popen[bytes], tmp_path: Path, code: str) -> tuple[int, bytes, bytes]:
    """Answer the question; how the client ended."""
    (tmp_path / "answer.new").write_text(code)
    (tmp_path / "answer.new").rename(tmp_path / "answer")
    try:
        out, err = process.communicate(timeout=40)
    finally:
        process.kill()
    return process.returncode, out, err


def test_claims_reach_hooks_and_guest_and_secrets_do_not(serve: Serve, idp: OpenIdProvider, tmp_path: Path) -> None:
    rules = [
        {"claim": "groups", "values": ["admins"], "environment": {"ROLE": "admin"}, "metadata": {"role": "admin"}},
        {"claim": "groups", "values": ["guests"], "deny": True},
    ]
    with hooks() as hook:
        hook.answers["/authz"] = lambda _: say(success=True)
        auth = oidc_auth(idp, deviceFlow=False, usernameField="email", oauth2={"rules": rules})
        port = free_port()
        place = serve(
            "sandbox",
            auth={**auth, "authz": {"method": "webhook", "webhook": {"url": hook.url}}},
            metrics={"enable": True, "listen": f"127.0.0.1:{port}"},
        )
        process, link = ask_by_program(place, tmp_path, "mia", 'echo "$ROLE"')
        code = code_on(Browser().log_in(link, "mia"))
        assert answered(process, tmp_path, code)[:2] == (0, b"admin\n")
        metrics = Browser().get(f"http://127.0.0.1:{port}/metrics").text
        (asked,) = hook.requests("/authz")
    assert asked["authenticatedUsername"] == "mia@example.test"
    metadata = asked["metadata"]
    assert metadata["OIDC_USERINFO_GROUPS"] == {"value": '["dev","admins"]', "sensitive": False}
    assert metadata["role"]["value"] == "admin"
    assert not {"OIDC_TOKEN", "OIDC_USERINFO_EMAIL"} & set(metadata), "what is secret is not sent on"
    state, _, secret = code.partition("|")
    arguments = Path(f"/proc/{place.server.pid}/cmdline").read_text()
    for text in (place.server.log(), metrics, arguments):
        assert not leaks(text)
        assert state not in text
        assert secret not in text


@pytest.mark.parametrize(
    ("who", "oidc", "rules", "line"),
    [
        ("bob", {"enforceUsername": True}, [], b"Your name at the identity provider is not the one"),
        ("bob", {}, [{"claim": "groups", "values": ["admins"]}], b"Your account may not log in here."),
        ("mia", {"usernameField": "nickname"}, [], b"The identity provider does not say who you are."),
    ],
)
def test_a_refusal_is_told_with_a_reference(
    serve: Serve,
    idp: OpenIdProvider,
    tmp_path: Path,
    who: str,
    oidc: dict[str, Any],
    rules: list[dict[str, Any]],
    line: bytes,
) -> None:
    auth = oidc_auth(idp, deviceFlow=False, oauth2={"rules": rules}, **oidc)
    place = serve("sandbox", auth=auth)
    process, link = ask_by_program(place, tmp_path, "mia", "echo in")
    status, out, err = answered(process, tmp_path, code_on(Browser().log_in(link, who)))
    assert (status, out) == (255, b"")
    assert line in err
    found = re.search(rb"reference ([0-9a-f]{12})", err)
    assert found is not None
    details = [record["details"] for record in place.server.records()]
    reasons = [
        d["reason"] for d in details if str(d.get("connectionId", "")).startswith(found[1].decode()) if "reason" in d
    ]
    assert reasons[0], "the log says why"
    assert not any("revoked" in record["message"] for record in place.server.records()), "the token was revoked"


def test_putty_shows_the_link_and_lets_in(serve: Serve, idp: OpenIdProvider, tmp_path: Path) -> None:
    plink = need.program("plink", "putty-tools")
    place = serve("sandbox", auth=oidc_auth(idp))
    scan = subprocess.run(
        ["ssh-keyscan", "-t", "ed25519", "-p", str(place.server.port), "127.0.0.1"], capture_output=True, check=True
    ).stdout
    (tmp_path / "host.pub").write_bytes(scan.split(b" ", 1)[1])
    shown = subprocess.run(["ssh-keygen", "-lf", tmp_path / "host.pub"], capture_output=True, check=True, text=True)
    command = [plink, "-ssh", "-P", str(place.server.port), "-l", "mia", "-hostkey", shown.stdout.split()[1]]
    environment = {**place.user.environment, "HOME": str(tmp_path)}
    with terminal([*command, "127.0.0.1", "echo the-end-of-it"], environment, size=WIDE) as window:
        link = link_on(window, r"http://\S+/device\?user_code=\S+")
        window.shows("Press Enter when you are done")
        Browser().log_in(link, "mia")
        window.press("Enter")
        window.shows("Press Return to begin session", seconds=30)  # a question of PuTTY's own
        window.press("Enter")
        window.shows("the-end-of-it", seconds=30)


def test_a_qr_code_can_be_read_off_the_terminal(serve: Serve, idp: OpenIdProvider) -> None:
    place = serve("sandbox", auth=oidc_auth(idp, oauth2={"qrCodeClients": ["^SSH-2.0-OpenSSH"]}))
    command, environment = interactive(place, "echo the-end-of-it")
    with terminal(command, {**environment, "LC_ALL": "C.UTF-8"}, size=WIDE) as window:
        window.shows("Press Enter when you are done")
        assert len(re.findall("[█▀▄]", window.screen())) > 200
        assert "\\342" not in window.screen()


def test_github_with_organisation_two_factors_and_revocation(serve: Serve) -> None:
    with github(person=Person("Mia", {"acme": "active"})) as there:
        oauth2 = {
            "provider": "github",
            "clientId": there.client_id,
            "clientSecret": there.client_secret,
            "redirect": {"listen": "127.0.0.1:0"},
            "github": {"url": there.url, "apiurl": there.api, "requireOrgMembership": "acme", "require2FA": True},
        }
        place = serve("sandbox", auth={"keyboardInteractive": {"method": "oauth2", "oauth2": oauth2}})
        for member, ending in ((True, "the-end-of-it"), (False, "You are no member of the organisation")):
            there.person = Person("Mia", {"acme": "active"} if member else {})
            command, environment = interactive(place, "echo the-end-of-it")
            with terminal(command, environment, size=WIDE) as window:
                window.shows("/login/device")
                codes = re.findall(r"asked for one: (\S+)", window.shows("asked for one: "))
                there.approve(codes[0])
                window.shows(ending, seconds=30)
        until(lambda: len(there.revoked) == 2, "both tokens are revoked: of the refusal, and at logout", seconds=20)
        assert not there.tokens


def test_a_provider_that_is_down_is_told_and_lets_nobody_in(serve: Serve, idp: OpenIdProvider, tmp_path: Path) -> None:
    place = serve("sandbox", auth=oidc_auth(idp, url="http://127.0.0.1:1"))
    command, environment = interactive(place, "echo in")
    done = subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (255, b"")
    assert b"The identity provider could not be asked. (reference " in done.stderr


def test_a_conversation_that_nobody_answers_holds_nobody_up(serve: Serve, idp: OpenIdProvider) -> None:
    users = serve("sandbox")
    auth = {**oidc_auth(idp), "users": {"file": str(_users_file(users))}, "publicKey": {"method": "users"}}
    place = serve("sandbox", auth=auth)
    command, environment = interactive(place, "echo in")
    with terminal(command, environment, size=WIDE) as window:
        window.shows("open this link")
        assert place.user.run("echo in").stdout == b"in\n"


def _users_file(place: Place) -> str:
    import json

    config = json.loads(place.server.config_file.read_text())
    return str(config["auth"]["users"]["file"])
