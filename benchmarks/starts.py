"""Twenty nodes from nothing: a program that starts, spawns them and has an answer of each, against a pool's processes.

The pool is that of `multiprocessing` with its own fork server. Both programs run in turn, each from the start of its
process to the last answer, so the imports of both count. The memory is that of all their processes, the program's own
included, when all have answered.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from .marked import Marked
from .results import Result, Samples, median, ratio, ratios
from .workers import WorkerFailed, open_worker, python_worker

if TYPE_CHECKING:
    from .settings import Settings

__all__ = ["run_starts"]

_COUNT: Final = 20
_MIB: Final = 1024 * 1024
_LIMIT_S: Final = 120.0
_TITLES: Final = {"trionet": "trionet", "pool": "multiprocessing, a forkserver Pool"}
_GOALS: Final = {"seconds": 1.6, "cpu s": 1.6, "PSS MiB": 1.5}
_NAMES: Final = {"seconds": "time", "cpu s": "processor time", "PSS MiB": "PSS of all"}


async def run_starts(settings: Settings) -> Result:
    """Measure both."""
    result = Result(
        f"{_COUNT} processes from cold, until each has answered",
        ["peer", "seconds", "x pool", "cpu s", "cpu s x pool", "PSS MiB", "PSS MiB x pool"],
    )
    for number in range(settings.rounds):
        settings.say(f"starts: round {number + 1} of {settings.rounds}")
        for peer in list(_TITLES)[:: 1 if number % 2 else -1]:
            found: dict[str, float] = {}
            try:
                found = await _measure(peer)
            except WorkerFailed as exc:
                result.problems.append(str(exc))
            for measure in _GOALS:
                result.samples.setdefault(measure, {}).setdefault(peer, []).append(found.get(measure))
    _summarize(result)
    return result


async def _measure(peer: str) -> dict[str, float]:
    marked = Marked()
    command = python_worker("peers.starting", peer, {"count": _COUNT})
    begun = time.perf_counter()
    try:
        async with open_worker(_TITLES[peer], command, env=marked.environment, start_s=_LIMIT_S):
            seconds = time.perf_counter() - begun
            return {"seconds": seconds, "cpu s": marked.cpu_s(), "PSS MiB": marked.pss(but=0) / _MIB}
    finally:
        await marked.kill()


def _summarize(result: Result) -> None:
    samples: dict[str, Samples] = result.samples
    for peer, title in _TITLES.items():
        row: list[str | float | None] = [title]
        for measure in _GOALS:
            found = samples.get(measure, {})
            row += [median(found.get(peer, [])), ratio(found.get(peer, []), found.get("pool", []))]
        result.rows.append([*row])
    for measure, limit in _GOALS.items():
        found = samples.get(measure, {})
        what = f"{_NAMES[measure]} of {_COUNT} nodes from cold, against a forkserver Pool"
        result.watch(what, ratios(found.get("trionet", []), found.get("pool", [])), at_least=False, limit=limit)
