"""The pytest plugin of the shipped suites: tests of what a backend does not claim to have do not exist for it."""

from __future__ import annotations

import pytest

for _name in ("flow", "forward", "life", "programs", "terminal"):
    pytest.register_assert_rewrite(f"moorage.testing.suite_{_name}")


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known."""
    config.addinivalue_line("markers", "needs(flag): only for suites whose flag is true")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests that need a flag that their suite does not have."""
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        flags = [mark.args[0] for mark in item.iter_markers("needs")]
        suite = getattr(item, "cls", None)
        (kept if all(getattr(suite, flag) for flag in flags) else left_out).append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept
