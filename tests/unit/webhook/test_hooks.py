"""Servers made with the library: every request is answered, and only a yes is a yes."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moorage.webhook import (
    Accepted,
    AuthorizationRequest,
    BinaryValue,
    Configuration,
    ConfigurationRequest,
    Hooks,
    OneTimePasswordRequest,
    PasswordRequest,
    PublicKeyRequest,
    TextValue,
    respond,
    sign,
)
from moorage.webhook.hooks import HOOKS, LARGEST_REQUEST
from moorage.webhook.openapi import document

SECRET = b"sixteen characters"
OPENING = {"remoteAddress": "192.0.2.1:1", "connectionId": "0" * 32, "username": "mia"}


class Everything(Hooks):
    """Offers all hooks; says what it is told to."""

    def __init__(self, answer: Any = True) -> None:
        self.answer = answer

    async def password(self, request: PasswordRequest) -> Accepted | bool:
        return self._said(request.password)

    async def public_key(self, request: PublicKeyRequest) -> Accepted | bool:
        return self._said(request.public_key)

    async def one_time_password(self, request: OneTimePasswordRequest) -> Accepted | bool:
        return self._said(request.otp)

    async def authorization(self, request: AuthorizationRequest) -> Accepted | bool:
        return self._said(request.authenticated_username)

    async def configuration(self, request: ConfigurationRequest) -> Configuration | Mapping[str, Any]:
        return {"docker": {"execution": {"container": {"Image": request.username}}}}

    def _said(self, asked: object) -> bool:
        assert asked is not None
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer  # type: ignore[no-any-return]


def fitting(schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    """Values that fit a schema, as far as ours go."""
    if "anyOf" in schema:
        return st.one_of(*map(fitting, schema["anyOf"]))
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    kind = schema["type"]
    if kind == "object":
        known = {name: fitting(part) for name, part in schema.get("properties", {}).items()}
        required = set(schema.get("required", ()))
        fixed = st.fixed_dictionaries(
            {name: part for name, part in known.items() if name in required},
            optional={name: part for name, part in known.items() if name not in required},
        )
        other = schema.get("additionalProperties", True)
        more = st.integers() if other is True else fitting(other) if other else st.nothing()
        extra = st.dictionaries(st.text(max_size=5).filter(lambda name: name not in known), more, max_size=2)
        return st.builds(lambda a, b: {**b, **a}, fixed, extra)
    if kind == "string" and schema.get("format") == "byte":
        return st.one_of(st.binary(max_size=20).map(lambda data: b64encode(data).decode()), st.text(max_size=5))
    simple = {"string": st.text(max_size=20), "boolean": st.booleans(), "null": st.none(), "integer": st.integers()}
    return st.lists(fitting(schema["items"]), max_size=3) if kind == "array" else simple[kind]


def body(**more: Any) -> bytes:
    return json.dumps({**OPENING, **more}).encode()


PASSWORD = body(passwordBase64="czNjcmV0")


@pytest.mark.parametrize(("answer", "said"), [(True, True), (False, False)])
async def test_a_plain_answer_is_a_decision(answer: bool, said: bool) -> None:
    reply = await respond(Everything(answer), "/any/prefix//password", PASSWORD)
    assert (reply.status, json.loads(reply.body)) == (200, {"success": said})


async def test_what_is_attached_is_sent_as_the_protocol_has_it() -> None:
    answer = Accepted(
        authenticated_username="mia@example.org",
        metadata={"team": TextValue(value="blue")},
        environment={"TOKEN": TextValue(value="t", sensitive=True)},
        files={"/run/x": BinaryValue.of(b"\0\1\2")},
        further_methods=("password",),
    )
    reply = await respond(Everything(answer), "/pubkey", body(publicKey="ssh-ed25519 AAAA"))
    assert json.loads(reply.body) == {
        "success": True,
        "authenticatedUsername": "mia@example.org",
        "metadata": {"team": {"value": "blue", "sensitive": False}},
        "environment": {"TOKEN": {"value": "t", "sensitive": True}},
        "files": {"/run/x": {"value": "AAEC", "sensitive": False}},
        "furtherMethods": ["password"],
    }


@pytest.mark.parametrize("answer", [None, 1, "yes", {"success": True}, RuntimeError("s3cret")])
async def test_anything_but_a_decision_is_an_error_and_tells_nothing(answer: Any) -> None:
    reply = await respond(Everything(answer), "/password", PASSWORD)
    assert reply.status == 500
    assert json.loads(reply.body)["success"] is False
    assert b"s3cret" not in reply.body


@pytest.mark.parametrize(
    ("path", "given", "status"),
    [
        ("/password", b"", 400),
        ("/password", b"[]", 400),
        ("/password", b"\xff", 400),
        ("/password", b"[" * 100_000, 400),
        ("/password", body(), 400),
        ("/password", body(passwordBase64="!"), 400),
        ("/pubkey", body(publicKey=1), 400),
        ("/config", b" " * (LARGEST_REQUEST + 1), 413),
        ("/other", b"{}", 404),
        ("/password/", b"{}", 404),
    ],
)
async def test_requests_of_another_form_are_refused(path: str, given: bytes, status: int) -> None:
    assert (await respond(Everything(), path, given)).status == status


async def test_a_hook_that_is_not_offered_does_not_exist() -> None:
    assert (await respond(Hooks(), "/password", PASSWORD)).status == 404


async def test_hooks_are_asked_by_post() -> None:
    assert (await respond(Everything(), "/password", PASSWORD, method="GET")).status == 405


@pytest.mark.parametrize(
    ("signed", "status"),
    [
        (lambda: sign(SECRET, "password", PASSWORD), 200),  # in the test: a signature counts for minutes
        (lambda: sign(SECRET, "pubkey", PASSWORD), 401),
        (lambda: sign(b"another secret...", "password", PASSWORD), 401),
        (lambda: sign(SECRET, "password", PASSWORD, now=1_600_000_000), 401),
        (lambda: "", 401),
    ],
    ids=["ours", "of another hook", "by another secret", "old", "none"],
)
async def test_with_a_secret_only_its_signatures_pass(signed: Callable[[], str], status: int) -> None:
    reply = await respond(Everything(), "/password", PASSWORD, signature=signed(), secret=SECRET)
    assert reply.status == status


def _whole(schema: Any, schemas: Mapping[str, Any]) -> Any:
    """`schema` without references."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            return _whole(schemas[schema["$ref"].rpartition("/")[2]], schemas)
        return {key: _whole(value, schemas) for key, value in schema.items()}
    return [_whole(item, schemas) for item in schema] if isinstance(schema, list) else schema


