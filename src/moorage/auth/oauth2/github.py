"""GitHub and GitHub Enterprise: both flows, membership of an organisation, two-factor authentication."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

import structlog

from moorage.auth.oauth2.calls import (
    Fields,
    challenge,
    exchanged,
    get,
    persistently,
    post,
    read_tokens,
    text,
    with_query,
)
from moorage.auth.oauth2.contract import Denied, DeviceGrant, Identity, Secrets, Tokens
from moorage.auth.oauth2.oidc import DEVICE_GRANT, read_grant
from moorage.codes import Code
from moorage.config.sections.oauth2 import OAuth2Config
from moorage.errors import AuthError
from moorage.gateway.model import Metadata, TextValue
from moorage.net.http import CallError, Endpoint, Message, WebClient, basic

_FIELDS: Final = {
    "GITHUB_LOGIN": "login",
    "GITHUB_NODE_ID": "node_id",
    "GITHUB_NAME": "name",
    "GITHUB_AVATAR_URL": "avatar_url",
    "GITHUB_BIO": "bio",
    "GITHUB_COMPANY": "company",
    "GITHUB_EMAIL": "email",
    "GITHUB_BLOG_URL": "blog",
    "GITHUB_LOCATION": "location",
    "GITHUB_TWITTER_USERNAME": "twitter_username",
    "GITHUB_PROFILE_URL": "html_url",
}
"""Metadata from the user's record, by the reference's names."""


class GitHubProvider:
    """github.com or an Enterprise server, see `Provider`."""

    has_code_flow = True

    def __init__(self, config: OAuth2Config) -> None:
        """Raises `ValueError` if an endpoint cannot be used."""
        github = config.github
        self._config = github
        self._client_id = config.client_id
        self._secret = config.client_secret
        self.has_device_flow = config.device_flow
        self._url, self._api = github.url.rstrip("/"), github.apiurl.rstrip("/")
        self._website, self._api_client = (
            WebClient(Endpoint(url=url, timeout=github.timeout, cacert=github.cacert))
            for url in (github.url, github.apiurl)
        )
        self._scopes = _scopes(github.extra_scopes, github.require_org_membership, github.require_2fa)

    async def begin_device(self) -> DeviceGrant:
        fields = {"client_id": self._client_id, "scope": ",".join(self._scopes)}
        status, answer = await persistently(lambda: post(self._website, f"{self._url}/login/device/code", fields))
        error = text(answer, "error")
        if status != 200 or error:
            code = Code.AUTH_OAUTH2_DEVICE_CODE_REQUEST_FAILED
            if error == "slow_down":
                code = Code.GITHUB_DEVICE_AUTHORIZATION_LIMIT
            raise AuthError(f"GitHub begins no device flow: status {status}, {error[:60]!r}", code=code)
        return read_grant(answer, base=self._url)

    async def poll_device(self, grant: DeviceGrant) -> Tokens | str:
        fields = {"client_id": self._client_id, "device_code": grant.device_code, "grant_type": DEVICE_GRANT}
        return read_tokens(await post(self._website, f"{self._url}/login/oauth/access_token", fields), ",")

    async def link(self, secrets: Secrets, username: str) -> str:
        fields = {
            "client_id": self._client_id,
            "scope": ",".join(self._scopes),
            "state": secrets.state,
            "code_challenge": challenge(secrets.verifier),
            "code_challenge_method": "S256",
        }
        if self._config.enforce_username:
            fields["login"] = username
        return with_query(f"{self._url}/login/oauth/authorize", fields)

    async def exchange(self, code: str, secrets: Secrets) -> Tokens:
        fields = {
            "client_id": self._client_id,
            "client_secret": self._secret.get_secret_value(),
            "code": code,
            "state": secrets.state,
            "code_verifier": secrets.verifier,
        }
        return await exchanged(
            self._website,
            f"{self._url}/login/oauth/access_token",
            fields,
            failed=Code.GITHUB_ACCESS_TOKEN_FETCH_FAILED,
            provider="GitHub",
            separator=",",
        )

    async def identify(self, tokens: Tokens, nonce: str | None) -> Identity:
        del nonce
        self._check_scopes(tokens.scopes or ())
        status, user = await self._ask("/user", tokens.access)
        login = text(user, "login")
        if status != 200 or not login:
            raise AuthError(
                f"GitHub gives no record of the user: status {status}", code=Code.GITHUB_USER_REQUEST_FAILED
            )
        if self._config.require_2fa and user.get("two_factor_authentication") is not True:
            raise Denied(
                f"{login!r} has no two-factor authentication",
                Code.GITHUB_2FA_NOT_ENABLED,
                user_text="Please switch on two-factor authentication at GitHub.",
            )
        if self._config.require_org_membership:
            await self._check_membership(tokens.access, login)
        return Identity(login, user, Metadata(metadata=_metadata(tokens.access, user)))

    async def revoke(self, access_token: str) -> None:
        message = Message(
            method="DELETE",
            url=f"{self._api}/applications/{quote(self._client_id, safe='')}/token",
            body=json.dumps({"access_token": access_token}).encode(),
            authorization=basic(self._client_id, self._secret.get_secret_value()),
        )
        try:
            answer = await self._api_client.send(message)
        except CallError as error:
            what = str(error)
        else:
            if answer.status in {204, 404, 422}:
                return
            what = f"status {answer.status}"
        structlog.get_logger().warning(
            "A token was not revoked", code=Code.GITHUB_DELETE_ACCESS_TOKEN_FAILED, reason=what
        )

    async def close(self) -> None:
        await self._website.close()
        await self._api_client.close()

    async def _ask(self, path: str, access: str) -> tuple[int, Fields]:
        return await persistently(lambda: get(self._api_client, self._api + path, f"bearer {access}"))

    def _check_scopes(self, granted: Sequence[str]) -> None:
        wanted = list(self._config.extra_scopes) if self._config.enforce_scopes else []
        missing = [scope for scope in wanted if scope not in granted and scope.partition(":")[0] not in granted]
        if self._config.require_org_membership and not {"org", "read:org", "write:org", "admin:org"} & set(granted):
            missing.append("read:org")
        if missing:
            raise Denied(
                f"scopes were not granted: {', '.join(missing)}",
                Code.GITHUB_REQUIRED_SCOPE_NOT_GRANTED,
                user_text="A permission that this server needs was not granted.",
            )

    async def _check_membership(self, access: str, login: str) -> None:
        organisation = self._config.require_org_membership
        status, answer = await self._ask(f"/user/memberships/orgs/{quote(organisation, safe='')}", access)
        named = answer.get("organization")
        name = text(named, "login") if isinstance(named, dict) else ""
        if status != 200 or answer.get("state") != "active" or name.lower() != organisation.lower():
            raise Denied(
                f"{login!r} is no active member of {organisation!r} (status {status})",
                Code.AUTH_FAILED,
                user_text="You are no member of the organisation that this server is for.",
            )


def _scopes(extra: Sequence[str], organisation: str, needs_2fa: bool) -> tuple[str, ...]:
    scopes = list(extra)
    if organisation and not {"org", "read:org"} & set(scopes):
        scopes.append("read:org")
    if needs_2fa and not {"user", "read:user"} & set(scopes):
        scopes.append("read:user")
    return tuple(scopes)


def _metadata(access: str, user: Fields) -> dict[str, TextValue]:
    said = {name: text(user, field) for name, field in _FIELDS.items()}
    number = user.get("id")
    said["GITHUB_ID"] = str(number) if isinstance(number, int) else ""
    if isinstance(user.get("two_factor_authentication"), bool):
        said["GITHUB_2FA"] = "true" if user["two_factor_authentication"] else "false"
    found = {name: TextValue(value, sensitive=True) for name, value in said.items()}
    found["GITHUB_TOKEN"] = TextValue(access, sensitive=True)
    return found
