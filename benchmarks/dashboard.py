"""The dashboard: how soon a change is drawn, what a viewer costs its node, and whether calls notice the viewers.

The views of 1,000 members are invented behind the real page and the real stream (`tests.dashboard.browser.invented`);
the processor time and the calls are those of twenty real processes. Viewers are plain readers of the stream: the time
of a browser is not that of the node.
"""

from __future__ import annotations

import random
import time
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
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
    result = Result(
        f"The dashboard: {_MEMBERS:,} invented members, {_PROCESSES} real processes", ["measure", "median", "p99", ""]
    )
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
    p99 = percentile(updates, 0.99)
    result.rows.append(["from an event to its picture", median(updates), p99, "s"])
    result.rows.append(["a frame while the table scrolls", median(frames), percentile(frames, 0.99), "ms"])
    result.goals.append(Goal("update, p99 from event to picture", 1.25, at_least=False, measured=p99, unit="s"))


def _drawn_after(inventor: Fleet, page: Page, number: int) -> float:
    """Change a row in sight at any time between two gatherings; return the seconds until it is drawn."""
    time.sleep(random.random())
    sid = str(page.locator("tbody tr[data-sid]").nth(12).get_attribute("data-sid"))
    begun = time.time()
    inventor.ask("local/invention/tag", sid, "turn", str(number))
    return float(page.evaluate(_DRAWN, [sid, f"turn={number}"])) - begun


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
    result.rows.append(["bytes for a viewer", median(rates), percentile(rates, 0.99), "kB/s"])
    result.goals.append(
        Goal("page data per second and viewer", 50, at_least=False, measured=median(rates), unit="kB/s")
    )


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
    for name, share in shares.items():
        result.rows.append([f"processor time of the node, {name} viewers", share, None, "%"])
    more = (shares[str(_VIEWERS)] - shares["0"]) / _VIEWERS
    result.goals.append(Goal(f"of {_VIEWERS} viewers, for each", 1, at_least=False, measured=more, unit="%"))
    first = shares["1"] - shares["0"]
    result.goals.append(Goal("of one viewer alone", 1, at_least=False, measured=first, unit="%"))


async def _cpu_share(pid: int, seconds: float) -> float:
    """Return which share of the time a process uses, of one processor."""
    clock = ~pid << 3 | _CPUCLOCK_SCHED  # as clock_getcpuclockid (3)
    before, begun = time.clock_gettime(clock), time.perf_counter()
    await trio.sleep(seconds)
    return (time.clock_gettime(clock) - before) / (time.perf_counter() - begun)


async def _measure_calls(fleet: Fleet, settings: Settings, result: Result) -> None:
    address = fleet.server.address
    options = {"transport": "link", "method": "plain", "ip": address.ip, "port": address.port}
    found: dict[str, list[float | None]] = {"none": [], "viewers": []}
    async with AsyncExitStack() as stack:
        caller = await stack.enter_async_context(
            open_worker("the caller", python_worker("peers.link", "call", options))
        )
        await _calls_per_s(caller, 0.5)
        pairs = _share(_PAIRS, settings)
        for number in range(pairs):
            settings.say(f"dashboard: calls, pair {number + 1} of {pairs}")
            for name, count in (("none", 0), ("viewers", _VIEWERS))[:: 1 if number % 2 else -1]:
                async with _open_viewers(fleet, count, fleet.sids):
                    found[name].append(await _calls_per_s(caller, 2 * settings.seconds))
    result.samples["calls_per_s"] = found
    ratios = [some / none for some, none in zip(found["viewers"], found["none"], strict=True) if some and none]
    middle, low, high = bootstrapped(ratios)
    result.rows.append([f"calls/s, {_IN_FLIGHT} in flight, no viewer", median(found["none"]), None, ""])
    result.rows.append([f"calls/s, {_IN_FLIGHT} in flight, {_VIEWERS} viewers", median(found["viewers"]), None, ""])
    result.rows.append([f"their ratio; 95 %: {low or 0:.3f} to {high or 0:.3f}", middle, None, ""])
    result.goals.append(Goal(f"calls with {_VIEWERS} viewers to none", 0.97, at_least=True, measured=middle))


async def _calls_per_s(caller: Worker, seconds: float) -> float:
    did: dict[str, Any] = await caller.ask("load", in_flight=_IN_FLIGHT, seconds=seconds)
    return float(did["calls"] / did["seconds"])
