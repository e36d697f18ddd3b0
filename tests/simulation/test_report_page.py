"""The page of a run in a browser: it opens from a file, zooms, filters, and tells what was pointed at.

Invariant, of each test: the page writes nothing to the console, raises nothing, and asks no host for anything.
"""

from __future__ import annotations

import importlib.util
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from tests.simulation.traces import delivered, ended, fault_events, joined, sent, trace_of
from trionet.simulation import OneWay, Passing, Trace, TraceEvent, Trial, Violation, write_report

if TYPE_CHECKING:
    from collections.abc import Generator

    from playwright.sync_api import Browser, Page

    Scheme = Literal["light", "dark"]

PICTURES = Path(__file__).parents[2] / "build" / "screenshots"
CUT = OneWay(at_s=1, duration_s=1, sources=[0], targets=[1])
TRIAL = Trial(seed=7, nodes=3, duration_s=3, faults=[CUT])
FAILURE = Violation(invariant="shop:sold", at_s=2.5, text="<b>1</b> is left", nodes=["n0"])


@pytest.fixture(scope="module")
def chromium() -> Generator[Browser]:
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("there is no chromium: `apt-get install chromium`")
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("playwright is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@contextmanager
def shown(browser: Browser, path: Path, *, width: int = 1280, scheme: Scheme = "light") -> Generator[Page]:
    """Show a file; the block fails if the page does what none may do."""
    offences: list[str] = []
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
    )
    page = context.new_page()
    page.on("console", lambda message: offences.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: offences.append(f"raised: {error}"))
    page.on("request", lambda request: offences.append(request.url) if request.url != path.as_uri() else None)
    page.goto(path.as_uri())
    page.wait_for_selector(".lanes .life", state="attached")
    try:
        yield page
        PICTURES.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=PICTURES / f"report-{path.stem}-{width}-{scheme}.png", full_page=True)
    finally:
        context.close()
    assert offences == []


def wait_text(page: Page, selector: str, text: str, *, is_there: bool = True) -> None:
    """Wait until an element has a text, or no longer has it; the page's policy forbids `wait_for_function`."""
    from playwright.sync_api import expect

    expected = expect(page.locator(selector))
    (expected.to_contain_text if is_there else expected.not_to_contain_text)(text, timeout=30_000)


def calls() -> list[TraceEvent]:
    """Return a call that is lost in a cut, and one that is answered."""
    return [
        TraceEvent(0.5, "call", "n1", "n0", "local/stock/sell", 0, 0, "a-1"),
        sent(0.5, "n1", "n0", 1, "call"),
        delivered(0.6, "n1", "n0", 1, "call"),
        TraceEvent(0.6, "begin", "n0", "n1", "local/stock/sell", 0, 0, "a-1"),
        TraceEvent(0.9, "end", "n0", "n1", "local/stock/sell", 0, 0, "a-1"),
        sent(0.9, "n0", "n1", 2, "reply"),
        delivered(1.0, "n0", "n1", 2, "reply"),
        TraceEvent(1.0, "answer", "n1", "n0", "local/stock/sell", 0, 0, "a-1"),
        sent(1.5, "n0", "n1", 3),
        TraceEvent(1.5, "drop", "n0", "n1", "datagram", 3, 10),
    ]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reports") / "cut.html"
    trace = trace_of(joined(3), calls(), fault_events(CUT, 1, 2), ended(3))
    fine = trace_of(joined(3), calls()[:-1], delivered(1.6, "n0", "n1", 3), ended(3))
    passing = Passing(Trial(seed=7, nodes=3, duration_s=3, faults=[]), [CUT])
    write_report(trace, path, trial=TRIAL, violations=[FAILURE], passing=passing, passing_trace=fine)
    return path


@pytest.mark.slow
def test_a_page_opens_from_a_file_and_tells_the_failure_and_the_difference(chromium: Browser, report: Path) -> None:
    with shown(chromium, report) as page:
        assert page.title() == "Seed 7: shop:sold"
        assert page.inner_text("h1") == "Seed 7 fails: shop:sold"
        assert page.inner_text(".violation") == "<b>1</b> is left"
        assert "without its only fault: at 1 s, for 1 s: OneWay" in page.inner_text(".comparison")
        assert "the network drops a datagram from n0 to n1" in page.inner_text(".difference .here >> nth=0")
        assert page.locator(".flag.failure text").text_content() == "✕ failure"
        assert page.locator(".fault text").text_content() == "one-way cut n0 to n1"
        assert "trionet simulate --replay" in page.inner_text("pre.command >> nth=-1")


