"""What keeps people from using a page: judged by axe-core, and by what can be seen and pressed."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from playwright.sync_api import Page

__all__ = ["crowding", "offences"]

_SERIOUS: Final = {"serious", "critical"}

_TOO_WIDE = """() => {
  const edge = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= edge) return [];
  const all = [...document.querySelectorAll("body *")];
  return all.filter((one) => one.getBoundingClientRect().right > edge + 1).map((one) => one.outerHTML.slice(0, 150));
}"""
"""What makes the page wider than the window."""

_COVERED = """() => {
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


def crowding(page: Page) -> list[str]:
    """Return what is wider than the window, and the controls in sight that can't be pressed."""
    return [*page.evaluate(_TOO_WIDE), *page.evaluate(_COVERED)]


def offences(page: Page) -> list[str]:
    """Return what axe-core finds serious or critical in the page, with the elements."""
    spec = importlib.util.find_spec("axe_playwright_python")
    assert spec is not None
    assert spec.origin is not None
    if not page.evaluate("'axe' in window"):
        page.evaluate(Path(spec.origin).with_name("axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations'], preload: false})")
    return [
        f"{violation['id']}: {violation['help']}: {[node['html'][:200] for node in violation['nodes']][:5]}"
        for violation in found["violations"]
        if violation["impact"] in _SERIOUS
    ]
