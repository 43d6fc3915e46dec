"""A real S3 server that checks signatures (versitygw), which can be stopped and started again."""

from __future__ import annotations

import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.e2e.serving import free_port
from tests.e2e.waiting import until
from tests.parts import gobuilt

ACCESS: Final = "testkey"
SECRET: Final = "s3-c4n4rybird"
BUCKET: Final = "audit"


class S3Server:
    """The server, with one bucket."""

    def __init__(self, program: Path, directory: Path) -> None:
        self._program = program
        self._data = directory
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.endpoint = f"http://127.0.0.1:{self._port}"
        (directory / BUCKET).mkdir()

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [str(self._program), "--access", ACCESS, "--secret", SECRET]
        command += ["--port", f"127.0.0.1:{self._port}", "posix", str(self._data)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until(self._answers, "the S3 server answers", seconds=20)

    def stop(self) -> None:
        """End it; idempotent."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            process.wait(20)

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(self.endpoint, timeout=5).close()
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    def objects(self) -> dict[str, bytes]:
        """What is in the bucket."""
        return {path.name: path.read_bytes() for path in (self._data / BUCKET).iterdir() if path.is_file()}

    def metadata(self, name: str) -> dict[str, str]:
        """An object's own metadata, as S3 tells it."""
        import obstore
        from obstore.store import S3Store

        store = S3Store(
            BUCKET,
            endpoint=self.endpoint,
            region="us-east-1",
            access_key_id=ACCESS,
            secret_access_key=SECRET,
            client_options={"allow_http": True},
        )
        return {str(key): str(value) for key, value in obstore.get(store, name).attributes.items()}


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """The server for the time of the block."""
    program = gobuilt.installed("versitygw", "github.com/versity/versitygw/cmd/versitygw", "v1.8.0")
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="moorage-s3-") as directory:
        server = S3Server(program, Path(directory))
        server.start()
        try:
            yield server
        finally:
            server.stop()
