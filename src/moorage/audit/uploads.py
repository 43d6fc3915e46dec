"""Recordings that are finished go from the spool to a bucket, and stay in the spool until they are there.

What an earlier server has left behind is uploaded too.  A store that is away, or refuses, is tried again and
again with growing pauses; that neither stops a start nor holds up a connection.  What S3 is told of a recording
is read from the recording itself, so that nothing else need survive a crash.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import structlog

from moorage.audit.encryption import ABOUT, SUFFIX
from moorage.audit.reading.source import CAPTURED_PREFIX
from moorage.codes import Code
from moorage.config.sections.audit import AuditS3Config
from moorage.errors import ConfigError

_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 60.0
_LAST_SECONDS: Final = 20.0
"""How long the end of the server waits for uploads; the rest is for the next start."""

_PARTS_AT_ONCE: Final = 4
_READINGS: Final = 3
"""Tries of a recording that the spool's disk does not give; then it is left for the next start."""

_NAME: Final = re.compile(r"[0-9a-f]{32}(\.age)?")
_CAPTURED: Final = ".captured"
_MARK: Final = re.compile(r"[0-9a-f]{64}\.captured")
"""An empty file in the spool that stands for a captured file elsewhere."""

_UNSAFE: Final = re.compile(r"[^ -~]")


class _Unreadable(Exception):
    """The recording cannot be read from the spool: that is no fault of the store."""


