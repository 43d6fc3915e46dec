"""The whole backend contract on a real cluster, with pods that end in their own time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
from tests.conformance.clusters import ClusterStarts, OnCluster
from tests.conformance.test_docker import SessionTests

from moorage.gateway.contract import Guest
from moorage.testing.backend import BackendConformance
from moorage.testing.suite import ended, start
from moorage.testing.suite_flow import FlowTests

pytestmark = pytest.mark.kubernetes


class TestKubernetes(OnCluster, BackendConformance):
    """Our agent, one pod for all programs of a connection."""

    cancel_points = 20


class TestKubernetesSession(OnCluster, SessionTests):
    """Our agent, a fresh pod for each program."""

    pod: ClassVar[Mapping[str, Any]] = {"mode": "session"}
    cancel_points = 5


class TestKubernetesWithoutAgent(ClusterStarts, FlowTests):  # type: ignore[misc]
    """No agent at all."""

    pod: ClassVar[Mapping[str, Any]] = {
        "disableAgent": True,
        "idleCommand": ["/bin/sleep", "100000"],
        "shellCommand": ["/bin/sh"],
    }

    async def test_close_hangs_up_a_process_whose_input_is_full(self, guest: Guest) -> None:
        """It cannot be signalled, so only its session ends."""
        process, recorder = await start(guest, "sleep 62")
        process.write(bytes(1_000_000))
        process.close()
        await recorder.until_lost()
        assert recorder.cause is None
        await ended(process)
