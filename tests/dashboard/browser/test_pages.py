"""The page and its node: tokens, many pages at once, and a node that stops and starts again."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.commands import run
from tests.dashboard.browser.browsers import keep_picture, why_no_browser
from tests.dashboard.browser.fleets import open_fleet
from tests.keyed_nodes import new_file
from tests.node_processes import NodeProcess, launch, wait_ready
from tests.ports import free_port
from trionet import NodeConfig

if not why_no_browser():
    from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    from tests.dashboard.browser.browsers import Pages
    from tests.dashboard.browser.fleets import Fleet

pytestmark = pytest.mark.slow

PAGES = 7
"""One more than the connections of a browser to one host; see the HTTP/1.1 limits of Chromium."""

DELAYED_S = 30.0
"""Far less than the time for which a page would be open, and far more than a node needs to stop."""


@pytest.fixture(scope="module")
def pair(chromium: Browser) -> Generator[Fleet]:
    """Two processes."""
    del chromium  # without one, nothing is started
    with open_fleet(2) as opened:
        yield opened


@pytest.fixture
def stack() -> Generator[ExitStack]:
    """Ends the processes of a test."""
    with ExitStack() as entered:
        yield entered


def start(stack: ExitStack, **settings: object) -> NodeProcess:
    return wait_ready(launch(stack, NodeConfig.from_mapping({"join": [], **settings}), {}))


def url_of(node: NodeProcess) -> str:
    return f"http://{node.address}/"


def wait_state(page: Page, state: str) -> None:
    expect(page.locator("#link-state")).to_have_attribute("data-state", state)


@pytest.mark.soak
def test_seven_pages_of_one_browser_all_show_live_data(pair: Fleet, pages: Pages) -> None:
    opened = [pages.open(pair.url) for _ in range(PAGES)]
    for page in opened:
        page.get_by_role("heading", name="2 members").wait_for()
    pair.ask("local/membership/set_tags", {"colour": "blue"})
    for page in opened:
        page.bring_to_front()
        page.goto(f"{pair.url}#/cluster/{pair.server.address.sid}")
        page.locator(".member-card").get_by_text("colour=blue").wait_for()


def test_a_ticket_leaves_no_trace_and_a_token_that_may_only_read_disables_what_calls(
    stack: ExitStack, pages: Pages, tmp_path: Path
) -> None:
    key_file = new_file(tmp_path)
    node = start(stack, key_file=key_file, on_start="tests.dashboard.browser.fleets:expose")
    options = ["--key-file", key_file, "--no-browser", "--scope", "read"]
    url = run("dashboard", str(node.address), *options).out.strip()
    page = pages.open(url)
    page.get_by_role("heading", name="1 member").wait_for()
    assert "#token=" in url
    assert page.url == url_of(node)
    page.go_back()
    assert "token" not in page.url
    page.go_forward()
    page.get_by_role("heading", name="1 member").wait_for()
    page.goto(f"{url_of(node)}#/services/node/{node.address.sid}/probe/sleep")
    button = page.get_by_role("button", name="Call, and act")
    expect(button).to_be_disabled()
    assert "scope call" in (button.get_attribute("title") or "")
    page.goto(f"{url_of(node)}#/rumor")
    expect(page.get_by_role("button", name="Send the rumor")).to_be_disabled()
    for place in ("node/mistyped", "services/node/mistyped/probe/sleep"):
        page.goto(f"{url_of(node)}#/{place}")
        page.get_by_text("No member of this cluster has the SID mistyped.").first.wait_for()
        wait_state(page, "live")


def test_an_open_page_does_not_delay_the_stop_of_its_node_and_connects_when_it_is_back(
    stack: ExitStack, pages: Pages
) -> None:
    port = free_port()
    node = start(stack, port=port)
    page = pages.open(url_of(node))
    page.get_by_role("heading", name="1 member").wait_for()
    pages.lose_node()
    node.process.send_signal(signal.SIGTERM)
    assert node.process.wait(DELAYED_S) == 0
    expect(page.locator("#outage")).to_contain_text("No connection since")
    keep_picture(page, "a_node_is_gone")
    page.get_by_role("button", name="Try now").click()
    start(stack, port=port)
    wait_state(page, "live")
    expect(page.locator("#outage")).to_be_hidden()


@pytest.mark.soak
def test_a_page_says_that_its_node_was_killed_and_connects_again_by_itself(stack: ExitStack, pages: Pages) -> None:
    port = free_port()
    node = start(stack, port=port)
    page = pages.open(url_of(node))
    page.get_by_role("heading", name="1 member").wait_for()
    pages.lose_node()
    node.process.kill()
    expect(page.locator("#outage")).to_contain_text("No connection since")
    start(stack, port=port)
    wait_state(page, "live")
