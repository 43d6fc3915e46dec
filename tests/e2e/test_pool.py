"""A server with containers that stand ready: a login gets one, the configuration may change, a kill leaves none."""

from __future__ import annotations

import signal

import pytest
from tests.e2e.conftest import Configure, Serve
from tests.e2e.places import containers
from tests.e2e.waiting import until
from tests.parts.engine import RealEngine

pytestmark = pytest.mark.docker


def spares(engine: RealEngine, *states: str) -> set[str]:
    """The ids of the containers that stand ready (or are in one of `states`), as their host names show them."""
    ready = (c for c in containers(engine) if c["Names"][0].startswith("/moorage-spare"))
    return {c["Id"][:12] for c in ready if not states or c["State"] in states}


def with_pool(configure: Configure, size: int) -> dict[str, object]:
    """The section that asks for a pool."""
    section = configure("docker")["docker"]
    return {"docker": {**section, "pool": {"size": size}}}


def test_a_login_gets_a_container_that_stood_ready(serve: Serve, configure: Configure, engine: RealEngine) -> None:
    place = serve("docker", **with_pool(configure, 2))

    def takes_one() -> bool:
        """One that is still being made when the login comes cannot be taken."""
        ready = spares(engine)
        return place.user.run("cat /etc/hostname").stdout.decode().strip() in ready

    until(takes_one, "a login gets a container that stood ready")
    until(lambda: len(spares(engine)) == 2, "another takes its place")

    place.server.configure({**configure("docker"), **with_pool(configure, 0)})
    place.server.signal(signal.SIGHUP)
    until(lambda: "CONFIG_RELOADED" in place.server.log(), "the configuration was read again")
    assert place.user.run("echo still").stdout == b"still\n"


def test_a_server_that_is_killed_leaves_no_container(serve: Serve, configure: Configure, engine: RealEngine) -> None:
    place = serve("docker", **with_pool(configure, 2))
    # One that was created and not yet started would stay until another server looks for leftovers.
    until(lambda: len(spares(engine, "running")) == 2, "two containers stand ready")
    place.server.signal(signal.SIGKILL)
    place.server.wait()
    until(lambda: not spares(engine), "they end with the server")
