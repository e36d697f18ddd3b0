"""One node process for all tests of what a node withstands: after each of them it still serves everyone else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from tests.robustness.wire import Target, open_target
from tests.waiting import DEADLINE_S

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator


@pytest.fixture(scope="session")
def process() -> Generator[Target]:
    with open_target() as target:
        yield target
        target.process.terminate()
        target.check_end()


@pytest.fixture
async def node(process: Target) -> AsyncGenerator[Target]:
    """A node that must serve after the test as it did before."""
    with trio.fail_after(DEADLINE_S):
        yield process
    await process.check()