DOCUMENT = document()
SCHEMAS = DOCUMENT["components"]["schemas"]


@pytest.mark.parametrize("name", HOOKS)
@settings(deadline=None, max_examples=20)
@given(st.data())
def test_every_request_and_answer_is_of_the_published_form(name: str, data: st.DataObject) -> None:
    """From the schema alone: whatever fits it is answered, and the answer fits the schema of its status."""
    operation = DOCUMENT["paths"][f"/{name}"]["post"]
    asked = _whole(operation["requestBody"]["content"]["application/json"]["schema"], SCHEMAS)
    request = data.draw(fitting(asked))
    reply = asyncio.run(respond(Everything(data.draw(st.booleans())), f"/{name}", json.dumps(request).encode()))
    assert str(reply.status) in operation["responses"]
    said = _whole(operation["responses"][str(reply.status)]["content"]["application/json"]["schema"], SCHEMAS)
    jsonschema.validate(json.loads(reply.body), said)
    # Base64 is more than a schema can say, and a lone surrogate is no JSON that UTF-8 can carry.
    assert reply.status in {200, 400}


@settings(deadline=None)
@given(st.binary(max_size=300), st.sampled_from(list(HOOKS)))
def test_no_bytes_break_a_hook(given_bytes: bytes, name: str) -> None:
    assert asyncio.run(respond(Everything(), f"/{name}", given_bytes)).status in {200, 400}
