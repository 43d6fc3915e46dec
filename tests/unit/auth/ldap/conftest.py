"""A directory for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.parts.slapd import Slapd, running

PASSWORD = "h(u*nt\\er2 ü"


@pytest.fixture(scope="package")
def slapd() -> Iterator[Slapd]:
    with running(PASSWORD) as server:
        yield server
