"""The page and its node: tokens, many pages at once, and a node that stops and starts again."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.commands import free_port, run
from tests.dashboard.browser.fleets import open_fleet
from tests.keyed_nodes import new_file
from tests.node_processes import NodeProcess, launch, wait_ready
from trionet import NodeConfig

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


def test_seven_pages_of_one_browser_all_show_live_data(pair: Fleet, pages: Pages) -> None:
    first = pages.open(pair.url)
    opened = [first, *(pages.open(pair.url, beside=first) for _ in range(PAGES - 1))]
    for page in opened:
        page.get_by_role("heading", name="2 members").wait_for()
    pair.ask("local/membership/set_tags", {"colour": "blue"})
    sid = pair.server.address.sid
    for page in opened:
        page.bring_to_front()
        page.goto(f"{pair.url}#/cluster/{sid}")
        page.locator(".member-card").get_by_text("colour=blue").wait_for()


def test_a_ticket_in_the_fragment_is_exchanged_and_leaves_no_trace(
    stack: ExitStack, pages: Pages, tmp_path: Path
) -> None:
    key_file = new_file(tmp_path)
    node = start(stack, key_file=key_file)
    url = run("dashboard", str(node.address), "--key-file", key_file, "--no-browser").out.strip()
    page = pages.open(url)
    page.get_by_role("heading", name="1 member").wait_for()
    assert "#token=" in url
    assert page.url == url_of(node)
    assert page.evaluate("history.length") <= 2
    page.go_back()
    assert "token" not in page.url


def test_a_token_that_may_only_read_disables_what_calls_and_says_why(
    stack: ExitStack, pages: Pages, tmp_path: Path
) -> None:
    key_file = new_file(tmp_path)
    node = start(stack, key_file=key_file, on_start="tests.dashboard.browser.fleets:expose")
    options = ["--key-file", key_file, "--no-browser", "--scope", "read"]
    page = pages.open(run("dashboard", str(node.address), *options).out.strip())
    page.get_by_role("heading", name="1 member").wait_for()
    page.goto(f"{url_of(node)}#/services/node/{node.address.sid}/probe/sleep")
    button = page.get_by_role("button", name="Call, and act")
    expect(button).to_be_disabled()
    assert "scope call" in (button.get_attribute("title") or "")
    page.goto(f"{url_of(node)}#/rumor")
    expect(page.get_by_role("button", name="Send the rumor")).to_be_disabled()


def test_an_open_page_does_not_delay_the_stop_of_its_node_and_says_that_it_is_gone(
    stack: ExitStack, pages: Pages
) -> None:
    node = start(stack)
    page = pages.open(url_of(node))
    wait_state(page, "live")
    pages.lose_node()
    node.process.send_signal(signal.SIGTERM)
    assert node.process.wait(DELAYED_S) == 0
    expect(page.locator("#outage")).to_contain_text("No connection since")


def test_a_page_connects_again_when_its_node_has_been_killed_and_started_again(stack: ExitStack, pages: Pages) -> None:
    port = free_port()
    node = start(stack, port=port)
    page = pages.open(url_of(node))
    page.get_by_role("heading", name="1 member").wait_for()
    pages.lose_node()
    node.process.kill()
    expect(page.locator("#outage")).to_contain_text("No connection since")
    start(stack, port=port)
    page.get_by_role("button", name="Try now").click()
    wait_state(page, "live")
    expect(page.locator("#outage")).to_be_hidden()
