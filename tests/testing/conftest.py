"""The tests within these tests."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _without_other_plugins(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run them as the project's own: the plugin of schemathesis makes a warning of each failed collection."""
    del pytester  # which forgets the options of its surroundings first
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:schemathesis")
