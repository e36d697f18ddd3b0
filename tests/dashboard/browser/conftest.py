"""A browser for each module of tests, pages that are watched, and a cluster of twenty processes for all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.dashboard.browser.browsers import Pages, open_chromium, why_no_browser
from tests.dashboard.browser.fleets import open_fleet

if TYPE_CHECKING:
    from collections.abc import Generator

    from playwright.sync_api import Browser

    from tests.dashboard.browser.fleets import Fleet


@pytest.fixture(scope="module")
def chromium() -> Generator[Browser]:
    """The system's browser."""
    if reason := why_no_browser():
        pytest.skip(reason)
    with open_chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def window(chromium: Browser) -> Generator[Pages]:
    """The pages of a module, which its tests share."""
    opened = Pages(chromium)
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture
def pages(chromium: Browser, request: pytest.FixtureRequest) -> Generator[Pages]:
    """Opens pages; the test fails if one of them does what none may do."""
    opened = Pages(chromium)
    try:
        yield opened
        opened.judge(request.node.name)
    finally:
        opened.close()


@pytest.fixture(scope="session")
def fleet() -> Generator[Fleet]:
    """Twenty processes for all tests: any test may kill one of them."""
    if reason := why_no_browser():
        pytest.skip(reason)
    with open_fleet() as opened:
        yield opened
