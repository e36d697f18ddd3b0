"""The verdicts on a whole test, ours and Maelstrom's: each is the worst of its parts.

Parts and their names are Maelstrom's: ``perf``, ``exceptions``, ``stats``, ``availability``, ``net`` and ``workload``.
Three are ours: ``final-reads``; ``replies``, with those of another form than prescribed; and ``nodes``, with those that
ended by themselves, which ends Maelstrom's run with an exception.
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
"""The time limit for the search for cycles and linearizations."""

_ADDITIONS: Final = {"broadcast": "broadcast", "g-set": "add"}


def judge(run: Run, checking_s: float = CHECKING_S) -> dict[str, Any]:
    """Return the results of a test.

    ``valid?`` and ``maelstrom-valid?`` are True, False, or ``"unknown"``; ``only-ours`` has the findings that make them
    differ: the part, the name and a line of text of each.

    Args:
        run: the test.
        checking_s: the time limit of the checkers.
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
