"""Each panel is usable by everyone: by its colours, its names, its size on a phone, and the keyboard."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.dashboard.browser.browsers import NARROW, WIDE, keep_picture, offences

if TYPE_CHECKING:
    from collections.abc import Generator

    from playwright.sync_api import Page

    from tests.dashboard.browser.browsers import Pages
    from tests.dashboard.browser.fleets import Fleet

pytestmark = pytest.mark.slow

PANELS = {
    "cluster": ".ring-node",
    "cluster?as=table": "tbody tr",
    "node": "main dd",
    "calls": ".call-rows [role='row']",
    "methods": "tbody tr",
    "groups": "main td, main li",
    "services": "main li a",
    "services/group/all/shop/greet": ".form-input",
    "services/tasks": "main p, main td",
    "rumor": "#rumor-method option",
}
"""The hashes of the panels, and what each one has when it is drawn."""


@pytest.fixture(scope="module")
def busy(fleet: Fleet) -> Generator[Fleet]:
    """The twenty processes, with calls that run."""
    with fleet.calling("all/comm/send", [3600], {"service": "probe", "method": "sleep"}):
        yield fleet


def name_of(hash_: str) -> str:
    return hash_.replace("/", "_").replace("?as=", "_as_")


def overflow(page: Page) -> list[str]:
    """Return what is wider than the page and can't be scrolled on its own."""
    found: list[str] = page.evaluate(
        """() => {
          const wide = document.documentElement.scrollWidth > document.documentElement.clientWidth;
          if (!wide) return [];
          const edge = document.documentElement.clientWidth + 1;
          return [...document.querySelectorAll("body *")].filter((one) => one.getBoundingClientRect().right > edge)
            .slice(0, 8).map((one) => one.outerHTML.slice(0, 150));
        }"""
    )
    return found


@pytest.mark.parametrize("hash_", PANELS)
def test_nothing_keeps_anyone_from_a_panel_in_light_dark_and_on_a_phone(busy: Fleet, pages: Pages, hash_: str) -> None:
    page = pages.open(f"{busy.url}#/{hash_}")
    page.locator(PANELS[hash_]).first.wait_for(state="attached")
    name = f"panel_{name_of(hash_)}"
    keep_picture(page, f"{name}_light")
    assert offences(page) == []
    page.emulate_media(color_scheme="dark")
    keep_picture(page, f"{name}_dark")
    assert offences(page) == []
    page.set_viewport_size({"width": NARROW[0], "height": NARROW[1]})
    expect(page.locator(PANELS[hash_]).first).to_be_attached()
    keep_picture(page, f"{name}_narrow")
    assert offences(page) == []
    assert overflow(page) == []
    page.set_viewport_size({"width": WIDE[0], "height": WIDE[1]})
