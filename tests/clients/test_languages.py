"""Client libraries of other languages than Python: Go, Node, Java, Rust."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.clients import building, driving
from tests.clients.recorder import Recorder
from tests.e2e.places import Place

JAVA = {"sshj": "WithSshj", "JSch": "WithJsch", "Apache MINA SSHD": "WithMina"}

# The first run builds them; `timeout` counts the test alone only where fixtures do the work.
pytestmark = pytest.mark.timeout(120)


def test_go(place: Place, record: Recorder, go_client: list[str | Path], medium: Path, tmp_path: Path) -> None:
    driving.drive("Go x/crypto/ssh", go_client, place, record, medium, tmp_path)


def test_node(place: Place, record: Recorder, node_client: list[str | Path], medium: Path, tmp_path: Path) -> None:
    driving.drive("Node ssh2", node_client, place, record, medium, tmp_path)


@pytest.mark.parametrize("client", JAVA)
def test_java(
    place: Place, record: Recorder, java_clients: building.Commands, medium: Path, tmp_path: Path, client: str
) -> None:
    driving.drive(client, java_clients(JAVA[client]), place, record, medium, tmp_path)


def test_rust(place: Place, record: Recorder, rust_client: list[str | Path], medium: Path, tmp_path: Path) -> None:
    driving.drive("Rust russh", rust_client, place, record, medium, tmp_path, sftp=False)
