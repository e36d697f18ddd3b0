"""The system's chromium, which shows pages to tests: whatever a page must never do fails the test that has opened it.

Invariants, of every page: it writes no error or warning to the console and raises none; it asks no other host for
anything; its policy of content is never bypassed.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from tests.node_processes import ROOT
from tests.waiting import DEADLINE_S

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from playwright.sync_api import Browser, ConsoleMessage, Page, Request

__all__ = [
    "NARROW",
    "PICTURES",
    "WIDE",
    "Pages",
    "find_chromium",
    "keep_picture",
    "open_chromium",
    "why_no_browser",
]

PICTURES: Final = ROOT / "build" / "screenshots"
"""Where the pictures of pages are kept."""

WIDE: Final = (1280, 800)
NARROW: Final = (400, 800)

_MOST_PICTURES: Final = 3
_LOST: Final = ("net::ERR_CONNECTION_REFUSED", "net::ERR_INCOMPLETE_CHUNKED_ENCODING", "net::ERR_EMPTY_RESPONSE")
_LOST_TOO: Final = ("net::ERR_CONNECTION_RESET", "net::ERR_NETWORK_CHANGED", "net::ERR_SOCKET_NOT_CONNECTED")


def find_chromium() -> str | None:
    """Return the path of the system's browser, if it has one."""
    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    return next((path for path in found if path), None)


def why_no_browser() -> str:
    """Return why the dashboard can't be tested here; empty if it can."""
    if find_chromium() is None:
        return "there is no chromium: `apt-get install chromium`"
    missing = [name for name in ("playwright", "axe_playwright_python") if importlib.util.find_spec(name) is None]
    return f"{missing[0]} is not installed" if missing else ""


@contextmanager
def open_chromium() -> Generator[Browser]:
    """Run a browser for as long as the block lasts."""
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=1e3 * DEADLINE_S)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=find_chromium())
        try:
            yield browser
        finally:
            browser.close()


class Pages:
    """Pages of one browser: they share its storage, locks and connections."""

    def __init__(self, browser: Browser, *, size: tuple[int, int] = WIDE, scheme: str = "light") -> None:
        """Open pages of that size, for a user who prefers the colours of that `scheme`, ``light`` or ``dark``."""
        self.offences: list[str] = []
        self._hosts: set[str] = set()
        self._may_lose_node = False
        options: dict[str, Any] = {"viewport": {"width": size[0], "height": size[1]}, "color_scheme": scheme}
        self._context = browser.new_context(**options, reduced_motion="reduce")
        self._context.set_default_timeout(1e3 * DEADLINE_S)
        self._context.on("console", self._hear)
        self._context.on("weberror", lambda found: self.offences.append(f"an exception: {found.error}"))
        self._context.on("request", self._judge)

    def open(self, url: str) -> Page:
        """Show a URL in a new page."""
        page = self._context.new_page()
        self._hosts.add(urlsplit(url).netloc)
        page.goto(url, wait_until="domcontentloaded")
        return page

    def lose_node(self) -> None:
        """Allow what the browser itself says of a node that is no longer there."""
        self._may_lose_node = True

    def judge(self, test: str) -> None:
        """Keep a picture of each page, with the name of the test, and fail if one did what none may do."""
        name = re.sub(r"\W+", "_", test.removeprefix("test_")).strip("_")
        for number, page in enumerate(self._context.pages[:_MOST_PICTURES]):
            keep_picture(page, f"{name}-{number}" if number else name)
        found, self.offences = self.offences, []
        assert found == []

    def close(self) -> None:
        """Close all pages."""
        self._context.close()

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type not in {"error", "warning", "assert"}:
            return
        if self._may_lose_node and any(text in message.text for text in _LOST + _LOST_TOO):
            return
        self.offences.append(f"{message.type} in the console: {message.text} ({message.location.get('url')})")

    def _judge(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in {"data", "blob", "about"} and parts.netloc not in self._hosts:
            self.offences.append(f"a request to another host: {request.url}")


def keep_picture(page: Page, name: str) -> Path:
    """Keep a picture of the page; return its path."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    path = PICTURES / f"{name}.png"
    page.screenshot(path=path)
    return path
