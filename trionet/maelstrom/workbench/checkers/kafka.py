"""Logs must be logs: one message for each offset, none lost, none skipped, none seen twice, none out of order.

Names of errors are Jepsen's; all that this reports is an error in Maelstrom's workload, ``unseen`` included. Source:
Jepsen, ``jepsen.tests.kafka``.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from trionet.maelstrom.workbench.history import History, Op, identity

from .base import UNKNOWN, Finding, Maelstrom, Results, judged
from .elle_cycles import Graph, find_cycles, realtime_edges
from .kafka_logs import Log, Logs, Poll, polls_of, sends_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["check_kafka"]

_Case = dict[str, Any]
_Cases = dict[str, list[_Case]]

_SHOWN = 8


def _inconsistent_offsets(logs: Logs) -> list[_Case]:
    return [
        {"key": key, "offset": offset, "messages": logs.named(values)}
        for key, log in logs.logs.items()
        for offset, values in log.offsets.items()
        if len(values) > 1
    ]


def _duplicates(logs: Logs) -> list[_Case]:
    cases = []
    for key, log in logs.logs.items():
        places = defaultdict(list)
        for offset in sorted(log.offsets):
            for value in log.offsets[offset]:
                places[value].append(offset)
        cases += [
            {"key": key, "message": logs.values.get(value), "offsets": offsets}
            for value, offsets in places.items()
            if len(offsets) > 1
        ]
    return cases


def _lost_writes(logs: Logs) -> list[_Case]:
    """Find messages below the highest index that was polled which nobody polled."""
    cases = []
    for key, polled in logs.polled.items():
        log = logs.logs[key]
        bound = max((log.first[value] for value in polled if value in log.first), default=-1)
        for value, last in log.last.items():
            sender = logs.senders.get((key, value))
            if last <= bound and value not in polled and sender is not None and logs.has_happened(sender):
                cases.append(
                    {"key": key, "message": logs.values[value], "index": log.first[value], "max-read-index": bound}
                )
    return cases


def _unseen(history: History, logs: Logs) -> list[_Case]:
    """Find acknowledged messages that no ok poll showed by the end."""
    unseen = defaultdict(list)
    for (key, value), op in logs.senders.items():
        if op.type == "ok" and value not in logs.polled.get(key, ()):
            unseen[key].append(logs.values[value])
    for key, messages in _just_polled(history).items():
        unseen[key] += messages
    return [{"key": key, "count": len(messages), "messages": messages[:_SHOWN]} for key, messages in unseen.items()]


def _just_polled(history: History) -> dict[str, list[Any]]:
    """Return what Jepsen takes for unseen: what the last ok operation is the first one to show of a key."""
    done = [op for op in history.completions if op.type == "ok" and op.f in {"send", "poll", "txn"}]
    if not done:
        return {}
    known = {key for op in done for key, _, _ in sends_of(op)} | {key for op in done[:-1] for key in polls_of(op)}
    return {
        key: [message for _, message in pairs]
        for key, pairs in polls_of(done[-1]).items()
        if pairs and key not in known
    }


def _crashes(logs: Logs) -> list[Finding]:
    """Return what Jepsen's checker gives up at."""
    findings = []
    unsent = [
        (key, logs.values[value])
        for poll in logs.polls
        for key, values in poll.reads.items()
        for value in values
        if (key, value) not in logs.senders
    ]
    if unsent:
        text = f"nobody sent {unsent[0][1]!r} to {unsent[0][0]!r}, which is polled"
        findings.append(Finding("unsent", text, Maelstrom.CRASHES))
    empty = sorted(key for key, values in logs.polled.items() if not values & logs.logs[key].first.keys())
    if empty:
        text = f"all polls of the key {empty[0]!r} got empty lists"
        findings.append(Finding("only-empty-polls", text, Maelstrom.CRASHES, UNKNOWN))
    return findings


