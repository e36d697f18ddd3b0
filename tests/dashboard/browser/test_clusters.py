"""A page that shows a cluster of twenty processes, and acts on it; it goes from panel to panel, as a person does."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.dashboard.browser.browsers import NARROW, WIDE, Pages, keep_picture, why_no_browser
from tests.dashboard.browser.looks import crowding, offences

if not why_no_browser():
    from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from playwright.sync_api import Locator, Page

    from tests.dashboard.browser.fleets import Fleet

    Visit = Callable[[str], Page]

pytestmark = pytest.mark.slow

PANELS = {
    "cluster": ".ring-node",
    "cluster?as=table": "tbody tr",
    "node": "dd",
    "calls": ".call-rows [role='row']",
    "methods": "tbody tr",
    "groups": "td, li",
    "services": "li a",
    "services/group/all/shop/greet": ".form-input",
    "services/tasks": "p, td",
    "rumor": "#rumor-method option",
}
"""The hashes of the panels, and what each one has when it is drawn."""

VARIANTS = {"cluster?as=table", "services", "services/tasks"}
"""Those that are other views of a panel."""


def panel_of(hash_: str) -> str:
    return re.split(r"[^a-z]", hash_)[0]


@pytest.fixture(scope="module")
def first_page(window: Pages, fleet: Fleet) -> Page:
    """A page of the fleet."""
    return window.open(fleet.url)


@pytest.fixture
def visit(window: Pages, first_page: Page, fleet: Fleet, request: pytest.FixtureRequest) -> Generator[Visit]:
    """Goes to a hash of the page; the test fails if the page does what none may do."""

    def go(hash_: str) -> Page:
        first_page.goto(f"{fleet.url}#/{hash_}")
        first_page.locator(f".panel-{panel_of(hash_)}").wait_for()
        return first_page

    yield go
    window.judge(request.node.name)


def in_ring(page: Page, sid: str, state: str) -> Locator:
    return page.locator(f".ring-node[data-sid='{sid}'][data-state='{state}']")


def wait_alive(page: Page, fleet: Fleet) -> None:
    for sid in fleet.sids:
        in_ring(page, sid, "alive").wait_for()


def test_all_members_appear_and_a_killed_one_turns_suspect_and_then_dead(fleet: Fleet, visit: Visit) -> None:
    page = visit("cluster")
    wait_alive(page, fleet)
    keep_picture(page, "all_members_appear")
    killed = fleet.kill_one()
    # A suspicion lasts for seconds: where the page stands still for so long, it is only in the list of events.
    listed = page.locator(".news-line").filter(has_text="suspected").filter(has_text=str(killed))
    in_ring(page, killed.sid, "suspect").or_(listed).first.wait_for()
    keep_picture(page, "a_killed_member_is_suspected")
    in_ring(page, killed.sid, "failed").wait_for()
    wait_alive(page, fleet)


def test_a_call_from_the_form_shows_the_value_or_the_error_of_each_member(fleet: Fleet, visit: Visit) -> None:
    port = fleet.others[0].address.port
    page = visit("services/group/all/shop/refuse")
    page.get_by_label("port").fill(str(port))
    page.get_by_role("button", name="Call, and act").click()
    for member in (fleet.server, *fleet.others):
        row = page.locator(f".map-table tr[data-sid='{member.address.sid}']")
        expect(row).to_contain_text("closed today" if member.address.port == port else str(member.address.port))
    expect(page.locator(".map-table tr[data-outcome='value']")).to_have_count(len(fleet.others))


def test_a_form_refuses_what_the_signature_does_not_allow(visit: Visit) -> None:
    page = visit("services/group/all/shop/greet")
    page.get_by_role("checkbox").uncheck()
    page.get_by_label("times").fill("many")
    page.get_by_role("button", name="Call", exact=True).click()
    expect(page.get_by_label("times")).to_have_attribute("aria-invalid", "true")
    assert page.locator(".map-table").count() == 0


def test_a_rumor_is_followed_until_every_member_has_it(fleet: Fleet, visit: Visit) -> None:
    page = visit("rumor")
    page.get_by_label("Method", exact=True).select_option("counter/count")
    page.get_by_role("button", name="Send the rumor").click()
    progress = page.locator(".rumor-progress")
    expect(progress).to_contain_text("all have it")
    expect(progress.locator("tbody tr")).to_have_count(len(fleet.sids))


def test_running_calls_are_shown_on_every_node_until_their_caller_is_gone(fleet: Fleet, visit: Visit) -> None:
    page = visit("calls")
    rows = page.locator(".call-rows [role='row']").filter(has_text="probe/sleep")
    with fleet.calling("all/comm/send", [3600], {"service": "probe", "method": "sleep"}):
        expect(rows).to_have_count(len(fleet.sids))
        keep_picture(page, "running_calls")
    expect(rows.locator("[data-state='running']")).to_have_count(0)


@pytest.mark.parametrize("is_judged_wholly", [False, pytest.param(True, marks=pytest.mark.soak)])
def test_nothing_keeps_anyone_from_a_panel(fleet: Fleet, visit: Visit, is_judged_wholly: bool) -> None:
    """By its size, colours and names: in light, and on a phone in the dark."""
    found = []
    judged = {hash_: drawn for hash_, drawn in PANELS.items() if is_judged_wholly or hash_ not in VARIANTS}
    for hash_, drawn in judged.items():
        page = visit(hash_)
        with fleet.calling("all/comm/send", [3600], {"service": "probe", "method": "sleep"}):
            page.locator(f".panel-{panel_of(hash_)}").locator(drawn).first.wait_for(state="attached")
            name = f"panel_{re.sub(r'[^a-z]+', '_', hash_)}"
            keep_picture(page, f"{name}_light")
            found += [f"{hash_}: {text}" for text in (*offences(page), *crowding(page))]
            if is_judged_wholly:
                page.emulate_media(color_scheme="dark")
                keep_picture(page, f"{name}_dark")
                found += [f"{hash_} in the dark: {text}" for text in offences(page)]
            page.set_viewport_size({"width": NARROW[0], "height": NARROW[1]})
            keep_picture(page, f"{name}_phone")
            found += [f"{hash_} on a phone: {text}" for text in crowding(page)]
            if is_judged_wholly:
                found += [f"{hash_} on a phone: {text}" for text in offences(page)]
            page.set_viewport_size({"width": WIDE[0], "height": WIDE[1]})
            page.emulate_media(color_scheme="light")
    assert found == []
