"""For authors of authentication and configuration servers: typed requests and answers, and where to put them.

Write a class that answers the hooks you offer, and serve it::

    from moorage.webhook import Accepted, Hooks, PasswordRequest
    from moorage.webhook.aiohttp import application


    class MyHooks(Hooks):
        async def password(self, request: PasswordRequest) -> Accepted | bool:
            return request.username == "mia" and request.password == b"s3cret"


    app = application(MyHooks())

`moorage.webhook.asgi` has the same for FastAPI, Starlette and every other ASGI server.  Nothing here needs the SSH
server: this package alone depends on pydantic, and on aiohttp if that is used.
"""

from moorage.webhook.hooks import Hooks, NotOffered, Reply, respond
from moorage.webhook.models import (
    Accepted,
    AuthorizationRequest,
    BinaryValue,
    Certificate,
    Configuration,
    ConfigurationRequest,
    OneTimePasswordRequest,
    PasswordRequest,
    PublicKeyRequest,
    TextValue,
)
from moorage.webhook.signature import HEADER, SignatureError, sign, verify

__all__ = [
    "HEADER",
    "Accepted",
    "AuthorizationRequest",
    "BinaryValue",
    "Certificate",
    "Configuration",
    "ConfigurationRequest",
    "Hooks",
    "NotOffered",
    "OneTimePasswordRequest",
    "PasswordRequest",
    "PublicKeyRequest",
    "Reply",
    "SignatureError",
    "TextValue",
    "respond",
    "sign",
    "verify",
]
