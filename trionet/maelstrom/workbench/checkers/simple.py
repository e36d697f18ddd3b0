"""The short checkers: echo, unique ids, counters, statistics, availability and the form of replies."""

from __future__ import annotations

import struct
from collections import Counter, defaultdict
from functools import cmp_to_key
from typing import TYPE_CHECKING, Any

from trionet.maelstrom.workbench.json_values import identity, shown

from .base import SHOWN, UNKNOWN, Finding, Maelstrom, Results, judged, quantiles, worst
from .ordering import are_comparable, compare

if TYPE_CHECKING:
    from trionet.maelstrom.workbench.history import History

__all__ = [
    "check_availability",
    "check_counter",
    "check_echo",
    "check_exceptions",
    "check_performance",
    "check_replies",
    "check_stats",
    "check_unique_ids",
]


def check_echo(history: History) -> Results:
    """Every invocation must complete, with its own value.

    An echo of unknown outcome is an error here; Maelstrom checks only those that are ok or failed.
    """
    errors: list[dict[str, Any]] = []
    silent: list[dict[str, Any]] = []
    for op in history.invocations:
        answer = op.completion.value if op.outcome == "ok" else None
        if op.outcome != "ok" or identity(answer) != identity(op.value):
            case = {"expected": op.value, "received": answer, "error": op.completion.error, "index": op.index}
            (silent if op.outcome == "info" else errors).append(case)
    findings = []
    if errors:
        text = f"{len(errors)} echoes are not what was sent, such as that of {errors[0]['expected']!r}"
        findings.append(Finding("wrong-echo", text))
    if silent:
        text = f"{len(silent)} echoes did not come, such as that of {silent[0]['expected']!r}: {silent[0]['error']}"
        findings.append(Finding("no-echo", text, Maelstrom.OVERLOOKS))
    cases = [*errors, *silent]
    return judged(findings, {"error-count": len(cases), "errors": cases[:SHOWN]})


def check_unique_ids(history: History) -> Results:
    """No two ids are the same. If ids can't be compared, Maelstrom's verdict is unknown."""
    ids = [op.value for op in history.completions if op.f == "generate" and op.type == "ok"]
    counts = Counter(identity(value) for value in ids)
    duplicated = {str(shown(key)): count for key, count in counts.items() if count > 1}
    is_comparable = are_comparable(ids)
    findings = []
    if duplicated:
        findings.append(Finding("duplicate-ids", f"{len(duplicated)} ids were given twice: {next(iter(duplicated))}"))
    if not is_comparable:
        text = "the ids have no order, so that there is no range of them"
        findings.append(Finding("not-comparable", text, Maelstrom.CRASHES, UNKNOWN))
    return judged(
        findings,
        {
            "attempted-count": sum(op.f == "generate" for op in history.invocations),
            "acknowledged-count": len(ids),
            "duplicated-count": len(duplicated),
            "duplicated": dict(list(duplicated.items())[:SHOWN]),
            "range": [min(ids, key=cmp_to_key(compare)), max(ids, key=cmp_to_key(compare))]
            if is_comparable and ids
            else None,
        },
    )


def check_counter(history: History) -> Results:
    """Each ok final read is the sum of all ok additions, and of any additions of unknown outcome."""
    additions = [op for op in history.invocations if op.f == "add"]
    acceptable = {sum(op.value for op in additions if op.outcome == "ok")}
    for op in additions:
        if op.outcome == "info":
            acceptable |= {each + op.value for each in acceptable}
    reads = [op for op in history.completions if op.is_final and op.f == "read" and op.type == "ok"]
    errors = [{"node": op.node, "value": op.value, "index": op.index} for op in reads if op.value not in acceptable]
    findings = [Finding("wrong-sum", f"{errors[0]['node']} reads {errors[0]['value']}")] if errors else []
    return judged(
        findings,
        {
            "errors": errors,
            "final-reads": [op.value for op in reads],
            "acceptable": _ranges(acceptable),
        },
    )


def _ranges(numbers: set[int]) -> list[list[int]]:
    ranges: list[list[int]] = []
    for number in sorted(numbers):
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ranges


def check_stats(history: History) -> Results:
    """Every kind of operation needs at least one that is ok, except crashes of kafka's clients."""
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
    """A fraction of the operations must be ok; ``"total"`` is all of them.

    As in Maelstrom, the fraction has 32 bits, and the wanted one 64: 9 of 10 is a little less than 0.9.
    """
    invoked = len(history.invocations)
    done = sum(op.type == "ok" for op in history.completions)
    fraction = done / invoked if invoked else 1.0
    rounded = _float32(fraction)
    findings = []
    if wanted == "total":
        if done != invoked:
            text = f"{invoked - done} of {invoked} operations are not ok"
            findings.append(Finding("unavailable", text, Maelstrom.OVERLOOKS if rounded == 1 else Maelstrom.AGREES))
    elif wanted is not None and not float(wanted) <= rounded:
        findings.append(Finding("unavailable", f"{done} of {invoked} operations are ok: {rounded!r} is below {wanted}"))
    return judged(findings, {"ok-fraction": fraction, "ok-count": done, "invoke-count": invoked})


def _float32(number: float) -> float:
    rounded: float = struct.unpack("f", struct.pack("f", number))[0]
    return rounded


def check_replies(history: History) -> Results:
    """Find replies that have another form than the workload prescribes, or do not match their requests.

    Maelstrom drops a malformed reply, so that the outcome of the operation is unknown, without further consequences. It
    does not compare replies with requests.
    """
    wrong = [(op, op.flaw) for op in history.completions if op.flaw is not None]
    findings = []
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        findings.append(Finding("malformed-reply", f"{wrong[0][1]}{more}", Maelstrom.OVERLOOKS))
    cases = [{"index": op.index, "node": op.node, "f": op.f, "flaw": flaw} for op, flaw in wrong]
    return judged(findings, {"malformed-count": len(cases), "malformed": cases[:SHOWN]})


def check_exceptions(history: History) -> Results:
    """Count the reasons why operations were not ok, most frequent first. Always valid."""
    reasons = Counter((op.f, op.type, op.error) for op in history.completions if op.error is not None)
    errors = [
        {"f": f, "type": kind, "count": count, "error": error} for (f, kind, error), count in reasons.most_common(SHOWN)
    ]
    return {"valid?": True, "errors": errors}


def check_performance(history: History) -> Results:
    """Measure the latencies from invocation to acknowledgement, in ms. Always valid."""
    by_f: defaultdict[str, list[float]] = defaultdict(list)
    for op in history.completions:
        if op.type == "ok":
            by_f[op.f].append(round(op.latency_ms, 3))
    span_s = max((op.time for op in history.invocations if not op.is_final), default=0) / 1e9
    count = sum(not op.is_final for op in history.invocations)
    return {
        "valid?": True,
        "rate": round(count / span_s, 2) if span_s else 0.0,
        "latencies": {f: quantiles(values) for f, values in sorted(by_f.items())},
    }
