"""Backends by the names that the configuration uses: entry points of the group ``moorage.backends``."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final

from moorage.backend.observer import RequestObserver
from moorage.codes import Code
from moorage.config import AppConfig
from moorage.errors import ConfigError
from moorage.gateway.contract import Backend

GROUP: Final = "moorage.backends"


class Backends:
    """One backend a name, imported and made when a login first needs it."""

    def __init__(
        self, *, state_directory: Path, instance: str, observer: Callable[[str], RequestObserver] | None = None
    ) -> None:
        """`observer` makes the one that the backend of a name is to tell of its requests, if it can."""
        self._state_directory = state_directory
        self._instance = instance
        self._observer = observer
        self._made: dict[str, Backend] = {}

    @staticmethod
    def names() -> frozenset[str]:
        """The backends that are installed."""
        return frozenset(point.name for point in entry_points(group=GROUP))

    def get(self, name: str) -> Backend:
        """The backend called `name`; the same one every time.  Raises `ConfigError` if there is none."""
        if name not in self._made:
            self._made[name] = self._make(name)
        return self._made[name]

    async def start(self, config: AppConfig | None = None) -> None:
        """Let the configured backend prepare itself before the first login; raises `ConfigError`."""
        if config is not None:
            prepare = getattr(self.get(config.backend), "prepare", None)
            if prepare is not None:
                await prepare(config)

    def reconfigure(self, config: AppConfig) -> None:
        """Tell the configured backend what logins from now on come with; raises `ConfigError` if there is none."""
        reconfigure = getattr(self.get(config.backend), "reconfigure", None)
        if reconfigure is not None:
            reconfigure(config)

    async def close(self) -> None:
        """Close every backend; idempotent."""
        while self._made:
            _, backend = self._made.popitem()
            await backend.close()

    def _make(self, name: str) -> Backend:
        found = tuple(entry_points(group=GROUP, name=name))
        if not found:
            raise ConfigError(
                f"backend: there is no backend {name!r}; installed are {', '.join(sorted(self.names()))}",
                code=Code.BACKEND_CONFIG_ERROR,
            )
        try:
            factory = found[0].load()
        except ImportError as cause:
            if (cause.name or "").partition(".")[0] == "moorage":
                raise  # our own code is broken; no package mends that
            raise ConfigError(
                f"backend: {name} needs the package {cause.name or 'that is missing'}: pip install 'moorage[{name}]'",
                code=Code.BACKEND_CONFIG_ERROR,
            ) from cause
        backend: Backend = factory(state_directory=self._state_directory, instance=self._instance)
        observe = getattr(backend, "observe", None)
        if self._observer is not None and observe is not None:
            observe(self._observer(name))
        return backend
