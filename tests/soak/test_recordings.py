"""A GB of each kind of hostile recording is read in the memory that a small one takes."""

from __future__ import annotations

import pytest
from tests.unit.audit.hostile import KINDS
from tests.unit.audit.test_flat_memory import MOST, peak


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_gigabyte_is_read_in_flat_memory(kind: str) -> None:
    assert peak(kind, 200 if kind == "small" else 1000) < MOST
