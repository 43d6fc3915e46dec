"""What every test may ask for, and word of each failure when it happens."""

import pytest
from hypothesis import settings

pytest_plugins = ["moorage.testing.plugin", "tests.parts.plugin"]

# No test is timed; `make nightly` asks for the second profile.
settings.register_profile("suite", deadline=None)
settings.register_profile("nightly", deadline=None, max_examples=5000)
settings.load_profile("suite")


class Failures:
    """Says at once what has failed, and how: the whole story is told at the end, which may be half an hour away."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One stage of one test has ended."""
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if report.failed and terminal is not None:
            last = report.longreprtext.strip().splitlines()[-1:]
            terminal.write_line(f"\n{report.nodeid} ({report.when}): {''.join(last)[:300]}")


def pytest_configure(config: pytest.Config) -> None:
    """Only where results are shown, and not in each worker."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Failures(config))
