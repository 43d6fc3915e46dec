"""An ID token counts if all of it is true, and for no other reason."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Mapping
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from moorage.auth.oauth2.contract import Denied
from moorage.auth.oauth2.idtoken import Expected, verified_claims

NOW = 1_800_000_000
KEY = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})
OTHER = RSAKey.generate_key(2048, {"kid": "two", "use": "sig"})
EXPECTED = Expected("https://id.example", "gateway", ("RS256", "ES256", "Ed25519"), "the-nonce")
GOOD: dict[str, Any] = {
    "iss": "https://id.example",
    "aud": "gateway",
    "sub": "mia",
    "iat": NOW - 5,
    "exp": NOW + 300,
    "nonce": "the-nonce",
}


def signed(claims: Mapping[str, Any], key: Any = KEY, algorithm: str = "RS256", **header: str) -> str:
    return jwt.encode({"alg": algorithm, "kid": key.kid or "", **header}, dict(claims), key, algorithms=[algorithm])


def key_set(*keys: Any) -> dict[str, Any]:
    return {"keys": [key.as_dict(private=False) for key in keys]}


async def check(
    token: str, *, now: set[str] | None = None, expected: Expected = EXPECTED, keys: Any = None
) -> Mapping[str, Any]:
    async def keys_of(unknown: bool) -> Mapping[str, Any]:
        if now is not None:
            now.add("again" if unknown else "first")
        return keys if keys is not None else key_set(KEY)

    return await verified_claims(token, keys_of, expected, clock=lambda: NOW)


async def test_a_good_token_gives_its_claims() -> None:
    assert (await check(signed({**GOOD, "groups": ["dev"]})))["groups"] == ["dev"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"iss": "https://evil.example"}, "another issuer"),
        ({"iss": "https://id.example/"}, "another issuer"),
        ({"iss": None}, "another issuer"),
        ({"aud": "other"}, "somebody else"),
        ({"aud": []}, "somebody else"),
        ({"aud": None}, "somebody else"),
        ({"aud": ["gateway", "other"]}, "asked for by somebody else"),
        ({"azp": "other"}, "asked for by somebody else"),
        ({"exp": NOW - 61}, "expired"),
        ({"exp": None}, "no times"),
        ({"exp": "soon"}, "no times|cannot be verified"),
        ({"exp": True}, "no times|cannot be verified"),
        ({"iat": NOW + 120}, "not valid yet"),
        ({"iat": None}, "no times"),
        ({"nbf": NOW + 120}, "not valid yet"),
        ({"nbf": "soon"}, "no times|cannot be verified"),
        ({"exp": float("nan")}, "no times|cannot be verified"),
        ({"iat": float("inf")}, "no times|cannot be verified"),
        ({"nonce": "another"}, "nonce"),
        ({"nonce": None}, "nonce"),
        ({"sub": ""}, "nobody"),
        ({"sub": 7}, "nobody"),
    ],
)
async def test_each_lie_is_refused(change: dict[str, Any], reason: str) -> None:
    claims = {name: value for name, value in {**GOOD, **change}.items() if value is not None}
    with pytest.raises(Denied, match=reason):
        await check(signed(claims))


@pytest.mark.parametrize("change", [{"aud": ["gateway"]}, {"azp": "gateway"}, {"exp": NOW - 30}, {"iat": NOW + 30}])
async def test_each_allowed_variation_is_accepted(change: dict[str, Any]) -> None:
    assert (await check(signed({**GOOD, **change})))["sub"] == "mia"


async def test_a_flow_without_a_nonce_needs_none() -> None:
    expected = Expected(EXPECTED.issuer, EXPECTED.audience, EXPECTED.algorithms, None)
    claims = {name: value for name, value in GOOD.items() if name != "nonce"}
    assert await check(signed(claims), expected=expected)


@pytest.mark.parametrize(
    "key", [ECKey.generate_key("P-256", {"kid": "e"}), OKPKey.generate_key("Ed25519", {"kid": "o"})]
)
async def test_other_kinds_of_keys_are_understood(key: Any) -> None:
    algorithm = "ES256" if isinstance(key, ECKey) else "Ed25519"
    assert await check(signed(GOOD, key, algorithm), keys=key_set(KEY, key))


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
async def test_the_older_name_of_ed25519_is_understood_where_it_is_allowed() -> None:
    key = OKPKey.generate_key("Ed25519", {"kid": "o"})
    token = signed(GOOD, key, "EdDSA")
    older = Expected(EXPECTED.issuer, EXPECTED.audience, ("EdDSA",), EXPECTED.nonce)
    assert await check(token, keys=key_set(key), expected=older)
    with pytest.raises(Denied):
        await check(token, keys=key_set(key))


async def test_another_key_is_looked_for_once_more_and_refused() -> None:
    asked: set[str] = set()
    with pytest.raises(Denied, match="not by a key of the provider"):
        await check(signed(GOOD, OTHER), now=asked)
    assert asked == {"first", "again"}


async def test_a_key_that_is_new_is_found_at_the_second_look() -> None:
    async def keys_of(unknown: bool) -> Mapping[str, Any]:
        return key_set(OTHER) if unknown else key_set(KEY)

    assert await verified_claims(signed(GOOD, OTHER), keys_of, EXPECTED, clock=lambda: NOW)


def _part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def _hmac_with_the_public_key() -> str:
    body = f"{_part({'alg': 'HS256', 'kid': 'one'})}.{_part(GOOD)}"
    made = hmac.digest(KEY.as_pem(private=False), body.encode(), "sha256")
    return f"{body}.{base64.urlsafe_b64encode(made).decode().rstrip('=')}"


FORGED = {
    "none": f"{_part({'alg': 'none', 'kid': 'one'})}.{_part(GOOD)}.",
    "no signature": f"{_part({'alg': 'RS256', 'kid': 'one'})}.{_part(GOOD)}.",
    "hmac with the public key": _hmac_with_the_public_key(),
    "algorithm not on the list": signed(GOOD, KEY, "RS512"),
    "key in the header": signed(GOOD, OTHER, "RS256", jku="https://evil.example/keys", kid="one"),
    "critical header": f"{_part({'alg': 'RS256', 'kid': 'one', 'crit': ['x'], 'x': 1})}.{_part(GOOD)}.AAAA",
    "empty": "",
    "two parts": "a.b",
    "five parts": "a.b.c.d.e",
    "no JSON": f"{_part('x')}.{_part('y')}.AAAA",
    "control characters": "\0.\0.\0",
    "long": "A" * 100_000,
}  # fmt: skip


@pytest.mark.parametrize("name", FORGED)
async def test_forgeries_are_refused(name: str) -> None:
    with pytest.raises(Denied) as caught:
        await check(FORGED[name])
    assert len(str(caught.value)) < 200, "nothing of the token is quoted"


@pytest.mark.parametrize("keys", [{}, {"keys": []}, {"keys": [{"kty": "RSA"}]}, {"keys": [{"kty": "nonsense"}]}])
async def test_a_provider_without_usable_keys_vouches_for_nobody(keys: dict[str, Any]) -> None:
    with pytest.raises(Denied):
        await check(signed(GOOD), keys=keys)


async def test_a_symmetric_key_in_the_set_signs_nothing() -> None:
    shared = OctKey.generate_key(256, {"kid": "shared"})
    with pytest.raises(Denied):
        await check(
            signed(GOOD, shared, "HS256"),
            keys={"keys": [shared.as_dict(private=True)]},
            expected=Expected(EXPECTED.issuer, EXPECTED.audience, ("HS256",), "the-nonce"),
        )
