"""The real page before invented clusters: what is rare, large or contradictory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.dashboard.browser.browsers import why_no_browser
from tests.dashboard.browser.fleets import Fleet, open_fleet
from tests.dashboard.browser.invented import cluster_of, details_of

if not why_no_browser():
    from playwright.sync_api import expect

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
    inventor.ask("local/invention/show", "details", details_of(cluster["members"]))
    page = pages.open(inventor.url)
    page.get_by_role("heading", name="1,000 members").wait_for()
    assert page.locator("tr").count() <= MOST_ROWS


def test_a_partition_stands_out_by_who_takes_whom_for_dead(inventor: Fleet, pages: Pages) -> None:
    cluster = cluster_of(10)
    sids = list(cluster["members"])
    near, far = sids[:5], sids[5:]
    cluster["members"] |= {sid: cluster["members"][sid] | {"status": "alive"} for sid in sids}
    cluster["views"] = {sid: {} for sid in near} | {sid: dict.fromkeys(near, "failed") for sid in far}
    inventor.ask("local/invention/show", "cluster", cluster)
    page = pages.open(inventor.url)
    page.get_by_role("heading", name="10 members").wait_for()
    expect(page.locator(".ring-lines > *")).to_have_count(len(near) * len(far))
    findings = page.get_by_role("list", name="To look at").locator(".finding")
    expect(findings).to_have_count(len(near))
    expect(findings.first).to_contain_text("is seen in different states")
    expect(page.locator(".ring-node[data-state='alive']")).to_have_count(len(sids))
