"""The backend conformance suite: one test for each sentence of `Backend`, `Guest` and `Process`.

A test module inherits it and says how its backend is made, broken and inspected::

    class TestDocker(BackendConformance):
        @pytest.fixture
        async def backend(self) -> AsyncIterator[Backend]:
            backend = DockerBackend(...)
            yield backend
            await backend.close()

        def config(self) -> AppConfig: ...
        async def leftovers(self, backend: Backend) -> list[str]: ...
        async def lose(self, backend: Backend, guest: Guest) -> None: ...

`moorage.testing.suite.Suite` documents what may be overridden.  The guest needs a POSIX shell and the
ordinary small programs (busybox has them all): cat, dirname, grep, head, kill, ls, mkdir, rm, sha256sum, sleep,
stat, stty, wc.
Register ``moorage.testing`` with ``pytest.register_assert_rewrite`` to see the values in a failed assertion.
"""

from __future__ import annotations

from moorage.testing.suite_flow import FlowTests
from moorage.testing.suite_forward import ForwardTests
from moorage.testing.suite_life import LifeTests
from moorage.testing.suite_programs import ProgramTests
from moorage.testing.suite_terminal import TerminalTests


class BackendConformance(ProgramTests, FlowTests, TerminalTests, ForwardTests, LifeTests):
    """Every sentence of the contract, for one backend."""