def _aborted_reads(logs: Logs) -> list[_Case]:
    return [
        {"key": key, "message": logs.values[value], "poll": poll.op.index, "send": sender.index}
        for poll in logs.polls
        if poll.op.type == "ok"
        for key, values in poll.reads.items()
        for value in values
        if (sender := logs.senders.get((key, value))) is not None and sender.type == "fail"
    ]


def _precommitted_reads(logs: Logs) -> list[_Case]:
    """Find operations that polled what they sent themselves."""
    cases = []
    for poll in logs.polls:
        own = {(key, identity(message)) for key, _, message in sends_of(poll.op)}
        both = own & {(key, value) for key, values in poll.reads.items() for value in values}
        cases += [{"key": key, "message": logs.values[value], "op": poll.op.index} for key, value in sorted(both)]
    return cases


def _step_case(logs: Logs, key: str, one: Any, other: Any, where: _Case) -> tuple[str, _Case] | None:
    """Return what is wrong with coming upon a message after another: ``skip``, ``nonmonotonic``, or nothing."""
    log: Log = logs.logs[key]
    delta = log.step(one, other)
    case = {"key": key, "messages": logs.named((one, other)), "delta": delta, **where}
    if delta > 1:
        skipped = log.order[log.index[one] + 1 : log.index[other]]
        return "skip", case | {"skipped": logs.named(skipped)[:_SHOWN]}
    return ("nonmonotonic", case) if delta < 1 else None


def _internal_steps(logs: Logs) -> _Cases:
    cases: _Cases = {"int-poll-skip": [], "int-nonmonotonic-poll": []}
    for poll in logs.polls:
        for key, values in poll.reads.items():
            for one, other in pairwise(values):
                found = _step_case(logs, key, one, other, {"op": poll.op.index})
                if found is not None:
                    cases["int-poll-skip" if found[0] == "skip" else "int-nonmonotonic-poll"].append(found[1])
    return cases


def _by_process(history: History) -> dict[Any, list[Op]]:
    by_process = defaultdict(list)
    for op in history.completions:
        by_process[op.process].append(op)
    return by_process


def _external_steps(history: History, logs: Logs) -> _Cases:
    """Compare each process's consecutive polls of a key.

    An assignment that keeps the key does not part them, but a poll between them that got an empty list does: there is
    nothing in it that could be compared with what comes next.
    """
    cases: _Cases = {"poll-skip": [], "nonmonotonic-poll": []}
    polls = {poll.op.index: poll for poll in logs.polls}
    for ops in _by_process(history).values():
        last: dict[str, Poll] = {}
        for op in ops:
            if op.f == "assign" and op.type not in {"fail", "invoke"}:
                last = {key: poll for key, poll in last.items() if key in op.value}
            poll = polls.get(op.index)
            if poll is None:
                continue
            for key, values in poll.reads.items():
                before = last.get(key)
                if before is not None and values and before.reads[key]:
                    where = {"ops": [before.op.index, op.index], "process": op.process}
                    found = _step_case(logs, key, before.reads[key][-1], values[0], where)
                    if found is not None:
                        cases["poll-skip" if found[0] == "skip" else "nonmonotonic-poll"].append(found[1])
                if op.type == "ok":
                    last[key] = poll
    return cases


def _nonmonotonic_sends(history: History, logs: Logs) -> list[_Case]:
    """Compare each process's consecutive sends to a key: offsets must rise."""
    cases = []
    for ops in _by_process(history).values():
        last: dict[str, tuple[Any, int]] = {}
        for op in ops:
            if op.f == "assign" and op.type in {"ok", "info"}:
                last = {key: sent for key, sent in last.items() if key in op.value}
            if op.f not in {"send", "txn"} or op.type not in {"ok", "info"}:
                continue
            for key, _, message in sends_of(op):
                value = identity(message)
                if key in last and logs.logs[key].step(last[key][0], value) < 1:
                    cases.append(
                        {"key": key, "messages": logs.named((last[key][0], value)), "ops": [last[key][1], op.index]}
                    )
                last[key] = value, op.index
    return cases


