"""A node with many links: the memory of each, and calls to the node while they are open.

Two processes with half of the callers each; a caller is a whole node with a link of its own. The memory of a link is
the growth of a process from a tenth of the links to all of them, so that what the first ones bring along doesn't count.
It is memory of the process: the kernel's buffers come on top.
"""

from __future__ import annotations

import resource
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

import trio

from .results import Goal, Result, median, percentile, ratios
from .workers import Worker, WorkerFailed, open_worker, python_worker

if TYPE_CHECKING:
    from .settings import Settings

__all__ = ["run_links"]

_PROCESSES: Final = 2
_LIMIT_S: Final = 300.0
_SETTLE_S: Final = 2.0
_FILES_BESIDE: Final = 200
_IN_FLIGHT: Final = (1, 64)
_CALLS_PER_S: Final = 30_000.0


def _allow_files(links: int) -> None:
    """Raise the limit of open files, which the workers inherit: a caller needs two, for its port and its link.

    Raises:
        WorkerFailed: the system doesn't let us.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * links + _FILES_BESIDE
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (ValueError, OSError) as exc:
            raise WorkerFailed(f"{links} links need {wanted} open files, and the limit is {hard}") from exc


class _Crowd:
    """The node, and the processes of its callers."""

    def __init__(self, node: Worker, processes: list[Worker]) -> None:
        self.node = node
        self.processes = processes

    async def ask_all(self, do: str, **details: Any) -> list[dict[str, Any]]:
        """Send a command to all processes of callers at once; return the answers."""
        answers: list[dict[str, Any]] = []

        async def ask(process: Worker) -> None:
            answers.append(await process.ask(do, limit_s=_LIMIT_S, **details))

        async with trio.open_nursery() as nursery:
            for process in self.processes:
                nursery.start_soon(ask, process)
        return answers

    async def memory(self) -> tuple[dict[str, int], list[dict[str, int]]]:
        """Return the memory of the node's process and of the callers', after a moment of rest."""
        await trio.sleep(_SETTLE_S)
        return await self.node.ask("observe"), await self.ask_all("observe")


async def run_links(settings: Settings) -> Result:
    """Measure links."""
    each = settings.links // _PROCESSES
    links = each * _PROCESSES
    result = Result(f"A node with {links:,} links", ["calls over", "open", "in flight", "calls/s", "p50 ms", "p99 ms"])
    try:
        _allow_files(links)
        async with AsyncExitStack() as stack:
            node = await stack.enter_async_context(open_worker("the node", python_worker("peers.many", "serve", {})))
            command = python_worker("peers.many", "call", node.ready)
            crowd = _Crowd(
                node, [await stack.enter_async_context(open_worker("callers", command)) for _ in range(_PROCESSES)]
            )
            settings.say(f"links: starting {links} callers")
            await crowd.ask_all("start", count=each)
            await _grow(crowd, each, settings, result)
    except* WorkerFailed as group:
        result.problems += [str(exc) for exc in group.exceptions]
    _summarize(links, result)
    return result


async def _grow(crowd: _Crowd, each: int, settings: Settings, result: Result) -> None:
    few = max(1, each // 10)
    await crowd.ask_all("link", count=few)
    await _serve(crowd, few, 1, settings, result)
    server_before, callers_before = await crowd.memory()
    settings.say("links: opening all")
    await crowd.ask_all("link", count=each - few)
    server_after, callers_after = await crowd.memory()
    grown = (each - few) * _PROCESSES
    for kind in ("rss", "pss"):
        server = (server_after[kind] - server_before[kind]) / grown
        callers = sum(answer[kind] for answer in callers_after) - sum(answer[kind] for answer in callers_before)
        result.samples[f"{kind}_bytes_per_link"] = {"node": [server], "caller": [callers / grown]}
    opened = server_after["sockets"] - server_before["sockets"]
    if opened != grown:
        result.problems.append(f"of {grown} further links {opened} were open on the node")
    for number in range(settings.rounds):
        settings.say(f"links: round {number + 1} of {settings.rounds}")
        await _serve(crowd, each, 1, settings, result)
        await _serve(crowd, each, each, settings, result)


async def _serve(crowd: _Crowd, opened: int, used: int, settings: Settings, result: Result) -> None:
    """Make calls from one process over one link, or from all over all."""
    total = opened * _PROCESSES
    for in_flight in _IN_FLIGHT:
        if used == 1:
            answers = [await crowd.processes[0].ask("load", in_flight=in_flight, seconds=settings.seconds, links=1)]
            over = "1 link"
        elif in_flight == 1:
            answers = [await crowd.processes[0].ask("load", in_flight=1, seconds=settings.seconds, links=used)]
            over = f"{used:,} links in turn"
        else:
            share = in_flight // _PROCESSES
            answers = await crowd.ask_all("load", in_flight=share, seconds=settings.seconds, links=used)
            over = f"{used * _PROCESSES:,} links in turn"
        took = [second for answer in answers for second in answer["took_s"]]
        name = f"{over}|{total:,}|{in_flight}"
        for measure, found in (
            ("calls_per_s", sum(len(answer["took_s"]) / answer["seconds"] for answer in answers)),
            ("p50_ms", (percentile(took, 0.5) or 0) * 1e3),
            ("p99_ms", (percentile(took, 0.99) or 0) * 1e3),
        ):
            result.samples.setdefault(measure, {}).setdefault(name, []).append(found)


def _summarize(links: int, result: Result) -> None:
    for name in result.samples.get("calls_per_s", {}):
        measures = [median(result.samples[measure][name]) for measure in ("calls_per_s", "p50_ms", "p99_ms")]
        result.rows.append([*name.split("|"), *measures])
    in_turn = f"{links:,} links in turn|{links:,}|{_IN_FLIGHT[-1]}"
    rates = result.samples.get("calls_per_s", {}).get(in_turn, [])
    result.watch(f"calls over {links:,} links in turn, 64 in flight", rates, unit="calls/s", limit=_CALLS_PER_S)
    alone = result.samples.get("calls_per_s", {}).get(f"1 link|{links:,}|{_IN_FLIGHT[-1]}", [])
    result.watch(f"the same, against calls over one of {links:,} links", ratios(rates, alone))
    for kind in ("pss", "rss"):
        for side, title in (("node", "the node's process"), ("caller", "the callers' processes")):
            found = result.samples.get(f"{kind}_bytes_per_link", {}).get(side)
            measured = None if found is None or found[0] is None else found[0] / 1000
            result.goals.append(
                Goal(f"memory per idle link of {links:,}, {kind.upper()} of {title}", 40.0, False, measured, "kB")
            )
