"""Runs of the workbench in virtual time, with the broken nodes of ``tests/maelstrom/broken``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trionet.maelstrom.workbench import Options, Run, judge, run

__all__ = ["BROKEN", "results_of", "simulate"]

BROKEN = Path(__file__).parents[1] / "broken"


def simulate(workload: str, program: str, fault: str = "none", **settings: Any) -> Run:
    """Run a test of nodes of ``tests/maelstrom/broken``: by default one node."""
    count = settings.pop("node_count", 1)
    defaults: dict[str, Any] = {"concurrency": 4 * count, "rate": 200.0, "time_limit_s": 1.0, "seed": 1}
    options = Options(
        workload=workload,
        bin=str(BROKEN / f"{program}.py"),
        arguments=("--fault", fault),
        nodes=tuple(f"n{number}" for number in range(count)),
        is_simulated=True,
        **defaults | settings,
    )
    return run(options)


def results_of(workload: str, program: str, fault: str = "none", **settings: Any) -> dict[str, Any]:
    """Run such a test, and return the results."""
    return judge(simulate(workload, program, fault, **settings))
