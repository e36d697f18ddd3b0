"""Simulated clusters: the speed of virtual time, the cost of a message, the determinism of seeds."""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from tests.simulation.services import CONFIG, COUNT, busy, scenario_trace
from trionet.simulation import open_cluster, run

from .gossip_membership import rest_rate
from .gossip_rumors import RumorCluster, rumor_rate
from .results import Goal, Result, median

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trionet.simulation import Simulation

    from .settings import Settings

__all__ = ["run_simulation"]

_NODES: Final = 100
_VIRTUAL_S: Final = 200.0
_CALLS: Final = 10_000
_FAN_OUTS: Final = 500
_RUMORS: Final = 200
_BUSY_S: Final = 15.0
_MEMBERS: Final = 100_000
_PER_S: Final = 110_000.0
_AT_RANDOM_PER_S: Final = 25_000.0
_PAGE_BYTES: Final = 4096
_AT_REST_PER_S: Final = 20_000.0
_PER_CPU_S: Final = "per CPU second"


class _Speed(msgspec.Struct, frozen=True):
    times_real: float
    messages_per_s: float


def _at_rest(seed: int) -> _Speed:
    """Run 100 nodes that watch each other."""

    async def main() -> _Speed:
        async with open_cluster(_NODES, seed=seed) as sim:
            sent, began = sim.fabric.messages, time.process_time()
            await trio.sleep(_VIRTUAL_S)
            spent = time.process_time() - began
            return _Speed(_VIRTUAL_S / spent, (sim.fabric.messages - sent) / spent)
        raise AssertionError

    return run(main, seed=seed)


async def _call(sim: Simulation) -> None:
    """Call one node from another, one call after the other."""
    comm, remote = sim.nodes[0].local.comm, msgspec.structs.replace(COUNT, node=sim.nodes[1].address)
    for _ in range(_CALLS):
        await comm.send([], remote)


async def _fan_out(sim: Simulation) -> None:
    """Call all nodes from one, one fan-out after the other."""
    for _ in range(_FAN_OUTS):
        await sim.nodes[0].all.comm.send([], COUNT)


async def _gossip(sim: Simulation) -> None:
    """Start rumors at one node, at five a second."""
    for _ in range(_RUMORS):
        await sim.nodes[0].all.gossip.send([], COUNT)
        await trio.sleep(0.2)


async def _do_all(sim: Simulation) -> None:
    """Have all nodes call, fan out and gossip at random, and give up on some of it."""
    async with trio.open_nursery() as nursery:
        for index in range(len(sim.nodes)):
            nursery.start_soon(busy, sim, index, sim.seed)
        await trio.sleep(_BUSY_S)
        nursery.cancel_scope.cancel()


_AT_RANDOM: Final = "20 nodes, all of that, handlers that sleep, cancelled calls"
_LOADS: Final[dict[str, tuple[int, Callable[[Simulation], Awaitable[None]]]]] = {
    "2 nodes, calls one after the other": (2, _call),
    "20 nodes, fan-outs one after the other": (20, _fan_out),
    "20 nodes, a rumor every 0.2 s": (20, _gossip),
    _AT_RANDOM: (20, _do_all),
}


def _under_load(load: str, seed: int) -> float:
    """Let whole nodes work; return messages per second of processor time."""
    nodes, work = _LOADS[load]

    async def main() -> float:
        async with open_cluster(nodes, seed=seed, config=CONFIG) as sim:
            await sim.nodes[0].all.comm.send([], COUNT)
            sent, began = sim.fabric.messages, time.process_time()
            await work(sim)
            return (sim.fabric.messages - sent) / (time.process_time() - began)
        raise AssertionError

    return run(main, seed=seed)


def _add_loads(result: Result, settings: Settings, pool: ProcessPoolExecutor) -> None:
    """Add the work that whole nodes do."""
    for load in _LOADS:
        settings.say(f"simulation: {load}")
        rates = list(pool.map(partial(_under_load, load), range(settings.rounds)))
        what, limit = f"{load}: messages", _AT_RANDOM_PER_S if load == _AT_RANDOM else None
        result.rows.append([what, len(rates), median(rates), min(rates), limit, _PER_CPU_S])
        result.watch(what, rates, unit=_PER_CPU_S, limit=limit)


def _is_repeated(seed: int) -> bool:
    one, other = (run(scenario_trace, seed, seed=seed).hash() for _ in range(2))
    return one == other


def _resident_mib() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * _PAGE_BYTES / 2**20


