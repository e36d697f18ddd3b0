"""The benchmarks by their names: where each is, and how long it may take."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .results import Result
    from .settings import Settings

__all__ = ["BENCHMARKS", "QUICK_LIMIT_S", "Benchmark"]

QUICK_LIMIT_S: Final = 180.0
"""How long each may take with ``--quick``."""


class Benchmark(msgspec.Struct, frozen=True):
    """Where a benchmark is. It is imported when it runs, so that a broken one, or what it lacks, stops no other.

    Attributes:
        place: its module in this package, and its function.
        limit_s: how long it may take within ``all``, on a busy machine and with what it installs.
        together: what it takes within ``all`` in place of the defaults, which are for one benchmark alone.
    """

    place: str
    limit_s: float
    together: dict[str, int] = {}

    def load(self) -> Callable[[Settings], Awaitable[Result]]:
        """Import it."""
        module, _, function = self.place.partition(":")
        found: Any = getattr(importlib.import_module(f".{module}", __package__), function)
        loaded: Callable[[Settings], Awaitable[Result]] = found
        return loaded


BENCHMARKS: Final = {
    "calls": Benchmark("calls:run_calls", 900),
    "fanout": Benchmark("fanout:run_fanout", 600),
    "tree": Benchmark("tree:run_tree", 300, {"rounds": 3}),
    "face": Benchmark("face:run_face", 300),
    "links": Benchmark("links:run_links", 300),
    "bulk": Benchmark("bulk:run_bulk", 600),
    "sealed": Benchmark("sealed:run_sealed", 300),
    "sealed-fleet": Benchmark("sealed_fleet:run_sealed_fleet", 600),
    "spawn": Benchmark("spawn:run_spawn", 900, {"rounds": 3}),
    "starts": Benchmark("starts:run_starts", 300),
    "resting": Benchmark("resting:run_resting", 300, {"rounds": 3}),
    "ends": Benchmark("ends:run_ends", 300),
    "map": Benchmark("mapping:run_mapping", 1200, {"rounds": 1}),
    "cluster": Benchmark("cluster:run_cluster", 900),
    "stops": Benchmark("stops:run_stops", 600, {"rounds": 3}),
    "hosts-real": Benchmark("hosts_real:run_hosts_real", 3600),
    "thousand": Benchmark("thousand:run_thousand", 900),
    "joins": Benchmark("joins:run_joins", 120),
    "dashboard": Benchmark("dashboard:run_dashboard", 900, {"rounds": 3}),
    "simulation": Benchmark("simulation:run_simulation", 900, {"rounds": 3, "seeds": 20}),
    "simulated-nodes": Benchmark("simulated_nodes:run_simulated_nodes", 900),
    "gossip": Benchmark("gossip:run_gossip", 2400, {"seeds": 100}),
    "glomers": Benchmark("glomers:run_glomers", 1800),
    "glomers-real": Benchmark("glomers:run_glomers_on_processes", 1200, {"rounds": 2}),
}
