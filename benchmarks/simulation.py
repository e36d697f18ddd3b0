"""Simulated clusters: how fast virtual time goes, what a message costs, whether a seed gives the same run twice."""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from tests.simulation.services import scenario_trace
from trionet.simulation import open_cluster, run

from .gossip_rumors import RumorCluster
from .results import Must, Result, median

if TYPE_CHECKING:
    from .settings import Settings

__all__ = ["run_simulation"]

_NODES: Final = 100
_VIRTUAL_S: Final = 200.0
_MEMBERS: Final = 100_000
_PAGE_BYTES: Final = 4096


class _Speed(msgspec.Struct, frozen=True):
    times_real: float
    messages_per_s: float


def _at_rest(seed: int) -> _Speed:
    """Let 100 nodes watch each other."""

    async def main() -> _Speed:
        async with open_cluster(_NODES, seed=seed) as sim:
            sent, began = sim.fabric.messages, time.process_time()
            await trio.sleep(_VIRTUAL_S)
            spent = time.process_time() - began
            return _Speed(_VIRTUAL_S / spent, (sim.fabric.messages - sent) / spent)
        raise AssertionError

    return run(main, seed=seed)


def _is_repeated(seed: int) -> bool:
    one, other = (run(scenario_trace, seed, seed=seed).hash() for _ in range(2))
    return one == other


def _resident_mib() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * _PAGE_BYTES / 2**20


def _crowd(seed: int, members: int) -> tuple[float, float, float]:
    """Send a rumor to so many; return messages per second of processor time, MiB in all, and seconds until all know."""
    gc.disable()
    before = _resident_mib()
    rumors = RumorCluster(seed, members)
    rumors.cluster.run(1.0)
    sent, began = rumors.cluster.sent, time.process_time()
    delivered = rumors.deliveries[rumors.send(rumors.names[0])]
    rumors.cluster.run(60.0, while_=lambda: len(delivered) < members)
    spent = time.process_time() - began
    assert len(delivered) == members
    return (rumors.cluster.sent - sent) / spent, _resident_mib() - before, rumors.cluster.now - 1.0


def _measured(settings: Settings) -> Result:
    result = Result("Simulation", ["measure", "runs", "median", "worst", "must", "unit"])
    context = multiprocessing.get_context("forkserver")
    quietly: Any = {"mp_context": context, "initializer": logging.disable, "initargs": (logging.CRITICAL,)}
    with ProcessPoolExecutor(1, **quietly) as pool:
        settings.say(f"simulation: {_NODES} nodes")
        speeds = list(pool.map(_at_rest, range(settings.rounds)))
    with ProcessPoolExecutor(1, **quietly) as pool:
        settings.say(f"simulation: {_MEMBERS:,} members")
        per_s, mib, took_s = pool.submit(_crowd, 1, _MEMBERS).result()
    with ProcessPoolExecutor(os.cpu_count(), **quietly) as pool:
        settings.say(f"simulation: {settings.seeds} seeds, each twice")
        repeated = list(pool.map(_is_repeated, range(settings.seeds), chunksize=10))
    times = [speed.times_real for speed in speeds]
    rates = [speed.messages_per_s for speed in speeds]
    result.rows += [
        [f"{_NODES} nodes at rest: virtual to processor time", len(times), median(times), min(times), 100.0, "x"],
        [f"{_NODES} nodes at rest: messages", len(rates), median(rates), min(rates), 20_000.0, "per CPU second"],
        [f"a rumor to {_MEMBERS:,}: messages", 1, per_s, per_s, None, "per CPU second"],
        [f"a rumor to {_MEMBERS:,}: memory", 1, mib, mib, None, "MiB"],
        [f"a rumor to {_MEMBERS:,}: until all have it", 1, took_s, took_s, None, "virtual s"],
        ["seeds with one trace in two runs", len(repeated), sum(repeated), sum(repeated), len(repeated), "seeds"],
    ]
    result.musts += [
        Must("virtual to processor time", 100.0, at_least=True, measured=median(times)),
        Must("messages at node level", 20_000.0, at_least=True, measured=median(rates), unit="per CPU second"),
    ]
    if not all(repeated):
        result.problems.append(f"seed {repeated.index(False)} gave two different traces")
    result.samples = {"times real": {"nodes": list(times)}, "messages per s": {"nodes": list(rates)}}
    return result


async def run_simulation(settings: Settings) -> Result:
    """Measure it."""
    return await trio.to_thread.run_sync(_measured, settings)
