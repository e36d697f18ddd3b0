"""The verdict on a whole test: the worst of its parts.

Parts and their names are Maelstrom's: ``perf``, ``exceptions``, ``stats``, ``availability``, ``net`` and ``workload``.
Two are ours: ``final-reads``, and ``nodes``, which says which of them ended by themselves; that ends Maelstrom's run
with an exception.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from .checkers import (
    check_availability,
    check_exceptions,
    check_final_reads,
    check_performance,
    check_stats,
    worst,
)

if TYPE_CHECKING:
    from .running import Run

__all__ = ["CHECKING_S", "judge"]

CHECKING_S: Final = 60.0
"""How long the search for cycles and linearizations may take."""

_ADDITIONS: Final = {"broadcast": "broadcast", "g-set": "add"}


def judge(run: Run, checking_s: float = CHECKING_S) -> dict[str, Any]:
    """Return the results of a test; ``valid?`` is True, False, or ``"unknown"``.

    Args:
        run: what happened.
        checking_s: how long it may take to find out.
    """
    options, history = run.options, run.history
    deadline = time.monotonic() + checking_s
    parts: dict[str, Any] = {
        "perf": check_performance(history),
        "exceptions": check_exceptions(history),
        "stats": check_stats(history),
        "availability": check_availability(history, options.availability),
        "net": run.network,
        "workload": run.workload.check(history, lambda: time.monotonic() > deadline),
        "nodes": {
            "valid?": not run.crashes,
            "crashed": [msgspec.to_builtins(crash) for crash in run.crashes],
            "warnings": run.warnings,
            "setup-time": round(run.setup_s, 3),
        },
    }
    maelstroms = worst(part["valid?"] for part in parts.values())
    if options.workload in _ADDITIONS:
        parts["final-reads"] = check_final_reads(history, _ADDITIONS[options.workload])
        if not options.compares_final_reads:
            parts["final-reads"]["valid?"] = True
    return parts | {"valid?": worst(part["valid?"] for part in parts.values()), "maelstrom-valid?": maelstroms}
