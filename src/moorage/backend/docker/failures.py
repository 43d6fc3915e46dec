"""What went wrong with an engine, said twice: a cause for the log and one line for the user."""

from __future__ import annotations

from moorage.codes import Code
from moorage.errors import BackendError


class EngineError(Exception):
    """The engine answered with an error: its HTTP status and its own (bounded, untrusted) words."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"the engine said {status}: {message}")
        self.status = status
        self.message = message


class EngineUnreachableError(Exception):
    """The engine could not be reached, broke off, or answered something that is not its API."""


_MOUNT_WORDS = ("mount", "bind source", "/.moorage", "no such file or directory", "permission denied", "read-only file")


def is_injection_failure(error: BaseException | None) -> bool:
    """Could `error`, raised by create or start, come from how the agent was put in place?

    Engines report mounts and executables as free text: the test is generous, since the other way is then tried.
    """
    return isinstance(error, EngineError) and any(word in error.message.lower() for word in _MOUNT_WORDS)


def backend_error(code: Code, doing: str, cause: BaseException) -> BackendError:
    """The failure that crosses the border: `doing` names the step, such as ``create the container``."""
    return BackendError(
        f"could not {doing}: {cause or type(cause).__name__}", user_text=_user_text(code, cause), code=code
    )


def _user_text(code: Code, cause: BaseException) -> str:
    if isinstance(cause, TimeoutError):
        if code is Code.DOCKER_IMAGE_PULL_FAILED:
            return "The container image took too long to download. Please try again later."
        return "Your environment took too long to start. Please try again later."
    if isinstance(cause, EngineUnreachableError):
        return "The container engine cannot be reached at the moment. Please try again later."
    if isinstance(cause, EngineError):
        return _engine_text(code, cause)
    return "Your environment could not be started."


def _engine_text(code: Code, cause: EngineError) -> str:
    message = cause.message.lower()
    if code is Code.DOCKER_IMAGE_PULL_FAILED:
        if cause.status in (401, 403) or "denied" in message or "unauthorized" in message or "credentials" in message:
            return "The container image may not be downloaded: access was denied."
        if cause.status == 404 or "not found" in message or "manifest unknown" in message:
            return "The container image does not exist."
        return "The container image could not be downloaded. Please try again later."
    if cause.status == 404 and ("image" in message or "manifest" in message):
        return "The container image does not exist."
    if cause.status == 409 and "name" in message:
        return "A container of that name exists already. Please end your other connection first."
    if cause.status == 400:
        return "The container engine does not accept the configuration of your environment."
    if cause.status >= 500:
        return "The container engine reported an error. Please try again later."
    return "Your environment could not be started."
