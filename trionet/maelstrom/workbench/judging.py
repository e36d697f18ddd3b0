"""The verdict on a whole test: the worst of its parts, once as we see it, and once as Maelstrom does.

Parts and their names are Maelstrom's: ``perf``, ``exceptions``, ``stats``, ``availability``, ``net`` and ``workload``.
Three are ours: ``final-reads``; ``replies``, with those that have not the prescribed form; and ``nodes``, which says
which of them ended by themselves; that ends Maelstrom's run with an exception.
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
    check_replies,
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
    """Return the results of a test.

    ``valid?`` and ``maelstrom-valid?`` are True, False, or ``"unknown"``; ``only-ours`` has what makes them differ: the
    part, the name and a line of text of each finding.

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
    if options.workload in _ADDITIONS:
        addition = _ADDITIONS[options.workload]
        parts["final-reads"] = check_final_reads(history, addition, compares=options.compares_final_reads)
    parts["replies"] = check_replies(history)
    return {
        **parts,
        "valid?": worst(part["valid?"] for part in parts.values()),
        "maelstrom-valid?": worst(part.get("maelstrom-valid?", part["valid?"]) for part in parts.values()),
        "only-ours": [
            {"part": name, **finding} for name, part in parts.items() for finding in part.get("only-ours", ())
        ],
    }
