"""Each panel is usable by everyone: by its colours, its names, its size on a phone, and the keyboard."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.dashboard.browser.browsers import NARROW, WIDE, keep_picture, offences

if TYPE_CHECKING:
    from collections.abc import Generator

    from tests.dashboard.browser.browsers import Pages
    from tests.dashboard.browser.fleets import Fleet

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


LOOKS = {"light": (WIDE, "light"), "phone": (NARROW, "dark"), "dark": (WIDE, "dark")}
"""The size of the window and the colours."""

TOO_WIDE = """() => {
  const edge = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= edge) return [];
  const all = [...document.querySelectorAll("body *")];
  return all.filter((one) => one.getBoundingClientRect().right > edge + 1).map((one) => one.outerHTML.slice(0, 150));
}"""
"""What makes the page wider than the window."""

COVERED = """() => {
  const isScrolledAway = (one, x, y) => {
    for (let box = one.parentElement; box; box = box.parentElement) {
      if (!/auto|scroll/.test(getComputedStyle(box).overflow)) continue;
      const edge = box.getBoundingClientRect();
      if (x < edge.left || x > edge.right || y < edge.top || y > edge.bottom) return true;
    }
    return false;
  };
  const isCovered = (one) => {
    const { left, top, width, height } = one.getBoundingClientRect();
    const [x, y] = [left + width / 2, top + height / 2];
    if (!width || x < 0 || x >= innerWidth || y < 0 || y >= innerHeight || isScrolledAway(one, x, y)) return false;
    const hit = document.elementFromPoint(x, y);
    return !one.contains(hit) && !one.ownerSVGElement && !hit?.closest("label")?.contains(one);
  };
  const controls = [...document.querySelectorAll("a[href]:not(.skip), button, input, select, textarea, summary")];
  return controls.filter(isCovered).map((one) => one.outerHTML.slice(0, 150));
}"""
"""The controls in sight that something covers or cuts, so that nobody can press them."""


@pytest.fixture(scope="module")
def busy(fleet: Fleet) -> Generator[Fleet]:
    """The twenty processes, with calls that run."""
    with fleet.calling("all/comm/send", [3600], {"service": "probe", "method": "sleep"}):
        yield fleet


@pytest.mark.parametrize("look", ["light", "phone", pytest.param("dark", marks=pytest.mark.soak)])
def test_nothing_keeps_anyone_from_a_panel(busy: Fleet, pages: Pages, look: str) -> None:
    size, scheme = LOOKS[look]
    page = pages.open(busy.url, size=size, scheme=scheme)
    found: dict[str, list[str]] = {}
    for hash_, drawn in PANELS.items():
        page.goto(f"{busy.url}#/{hash_}")
        panel = re.split(r"\W", hash_)[0]
        page.locator(f".panel-{panel}").locator(drawn).first.wait_for(state="attached")
        keep_picture(page, f"panel_{re.sub(r'[^a-z]+', '_', hash_)}_{look}")
        if problems := [*offences(page), *page.evaluate(TOO_WIDE), *page.evaluate(COVERED)]:
            found[hash_] = problems
    assert found == {}
