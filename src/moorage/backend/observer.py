"""The requests of backends, counted."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from moorage import metrics as m


class RequestObserver(Protocol):
    """Hears about each request of a backend to what provides its guests.  No method may raise or block."""

    def requested(self) -> None:
        """A request is about to be made."""

    def failed(self) -> None:
        """It has failed.  One that was cancelled has not, and that something is not there is an answer."""


class Observable(Protocol):
    """A backend that tells an observer."""

    def observe(self, observer: RequestObserver) -> None:
        """Tell `observer` of all requests from now on; called once, before the first of them."""


class Unobserved:
    """An observer that counts nothing."""

    def requested(self) -> None:
        pass

    def failed(self) -> None:
        pass


class RequestMetrics:
    """An observer that counts in `metrics`, for the backend called `backend`."""

    def __init__(self, metrics: m.Metrics, backend: str) -> None:
        self._metrics = metrics
        self._backend = backend
        for what in (m.BACKEND_REQUESTS, m.BACKEND_ERRORS):
            metrics.expect(what, backend=backend)

    def requested(self) -> None:
        self._metrics.count(m.BACKEND_REQUESTS, backend=self._backend)

    def failed(self) -> None:
        self._metrics.count(m.BACKEND_ERRORS, backend=self._backend)


class _HasObserver(Protocol):
    observer: RequestObserver


_S = TypeVar("_S", bound=_HasObserver)
_P = ParamSpec("_P")
_R = TypeVar("_R")


def counted(
    request: Callable[Concatenate[_S, _P], Coroutine[Any, Any, _R]],
) -> Callable[Concatenate[_S, _P], Coroutine[Any, Any, _R]]:
    """Makes a method one of the requests that its object's `observer` hears about."""

    @wraps(request)
    async def told(self: _S, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        self.observer.requested()
        try:
            return await request(self, *args, **kwargs)
        except Exception:
            self.observer.failed()
            raise

    return told
