"""How often to ask whether the user is done (RFC 8628 §3.5).  Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from moorage.auth.oauth2.contract import Denied
from moorage.codes import Code

DEFAULT_INTERVAL: Final = 5.0
LEAST_INTERVAL: Final = 1.0
LONGEST_INTERVAL: Final = 60.0
_SLOWER: Final = 5.0

_TEXTS: Final = {
    "access_denied": "The login was declined at the identity provider.",
    "expired_token": "The code has expired. Connect again for a new one.",
}
_CODES: Final = {
    "expired_token": Code.AUTH_OAUTH2_TIMEOUT,
    "unsupported_grant_type": Code.AUTH_OAUTH_UNSUPPORTED_GRANT_TYPE,
    "invalid_client": Code.OAUTH_INCORRECT_CLIENT_CREDENTIALS,
    "incorrect_client_credentials": Code.OAUTH_INCORRECT_CLIENT_CREDENTIALS,
}


@dataclass(slots=True)
class Pace:
    """The pause before each question; grows as the provider says, and with its failures."""

    interval: float

    def __post_init__(self) -> None:
        self.interval = min(max(self.interval, LEAST_INTERVAL), LONGEST_INTERVAL)

    def answered(self, error: str) -> None:
        """The provider has answered with an error code; raises `Denied` if it will never say yes."""
        if error == "slow_down":
            self.interval = min(self.interval + _SLOWER, LONGEST_INTERVAL)
        elif error != "authorization_pending":
            raise Denied(
                f"the provider ends the device flow: {error[:60]!r}",
                _CODES.get(error, Code.AUTH_FAILED),
                user_text=_TEXTS.get(error, ""),
            )

    def failed(self) -> None:
        """There was no answer: back off (RFC 8628 §3.5)."""
        self.interval = min(self.interval * 2, LONGEST_INTERVAL)