class Uploads:
    """Uploads from the directory `config.local`."""

    def __init__(
        self,
        config: AuditS3Config,
        *,
        captured: Path | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`captured` is where captured files are that are to be uploaded too.

        Raises `ConfigError` where the package is missing or a setting cannot be used.  Nothing is asked yet."""
        self._config = config
        self._sleep = sleep
        self._spool = Path(config.local)
        self._captured = captured
        self._store = _store(config)
        self._slots = asyncio.Semaphore(config.parallel_uploads)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._sizes: dict[str, int] = {}
        """Of the recordings that wait."""
        self.when_full: Callable[[], None] = lambda: None
        """Called when more waits than may."""
        self._log = structlog.get_logger()

    @property
    def is_full(self) -> bool:
        """True while more waits in the spool than may."""
        return bool(self._config.spool_limit) and sum(self._sizes.values()) > self._config.spool_limit

    def start(self) -> None:
        """Upload what is in the spool."""
        for path in sorted(self._spool.iterdir()):
            if _NAME.fullmatch(path.name) and path.is_file():
                self.finished(path.name)
            elif _MARK.fullmatch(path.name):
                self._captured_marked(path.name)

    def finished(self, name: str) -> None:
        """The recording `name` is complete in the spool: upload it some time soon.  Idempotent."""
        if name not in self._tasks:
            self._wait_for(name)
            task = self._tasks[name] = asyncio.create_task(self._upload(name), name=f"audit/upload/{name}")
            task.add_done_callback(lambda _: self._tasks.pop(name, None))

    @property
    def takes_captured(self) -> bool:
        """Are captured files uploaded too?"""
        return self._captured is not None

    def mark(self, digest: str) -> None:
        """The captured file `digest` is to be uploaded, also if the server ends before.  Raises `OSError`; blocks."""
        (self._spool / f"{digest}{_CAPTURED}").touch(mode=0o600)

    def captured(self, digest: str) -> None:
        """The captured file `digest`, which is marked, is there: upload it some time soon.  Idempotent."""
        self._captured_marked(f"{digest}{_CAPTURED}")

    def _captured_marked(self, mark: str) -> None:
        if self._captured is not None and mark not in self._tasks:
            task = self._tasks[mark] = asyncio.create_task(self._upload(mark), name=f"audit/upload/{mark}")
            task.add_done_callback(lambda _: self._tasks.pop(mark, None))

    def _wait_for(self, name: str) -> None:
        was_full = self.is_full
        with contextlib.suppress(OSError):
            self._sizes[name] = (self._spool / name).stat().st_size
        if self.is_full and not was_full:
            text = "Too many recordings wait for their upload"
            self._log.error(text, code=Code.AUDIT_STORAGE_FAILED, count=len(self._sizes))
            self.when_full()

    def _has_left(self, name: str) -> None:
        was_full = self.is_full
        self._sizes.pop(name, None)
        if was_full and not self.is_full:
            self._log.warning("The spool has room again", code=Code.AUDIT_STORAGE_WORKS)

    async def stop(self) -> None:
        """Wait a while for what is under way; what is not done then is done after the next start."""
        if self._tasks:
            _, left = await asyncio.wait(tuple(self._tasks.values()), timeout=_LAST_SECONDS)
            for task in left:
                task.cancel()
            if left:
                await asyncio.wait(left)
                self._log.warning(
                    "Recordings are left for the next start", code=Code.AUDIT_STORAGE_FAILED, count=len(left)
                )

    async def _upload(self, name: str) -> None:
        pause, readings, log = _FIRST_PAUSE, 0, self._log.bind(log=name)
        while True:
            async with self._slots:
                try:
                    await self._put(name)
                except _Unreadable as error:
                    readings += 1
                    text = "A recording in the spool cannot be read"
                    log.error(text, code=Code.AUDIT_STORAGE_NOT_READABLE, cause=str(error), tries=readings)
                    if readings >= _READINGS:
                        return
                except Exception as error:  # noqa: BLE001 - the library's own, whatever the store says
                    cause = str(error).strip().splitlines()[0][:300]
                    log.error("A recording cannot be uploaded", code=Code.AUDIT_S3_SINGLE_UPLOAD_FAILED, cause=cause)
                else:
                    log.debug("A recording was uploaded", code=Code.AUDIT_S3_SINGLE_UPLOAD_COMPLETE)
                    self._has_left(name)
                    return
            await self._sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _put(self, name: str) -> None:
        import obstore

        if _MARK.fullmatch(name):
            await self._put_captured(name)
            return
        path = self._spool / name
        try:
            about = await asyncio.to_thread(self._said_of, path)
        except (OSError, ValueError) as error:
            raise _Unreadable(str(error)) from error
        await obstore.put_async(
            self._store,
            name,
            path,
            attributes={"Content-Type": "application/octet-stream", **about},
            chunk_size=self._config.upload_part_size,
            max_concurrency=_PARTS_AT_ONCE,
        )
        if self._config.keep:
            path.rename(Path(self._config.keep) / name)
        else:
            path.unlink()
        path.with_name(name + ABOUT).unlink(missing_ok=True)

    async def _put_captured(self, mark: str) -> None:
        import obstore

        assert self._captured is not None
        digest = mark.removesuffix(_CAPTURED)
        path = self._captured / digest
        if not path.is_file():  # it was removed meanwhile
            raise _Unreadable(f"the captured file {digest} is gone")
        await obstore.put_async(
            self._store,
            f"{CAPTURED_PREFIX}{digest}",
            path,
            attributes={"Content-Type": "application/octet-stream"},
            chunk_size=self._config.upload_part_size,
            max_concurrency=_PARTS_AT_ONCE,
        )
        (self._spool / mark).unlink(missing_ok=True)

    def _said_of(self, path: Path) -> Mapping[str, str]:
        """The object's metadata; of an encrypted recording it stands beside it."""
        if path.suffix != SUFFIX:
            return self.about(path)
        said: dict[str, str] = json.loads(path.with_name(path.name + ABOUT).read_bytes())
        return said

    def about(self, path: Path) -> Mapping[str, str]:
        """What S3 is told of a recording that can be read, as ContainerSSH names it.  Raises `OSError`."""
        from moorage.audit.reading.source import FileSource
        from moorage.audit.reading.summary import summary

        found = summary(FileSource(path))
        about = {
            "timestamp": str(found.started // 1_000_000_000),
            "authenticated": "true" if found.has_logged_in else "false",
            "country": found.country or "XX",
        }
        if self._config.metadata.ip and found.address:
            about["ip"] = found.address
        if self._config.metadata.username and found.has_logged_in and found.username:
            about["username"] = _UNSAFE.sub("?", found.username)
        return about


_REGIONS: Final = ("AWS_REGION", "AWS_DEFAULT_REGION")


def _store(config: AuditS3Config) -> Any:
    from moorage.audit.reading.source import S3Access

    try:
        from obstore.store import S3Store
    except ImportError as cause:
        raise ConfigError(
            "audit.storage: s3 needs a package that is missing: pip install 'moorage[s3]'", code=Code.CORE_CONFIG_ERROR
        ) from cause
    access = S3Access(
        endpoint=config.endpoint,
        region=config.region or next(filter(None, map(os.environ.get, _REGIONS)), "us-east-1"),
        access_key=config.access_key,
        secret_key=config.secret_key.get_secret_value(),
        credentials=(config.credentials_file, config.profile) if config.credentials_file else None,
        is_path_style=config.path_style_access,
    )
    client: Any = {"allow_http": config.endpoint.startswith("http://"), "timeout": "300s", "connect_timeout": "10s"}
    if config.cacert:
        client["root_certificate"] = config.cacert
    try:
        extra: Any = {"checksum_algorithm": config.checksum} if config.checksum else {}
        return S3Store(
            config.bucket, client_options=client, retry_config={"max_retries": 2}, **access.options(), **extra
        )
    except Exception as error:
        raise ConfigError(f"audit.s3: {str(error).splitlines()[0]}", code=Code.CORE_CONFIG_ERROR) from error
