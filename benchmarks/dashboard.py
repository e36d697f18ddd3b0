"""The dashboard: how soon a change is drawn, what a viewer costs its node, and whether calls notice the viewers.

The views of 1,000 members are invented behind the real page and the real stream (`tests.dashboard.browser.invented`);
the processor time and the calls are those of twenty real processes. Viewers are plain readers of the stream: the time
of a browser is not that of the node.
"""

from __future__ import annotations

import random
import time
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Final

import trio

from tests.dashboard.browser.browsers import Pages, open_chromium, why_no_browser
from tests.dashboard.browser.fleets import Fleet, open_fleet
from tests.dashboard.browser.invented import cluster_of, details_of

from .peers.link import Echo
from .results import Goal, Result, bootstrapped, median, percentile
from .workers import Worker, WorkerFailed, open_worker, python_worker

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from playwright.sync_api import Page

    import trionet

    from .settings import Settings

__all__ = ["expose", "run_dashboard"]

_MEMBERS: Final = 1000
_PROCESSES: Final = 20
_VIEWERS: Final = 5
_IN_SIGHT: Final = 64
_UPDATES: Final = 100
_PAIRS: Final = 21
_SETTLE_S: Final = 1.5
_IN_FLIGHT: Final = 64
_COLUMNS: Final = ["measure", "median", "p99", "unit", "from", "to"]
_CPUCLOCK_SCHED: Final = 2  # include/linux/posix-timers.h

_DRAWN: Final = """([sid, text]) => new Promise((resolve) => {
  const look = () => {
    const row = document.querySelector(`tr[data-sid="${sid}"]`);
    if (row?.textContent.includes(text)) requestAnimationFrame(() => resolve(Date.now() / 1000));
    else requestAnimationFrame(look);
  };
  look();
})"""
"""The time at which a row with that text was drawn."""

_SCROLLED: Final = """() => new Promise((resolve) => {
  const times = [];
  const step = (now) => {
    times.push(now);
    scrollBy(0, 40);
    for (const box of document.querySelectorAll(".table-wrap")) box.scrollTop += 40;
    if (times.length > 90) resolve(times.slice(1).map((time, index) => time - times[index]));
    else requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
})"""
"""The times of frames while the table is scrolled, in milliseconds."""


async def expose(node: trionet.Node) -> None:
    """Register what is called; for `on_start`."""
    await node.local.routes.put(Echo(), "echo")


async def run_dashboard(settings: Settings) -> Result:
    """Measure the dashboard."""
    result = Result(f"The dashboard: {_MEMBERS:,} invented members, {_PROCESSES} real processes", _COLUMNS)
    if reason := why_no_browser():
        result.skipped.append(f"the update on the page: {reason}")
    else:
        await trio.to_thread.run_sync(_measure_page, settings, result)
    await _measure_bytes(settings, result)
    try:
        await _measure_node(settings, result)
    except WorkerFailed as exc:
        result.problems.append(str(exc))
    return result


