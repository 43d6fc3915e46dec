"""GitHub as its documentation describes it, on the loopback: both OAuth flows, users, organisations, revocation.

What the real one does and clients trip over is here, too: status 200 with an ``error``, scopes joined by
commas, form-encoded answers for those who do not ask for JSON, ``slow_down`` for the impatient.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

INTERVAL = 1


@dataclass
class Person:
    """A user of GitHub."""

    login: str
    orgs: Mapping[str, str] = field(default_factory=dict)
    """Organisation → state of the membership."""
    two_factor: bool = True


@dataclass
class _Grant:
    scopes: list[str]
    challenge: str = ""
    person: Person | None = None
    is_denied: bool = False
    asked_at: float = 0.0


@dataclass
class GitHub:
    """The running stand-in.  `person` is who sits at the browser."""

    url: str = ""
    client_id: str = "Iv1.client"
    client_secret: str = "github-c4n4rybird"
    callback: str = "http://127.0.0.1:1/"
    person: Person = field(default_factory=lambda: Person("mia"))
    has_device_flow: bool = True
    granted: list[str] | None = None
    """The scopes that the user leaves; None for all."""
    tokens: dict[str, tuple[Person, list[str]]] = field(default_factory=dict)
    revoked: list[str] = field(default_factory=list)
    devices: dict[str, _Grant] = field(default_factory=dict)
    codes: dict[str, _Grant] = field(default_factory=dict)
    user_codes: dict[str, str] = field(default_factory=dict)
    links: list[str] = field(default_factory=list)

    @property
    def api(self) -> str:
        """Where the API is, as on an Enterprise server."""
        return f"{self.url}/api/v3"

    def approve(self, user_code: str) -> None:
        """The person types in a code."""
        self.devices[self.user_codes[user_code]].person = self.person

    def deny(self, user_code: str) -> None:
        """The person declines."""
        self.devices[self.user_codes[user_code]].is_denied = True

    # Each of these answers one request: status, fields

    def device_code(self, form: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        if form.get("client_id") != self.client_id:
            return 404, {"error": "Not Found"}
        if not self.has_device_flow:
            return 400, {"error": "device_flow_disabled", "error_description": "Device Flow must be enabled"}
        device, user = secrets.token_hex(20), f"{secrets.token_hex(2)}-{secrets.token_hex(2)}".upper()
        self.devices[device] = _Grant(form.get("scope", "").split(","))
        self.user_codes[user] = device
        return 200, {
            "device_code": device,
            "user_code": user,
            "verification_uri": f"{self.url}/login/device",
            "expires_in": 899,
            "interval": INTERVAL,
        }

    def access_token(self, form: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        if form.get("client_id") != self.client_id:
            return 200, {"error": "incorrect_client_credentials"}
        if form.get("grant_type") == "urn:ietf:params:oauth:grant-type:device_code":
            return self._poll(form)
        if form.get("client_secret") != self.client_secret:
            return 200, {"error": "incorrect_client_credentials"}
        grant = self.codes.pop(form.get("code", ""), None)
        made = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if grant is None or base64.urlsafe_b64encode(made).decode().rstrip("=") != grant.challenge:
            return 200, {"error": "bad_verification_code"}
        return self._token(grant)

    def _poll(self, form: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        grant = self.devices.get(form.get("device_code", ""))
        if grant is None:
            return 200, {"error": "incorrect_device_code"}
        asked, grant.asked_at = grant.asked_at, time.monotonic()
        if grant.asked_at - asked < INTERVAL * 0.9:
            return 200, {"error": "slow_down", "interval": INTERVAL + 5}
        if grant.is_denied:
            return 200, {"error": "access_denied"}
        if grant.person is None:
            return 200, {"error": "authorization_pending", "error_description": "The request is pending."}
        return self._token(grant)

    def _token(self, grant: _Grant) -> tuple[int, dict[str, Any]]:
        assert grant.person is not None
        token = f"gho_{secrets.token_hex(18)}"
        scopes = [scope for scope in grant.scopes if scope] if self.granted is None else self.granted
        self.tokens[token] = (grant.person, scopes)
        return 200, {"access_token": token, "scope": ",".join(scopes), "token_type": "bearer"}

    def authorize(self, query: Mapping[str, str]) -> str:
        """Where the browser is sent back to when the person agrees."""
        assert query["client_id"] == self.client_id
        assert query["code_challenge_method"] == "S256"
        code = secrets.token_hex(10)
        self.codes[code] = _Grant(query.get("scope", "").split(","), query["code_challenge"], self.person)
        return f"{self.callback}?{urlencode({'code': code, 'state': query['state']})}"

    def api_answer(self, method: str, path: str, authorization: str, body: bytes) -> tuple[int, dict[str, Any]]:
        if method == "DELETE":
            pair = base64.b64encode(f"{self.client_id}:{self.client_secret}".encode()).decode()
            token = json.loads(body or b"{}").get("access_token", "")
            if authorization != f"Basic {pair}" or path != f"/applications/{self.client_id}/token":
                return 404, {"message": "Not Found"}
            if self.tokens.pop(token, None) is None:
                return 422, {"message": "Validation Failed"}
            self.revoked.append(token)
            return 204, {}
        kind, _, token = authorization.partition(" ")
        if kind.lower() not in {"bearer", "token"} or token not in self.tokens:
            return 401, {"message": "Bad credentials", "documentation_url": "https://docs.github.com/rest"}
        person, scopes = self.tokens[token]
        if path == "/user":
            return 200, self._record(person, scopes)
        organisation = path.removeprefix("/user/memberships/orgs/")
        if organisation == path or not {"read:org", "admin:org"} & set(scopes):
            return 403, {"message": "Resource not accessible"}
        if organisation not in person.orgs:
            return 404, {"message": "Not Found"}
        return 200, {"state": person.orgs[organisation], "role": "member", "organization": {"login": organisation}}

    @staticmethod
    def _record(person: Person, scopes: list[str]) -> dict[str, Any]:
        record = {"login": person.login, "id": 583231, "node_id": "MDQ6VXNlcjU4MzIzMQ==", "name": "Mia M.", "bio": None}
        record |= {"email": "mia@example.test", "company": None, "blog": "", "html_url": "https://github.com/mia"}
        record |= {"avatar_url": "https://example.test/a.png", "location": None, "twitter_username": None, "plan": {}}
        if {"user", "read:user"} & set(scopes):
            record["two_factor_authentication"] = person.two_factor
        return record


@contextmanager
def github(**settings: Any) -> Iterator[GitHub]:
    """A stand-in for the time of the block."""
    running = GitHub(**settings)

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = urlsplit(self.path)
            form = {name: values[0] for name, values in parse_qs(body.decode(errors="replace")).items()}
            if parts.path == "/login/oauth/authorize":
                running.links.append(self.path)
                query = {name: values[0] for name, values in parse_qs(parts.query).items()}
                self.send_response(302)
                self.send_header("Location", running.authorize(query))
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if parts.path == "/login/device/code":
                status, fields = running.device_code(form)
            elif parts.path == "/login/oauth/access_token":
                status, fields = running.access_token(form)
            elif parts.path.startswith("/api/v3/"):
                authorization = self.headers.get("Authorization", "")
                status, fields = running.api_answer(
                    self.command, parts.path.removeprefix("/api/v3"), authorization, body
                )
            else:
                status, fields = 404, {"message": "Not Found"}
            wants_json = "json" in self.headers.get("Accept", "") or parts.path.startswith("/api/")
            kind = "application/json; charset=utf-8" if wants_json else "application/x-www-form-urlencoded"
            answer = json.dumps(fields).encode() if wants_json else urlencode(fields).encode()
            if status == 204:
                answer = b""
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_DELETE = _serve  # noqa: N815 - the names of http.server

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    running.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield running
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
