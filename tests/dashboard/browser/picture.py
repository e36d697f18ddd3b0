"""Draws the picture of the dashboard for the documentation: ``python -m tests.dashboard.browser.picture [FILE]``.

It shows twenty real processes at the ports from 8001, with calls that run, and one that has just been killed.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from tests.dashboard.browser.browsers import Pages, open_chromium, why_no_browser
from tests.dashboard.browser.fleets import SIZE, open_fleet
from tests.node_processes import ROOT

_FILE: Final = ROOT / "docs" / "pictures" / "dashboard.png"
_FIRST_PORT: Final = 8001
_SIZE: Final = (1200, 800)
_CALLS: Final = 3
_MOST_BYTES: Final = 150_000


def draw(file: Path) -> None:
    """Draw the picture into a file."""
    with ExitStack() as stack:
        fleet = stack.enter_context(open_fleet(SIZE, port=_FIRST_PORT, cluster="shop"))
        for _ in range(_CALLS):
            stack.enter_context(fleet.calling("all/comm/send", [3600], {"service": "probe", "method": "sleep"}))
        pages = Pages(stack.enter_context(open_chromium()), size=_SIZE)
        page = pages.open(f"{fleet.url}#/cluster/{fleet.others[6].address.sid}")
        for sid in fleet.sids:
            page.locator(f".ring-node[data-sid='{sid}'][data-state='alive']").wait_for()
        page.locator(".finding").first.wait_for(state="detached")  # the members have recovered from their start
        killed = fleet.kill_one()
        page.locator(f".ring-node[data-sid='{killed.sid}'][data-state='suspect']").wait_for()
        page.locator(".member-card").get_by_text(f"{_CALLS} running").wait_for()
        page.screenshot(path=file)
        pages.close()
    print(f"{file}: {file.stat().st_size:,} bytes, at most {_MOST_BYTES:,}")  # noqa: T201  a command


if __name__ == "__main__":
    if reason := why_no_browser():
        sys.exit(f"error: {reason}")
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else _FILE)
