"""The real page before invented clusters: what is rare, large or contradictory."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.dashboard.browser.browsers import Pages, why_no_browser
from tests.dashboard.browser.fleets import Fleet, open_fleet
from tests.dashboard.browser.invented import calls_of, cluster_of, details_of

if not why_no_browser():
    from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Generator

    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow

MOST_ROWS = 150


@pytest.fixture(scope="module")
def inventor(chromium: Browser) -> Generator[Fleet]:
    """A node that shows what it is told."""
    del chromium  # without one, nothing is started
    with open_fleet(1, on_start="tests.dashboard.browser.invented:expose") as opened:
        yield opened


@pytest.fixture(scope="module")
def first_page(window: Pages, inventor: Fleet) -> Page:
    """The page of the node."""
    return window.open(inventor.url)


@pytest.fixture
def page(window: Pages, first_page: Page, request: pytest.FixtureRequest) -> Generator[Page]:
    """The page; the test fails if it does what none may do."""
    yield first_page
    window.judge(request.node.name)


def test_a_thousand_members_are_shown_by_a_few_rows(inventor: Fleet, page: Page) -> None:
    cluster = cluster_of(1000)
    inventor.ask("local/invention/show", "cluster", cluster)
    inventor.ask("local/invention/show", "details", details_of(cluster["members"]))
    page.get_by_role("heading", name="1,000 members").wait_for()
    assert page.locator("tr").count() <= MOST_ROWS


def test_a_partition_stands_out_by_who_takes_whom_for_dead(inventor: Fleet, page: Page) -> None:
    cluster = cluster_of(10)
    sids = list(cluster["members"])
    near, far = sids[:5], sids[5:]
    cluster["members"] |= {sid: cluster["members"][sid] | {"status": "alive"} for sid in sids}
    cluster["views"] = {sid: {} for sid in near} | {sid: dict.fromkeys(near, "failed") for sid in far}
    inventor.ask("local/invention/show", "cluster", cluster)
    page.get_by_role("heading", name="10 members").wait_for()
    expect(page.locator(".ring-lines > *")).to_have_count(len(near) * len(far))
    findings = page.get_by_role("list", name="To look at").locator(".finding")
    expect(findings).to_have_count(len(near))
    expect(findings.first).to_contain_text("is seen in different states")
    expect(page.locator(".ring-node[data-state='alive']")).to_have_count(len(sids))


def test_a_thousand_calls_are_a_tree_of_a_few_rows_for_mouse_and_keyboard(inventor: Fleet, pages: Pages) -> None:
    inventor.ask("local/invention/show", "calls", calls_of(1000, time.time()))
    page = pages.open(f"{inventor.url}#/calls")
    page.get_by_role("heading", name="1,007 running calls on 20 nodes").wait_for()
    tree, rows = page.get_by_role("treegrid"), page.locator(".call-rows [role='row']")
    expect(tree).to_have_attribute("aria-rowcount", "1001")
    assert rows.count() <= MOST_ROWS
    expect(page.get_by_text("No report of 10.0.0.1:8083: no answer within 0.7 s")).to_be_visible()
    expect(page.get_by_text("The report of 10.0.0.1:8084 is cut: 7 more calls there.")).to_be_visible()

    selected = page.locator(".call-rows [aria-selected='true']")
    tree.focus()
    page.keyboard.press("End")
    expect(selected).to_have_attribute("data-key", "".join(list(calls_of(1000, 0)["calls"])[-1:]))
    expect(selected).to_be_in_viewport()
    page.keyboard.press("ArrowLeft")  # to its parent
    expect(selected).to_contain_text("shop/order")
    page.keyboard.press("ArrowLeft")  # and fold it
    expect(selected).to_have_attribute("aria-expanded", "false")
    expect(selected).to_contain_text("+39")
    expect(tree).to_have_attribute("aria-rowcount", "962")
    assert page.evaluate("document.querySelector('.call-rows [aria-selected=true]').id") == tree.get_attribute(
        "aria-activedescendant"
    )

    page.get_by_role("searchbox").fill("pay 10.0.0.1:8085")
    expect(tree).to_have_attribute("aria-rowcount", "76")  # 50 calls, below 25 roots
    expect(page.locator(".call-rows .call-left", has_text="min left").first).to_be_visible()
    assert rows.count() <= MOST_ROWS
