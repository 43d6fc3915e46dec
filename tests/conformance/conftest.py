"""Assertions of the shipped suites show their values."""

import pytest

pytest.register_assert_rewrite("moorage.testing")
