"""The requests of backends, counted."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from time import monotonic
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from moorage import metrics as m


class RequestObserver(Protocol):
    """Hears about each request of a backend to what provides its guests.  No method may raise or block."""

    def requested(self) -> None:
        """A request is about to be made."""

    def failed(self) -> None:
        """It has failed.  One that was cancelled has not, and that something is not there is an answer."""

    def claimed(self, *, ready: bool) -> None:
        """A login has asked the pool for a guest, and one was `ready`, or none."""

    def spares(self, change: int) -> None:
        """So many more guests stand ready; fewer, if it is negative."""

    def took(self, request: str, seconds: float) -> None:
        """It has ended, in whatever way; `request` is one of a few names."""


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

    def claimed(self, *, ready: bool) -> None:
        pass

    def spares(self, change: int) -> None:
        pass

    def took(self, request: str, seconds: float) -> None:
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

    def claimed(self, *, ready: bool) -> None:
        self._metrics.count(m.POOL_CLAIMS, backend=self._backend, result="ready" if ready else "none")

    def spares(self, change: int) -> None:
        self._metrics.add(m.POOL_SPARES, change, backend=self._backend)

    def took(self, request: str, seconds: float) -> None:
        self._metrics.observe(m.BACKEND_DURATION, seconds, backend=self._backend, request=request)


class _HasObserver(Protocol):
    observer: RequestObserver


_S = TypeVar("_S", bound=_HasObserver)
_P = ParamSpec("_P")
_R = TypeVar("_R")


def counted(
    request: Callable[Concatenate[_S, _P], Coroutine[Any, Any, _R]],
) -> Callable[Concatenate[_S, _P], Coroutine[Any, Any, _R]]:
    """Makes a method one of the requests that its object's `observer` hears about, under the method's name."""
    name = request.__name__.strip("_")

    @wraps(request)
    async def told(self: _S, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        self.observer.requested()
        started = monotonic()
        try:
            return await request(self, *args, **kwargs)
        except Exception:
            self.observer.failed()
            raise
        finally:
            self.observer.took(name, monotonic() - started)

    return told
