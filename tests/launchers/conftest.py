"""What the tests of launchers share: no test may leave a process behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.launchers.families import Family, marked_family

if TYPE_CHECKING:
    from collections.abc import Generator


@pytest.fixture(autouse=True)
def family() -> Generator[Family]:
    """The processes that the test has started; the test fails when one of them is left."""
    with marked_family() as found:
        yield found
