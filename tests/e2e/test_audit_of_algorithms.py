"""ssh-audit, a program that knows what is weak in SSH, has a look at a real server."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import Serve
from tests.e2e.places import Place

pytestmark = pytest.mark.sandbox

FOR_OLD_CLIENTS = {
    "curve25519-sha256": "does not provide protection against post-quantum attacks",
    "curve25519-sha256@libssh.org": "does not provide protection against post-quantum attacks",
    "hmac-sha2-256": "using encrypt-and-MAC mode",
}
"""What stays on offer for clients that know nothing better (dropbear and OpenSSH 9.2; libssh2 before 1.11), last."""

STRICT = {"kex": ["mlkem768x25519-sha256"], "macs": ["hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com"]}
"""The list in the guide for those who have none of these clients."""


def audit(place: Place) -> Any:
    """What ssh-audit says of a server."""
    program = Path(sys.executable).with_name("ssh-audit")
    command = [str(program), "--json", "--skip-rate-test", "-p", str(place.server.port), "127.0.0.1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    return json.loads(done.stdout)


def notes(found: Any, grade: str) -> dict[str, str]:
    """The remarks of a grade, ``fail`` or ``warn``, by algorithm."""
    lists = [found[kind] for kind in ("kex", "key", "enc", "mac")]
    return {
        entry["algorithm"]: "; ".join(entry["notes"][grade])
        for entries in lists
        for entry in entries
        if entry.get("notes", {}).get(grade)
    }


def test_nothing_on_offer_is_broken_and_what_is_old_is_there_for_a_reason(serve: Serve) -> None:
    found = audit(serve("sandbox"))
    assert notes(found, "fail") == {}
    assert notes(found, "warn") == FOR_OLD_CLIENTS
    assert found["cves"] == []
    offered = [entry["algorithm"] for entry in found["kex"]]
    assert offered[0] == "mlkem768x25519-sha256"
    assert "kex-strict-s-v00@openssh.com" in offered, "Terrapin"


def test_the_strict_list_leaves_nothing_to_remark(serve: Serve) -> None:
    found = audit(serve("sandbox", ssh=STRICT))
    assert notes(found, "fail") == notes(found, "warn") == {}
