"""A page that shows a cluster of twenty processes, and acts on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.dashboard.browser.browsers import keep_picture

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

    from tests.dashboard.browser.browsers import Pages
    from tests.dashboard.browser.fleets import Fleet

pytestmark = pytest.mark.slow


def in_ring(page: Page, sid: str, state: str) -> Locator:
    return page.locator(f".ring-node[data-sid='{sid}'][data-state='{state}']")


def wait_alive(page: Page, fleet: Fleet) -> None:
    for sid in fleet.sids:
        in_ring(page, sid, "alive").wait_for()


def test_every_member_appears(fleet: Fleet, pages: Pages) -> None:
    page = pages.open(fleet.url)
    wait_alive(page, fleet)


def test_a_killed_member_turns_suspect_and_then_dead(fleet: Fleet, pages: Pages) -> None:
    page = pages.open(fleet.url)
    wait_alive(page, fleet)
    killed = fleet.kill_one()
    in_ring(page, killed, "suspect").wait_for()
    keep_picture(page, "a_killed_member_is_suspected")
    in_ring(page, killed, "failed").wait_for()
    wait_alive(page, fleet)


def test_a_call_from_the_form_shows_the_value_or_the_error_of_each_member(fleet: Fleet, pages: Pages) -> None:
    port = fleet.others[0].address.port
    page = pages.open(f"{fleet.url}#/services/group/all/shop/refuse")
    page.get_by_label("port").fill(str(port))
    page.get_by_role("button", name="Call, and act").click()
    for member in (fleet.server, *fleet.others):
        row = page.locator(f".map-table tr[data-sid='{member.address.sid}']")
        expect(row).to_contain_text("closed today" if member.address.port == port else str(member.address.port))
    assert page.locator(".map-table tr[data-outcome='value']").count() >= len(fleet.others)
    assert (
        page.locator(".map-table tr[data-outcome='definite']").count()
        + page.locator(".map-table tr[data-outcome='indefinite']").count()
        >= 1
    )


def test_a_form_refuses_what_the_signature_does_not_allow(fleet: Fleet, pages: Pages) -> None:
    page = pages.open(f"{fleet.url}#/services/group/all/shop/refuse")
    page.get_by_label("port").fill("many")
    page.get_by_role("button", name="Call, and act").click()
    expect(page.get_by_label("port")).to_have_attribute("aria-invalid", "true")
    assert page.locator(".map-table").count() == 0


def test_a_rumor_is_followed_until_every_member_has_it(fleet: Fleet, pages: Pages) -> None:
    page = pages.open(f"{fleet.url}#/rumor")
    page.get_by_label("Method", exact=True).select_option("counter/count")
    page.get_by_role("button", name="Send the rumor").click()
    progress = page.locator(".rumor-progress")
    expect(progress).to_contain_text("all have it")
    expect(progress.locator("tbody tr")).to_have_count(len(fleet.sids))


def test_a_running_call_is_shown_with_what_it_waits_for_and_can_be_cancelled(fleet: Fleet, pages: Pages) -> None:
    page = pages.open(f"{fleet.url}#/calls")
    asking = page.context.new_page()
    asking.goto(f"{fleet.url}#/services/group/all/probe/sleep")
    asking.get_by_label("seconds").fill("3600")
    asking.get_by_role("button", name="Call, and act").click()
    rows = page.locator(".call-rows [role='row']").filter(has_text="probe.sleep")
    expect(rows).to_have_count(len(fleet.sids))
    keep_picture(page, "running_calls")
    asking.get_by_role("button", name="Cancel", exact=True).click()
    expect(rows).to_have_count(0)
