"""Results as text: the figures, the errors, both verdicts, and a last line with ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from .json_values import json_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["exit_status", "render", "verdict_line"]

_WIDTH: Final = 26
_SHOWN: Final = 3
_MAX_CHARS: Final = 400

_ELSEWHERE: Final = {"valid?", "maelstrom-valid?", "only-ours", "ack-latencies", "worst-stale"}
"""The figures of a workload that are shown elsewhere, or are for programs."""

_VERDICTS: Final = {True: "valid", False: "INVALID", "unknown": "unknown"}


def exit_status(results: Mapping[str, Any]) -> int:
    """Return the exit status, with Maelstrom's numbers but for our verdict: 0 valid, 1 invalid, 2 unknown."""
    return {True: 0, False: 1}.get(results["valid?"], 2)


def verdict_line(results: Mapping[str, Any]) -> str:
    """Return the verdict in a sentence."""
    if results["valid?"] is True:
        return "Valid: all is as it should be."
    parts = [name for name, part in results.items() if isinstance(part, dict) and part.get("valid?", True) is not True]
    where = ", ".join(parts)
    if results["valid?"] is False:
        return f"INVALID: something is wrong; see {where}."
    return f"Unknown: there is nothing wrong, and no proof that all is right; see {where}."


def render(results: Mapping[str, Any]) -> str:
    """Return the results as lines of text, without the verdict."""
    lines = [*_stats(results), *_network(results["net"]), *_latencies(results), *_workload(results["workload"])]
    lines += _final_reads(results.get("final-reads"))
    for error in results["exceptions"]["errors"][:_SHOWN]:
        lines.append(_row(f"{error['f']} {error['type']}, {error['count']} times", _cut(error["error"])))
    for crash in results["nodes"]["crashed"]:
        lines.append(_row(f"{crash['node']} ended by itself", crash["reason"]))
        lines += [f"    {line}" for line in crash["stderr"][-8:]]
    lines += _verdicts(results)
    return "\n".join(lines)


def _verdicts(results: Mapping[str, Any]) -> Iterable[str]:
    yield f"verdict: {_VERDICTS[results['valid?']]}"
    yield _row("Maelstrom's verdict", _VERDICTS[results["maelstrom-valid?"]])
    for finding in results["only-ours"]:
        yield _row("beyond Maelstrom", _cut(f"{finding['part']}, {finding['name']}: {finding['text']}"))


def _row(name: str, value: Any) -> str:
    return f"  {name:<{_WIDTH}} {value}"


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_CHARS else text[:_MAX_CHARS] + "…"


def _stats(results: Mapping[str, Any]) -> Iterable[str]:
    stats, availability = results["stats"], results["availability"]
    yield f"operations: {_VERDICTS[stats['valid?']]}"
    for f, counts in stats["by-f"].items():
        parts = [f"{counts[f'{kind}-count']} {kind}" for kind in ("ok", "fail", "info") if counts[f"{kind}-count"]]
        yield _row(f, ", ".join(parts))
    yield _row("rate", f"{results['perf']['rate']} per second")
    yield _row("ok fraction", f"{availability['ok-fraction']:.6g} ({_VERDICTS[availability['valid?']]})")


def _network(net: Mapping[str, Any]) -> Iterable[str]:
    yield "network:"
    for part in ("all", "clients", "servers"):
        counts = net[part]
        ratio = f", {counts['msgs-per-op']:.3f} per operation" if "msgs-per-op" in counts else ""
        yield _row(part, f"{counts['msg-count']} messages{ratio}")
    if net["with-services"]["msg-count"]:
        yield _row("of these with services", f"{net['with-services']['msg-count']} messages")
    if net["by-type"]:
        yield _row("by type", ", ".join(f"{kind} {count}" for kind, count in list(net["by-type"].items())[:8]))
    if net["lost"] or net["cut"]:
        yield _row("did not arrive", f"{net['lost']} lost by chance, {net['cut']} stopped by partitions")


def _quantiles(values: Mapping[str, float]) -> str:
    names = {"0": "min", "0.5": "median", "0.95": "95 %", "0.99": "99 %", "1": "max"}
    return ", ".join(f"{names[q]} {value:g}" for q, value in values.items()) + " ms"


def _latencies(results: Mapping[str, Any]) -> Iterable[str]:
    yield "acknowledgement:"
    for f, values in results["perf"]["latencies"].items():
        yield _row(f, _quantiles(values))


def _workload(part: Mapping[str, Any]) -> Iterable[str]:
    yield f"workload: {_VERDICTS[part['valid?']]}"
    for key, value in part.items():
        if key in _ELSEWHERE or value in ([], {}, None):
            continue
        if key in {"stable-latencies", "lost-latencies"}:
            yield _row(key, _quantiles(value))
        elif key in {"anomalies", "errors", "failures"} and isinstance(value, dict):
            yield from _cases(value)
        else:
            yield _row(key, _cut(_plain(value)))


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json_of(value)


def _cases(found: Mapping[str, Any]) -> Iterable[str]:
    """Show some examples of each kind of error."""
    for name, cases in found.items():
        examples = cases if isinstance(cases, list) else cases.get("errors", [cases])
        for case in examples[:_SHOWN]:
            if isinstance(case, dict) and "cycle" in case:
                yield _row(name, case["cycle"])
                yield from (f"      {step}" for step in case["steps"])
            else:
                yield _row(name, _cut(_plain(case)))


def _final_reads(part: Mapping[str, Any] | None) -> Iterable[str]:
    if part is None:
        return
    yield f"final reads: {_VERDICTS[part['valid?']]}"
    yield _row("reads", f"{part['read-count']} of {part['known-count']} known elements, {part['failed-count']} failed")
    for kind in ("missing", "invented", "duplicated"):
        for node, values in part[kind].items():
            yield _row(f"{kind} at {node}", _cut(f"{len(values)}: {_plain(values)}"))
