"""Any OAuth 2.0 provider, by its two addresses: a login there is all that is known of the user."""

from __future__ import annotations

from moorage.auth.oauth2.calls import challenge, post, with_query
from moorage.auth.oauth2.contract import Denied, DeviceGrant, Identity, Secrets, Tokens, TransientError
from moorage.auth.oauth2.oidc import read_tokens
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
        try:
            answer = await post(self._client, self._config.token_endpoint.url, fields, self._authorization)
        except TransientError as error:
            raise AuthError(str(error), code=Code.GENERIC_ACCESS_TOKEN_FETCH_FAILED) from None
        tokens = read_tokens(answer)
        if isinstance(tokens, str):
            raise Denied(f"the provider refuses the code: {tokens[:60]!r}", Code.GENERIC_ACCESS_TOKEN_FETCH_FAILED)
        return tokens

    async def identify(self, tokens: Tokens, nonce: str | None) -> Identity:
        del nonce
        return Identity("", {}, Metadata({"OAUTH2_TOKEN": TextValue(tokens.access, sensitive=True)}))

    async def revoke(self, access_token: str) -> None:
        """There is no address for it."""

    async def close(self) -> None:
        await self._client.close()
