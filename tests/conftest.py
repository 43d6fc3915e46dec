"""What every test may ask for."""

from hypothesis import settings

pytest_plugins = ["moorage.testing.plugin", "tests.parts.plugin"]

# No test is timed; `make nightly` asks for the second profile.
settings.register_profile("suite", deadline=None)
settings.register_profile("nightly", deadline=None, max_examples=5000)
settings.load_profile("suite")
