"""Many sleeps, shared out to 8 processes by who is free: the time until all have come back, in comparison.

Each peer's processes live through all rounds, and are warm. In each round the peers take turns.
"""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

import msgspec

from .installs import NotInstalled, install_python, python_for
from .results import Result, formatted, median
from .sleeps import lines_of
from .workers import ROOT, Worker, WorkerFailed, open_worker, python_worker

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .settings import Settings

__all__ = ["MAP_PEERS", "run_mapping"]

_PROCESSES: Final = 8
_LOADS: Final = {"10,000 of 1 ms": (10_000, 0.001), "1,000 of 100 ms": (1_000, 0.1)}
_LIMIT_S: Final = 300.0
_FACTOR: Final = 10


class MapPeer(msgspec.Struct, frozen=True):
    """A peer to compare.

    Attributes:
        title: its line in the table.
        module: its file in `peers`.
        package: what it needs from ``requirements.txt``.
        options: further ones for its worker.
    """

    title: str
    module: str
    package: str | None = None
    options: dict[str, Any] = {}


MAP_PEERS: Final[Mapping[str, MapPeer]] = {
    "map-1": MapPeer("trionet, map, per_member=1", "mapped", options={"per_member": 1}),
    "map-2": MapPeer("trionet, map, per_member=2", "mapped", options={"per_member": 2}),
    "pool": MapPeer("multiprocessing, Pool.imap_unordered", "pooled"),
    "dask": MapPeer("Dask, Client.map", "dasked", package="distributed"),
    "ray": MapPeer("Ray, ActorPool.map_unordered", "rayed", package="ray"),
}


async def run_mapping(settings: Settings) -> Result:
    """Measure maps over sleeps."""
    result = Result(
        f"Sleeps on {_PROCESSES} processes: seconds until all have come back",
        ["peer", *(f"{load} s" for load in _LOADS), *(f"x ideal {load}" for load in _LOADS), "start s", "lines"],
    )
    async with AsyncExitStack() as stack:
        workers: dict[str, Worker] = {}
        for name, peer in MAP_PEERS.items():
            try:
                workers[name] = await _opened(stack, name, peer, settings, result)
            except NotInstalled as exc:
                result.skipped.append(f"{peer.title}: {exc}")
            except WorkerFailed as exc:
                result.problems.append(str(exc))
        for number in range(settings.rounds):
            for name in list(workers)[:: 1 if number % 2 else -1]:
                settings.say(f"map: round {number + 1} of {settings.rounds}, {MAP_PEERS[name].title}")
                await _measure(name, workers[name], settings, result)
    _summarize(list(workers), settings, result)
    return result


async def _opened(stack: AsyncExitStack, name: str, peer: MapPeer, settings: Settings, result: Result) -> Worker:
    python = None
    if peer.package is not None:
        settings.versions[peer.package] = await install_python(peer.package, may_install=settings.may_install)
        python = python_for(peer.package)
    command = python_worker(f"peers.{peer.module}", "run", {"processes": _PROCESSES, **peer.options}, python)
    begun = time.perf_counter()
    worker = await stack.enter_async_context(open_worker(peer.title, command, start_s=_LIMIT_S))
    result.samples.setdefault("start_s", {})[name] = [time.perf_counter() - begun]
    return worker


def _loads(settings: Settings) -> dict[str, tuple[int, float]]:
    """Return the loads, a tenth of them when it is to be quick."""
    return {
        load: (count // (_FACTOR if settings.seconds < 1 else 1), seconds) for load, (count, seconds) in _LOADS.items()
    }


async def _measure(name: str, worker: Worker, settings: Settings, result: Result) -> None:
    for load, (count, seconds) in _loads(settings).items():
        took: float | None = None
        try:
            took = (await worker.ask("map", count=count, seconds=seconds, limit_s=_LIMIT_S))["seconds"]
        except WorkerFailed as exc:
            result.problems.append(str(exc))
        result.samples.setdefault(load, {}).setdefault(name, []).append(took)


def _summarize(names: list[str], settings: Settings, result: Result) -> None:
    for name in names:
        peer, row = MAP_PEERS[name], list[Any]()
        times = [median(result.samples[load][name]) for load in _LOADS]
        for (count, seconds), took in zip(_loads(settings).values(), times, strict=True):
            ideal = count * seconds / _PROCESSES
            row.append(None if took is None else took / ideal)
        lines = lines_of(ROOT / "benchmarks" / "peers" / f"{peer.module}.py")
        result.rows.append([peer.title, *times, *row, formatted(median(result.samples["start_s"][name])), lines])
