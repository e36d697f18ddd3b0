"""A page that shows a cluster of twenty processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.dashboard.browser.browsers import keep_picture

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.dashboard.browser.browsers import Pages
    from tests.dashboard.browser.fleets import Fleet

pytestmark = pytest.mark.slow


def member(page: Page, sid: str, state: str) -> object:
    return page.locator(f".ring-node[data-sid='{sid}'][data-state='{state}']")


def test_every_member_appears(fleet: Fleet, pages: Pages) -> None:
    page = pages.open(fleet.url)
    for sid in fleet.sids:
        page.locator(f".ring-node[data-sid='{sid}'][data-state='alive']").wait_for()
    keep_picture(page, "cluster")


def test_a_killed_member_turns_suspect_and_then_dead(fleet: Fleet, pages: Pages) -> None:
    page = pages.open(fleet.url)
    for sid in fleet.sids:
        page.locator(f".ring-node[data-sid='{sid}'][data-state='alive']").wait_for()
    killed = fleet.kill_one()
    page.locator(f".ring-node[data-sid='{killed}'][data-state='suspect']").wait_for()
    keep_picture(page, "suspicion")
    page.locator(f".ring-node[data-sid='{killed}'][data-state='failed']").wait_for()
    for sid in fleet.sids:
        page.locator(f".ring-node[data-sid='{sid}'][data-state='alive']").wait_for()
    keep_picture(page, "death")
