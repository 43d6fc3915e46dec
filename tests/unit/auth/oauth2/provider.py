"""An OpenID provider in the test's own process that tells the truth, or whatever a test wants it to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from joserfc import jwt
from joserfc.jwk import RSAKey

Handler = Callable[[web.Request], Any]
KEY = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})


@dataclass
class TestProvider:
    """Answers by `lies` where one stands for a path, else truthfully; remembers what it was asked."""

    __test__ = False

    url: str = ""
    lies: dict[str, Callable[[], web.StreamResponse | Any]] = field(default_factory=dict)
    asked: list[tuple[str, str, dict[str, str], dict[str, str]]] = field(default_factory=list)
    keys: list[RSAKey] = field(default_factory=lambda: [KEY])
    claims: dict[str, Any] = field(default_factory=dict)
    record: dict[str, Any] = field(default_factory=lambda: {"sub": "mia", "email": "m@example.test", "groups": ["a"]})
    scope: str | None = "openid"
    nonce: str = ""
    issuer: str = ""

    def paths(self) -> list[str]:
        """What was asked for, in order."""
        return [path for _, path, _, _ in self.asked]

    def id_token(self) -> str:
        now = int(time.time())
        claims = {"iss": self.issuer or self.url, "aud": "gateway", "sub": "mia", "iat": now, "exp": now + 300}
        claims |= {"nonce": self.nonce} if self.nonce else {}
        key = self.keys[-1]
        return jwt.encode({"alg": "RS256", "kid": key.kid or ""}, claims | self.claims, key)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.asked.append((request.method, request.path, form, dict(request.headers)))
        if (lie := self.lies.get(request.path)) is not None:
            said = lie()
            answer: web.StreamResponse = await said if asyncio.iscoroutine(said) else said
            return answer
        match request.path:
            case "/.well-known/openid-configuration":
                names = ("authorization", "token", "userinfo", "device_authorization", "revocation")
                fields = {f"{name}_endpoint": f"{self.url}/{name}" for name in names}
                return web.json_response({"issuer": self.issuer or self.url, "jwks_uri": f"{self.url}/keys", **fields})
            case "/keys":
                return web.json_response({"keys": [key.as_dict(private=False) for key in self.keys]})
            case "/device_authorization":
                grant = {"device_code": "d3vice", "user_code": "AB-CD", "verification_uri": f"{self.url}/device"}
                return web.json_response({**grant, "expires_in": 60})
            case "/token":
                tokens: dict[str, Any] = {"access_token": "acc3ss", "id_token": self.id_token(), "token_type": "Bearer"}
                return web.json_response(tokens | ({"scope": self.scope} if self.scope is not None else {}))
            case "/userinfo":
                return web.json_response(self.record)
        return web.json_response({}, status=200 if request.path == "/revocation" else 404)


@asynccontextmanager
async def provider(**settings: Any) -> AsyncIterator[TestProvider]:
    """A provider for the time of the block."""
    running = TestProvider(**settings)
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", running.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    running.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield running
    finally:
        await runner.cleanup()