def _share(count: int, settings: Settings) -> int:
    """Return how many of seven rounds' samples the rounds of this run make."""
    return max(1, count * settings.rounds // 7)


@contextmanager
def _inventor() -> Generator[tuple[Fleet, list[str]]]:
    """Run a node that shows many members, whose figures change all the time; give it and their SIDs."""
    cluster = cluster_of(_MEMBERS)
    with open_fleet(1, on_start="tests.dashboard.browser.invented:expose") as inventor:
        inventor.ask("local/invention/show", "cluster", cluster)
        inventor.ask("local/invention/show", "details", details_of(cluster["members"]))
        inventor.ask("local/invention/live")
        yield inventor, list(cluster["members"])


def _measure_page(settings: Settings, result: Result) -> None:
    settings.say(f"dashboard: updates of {_MEMBERS:,} members")
    with _inventor() as (inventor, _), open_chromium() as browser:
        pages = Pages(browser)
        page = pages.open(inventor.url)
        page.locator("tbody tr").first.wait_for()
        updates = [_drawn_after(inventor, page, number) for number in range(_share(_UPDATES, settings))]
        frames = [ms for _ in range(settings.rounds) for ms in page.evaluate(_SCROLLED)]
        pages.close()
        result.problems += pages.offences
    result.samples["update"] = {"s": list(updates)}
    result.samples["frames"] = {"ms": list(frames)}
    what, p99 = f"from an event to its picture, {_MEMBERS:,} members", percentile(updates, 0.99)
    _add(result, what, median(updates), "s", p99=p99)
    _add(result, "a frame while the table scrolls", median(frames), "ms", p99=percentile(frames, 0.99))
    result.goals.append(Goal(f"{what}, p99", 1.25, at_least=False, measured=p99, unit="s"))


def _add(result: Result, what: str, middle: float | None, unit: str, p99: float | None = None) -> None:
    """Add a row."""
    result.rows.append([what, middle, p99, unit, None, None])


def _drawn_after(inventor: Fleet, page: Page, number: int) -> float:
    """Change a row in sight at any time between two gatherings; return the seconds until it is drawn."""
    time.sleep(random.random())
    sid = str(page.locator("tbody tr[data-sid]").nth(12).get_attribute("data-sid"))
    page.evaluate(f"([sid, text]) => {{ window.drawn = ({_DRAWN})([sid, text]); }}", [sid, f"turn={number}"])
    changed = float(inventor.ask("local/invention/tag", sid, "turn", str(number)))
    return float(page.evaluate("window.drawn")) - changed


class _Viewer:
    """Reads a stream, and counts its bytes."""

    def __init__(self) -> None:
        self.bytes = 0

    async def read(self, fleet: Fleet, of: list[str], *, task_status: trio.TaskStatus[None]) -> None:
        ip, port = fleet.server.address.ip, fleet.server.address.port
        query = f"topics=cluster,details,news&of={','.join(of[:_IN_SIGHT])}"
        async with await trio.open_tcp_stream(ip, port) as stream:
            await stream.send_all(f"GET /dashboard/stream?{query} HTTP/1.1\r\nHost: {ip}:{port}\r\n\r\n".encode())
            async for data in stream:
                if not self.bytes:
                    if b" 200 " not in data[:20]:
                        raise WorkerFailed(f"the stream is refused: {data[:200]!r}")
                    task_status.started()
                self.bytes += len(data)
        raise WorkerFailed("the stream has ended")


@asynccontextmanager
async def _open_viewers(fleet: Fleet, count: int, of: list[str]) -> AsyncGenerator[list[_Viewer]]:
    async with trio.open_nursery() as nursery:
        viewers = [_Viewer() for _ in range(count)]
        for viewer in viewers:
            await nursery.start(viewer.read, fleet, of)
        await trio.sleep(_SETTLE_S)  # the whole documents have come
        yield viewers
        nursery.cancel_scope.cancel()


async def _measure_bytes(settings: Settings, result: Result) -> None:
    settings.say("dashboard: the bytes of a viewer")
    with _inventor() as (inventor, sids):
        async with _open_viewers(inventor, 1, sids) as [viewer]:
            rates: list[float | None] = []
            for _ in range(_share(28, settings)):
                before, begun = viewer.bytes, time.perf_counter()
                await trio.sleep(1)
                rates.append((viewer.bytes - before) / (time.perf_counter() - begun) / 1000)
    result.samples["bytes"] = {"kB/s": rates}
    what = f"data for a viewer of {_MEMBERS:,} members"
    _add(result, what, median(rates), "kB/s", p99=percentile(rates, 0.99))
    result.goals.append(Goal(what, 50, at_least=False, measured=median(rates), unit="kB/s"))


async def _measure_node(settings: Settings, result: Result) -> None:
    settings.say(f"dashboard: starting {_PROCESSES} processes")
    with open_fleet(_PROCESSES, on_start="benchmarks.dashboard:expose") as fleet:
        await _measure_cpu(fleet, settings, result)
        await _measure_calls(fleet, settings, result)


async def _measure_cpu(fleet: Fleet, settings: Settings, result: Result) -> None:
    counts = (0, 1, _VIEWERS)
    used: dict[str, list[float | None]] = {str(count): [] for count in counts}
    for number in range(settings.rounds):
        settings.say(f"dashboard: processor time, round {number + 1} of {settings.rounds}")
        for count in counts[:: 1 if number % 2 else -1]:
            async with _open_viewers(fleet, count, fleet.sids):
                used[str(count)].append(await _cpu_share(fleet.server.pid, 5 * settings.seconds))
    result.samples["cpu"] = used
    shares = {name: 100 * (median(found) or 0.0) for name, found in used.items()}
    _add(result, f"processor time of the node, one of {_PROCESSES}, at rest", shares["0"], "%")
    for what, share in (
        ("processor time for one viewer alone", shares["1"] - shares["0"]),
        (f"processor time for each of {_VIEWERS} viewers", (shares[str(_VIEWERS)] - shares["0"]) / _VIEWERS),
    ):
        _add(result, what, share, "%")
        result.goals.append(Goal(what, 1, at_least=False, measured=share, unit="%"))


async def _cpu_share(pid: int, seconds: float) -> float:
    """Return which share of the time a process uses, of one processor."""
    before, begun = _cpu_s(pid), time.perf_counter()
    await trio.sleep(seconds)
    return (_cpu_s(pid) - before) / (time.perf_counter() - begun)


def _cpu_s(pid: int) -> float:
    """Return the processor time that a process has used, in seconds, as exactly as the kernel knows."""
    return time.clock_gettime(~pid << 3 | _CPUCLOCK_SCHED)  # as clock_getcpuclockid (3)


async def _measure_calls(fleet: Fleet, settings: Settings, result: Result) -> None:
    address = fleet.server.address
    options = {"transport": "link", "method": "plain", "ip": address.ip, "port": address.port}
    command = python_worker("peers.link", "call", options)
    found: dict[int, list[tuple[float, float]]] = {0: [], _VIEWERS: []}
    async with open_worker("the caller", command) as caller:
        await _calls(fleet, caller, 0.5)
        pairs = _share(_PAIRS, settings)
        for number in range(pairs):
            settings.say(f"dashboard: calls, pair {number + 1} of {pairs}")
            for count in list(found)[:: 1 if number % 2 else -1]:
                async with _open_viewers(fleet, count, fleet.sids):
                    found[count].append(await _calls(fleet, caller, 2 * settings.seconds))
    for index, (unit, what) in enumerate(
        (("calls/s", ""), ("calls per second of its processor time", ", by its work"))
    ):
        rates = {count: [one[index] for one in samples] for count, samples in found.items()}
        result.samples[unit] = {str(count): list(samples) for count, samples in rates.items()}
        if index == 0:
            _add(result, f"{_IN_FLIGHT} calls in flight, no viewer", median(rates[0]), unit)
            _add(result, f"{_IN_FLIGHT} calls in flight, {_VIEWERS} viewers", median(rates[_VIEWERS]), unit)
        ratios = [some / none for some, none in zip(rates[_VIEWERS], rates[0], strict=True)]
        middle, low, high = bootstrapped(ratios)
        title = f"calls with {_VIEWERS} viewers to none{what}"
        result.rows.append([title, middle, None, "x", low, high])
        result.goals.append(Goal(title, 0.97, at_least=True, measured=middle))


async def _calls(fleet: Fleet, caller: Worker, seconds: float) -> tuple[float, float]:
    """Call the node for some time; return the calls per second, and per second of the node's processor time."""
    before = _cpu_s(fleet.server.pid)
    did: dict[str, Any] = await caller.ask("load", in_flight=_IN_FLIGHT, seconds=seconds)
    used = _cpu_s(fleet.server.pid) - before
    return did["calls"] / did["seconds"], did["calls"] / used