@pytest.mark.slow
def test_one_zooms_and_moves_by_keys_buttons_and_the_wheel(chromium: Browser, report: Path) -> None:
    def length() -> float:
        first, last = (float(page.locator(".range").inner_text().split(" s")[place].split()[-1]) for place in (0, 1))
        return last - first

    with shown(chromium, report) as page:
        page.focus(".frame")
        page.keyboard.press("Home")
        wait_text(page, ".range", "(3 s)")
        page.keyboard.press("+")
        wait_text(page, ".range", "(3 s)", is_there=False)
        assert length() == pytest.approx(3 / 1.6, rel=0.1)
        before = page.inner_text(".range")
        page.keyboard.press("ArrowRight")
        wait_text(page, ".range", before, is_there=False)
        page.get_by_role("button", name="The whole run").click()
        wait_text(page, ".range", "(3 s)")
        page.focus(".frame")
        page.locator(".lanes").hover()
        page.mouse.wheel(0, -400)
        wait_text(page, ".range", "(3 s)", is_there=False)
        assert length() < 2


@pytest.mark.slow
def test_one_drags_the_lanes_and_chooses_a_part_in_the_strip_above(chromium: Browser, report: Path) -> None:
    def drag(selector: str, first: float, last: float) -> None:
        box = page.locator(selector).bounding_box()
        assert box is not None
        y = box["y"] + box["height"] / 2
        page.mouse.move(box["x"] + first * box["width"], y)
        page.mouse.down()
        page.mouse.move(box["x"] + last * box["width"], y, steps=3)
        page.mouse.up()

    with shown(chromium, report) as page:
        before = page.inner_text(".range")
        drag(".lanes", 0.4, 0.6)
        wait_text(page, ".range", before, is_there=False)
        page.get_by_role("button", name="The whole run").click()
        wait_text(page, ".range", "(3 s)")
        drag(".overview", 0.5, 0.75)
        wait_text(page, ".range", "(3 s)", is_there=False)
        assert page.inner_text(".range").startswith(("1.4", "1.5", "1.3"))


@pytest.mark.slow
def test_what_is_pointed_at_is_told_by_pointer_key_and_table(chromium: Browser, report: Path) -> None:
    with shown(chromium, report) as page:
        page.focus(".frame")
        page.keyboard.press("Home")
        wait_text(page, ".range", "(3 s)")
        page.keyboard.press("n")
        page.wait_for_selector(".chosen-card")
        assert "n0 sees that n1 joined" in page.inner_text(".chosen-card h3")
        handler = page.locator("path.handler").nth(-1).bounding_box()
        assert handler is not None
        page.mouse.click(handler["x"] + handler["width"] / 2, handler["y"] + handler["height"] / 2)
        wait_text(page, ".chosen-card h3 >> nth=0", "begins")
        assert "n1 has the answer of n0 to local/stock/sell" in page.inner_text(".chosen-card")  # the same call
        page.get_by_text("The part in sight as a table").click()
        page.wait_for_selector(".table-part tbody tr")
        assert "n0 sends a datagram to n1: dropped" in page.inner_text(".table-part tbody")
        page.get_by_role("button", name="datagrams 1").click()
        wait_text(page, ".table-part tbody", "sends a datagram", is_there=False)
        page.locator(".row-button", has_text="n1 sends a call to n0").click()
        wait_text(page, ".chosen-card h3", "delivered after 100 ms")


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(400, "dark"), (1280, "light")])
def test_a_page_is_for_everyone(chromium: Browser, report: Path, width: int, scheme: Scheme) -> None:
    with shown(chromium, report, width=width, scheme=scheme) as page:
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.get_by_text("The part in sight as a table").click()
        page.wait_for_selector(".table-part tbody tr")
        spec = importlib.util.find_spec("axe_playwright_python")
        if spec is None or spec.origin is None:
            return
        page.evaluate(Path(spec.origin).with_name("axe.min.js").read_text(encoding="utf-8"))
        found = page.evaluate("axe.run(document, {resultTypes: ['violations'], preload: false})")
        serious = [one for one in found["violations"] if one["impact"] in {"serious", "critical"}]
        assert [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in serious] == []


@pytest.mark.slow
def test_tens_of_thousands_of_messages_are_bars_until_one_zooms_in(chromium: Browser, tmp_path: Path) -> None:
    trace = Trace()
    trace.events.extend(joined(3))
    for number in range(30_000):
        at = 1 + number / 10_000
        trace.events.append(sent(at, f"n{number % 3}", f"n{(number + 1) % 3}", number))
        trace.events.append(delivered(at + 0.00005, f"n{number % 3}", f"n{(number + 1) % 3}", number))
    write_report(trace, tmp_path / "many.html")
    with shown(chromium, tmp_path / "many.html") as page:
        assert page.inner_text("h1") == "A run: nothing violated"
        page.wait_for_selector(".lanes .density", state="attached")
        assert page.locator(".lanes .arrow").count() == 0
        assert "30,000 messages in sight, too many for arrows" in page.inner_text(".notice:visible")
        page.focus(".frame")
        for _ in range(12):
            page.keyboard.press("+")
        page.wait_for_selector(".lanes .arrow", state="attached")
        assert page.locator(".lanes .density").count() == 0
