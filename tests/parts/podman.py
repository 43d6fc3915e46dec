"""A private Podman with its Docker-compatible API on a socket, stopped at the end."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.parts import need
from tests.parts.engine import RealEngine, dying_with_us, stop, wait_ready

# Without limits of its own every start fails on a machine with lower ones; cgroupfs needs no systemd; Debian's crun
# refuses hosts whose control groups are half of the first and half of the second version.
_CONFIGURATION = """\
[containers]
default_ulimits = ["nofile=16384:16384", "nproc=32768:32768"]
[engine]
cgroup_manager = "cgroupfs"
runtime = "runc"
events_logger = "file"
"""


@contextmanager
def podman() -> Iterator[RealEngine]:
    """A Podman service for the time of the block."""
    need.root()
    binary = need.program("podman", "podman")
    need.program("runc", "runc")
    home = need.cache() / "podman"
    home.mkdir(exist_ok=True)
    with need.exclusively("podman"), tempfile.TemporaryDirectory(prefix="moorage-podman-") as scratch:
        run = Path(scratch)
        (run / "containers.conf").write_text(_CONFIGURATION)
        path, log = run / "podman.sock", home / "log"
        environment = {**os.environ, "XDG_RUNTIME_DIR": scratch, "CONTAINERS_CONF": str(run / "containers.conf")}
        # Podman notes these paths in its database and refuses others later: none of them may be a fresh one.
        places = [f"--root={home / 'root'}", f"--runroot={home / 'run'}", f"--tmpdir={home / 'tmp'}"]
        common = [*places, "--storage-driver=vfs"]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*dying_with_us(), binary, *common, "system", "service", "--time=0", f"unix://{path}"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                wait_ready(path, process, log)
                yield RealEngine(f"unix://{path}", "podman", network=False)
            finally:
                stop(process)
