"""The backend: one connection to the server behind for each login."""

from __future__ import annotations

from pathlib import Path

from moorage.backend.contract import CleanUps
from moorage.backend.observer import RequestObserver, Unobserved
from moorage.backend.sshproxy.guest import UpstreamGuest
from moorage.gateway.contract import Guest, Progress
from moorage.gateway.model import Login


class SSHProxyBackend:
    """Logs in to ``sshproxy.server`` for each login; implements `Backend`."""

    def __init__(self, *, state_directory: Path, instance: str) -> None:
        del state_directory, instance  # nothing is kept, and nothing of ours is on the server behind
        self._observer: RequestObserver = Unobserved()
        self._clean_ups = CleanUps()

    def observe(self, observer: RequestObserver) -> None:
        """See `moorage.backend.observer.Observable`."""
        self._observer = observer

    async def open(self, login: Login, progress: Progress) -> Guest:
        """See `Backend.open`."""
        guest = UpstreamGuest(login, self._clean_ups, self._observer)
        await guest.open(progress)
        return guest

    async def close(self) -> None:
        """See `Backend.close`."""
        await self._clean_ups.wait()
