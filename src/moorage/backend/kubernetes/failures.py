"""What went wrong with a cluster, said twice: a cause for the log and one line for the user."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from moorage.codes import Code
from moorage.errors import BackendError


class ApiError(Exception):
    """The API server answered with an error: its HTTP status, its reason and its own (bounded, untrusted) words."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"the API server said {status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message


class ApiUnreachableError(Exception):
    """The API server could not be reached, broke off, or answered something that is not its API."""


class PodError(Exception):
    """A pod will not run: why, in the cluster's (bounded, untrusted) words, and in ours for the user."""

    def __init__(self, why: str, user_text: str = "Your environment could not be started.") -> None:
        super().__init__(why)
        self.user_text = user_text


@contextmanager
def step(code: Code, doing: str) -> Iterator[None]:
    """Turns what goes wrong with the cluster in the block into a `BackendError` with `code`."""
    try:
        yield
    except (ApiError, ApiUnreachableError, PodError, OSError) as cause:  # a timeout is an OSError, too
        raise backend_error(code, doing, cause) from cause


def backend_error(code: Code, doing: str, cause: BaseException) -> BackendError:
    """The failure that crosses the border: `doing` names the step, such as ``create the pod``."""
    return BackendError(f"could not {doing}: {cause or type(cause).__name__}", user_text=_user_text(cause), code=code)


def _user_text(cause: BaseException) -> str:
    if isinstance(cause, PodError):
        return cause.user_text
    if isinstance(cause, ApiError):
        return _api_text(cause)
    if isinstance(cause, TimeoutError):
        return "Your environment took too long to start. Please try again later."
    return "The cluster cannot be reached at the moment. Please try again later."


def _api_text(error: ApiError) -> str:
    message = error.message.lower()
    if error.status == 403 and "quota" in message:
        return "The cluster has no more room for you: a quota is used up. Please try again later."
    if error.status == 403 and "podsecurity" in message.replace(" ", ""):
        return "The cluster does not accept the configuration of your environment."
    if error.status == 403:
        return "The gateway may not create pods."
    if error.status == 401:
        return "The cluster does not accept the gateway's credentials."
    if error.status == 409:
        return "An environment of that name exists already. Please end your other connection first."
    if error.status in (400, 404, 422):
        return "The cluster does not accept the configuration of your environment."
    return "The cluster reported an error. Please try again later."
