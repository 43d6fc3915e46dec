"""Clients in other languages: built once from the sources here and pinned packages, kept in the cache."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.parts import need
from tests.parts.gobuilt import Go, built

HERE = Path(__file__).parent
_PATIENCE = 1800


Commands = Callable[[str], list[str | Path]]
"""Gives the command of a client by the name of its program."""


def go() -> list[str | Path]:
    """The client on golang.org/x/crypto/ssh."""
    source = HERE / "go"

    def build(tool: Go, made: Path) -> None:
        tool("build", "-o", str(made / "client"), ".", cwd=source)

    return [built("client-go", _text(source, "*"), build) / "client"]


def node() -> list[str | Path]:
    """The client on ssh2."""
    program, npm = need.program("node", "nodejs"), need.program("npm", "npm")

    def build(work: Path) -> None:
        _run([npm, "ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--omit=optional"], work)

    return [program, _made("node", build) / "main.js"]


def java() -> Commands:
    """The clients on sshj, JSch and Apache MINA SSHD, by the names of their classes."""
    program = need.program("java", "default-jdk-headless")
    compiler, maven = need.program("javac", "default-jdk-headless"), need.program("mvn", "maven")

    def build(work: Path) -> None:
        plugin = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
        _run([maven, "-q", "-B", "--strict-checksums", plugin, "-DoutputDirectory=jars"], work)
        _run(
            [compiler, "-nowarn", "-cp", "jars/*", "-d", "classes", *sorted(p.name for p in work.glob("*.java"))], work
        )

    home = _made("java", build)
    return lambda name: [
        program,
        "-Xshare:auto",
        "-XX:TieredStopAtLevel=1",
        "-cp",
        f"{home}/classes:{home}/jars/*",
        name,
    ]


def rust() -> list[str | Path]:
    """The client on russh."""
    cargo = need.program("cargo", "cargo")

    def build(work: Path) -> None:
        _run([cargo, "build", "--release", "--quiet"], work)
        shutil.copy(work / "target/release/moorage-client", work / "client")
        shutil.rmtree(work / "target")

    return [_made("rust", build) / "client"]


def _made(language: str, build: Callable[[Path], None]) -> Path:
    """A copy of the sources in a directory of the cache, after `build` has worked there."""
    source = HERE / language
    digest = hashlib.sha256(_text(source, "**/*").encode()).hexdigest()[:12]
    home = need.cache() / "clients" / f"{language}-{digest}"
    with need.exclusively(f"clients-{language}"):
        if not home.exists():
            home.parent.mkdir(exist_ok=True)
            with tempfile.TemporaryDirectory(dir=home.parent) as scratch:
                work = Path(scratch) / "work"
                shutil.copytree(source, work)
                build(work)
                work.rename(home)
    return home


def _text(source: Path, pattern: str) -> str:
    return "\n".join(f"{path.name}\n{path.read_text()}" for path in sorted(source.glob(pattern)) if path.is_file())


def _run(command: Sequence[str | Path], where: Path) -> None:
    done = subprocess.run(command, cwd=where, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    if done.returncode:
        need.missing(f"a client's packages or its compiler ({(done.stderr or done.stdout).strip()[-600:]})")
