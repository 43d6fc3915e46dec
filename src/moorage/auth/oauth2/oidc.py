"""OpenID Connect: discovery, both flows, the verified ID token, the user's record."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import structlog

from moorage.auth.oauth2.calls import (
    Fields,
    challenge,
    exchanged,
    form,
    get,
    number,
    persistently,
    post,
    read_tokens,
    require_safe,
    text,
    with_query,
)
from moorage.auth.oauth2.contract import Denied, DeviceGrant, Identity, Secrets, Tokens
from moorage.auth.oauth2.device import DEFAULT_INTERVAL
from moorage.auth.oauth2.discovery import Discovery
from moorage.auth.oauth2.idtoken import Expected, verified_claims
from moorage.codes import Code
from moorage.config.clients import endpoint_of
from moorage.config.sections.oauth2 import OAuth2Config
from moorage.errors import AuthError
from moorage.gateway.model import Metadata, TextValue
from moorage.net.http import CallError, WebClient, basic

DEVICE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
_PERSONAL: Final = frozenset(
    {"name", "given_name", "family_name", "middle_name", "nickname", "profile", "picture", "website", "email"}
    | {"gender", "birthdate", "zoneinfo", "locale", "phone_number", "address"}
)
"""Claims about a person (OpenID Connect Core §5.1), which are marked as sensitive."""

_PROTOCOL: Final = frozenset(
    {"iss", "aud", "exp", "iat", "nbf", "nonce", "at_hash", "c_hash", "azp", "jti", "auth_time"}
)
_LARGEST_CLAIM: Final = 8 * 1024


class OIDCProvider:
    """One OpenID provider, see `Provider`."""

    def __init__(self, config: OAuth2Config) -> None:
        """Raises `ValueError` if the endpoint cannot be used."""
        self._config = config.oidc
        self._client_id = config.client_id
        self._authorization = basic(config.client_id, config.client_secret.get_secret_value())
        self._may_use_device_flow = config.device_flow
        self._client = WebClient(endpoint_of(config.oidc))
        self._discovery = Discovery(self._client, config.oidc.url)
        self._scopes = tuple(dict.fromkeys(("openid", *config.oidc.extra_scopes)))

    @property
    def has_device_flow(self) -> bool:
        return self._config.device_flow and self._may_use_device_flow

    @property
    def has_code_flow(self) -> bool:
        return self._config.authorization_code_flow

    async def begin_device(self) -> DeviceGrant:
        endpoint = (await self._discovery.metadata()).device
        if not endpoint:
            raise AuthError("the provider has no device flow", code=Code.AUTH_OAUTH2_DEVICE_CODE_REQUEST_FAILED)
        fields = {"client_id": self._client_id, "scope": " ".join(self._scopes)}
        status, answer = await persistently(lambda: post(self._client, endpoint, fields, self._authorization))
        if status != 200:
            raise AuthError(
                f"the provider begins no device flow: status {status}, {text(answer, 'error')[:60]!r}",
                code=Code.AUTH_OAUTH2_DEVICE_CODE_REQUEST_FAILED,
            )
        return read_grant(answer, base=self._config.url)

    async def poll_device(self, grant: DeviceGrant) -> Tokens | str:
        endpoint = (await self._discovery.metadata()).token
        fields = {"grant_type": DEVICE_GRANT, "client_id": self._client_id, "device_code": grant.device_code}
        return read_tokens(await post(self._client, endpoint, fields, self._authorization))

    async def link(self, secrets: Secrets, username: str) -> str:
        del username
        endpoint = (await self._discovery.metadata()).authorization
        if not endpoint:
            raise AuthError("the provider has no authorization_endpoint", code=Code.OIDC_DISCOVERY_FAILED)
        return with_query(
            endpoint,
            {
                "response_type": "code",
                "client_id": self._client_id,
                "scope": " ".join(self._scopes),
                "state": secrets.state,
                "nonce": secrets.nonce,
                "code_challenge": challenge(secrets.verifier),
                "code_challenge_method": "S256",
                "redirect_uri": self._config.redirect_uri,
            },
        )

    async def exchange(self, code: str, secrets: Secrets) -> Tokens:
        endpoint = (await self._discovery.metadata()).token
        fields = {
            "grant_type": "authorization_code",
            "code": code,
            "client_id": self._client_id,
            "redirect_uri": self._config.redirect_uri,
            "code_verifier": secrets.verifier,
        }
        return await exchanged(
            self._client, endpoint, fields, self._authorization, failed=Code.OIDC_ACCESS_TOKEN_FETCH_FAILED
        )

    async def identify(self, tokens: Tokens, nonce: str | None) -> Identity:
        wanted = set(self._config.extra_scopes) if self._config.enforce_scopes else set()
        if tokens.scopes is not None and (missing := wanted - set(tokens.scopes)):
            raise Denied(
                f"scopes were not granted: {', '.join(sorted(missing))}",
                Code.OIDC_REQUIRED_SCOPE_NOT_GRANTED,
                user_text="A permission that this server needs was not granted.",
            )
        if not tokens.identity:
            raise Denied("the provider gives no ID token", Code.AUTH_FAILED)
        metadata = await self._discovery.metadata()
        expected = Expected(metadata.issuer, self._client_id, self._config.id_token_algorithms, nonce)
        identity = await verified_claims(
            tokens.identity, lambda unknown: self._discovery.keys(unknown=unknown), expected
        )
        user = await self._user_info(metadata.userinfo, tokens.access) if metadata.userinfo else {}
        if user and user.get("sub") != identity["sub"]:
            raise Denied("the user's record is about somebody else than the ID token", Code.AUTH_FAILED)
        claims = {name: value for name, value in {**identity, **user}.items() if name not in _PROTOCOL}
        username = text(claims, self._config.username_field)
        if not username:
            raise Denied(
                f"the user's record has no field {self._config.username_field!r} with a text",
                Code.OIDC_NO_USERNAME,
                user_text="The identity provider does not say who you are.",
            )
        return Identity(username, claims, Metadata(metadata=_metadata(tokens, claims)))

    async def revoke(self, access_token: str) -> None:
        fields = {"token": access_token, "token_type_hint": "access_token"}
        try:
            endpoint = (await self._discovery.metadata()).revocation
            if not endpoint:
                return
            answer = await self._client.send(form(endpoint, fields, self._authorization))
        except (CallError, AuthError) as error:
            what = str(error)
        else:
            if answer.status == 200:  # whatever is in it (RFC 7009 §2.2)
                return
            what = f"status {answer.status}"
        structlog.get_logger().warning("A token was not revoked", code=Code.OIDC_DEAUTHORIZE_FAILED, reason=what)

    async def close(self) -> None:
        await self._client.close()

    async def _user_info(self, endpoint: str, access: str) -> Fields:
        status, fields = await persistently(lambda: get(self._client, endpoint, f"Bearer {access}"))
        if status != 200:
            raise AuthError(
                f"the provider gives no record of the user: status {status}", code=Code.OIDC_USER_INFO_FETCH_FAILED
            )
        return fields


def read_grant(answer: Fields, *, base: str) -> DeviceGrant:
    """The device flow that an answer begins; raises `AuthError`."""
    device, user = text(answer, "device_code"), text(answer, "user_code")
    plain = text(answer, "verification_uri") or text(answer, "verification_url")
    if not device or not user or len(user) > 64 or not user.isprintable():
        raise AuthError("the provider's answer has no codes", code=Code.AUTH_OAUTH2_DEVICE_CODE_REQUEST_FAILED)
    uri = require_safe(text(answer, "verification_uri_complete") or plain, base=base, what="verification_uri")
    return DeviceGrant(
        device, user, uri, number(answer, "interval", DEFAULT_INTERVAL), number(answer, "expires_in", 300.0)
    )


def _metadata(tokens: Tokens, claims: Mapping[str, Any]) -> dict[str, TextValue]:
    found = {"OIDC_TOKEN": TextValue(tokens.access, sensitive=True)}
    if tokens.refresh:
        found["OIDC_REFRESH_TOKEN"] = TextValue(tokens.refresh, sensitive=True)
    for name, value in claims.items():
        said = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        if len(said) <= _LARGEST_CLAIM and name.isascii() and name.isprintable():
            is_personal = name.partition("#")[0] in _PERSONAL
            found[f"OIDC_USERINFO_{name.upper()}"] = TextValue(said, sensitive=is_personal)
    return found
