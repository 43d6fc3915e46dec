"""Real servers that are only to be had as Go modules: built once, kept in the cache."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.parts import need

_GO = Path(__file__).parents[2] / "scripts" / "go"
_DEADLINE = 3600.0

Go = Callable[..., str]
"""Runs ``go ARGUMENTS…``, optionally in the directory ``cwd``; returns its output and fails with it."""


def built(name: str, recipe: str, build: Callable[[Go, Path], None], **environment: str) -> Path:
    """The directory into which `build` has put what it made, once for each `recipe` and Go.

    `recipe` is all that the result depends on; `build` is given Go and an empty directory to fill.
    """
    go = _go({"CGO_ENABLED": "0", **environment})
    key = hashlib.sha256(f"{recipe}\n{go('env', 'GOVERSION')}\n{sorted(environment.items())}".encode()).hexdigest()[:16]
    home = need.cache() / name
    home.mkdir(exist_ok=True)
    done = home / key
    with need.exclusively(f"build-{name}"):
        if not done.exists():
            _tell(f"building {name}, once; this may take minutes")
            with tempfile.TemporaryDirectory(dir=home, prefix="making-") as scratch:
                made = Path(scratch) / "made"
                made.mkdir()
                build(go, made)
                for old in home.iterdir():  # what an earlier recipe has made serves nobody any more
                    if old.is_dir() and not old.name.startswith("making-"):
                        shutil.rmtree(old)
                made.rename(done)
    return done


def installed(name: str, package: str, version: str) -> Path:
    """The program `name`, built from a module that can be installed as it is."""

    def build(go: Go, made: Path) -> None:
        go("install", f"{package}@{version}", GOBIN=str(made))

    return built(name, f"{package}@{version}", build) / name


def _tell(text: str) -> None:
    """Past what pytest captures: a build that is not announced looks like a hang."""
    os.write(2, f"{text}\n".encode())


def _go(environment: Mapping[str, str]) -> Go:
    if shutil.which("git") is None:
        need.missing("git")

    def run(*arguments: str, cwd: Path | None = None, **more: str) -> str:
        done = subprocess.run(
            [str(_GO), *arguments],
            cwd=cwd,
            env={**os.environ, **environment, **more},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_DEADLINE,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"go {' '.join(arguments)}:\n{done.stderr[-3000:]}")
        return done.stdout.strip()

    return run
