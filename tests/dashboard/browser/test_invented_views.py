"""The real page before invented clusters: what is rare, large or contradictory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.dashboard.browser.fleets import Fleet, open_fleet
from tests.dashboard.browser.invented import cluster_of, details_of

if TYPE_CHECKING:
    from collections.abc import Generator

    from playwright.sync_api import Browser

    from tests.dashboard.browser.browsers import Pages

pytestmark = pytest.mark.slow

MOST_ROWS = 150


@pytest.fixture(scope="module")
def inventor(chromium: Browser) -> Generator[Fleet]:
    """A node that shows what it is told."""
    del chromium  # without one, nothing is started
    with open_fleet(1, on_start="tests.dashboard.browser.invented:expose") as opened:
        yield opened


def test_a_thousand_members_are_shown_by_a_few_rows(inventor: Fleet, pages: Pages) -> None:
    cluster = cluster_of(1000)
    inventor.ask("local/invention/show", "cluster", cluster)
    inventor.ask("local/invention/show", "details", details_of(cluster))
    page = pages.open(inventor.url)
    page.get_by_role("heading", name="1,000 members").wait_for()
    assert page.locator("tr").count() <= MOST_ROWS