def _cycles(history: History, logs: Logs, is_late: Callable[[], bool]) -> tuple[_Cases, bool]:
    """Find cycles of sends, polls of what was sent, and the order of time: polls of the future."""
    graph = _graph(history, logs)
    found, is_complete = find_cycles(graph, ("G1c", "G1c-process", "G1c-realtime"), is_late)
    cases: _Cases = {
        "empty-transaction-graph": [{"found": "no operation depends on another"}] if graph.is_empty else []
    }
    for cycle in found:
        way = " ".join(f"{edge.source} -{edge.kind}->" for edge in cycle.edges) + f" {cycle.edges[0].source}"
        cases.setdefault(cycle.name, []).append({"cycle": way, "steps": [edge.why for edge in cycle.edges]})
    return cases, is_complete


def _graph(history: History, logs: Logs) -> Graph:
    graph = Graph()
    ops = [op for op in history.invocations if op.f in {"send", "poll", "txn"}]
    ends = {(op if op.pair is None else op.pair).index: op.index for op in ops}
    for poll in logs.polls:
        for key, values in poll.reads.items() if poll.op.type == "ok" else ():
            for value in values:
                sender = logs.senders.get((key, value))
                if sender is not None and sender.type != "fail":
                    why = f"{logs.values[value]} of {key}, sent by {ends[sender.index]}, is polled by"
                    graph.add(ends[sender.index], "wr", ends[poll.op.index], f"{why} {ends[poll.op.index]}")
    last: dict[Any, int] = {}
    spans = []
    for op in ops:
        kind = "info" if op.pair is None else op.pair.type
        spans.append((op.index, op.index, op.pair.index if op.pair is not None and kind == "ok" else None))
        if kind == "fail":
            continue
        if op.process in last:
            graph.add(last[op.process], "process", op.index, f"process {op.process} did both")
        last[op.process] = op.index
    for one, other in realtime_edges(spans):
        graph.add(one, "realtime", other, f"{one} had ended when {other} began")
    return graph


def check_kafka(history: History, is_late: Callable[[], bool] = lambda: False) -> Results:
    """Judge a history of ``send``, ``poll``, ``assign`` and ``crash``.

    Args:
        history: what clients did; values are described in ``kafka_logs.py``.
        is_late: tells when to give up looking for cycles; the verdict is unknown then.
    """
    logs = Logs(history)
    cycles, is_complete = _cycles(history, logs, is_late)
    cases: _Cases = {
        "inconsistent-offsets": _inconsistent_offsets(logs),
        "duplicate": _duplicates(logs),
        "lost-write": _lost_writes(logs),
        "unseen": _unseen(history, logs),
        "G1a": _aborted_reads(logs),
        "precommitted-read": _precommitted_reads(logs),
        "nonmonotonic-send": _nonmonotonic_sends(history, logs),
        **_internal_steps(logs),
        **_external_steps(history, logs),
        **cycles,
    }
    wrong = sorted(name for name, found in cases.items() if found)
    findings = [*(Finding(name, _first(cases[name])) for name in wrong), *_crashes(logs)]
    if not is_complete:
        findings.append(Finding("search-timeout", "the time to look for cycles was over", verdict=UNKNOWN))
    return judged(
        findings,
        {
            "bad-error-types": sorted(finding.name for finding in findings if finding.verdict is False),
            "errors": {name: {"count": len(cases[name]), "errors": cases[name][:_SHOWN]} for name in wrong},
            "key-count": len(logs.logs),
            "sent-count": _count(logs.senders.values(), "ok"),
            "polled-count": sum(map(len, logs.polled.values())),
        },
    )


def _first(cases: list[_Case]) -> str:
    return str(cases[0].get("cycle") or cases[0])


def _count(ops: Iterable[Op], kind: str) -> int:
    return sum(op.type == kind for op in ops)