def _crowd(seed: int, members: int) -> tuple[float, float, float, int]:
    """Send a rumor to so many; return packets per second of processor time, MiB in all, the time, and whom it reached.

    Each has a core of its own. What all know, the names of all members, is one tuple that the cores share.
    """
    gc.disable()
    before = _resident_mib()
    rumors = RumorCluster(seed, members)
    rumors.cluster.run(1.0)
    received, began = rumors.cluster.received, time.process_time()
    rumor_id = rumors.send(rumors.names[0])
    delivered = rumors.deliveries[rumor_id]
    rumors.cluster.run(60.0, while_=lambda: len(delivered) < members)
    rate = (rumors.cluster.received - received) / (time.process_time() - began)
    return rate, _resident_mib() - before, rumors.cluster.now - 1.0, rumors.reached(rumor_id)


def _measured(settings: Settings) -> Result:
    result = Result("Simulation", ["measure", "runs", "median", "worst", "goal", "unit"])
    context = multiprocessing.get_context("forkserver")
    quietly: Any = {"mp_context": context, "initializer": logging.disable, "initargs": (logging.CRITICAL,)}
    with ProcessPoolExecutor(1, max_tasks_per_child=1, **quietly) as pool:
        settings.say(f"simulation: {_NODES} nodes")
        speeds = list(pool.map(_at_rest, range(settings.rounds)))
        _add_rest(result, speeds)
        _add_loads(result, settings, pool)
    with ProcessPoolExecutor(os.cpu_count(), **quietly) as pool:
        settings.say(f"simulation: {settings.seeds} seeds, each twice")
        repeated = list(pool.map(_is_repeated, range(settings.seeds), chunksize=10))
    result.rows.append(
        ["seeds with one trace in two runs", len(repeated), sum(repeated), sum(repeated), len(repeated), "seeds"]
    )
    if not all(repeated):
        result.problems.append(f"seed {repeated.index(False)} gave two different traces")
    _add_cores(result, settings, quietly)
    return result


def _add_rest(result: Result, speeds: list[_Speed]) -> None:
    """Add nodes that watch each other, and nothing else."""
    times = [speed.times_real for speed in speeds]
    rates = [speed.messages_per_s for speed in speeds]
    result.rows += [
        [f"{_NODES} nodes at rest: virtual to processor time", len(times), median(times), min(times), 100.0, "x"],
        [f"{_NODES} nodes at rest: messages", len(rates), median(rates), min(rates), _AT_REST_PER_S, _PER_CPU_S],
    ]
    # No ratio of two runs side by side, whatever its unit.
    result.watch("virtual seconds in one of processor time", times, unit="s", limit=100.0)
    result.watch("messages at node level", rates, unit=_PER_CPU_S, limit=_AT_REST_PER_S)
    result.samples = {"times real": {"nodes": list(times)}, "messages per s": {"nodes": list(rates)}}


def _add_cores(result: Result, settings: Settings, quietly: dict[str, Any]) -> None:
    """Add what the protocols do without nodes."""
    with ProcessPoolExecutor(1, max_tasks_per_child=1, **quietly) as pool:
        settings.say("simulation: the protocols of 1,000 members")
        rates = {
            "rumors to 1,000 members: packets taken": list(pool.map(rumor_rate, range(settings.rounds))),
            "1,000 members watch each other: packets taken": list(pool.map(rest_rate, range(settings.rounds))),
        }
    with ProcessPoolExecutor(1, max_tasks_per_child=1, **quietly) as pool:
        settings.say(f"simulation: the protocols of {_MEMBERS:,} members")
        per_s, mib, took_s, reached = pool.submit(_crowd, 1, _MEMBERS).result()
    for what, found in rates.items():
        per_cpu_s = median(found)
        result.rows.append([what, len(found), per_cpu_s, min(found), _PER_S, _PER_CPU_S])
        result.watch(what, found, unit=_PER_CPU_S, limit=_PER_S)
    result.samples["packets per s"] = {what: list(found) for what, found in rates.items()}
    result.rows += [
        [f"a rumor to {_MEMBERS:,}: packets taken", 1, per_s, per_s, None, _PER_CPU_S],
        [f"a rumor to {_MEMBERS:,}: memory", 1, mib, mib, None, "MiB"],
        [f"a rumor to {_MEMBERS:,}: until all have it", 1, took_s, took_s, None, "virtual s"],
    ]
    result.goals.append(
        Goal(f"members in one run, in {mib:,.0f} MiB", _MEMBERS, at_least=True, measured=reached, unit="members")
    )


async def run_simulation(settings: Settings) -> Result:
    """Measure it."""
    return await trio.to_thread.run_sync(_measured, settings)
