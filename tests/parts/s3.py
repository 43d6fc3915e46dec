"""A real S3 server that checks signatures (versitygw), which can be stopped and started again."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.e2e.serving import free_port
from tests.e2e.waiting import until
from tests.parts import gobuilt

ACCESS: Final = "testkey"
SECRET: Final = "s3-c4n4rybird"
BUCKET: Final = "audit"

_RETENTION: Final = b"""<ObjectLockConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
<ObjectLockEnabled>Enabled</ObjectLockEnabled>
<Rule><DefaultRetention><Mode>COMPLIANCE</Mode><Days>1</Days></DefaultRetention></Rule>
</ObjectLockConfiguration>"""


class S3Server:
    """The server, with one bucket."""

    def __init__(self, program: Path, directory: Path, *, locked: bool = False) -> None:
        self._program = program
        self._is_locked = locked
        self._data = directory
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.endpoint = f"http://127.0.0.1:{self._port}"
        self._options: list[str] = []
        if locked:
            self._data = directory / "data"
            (directory / "versions").mkdir()
            self._data.mkdir()
            self._options = ["--versioning-dir", str(directory / "versions")]
        else:
            (directory / BUCKET).mkdir()

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [str(self._program), "--access", ACCESS, "--secret", SECRET]
        command += ["--port", f"127.0.0.1:{self._port}", "posix", *self._options, str(self._data)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until(self._answers, "the S3 server answers", seconds=20)
        if self._is_locked:
            assert self._asked("PUT", f"/{BUCKET}", b"", "x-amz-bucket-object-lock-enabled: true") == 200
            digest = base64.b64encode(hashlib.md5(_RETENTION, usedforsecurity=False).digest()).decode()
            assert self._asked("PUT", f"/{BUCKET}?object-lock=", _RETENTION, f"Content-MD5: {digest}") == 200
            self._is_locked = False

    def _asked(self, method: str, path: str, body: bytes = b"", *headers: str) -> int:
        """The status of a signed request."""
        every = [*headers, f"x-amz-content-sha256: {hashlib.sha256(body).hexdigest()}"]
        command = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--user", f"{ACCESS}:{SECRET}"]
        command += ["--aws-sigv4", "aws:amz:us-east-1:s3", "-X", method, *(f"-H{one}" for one in every)]
        command += ["--data-binary", "@-"] if body else []
        return int(
            subprocess.run([*command, f"{self.endpoint}{path}"], input=body, capture_output=True, check=True).stdout
        )

    def refuses_to_delete(self, name: str) -> bool:
        """Is the object held by a retention rule?"""
        import obstore

        version = obstore.head(self._store(), name)["version"]
        return self._asked("DELETE", f"/{BUCKET}/{name}?versionId={version}") == 403

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
        bucket = self._data / BUCKET
        return {
            str(path.relative_to(bucket)): path.read_bytes()
            for path in bucket.rglob("*")
            if path.is_file() and not path.relative_to(bucket).parts[0].startswith(".")
        }

    def metadata(self, name: str) -> dict[str, str]:
        """An object's own metadata, as S3 tells it."""
        import obstore

        return {str(key): str(value) for key, value in obstore.get(self._store(), name).attributes.items()}

    def _store(self) -> Any:
        from obstore.store import S3Store

        return S3Store(
            BUCKET,
            endpoint=self.endpoint,
            region="us-east-1",
            access_key_id=ACCESS,
            secret_access_key=SECRET,
            client_options={"allow_http": True},
        )


@contextmanager
def s3_server(*, locked: bool = False) -> Iterator[S3Server]:
    """The server for the time of the block; a `locked` one keeps what is in its bucket for a day."""
    program = gobuilt.installed("versitygw", "github.com/versity/versitygw/cmd/versitygw", "v1.8.0")
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="moorage-s3-") as directory:
        server = S3Server(program, Path(directory), locked=locked)
        server.start()
        try:
            yield server
        finally:
            server.stop()
