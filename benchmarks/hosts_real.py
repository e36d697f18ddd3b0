"""Forty nodes on five hosts, for real and simulated: how well the simulation predicts what faults do.

The hosts are network namespaces on a bridge, with keys on. Each story is lived through by a new cluster, on the hosts
and in virtual time, with the same names, settings, faults and waits. The nodes go before all other processes of the
machine, so that its other load disturbs them little. What the simulation is told of the machine is the processor time
that a node takes for an input: that of all nodes on hosts while they rest and hear rumors, over the simulated inputs.
"""

from __future__ import annotations

import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from tests.hosts.hosts import why_no_hosts
from tests.hosts.stories import STORIES, Unfinished, work
from tests.hosts.worlds import INPUT_S, Layout, open_real, open_simulated
from trionet.security.key_file import new_key_file
from trionet.security.keys import KEY_BYTES, ClusterKey
from trionet.simulation import run

from .results import Result, median

if TYPE_CHECKING:
    from .settings import Settings

__all__ = ["live_for_real", "live_simulated", "measure_input_s", "run_hosts_real", "summarize"]

_HOSTS: Final = 5
_EACH: Final = 8
_SEEDS: Final = 24
_LIMIT: Final = 0.2
_QUICK_ROUNDS: Final = 2
_COLUMNS: Final = ["40 nodes", "on 5 hosts", "simulated", "unit", "hosts / simulated", "rounds", "seeds"]


async def run_hosts_real(settings: Settings) -> Result:
    """Live through each story, on hosts and simulated."""
    result = Result("40 nodes on 5 hosts: faults for real, and simulated", list(_COLUMNS))
    if reason := why_no_hosts():
        result.skipped.append(f"hosts: {reason}")
        return result
    seeds, stories = min(_SEEDS, settings.seeds), list(STORIES)
    if settings.rounds <= _QUICK_ROUNDS:
        stories = stories[:1]
    with tempfile.TemporaryDirectory() as folder:
        layout = Layout(_HOSTS, _EACH, str(Path(folder) / "key"))
        new_key_file(layout.key_file, ClusterKey(os.urandom(KEY_BYTES)))
        settings.say("hosts-real: the processor time of an input")
        input_s = await measure_input_s(layout)
        result.watch("processor time of an input", [input_s * 1e6], at_least=False, unit="us")
        for story in stories:
            settings.say(f"hosts-real: {story}, {seeds} seeds")
            await trio.to_thread.run_sync(_simulate, layout, story, seeds, input_s, result)
        for number in range(settings.rounds):
            for story in stories:
                settings.say(f"hosts-real: {story}, round {number + 1} of {settings.rounds}")
                _add(result, story, "hosts", await live_for_real(layout, story))
    summarize(result)
    return result


async def measure_input_s(layout: Layout) -> float:
    """Return the processor time that a node on hosts takes for an input, in seconds."""

    async def simulate() -> float:
        async with open_simulated(layout, 0) as world:
            return await work(world) / INPUT_S

    with tempfile.TemporaryDirectory() as folder:
        async with open_real(layout, Path(folder), is_prompt=True) as world:
            took_s = await work(world)
    return took_s / await trio.to_thread.run_sync(lambda: run(simulate, seed=0))


async def live_for_real(layout: Layout, story: str) -> dict[str, float] | str:
    """Return the figures of a story on hosts, or what went wrong."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            async with open_real(layout, Path(folder), is_prompt=True) as world:
                return await STORIES[story](world)
    except Unfinished as exc:
        return str(exc)


def live_simulated(layout: Layout, story: str, input_s: float, seed: int) -> dict[str, float] | str:
    """Return the figures of a simulated story, or what went wrong."""

    async def live() -> dict[str, float] | str:
        async with open_simulated(layout, seed, input_s=input_s) as world:
            try:
                return await STORIES[story](world)
            except Unfinished as exc:
                return str(exc)

    return run(live, seed=seed)


def _simulate(layout: Layout, story: str, seeds: int, input_s: float, result: Result) -> None:
    with ProcessPoolExecutor(os.cpu_count(), get_context("forkserver"), initializer=partial(os.nice, 5)) as pool:
        for found in pool.map(partial(live_simulated, layout, story, input_s), range(seeds)):
            _add(result, story, "simulated", found)


def _add(result: Result, story: str, where: str, found: dict[str, float] | str) -> None:
    if isinstance(found, str):
        result.problems.append(f"{story}, {where}: {found}")
        return
    for figure, value in found.items():
        result.samples.setdefault(f"{story}: {figure}", {}).setdefault(where, []).append(value)


def summarize(result: Result) -> None:
    """Fill the table and the goal from the samples."""
    differences: list[float] = []
    for name, samples in result.samples.items():
        real, simulated = (median(samples.get(where, [])) for where in ("hosts", "simulated"))
        ratio = round(real / simulated, 2) if real and simulated else None
        counts = [len(samples.get(where, [])) for where in ("hosts", "simulated")]
        unit = "/s" if "packets" in name else "s"
        result.rows.append([name, real, simulated, unit, ratio, *counts])
        if ratio is not None:
            differences.append(abs(ratio - 1))
    if differences:
        what = "the largest difference of a median on hosts from the simulated one"
        result.watch(what, [max(differences)], at_least=False, unit="of it", limit=_LIMIT)
