"""The checkers that need few words: echo, unique ids, counters, statistics and availability."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from trionet.maelstrom.workbench.history import identity

from .base import UNKNOWN, Results, quantiles, worst

if TYPE_CHECKING:
    from trionet.maelstrom.workbench.history import History, Op

__all__ = [
    "check_availability",
    "check_counter",
    "check_echo",
    "check_exceptions",
    "check_performance",
    "check_stats",
    "check_unique_ids",
]

_SHOWN = 8


def check_echo(history: History) -> Results:
    """Every invocation must complete, with what it sent: a single timeout fails the test."""
    errors = []
    for op in history.invocations:
        answer = op.pair.value if op.pair is not None and op.pair.type == "ok" else None
        if op.pair is None or op.pair.type != "ok" or identity(answer) != identity(op.value):
            reason = None if op.pair is None else op.pair.error
            errors.append({"expected": op.value, "received": answer, "error": reason, "index": op.index})
    return {"valid?": not errors, "error-count": len(errors), "errors": errors[:_SHOWN]}


def check_unique_ids(history: History) -> Results:
    """No two ids that were given are the same. Ids of several types can't be compared, and are unknown."""
    done = [op for op in history.completions if op.f == "generate" and op.type == "ok"]
    counts = Counter(identity(op.value) for op in done)
    duplicated = {str(key): count for key, count in counts.items() if count > 1}
    kinds = {float if type(op.value) is int else type(op.value) for op in done}
    ids = [op.value for op in done]
    is_comparable = len(kinds) == 1 and kinds <= {float, str}
    return {
        "valid?": False if duplicated else True if len(kinds) <= 1 else UNKNOWN,
        "attempted-count": sum(op.f == "generate" for op in history.invocations),
        "acknowledged-count": len(done),
        "duplicated-count": len(duplicated),
        "duplicated": dict(list(duplicated.items())[:_SHOWN]),
        "range": [min(ids), max(ids)] if is_comparable else None,
    }


def check_counter(history: History) -> Results:
    """Each ok final read is the sum of all ok additions, and of any of those of which nobody knows."""
    additions = [op for op in history.completions if op.f == "add"]
    unfinished = [op for op in history.invocations if op.f == "add" and op.pair is None]
    certain = sum(_delta(op) for op in additions if op.type == "ok")
    acceptable = {certain}
    for op in additions:
        if op.type == "info":
            acceptable |= {each + _delta(op) for each in acceptable}
    for op in unfinished:
        acceptable |= {each + op.value for each in acceptable}
    reads = [op for op in history.completions if op.is_final and op.f == "read" and op.type == "ok"]
    errors = [{"node": op.node, "value": op.value, "index": op.index} for op in reads if op.value not in acceptable]
    return {
        "valid?": not errors,
        "errors": errors,
        "final-reads": [op.value for op in reads],
        "acceptable": _ranges(acceptable),
    }


def _delta(addition: Op) -> int:
    assert addition.pair is not None
    delta: int = addition.pair.value
    return delta


def _ranges(numbers: set[int]) -> list[list[int]]:
    ranges: list[list[int]] = []
    for number in sorted(numbers):
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ranges


def check_stats(history: History) -> Results:
    """Every kind of operation needs at least one that is ok; crashes of kafka's clients never are."""
    by_f: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for op in history.completions:
        by_f[op.f][op.type] += 1
    kinds: dict[str, dict[str, Any]] = {
        f: {
            "valid?": counts["ok"] > 0 or f == "crash",
            "count": counts.total(),
            "ok-count": counts["ok"],
            "fail-count": counts["fail"],
            "info-count": counts["info"],
        }
        for f, counts in sorted(by_f.items())
    }
    totals = {
        key: sum(each[key] for each in kinds.values()) for key in ("count", "ok-count", "fail-count", "info-count")
    }
    return {"valid?": worst(each["valid?"] for each in kinds.values()), **totals, "by-f": kinds}


def check_availability(history: History, wanted: float | str | None) -> Results:
    """So many of the operations must be ok; ``"total"`` is all of them, without exception."""
    invoked = len(history.invocations)
    done = sum(op.type == "ok" for op in history.completions)
    fraction = done / invoked if invoked else 1.0
    if wanted is None:
        verdict = True
    elif wanted == "total":
        verdict = done == invoked
    else:
        verdict = float(wanted) <= fraction
    return {"valid?": verdict, "ok-fraction": fraction, "ok-count": done, "invoke-count": invoked}


def check_exceptions(history: History) -> Results:
    """Gather the reasons for which operations were not ok, most frequent first. Never invalid."""
    reasons = Counter((op.f, op.type, op.error) for op in history.completions if op.error is not None)
    shown = [
        {"f": f, "type": kind, "count": count, "error": error}
        for (f, kind, error), count in reasons.most_common(_SHOWN)
    ]
    return {"valid?": True, "errors": shown}


def check_performance(history: History) -> Results:
    """Measure how long operations took from invocation to acknowledgement, in ms. Never invalid."""
    by_f: defaultdict[str, list[float]] = defaultdict(list)
    for op in history.completions:
        if op.type == "ok" and op.pair is not None:
            by_f[op.f].append(round((op.time - op.pair.time) / 1e6, 3))
    span_s = max((op.time for op in history.invocations if not op.is_final), default=0) / 1e9
    count = sum(not op.is_final for op in history.invocations)
    return {
        "valid?": True,
        "rate": round(count / span_s, 2) if span_s else 0.0,
        "latencies": {f: quantiles(values) for f, values in sorted(by_f.items())},
    }
