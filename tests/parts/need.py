"""The one place that decides what a missing real part means: a skip at home, a failure where ``CI=true``."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest


def missing(what: str) -> NoReturn:
    """End the asking test: `what` says which part is not here and how to get it."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"missing on a machine that should have everything: {what}")
    pytest.skip(f"missing: {what}")


def program(name: str, package: str = "") -> str:
    """The path of a program that a part needs."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/local/bin")
    if found is None:
        missing(f"the program {name}" + (f" (package {package})" if package else ""))
    return found


def root() -> None:
    """Go on only as root."""
    if os.geteuid() != 0:
        missing("root (this part cannot be started without it)")


def ipv6() -> None:
    """Go on only where the loopback interface has an IPv6 address."""
    try:
        with socket.socket(socket.AF_INET6) as listener:
            listener.bind(("::1", 0))
    except OSError:
        missing("IPv6 on the loopback interface")


def cache() -> Path:
    """Where parts are kept between runs; outside of any clone."""
    given = os.environ.get("MOORAGE_CACHE")
    base = Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "moorage-tests"
    base.mkdir(parents=True, exist_ok=True)
    return base.resolve()


@contextmanager
def exclusively(name: str) -> Iterator[None]:
    """One process at a time: test runs may share the cache."""
    with (cache() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
