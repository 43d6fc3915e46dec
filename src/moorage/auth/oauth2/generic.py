"""Any OAuth 2.0 provider, by its two addresses: a login there is all that is known of the user."""

from __future__ import annotations

from moorage.auth.oauth2.calls import challenge, exchanged, with_query
from moorage.auth.oauth2.contract import DeviceGrant, Identity, Secrets, Tokens
from moorage.codes import Code
from moorage.config.clients import endpoint_of
from moorage.config.sections.oauth2 import OAuth2Config
from moorage.errors import AuthError
from moorage.gateway.model import Metadata, TextValue
from moorage.net.http import WebClient, basic


class GenericProvider:
    """The authorization code flow alone, see `Provider`."""

    has_device_flow = False
    has_code_flow = True

    def __init__(self, config: OAuth2Config) -> None:
        """Raises `ValueError` if the endpoint cannot be used."""
        self._config = config.generic
        self._client_id = config.client_id
        self._authorization = basic(config.client_id, config.client_secret.get_secret_value())
        self._client = WebClient(endpoint_of(config.generic.token_endpoint))

    async def begin_device(self) -> DeviceGrant:
        raise AuthError("this provider has no device flow", code=Code.AUTH_UNSUPPORTED)

    async def poll_device(self, grant: DeviceGrant) -> Tokens | str:
        raise AuthError("this provider has no device flow", code=Code.AUTH_UNSUPPORTED)

    async def link(self, secrets: Secrets, username: str) -> str:
        del username
        return with_query(
            self._config.authorize_endpoint_url,
            {
                "response_type": "code",
                "client_id": self._client_id,
                "scope": "",
                "state": secrets.state,
                "code_challenge": challenge(secrets.verifier),
                "code_challenge_method": "S256",
                "redirect_uri": self._config.redirect_uri,
            },
        )

    async def exchange(self, code: str, secrets: Secrets) -> Tokens:
        fields = {
            "grant_type": "authorization_code",
            "code": code,
            "client_id": self._client_id,
            "redirect_uri": self._config.redirect_uri,
            "code_verifier": secrets.verifier,
        }
        url, failed = self._config.token_endpoint.url, Code.GENERIC_ACCESS_TOKEN_FETCH_FAILED
        return await exchanged(self._client, url, fields, self._authorization, failed=failed)

    async def identify(self, tokens: Tokens, nonce: str | None) -> Identity:
        del nonce
        return Identity("", {}, Metadata({"OAUTH2_TOKEN": TextValue(tokens.access, sensitive=True)}))

    async def revoke(self, access_token: str) -> None:
        """There is no address for it."""

    async def close(self) -> None:
        await self._client.close()
